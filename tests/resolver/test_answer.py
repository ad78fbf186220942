"""Answers as bytes: the frame, truncation, errors, and blocks by reason and mode."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import BlockConfig, BlockMode
from guardian.names import parse_name
from guardian.policy.model import FOREVER, Action, Decision, Reason
from guardian.resolver.answer import (
    MAX_PAGE_ADDRESSES,
    MAX_TEXT_BYTES,
    Blocker,
    Body,
    Ready,
    build_addresses,
    build_error,
    build_minimal_any,
    build_negative,
    explain,
    fact_of,
    frame,
)
from guardian.resolver.cache import Entry
from guardian.wire import dns as wire
from tests.resolver.engine import GUARDIAN, PAGE, make_query

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


def reply_of(packet: bytes, body: Body, limit: int = 1232) -> bytes:
    query = wire.parse_query(packet)
    head, tail = frame(query, packet, body, limit)
    return Ready(head, tail, len(packet) - query.question_end, None).reply_to(packet)


def block(reason: Reason, rule: str = "category:gambling") -> Decision:
    return Decision(Action.BLOCK, reason, rule, FOREVER)


def make_blocker(mode: BlockMode, page: tuple[bytes, ...] = PAGE) -> Blocker:
    return Blocker(BlockConfig(mandatory=mode, other=mode), GUARDIAN, page)


flag_sets = st.sets(st.sampled_from([dns.flags.RD, dns.flags.CD, dns.flags.AD, dns.flags.TC, dns.flags.AA]))


@given(flag_sets, st.booleans(), st.booleans(), st.sampled_from([0, 2, 3, 5]), st.booleans(), st.booleans())
def test_the_frame_keeps_what_is_the_clients(
    flags: set[int], edns: bool, dnssec: bool, rcode: int, authenticated: bool, authoritative: bool
) -> None:
    packet = make_query("A.eXample", edns=edns or dnssec, dnssec=dnssec, flags=sum(flags))
    records = build_addresses((b"\xc0\0\2\1",), 60)
    body = Body(rcode, records, 1, authenticated=authenticated, authoritative=authoritative)
    reply = dns.message.from_wire(reply_of(packet, body))
    assert reply.id == int.from_bytes(packet[:2])
    assert str(reply.question[0].name) == "A.eXample."
    assert reply.rcode() == rcode
    wanted = {dns.flags.QR, dns.flags.RA} | (flags & {dns.flags.RD, dns.flags.CD})
    wanted |= {dns.flags.AA} if authoritative else set()
    wanted |= {dns.flags.AD} if authenticated and (dnssec or dns.flags.AD in flags) else set()
    assert reply.flags & ~0xF == sum(wanted)
    assert (reply.edns == 0) == (edns or dnssec)
    if dnssec:
        assert reply.ednsflags & dns.flags.DO
    if edns or dnssec:
        assert reply.payload == wire.MAX_UDP_PAYLOAD


@given(st.integers(0, 120), st.integers(12, 2000), st.integers(0, 3000), st.booleans())
def test_replies_are_within_the_limit_or_empty_with_tc(count: int, limit: int, text: int, edns: bool) -> None:
    """An upstream's Extended DNS Error may be long; it goes before a reply grows over its limit."""
    packet = make_query("a.example", edns=edns)
    records = build_addresses((b"\xc0\0\2\1",) * count, 60)
    body = Body(0, records, count, options=(wire.build_extended_error(22, "x" * text),))
    raw = reply_of(packet, body, limit)
    smallest = wire.HEADER_BYTES + len(b"\1a\7example\0") + 4 + (11 if edns else 0)
    assert len(raw) <= max(limit, smallest)
    reply = dns.message.from_wire(raw)
    if reply.flags & dns.flags.TC:
        assert not reply.answer
        assert smallest + len(records) + (6 if edns else 0) > limit - (text if edns else 0)
    else:
        assert sum(len(rrset) for rrset in reply.answer) == min(count, 1)


def test_badvers_is_split_between_header_and_opt() -> None:
    reply = dns.message.from_wire(reply_of(make_query("a.example"), Body(wire.RCODE_BADVERS)))
    assert reply.rcode() == dns.rcode.BADVERS


@given(st.binary(min_size=12, max_size=600), st.sampled_from([1, 4, 5]))
def test_errors_are_a_bare_header(packet: bytes, rcode: int) -> None:
    reply = build_error(packet, rcode).reply_to(packet)
    assert len(reply) == wire.HEADER_BYTES  # no longer than what it answers
    assert reply[:2] == packet[:2]
    assert reply[2] & 0x80
    assert reply[2] & 0x79 == packet[2] & 0x79  # opcode and RD
    assert reply[3] == 0x80 | (packet[3] & 0x10) | rcode
    assert reply[4:] == bytes(8)


def test_any_gets_an_hinfo() -> None:
    reply = dns.message.from_wire(reply_of(make_query("a.example", "ANY"), build_minimal_any(300)))
    assert [str(rrset) for rrset in reply.answer] == ['a.example. 300 IN HINFO "RFC8482" ""']


def test_negative_answers_carry_an_soa_of_the_name() -> None:
    body = Body(3, build_negative(GUARDIAN, 10), authority=1)
    reply = dns.message.from_wire(reply_of(make_query("bet.example"), body))
    expected = "bet.example. 10 IN SOA guardian.home.arpa. hostmaster.guardian.home.arpa. 1 3600 600 86400 10"
    assert [str(rrset) for rrset in reply.authority] == [expected]


# Blocks

REASONS = [
    (Reason.MANDATORY, 16),
    (Reason.PAUSE, 17),
    (Reason.SCHEDULE, 17),
    (Reason.MINUTES, 17),
    (Reason.RULE, 17),
    (Reason.SERVICE, 17),
    (Reason.CATEGORY, 17),
    (Reason.ALLOW_LIST_ONLY, 17),
]


@pytest.mark.parametrize(("reason", "code"), REASONS)
@pytest.mark.parametrize("mode", list(BlockMode))
@pytest.mark.parametrize("kind", ["A", "AAAA", "HTTPS", "TXT"])
def test_blocks_by_reason_mode_and_type(reason: Reason, code: int, mode: BlockMode, kind: str) -> None:
    packet = make_query("x.bet.example", kind)
    body = make_blocker(mode).build(block(reason), int(dns.rdatatype.from_text(kind)), 7)
    reply = dns.message.from_wire(reply_of(packet, body))
    errors = [option for option in reply.options if isinstance(option, dns.edns.EDEOption)]
    address = {
        ("page", "A"): "192.168.1.1",
        ("page", "AAAA"): "fd00::1",
        ("null", "A"): "0.0.0.0",
        ("null", "AAAA"): "::",
    }
    expected = address.get((mode.value, kind))
    if expected is not None:
        assert [str(rrset) for rrset in reply.answer] == [f"x.bet.example. 7 IN {kind} {expected}"]
        assert [int(error.code) for error in errors] == [code, 4]
    else:
        assert (reply.answer, reply.authority[0].ttl) == ([], 7)
        assert [int(error.code) for error in errors] == [code]
    assert reply.rcode() == (dns.rcode.NXDOMAIN if mode is BlockMode.NXDOMAIN else dns.rcode.NOERROR)


@pytest.mark.parametrize("mode", list(BlockMode))
def test_programs_read_no_in_every_mode(mode: BlockMode) -> None:
    blocker = make_blocker(mode)
    canary = blocker.build(block(Reason.BYPASS, "bypass:canary"), wire.TYPE_A, 7)
    assert (canary.rcode, canary.answers) == (wire.RCODE_NXDOMAIN, 0)
    rebinding = blocker.build(block(Reason.REBINDING, "rebinding"), wire.TYPE_A, 7)
    assert (rebinding.rcode, rebinding.answers) == (wire.RCODE_NOERROR, 0)
    assert rebinding.options[0][1][:2] == wire.EDE_BLOCKED.to_bytes(2)


def test_mandatory_and_other_blocks_have_their_own_modes() -> None:
    blocker = Blocker(BlockConfig(mandatory=BlockMode.NXDOMAIN, other=BlockMode.NULL), GUARDIAN, PAGE)
    assert blocker.mode_of(Reason.MANDATORY) is BlockMode.NXDOMAIN
    assert blocker.mode_of(Reason.CATEGORY) is BlockMode.NULL


def test_a_page_without_an_address_of_the_family_is_nodata() -> None:
    body = make_blocker(BlockMode.PAGE, (b"\xc0\xa8\1\1",)).build(block(Reason.CATEGORY), wire.TYPE_AAAA, 7)
    assert (body.rcode, body.answers, body.authority) == (wire.RCODE_NOERROR, 0, 1)


@pytest.mark.parametrize("mode", list(BlockMode))
@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT"])
@pytest.mark.parametrize("edns", [True, False])
def test_every_block_fits_the_smallest_payload_behind_the_longest_name(mode: BlockMode, kind: str, edns: bool) -> None:
    """One Ready serves names of every length, so none may need truncation."""
    page = tuple(bytes(15) + bytes((n,)) for n in range(1, 9)) + tuple(bytes((10, 0, 0, n)) for n in range(8))
    body = make_blocker(mode, page).build(block(Reason.RULE), int(dns.rdatatype.from_text(kind)), 7)
    raw = reply_of(make_query(LONGEST, kind, edns=edns), body, 512)
    reply = dns.message.from_wire(raw)
    assert not reply.flags & dns.flags.TC
    if mode is BlockMode.PAGE and kind != "TXT":
        assert len(reply.answer[0]) == MAX_PAGE_ADDRESSES


# What is said of it


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.HELPLINE])
def test_the_text_is_short_and_tells_no_listed_name(reason: Reason) -> None:
    text = explain(
        block(reason, "rule:block " + "д" * 300 + ".example" if reason is Reason.RULE else "schedule:bedtime")
    )
    assert text.startswith("Guardian: ")
    assert len(text.encode()) <= MAX_TEXT_BYTES
    assert "example" not in text


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("minutes:60", "today's minutes"),
        ("minutes:week:300", "this week's minutes"),
        ("minutes:youtube", "the minutes for youtube"),
        ("minutes:group:games", "the minutes for group games"),
    ],
)
def test_the_text_tells_which_minutes(rule: str, whose: str) -> None:
    assert explain(block(Reason.MINUTES, rule)) == f"Guardian: {whose} are used up"


def test_the_text_of_long_labels_is_cut_between_letters() -> None:
    text = explain(block(Reason.SCHEDULE, "schedule:" + "ночь" * 50))
    assert text.startswith("Guardian: schedule ночь")
    assert MAX_TEXT_BYTES - 3 <= len(text.encode()) <= MAX_TEXT_BYTES


def test_facts_of_decisions() -> None:
    assert fact_of(Decision(Action.ALLOW, Reason.HELPLINE, "helpline", FOREVER)) is None
    assert fact_of(Decision(Action.ALLOW, Reason.SERVICE, "service:tube", FOREVER)) == ("allow", "service", "", 0)
    assert fact_of(block(Reason.CATEGORY)) == ("block", "category", "category:gambling", 0)
    rewrite = Decision(Action.REWRITE, Reason.SAFE_SEARCH, "safe-search", FOREVER, parse_name("safe.example"))
    assert fact_of(rewrite) == ("rewrite", "safe-search", "safe-search", 0)
    kinds = [fact_of(rewrite, qtype) for qtype in (wire.TYPE_A, wire.TYPE_AAAA, wire.TYPE_HTTPS, wire.TYPE_ANY)]
    assert [fact.qtype for fact in kinds if fact] == [wire.TYPE_A, wire.TYPE_AAAA, 0, 0]


# Ready


@given(st.integers(0, 200), st.integers(1, 500), st.integers(0, 600), st.booleans())
def test_a_renewed_reply_is_the_reply_of_that_second(age: int, ttl: int, changes: int, edns: bool) -> None:
    """The invariant of the hot path: renewing at any later second gives what building anew would give."""
    packet = make_query("a.example", edns=edns)
    name = parse_name("a.example")
    entry = Entry(name, name, 1, 0)
    entry.records = build_addresses((b"\xc0\0\2\1",), ttl) + build_addresses((b"\xc0\0\2\2",), ttl + 50)
    entry.answers, entry.ttl_places = 2, (6, 22)
    entry.expires = ttl
    query = wire.parse_query(packet)

    def build(second: int) -> Ready:
        head, tail = frame(query, packet, Body(0, entry.render(second, changes - second), 2), 1232)
        return Ready(head, tail, len(packet) - query.question_end, None)

    ready = build(0)
    ready.keep(entry, 0, entry.expires, changes + 1)  # one second is for what is given late in a second
    assert ready.ends == min(ttl, changes)
    assert ready.good_until == 0
    if age < ready.ends:
        ready.renew(age)
        assert ready.reply_to(packet) == build(age).reply_to(packet)
        assert ready.good_until == age + 1
        assert len(ready.reply_to(packet)) == len(packet) + ready.grow


@pytest.mark.parametrize(("number", "code", "text"), [(16, 16, "blocked by law"), (15, 15, "on the hotline's list")])
def test_a_class_of_a_mandatory_list_has_its_own_error(number: int, code: int, text: str) -> None:
    rule = "mandatory:csam-md:0"
    blocker = Blocker(BlockConfig(mandatory=BlockMode.NODATA), GUARDIAN, PAGE, {rule: number})
    for told, expected in ((rule, code), ("mandatory:local", 16)):
        decision = Decision(Action.BLOCK, Reason.MANDATORY, told, float("inf"))
        reply = dns.message.from_wire(reply_of(make_query("x.bet.example"), blocker.build(decision, 1, 7)))
        (error,) = reply.options
        assert isinstance(error, dns.edns.EDEOption) and int(error.code) == expected
        assert text in (error.text or "") or told != rule
