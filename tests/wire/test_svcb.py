"""HTTPS and SVCB RDATA, with dnspython as the oracle."""

from __future__ import annotations

import base64

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.wire import svcb

ECH = base64.b64encode(b"\x00\x0d\xfe\x0d\x00\x09" + bytes(9)).decode()


def rdata_of(text: str) -> bytes:
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.HTTPS, text).to_wire()


def test_ech_goes_and_the_rest_stays() -> None:
    full = rdata_of(f"1 . alpn=h2,h3 ipv4hint=192.0.2.1 ech={ECH} ipv6hint=2001:db8::1")
    assert svcb.strip_ech(full) == rdata_of("1 . alpn=h2,h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1")


def test_ech_leaves_mandatory_as_well() -> None:
    full = rdata_of(f"1 x.example. mandatory=alpn,ech alpn=h2 ech={ECH}")
    assert svcb.strip_ech(full) == rdata_of("1 x.example. mandatory=alpn alpn=h2")
    only = rdata_of(f"1 x.example. mandatory=ech ech={ECH}")
    assert svcb.strip_ech(only) == rdata_of("1 x.example.")


def test_hints_are_addresses() -> None:
    full = rdata_of("1 . ipv4hint=192.0.2.1,10.0.0.1 ipv6hint=2001:db8::1")
    assert svcb.read_hints(full) == [b"\xc0\0\2\1", b"\n\0\0\1", bytes.fromhex("20010db8" + "0" * 23 + "1")]


@pytest.mark.parametrize(
    "rdata",
    [b"", b"\0", b"\0\1", b"\0\1\3ab", b"\0\1\xc0\x0c", b"\0\1\0\0", b"\0\1\0\0\1\0\5x", b"\0\1\0\0\3\0\0\0\1\0\0"],
)
def test_broken_rdata_is_a_form_error(rdata: bytes) -> None:
    with pytest.raises(FormError):
        svcb.parse_service_binding(rdata)


def test_hints_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(FormError, match="wrong size"):
        svcb.read_hints(b"\0\1\0\0\4\0\3abc")


@given(
    st.integers(0, 65535),
    st.dictionaries(st.integers(0, 65535), st.binary(max_size=30), max_size=6),
)
def test_parse_of_build_is_the_binding(priority: int, params: dict[int, bytes]) -> None:
    binding = svcb.ServiceBinding(priority, b"\1x\0", tuple(sorted(params.items())))
    assert svcb.parse_service_binding(svcb.build_service_binding(binding)) == binding
