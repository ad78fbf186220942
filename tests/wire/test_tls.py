"""ClientHellos, with OpenSSL as the oracle: what it takes as a name is what Guardian reads, or nothing is."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.names import parse_name
from guardian.wire.tls import (
    MAX_HELLO_BYTES,
    ClientHello,
    HelloReader,
    find_next_hello,
    parse_client_hello,
    read_client_hello,
)
from tests.wire import hellos
from tests.wire.hellos import (
    SUITES,
    alpn,
    assemble,
    build_hello,
    frame,
    make_extensions,
    record,
    server_name,
    vector,
    words,
)
from tests.wire.tls_server import Server, hear

NAME = "www.bet.example"
WIRE = parse_name(NAME)
KINDS = [
    pytest.param({}, id="plain"),
    pytest.param({"grease": True}, id="grease"),
    pytest.param({"post_quantum": True}, id="post-quantum"),
    pytest.param({"ech": True, "grease": True}, id="ech"),
    pytest.param({"post_quantum": True, "ech": True, "grease": True}, id="chrome"),
    pytest.param({"alpn": ()}, id="no-alpn"),
]
CCS = record(b"\1", kind=20, version=0x0303)


def read_all(stream: bytes) -> ClientHello:
    hello = read_client_hello(stream)
    assert hello is not None
    return hello


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("name", [NAME, None])
def test_hellos_of_browsers(options: dict[str, Any], name: str | None) -> None:
    message = build_hello(name, **options)
    stream = frame(message)
    heard = hear(stream)
    assert heard.is_accepted
    assert heard.names == (name,)
    protocols = () if options.get("alpn") == () else (b"h2", b"http/1.1")
    expected = ClientHello(WIRE if name else None, bool(options.get("ech")), protocols, len(stream))
    assert read_client_hello(stream) == expected
    assert read_client_hello(bytearray(stream)) == expected
    assert read_client_hello(memoryview(stream)) == expected
    assert parse_client_hello(message) == expected._replace(end=len(message))
    for size in range(len(stream)):
        assert read_client_hello(stream[:size]) is None
    for size in range(len(message)):
        assert parse_client_hello(message[:size]) is None


def test_a_real_client() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "x"])
    client = context.wrap_bio(incoming, outgoing, server_hostname="Www.Bet.Example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    stream = outgoing.read()
    assert read_client_hello(stream) == ClientHello(WIRE, False, (b"h2", b"x"), len(stream))


def test_post_quantum_fills_two_segments() -> None:
    assert 1460 < len(frame(build_hello(NAME, post_quantum=True))) < 2920


@pytest.mark.parametrize("options", KINDS)
def test_records_of_one_byte(options: dict[str, Any]) -> None:
    message = build_hello(NAME, **options)
    stream = frame(message, [1] * len(message))
    assert hear(stream).names == (NAME,)
    assert read_all(stream).name == WIRE
    assert read_all(stream).end == len(stream)
    assert read_client_hello(stream[:-1]) is None


@given(
    st.lists(st.integers(1, 300), max_size=12),
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([0x0300, 0x0301, 0x0303, 0x03FF]),
)
def test_any_split_into_records_reads_the_same(sizes: list[int], before: bytes, behind: bytes, version: int) -> None:
    message = build_hello(NAME, grease=True)
    stream = b"".join(record(part, version=version) for part in split(message, sizes))
    hello = read_client_hello(before + stream + behind, len(before))
    assert hello == ClientHello(WIRE, False, (b"h2", b"http/1.1"), len(before) + len(stream))


@pytest.mark.parametrize("size", [1, 2, 7, 200])
@pytest.mark.parametrize("case", ["good", "junk behind the message", "empty record inside"])
def test_a_reader_of_a_growing_stream_reads_the_same(case: str, size: int) -> None:
    message = build_hello(NAME)
    stream = BAD[case] if case in BAD else frame(message, [size] * (len(message) // size))
    reader = HelloReader(3)
    for end in range(len(stream) + 1):
        whole, grown = (
            outcome(read, b"xyz" + stream[:end]) for read in (lambda s: read_client_hello(s, 3), reader.read)
        )
        assert whole == grown
        if whole is not None:
            break
    else:
        pytest.fail("neither a hello nor an error")


def outcome(read: Callable[[bytes], ClientHello | None], stream: bytes) -> ClientHello | type[FormError] | None:
    try:
        return read(stream)
    except FormError:
        return FormError


def split(message: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(message[:size])
        message = message[size:]
    return [part for part in (*parts, message) if part]


def test_case_and_final_dot_of_the_name() -> None:
    assert read_all(frame(build_hello("WWW.Bet.EXAMPLE"))).name == WIRE
    assert read_all(frame(build_hello("www.bet.example."))).name == WIRE


def test_early_data_is_told() -> None:
    hello = read_all(frame(build_hello(NAME, extra=[(hellos.EARLY_DATA, b"")])))
    assert hello.has_early_data
    assert not read_all(frame(build_hello(NAME))).has_early_data


def test_a_hello_without_extensions_has_no_name() -> None:
    for message in (assemble(None), assemble([])):
        stream = frame(message)
        assert read_client_hello(stream) == ClientHello(None, False, (), len(stream))


def with_name(*extensions: tuple[int, bytes]) -> bytes:
    """A hello with these in place of server_name."""
    return frame(assemble([*extensions, *make_extensions(None)]))


def replaced(kind: int, value: bytes) -> bytes:
    return frame(assemble([(kind, value) if kind == own else (own, old) for own, old in make_extensions(NAME)]))


MESSAGE = build_hello(NAME)
LONG = build_hello(NAME, extra=[(21, bytes(3000))])
BAD = {
    "two names": with_name(server_name("a.example", "b.example")),
    "no name in the list": with_name(server_name()),
    "empty extension": with_name((0, b"")),
    "empty name": with_name(server_name("")),
    "name of another kind": with_name(server_name("a.example", kind=1)),
    "name of another kind first": with_name((0, vector(b"\1" + vector(b"x") + b"\0" + vector(b"a.example")))),
    "bytes behind the list": with_name((0, server_name("a.example")[1] + b"x")),
    "list length too long": with_name((0, words(0x20) + b"\0" + vector(b"a.example"))),
    "name length too short": with_name((0, vector(b"\0" + words(4) + b"a.example"))),
    "server_name twice": with_name(server_name("a.example"), server_name("b.example")),
    "server_name twice, apart": frame(build_hello("a.example", extra=[server_name("b.example")])),
    "ALPN twice": frame(build_hello(NAME, extra=[alpn("h2")])),
    "address": with_name(server_name("192.0.2.1")),
    "IPv6 address": with_name(server_name("2001:db8::1")),
    "NUL in the name": with_name(server_name(b"a.example\0.b.example")),
    "blank in the name": with_name(server_name(b"a.example ")),
    "not ASCII": with_name(server_name("é.example")),
    "empty label": with_name(server_name("a..example")),
    "long label": with_name(server_name("a" * 64 + ".example")),
    "empty ALPN": replaced(16, b""),
    "empty ALPN protocol": replaced(16, vector(b"\0")),
    "ALPN too long": replaced(16, vector(b"\5h2")),
    "bytes behind ALPN": replaced(16, vector(b"\2h2") + b"x"),
    "SSL 3.0": frame(assemble(make_extensions(NAME), version=0x0300)),
    "no TLS version": frame(assemble(make_extensions(NAME), version=0x0203)),
    "long session id": frame(assemble(make_extensions(NAME), session=bytes(33))),
    "no cipher suites": frame(assemble(make_extensions(NAME), suites=())),
    "odd cipher suites": frame(b"\1" + vector(MESSAGE[4:71] + vector(bytes(3)) + MESSAGE[73 + len(SUITES) * 2 :], 3)),
    "extension too long": frame(MESSAGE[:-5] + words(4) + MESSAGE[-3:]),
    "bytes behind the extensions": frame(b"\1" + vector(MESSAGE[4:] + b"x", 3)),
    "junk behind the message": record(MESSAGE + b"x"),
    "a second hello in its record": record(MESSAGE + build_hello("b.example")),
    "junk in the last of two records": record(MESSAGE[:50]) + record(MESSAGE[50:] + b"x"),
    "empty record in front": record(b"") + frame(MESSAGE),
    "empty record inside": record(MESSAGE[:50]) + record(b"") + record(MESSAGE[50:]),
    "change_cipher_spec inside": record(MESSAGE[:50]) + CCS + record(MESSAGE[50:]),
    "alert inside": record(MESSAGE[:50]) + record(b"\1\0", kind=21) + record(MESSAGE[50:]),
    "another version inside": record(MESSAGE[:50]) + record(MESSAGE[50:], version=0x0203),
    "record too long": record(b"\1" + bytes(16385)),
    "hello too long": frame(build_hello(NAME, extra=[(21, bytes(MAX_HELLO_BYTES))]), [16000]),
    "too many records": frame(LONG, [1] * len(LONG)),
    "length of a hello too long": record(b"\1\0\xff\xff" + bytes(50)),
    "ServerHello": record(b"\2" + MESSAGE[1:]),
    "HelloRequest": record(b"\0\0\0\0"),
    "SSL 2.0": b"\x80\x2e\1\3\3" + bytes(40),
    "DTLS": b"\x16\xfe\xff" + bytes(40),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("case", BAD)
def test_what_servers_do_not_agree_on_is_a_form_error(case: str) -> None:
    with pytest.raises(FormError):
        read_client_hello(BAD[case])


def test_not_tls_is_told_at_once() -> None:
    assert read_client_hello(b"") is None
    assert read_client_hello(b"\x16") is None
    assert read_client_hello(b"\x16\3") is None
    for start in (b"G", b"\x15", b"\x80", b"\x16\2", b"\x16\4", b"\x16\3\1\0\x20\2", b"\x16\3\1\0\0"):
        with pytest.raises(FormError):
            read_client_hello(start)
    for message in (b"\2", b"\1\1\0\0", b"\1\0\xff\xff"):
        with pytest.raises(FormError):
            parse_client_hello(message)


def test_what_follows_a_message_without_records_is_left_alone() -> None:
    assert parse_client_hello(MESSAGE + MESSAGE) == ClientHello(WIRE, False, (b"h2", b"http/1.1"), len(MESSAGE))
    assert parse_client_hello(memoryview(MESSAGE + b"x")) is not None


def test_every_honest_hello_fits() -> None:
    message = build_hello(NAME, post_quantum=True, ech=True, grease=True, extra=[(41, bytes(300)), (21, bytes(500))])
    assert len(frame(message, [1] * len(message))) < MAX_HELLO_BYTES


def test_the_hello_after_a_hello_retry_request() -> None:
    first, second = frame(MESSAGE), frame(build_hello("b.example"), [1])
    for between in (b"", CCS, CCS + CCS, record(b"\1\x5a", kind=21)):
        stream = first + between + second
        at = find_next_hello(stream, len(first))
        assert at == len(first + between)
        hello = read_client_hello(stream, at)
        assert hello is not None
        assert hello.name == parse_name("b.example")
        for size in range(len(first), at + 6):
            assert find_next_hello(stream[:size], len(first)) is None
    assert find_next_hello(record(b"") + CCS + second, 0) == 0  # an empty record: reading it is a FormError


@pytest.mark.parametrize(
    "behind",
    [
        record(b"x" * 40, kind=23), CCS + record(b"x" * 40, kind=23), record(b"\2\x28", kind=21), record(b"\x10\0\0\0"),
        CCS + record(b"\2\0\0\0"), b"GET /", b"\x16\2", b"\x14\2", b"\x80", CCS + b"x", record(b"") + b"\x17",
    ],
)  # fmt: skip
def test_no_second_hello(behind: bytes) -> None:
    assert find_next_hello(b"x" + behind, 1) == -1


def make_retried_hello(name: str, *, early_data: bool) -> bytes:
    """A hello that OpenSSL 3.0 answers with a HelloRetryRequest: it doesn't know the only key share."""
    extensions = [
        hellos.key_share(hellos.X25519_MLKEM768) if kind == hellos.KEY_SHARE else (kind, value)
        for kind, value in make_extensions(name)
        if kind != hellos.GROUPS
    ]
    groups = (hellos.GROUPS, vector(words(hellos.X25519_MLKEM768, hellos.X25519)))
    return assemble([groups, *extensions, *([(hellos.EARLY_DATA, b"")] if early_data else [])])


@pytest.mark.parametrize("early", [b"", record(b"x" * 100, kind=23) * 3], ids=["plain", "early-data"])
def test_openssl_takes_another_name_after_a_retry_and_guardian_sees_it(early: bytes) -> None:
    first = frame(make_retried_hello("good.example", early_data=bool(early)))
    stream = first + early + CCS + frame(build_hello("bad.example"))
    server = Server()
    heard = server.feed(stream[: len(first)])
    if not heard.is_accepted or b"\xcf\x21\xad\x74" not in heard.raw:
        pytest.skip("this OpenSSL knows X25519MLKEM768: it answers without a HelloRetryRequest")
    assert server.feed(stream[len(first) :]).names == ("good.example", "bad.example")
    hello = read_all(stream)
    assert hello.has_early_data == bool(early)
    at = find_next_hello(stream, hello.end, skip_early_data=hello.has_early_data)
    assert at is not None
    again = read_client_hello(stream, at)
    assert again is not None
    assert again.name == parse_name("bad.example")


wild_extensions = st.lists(
    st.one_of(
        st.sampled_from([server_name("a.example"), server_name("b.example."), server_name("a.example", "b.example")]),
        st.tuples(st.integers(0, 60) | st.just(hellos.ECH), st.binary(max_size=20)),
        st.tuples(st.just(0), st.binary(max_size=12)),
    ),
    max_size=4,
)


@settings(max_examples=300)
@given(wild_extensions, st.lists(st.integers(0, 200), max_size=4), st.data())
def test_no_other_name_than_the_server_sees(
    wild: list[tuple[int, bytes]], sizes: list[int], data: st.DataObject
) -> None:
    base = make_extensions(data.draw(st.sampled_from([None, NAME])))
    extensions = data.draw(st.permutations([*base[:3], *wild])) + base[3:]
    stream = frame(assemble(extensions), sizes)
    compare(stream)


def compare(stream: bytes) -> None:
    heard = hear(stream)
    try:
        hello = read_client_hello(stream)
    except FormError:
        return
    if hello is None:
        assert heard.is_waiting or not heard.is_accepted
        assert not heard.names
    elif heard.is_accepted:
        name = heard.names[0]
        assert hello.name == (None if name is None else parse_name(name))
