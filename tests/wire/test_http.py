"""HTTP/1 requests on the wire, with h11 as the oracle for heads and for chunked bodies."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.names import parse_name
from guardian.wire.http import MAX_HEAD_BYTES, MAX_HOSTS, Body, Request, read_request

BET, NEWS = parse_name("bet.example"), parse_name("news.example")
V6 = bytes.fromhex("20010db8000000000000000000000001")


def read(head: bytes) -> Request:
    request = read_request(head)
    assert request is not None
    return request


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((line, *fields, b"", b""))


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_a_request_of_a_browser(buffer: type[bytes | bytearray | memoryview]) -> None:
    data = head(b"Host: Bet.Example", b"Accept: */*", b"Cookie: a=b", line=b"GET /a/b?c=d HTTP/1.1")
    expected = Request(b"GET", b"/a/b?c=d", (BET,), (), False, False, False, 0, False, len(data))
    assert read_request(buffer(data)) == expected
    assert read_request(buffer(b"xyz" + data + b"more"), 3) == expected._replace(end=3 + len(data))
    for size in range(len(data)):
        assert read_request(buffer(data[:size])) is None


@pytest.mark.parametrize(
    "data",
    [
        head(b"hOsT: bet.example"),
        head(b"Host:bet.example"),
        head(b"Host:\t  bet.example \t "),
        head(b"Host: bet.example."),
        head(b"Host: bet.example:8080"),
        head(b"Host: bet.example.:80"),
        head(b"Host: bet.example:"),
        head(b"Host: bet.example", b"host: BET.example"),
        head(b"X: \xd0\xb0\x01", b"Host: bet.example"),
        head(b"Host: bet.example").replace(b"\r\n", b"\n"),
        b"GET / HTTP/1.1\r\nX: y\nHost: bet.example\n\r\n",
        b"\r\n\n\r\r\n" + head(b"Host: bet.example"),
        head(b"Host: bet.example", line=b"GET\t/\tHTTP/1.1"),
        head(b"Host: bet.example", line=b"GET   /   HTTP/1.1  "),
        head(b"Host: bet.example", line=b"GET / http/1.0"),
        head(b"Host: bet.example", line=b"get / HTTP/1.1"),
        head(b"Host: bet.example", line=b"BREW-COFFEE / HTTP/1.1"),
        head(b"Host: bet.example", line=b"OPTIONS * HTTP/1.1"),
        head(line=b"GET bet.example HTTP/1.1"),
        head(b"Host:", line=b"GET bet.example:80 HTTP/1.1"),
    ],
)
def test_what_servers_tolerate_is_read(data: bytes) -> None:
    request = read(data)
    assert request.names == (BET,)
    assert request.path == b"/"
    assert request.end == len(data)
    assert not request.is_proxy


def test_every_host_counts() -> None:
    assert read(head(b"Host: news.example", b"Host: bet.example")).names == (NEWS, BET)
    assert read(head(b"Host: news.example", line=b"GET http://bet.example/ HTTP/1.1")).names == (BET, NEWS)
    assert read(head()).names == ()
    assert read(head(b"Host:")).names == ()
    many = [b"Host: h%d.example" % number for number in range(MAX_HOSTS + 1)]
    assert len(read(head(*many[1:])).names) == MAX_HOSTS
    with pytest.raises(FormError):
        read_request(head(*many))


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://bet.example", b"/"),
        (b"http://bet.example/", b"/"),
        (b"HTTP://BET.EXAMPLE.:80/a?b", b"/a?b"),
        (b"https://bet.example?b/c", b"/?b/c"),
        (b"http://user:pass@bet.example:8080/x@news.example", b"/x@news.example"),
        (b"http://news.example%40@bet.example/", b"/"),
        (b"ws://bet.example//x", b"//x"),
    ],
)
def test_absolute_form(target: bytes, path: bytes) -> None:
    request = read(head(line=b"GET " + target + b" HTTP/1.1"))
    assert (request.names, request.path, request.is_proxy) == ((BET,), path, True)


def test_a_path_is_no_host() -> None:
    request = read(head(b"Host: bet.example", line=b"GET //news.example/x HTTP/1.1"))
    assert (request.names, request.path) == ((BET,), b"//news.example/x")
    request = read(head(b"Host: bet.example", line=b"GET /http://news.example/ HTTP/1.1"))
    assert (request.names, request.is_proxy) == ((BET,), False)


def test_connect() -> None:
    request = read(head(b"Host: news.example:443", line=b"CONNECT bet.example:443 HTTP/1.1"))
    assert (request.names, request.path, request.is_connect) == ((BET, NEWS), b"/", True)
    assert read(head(line=b"connect [2001:db8::1]:443 HTTP/1.0")).addresses == (V6,)
    assert not read(head(b"Host: bet.example")).is_connect


def test_addresses() -> None:
    request = read(head(b"Host: 192.0.2.7:80", line=b"GET http://[2001:DB8::1]:80/ HTTP/1.1"))
    assert (request.names, request.addresses) == ((), (V6, b"\xc0\0\2\7"))
    assert read(head(b"Host: 192.0.2.7", b"Host: 192.0.2.7")).addresses == (b"\xc0\0\2\7",)


def test_bodies_and_upgrades() -> None:
    assert read(head(b"Content-Length: 12", line=b"POST / HTTP/1.1")).length == 12
    assert read(head(b"Content-Length: 7", b"content-length:\t7 ")).length == 7
    assert read(head(b"Transfer-Encoding: Chunked ")).is_chunked
    assert read(head(b"upgrade: websocket", b"Connection: Upgrade")).upgrades


BAD = {
    "folded field": head(b"Host: news.example", b" bet.example"),
    "folded first field": head(b" Host: bet.example"),
    "blank before the colon": head(b"Host : bet.example"),
    "tab before the colon": head(b"Host\t: bet.example"),
    "field without colon": head(b"Host"),
    "field without name": head(b": bet.example"),
    "NUL in a value": head(b"X: a\0b"),
    "NUL in a name": head(b"Ho\0st: bet.example"),
    "bare CR": head(b"X: a\rHost: bet.example"),
    "two CR": b"GET / HTTP/1.1\r\r\nHost: bet.example\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": head(line=b"GET / HTTP/2.0"),
    "HTTP/1.10": head(line=b"GET / HTTP/1.10"),
    "blank in the target": head(line=b"GET /a b HTTP/1.1"),
    "control byte in the target": head(line=b"GET /a\x0bb HTTP/1.1"),
    "fragment": head(line=b"GET /a#b HTTP/1.1"),
    "blank in front": b" GET / HTTP/1.1\r\n\r\n",
    "conflicting lengths": head(b"Content-Length: 5", b"Content-Length: 6"),
    "list of lengths": head(b"Content-Length: 5, 5"),
    "signed length": head(b"Content-Length: +5"),
    "hexadecimal length": head(b"Content-Length: 0x5"),
    "empty length": head(b"Content-Length:"),
    "huge length": head(b"Content-Length: " + b"9" * 19),
    "length and chunks": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunks and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "other coding": head(b"Transfer-Encoding: gzip, chunked"),
    "identity": head(b"Transfer-Encoding: identity"),
    "chunks in HTTP/1.0": head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
    "two hosts in a field": head(b"Host: news.example, bet.example"),
    "user in Host": head(b"Host: news.example@bet.example"),
    "strange port": head(b"Host: news.example:80@bet.example"),
    "no host name": head(b"Host: *"),
    "odd address": head(b"Host: 127.1"),
    "IPv6 without brackets": head(b"Host: ::1"),
    "zone": head(b"Host: [fe80::1%25eth0]"),
    "URL without host": head(line=b"GET http:///x HTTP/1.1"),
    "URL with only a port": head(line=b"GET http://:80/ HTTP/1.1"),
    "URL with one slash": head(line=b"GET http:/bet.example/ HTTP/1.1"),
    "two at signs": head(line=b"GET http://a@news.example@bet.example/ HTTP/1.1"),
    "backslash": head(line=b"GET http://bet.example\\@news.example/ HTTP/1.1"),
    "too long": head(b"X: " + b"y" * MAX_HEAD_BYTES),
    "too many empty lines": b"\r\n" * MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("case", BAD)
def test_what_servers_do_not_agree_on_is_a_form_error(case: str) -> None:
    with pytest.raises(FormError):
        read_request(BAD[case])


def test_not_http_is_told_at_once() -> None:
    for start in (b"\x16", b"\x05", b" ", b"GET\r", b"GET\n", b"SSH-2.0-x\r", b"GET:", b"\0", b"a" * 33, b"\r\n\x16"):
        with pytest.raises(FormError):
            read_request(start)
    for start in (b"EHLO mail.example\r\n", b"GET /\n", b"GET \0", b"GET /\r\r"):
        with pytest.raises(FormError):
            read_request(start)
    for start in (b"", b"\r", b"\r\n", b"G", b"a" * 32, b"GET ", b"GET /", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n"):
        assert read_request(start) is None


values = st.text("abz.-:@/[]1 \t,\\%*", max_size=16).map(str.encode)
fields = st.tuples(
    st.sampled_from([b"Host", b"hOST", b"X-Y", b"Content-Length", b"Transfer-Encoding", b"Host "]),
    st.sampled_from([b":", b": ", b":\t", b""]),
    values | st.sampled_from([b"bet.example", b"news.example:80", b"5", b"chunked"]),
    st.sampled_from([b"\r\n", b"\n", b"\r\n "]),
)
lines = st.tuples(
    st.sampled_from([b"GET", b"POST", b"get"]),
    st.sampled_from([b" ", b"  ", b"\t"]),
    st.sampled_from([b"/", b"/a?b", b"http://news.example/x", b"*"]) | values,
    st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b"\tHTTP/1.1", b""]),
    st.sampled_from([b"\r\n", b"\n"]),
)


@given(lines, st.lists(fields, max_size=4))
def test_no_other_host_than_the_server_sees(line: tuple[bytes, ...], rest: list[tuple[bytes, ...]]) -> None:
    compare(b"".join(line) + b"".join(b"".join(field) for field in rest) + b"\r\n")


def compare(data: bytes) -> None:
    """Where h11 takes the head, the same host and end are read, or nothing is."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        server.receive_data(data)
        event = server.next_event()
    except h11.RemoteProtocolError:
        return
    try:
        request = read_request(data)
    except FormError:
        return
    if not isinstance(event, h11.Request):
        return
    assert request is not None
    if event.method != b"CONNECT":
        assert request.end == len(data) - len(server.trailing_data[0])
    for name, value in event.headers:
        if name == b"host" and value and value[0] != 0x5B:
            host = value.decode().partition(":")[0]
            assert parse_name(host) in request.names or bytes(map(int, host.split("."))) in request.addresses
        if name == b"content-length":
            assert request.length == int(value)
        if name == b"transfer-encoding":
            assert request.is_chunked


def feed_all(body: Body, data: bytes, sizes: list[int]) -> tuple[int, bool]:
    """Give the body its bytes in pieces, as segments bring them."""
    at, over = 0, body.is_over
    for size in [*sizes, len(data)]:
        if over:
            break
        piece = data[at : at + size]
        taken, over = body.feed(piece)
        assert over or taken == len(piece)
        at += taken
    return at, over


@given(st.integers(0, 300), st.binary(max_size=300), st.lists(st.integers(0, 50), max_size=9))
def test_a_body_of_known_length(length: int, data: bytes, sizes: list[int]) -> None:
    at, over = feed_all(Body(length), data, sizes)
    assert at == min(length, len(data))
    assert over == (len(data) >= length)


chunks = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"%x", b"%X", b"000%x"]),
        st.sampled_from([b"", b" ", b";a", b'; a="b c";d', b"\t;x=1"]),
    ),
    max_size=5,
)


@given(chunks, st.sampled_from([b"", b"X: y\r\n", b"A: b\r\nC: d\r\n"]), st.lists(st.integers(0, 12), max_size=40))
def test_a_chunked_body(parts: list[tuple[bytes, bytes, bytes]], trailer: bytes, sizes: list[int]) -> None:
    data = b"".join(size % len(part) + extension + b"\r\n" + part + b"\r\n" for part, size, extension in parts)
    data += b"0\r\n" + trailer + b"\r\n"
    assert feed_all(Body(chunked=True), data + head(), sizes) == (len(data), True)
    assert feed_all(Body(chunked=True), data[:-1], sizes) == (len(data) - 1, False)


def test_nothing_is_taken_behind_the_end() -> None:
    body = Body(chunked=True)
    assert body.feed(b"xx0\r\n\r\nGET", 2) == (7, True)
    assert body.feed(b"GET", 0) == (0, True)
    assert Body().feed(b"GET") == (0, True)
    assert Body(3).feed(memoryview(b"..abcGET"), 2) == (5, True)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"g\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 2\r\n", b";a\r\n", b" 1\r\n", b"1\n", b"1\r\r",
        b"1;a\n", b"1;a\rb", b"1\r\nab", b"1\r\na\n", b"1\r\na\r\r", b"0\r\n\n", b"0\r\nX: y\n", b"0\r\nX: y\rz",
        b"0\r\n\rx", b"0\r\n\0", b"1" * 16, b"1;" + b"a" * 1024, b"0\r\n" + b"a" * 16385, b"0\r\n" + b"a: b\r\n" * 4000,
    ],
)  # fmt: skip
def test_bad_chunks(data: bytes) -> None:
    with pytest.raises(FormError):
        Body(chunked=True).feed(data)


@given(st.binary(max_size=60), st.lists(st.integers(0, 9), max_size=9))
def test_any_chunked_body_reads_the_same_in_pieces(raw: bytes, sizes: list[int]) -> None:
    def outcome(sizes: list[int]) -> object:
        try:
            return feed_all(Body(chunked=True), raw, sizes)
        except FormError:
            return FormError

    whole = outcome([])
    assert outcome(sizes) == whole


@given(
    st.lists(st.sampled_from([b"0", b"1", b"a", b"\r\n", b"\r", b"\n", b";", b" ", b"X: y", b"\r\n\r\n"]), max_size=12)
)
def test_where_h11_ends_a_chunked_body(parts: list[bytes]) -> None:
    raw = b"".join(parts) + b"\r\n"
    server = h11.Connection(h11.SERVER)
    server.receive_data(head(b"Host: a", b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1") + raw)
    try:
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return
    except h11.RemoteProtocolError:
        return
    try:
        at, over = Body(chunked=True).feed(raw)
    except FormError:
        return
    assert over
    assert raw[at:] == server.trailing_data[0]
