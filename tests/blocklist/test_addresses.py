"""The table of addresses, against a search through all networks by Python's own `ipaddress`."""

from __future__ import annotations

import ipaddress
import struct
import sys
from array import array
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.addresses import (
    MAGIC,
    AddressTable,
    Network,
    build_table,
    from_bytes,
    parse_network,
    read_network,
)
from guardian.blocklist.facts import SourceFacts
from guardian.errors import ListError, TextError

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def table_of(**texts: str) -> AddressTable:
    return build_table((tag, parse_network(word)) for tag, text in texts.items() for word in text.split())


def carried(address: Ip) -> Ip:
    """The address of IPv4 that one of IPv6 carries, by ipaddress' own knowledge."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def search(pairs: list[tuple[str, Prefix]], address: Ip) -> str:
    """The slow and obvious way: of all networks that hold the address, the longest; of equal ones the first."""
    address = carried(address)
    best, length = "", -1
    tags = list(dict.fromkeys(tag for tag, _ in pairs))
    for tag, network in sorted(pairs, key=lambda pair: tags.index(pair[0])):
        if network.version == address.version and address in network and network.prefixlen > length:
            best, length = tag, network.prefixlen
    return best


# Few different bits, so that networks nest, touch and repeat.
_words = st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF])
_packed4 = st.lists(_words, min_size=4, max_size=4).map(bytes)
_packed6 = st.one_of(
    st.builds(lambda head, tail: head + tail, st.sampled_from([b"\x20\x01" + bytes(6), b"\x2a" + bytes(7)]), st.lists(
        _words, min_size=8, max_size=8).map(bytes)),
    st.lists(_words, min_size=16, max_size=16).map(bytes),
    _packed4.map(lambda v4: bytes(10) + b"\xff\xff" + v4),
    _packed4.map(lambda v4: b"\x00\x64\xff\x9b" + bytes(8) + v4),
    _packed4.map(lambda v4: b"\x20\x02" + v4 + bytes(10)),
)  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> Prefix:
    first = draw(st.one_of(_packed4, _packed6.filter(lambda p: carried(ipaddress.ip_address(p)).version == 6)))
    bits = draw(st.integers(0 if len(first) == 4 else 33, 8 * len(first)))  # wide ones of IPv6 hold what carries IPv4
    return ipaddress.ip_network((first, bits), strict=False)


@given(
    st.lists(st.tuples(st.sampled_from(["bypass:doh", "bypass:tor", "bypass:vpn"]), networks()), max_size=30),
    st.lists(st.one_of(_packed4, _packed6), max_size=20),
)
def test_a_lookup_is_what_a_search_through_all_networks_finds(
    pairs: list[tuple[str, Prefix]], asked: list[bytes]
) -> None:
    table = build_table((tag, Network(item.network_address.packed, item.prefixlen)) for tag, item in pairs)
    edges = [end.packed for _, item in pairs for end in (item.network_address, item.broadcast_address)]
    beyond = [
        ((int.from_bytes(edge, "big") + step) % (1 << 8 * len(edge))).to_bytes(len(edge), "big")
        for edge in edges
        for step in (-1, 1)
    ]
    again = from_bytes(table.to_bytes())
    assert table.count == again.count == len({item for _, item in pairs})
    for address in (*asked, *edges, *beyond):
        expected = search(pairs, ipaddress.ip_address(address))
        assert table.lookup(address) == again.lookup(address) == expected, ipaddress.ip_address(address)
    for _, item in pairs:
        assert table.find_overlap(Network(item.network_address.packed, item.prefixlen))


@given(st.lists(networks(), max_size=12), networks())
def test_overlaps_are_what_ipaddress_says(listed: list[Prefix], other: Prefix) -> None:
    table = build_table(("x", Network(item.network_address.packed, item.prefixlen)) for item in listed)
    expected = any(type(item) is type(other) and item.overlaps(other) for item in listed)
    assert bool(table.find_overlap(Network(other.network_address.packed, other.prefixlen))) is expected


def test_the_longest_prefix_wins_and_the_first_tag_stays() -> None:
    table = table_of(
        vpn="1.2.0.0/16 2a00::/16 1.2.3.4", tor="1.2.3.0/24 2a00:1::/32 1.2.3.4", doh="1.2.3.53 2a00:1::53 1.2.3.128/25"
    )
    assert table.count == 8
    for address, tag in {
        "1.1.255.255": "", "1.2.0.0": "vpn", "1.2.3.0": "tor", "1.2.3.52": "tor", "1.2.3.53": "doh", "1.2.3.54": "tor",
        "1.2.3.4": "vpn", "1.2.3.127": "tor", "1.2.3.128": "doh", "1.2.3.255": "doh", "1.2.4.0": "vpn", "1.3.0.0": "",
        "29ff::": "", "2a00::": "vpn", "2a00:1::52": "tor", "2a00:1::53": "doh", "2a00:1::54": "tor", "2a01::": "",
        "0.0.0.0": "", "255.255.255.255": "", "::": "", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "",
    }.items():  # fmt: skip
        assert table.lookup(packed(address)) == tag, address
    assert table.tags == ("", "vpn", "tor", "doh")


@pytest.mark.parametrize("text", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2002:808:808:5:6:7:8:9"])
def test_an_address_of_ipv6_that_carries_one_of_ipv4_is_that_one(text: str) -> None:
    assert table_of(doh="8.8.8.8").lookup(packed(text)) == "doh"
    assert table_of(doh=text).lookup(packed("8.8.8.8")) == "doh"
    assert table_of(doh="8.8.4.4 2a00::/16").lookup(packed(text)) == ""


def test_an_empty_table_knows_nothing() -> None:
    table = build_table(())
    assert (table.count, table.tags, table.lookup(bytes(4)), table.lookup(bytes(16))) == (0, ("",), "", "")
    assert from_bytes(table.to_bytes()).lookup(packed("8.8.8.8")) == ""


def test_the_whole_of_a_family_can_be_listed() -> None:
    table = build_table(
        [("all", Network(bytes(4), 0)), ("all6", Network(bytes(16), 0)), ("half", Network(b"\x80" + bytes(3), 1))]
    )
    assert [table.lookup(packed(text)) for text in ("0.0.0.0", "127.255.255.255", "128.0.0.0", "255.255.255.255")] == [
        "all", "all", "half", "half",
    ]  # fmt: skip
    assert table.lookup(packed("2a00::")) == "all6" and table.lookup(b"\xff" * 16) == "all6"


def test_a_hundred_thousand_addresses_are_small() -> None:
    """Sizes of arrays, no measurement: 10 bytes per address of IPv4, 34 of IPv6, and neighbours become one stretch."""
    alone = build_table(("tor", Network((number * 3 + (1 << 27)).to_bytes(4, "big"), 32)) for number in range(100_000))
    assert alone.count == 100_000 and alone.size <= 10 * 100_000 + 64
    row = build_table(("tor", Network((number + (1 << 27)).to_bytes(4, "big"), 32)) for number in range(100_000))
    assert row.count == 100_000 and row.size < 100
    wide = build_table(("tor", Network(b"\x2a" + (number * 3).to_bytes(15, "big"), 128)) for number in range(10_000))
    assert wide.size <= 34 * 10_000 + 64


def test_too_many_tags_are_refused() -> None:
    with pytest.raises(ListError, match="256 tags"):
        build_table((f"tag{number}", Network(bytes([9, number, 0, 0]), 32)) for number in range(256))


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("8.8.8.8", "8.8.8.8/32"), ("8.8.8.8/24", "8.8.8.0/24"), ("9.0.0.0/8", "9.0.0.0/8"), ("2a00::/16", "2a00::/16"),
        ("2001:4860:4860::8888", "2001:4860:4860::8888/128"), ("2A00:1:2:3::/64", "2a00:1:2:3::/64"),
        ("::ffff:8.8.8.0/120", "8.8.8.0/24"), ("64:ff9b::808:0/112", "8.8.0.0/16"), ("2002:808::/32", "8.8.0.0/16"),
        ("172.15.255.255", "172.15.255.255/32"), ("100.128.0.0/9", "100.128.0.0/9"),
        ("223.255.255.255", "223.255.255.255/32"),
    ],
)  # fmt: skip
def test_what_a_text_means(text: str, network: str) -> None:
    assert str(parse_network(text)) == network
    assert parse_network(network) == parse_network(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not"), ("example.com", "is not"), ("1.2.3", "is not"),
        ("1.2.3.4/33", "is not"), ("1.2.3.4/", "is not"), ("1.2.3.4/-1", "is not"),
        ("1.2.3.4/255.255.255.0", "is not"), ("1.2.3.04", "is not"), ("::1%lo", "is not"),
        ("١.2.3.4", "is not"), ("1.2.3.4/٢٤", "is not"), ("2a00::/129", "is not"),
        ("0.0.0.0/0", "takes too much"), ("8.0.0.0/7", "takes too much"), ("::/0", "takes too much"),
        ("2a00::/15", "takes too much"), ("::ffff:0:0/96", "takes too much"), ("2002::/16", "takes too much"),
        ("64:ff9b::/96", "takes too much"),
        ("0.0.0.0", "no public"), ("10.1.2.3", "no public"), ("172.16.0.0/12", "no public"),
        ("172.0.0.0/8", "no public"), ("192.0.0.0/8", "no public"), ("192.168.1.1", "no public"),
        ("100.64.0.0/10", "no public"), ("127.0.0.1", "no public"), ("169.254.0.1", "no public"),
        ("224.0.0.1", "no public"), ("255.255.255.255", "no public"), ("::", "no public"),
        ("::1", "no public"), ("fe80::1", "no public"), ("fd00::1", "no public"),
        ("ff02::fb", "no public"), ("64:ff9b::/64", "no public"), ("64:ff9b:1::8.8.8.8", "no public"),
        ("::ffff:192.168.1.1", "no public"), ("2002:a00::/24", "no public"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(TextError, match=why):
        parse_network(text)


@given(st.one_of(st.text(max_size=40), networks().map(str), _packed4.map(ipaddress.ip_address).map(str)))
def test_what_is_taken_is_public_and_not_wide(text: str) -> None:
    found = read_network(text)
    if isinstance(found, str):
        return
    network = ipaddress.ip_network((found.first, found.bits))
    assert network.prefixlen >= (8 if network.version == 4 else 16)
    for special in ("10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "::1/128", "fc00::/7"):
        other = ipaddress.ip_network(special)
        assert type(other) is not type(network) or not network.overlaps(other)


def made() -> bytes:
    facts = (
        SourceFacts("list", "bypass:tor", "block", "addresses", 3, 2, 2, {"too-wide": 1}, {}, {"url": "https://x"}),
    )
    pairs = [("bypass:tor", parse_network(text)) for text in ("8.8.8.8", "9.0.0.0/8", "2a00::1")]
    return build_table(pairs, facts, 1_790_000_000.0).to_bytes()


def test_a_file_gives_the_same_table() -> None:
    table = from_bytes(made())
    assert table.lookup(packed("9.1.2.3")) == table.lookup(packed("2a00::1")) == "bypass:tor"
    assert (table.count, table.created) == (3, 1_790_000_000.0)
    (source,) = table.sources
    assert (source.name, source.entries, source.refused, source.notes["url"]) == (
        "list",
        2,
        {"too-wide": 1},
        "https://x",
    )
    assert table.to_bytes() == made()


def test_every_flipped_byte_and_every_cut_is_noticed() -> None:
    data = made()
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        with pytest.raises(ListError):
            from_bytes(bytes(broken))
        with pytest.raises(ListError):
            from_bytes(data[:at])
    with pytest.raises(ListError, match="cut off"):
        from_bytes(data + b"x")
    with pytest.raises(ListError, match="version 9"):
        from_bytes(MAGIC + struct.pack("<H", 9) + data[10:])


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_even_with_a_right_checksum(body: bytes) -> None:
    head = made()[:44]
    for data in (body, MAGIC + body, head + struct.pack("<I", crc32(body, crc32(head))) + body):
        with pytest.raises(ListError):
            from_bytes(data)


def test_a_machine_of_the_other_byte_order_reads_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would hold in memory is what `byteswap` makes of ours."""
    data = made()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
        other = from_bytes(data)
        assert other.to_bytes() == data
    swapped = array("I", other._starts4)
    swapped.byteswap()
    assert swapped == from_bytes(data)._starts4
