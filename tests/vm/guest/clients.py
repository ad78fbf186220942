"""What the home's devices do: ask names, open sites, and download without end. Everything returns plain values."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import struct
import threading
import time
from typing import Any

from tests.vm.guest.network import LAN4, address_of, inside
from tests.vm.guest.servers import RAW_PORT

_numbers = itertools.count(1)
_downloads: dict[int, Download] = {}


def ask(device: str, name: str, kind: int = 1, server: str = LAN4, seconds: float = 5.0) -> dict[str, Any]:
    """Ask a name over UDP; return code, addresses and seconds. Code -1: no answer."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = os.urandom(2) + struct.pack(">HHHHH", 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)

    def exchange() -> dict[str, Any]:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(seconds)
            began = time.monotonic()
            asker.sendto(query, (server, 53))
            try:
                answer = asker.recv(4096)
            except TimeoutError:
                return {"code": -1, "addresses": [], "seconds": seconds}
        return {"code": answer[3] & 15, "addresses": _read(answer), "seconds": time.monotonic() - began}

    return inside(device, exchange)


def ask_many(device: str, count: int) -> int:
    """Ask so many different names, half of them of the million; return how many were answered."""

    def act() -> int:
        answered = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(5)
            asker.connect((LAN4, 53))
            for number in range(count):
                name = f"n{number}.any.example" if number % 2 else f"n{number}.www.blocked.example"
                labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
                asker.send(struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01")
                with contextlib.suppress(TimeoutError):
                    answered += asker.recv(4096)[:2] == number.to_bytes(2, "big")
        return answered

    return inside(device, act, 600)


def _read(answer: bytes) -> list[str]:
    position = 12
    while answer[position]:
        position += 1 + answer[position]
    position += 5
    found = []
    for _ in range(struct.unpack_from(">H", answer, 6)[0]):
        position += 2 if answer[position] >= 0xC0 else answer.index(b"\0", position) + 1 - position
        kind, _, _, size = struct.unpack_from(">HHIH", answer, position)
        data = answer[position + 10 : position + 10 + size]
        position += 10 + size
        if kind in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
    return found


def _connect(address: str, port: int, name: str, is_tls: bool, seconds: float) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=seconds)
    if not is_tls:
        return connection
    context = ssl.create_default_context(cafile="/srv/keys/ca.pem")
    context.check_hostname = False  # the server has one certificate for all
    return context.wrap_socket(connection, server_hostname=name)


def fetch(
    device: str, name: str, family: int = 4, is_tls: bool = True, path: str = "/", seconds: float = 20.0
) -> dict[str, Any]:
    """Open a site at its own address, whatever DNS says; return the head's first line, the body, what went wrong."""

    def act() -> dict[str, Any]:
        try:
            with _connect(address_of(name, family), 443 if is_tls else 80, name, is_tls, seconds) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                data = b""
                while part := connection.recv(65536):
                    data += part
        except OSError as error:  # ssl's errors too
            return {"line": "", "body": "", "error": type(error).__name__}
        head, _, body = data.partition(b"\r\n\r\n")
        return {"line": head.split(b"\r\n")[0].decode(), "body": body.decode(errors="replace"), "error": ""}

    return inside(device, act)


class Download:
    """A connection that goes on receiving, and when how much came. Times are the machine's CLOCK_MONOTONIC."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self.connection = connection
        self.total = 0
        self.last = 0.0
        self.error = ""
        self.port = connection.getsockname()[1]
        connection.settimeout(300)
        connection.sendall(first)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        room = bytearray(64 * 1024)
        try:
            while size := self.connection.recv_into(room):
                self.last = time.monotonic()
                self.total += size
            self.error = "closed"
        except OSError as error:
            self.error = type(error).__name__


def download(device: str, name: str, family: int = 4, is_tls: bool = True, rate: int = 0, seconds: float = 30.0) -> int:
    """Begin an endless download; return its number."""
    first = f"GET /stream?rate={rate} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()

    def act() -> Download:
        return Download(_connect(address_of(name, family), 443 if is_tls else 80, name, is_tls, seconds), first)

    number = next(_numbers)
    _downloads[number] = inside(device, act)
    return number


def look(number: int) -> dict[str, Any]:
    """Tell how far a download has come."""
    it = _downloads[number]
    return {"total": it.total, "last": it.last, "error": it.error, "port": it.port, "now": time.monotonic()}


def wait_for_more(number: int, size: int = 50_000, seconds: float = 60.0) -> float:
    """Wait until so many more bytes have come; return the seconds that took. Raises AssertionError."""
    it, began = _downloads[number], time.monotonic()
    goal = it.total + size
    while it.total < goal:
        assert time.monotonic() - began < seconds, f"{it.total} bytes after {seconds} s, {goal} expected; {it.error!r}"
        time.sleep(0.02)
    return time.monotonic() - began


def wait_for_silence(number: int, quiet: float = 3.0, seconds: float = 60.0) -> float:
    """Wait until nothing came for `quiet` seconds; return when the last bytes came (CLOCK_MONOTONIC)."""
    it, began = _downloads[number], time.monotonic()
    while time.monotonic() - it.last < quiet:
        assert time.monotonic() - began < seconds, f"bytes still come after {seconds} s"
        time.sleep(0.02)
    return it.last


def end(number: int) -> None:
    """End a download."""
    it = _downloads.pop(number)
    with contextlib.suppress(OSError):
        it.connection.shutdown(socket.SHUT_RDWR)
    it.connection.close()


def receive(device: str, size: int, family: int = 4, seconds: float = 300.0) -> dict[str, float]:
    """Receive so many bytes of one TCP connection; return seconds, and the machine's busy CPU seconds meanwhile."""

    def act() -> dict[str, float]:
        address = address_of("www.open.example", family)
        with socket.create_connection((address, RAW_PORT), timeout=seconds) as connection:
            connection.sendall(b"%d\n" % size)
            room = bytearray(256 * 1024)
            left = size - 200_000
            while left > 0:  # the beginning: judged, and taken over by the kernel
                left -= connection.recv_into(room)
                if left <= size - 2_000_000:
                    break
            began, busy, start = time.monotonic(), _busy_seconds(), left
            left += 200_000
            while left > 0:
                got = connection.recv_into(room)
                if not got:
                    raise RuntimeError("the server closed")
                left -= got
            return {
                "bytes": start + 200_000,
                "seconds": time.monotonic() - began,
                "cpu_seconds": _busy_seconds() - busy,
            }

    return inside(device, act, seconds + 10)


def _busy_seconds() -> float:
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
