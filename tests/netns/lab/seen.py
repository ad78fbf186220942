"""What the internet's servers accepted: written by the servers, read by the tests. One JSON line each."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """One thing that a server accepted.

    `protocol`: `tls-hello` and `quic-hello` (a ClientHello was read; `name` is its server name, "" without one),
    `https`, `h3`, `http` (a request; `name` is its host, `detail` "METHOD target"), `dns`, `dns-tcp`, `dot`, `doh`
    (`name` is the QNAME, `detail` the type), `socks`, `connect` (`name` is the target, `detail` its port), `ssh`,
    `echo`, `game`, `wireguard` (`detail` tells the bytes).
    """

    protocol: str
    name: str
    server: str  # the server's address
    port: int
    client: str  # the router's address for IPv4, which it masquerades; the device's own for IPv6
    client_port: int
    detail: str = ""
    at: float = 0.0  # time.monotonic(), one clock for all processes of a machine


def plain(address: str) -> str:
    """An address without the IPv6 form of IPv4 addresses, and without a zone."""
    return address.removeprefix("::ffff:").partition("%")[0]


class SeenWriter:
    """Appends to the file. A line is on its way before the server answers: who has an answer finds its line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def __call__(
        self, protocol: str, name: str, local: tuple[Any, ...], peer: tuple[Any, ...], detail: str = ""
    ) -> None:
        seen = Seen(protocol, name, plain(local[0]), local[1], plain(peer[0]), peer[1], detail, time.monotonic())
        with self._lock:
            self._file.write(json.dumps(seen) + "\n")


class SeenReader:
    """Reads what was added since `forget` was called last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def forget(self) -> None:
        """Look only at what comes from now on."""
        self._offset = self._path.stat().st_size

    def __call__(self, protocol: str = "", name: str | None = None, server: str = "") -> list[Seen]:
        """What fits, oldest first; an argument that is left out fits all."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read().split(b"\n")[:-1]
        every = [Seen(*json.loads(line)) for line in lines]
        return [
            seen
            for seen in every
            if (not protocol or seen.protocol == protocol)
            and (name is None or seen.name == name)
            and (not server or seen.server == server)
        ]
