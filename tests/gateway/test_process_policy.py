"""The policy at the socket: what a child, an adult and an unknown device get, and what never leaves the home."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype
import pytest

from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    NEWCOMER,
    TEEN,
    Running,
    Upstream,
    addresses,
    extended_errors,
    least_ttl,
    option,
    rcode,
)

PAGE = ["127.0.0.1"]  # `local.addresses`
FILTERED, CENSORED, BLOCKED, FORGED = 17, 16, 15, 4

# name, who -> addresses
ANSWERS = [
    ("www.open.example", CHILD, ["192.0.2.10"]),
    ("www.open.example", ADULT, ["192.0.2.10"]),
    ("www.open.example", TEEN, ["192.0.2.10"]),
    ("www.open.example", NEWCOMER, PAGE),  # 0-6: the list of allowed sites only
    ("www.open.example", GROUNDED, PAGE),
    ("two.open.example", CHILD, ["192.0.2.11", "192.0.2.12"]),
    ("category-adult.guardian.test", CHILD, PAGE),
    ("category-adult.guardian.test", TEEN, PAGE),
    ("category-adult.guardian.test", NEWCOMER, PAGE),
    ("category-adult.guardian.test", ADULT, []),
    ("service-tiktok.guardian.test", CHILD, PAGE),
    ("service-tiktok.guardian.test", ADULT, []),
    ("www.tiktok.com", CHILD, PAGE),
    ("www.tiktok.com", TEEN, ["192.0.2.30"]),
    ("www.tiktok.com", ADULT, ["192.0.2.30"]),
    ("mandatory.guardian.test", CHILD, PAGE),
    ("mandatory.guardian.test", ADULT, PAGE),
    ("mandatory.guardian.test", GROUNDED, PAGE),
    ("telefonulcopilului.md", CHILD, ["192.0.2.32"]),
    ("telefonulcopilului.md", NEWCOMER, ["192.0.2.32"]),
    ("telefonulcopilului.md", GROUNDED, ["192.0.2.32"]),
    ("blocked.example", CHILD, PAGE),
    ("blocked.example", ADULT, ["192.0.2.20"]),
    ("sub.blocked.example", CHILD, ["192.0.2.21"]),  # the rule is for the name alone
    ("no.rule.example", CHILD, PAGE),
    ("yes.rule.example", CHILD, ["192.0.2.23"]),
    ("cloaked.open.example", CHILD, PAGE),
    ("cloaked-twice.open.example", CHILD, PAGE),
    ("cloaked.open.example", ADULT, ["192.0.2.31"]),
    ("illegal.open.example", ADULT, PAGE),
    ("inside.open.example", CHILD, []),
    ("inside.open.example", ADULT, []),
    ("www.google.com", CHILD, ["192.0.2.40"]),
    ("www.google.com", ADULT, ["192.0.2.42"]),
    ("www.youtube.com", CHILD, ["192.0.2.41"]),
    ("www.youtube.com", ADULT, ["192.0.2.43"]),
    ("dns.google", CHILD, []),
    ("dns.google", ADULT, ["8.8.8.8"]),
    ("mask.icloud.com", CHILD, []),
    ("use-application-dns.net", CHILD, []),
    ("use-application-dns.net", ADULT, ["192.0.2.45"]),
    ("guardian.home.arpa", CHILD, ["127.0.0.1"]),
    ("guardian.home.arpa", GROUNDED, ["127.0.0.1"]),
    ("printer.home.arpa", CHILD, ["192.168.1.23"]),
    ("printer", CHILD, ["192.168.1.23"]),
    ("wpad.home.arpa", CHILD, []),
    ("localhost", CHILD, ["127.0.0.1"]),
]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(("name", "source", "expected"), ANSWERS)
def test_addresses(home: Running, name: str, source: str, expected: list[str], tcp: bool) -> None:
    assert addresses(home.ask(name, source=source, tcp=tcp)) == expected


@pytest.mark.parametrize(
    ("name", "source", "code", "errors"),
    [
        ("category-adult.guardian.test", CHILD, "NOERROR", [FILTERED, FORGED]),
        ("mandatory.guardian.test", ADULT, "NOERROR", [CENSORED, FORGED]),
        ("illegal.open.example", ADULT, "NOERROR", [CENSORED, FORGED]),
        ("inside.open.example", ADULT, "NOERROR", [BLOCKED]),
        ("dns.google", CHILD, "NXDOMAIN", [FILTERED]),
        ("use-application-dns.net", CHILD, "NXDOMAIN", [FILTERED]),
        ("www.open.example", GROUNDED, "NOERROR", [FILTERED, FORGED]),
        ("www.open.example", CHILD, "NOERROR", []),
        ("nothing.open.example", CHILD, "NXDOMAIN", []),
    ],
)
def test_reasons(home: Running, name: str, source: str, code: str, errors: list[int]) -> None:
    answer = home.ask(name, source=source)
    assert (rcode(answer), extended_errors(answer)) == (code, errors)
    without = home.ask(name, source=source, edns=False)
    assert (rcode(without), without.edns) == (code, -1)


def test_the_mandatory_reason_names_only_the_law(home: Running) -> None:
    answer = home.ask("illegal.open.example", source=ADULT)
    texts = b"".join(option.to_wire() for option in answer.options)
    assert b"guardian.test" not in texts and b"mandatory:" not in texts


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB", "MX", "TXT"])
def test_other_types_of_a_blocked_name_have_no_data(home: Running, kind: str) -> None:
    answer = home.ask("category-adult.guardian.test", kind)
    assert rcode(answer) == "NOERROR" and not answer.answer
    soa = answer.authority[0]
    assert soa.rdtype == dns.rdatatype.SOA and soa.ttl <= 10


def test_a_blocked_name_has_the_address_of_the_page_in_both_families(home: Running) -> None:
    assert addresses(home.ask("category-adult.guardian.test", "AAAA")) == ["::1"]
    assert least_ttl(home.ask("category-adult.guardian.test", "AAAA")) <= 10


def test_ech_is_taken_out_for_filtered_profiles_only(home: Running) -> None:
    child = home.ask("www.open.example", "HTTPS").answer[0][0].to_text()
    adult = home.ask("www.open.example", "HTTPS", source=ADULT).answer[0][0].to_text()
    assert "ech" in adult
    assert "ech" not in child and 'alpn="h2"' in child and "192.0.2.10" in child


def test_targets_of_https_records_meet_the_policy(home: Running) -> None:
    assert not home.ask("served.open.example", "HTTPS").answer
    assert home.ask("served.open.example", "HTTPS", source=ADULT).answer
    assert not home.ask("hint.open.example", "HTTPS", source=ADULT).answer


def test_safe_search_for_every_type(home: Running) -> None:
    answer = home.ask("www.google.com", "A")
    assert answer.answer[0].rdtype == dns.rdatatype.CNAME
    assert answer.answer[0][0].to_text() == "forcesafesearch.google.com."
    assert addresses(home.ask("www.google.com", "AAAA")) == ["2001:db8::40"]
    assert not home.ask("www.google.com", "HTTPS").answer
    assert home.ask("www.google.com", "HTTPS", source=ADULT).answer


def test_reverse_names(home: Running) -> None:
    answer = home.ask("23.1.168.192.in-addr.arpa", "PTR")
    assert (
        answer.answer[0][0].to_text() == "Printer.home.arpa." or answer.answer[0][0].to_text() == "printer.home.arpa."
    )
    own = home.ask("1.0.0.127.in-addr.arpa", "PTR")
    assert own.answer[0][0].to_text() in ("localhost.", "guardian.home.arpa.")
    assert rcode(home.ask("77.1.168.192.in-addr.arpa", "PTR")) == "NXDOMAIN"


PRIVATE = [
    ("router.home.arpa", "A"), ("nas.lan", "A"), ("nas.local", "A"), ("box.internal", "AAAA"), ("x.onion", "A"),
    ("77.1.168.192.in-addr.arpa", "PTR"), ("1.2.3.10.in-addr.arpa", "PTR"), ("1.16.172.in-addr.arpa", "PTR"),
    (f"{'.'.join('1' + '0' * 29)}.d.f.ip6.arpa", "PTR"), ("wpad", "A"), ("a.localhost", "A"), ("thing.test", "A"),
    ("_dns.resolver.arpa", "SVCB"), ("category-gambling.guardian.test", "A"), ("guardian.home.arpa", "MX"),
]  # fmt: skip


def test_private_and_blocked_names_never_reach_an_upstream(home: Running, upstream: Upstream) -> None:
    for name, kind in PRIVATE:
        for source in (CHILD, ADULT):
            home.ask(name, kind, source=source)
    blocked = ["blocked.example", "mandatory.guardian.test", "dns.google"]
    home.control("flush")
    upstream.asked.clear()
    for name in blocked:
        home.ask(name, source=CHILD)
    home.ask("last.any.example")
    assert upstream.names() == {"last.any.example"}
    assert not {name for name, _ in PRIVATE} & upstream.names()


def test_an_upstream_gets_no_option_of_the_client(home: Running, upstream: Upstream) -> None:
    subnet = dns.edns.ECSOption("203.0.113.0", 24)
    mac = option(65001, bytes.fromhex("02005e100001"))
    cookie = option(10, b"12345678")
    home.ask("options.any.example", options=[subnet, mac, cookie])
    wire = next(asked.wire for asked in upstream.asked if asked.name == "options.any.example")
    asked = dns.message.from_wire(wire)
    assert not asked.options
    assert asked.flags & dns.flags.RD
