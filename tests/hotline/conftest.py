"""A web server on loopback whose pages are written down by the test, down to the raw bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.config import Config, parse_config

Handler = Callable[["Exchange"], None]


class Exchange:
    """One request, and the raw connection to answer it on."""

    def __init__(self, connection: socket.socket, stop: threading.Event) -> None:
        self.connection = connection
        self.stop = stop
        head = b""
        while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
            head += part
        lines = head.decode("latin-1").split("\r\n")
        self.path = lines[0].split(" ")[1] if " " in lines[0] else ""
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, body: bytes, status: str = "200 OK", length: int | None = None, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)


class WebServer:
    """Threads on a loopback port. `pages[path]` answers, else 404; `seen` are the exchanges so far."""

    def __init__(self) -> None:
        self.pages: dict[str, Handler] = {}
        self.seen: list[Exchange] = []
        self.stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                exchange = Exchange(connection, self.stop)
                self.seen.append(exchange)
                page = self.pages.get(exchange.path)
                if page is None:
                    exchange.answer(b"no such page", "404 Not Found")
                else:
                    page(exchange)
            except OSError:
                return  # the client had enough

    def close(self) -> None:
        self.stop.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """Return a maker of settings in a fresh folder: `make_config({"id": "url: ..., tags: ..."}, mandatory={...})`."""

    def make(sources: dict[str, str], mandatory: dict[str, Path] | None = None, extra: str = "") -> Config:
        lines = ["sources:"] + [f"  {name}: {{{text}}}" for name, text in sources.items()]
        (tmp_path / "sources.yaml").write_text("\n".join(lines) + "\n")
        text = (
            f"state: {tmp_path}/state\nupstreams:\n  servers: [192.0.2.1]\nlists:\n  sources: {tmp_path}/sources.yaml\n"
        )
        if mandatory:
            text += "  mandatory:\n" + "".join(f"    - {{name: {n}, file: {f}}}\n" for n, f in mandatory.items())
        path = tmp_path / "guardian.yaml"
        path.write_text(text + extra)
        return parse_config(path.read_text(), str(path))

    return make


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Any]:
    """A feed with one list in force on a box (`feed_maker.Scene`)."""
    from tests.hotline.feed_maker import Scene, listed  # it needs what is above

    scene = Scene(tmp_path)
    scene.maker.publish_all(listed(range(20)))
    state = scene.update()
    assert not state.troubles() and scene.holds("listed-1.example"), state
    yield scene
    scene.server.close()
