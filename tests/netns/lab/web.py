"""The lab's TCP servers: HTTP, TLS, DNS over TCP, TLS and HTTPS, proxies, and two that speak no web at all.

Blocking sockets and a thread a connection: so every line says what happens on the wire.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from tests.netns.lab import plan
from tests.netns.lab.pages import DNS_MESSAGE, TICKS_PER_SECOND, Page, is_doh, page_of, read_doh
from tests.netns.lab.seen import SeenWriter, plain
from tests.netns.lab.zone import Zone

IDLE_SECONDS = 120.0
MAX_HEAD_LINES = 200
BACKLOG = 1024

Talk = Callable[[socket.socket], None]


def listen(port: int, talk: Talk) -> None:
    """Serve a TCP port on every address, both families, until the process ends."""
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    threading.Thread(target=_accept, args=(server, talk), daemon=True).start()


def _accept(server: socket.socket, talk: Talk) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection, talk), daemon=True).start()


def _serve(connection: socket.socket, talk: Talk) -> None:
    connection.settimeout(IDLE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            talk(connection)
        except (OSError, ValueError):  # the client left, or sent what nobody can read
            return


class Request(NamedTuple):
    """The head of an HTTP/1.1 request; `host` without its port."""

    method: str
    target: str
    host: str
    headers: dict[str, str]
    body: bytes


def read_request(stream: BinaryIO) -> Request | None:
    """Return the next request, None at the end. As lenient as the laxest of real servers. Raises ValueError."""
    line = stream.readline(65536)
    while line in (b"\r\n", b"\n"):
        line = stream.readline(65536)
    if not line:
        return None
    method, target, *_ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    for _ in range(MAX_HEAD_LINES):
        line = stream.readline(65536)
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            break
        headers.setdefault(name.strip().lower(), value.strip())
    body = stream.read(int(headers.get("content-length", "0")))
    host = urlsplit(target).netloc if "://" in target else headers.get("host", "")
    return Request(method, target, host.rsplit("@")[-1].partition(":")[0].lower().rstrip("."), headers, body)


def send_page(connection: socket.socket, page: Page, *, head_only: bool = False) -> None:
    """Send a response; one without an end goes on until the client leaves."""
    length = "Transfer-Encoding: chunked" if page.rate else f"Content-Length: {len(page.body)}"
    reason = "OK" if page.status == 200 else "Not Found"
    head = f"HTTP/1.1 {page.status} {reason}\r\nContent-Type: {page.kind}\r\n{length}\r\n\r\n"
    connection.sendall(head.encode() + (b"" if head_only else page.body))
    if not page.rate or head_only:
        return
    part = bytes(max(1, page.rate // TICKS_PER_SECOND))
    chunk = f"{len(part):x}\r\n".encode() + part + b"\r\n"
    while True:
        connection.sendall(chunk)
        time.sleep(1 / TICKS_PER_SECOND)


class Web:
    """The servers of one lab. `start` opens all of their ports."""

    def __init__(self, note: SeenWriter, zone: Zone, folder: Path) -> None:
        self._note = note
        self._zone = zone
        self._tls = self._context(folder, ["http/1.1"])
        self._dot = self._context(folder, ["dot"])

    def start(self) -> None:
        for port in (plan.HTTP, plan.HTTP_ODD, plan.PROXY):
            listen(port, self.talk_http)
        for port in (plan.TLS, plan.TLS_ODD):
            listen(port, self.talk_tls)
        listen(plan.DNS, lambda connection: self._talk_dns(connection, "dns-tcp"))
        listen(plan.DOT, self.talk_dot)
        listen(plan.SOCKS, self.talk_socks)
        listen(plan.SSH, self.talk_ssh)
        listen(plan.ECHO, self.talk_echo)

    def _context(self, folder: Path, protocols: list[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        context.set_alpn_protocols(protocols)
        context.sni_callback = self._on_hello
        return context

    def _on_hello(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        self._note("tls-hello", name or "", connection.getsockname(), connection.getpeername())

    def talk_http(self, connection: socket.socket) -> None:
        """HTTP/1.1 with keep-alive; CONNECT opens a tunnel, as a proxy does."""
        self._talk_requests(connection, "http")

    def talk_tls(self, connection: socket.socket) -> None:
        """The same over TLS, with the name of the ClientHello noted as soon as it is read."""
        with self._tls.wrap_socket(connection, server_side=True) as wrapped:
            self._talk_requests(wrapped, "https")

    def talk_dot(self, connection: socket.socket) -> None:
        """DNS over TLS (RFC 7858)."""
        with self._dot.wrap_socket(connection, server_side=True) as wrapped:
            self._talk_dns(wrapped, "dot")

    def _talk_requests(self, connection: socket.socket, protocol: str) -> None:
        stream = connection.makefile("rb")
        local, peer = connection.getsockname(), connection.getpeername()
        while (request := read_request(stream)) is not None:
            if request.method == "CONNECT":
                host, _, port = request.target.rpartition(":")
                self._note("connect", host, local, peer, port)
                self._tunnel(connection, host, int(port), b"HTTP/1.1 200 Connection established\r\n\r\n")
                return
            if is_doh(request.target):
                self._answer_doh(connection, request)
                continue
            self._note(protocol, request.host, local, peer, f"{request.method} {request.target}")
            page = page_of(request.host, request.method, request.target, request.body)
            send_page(connection, page, head_only=request.method == "HEAD")
            if request.headers.get("connection", "").lower() == "close":
                return

    def _answer_doh(self, connection: socket.socket, request: Request) -> None:
        """DNS over HTTPS (RFC 8484)."""
        local = connection.getsockname()
        answer = self._zone.answer(read_doh(request.target, request.body), plain(local[0]))
        if answer is None:
            send_page(connection, Page(404))
            return
        self._note("doh", answer[0], local, connection.getpeername(), answer[1])
        send_page(connection, Page(200, answer[2], kind=DNS_MESSAGE))

    def _talk_dns(self, connection: socket.socket, protocol: str) -> None:
        stream = connection.makefile("rb")
        local, peer = connection.getsockname(), connection.getpeername()
        while len(size := stream.read(2)) == 2:
            answer = self._zone.answer(stream.read(int.from_bytes(size)), plain(local[0]))
            if answer is None:
                return
            self._note(protocol, answer[0], local, peer, answer[1])
            connection.sendall(len(answer[2]).to_bytes(2) + answer[2])

    def talk_socks(self, connection: socket.socket) -> None:
        """SOCKS5 without a password, CONNECT only (RFC 1928)."""
        version, count = _read(connection, 2)
        if version != 5 or 0 not in _read(connection, count):
            return
        connection.sendall(b"\x05\x00")
        _, command, _, kind = _read(connection, 4)
        if kind == 3:
            target = _read(connection, _read(connection, 1)[0]).decode("ascii")
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            target = socket.inet_ntop(family, _read(connection, size))
        port = int.from_bytes(_read(connection, 2))
        self._note("socks", target, connection.getsockname(), connection.getpeername(), str(port))
        if command == 1:
            self._tunnel(connection, target, port, b"\x05\x00\x00\x01" + bytes(6))

    def _tunnel(self, client: socket.socket, host: str, port: int, ready: bytes) -> None:
        """Connect to a target, tell the client, and carry bytes both ways."""
        addresses = self._zone.addresses(host) or [host]
        with socket.create_connection((addresses[0], port), timeout=IDLE_SECONDS) as server:
            client.sendall(ready)
            back = threading.Thread(target=_carry, args=(server, client), daemon=True)
            back.start()
            _carry(client, server)
            back.join()

    def talk_ssh(self, connection: socket.socket) -> None:
        """A server that speaks first, then sends back what it gets."""
        connection.sendall(b"SSH-2.0-lab\r\n")
        banner = connection.makefile("rb", buffering=0).readline(256)
        local, peer = connection.getsockname(), connection.getpeername()
        self._note("ssh", "", local, peer, banner.decode("latin-1").strip())
        _carry(connection, connection)

    def talk_echo(self, connection: socket.socket) -> None:
        """An unknown protocol in which the client speaks first: every part comes back."""
        part = connection.recv(65536)
        self._note("echo", "", connection.getsockname(), connection.getpeername(), part[:64].decode("latin-1"))
        connection.sendall(part)
        _carry(connection, connection)


def _read(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes and not one more: what follows is the tunnel's."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ValueError("the client left early")
        data += part
    return data


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone, so the other one is told
        for end in (source, sink):
            end.close()
