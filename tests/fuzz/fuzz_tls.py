"""A client's first bytes, to `guardian.wire.tls`, with OpenSSL listening to the same.

Invariant: a ClientHello, None or FormError, nothing else. A name is a lower-case wire name. When OpenSSL takes a hello,
it sees the same name, and Guardian doesn't wait for more; bytes in pieces read as the whole; the second hello that
`find_next_hello` finds is inside the bytes.
"""

from __future__ import annotations

from guardian.errors import FormError
from guardian.names import MAX_NAME_BYTES, parse_name
from guardian.wire.tls import ClientHello, HelloReader, find_next_hello, parse_client_hello, read_client_hello
from tests.fuzz.driver import main
from tests.wire.hellos import EARLY_DATA, assemble, build_hello, frame, make_extensions, record, server_name
from tests.wire.tls_server import hear

SEEDS = [
    frame(build_hello("www.example.com")),
    frame(build_hello("WWW.Example.com.", grease=True, alpn=())),
    frame(build_hello(None)),
    frame(assemble(None)),
    frame(build_hello("a.example", post_quantum=True, ech=True, grease=True), [700]),
    frame(build_hello("a.example"), [1, 2, 3, 50, 50]),
    frame(assemble([server_name("short.example"), *make_extensions(None)[:5]])),
    frame(assemble([server_name("a.example", "b.example"), *make_extensions(None)])),
    frame(assemble([server_name("a.example"), server_name("b.example"), *make_extensions(None)])),
    frame(build_hello("a.example", extra=[(EARLY_DATA, b"")]))
    + record(b"\1", kind=20)
    + record(bytes(20), kind=23)
    + frame(build_hello("b.example"), [1]),
]


def check(data: bytes) -> None:
    hello = read(data)
    check_next(data, hello.end if isinstance(hello, ClientHello) else 0)
    try:
        message = parse_client_hello(data[5:])
    except FormError:
        message = None
    assert message is None or message.end <= len(data) - 5
    reader = HelloReader()
    for end in (*range(0, len(data), 97), len(data)):
        part = read(data[:end])
        assert part is None or part == hello
        assert read_more(reader, data[:end]) == part
        if part is not None:
            break
    if isinstance(hello, ClientHello):
        assert 0 < hello.end <= len(data)
        assert read(b"xyz" + data, 3) == hello._replace(end=hello.end + 3)
        assert hello.name is None or (len(hello.name) <= MAX_NAME_BYTES and hello.name == hello.name.lower())
    if hello is FormError:
        return
    heard = hear(data)
    if not heard.is_accepted:
        return
    assert isinstance(hello, ClientHello), "OpenSSL has a hello, Guardian waits"
    name = heard.names[0]
    assert hello.name == (None if name is None else parse_name(name))


def read(data: bytes, start: int = 0) -> ClientHello | type[FormError] | None:
    try:
        return read_client_hello(data, start)
    except FormError:
        return FormError


def read_more(reader: HelloReader, data: bytes) -> ClientHello | type[FormError] | None:
    try:
        return reader.read(data)
    except FormError:
        return FormError


def check_next(data: bytes, start: int) -> None:
    for skip in (False, True):
        at = find_next_hello(data, start, skip)
        assert at is None or at == -1 or (start <= at < len(data) and data[at : at + 2] == b"\x16\3")


if __name__ == "__main__":
    main(check, SEEDS)
