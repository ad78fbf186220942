"""The internet of the emulated machine, one process in its namespace: DNS, TLS and plain sites, a server of raw bytes.

What the servers accepted is in /tmp/seen, a line each: kind and name.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
import time

from tests.vm.guest.network import DNS4, SITES

CERTIFICATE = "/srv/keys/server.pem"
RAW_PORT = 9000
CHUNK = bytes(64 * 1024)
_A, _AAAA = 1, 28
_lock = threading.Lock()


def note(kind: str, name: str) -> None:
    """Write down what came."""
    with _lock, open("/tmp/seen", "a") as seen:
        seen.write(f"{kind} {name}\n")


def answer_dns(query: bytes) -> bytes:
    """Return the answer to a query: the sites' addresses; 192.0.2.10 for all below any.example; else no such name."""
    labels, position = [], 12
    while query[position]:
        labels.append(query[position + 1 : position + 1 + query[position]].decode().lower())
        position += 1 + query[position]
    end = position + 5
    (kind,) = struct.unpack_from(">H", query, position + 1)
    name = ".".join(labels)
    note("dns", name)
    number = SITES.get(name, 10 if name.endswith(".any.example") else None)
    data = b""
    if number is not None and kind == _A:
        data = socket.inet_aton(f"192.0.2.{number}")
    elif number is not None and kind == _AAAA:
        data = socket.inet_pton(socket.AF_INET6, f"2001:db8::{number}")
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data if data else b""
    code = 0 if number is not None else 3
    return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, bool(record), 0, 0) + query[12:end] + record


class Site(socketserver.BaseRequestHandler):
    """A site over TLS (the server's `context`) or plain: one request a connection."""

    def handle(self) -> None:
        connection = self.request
        connection.settimeout(60)
        context = self.server.context  # type: ignore[attr-defined]
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(4096)
                if not part:
                    return
                head += part
            fields = head.decode("latin-1").split("\r\n")
            host = next((line.split(":", 1)[1].strip() for line in fields if line.lower().startswith("host:")), "")
            note("http", host)
            self._respond(connection, fields[0].split()[1])
        except (OSError, ssl.SSLError) as error:
            note("error", f"{type(error).__name__} {error}")

    def _respond(self, connection: socket.socket, path: str) -> None:
        if not path.startswith("/stream"):
            body = b"hello"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            return
        rate = int(path.partition("rate=")[2] or 0)  # bytes a second; 0 = as fast as it goes
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            if rate:
                connection.sendall(CHUNK[: rate // 20])
                time.sleep(0.05)
            else:
                connection.sendall(CHUNK)


class Raw(socketserver.BaseRequestHandler):
    """Reads a number of bytes in decimal and a line feed, sends so many."""

    def handle(self) -> None:
        left = int(self.request.makefile("rb").readline() or b"0")
        while left > 0:
            self.request.sendall(CHUNK[: min(left, len(CHUNK))])
            left -= len(CHUNK)
        self.request.recv(1)


class Server(socketserver.ThreadingTCPServer):
    """A TCP server on every address, both families."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve_dns() -> None:
    """Answer queries, for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((DNS4, 53))
        while True:
            query, sender = server.recvfrom(4096)
            server.sendto(answer_dns(query), sender)


def make_context() -> ssl.SSLContext:
    """Return a context that notes the names that clients ask for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda _socket, name, _context: note("tls", name or "")
    return context


def main() -> None:
    """Start all servers; say so by making /tmp/internet."""
    for port, handler in ((443, Site), (80, Site), (RAW_PORT, Raw)):
        server = Server(("::", port), handler)
        server.context = make_context() if port == 443 else None
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=serve_dns, daemon=True).start()
    with open("/tmp/internet", "w"):
        pass
    threading.Event().wait()


if __name__ == "__main__":
    main()
