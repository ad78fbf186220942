"""Names: text to wire and back, with properties over any bytes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import TextError
from guardian.names import (
    MAX_NAME_BYTES,
    ROOT,
    count_labels,
    format_name,
    is_below,
    parse_name,
    reverse_name,
    suffixes,
    to_ascii,
)

labels = st.lists(st.binary(min_size=1, max_size=63), max_size=8)


def make_wire(parts: list[bytes]) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts) + ROOT


wires = labels.map(make_wire).filter(lambda wire: len(wire) <= MAX_NAME_BYTES)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", ROOT),
        ("com", b"\x03com\x00"),
        ("Example.COM.", b"\x07example\x03com\x00"),
        ("_dns._tcp.x", b"\x04_dns\x04_tcp\x01x\x00"),
        (r"a\.b.c", b"\x03a.b\x01c\x00"),
        (r"a\046b.c", b"\x03a.b\x01c\x00"),
        (r"\\.c", b"\x01\\\x01c\x00"),
        (r"\000.\255", b"\x01\x00\x01\xff\x00"),
        ("bücher.de", b"\x0dxn--bcher-kva\x02de\x00"),
        ("BÜCHER.de.", b"\x0dxn--bcher-kva\x02de\x00"),
        ("пример。испытание", b"\x0cxn--e1afmkfd\x10xn--80akhbyknj4f\x00"),
        ("a" * 63 + ".b", b"\x3f" + b"a" * 63 + b"\x01b\x00"),
    ],
)
def test_parse(text: str, wire: bytes) -> None:
    assert parse_name(text) == wire


@pytest.mark.parametrize(
    "text", ["", "..", ".com", "a..b", "a" * 64, ".".join(["a" * 63] * 4), "a\\", r"\256.c", "\udc00.com", "xn--a-ä"]
)
def test_refused(text: str) -> None:
    with pytest.raises(TextError):
        parse_name(text)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_text_error(text: str) -> None:
    try:
        wire = parse_name(text)
    except TextError:
        return
    assert len(wire) <= MAX_NAME_BYTES
    assert wire == wire.lower()
    assert parse_name(format_name(wire)) == wire


@given(wires)
def test_format_and_parse_are_inverse(wire: bytes) -> None:
    text = format_name(wire)
    assert text.isascii()
    assert text.isprintable()
    assert parse_name(text) == wire.lower()


@given(wires)
def test_suffixes_are_the_parents(wire: bytes) -> None:
    parents = list(suffixes(wire))
    assert len(parents) == count_labels(wire)
    assert all(wire.endswith(parent) and is_below(wire, parent) for parent in parents)
    assert is_below(wire, ROOT)


def test_is_below_goes_by_labels() -> None:
    assert is_below(parse_name("www.example.com"), parse_name("example.com"))
    assert not is_below(parse_name("notexample.com"), parse_name("example.com"))
    assert not is_below(parse_name("com"), parse_name("example.com"))


@pytest.mark.parametrize("text", ["192.0.2.7", "2001:db8::1", "::", "255.255.255.255"])
def test_reverse_names(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert format_name(reverse_name(address.packed)) == address.reverse_pointer


def test_to_ascii_maps_as_browsers_do() -> None:
    assert to_ascii("STRAßE.de") == "xn--strae-oqa.de"
