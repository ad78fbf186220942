"""What stands outside the home in tests: an HTTP server on loopback that takes reports and messages, as told."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Taken(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Outside:
    """Keeps what it was sent. `status` is what it answers; `behave` is `answer`, `hang`, `drip`, `flood` or `cut`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.taken: list[Taken] = []
        self.status = 201
        self.headers: dict[str, str] = {}
        self.behave = "answer"
        self.flooded = 0
        self._closing = threading.Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outside.taken.append(Taken(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                outside._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            if self.behave == "hang":
                self._closing.wait(60)
            elif self.behave == "cut":
                handler.connection.shutdown(2)
            elif self.behave == "drip":
                handler.connection.sendall(b"HTTP/1.1 201 Created\r\n")
                while not self._closing.is_set():
                    handler.connection.sendall(b"X-Drip: 1\r\n")
                    time.sleep(0.2)
            elif self.behave == "flood":
                handler.connection.sendall(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n")
                while not self._closing.is_set() and self.flooded < 50_000_000:
                    handler.connection.sendall(b"x" * 65536)
                    self.flooded += 65536
            else:
                handler.send_response(self.status)
                for name, value in self.headers.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", "2")
                handler.end_headers()
                handler.wfile.write(b"{}")

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextlib.contextmanager
def outside(context: ssl.SSLContext | None = None) -> Iterator[Outside]:
    """Start a server, hand it out, end it."""
    made = Outside(context)
    try:
        yield made
    finally:
        made.close()
