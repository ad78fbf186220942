"""From answers to the history: who asked, what is counted, and what leaves no trace."""

from __future__ import annotations

import dns.edns
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.resolver.answer import Ready
from guardian.resolver.record import AnswerRecorder, read_name
from guardian.store.history_record import NAMES_PER_DEVICE, Batch, Recorder
from guardian.wire import dns as wire
from tests.resolver.engine import ADULT, CHILD, CHILD_MAC, PROXY, Engine, make_query

MAC = dns.edns.GenericOption(dns.edns.OptionType(wire.OPTION_MAC), CHILD_MAC)


def see(engine: Engine, packet: bytes, address: bytes = CHILD, times: int = 1) -> None:
    """Let a client be answered, as the listeners do."""
    for _ in range(times):
        outcome = engine.handle(packet, address)
        assert isinstance(outcome, Ready)
        engine.client(address).note(packet[2:], outcome)


def drain(engine: Engine) -> tuple[AnswerRecorder, Batch | None]:
    recorder = Recorder()
    done = AnswerRecorder(recorder, engine.clients)
    done.drain(engine.clients.take_active())
    assert not engine.clients.take_active()
    return done, recorder.take()


def test_equal_answers_are_one_count_and_names_are_kept_in_lower_case(engine: Engine) -> None:
    see(engine, make_query("BET.example"), times=3)
    see(engine, make_query("bet.example"))
    done, batch = drain(engine)
    assert batch is not None
    assert [(kind.device, kind.action, kind.tag, n) for (_, kind), n in batch.counts.items()] == [
        ("tablet", "block", "category:gambling", 4)
    ]
    assert [(name, visits.queries) for (_, _, name), visits in batch.names.items()] == [(parse_name("bet.example"), 4)]
    assert (done.tally.queries, done.tally.blocked, done.tally.reasons) == (4, 4, {"category": 4})


KINDS = ("A", "AAAA", "HTTPS")


@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("source", [CHILD, PROXY])
def test_the_questions_of_one_page_view_are_one_try(engine: Engine, visibility: Visibility, source: bytes) -> None:
    engine.client().posture.visibility = visibility
    if source == PROXY:
        engine.client(CHILD)  # whose posture the MAC behind the proxy shares
    options = [MAC] if source == PROXY else []
    for name in ("bet.example", "www.bet.example"):
        for kind in KINDS:
            see(engine, make_query(name, kind, options=options), source)
    see(engine, make_query("bet.example", "AAAA", options=options), source)  # once more, with another kind of question
    done, batch = drain(engine)
    assert batch is not None
    assert sum(batch.counts.values()) == 3
    if visibility is Visibility.NAMES:
        named = {name: visits.queries for (_, _, name), visits in batch.names.items()}
        assert named == {parse_name("bet.example"): 2, parse_name("www.bet.example"): 1}
    assert done.tally.queries == done.tally.blocked == 7  # `status` counts questions


def test_devices_with_ipv6_only_are_counted_too(engine: Engine) -> None:
    see(engine, make_query("bet.example", "AAAA"), times=2)
    see(engine, make_query("bet.example", "HTTPS"))
    _, batch = drain(engine)
    assert batch is not None
    assert list(batch.counts.values()) == [2]


def test_names_asked_in_different_ways_are_never_more_than_their_sum(engine: Engine) -> None:
    see(engine, make_query("one.bet.example", "A"))
    see(engine, make_query("two.bet.example", "AAAA"))
    _, batch = drain(engine)
    assert batch is not None
    assert sum(batch.counts.values()) == sum(visits.queries for visits in batch.names.values()) == 2


def test_mandatory_hits_of_one_page_view_are_one(engine: Engine) -> None:
    for kind in KINDS:
        see(engine, make_query("illegal.example", kind))
    _, batch = drain(engine)
    assert batch is not None
    assert (batch.counts, batch.names, list(batch.mandatory.values())) == ({}, {}, [1])


def test_helplines_leave_no_trace(engine: Engine) -> None:
    packet = make_query("help.example")
    engine.feed(packet, "help.example. 60 A 192.0.2.1")
    see(engine, packet)
    see(engine, make_query("help.example", "ANY"))
    done, batch = drain(engine)
    assert batch is None
    assert (done.tally.blocked, done.tally.rewritten, dict(done.tally.reasons)) == (0, 0, {})


def test_mandatory_hits_are_a_daily_count_without_name_or_device(engine: Engine) -> None:
    for address in (CHILD, ADULT):
        see(engine, make_query("illegal.example"), address)
    _, batch = drain(engine)
    assert batch is not None
    assert (batch.counts, batch.names, list(batch.mandatory.values())) == ({}, {}, [2])


def test_what_is_no_query_and_the_homes_own_names_are_not_recorded(engine: Engine) -> None:
    packets = [make_query("guardian.home.arpa"), b"\0\1\1\0" + bytes(8), make_query("x.example", flags=0)]
    for packet in packets:
        see(engine, packet)
    done, batch = drain(engine)
    assert batch is None
    assert done.tally.queries == 3


def test_rewrites_are_counted_apart(engine: Engine) -> None:
    see(engine, make_query("www.search.example", "HTTPS"))
    done, batch = drain(engine)
    assert batch is not None
    assert (done.tally.rewritten, done.tally.blocked) == (1, 0)


def test_behind_a_proxy_the_mac_tells_the_device(engine: Engine) -> None:
    see(engine, make_query("bet.example", options=[MAC]), PROXY)
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 60 A 192.0.2.1", PROXY)
    see(engine, packet, PROXY)
    _, batch = drain(engine)
    assert batch is not None
    assert {(kind.device, kind.action) for _, kind in batch.counts} == {("tablet", "block"), ("laptop", "allow")}


@pytest.mark.parametrize("visibility", list(Visibility))
def test_names_are_read_only_where_they_may_be_kept(engine: Engine, visibility: Visibility) -> None:
    engine.client().posture.visibility = visibility
    see(engine, make_query("bet.example"))
    _, batch = drain(engine)
    assert batch is not None
    assert bool(batch.names) is (visibility is Visibility.NAMES)
    (kind,) = [kind for _, kind in batch.counts]
    assert (kind.tag == "") is (visibility is Visibility.COUNTS)


def test_what_a_forgotten_client_was_answered_is_not_lost(engine: Engine) -> None:
    see(engine, make_query("bet.example"))
    engine.clients.forget_address(CHILD)
    see(engine, make_query("bet.example"))
    engine.clients.forget()
    done, batch = drain(engine)
    assert batch is not None
    assert list(batch.counts.values()) == [2]
    assert done.tally.blocked == 2


def test_a_flood_of_names_is_counted_without_names(engine: Engine) -> None:
    for number in range(NAMES_PER_DEVICE + 50):
        see(engine, make_query(f"n{number}.bet.example"))
    recorder = Recorder()
    done = AnswerRecorder(recorder, engine.clients)
    done.drain(engine.clients.take_active())
    see(engine, make_query("one.bet.example"), times=7)
    done.drain(engine.clients.take_active())
    batch = recorder.take()
    assert batch is not None
    assert len(batch.names) == NAMES_PER_DEVICE
    assert batch.unnamed == 57
    assert batch.queries == NAMES_PER_DEVICE + 57


@given(st.lists(st.text("abcdefXYZ-_", min_size=1, max_size=20), min_size=1, max_size=8), st.booleans())
def test_the_name_of_a_packet_is_what_was_parsed(labels: list[str], edns: bool) -> None:
    packet = make_query(".".join(labels), edns=edns)
    assert read_name(packet[2:]) == wire.parse_query(packet).name
