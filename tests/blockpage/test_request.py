"""Heads as browsers send them, and as attackers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blockpage.request import MAX_FIELDS, Request, is_address, parse_request
from guardian.errors import FormError
from guardian.names import parse_name


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["GET / HTTP/1.1", "Host: example.com"], Request("GET", "example.com", "/", "")),
        (["GET /a?b HTTP/1.1", "hOST:\tWWW.Example.COM.:80 "], Request("GET", "www.example.com", "/a", "")),
        (["GET http://a.example/x?y HTTP/1.1", "Host: b.example"], Request("GET", "a.example", "/x", "")),
        (["GET http://a.example?y HTTP/1.1", "Host: b.example"], Request("GET", "a.example", "", "")),
        (["GET / HTTP/1.0"], Request("GET", "", "/", "")),
        (["GET / HTTP/1.1", "Host:"], Request("GET", "", "/", "")),
        (["GET / HTTP/1.1", "Host: [FE80::1]:80"], Request("GET", "fe80::1", "/", "")),
        (["OPTIONS * HTTP/1.1", "Host: x"], Request("OPTIONS", "x", "", "")),
        (["CONNECT a:443 HTTP/1.1", "Host: a:443"], Request("CONNECT", "a", "", "")),
        (
            ["GET / HTTP/1.1", "Host: _x.a", "Accept-Language: ro", "accept-language: ru;q=0.5"],
            Request("GET", "_x.a", "/", "ro,ru;q=0.5"),
        ),
    ],
)
def test_reads(lines: list[str], expected: Request) -> None:
    assert parse_request(head(*lines)) == expected
    assert parse_request(b"\r\n" + head(*lines)) == expected  # RFC 9112 section 2.2


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        ["GET /"],
        ["GET  / HTTP/1.1", "Host: a"],
        ["get / HTTP/1.1", "Host: a"],
        ["GET / HTTP/2.0", "Host: a"],
        ["PRI * HTTP/2.0", "", "SM"],
        ["GET / HTTP/1.1"],
        ["GET / HTTP/1.1", "Host: a", "Host: a"],
        ["GET / HTTP/1.1", "Host : a"],
        ["GET / HTTP/1.1", "Host: a", " folded: b"],
        ["GET / HTTP/1.1", "Host: a\nX: b"],
        ["GET / HTTP/1.1", "Host: a\0"],
        ["GET /\x7f HTTP/1.1", "Host: a"],
        ["GET /\xe9 HTTP/1.1", "Host: a"],
        ["GET x HTTP/1.1", "Host: a"],
        ["GET https://a/ HTTP/1.1", "Host: a"],
        ["GET http://user@a/ HTTP/1.1", "Host: a"],
        ["GET / HTTP/1.1", "Host: <script>alert(1)</script>"],
        ["GET / HTTP/1.1", "Host: a\xe2\x80\xaeb"],  # RIGHT-TO-LEFT OVERRIDE
        ["GET / HTTP/1.1", "Host: a..b"],
        ["GET / HTTP/1.1", "Host: ."],
        ["GET / HTTP/1.1", "Host: " + "a" * 64],
        ["GET / HTTP/1.1", "Host: " + ".".join(["a" * 60] * 5)],
        ["GET / HTTP/1.1", "Host: a:99999999"],
        ["GET / HTTP/1.1", "Host: [::zz]"],
        ["GET / HTTP/1.1", "Host: [:::]"],
        ["GET / HTTP/1.1", "Host: a, b"],
        ["GET / HTTP/1.1", "Host: a", *["X: y"] * MAX_FIELDS],
    ],
)
def test_refuses(lines: list[str]) -> None:
    with pytest.raises(FormError):
        parse_request(head(*lines))


VALID = head("GET /path HTTP/1.1", "Host: www.example.com:80", "Accept-Language: ro-MD,ro;q=0.9", "User-Agent: x")


@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(max_size=3)), max_size=6),
)
def test_mutated_heads_give_a_request_or_a_form_error(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(VALID)
    for position, piece in changes:
        data[position : position + 1] = piece
    try:
        request = parse_request(bytes(data))
    except FormError:
        return
    # What may be shown on a page is a name or an address.
    assert not request.host or is_address(request.host) or parse_name(request.host)
    assert set(request.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")


@given(st.binary(max_size=200))
def test_garbage_gives_a_request_or_a_form_error(data: bytes) -> None:
    with pytest.raises(FormError):
        parse_request(data + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("host", "expected"), [("192.168.1.1", True), ("fe80::1", True), ("1.2.3", False), ("a.example", False)]
)
def test_addresses(host: str, expected: bool) -> None:
    assert is_address(host) is expected
