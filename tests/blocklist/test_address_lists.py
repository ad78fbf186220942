"""Lists of addresses as the world writes them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.address_lists import AddressFacts, AddressSource, compile_addresses, parse_addresses
from guardian.blocklist.addresses import Network
from guardian.blocklist.parse import MAX_LINE_BYTES


def read(data: bytes) -> tuple[list[str], AddressFacts]:
    facts = AddressFacts()
    return [str(network) for network in parse_addresses(data, facts)], facts


def test_the_ways_to_write_an_address() -> None:
    text = b"""\xef\xbb\xbf# comment
; another
! a third

8.8.8.8
8.8.4.4/32\t# google
 9.9.9.0/24 ;quad9
1.1.1.1:853
1.0.0.1 1080
2001:4860:4860::8888
[2001:4860:4860::8844]
[2620:fe::fe]:443
2620:fe::9 443
::ffff:94.140.14.14\r
"""
    found, facts = read(text)
    assert found == [
        "8.8.8.8/32", "8.8.4.4/32", "9.9.9.0/24", "1.1.1.1/32", "1.0.0.1/32", "2001:4860:4860::8888/128",
        "2001:4860:4860::8844/128", "2620:fe::fe/128", "2620:fe::9/128", "94.140.14.14/32",
    ]  # fmt: skip
    assert (facts.lines, facts.content, facts.entries, facts.junk) == (14, 10, 10, 0)
    assert facts.is_list and not facts.refused and facts.format == "addresses"


def test_what_is_refused_is_counted_with_its_line() -> None:
    lines = [
        b"8.8.8.8", b"0.0.0.0 ads.example.com", b"8.8.8.8 dns.google", b"example.com", b"1.2.3.4,1080", b"1.2.3.4:x",
        b"10.0.0.1", b"0.0.0.0/0", b"9.0.0.0/7", b"1.2.3.4-1.2.3.9", b"\xff\xfe", b"x" * (MAX_LINE_BYTES + 1),
        b"9.9.9.9 80 90", b"1.2.3.4:80 90", b"224.0.0.251", b"[1.2.3.4", b"2620:fe::fe]:443",
    ]  # fmt: skip
    found, facts = read(b"\n".join(lines))
    assert found == ["8.8.8.8/32", "1.2.3.4/32"]
    assert {reason: [line for line, _ in kept] for reason, kept in facts.examples.items()} == {
        "with-a-name": [2, 3, 13],
        "not-an-address": [4, 5, 6, 10, 16],
        "not-public": [7, 15],
        "too-wide": [8, 9],
        "encoding": [11],
        "too-long": [12],
    }
    assert facts.refused["not-an-address"] == 6
    assert facts.lines == facts.content == 17 and not facts.is_list
    assert facts.examples["with-a-name"][0].text == "0.0.0.0 ads.example.com"


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html>\n<title>404</title>\n<p>gone</p>\n",
        b"0.0.0.0 ads.example.com\n0.0.0.0 more.example.com\n",
        b"ads.example.com\nmore.example.com\n1.2.3.4\n",
        b"",
        b"# nothing\n",
    ],
)
def test_what_is_no_list_of_addresses(data: bytes) -> None:
    assert not read(data)[1].is_list


_PIECES = st.sampled_from([b"8.8.8.8", b"\n", b"2620:fe::fe", b"/", b" ", b"#", b":80", b"\r"])


@given(st.lists(st.one_of(_PIECES, st.binary(max_size=6))), st.integers(1, 7))
def test_chunks_do_not_matter_and_nothing_is_raised(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    whole, facts = read(data)
    parts = AddressFacts()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert [str(network) for network in parse_addresses(chunks, parts)] == whole
    assert parts == facts
    assert facts.content == len(whole) + sum(facts.refused.values())
    assert facts.lines == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


def test_a_line_without_an_end_costs_no_memory() -> None:
    facts = AddressFacts()
    assert list(parse_addresses((b"1.2.3.4 " * 8192 for _ in range(100)), facts)) == []
    assert facts.refused == {"too-long": 1}
    assert list(parse_addresses([b"9" * 5000, b"9" * 5000 + b"\n8.8.8.8"], facts := AddressFacts()))
    assert (facts.lines, facts.refused) == (2, {"too-long": 1})


def test_several_lists_become_one_table_with_their_facts() -> None:
    sources = [
        AddressSource("bypass:doh", "starter", lambda facts: [Network(bytes([8, 8, 8, 8]), 32)]),
        AddressSource(
            "bypass:tor",
            "relays",
            lambda facts: parse_addresses(b"8.8.8.8\n9.9.0.0/16\n10.0.0.1\n", facts),
            {"url": "https://example.org/relays"},
        ),
    ]
    table = compile_addresses(sources, 5.0)
    assert table.lookup(bytes([8, 8, 8, 8])) == "bypass:doh", "the list that comes first"
    assert table.lookup(ipaddress.ip_address("9.9.9.9").packed) == "bypass:tor"
    assert (table.count, table.created) == (2, 5.0)
    starter, relays = table.sources
    assert (starter.name, starter.tag, starter.entries) == ("starter", "bypass:doh", 1)
    assert (relays.entries, relays.lines, relays.refused) == (2, 3, {"not-public": 1})
    assert relays.notes == {"url": "https://example.org/relays"} and relays.format == "addresses"
