"""A client's requests, to `guardian.wire.http`, with h11 reading the same.

Invariant: a Request, None or FormError, nothing else. Where h11 takes a request, the same hosts are seen and it ends at
the same byte, head and body; bytes in pieces read as the whole.
"""

from __future__ import annotations

import h11

from guardian.errors import FormError
from guardian.names import parse_name
from guardian.wire.http import MAX_HEAD_BYTES, Body, Request, read_request
from tests.fuzz.driver import main, mutate_text

SEEDS = [
    b"GET / HTTP/1.1\r\nHost: bet.example\r\nAccept: */*\r\n\r\n",
    b"GET /a?b HTTP/1.1\nhOsT:\tWww.Bet.Example.:80 \nUpgrade: x\n\n",
    b"GET http://u:p@bet.example:80/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n",
    b"CONNECT bet.example:443 HTTP/1.1\r\nHost: bet.example:443\r\n\r\n",
    b"\r\nPOST / HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PUT * HTTP/1.1\r\nHost: [2001:db8::1]\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n",
]
EXTRA = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b" :", b"Host:", b"Host: a\r\nHost: b", b"\xff", b"HTTP/1.1", b"#",
    b"a" * 300, b"http://", b"http://@x/", b"\\", b"@", b"..", b"[::1", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"0\r\n", b"0x5", b"fffffffff", b"5\r\n", b"1\r\na\r\n", b"GET", b"127.1",
    b"\r\n folded", b"x-y: z\r\n" * 60,
]  # fmt: skip


def check(data: bytes) -> None:
    request = read(data)
    half = read(data[: len(data) // 2])
    assert half is None or half == request
    if isinstance(request, Request):
        assert 0 < request.end <= len(data)
        assert read(b"xyz" + data, 3) == request._replace(end=request.end + 3)
        assert not (request.length and request.is_chunked)
        assert all(len(address) in (4, 16) for address in request.addresses)
        end = read_body(request, data)
        assert end == read_body(request, data, step=7)
        if request.method.upper() != b"CONNECT" and not request.upgrades:
            compare(request, data, end)
    elif request is None:
        assert not isinstance(hear(data)[0], h11.Request), "h11 has a request, Guardian waits"


def read(data: bytes, start: int = 0) -> Request | type[FormError] | None:
    try:
        return read_request(data, start)
    except FormError:
        return FormError


def read_body(request: Request, data: bytes, step: int = 1 << 20) -> int | type[FormError] | None:
    """Where the body ends; None when it goes on."""
    body = Body(request.length, request.is_chunked)
    at, over = request.end, body.is_over
    while not over and at < len(data):
        try:
            taken, over = body.feed(data[at : at + step])
        except FormError:
            return FormError
        at += taken
    return at if over else None


def hear(data: bytes) -> tuple[object, h11.Connection]:
    """h11's first event."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        server.receive_data(data)
        return server.next_event(), server
    except h11.RemoteProtocolError:
        return h11.NEED_DATA, server


def compare(request: Request, data: bytes, end: int | type[FormError] | None) -> None:
    event, server = hear(data)
    if not isinstance(event, h11.Request):
        return
    assert len(data) - request.end == len(server.trailing_data[0])
    for name, value in event.headers:
        if name == b"host" and value and not value.startswith(b"["):
            host = value.decode().partition(":")[0]
            assert parse_name(host) in request.names or bytes(map(int, host.split("."))) in request.addresses
    try:
        while not isinstance(event, h11.EndOfMessage):
            event = server.next_event()
            if event is h11.NEED_DATA:
                return
    except h11.RemoteProtocolError:
        return
    assert end is FormError or end == len(data) - len(server.trailing_data[0])


mutate = mutate_text(EXTRA)

if __name__ == "__main__":
    main(check, SEEDS, mutate)
