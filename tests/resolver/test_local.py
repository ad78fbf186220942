"""What is answered at home, and the promise that nothing private goes to an upstream."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.names import MAX_NAME_BYTES, parse_name, reverse_name
from guardian.resolver.local import LocalAnswer, LocalNames, is_private_address, parse_reverse_name
from guardian.wire.dns import (
    FLAG_QR,
    RCODE_NOERROR,
    RCODE_NXDOMAIN,
    TYPE_A,
    TYPE_AAAA,
    TYPE_DNSKEY,
    TYPE_DS,
    TYPE_HTTPS,
    TYPE_NS,
    TYPE_PTR,
    TYPE_SOA,
    TYPE_SVCB,
    TYPE_TXT,
    Message,
    Question,
    Record,
    build_message,
    parse_message,
)

GATEWAY = parse_name("guardian.home.arpa")
ROUTER_4, ROUTER_6 = bytes([192, 168, 1, 1]), ipaddress.ip_address("fd00::1").packed
TABLET_4, TABLET_6 = bytes([192, 168, 1, 7]), ipaddress.ip_address("fd00::7").packed
TABLET_GLOBAL = ipaddress.ip_address("2a02:2f0e::7").packed


class Leases:
    """Leases as DHCP clients make them: the names are what devices call themselves."""

    def __init__(self, hosts: dict[str, tuple[bytes, ...]]) -> None:
        self.hosts = hosts

    def addresses_of(self, label: str) -> tuple[bytes, ...]:
        return self.hosts.get(label, ())

    def name_of(self, address: bytes) -> str | None:
        return next((label for label, addresses in self.hosts.items() if address in addresses), None)


LEASES = Leases(
    {
        "tablet": (TABLET_4, TABLET_6, TABLET_GLOBAL),
        "wpad": (bytes([192, 168, 1, 66]),),
        "guardian": (bytes([192, 168, 1, 67]),),
        "bad name." * 40: (bytes([192, 168, 1, 68]),),
        "x" * 64: (bytes([192, 168, 1, 69]),),
    }
)
FORWARDS = (parse_name("corp.example"), parse_name("5.168.192.in-addr.arpa"), parse_name("box.lan"))
HOME = LocalNames(GATEWAY, (ROUTER_4, ROUTER_6), hosts=LEASES, forwards=FORWARDS)


def ask(name: str, qtype: int, home: LocalNames = HOME, asked: bytes | None = ROUTER_4) -> LocalAnswer | None:
    return home.answer(parse_name(name), qtype, asked)


def reverse(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


def data(answer: LocalAnswer | None) -> list[bytes]:
    assert answer is not None
    return [record.rdata for record in answer.answers]


@pytest.mark.parametrize(
    ("name", "qtype", "expected"),
    [
        ("guardian.home.arpa", TYPE_A, [ROUTER_4]),
        ("guardian.home.arpa", TYPE_AAAA, [ROUTER_6]),
        ("guardian", TYPE_A, [ROUTER_4]),
        ("tablet.home.arpa", TYPE_A, [TABLET_4]),
        ("tablet.home.arpa", TYPE_AAAA, [TABLET_6, TABLET_GLOBAL]),
        ("tablet", TYPE_A, [TABLET_4]),
        ("localhost", TYPE_A, [b"\x7f\0\0\1"]),
        ("a.b.localhost", TYPE_AAAA, [bytes(15) + b"\1"]),
        (reverse("192.168.1.1"), TYPE_PTR, [GATEWAY]),
        (reverse("fd00::1"), TYPE_PTR, [GATEWAY]),
        (reverse("192.168.1.7"), TYPE_PTR, [parse_name("tablet.home.arpa")]),
        (reverse("fd00::7"), TYPE_PTR, [parse_name("tablet.home.arpa")]),
        (reverse("2a02:2f0e::7"), TYPE_PTR, [parse_name("tablet.home.arpa")]),  # public, but one of us
        (reverse("127.0.0.1"), TYPE_PTR, [parse_name("localhost")]),
        (reverse("::1"), TYPE_PTR, [parse_name("localhost")]),
        ("home.arpa", TYPE_NS, [GATEWAY]),
        ("10.in-addr.arpa", TYPE_NS, [parse_name("10.in-addr.arpa")]),  # RFC 6303 section 3
    ],
)
def test_answers_from_home(name: str, qtype: int, expected: list[bytes]) -> None:
    answer = ask(name, qtype)
    assert data(answer) == expected
    assert answer is not None
    assert answer.rcode == RCODE_NOERROR
    assert answer.authoritative
    assert {record.owner for record in answer.answers} == {parse_name(name)}


@pytest.mark.parametrize(
    ("name", "qtype", "rcode", "apex"),
    [
        ("guardian.home.arpa", TYPE_HTTPS, RCODE_NOERROR, "home.arpa"),
        ("guardian.home.arpa", TYPE_DS, RCODE_NOERROR, "home.arpa"),
        ("home.arpa", TYPE_A, RCODE_NOERROR, "home.arpa"),
        ("home.arpa", TYPE_DNSKEY, RCODE_NOERROR, "home.arpa"),
        ("nobody.home.arpa", TYPE_A, RCODE_NXDOMAIN, "home.arpa"),
        ("x.tablet.home.arpa", TYPE_A, RCODE_NXDOMAIN, "home.arpa"),
        ("tablet.home.arpa", TYPE_TXT, RCODE_NOERROR, "home.arpa"),
        ("localhost", TYPE_TXT, RCODE_NOERROR, "localhost"),
        ("invalid", TYPE_A, RCODE_NXDOMAIN, "invalid"),
        ("x.onion", TYPE_A, RCODE_NXDOMAIN, "onion"),
        ("x.onion", TYPE_DS, RCODE_NXDOMAIN, "onion"),
        ("printer.local", TYPE_A, RCODE_NXDOMAIN, "local"),
        ("x.test", TYPE_A, RCODE_NXDOMAIN, "test"),
        ("nas.lan", TYPE_A, RCODE_NXDOMAIN, "lan"),
        ("_dns.resolver.arpa", TYPE_SVCB, RCODE_NOERROR, "resolver.arpa"),
        (reverse("192.168.1.99"), TYPE_PTR, RCODE_NXDOMAIN, "168.192.in-addr.arpa"),
        (reverse("192.168.1.7"), TYPE_TXT, RCODE_NOERROR, "168.192.in-addr.arpa"),
        ("1.168.192.in-addr.arpa", TYPE_PTR, RCODE_NOERROR, "168.192.in-addr.arpa"),  # hosts below it
        ("b._dns-sd._udp.0.1.168.192.in-addr.arpa", TYPE_PTR, RCODE_NXDOMAIN, "168.192.in-addr.arpa"),
        ("256.1.168.192.in-addr.arpa", TYPE_PTR, RCODE_NXDOMAIN, "168.192.in-addr.arpa"),
        (reverse("::ffff:192.168.1.99"), TYPE_PTR, RCODE_NXDOMAIN, ".".join("ffff" + "0" * 20) + ".ip6.arpa"),
        ("printer", TYPE_A, RCODE_NOERROR, "printer"),
        ("com", TYPE_A, RCODE_NOERROR, "com"),  # never NXDOMAIN: RFC 8020
        ("printer2", TYPE_DS, RCODE_NOERROR, "printer2"),  # no top-level domain looks like this
        ("tablet", TYPE_DS, RCODE_NOERROR, "tablet"),
    ],
)
def test_says_no_with_an_soa(name: str, qtype: int, rcode: int, apex: str) -> None:
    answer = ask(name, qtype)
    assert answer is not None
    assert (answer.rcode, answer.answers) == (rcode, ())
    (soa,) = answer.authority
    assert (soa.owner, soa.type) == (parse_name(apex), TYPE_SOA)
    assert soa.ttl == int.from_bytes(soa.rdata[-4:], "big")  # RFC 2308 section 5


@pytest.mark.parametrize(
    ("name", "qtype"),
    [
        (".", TYPE_NS),
        ("example.com", TYPE_A),
        ("ipv4only.arpa", TYPE_AAAA),
        ("use-application-dns.net", TYPE_A),
        (reverse("8.8.8.8"), TYPE_PTR),
        (reverse("2001:4860::8888"), TYPE_PTR),
        (reverse("172.32.0.1"), TYPE_PTR),
        (reverse("100.128.0.1"), TYPE_PTR),
        (reverse("64:ff9b::8.8.8.8"), TYPE_PTR),
        ("in-addr.arpa", TYPE_NS),
        # The parent of these is public: a validator must see the proof that they are insecure (RFC 8375 section 4).
        ("home.arpa", TYPE_DS),
        ("10.in-addr.arpa", TYPE_DS),
        ("d.f.ip6.arpa", TYPE_DS),
        ("com", TYPE_DS),
        ("xn--p1ai", TYPE_DNSKEY),
        # A forward's own servers know.
        ("corp.example", TYPE_A),
        ("a.b.corp.example", TYPE_A),
        ("nas.box.lan", TYPE_A),
        (reverse("192.168.5.9"), TYPE_PTR),
    ],
)
def test_leaves_the_rest_to_the_caller(name: str, qtype: int) -> None:
    assert ask(name, qtype) is None


def test_equal_forward_beats_the_zone_but_never_the_gateway() -> None:
    home = LocalNames(GATEWAY, (ROUTER_4,), hosts=LEASES, forwards=[parse_name("home.arpa"), b"\0"])
    assert ask("tablet.home.arpa", TYPE_A, home) is None
    assert data(ask("guardian.home.arpa", TYPE_A, home)) == [ROUTER_4]
    assert ask("x.onion", TYPE_A, home) is not None  # a forward of the root opens nothing


def test_gateway_without_configured_addresses_is_the_one_that_was_asked() -> None:
    home = LocalNames(GATEWAY)
    mapped = bytes(10) + b"\xff\xff" + ROUTER_4
    assert data(ask("guardian.home.arpa", TYPE_A, home, ROUTER_4)) == [ROUTER_4]
    assert data(ask("guardian.home.arpa", TYPE_A, home, mapped)) == [ROUTER_4]
    assert data(ask("guardian.home.arpa", TYPE_AAAA, home, ROUTER_4)) == []
    assert data(ask("guardian.home.arpa", TYPE_AAAA, home, ROUTER_6)) == [ROUTER_6]
    assert data(ask(reverse("192.168.1.1"), TYPE_PTR, home, ROUTER_4)) == [GATEWAY]
    assert data(ask("guardian.home.arpa", TYPE_A, home, None)) == []


def test_another_zone_keeps_its_name_at_home_and_home_arpa_stays_empty() -> None:
    home = LocalNames(parse_name("a.b.casa.example"), (ROUTER_4,), parse_name("casa.example"), LEASES)
    assert data(ask("tablet.casa.example", TYPE_A, home)) == [TABLET_4]
    assert data(ask(reverse("192.168.1.7"), TYPE_PTR, home)) == [parse_name("tablet.casa.example")]
    between = ask("b.casa.example", TYPE_A, home)
    assert between is not None
    assert between.rcode == RCODE_NOERROR
    assert ask("casa.example", TYPE_DS, home) is not None  # the zone's name is nobody's business
    empty = ask("tablet.home.arpa", TYPE_A, home)
    assert empty is not None
    assert empty.rcode == RCODE_NXDOMAIN


@pytest.mark.parametrize("name", ["wpad.home.arpa", "wpad", "guardian.home.arpa", "guardian"])
def test_a_device_cannot_take_a_name_that_others_trust(name: str) -> None:
    assert data(ask(name, TYPE_A)) == ([ROUTER_4] if "guardian" in name else [])


@pytest.mark.parametrize("address", ["192.168.1.66", "192.168.1.67", "192.168.1.68", "192.168.1.69"])
def test_bad_lease_names_have_no_reverse(address: str) -> None:
    answer = ask(reverse(address), TYPE_PTR)
    assert answer is not None
    assert answer.rcode == RCODE_NXDOMAIN


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PRIVATE_NETWORKS = [
    *map(ipaddress.ip_network, ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"]),
    *map(ipaddress.ip_network, ["0.0.0.0/8", "100.64.0.0/10", "fc00::/7", "fe80::/10", "fec0::/10", "::1", "::"]),
    *map(ipaddress.ip_network, ["::ffff:10.0.0.0/104", "::ffff:192.168.0.0/112", "::127.0.0.0/104"]),
    *map(ipaddress.ip_network, ["64:ff9b::192.168.0.0/112", "64:ff9b:1::/48"]),
]
TYPES = st.one_of(st.integers(0, 65535), st.sampled_from([TYPE_A, TYPE_PTR, TYPE_DS, TYPE_SOA, TYPE_DNSKEY, TYPE_NS]))
LABELS = st.lists(st.binary(min_size=1, max_size=20), max_size=4)
ALL_NETWORKS = st.one_of(
    st.ip_addresses(),
    st.sampled_from(PRIVATE_NETWORKS).flatmap(lambda network: st.ip_addresses(network=network)),
)


def wire(labels: list[bytes], parent: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label.lower() for label in labels) + parent


@given(st.sampled_from(PRIVATE_NETWORKS).flatmap(lambda network: st.ip_addresses(network=network)), TYPES, LABELS)
def test_no_private_address_goes_to_an_upstream(address: Address, qtype: int, labels: list[bytes]) -> None:
    home = LocalNames(GATEWAY, (ROUTER_4, ROUTER_6), hosts=LEASES)
    assert is_private_address(address.packed)
    name = reverse_name(address.packed)
    constant = address in (ipaddress.ip_address("::"), ipaddress.ip_address("::1")) and qtype == TYPE_DS
    assert home.answer(name, qtype, ROUTER_4) is not None or constant
    if labels and not address.packed.startswith(b"\0\x64\xff\x9b\0\0"):
        assert home.answer(wire(labels, name), qtype, ROUTER_4) is not None


SPECIAL = ["home.arpa", "localhost", "local", "invalid", "test", "onion", "alt", "internal", "lan", "home", "corp"]


@given(st.sampled_from([*SPECIAL, ""]), LABELS, TYPES)
def test_no_private_name_goes_to_an_upstream(parent: str, labels: list[bytes], qtype: int) -> None:
    """A name of one label that looks like a top-level domain and is nobody's here may be asked for its keys."""
    if not parent:
        labels = labels[:1] or [b"printer"]
    name = wire(labels, parse_name(parent or "."))
    answer = LocalNames(GATEWAY, (ROUTER_4,), hosts=LEASES).answer(name, qtype, ROUTER_4)
    if answer is None:
        assert name == parse_name("home.arpa") or not parent
        assert qtype in (TYPE_DS, TYPE_DNSKEY, TYPE_NS, TYPE_SOA)
    else:
        records = answer.answers + answer.authority
        question = Question(name, qtype, 1)
        message = Message(1, FLAG_QR | answer.rcode, question, answer.answers, answer.authority)
        parsed = parse_message(build_message(message))
        assert parsed.answers + parsed.authority == records
        assert all(isinstance(record, Record) and len(record.owner) <= MAX_NAME_BYTES for record in records)


@given(ALL_NETWORKS)
def test_private_addresses_are_those_of_the_table(address: Address) -> None:
    expected = any(address in network for network in PRIVATE_NETWORKS if network.version == address.version)
    compatible = address.version == 6 and address.packed[:12] in (bytes(12), bytes(10) + b"\xff\xff")
    if compatible or address.packed.startswith(b"\0\x64\xff\x9b" + bytes(8)):
        expected |= is_private_address(address.packed[12:])
    assert is_private_address(address.packed) == expected
    assert parse_reverse_name(reverse_name(address.packed)) == address.packed


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=6), st.sampled_from(["in-addr.arpa", "ip6.arpa"]), TYPES)
def test_odd_reverse_names_never_raise(labels: list[bytes], parent: str, qtype: int) -> None:
    name = wire(labels, parse_name(parent))
    answer = HOME.answer(name, qtype, None)
    assert answer is None or answer.rcode in (RCODE_NOERROR, RCODE_NXDOMAIN)
    misaligned = bytes([len(name[:-6])]) + name[:-6] + parse_name("arpa") if len(name) < 60 else name
    assert HOME.answer(misaligned, qtype, None) is None or len(name) >= 60
