"""A real TLS server in memory (OpenSSL, through `ssl`): what does it make of a client's first bytes?"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import trustme

SERVER_HELLO_RECORD = 22


class Heard(NamedTuple):
    """What the server did with the bytes."""

    names: tuple[str | None, ...]  # the name of each ClientHello that it took apart
    is_accepted: bool  # it answered with a handshake record: a ServerHello or a HelloRetryRequest
    is_waiting: bool  # it wants more bytes
    raw: bytes  # its answer


class Server:
    """One connection. OpenSSL calls `sni_callback` when a ClientHello and all its extensions were read."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = make_context()
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def feed(self, data: bytes) -> Heard:
        self.incoming.write(data)
        is_waiting = False
        try:
            with quiet_about_names():
                self.tls.do_handshake()
        except ssl.SSLWantReadError:
            is_waiting = True
        except ssl.SSLError:
            pass
        answer = self.outgoing.read()
        return Heard(tuple(self.names), answer[:1] == bytes((SERVER_HELLO_RECORD,)), is_waiting and not answer, answer)


@contextmanager
def quiet_about_names() -> Iterator[None]:
    """`ssl` refuses a name that is not ASCII, as it should, and reports its own UnicodeDecodeError as unraisable."""
    before = sys.unraisablehook

    def report(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            before(unraisable)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before


@cache
def make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("server.example").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def hear(stream: bytes) -> Heard:
    """What a new server makes of the stream."""
    return Server().feed(stream)
