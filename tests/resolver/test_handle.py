"""The life of a query: what is answered, how, and what is asked upstream."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import BlockMode
from guardian.names import parse_name
from guardian.resolver.answer import Ready
from guardian.resolver.cache import Entry
from guardian.resolver.handle import Miss
from guardian.wire import dns as wire
from tests.resolver.engine import ADULT, CHILD, CHILD_MAC, NOON, PROXY, Engine, make_engine, make_query


def extended_errors(message: dns.message.Message) -> list[int]:
    return [int(option.code) for option in message.options if isinstance(option, dns.edns.EDEOption)]


def texts(message: dns.message.Message) -> list[str]:
    return [str(rrset) for rrset in message.answer]


# Messages that are no ordinary queries


def test_responses_and_stumps_get_silence(engine: Engine) -> None:
    query = make_query("a.example")
    assert engine.handle(query[:2] + bytes((query[2] | 0x80,)) + query[3:]) is None
    assert engine.handle(query[:11]) is None
    assert engine.handle(b"") is None


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_opcodes_are_not_implemented(engine: Engine, opcode: int) -> None:
    query = bytearray(make_query("a.example"))
    query[2] |= opcode << 3
    outcome = engine.handle(bytes(query))
    assert isinstance(outcome, Ready)
    reply = outcome.reply_to(bytes(query))
    assert reply[:2] == query[:2]
    assert reply[3] & 15 == dns.rcode.NOTIMP
    assert reply[2] >> 3 & 15 == opcode


def test_broken_questions_get_formerr(engine: Engine) -> None:
    query = make_query("a.example", edns=False)
    for broken in (query + b"x", query[:-1], query[:5] + b"\2" + query[6:], query[:12] + b"\xc0\x0c\0\1\0\1"):
        outcome = engine.handle(broken)
        assert isinstance(outcome, Ready)
        reply = dns.message.from_wire(outcome.reply_to(broken))
        assert reply.rcode() == dns.rcode.FORMERR
        assert reply.id == int.from_bytes(query[:2])


def test_unknown_edns_versions_get_badvers(engine: Engine) -> None:
    query = dns.message.make_query("a.example", "A", use_edns=1)
    reply = engine.ask(query.to_wire())
    assert reply.rcode() == dns.rcode.BADVERS
    assert reply.edns == 0


@pytest.mark.parametrize(
    ("kind", "rcode"), [(41, "FORMERR"), (249, "NOTIMP"), (250, "FORMERR"), (251, "REFUSED"), (252, "REFUSED")]
)
def test_meta_types_are_refused(engine: Engine, kind: int, rcode: str) -> None:
    packet = make_query("a.example", edns=False)
    packet = packet[:-4] + kind.to_bytes(2) + packet[-2:]
    outcome = engine.handle(packet)
    assert isinstance(outcome, Ready)
    assert outcome.reply_to(packet)[3] & 15 == dns.rcode.from_text(rcode)


def test_other_classes_are_refused(engine: Engine) -> None:
    query = dns.message.make_query("version.bind", "TXT", "CH")
    assert engine.ask(query.to_wire()).rcode() == dns.rcode.REFUSED


def test_any_gets_one_hinfo_and_asks_nobody(engine: Engine) -> None:
    reply = engine.ask(make_query("a.example", "ANY"))
    assert texts(reply) == ['a.example. 300 IN HINFO "RFC8482" ""']


def test_without_recursion_desired_only_the_home_answers(engine: Engine) -> None:
    assert engine.ask(make_query("a.example", flags=0)).rcode() == dns.rcode.REFUSED
    assert engine.ask(make_query("guardian.home.arpa", flags=0)).rcode() == dns.rcode.NOERROR


# Answers


def test_an_answer_counts_down_and_ends(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 60 A 192.0.2.1")
    assert texts(engine.ask(packet)) == ["a.example. 60 IN A 192.0.2.1"]
    engine.wait(45)
    assert texts(engine.ask(packet)) == ["a.example. 15 IN A 192.0.2.1"]
    engine.wait(15)
    assert engine.miss(packet).stale is not None


def test_a_ready_answer_counts_down_like_the_long_way(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 60 A 192.0.2.1\na.example. 60 A 192.0.2.2")
    engine.ask(packet)
    ready = engine.client().ready[packet[2:]]
    engine.wait(20)
    assert engine.second < ready.ends
    ready.renew(engine.second)
    assert ready.reply_to(packet) == engine.handle(packet).reply_to(packet)  # type: ignore[union-attr]
    assert dns.message.from_wire(ready.reply_to(packet)).answer[0].ttl == 40


def test_the_case_of_the_question_comes_back(engine: Engine) -> None:
    engine.feed(make_query("a.example"), "a.example. 60 A 192.0.2.1")
    packet = make_query("A.eXaMpLe")
    outcome = engine.handle(packet)
    assert isinstance(outcome, Ready)
    assert b"\1A\7eXaMpLe\0" in outcome.reply_to(packet)


def test_no_ttl_outlives_the_decision(engine: Engine) -> None:
    """Bedtime is at 21:00: an hour before it an answer for a day is given for an hour."""
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 86400 A 192.0.2.1")
    engine.wait(8 * 3600)
    assert engine.ask(packet).answer[0].ttl == 3600
    ready = engine.client().ready[packet[2:]]
    engine.wait(3000)
    ready.renew(engine.second)
    assert dns.message.from_wire(ready.reply_to(packet)).answer[0].ttl == 599  # it may be given late in the second
    assert ready.ends == engine.second + 599
    assert engine.ask(packet, ADULT).answer[0].ttl == 86400 - 8 * 3600 - 3000
    engine.wait(600)
    assert extended_errors(engine.ask(packet)) == [17, 4]


def test_ad_is_given_to_those_who_ask_for_it(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 60 A 192.0.2.1", flags=dns.flags.RA | dns.flags.AD)
    assert not engine.ask(packet).flags & dns.flags.AD
    assert engine.ask(make_query("a.example", flags=dns.flags.RD | dns.flags.AD)).flags & dns.flags.AD


def test_checking_disabled_is_kept_apart_and_passed_on(engine: Engine) -> None:
    packet = make_query("a.example", flags=dns.flags.RD | dns.flags.CD)
    assert engine.miss(packet).checking_disabled
    engine.feed(packet, "a.example. 60 A 192.0.2.66")
    assert engine.ask(packet).flags & dns.flags.CD
    assert not engine.miss(make_query("a.example")).checking_disabled


def test_dnssec_ok_is_passed_on_and_said_back(engine: Engine) -> None:
    packet = make_query("a.example", dnssec=True)
    assert engine.miss(packet).dnssec_ok
    engine.feed(packet, "a.example. 60 A 192.0.2.1")
    assert engine.ask(packet).ednsflags & dns.flags.DO
    assert isinstance(engine.handle(make_query("a.example")), Miss)


def test_long_answers_are_truncated_over_udp_and_whole_over_tcp(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "\n".join(f"a.example. 60 A 192.0.2.{n}" for n in range(200)))
    reply = engine.ask(packet)
    assert reply.flags & dns.flags.TC
    assert not reply.answer
    assert reply.edns == 0
    assert len(engine.ask(packet, limit=65535).answer[0]) == 200
    assert engine.ask(packet).flags & dns.flags.TC  # what TCP got did not become UDP's answer


def test_what_is_truncated_anyway_costs_no_rendering(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond for each UDP query of a name with 4,000 addresses: one client could have used up the processor."""
    packet = make_query("a.example")
    engine.feed(packet, "\n".join(f"a.example. 60 A 192.0.2.{n}" for n in range(200)))
    rendered: list[int] = []

    def render(entry: Entry, second: int, cap: int) -> bytes:
        rendered.append(second)
        return entry.records

    monkeypatch.setattr(Entry, "render", render)
    assert engine.ask(packet).flags & dns.flags.TC
    assert not rendered
    assert engine.ask(packet, limit=65535).answer
    assert len(rendered) == 1


def test_the_payload_is_at_least_512_and_at_most_1232(engine: Engine) -> None:
    engine.feed(make_query("a.example"), "\n".join(f"a.example. 60 A 192.0.2.{n}" for n in range(28)))
    engine.feed(make_query("b.example"), "\n".join(f"b.example. 60 A 192.0.2.{n}" for n in range(90)))
    assert not engine.ask(make_query("a.example", payload=100)).flags & dns.flags.TC
    assert not engine.ask(make_query("a.example", edns=False)).flags & dns.flags.TC
    assert engine.ask(make_query("b.example", payload=4096)).flags & dns.flags.TC


def test_unknown_types_pass_through(engine: Engine) -> None:
    packet = make_query("a.example", "TYPE1234")
    engine.feed(packet, "a.example. 60 TYPE1234 \\# 3 010203")
    assert texts(engine.ask(packet)) == ["a.example. 60 IN TYPE1234 \\# 3 010203"]


def test_no_data_carries_its_soa(engine: Engine) -> None:
    packet = make_query("a.example", "MX")
    engine.feed(packet, "authority example. 900 SOA ns.example. h.example. 1 2 3 4 120")
    engine.wait(20)
    reply = engine.ask(packet)
    assert not reply.answer
    assert reply.authority[0].ttl == 880
    engine.wait(100)
    assert isinstance(engine.handle(packet), Miss)  # RFC 2308: the SOA's minimum is the lifetime


def test_the_home_answers_for_itself(engine: Engine) -> None:
    assert texts(engine.ask(make_query("guardian.home.arpa"))) == ["guardian.home.arpa. 60 IN A 192.168.1.1"]
    assert engine.ask(make_query("printer.local")).rcode() == dns.rcode.NXDOMAIN


# Policy


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("bet.example", [17, 4]),
        ("www.bet.example", [17, 4]),
        ("blocked.example", [17, 4]),
        ("illegal.example", [16, 4]),
    ],
)
def test_blocked_names_lead_to_the_page_and_say_why(engine: Engine, name: str, codes: list[int]) -> None:
    reply = engine.ask(make_query(name))
    assert texts(reply) == [f"{name}. 10 IN A 192.168.1.1"]
    assert extended_errors(reply) == codes
    reply = engine.ask(make_query(name, "AAAA"))
    assert texts(reply) == [f"{name}. 10 IN AAAA fd00::1"]
    for kind in ("HTTPS", "SVCB", "MX", "TXT"):
        reply = engine.ask(make_query(name, kind))
        assert (reply.rcode(), reply.answer, reply.authority[0].ttl) == (dns.rcode.NOERROR, [], 10)


def test_the_reason_never_tells_a_mandatory_name(engine: Engine) -> None:
    reply = engine.ask(make_query("www.illegal.example", "TXT"))
    said = " ".join(str(option) for option in reply.options)
    assert "illegal" not in said


@pytest.mark.parametrize(
    ("mode", "rcode", "answers"),
    [
        (BlockMode.NXDOMAIN, dns.rcode.NXDOMAIN, []),
        (BlockMode.NODATA, dns.rcode.NOERROR, []),
        (BlockMode.NULL, dns.rcode.NOERROR, ["bet.example. 10 IN A 0.0.0.0"]),
    ],
)
def test_blocks_as_configured(mode: BlockMode, rcode: int, answers: list[str]) -> None:
    reply = make_engine(mode).ask(make_query("bet.example"))
    assert (reply.rcode(), texts(reply)) == (rcode, answers)
    assert bool(reply.authority) is not bool(answers)


def test_a_block_without_edns_has_no_reason(engine: Engine) -> None:
    reply = engine.ask(make_query("bet.example", edns=False))
    assert reply.edns == -1
    assert texts(reply) == ["bet.example. 10 IN A 192.168.1.1"]


def test_the_ttl_of_a_block_ends_with_the_decision(engine: Engine) -> None:
    engine.wait(19 * 3600 - 4)  # bedtime ends at 07:00
    packet = make_query("a.example")
    assert engine.ask(packet).answer[0].ttl == 4
    assert packet[2:] not in engine.client().ready  # the rest of the second would be too much
    engine.wait(4)
    assert isinstance(engine.handle(packet), Miss)


def test_adults_and_mandatory_lists(engine: Engine) -> None:
    assert isinstance(engine.handle(make_query("bet.example"), ADULT), Miss)
    assert extended_errors(engine.ask(make_query("illegal.example"), ADULT)) == [16, 4]


def test_canaries_do_not_exist_for_children(engine: Engine) -> None:
    assert engine.ask(make_query("use-application-dns.net")).rcode() == dns.rcode.NXDOMAIN
    assert isinstance(engine.handle(make_query("use-application-dns.net"), ADULT), Miss)


def test_a_cname_to_a_blocked_name_is_blocked(engine: Engine) -> None:
    packet = make_query("innocent.example")
    text = "innocent.example. 60 CNAME x.cloak.example.\nx.cloak.example. 60 A 192.0.2.1"
    engine.feed(packet, text)
    assert texts(engine.ask(packet)) == ["innocent.example. 10 IN A 192.168.1.1"]
    assert len(engine.ask(packet, ADULT).answer) == 2


def test_an_https_target_is_judged_too(engine: Engine) -> None:
    packet = make_query("innocent.example", "HTTPS")
    engine.feed(packet, "innocent.example. 60 HTTPS 0 x.cloak.example.")
    assert extended_errors(engine.ask(packet)) == [17]


def test_ech_goes_for_children_and_stays_for_adults(engine: Engine) -> None:
    packet = make_query("a.example", "HTTPS")
    engine.feed(packet, "a.example. 60 HTTPS 1 . alpn=h2 ech=AA3+DQAJAAAAAAAAAAAA ipv4hint=192.0.2.1")
    assert "ech" not in str(engine.ask(packet))
    assert "192.0.2.1" in str(engine.ask(packet))
    assert "ech=" in str(engine.ask(packet, ADULT))


def test_a_public_name_with_a_private_address_is_blocked_for_all(engine: Engine) -> None:
    for kind, text in (("A", "A 192.168.1.1"), ("AAAA", "AAAA fd00::1"), ("HTTPS", "HTTPS 1 . ipv4hint=10.0.0.1")):
        packet = make_query("a.example", kind)
        engine.feed(packet, f"a.example. 60 {text}")
        for address in (CHILD, ADULT):
            reply = engine.ask(packet, address)
            assert (reply.answer, extended_errors(reply)) == ([], [15])


def test_safe_search_is_a_cname_to_the_safe_twin(engine: Engine) -> None:
    packet = make_query("www.search.example")
    miss = engine.miss(packet)
    assert miss.name == parse_name("safe.search.example")
    engine.cache.put(engine.entry(miss, "safe.search.example. 300 A 192.0.2.7"))
    reply = engine.ask(packet)
    assert texts(reply) == [
        "www.search.example. 300 IN CNAME safe.search.example.",
        "safe.search.example. 300 IN A 192.0.2.7",
    ]
    https = engine.ask(make_query("www.search.example", "HTTPS"))
    assert (https.rcode(), https.answer) == (dns.rcode.NOERROR, [])
    assert engine.miss(packet, ADULT).name == parse_name("www.search.example")


def test_helplines_leave_no_fact_even_at_bedtime(engine: Engine) -> None:
    engine.wait(10 * 3600)
    packet = make_query("help.example")
    engine.feed(packet, "help.example. 60 A 192.0.2.1")
    outcome = engine.handle(packet)
    assert isinstance(outcome, Ready)
    assert outcome.fact is None
    assert texts(engine.ask(packet)) == ["help.example. 60 IN A 192.0.2.1"]


def test_facts_of_blocks_name_the_tag(engine: Engine) -> None:
    outcome = engine.handle(make_query("bet.example"))
    assert isinstance(outcome, Ready)
    assert outcome.fact is not None and outcome.fact[:3] == ("block", "category", "category:gambling")


def test_a_mandatory_list_in_a_helplines_way_is_told_when_it_is_found(engine: Engine) -> None:
    lost: list[bool] = []
    engine.handler.lose_helpline = lambda: lost.append(True)
    packet = make_query("help.example")
    engine.feed(packet, "help.example. 60 CNAME illegal.example.\nillegal.example. 60 A 192.0.2.1")
    assert texts(engine.ask(packet)) == ["help.example. 10 IN A 192.168.1.1"]  # the block page
    assert lost
    before = len(lost)
    engine.feed(make_query("www.example"), "www.example. 60 CNAME illegal.example.\nillegal.example. 60 A 192.0.2.1")
    engine.ask(make_query("www.example"))
    assert len(lost) == before  # no helpline


# Behind dnsmasq


def test_the_mac_option_names_the_device_from_loopback_only(engine: Engine) -> None:
    option = dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_MAC), CHILD_MAC)
    packet = make_query("bet.example", options=[option])
    assert extended_errors(engine.ask(packet, PROXY)) == [17, 4]
    assert isinstance(engine.handle(make_query("bet.example"), PROXY), Miss)
    assert isinstance(engine.handle(packet, ADULT), Miss)
    assert packet[2:] not in engine.client(ADULT).ready  # what the proxy may ask is not found by others


def test_upstream_is_asked_the_question_alone(engine: Engine) -> None:
    options = [dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_MAC), CHILD_MAC), dns.edns.ECSOption("10.0.0.2")]
    miss = engine.miss(make_query("A.example", options=options), PROXY)
    assert miss.question == b"\1a\7example\0\0\1\0\1"


def test_options_that_are_not_ours_are_neither_answered_nor_sent_on(engine: Engine) -> None:
    """Client subnet, cookie, keepalive, padding, and one that nobody knows."""
    options: list[dns.edns.Option] = [dns.edns.ECSOption("10.0.0.2")]
    options += [
        dns.edns.GenericOption(dns.edns.OptionType(code), bytes(size))
        for code, size in ((10, 8), (11, 0), (12, 40), (65300, 3))
    ]
    packet = make_query("a.example", options=options)
    assert engine.miss(packet) == engine.miss(make_query("a.example"))
    engine.feed(packet, "a.example. 60 A 192.0.2.1")
    for query in (packet, make_query("bet.example", options=options)):
        reply = engine.ask(query)
        assert {int(option.otype) for option in reply.options} <= {wire.OPTION_EDE}


# What is kept


def test_one_block_serves_all_names_of_a_category(engine: Engine) -> None:
    first = engine.handle(make_query("a.bet.example"))
    second = engine.handle(make_query("b.bet.example"))
    assert first is second
    assert len(engine.clients.budget) == 2


def test_devices_of_one_profile_share_their_answers(engine: Engine) -> None:
    other = b"\x0a\0\0\x63"  # unknown: the profile of new devices is the child's
    engine.handle(make_query("bet.example"))
    assert engine.client(other).ready is engine.client(CHILD).ready
    assert engine.client(ADULT).ready is not engine.client(CHILD).ready


def test_popular_names_are_fetched_before_they_expire(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 100 A 192.0.2.1")
    for _ in range(5):
        engine.ask(packet)
    assert not engine.prefetched
    engine.wait(91)
    engine.ask(packet)
    assert [miss.name for miss in engine.prefetched] == [parse_name("a.example")]


def test_a_fetch_in_advance_speaks_for_adults_too(engine: Engine) -> None:
    """Asked by a child, whose answers have no ech: what is kept as stale data must still have it."""
    packet = make_query("a.example", "HTTPS")
    engine.feed(packet, "a.example. 100 HTTPS 1 . alpn=h2 ech=AA3+DQAJAAAAAAAAAAAA")
    engine.wait(91)
    for _ in range(4):
        engine.ask(packet)
    assert engine.prefetched[0].stale is not None
    assert engine.prefetched[0].stale.has_ech


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        ("A", "a.example. 60 A 192.168.1.1", "a.example. 60 A 192.0.2.1"),
        ("A", "a.example. 60 CNAME x.cloak.example.", "a.example. 60 A 192.0.2.1"),
        ("HTTPS", "a.example. 60 HTTPS 0 x.cloak.example.", "a.example. 60 HTTPS 1 . alpn=h2"),
    ],
)
def test_what_is_blocked_for_its_answer_is_judged_anew_when_that_expires(
    engine: Engine, kind: str, bad: str, good: str
) -> None:
    """It used to be kept like a listed name: until bedtime, or for a day."""
    packet = make_query("a.example", kind)
    engine.feed(packet, bad + ("\nx.cloak.example. 60 A 192.0.2.1" if "CNAME" in bad else ""))
    assert extended_errors(engine.ask(packet))
    ready = engine.client().ready[packet[2:]]
    assert ready.good_until == engine.second + 60
    engine.wait(60)
    engine.feed(packet, good)
    assert not extended_errors(engine.ask(packet))


def test_a_safe_twin_at_home_is_rebinding_too(engine: Engine) -> None:
    packet = make_query("www.search.example")
    engine.cache.put(engine.entry(engine.miss(packet), "safe.search.example. 300 A 192.168.1.1"))
    assert extended_errors(engine.ask(packet)) == [15]


def test_mixed_lengths_share_one_block(engine: Engine) -> None:
    """One Ready for short and long names: the same tail behind each, and never over the payload."""
    long = ".".join(["a" * 63] * 3 + ["b" * 40, "bet.example"])
    for edns in (True, False):
        for name in ("bet.example", long, "x.bet.example"):
            packet = make_query(name, edns=edns, payload=512) if edns else make_query(name, edns=False)
            outcome = engine.handle(packet)
            assert isinstance(outcome, Ready)
            reply = outcome.reply_to(packet)
            assert len(reply) <= 512
            assert texts(dns.message.from_wire(reply)) == [f"{name}. 10 IN A 192.168.1.1"]


def test_the_clock_of_the_tests_is_what_they_say() -> None:
    assert NOON % 86400 == 12 * 3600


@given(st.binary(max_size=80), st.data())
def test_any_bytes_get_an_answer_or_silence(noise: bytes, data: st.DataObject) -> None:
    """The invariant: `handle` never raises, and a reply has the id of its query and is a response."""
    engine = make_engine()
    packet = bytearray(
        data.draw(st.sampled_from([make_query("bet.example"), make_query("a.example", dnssec=True), noise]))
    )
    for _ in range(data.draw(st.integers(0, 3))):
        if packet:
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    for address in (CHILD, PROXY):
        outcome = engine.handle(bytes(packet), address)
        if isinstance(outcome, Ready):
            reply = outcome.reply_to(bytes(packet))
            assert reply[:2] == packet[:2]
            assert reply[2] & 0x80
            assert len(reply) <= 1232
            wire.parse_message(reply) if not packet[2] & 0x78 else None
