"""A small web server for the public folder, to try a feed out. A country uses a CDN (docs/hotline-scale.md)."""

from __future__ import annotations

import hashlib
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from guardian.errors import DeskError

_TIMEOUT = 30.0  # seconds that a connection may be silent


class _Handler(SimpleHTTPRequestHandler):
    """Serves files with an ETag; no listing of folders, no link out of the folder, no hidden file."""

    server_version = "guardian-feed"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an ACK, 40 ms

    def __init__(self, *args: Any, folder: Path, quiet: bool, **kwargs: Any) -> None:
        self._folder = folder
        self._quiet = quiet
        super().__init__(*args, directory=str(folder), **kwargs)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        data = self._read()
        if data is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        known = self.headers.get("If-None-Match", "")
        is_known = tag in (part.strip() for part in known.split(","))
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        self.send_header("ETag", tag)
        name = urlsplit(self.path).path.rpartition("/")[2]
        self.send_header("Cache-Control", "no-cache" if name == "timestamp.json" else "public, max-age=86400")
        if not is_known:
            self.send_header(
                "Content-Type", "application/json" if name.endswith(".json") else "application/octet-stream"
            )
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body and not is_known:
            self.wfile.write(data)

    def _read(self) -> bytes | None:
        parts = [part for part in unquote(urlsplit(self.path).path).split("/") if part]
        if any(part.startswith(".") or "\0" in part for part in parts):
            return None
        path = self._folder.joinpath(*parts).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            return None
        return path.read_bytes()

    def log_message(self, format: str, *args: Any) -> None:
        if not self._quiet:
            super().log_message(format, *args)


def make_server(folder: Path, host: str, port: int, *, quiet: bool = False) -> ThreadingHTTPServer:
    """Return a server of the public folder that is bound and not yet running. Raises DeskError."""
    if not folder.is_dir():
        raise DeskError(f"{folder}: there is nothing to serve yet; publish first")
    try:
        server = ThreadingHTTPServer((host, port), partial(_Handler, folder=folder, quiet=quiet))
    except OSError as error:
        raise DeskError(f"{host}:{port}: {error.strerror}") from None
    server.daemon_threads = True
    return server
