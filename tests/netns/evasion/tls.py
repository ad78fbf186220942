"""TLS over a raw connection: OpenSSL says what, the case says how it goes out. And hellos that nobody honest makes."""

from __future__ import annotations

import ssl

from tests.netns.evasion.wire import PATIENCE, Connection

REQUEST = "GET / HTTP/1.1\r\nHost: {}\r\nConnection: {}\r\n\r\n"


class Talk:
    """A TLS client with one request."""

    def __init__(self, name: str, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, closes: bool = False) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = newest
        context.set_alpn_protocols(["http/1.1"])
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._name = name
        self._closes = closes
        self._shake()
        self.hello = self._outgoing.read()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def finish(self, connection: Connection, seconds: float = PATIENCE) -> bytes:
        """Go on after the hello; return what the server said to the request, b"" when it did not come to that."""
        if not self.shake_hands(connection, seconds):
            return b""
        self._tls.write(REQUEST.format(self._name, "close" if self._closes else "keep-alive").encode())
        connection.send(self._outgoing.read())
        body = bytearray()
        while b"\n" not in body.partition(b"\r\n\r\n")[2] and self._feed(connection, seconds):
            body += self._read()
        return bytes(body)

    def shake_hands(self, connection: Connection, seconds: float = PATIENCE) -> bool:
        """Finish the handshake; return whether it came to an end."""
        try:
            while not self._shake():
                if self._outgoing.pending:
                    connection.send(self._outgoing.read())
                if not self._feed(connection, seconds):
                    return False
        except ssl.SSLError:  # an alert
            return False
        connection.send(self._outgoing.read())
        return True

    def _feed(self, connection: Connection, seconds: float) -> bool:
        """Hand over what came; False when nothing does."""
        if not connection.wait(lambda: len(connection.received) > 0, seconds):
            return False
        size = len(connection.received)
        self._incoming.write(bytes(connection.received[:size]))
        del connection.received[:size]
        return True

    def _read(self) -> bytes:
        data = b""
        try:
            while part := self._tls.read(16384):
                data += part
        except ssl.SSLWantReadError:
            return data
        except ssl.SSLError:
            return data
        return data


def unwrap(stream: bytes) -> bytes:
    """The handshake message of a stream that is one record."""
    assert stream[0] == 22 and len(stream) == 5 + int.from_bytes(stream[3:5])
    return stream[5:]


def padding(size: int) -> tuple[int, bytes]:
    """The padding extension (RFC 7685)."""
    return 21, bytes(size)


def swap(extensions: list[tuple[int, bytes]], kind: int, *new: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    """Other extensions in the place of one."""
    return [part for old in extensions for part in (new if old[0] == kind else (old,))]
