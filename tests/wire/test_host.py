"""Hosts of TLS and HTTP, against `parse_name` and `ipaddress`."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.names import parse_name
from guardian.wire.host import read_address, read_host_name

ALPHABET = "abcXYZ0189-_"
labels = st.text(ALPHABET, min_size=1, max_size=63)
hosts = st.lists(labels, min_size=1, max_size=5).map(".".join)


@given(hosts)
def test_a_name_is_the_wire_name_of_its_text(host: str) -> None:
    last = host.rpartition(".")[2].lower()
    if len(host) > 253 or last.isdigit() or re.fullmatch("0x[0-9a-f]*", last):
        with pytest.raises(FormError):
            read_host_name(host.encode())
    else:
        assert read_host_name(host.encode()) == read_host_name(host.encode() + b".") == parse_name(host)


@pytest.mark.parametrize(
    "host",
    [
        b"", b".", b"..", b"a..", b".a", b"a..b", b"a b", b"a\0.example", b"a\n", b"a.example\n", b"*.example",
        b"a:443", b"\xc3\xa9.example", b"a@b", b"a%2eb", b"[::1]", b"::1", b"x" * 64, b"a." * 127 + b"a", b"a,b",
        b"a/b", b"a\\b",
    ],
)  # fmt: skip
def test_what_is_no_host_name(host: bytes) -> None:
    with pytest.raises(FormError):
        read_host_name(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "1.2.3.4."])
def test_addresses_are_no_names_in_any_form(host: str) -> None:
    socket.inet_aton(host.removesuffix("."))  # the C library reads every one of them as an address
    with pytest.raises(FormError):
        read_host_name(host.encode())


def test_the_longest_name() -> None:
    host = b".".join([b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61])
    assert len(host) == 253
    assert len(read_host_name(host)) == 255
    with pytest.raises(FormError):
        read_host_name(b"x" + host)


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_addresses(packed: bytes) -> None:
    assert read_address(str(IPv4Address(packed)).encode()) == packed


@given(st.binary(min_size=16, max_size=16))
def test_ipv6_addresses(packed: bytes) -> None:
    address = IPv6Address(packed)
    assert read_address(f"[{address}]".encode()) == read_address(f"[{address.exploded.upper()}]".encode()) == packed


@pytest.mark.parametrize(
    "host",
    [
        b"", b"1.2.3", b"1.2.3.4.", b"1.2.3.4.5", b"256.1.1.1", b"01.2.3.4", b"1.2.3.4\n", b"::1", b"[::1", b"[::1]x",
        b"[fe80::1%eth0]", b"[fe80::1%25eth0]", b"[]", b"[:]", b"[1.2.3.4]", b"[::1]\n", b"a.example",
    ],
)  # fmt: skip
def test_what_is_no_address(host: bytes) -> None:
    assert read_address(host) is None


@given(st.binary(max_size=300))
def test_nothing_but_a_form_error_is_raised(host: bytes) -> None:
    read_address(host)
    try:
        wire = read_host_name(host)
    except FormError:
        return
    assert wire == parse_name(host.decode("ascii"))
