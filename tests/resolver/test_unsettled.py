"""Names that a slow list must be asked about first: no answer leaves before, and upstream is asked meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import dns.message
import pytest

from guardian.names import parse_name
from guardian.policy.compile import compile_policy
from guardian.policy.model import UNSETTLED, Reason
from guardian.resolver.answer import Ready
from guardian.resolver.cache import Entry
from guardian.resolver.clients import Client
from guardian.resolver.handle import Miss, Unsettled
from guardian.resolver.listen import Core, Settling
from tests.resolver.engine import (
    ADULT,
    CHILD,
    CHILD_MAC,
    PROXY,
    Engine,
    make_catalogue,
    make_engine,
    make_household,
    make_lists,
    make_query,
)

LISTED, PLAIN, ADDRESS = "www.listed-1.example", "www.plain-1.example", "192.0.2.1"
TAG = "mandatory:csam-md:0"
NOT_READY = 14


class SlowLists:
    """The engine's lists and one that must be settled first. `settled` are labels below `example`."""

    def __init__(self) -> None:
        self.image = make_lists()
        self.tags = (*self.image.tags, TAG)
        self.settled: set[bytes] = set()

    def lookup(self, name: bytes) -> int:
        mask = self.image.lookup(name)
        label = next((part for part in (b"listed-1", b"plain-1", b"cdn-1") if part in name), None)
        if label is None:
            return mask
        if label not in self.settled:
            return mask | UNSETTLED
        return mask | (1 << len(self.image.tags) if label == b"listed-1" else 0)

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        return self.image.matches(name)


def slow_engine() -> tuple[Engine, SlowLists]:
    engine, lists = make_engine(), SlowLists()
    engine.handler.lists = lists
    engine.clients.replace_policy(compile_policy(make_household(), make_catalogue(), lists))
    return engine, lists


def extended(answer: dns.message.Message) -> list[int]:
    return [int(option.code) for option in answer.options]


# The handler


def test_an_unknown_name_is_settled_while_upstream_is_asked() -> None:
    engine, lists = slow_engine()
    packet = make_query(PLAIN)
    outcome = engine.handle(packet)
    assert isinstance(outcome, Unsettled) and outcome.names == (parse_name(PLAIN),) and outcome.asker == CHILD
    assert outcome.miss is not None and outcome.miss.name == parse_name(PLAIN) and outcome.miss.asker == CHILD
    assert len(engine.clients.budget) == 0
    lists.settled.add(b"plain-1")
    assert isinstance(engine.handle(packet), Miss)


@pytest.mark.parametrize("kind", ["ANY", "A"])
def test_what_needs_no_upstream_is_settled_all_the_same(kind: str) -> None:
    engine, _ = slow_engine()
    outcome = engine.handle(make_query(PLAIN, kind, flags=0 if kind == "A" else 256))
    assert isinstance(outcome, Unsettled) and outcome.miss is None


def test_a_name_that_is_blocked_anyway_is_settled_first() -> None:
    """Or a listed name would stand in the history of the child, as one of bedtime."""
    engine, lists = slow_engine()
    engine.wait(10 * 3600)
    packet = make_query(LISTED)
    outcome = engine.handle(packet, CHILD)
    assert isinstance(outcome, Unsettled) and outcome.miss is None, "upstream is not asked"
    lists.settled.add(b"listed-1")
    ready = engine.handle(packet, CHILD)
    assert isinstance(ready, Ready) and ready.fact is not None and ready.fact.reason == "mandatory"


def test_no_packet_of_a_listed_name_is_kept() -> None:
    engine, lists = slow_engine()
    lists.settled |= {b"listed-1", b"plain-1"}
    assert isinstance(engine.handle(make_query(LISTED)), Ready)
    assert not any(table.ready for table in engine.clients.budget.tables)
    engine.feed(make_query(PLAIN), f"{PLAIN}. 60 A {ADDRESS}")
    assert isinstance(engine.handle(make_query(PLAIN)), Ready)
    assert sum(len(table.ready) for table in engine.clients.budget.tables) == 1, "others are"


def test_what_an_answer_leads_to_is_settled_before_it_leaves() -> None:
    engine, lists = slow_engine()
    lists.settled.add(b"plain-1")
    packet = make_query(PLAIN)
    miss = engine.miss(packet)
    entry = engine.entry(
        miss, f"{PLAIN}. 60 CNAME {LISTED}.\n{LISTED}. 60 CNAME x.cdn-1.example.\nx.cdn-1.example. 60 A {ADDRESS}"
    )
    outcome = engine.handle(packet, found=entry)
    assert isinstance(outcome, Unsettled) and outcome.miss is None
    assert set(outcome.names) == {parse_name(LISTED), parse_name("x.cdn-1.example")}
    lists.settled |= {b"listed-1", b"cdn-1"}
    leads: list[tuple[bytes, str]] = []
    engine.handler.note_lead = lambda name, decision, second: leads.append((name, decision.rule))
    ready = engine.handle(packet, found=entry)
    assert isinstance(ready, Ready) and ready.fact is not None and ready.fact.reason == Reason.MANDATORY.value
    assert leads == [(parse_name(PLAIN), TAG)]
    assert not any(table.ready for table in engine.clients.budget.tables)


def test_a_helpline_waits_for_nobody() -> None:
    engine, _ = slow_engine()
    packet = make_query("help.example")
    miss = engine.miss(packet)
    entry = engine.entry(miss, f"help.example. 60 CNAME x.cdn-1.example.\nx.cdn-1.example. 60 A {ADDRESS}")
    assert isinstance(engine.handle(packet, found=entry), Ready)


def test_a_name_of_home_waits_for_nobody() -> None:
    engine, _ = slow_engine()
    assert isinstance(engine.handle(make_query("plain-1.home.arpa")), Unsettled), "it does not exist at home"
    assert isinstance(engine.handle(make_query("guardian.home.arpa")), Ready)


def test_behind_dnsmasq_the_device_waits_in_its_own_name() -> None:
    engine, _ = slow_engine()
    named = make_query(PLAIN, options=[dns.edns.GenericOption(dns.edns.OptionType.make(65001), CHILD_MAC)])
    outcome = engine.handle(named, PROXY)
    assert isinstance(outcome, Unsettled) and outcome.asker == CHILD_MAC


def test_who_is_put_off_is_told_to_ask_again() -> None:
    engine, _ = slow_engine()
    for edns in (True, False):
        packet = make_query(PLAIN, edns=edns)
        answer = dns.message.from_wire(engine.handler.put_off(packet, None))
        assert answer.rcode() == 2 and answer.id == dns.message.from_wire(packet).id
        assert extended(answer) == ([NOT_READY] if edns else [])
        assert b"plain-1" not in answer.to_wire()[40:]


# The listeners' core


class Play:
    """A core whose upstream and whose slow list speak when the test says so."""

    def __init__(self) -> None:
        self.engine, self.lists = slow_engine()
        self.fetched: list[tuple[Miss, Callable[[Entry], None] | None]] = []
        self.settling: list[tuple[tuple[bytes, ...], Callable[[bool], None]]] = []
        self.kept: list[Entry] = []
        self.replies: list[bytes] = []
        self.core = Core(self.engine.clients, self.engine.handler, self, lambda clients: None)
        self.core.settling = Settling(lambda names, asker, done: self.settling.append((names, done)), self.kept.append)
        self.packet = make_query(PLAIN)
        # The core goes by the clock of the machine.
        self.engine.clients.forget()

    def fetch(self, miss: Miss, waiter: Callable[[Entry], None] | None = None) -> None:
        self.fetched.append((miss, waiter))

    def ask(self, name: str = PLAIN) -> bytes | None:
        self.packet = make_query(name)
        return self.core.answer(self.packet, ADULT, None, self.replies.append)

    def settle(self, *labels: bytes, ok: bool = True) -> None:
        self.lists.settled.update(labels)
        _, done = self.settling.pop(0)
        done(ok)

    def answer(self, text: str) -> None:
        miss, waiter = self.fetched.pop(0)
        assert waiter is not None
        import time

        self.engine.second = int(time.monotonic())
        waiter(self.engine.entry(miss, text))

    def reply(self) -> dns.message.Message:
        (reply,) = self.replies
        return dns.message.from_wire(reply)


A = f"{PLAIN}. 60 A {ADDRESS}"


def test_the_list_speaks_after_upstream() -> None:
    play = Play()
    assert play.ask() is None
    play.answer(A)
    assert play.replies == [], "no answer leaves before its name is settled"
    play.settle(b"plain-1")
    assert play.reply().answer[0][0].to_text() == ADDRESS
    assert [entry.name for entry in play.kept] == [parse_name(PLAIN)]


def test_the_list_speaks_before_upstream() -> None:
    play = Play()
    assert play.ask() is None
    play.settle(b"plain-1")
    assert play.replies == [] and len(play.fetched) == 1, "upstream is asked once"
    play.answer(A)
    assert play.reply().answer[0][0].to_text() == ADDRESS


@pytest.mark.parametrize("is_first", [True, False])
def test_a_listed_name_is_blocked_whatever_upstream_says(is_first: bool) -> None:
    play = Play()
    assert play.ask(LISTED) is None
    if not is_first:
        play.answer(f"{LISTED}. 60 A {ADDRESS}")
    play.settle(b"listed-1")
    answer = play.reply()
    assert 16 in extended(answer) and ADDRESS not in answer.to_text()
    if is_first:
        play.answer(f"{LISTED}. 60 A {ADDRESS}")
        assert len(play.replies) == 1, "it is answered once"


@pytest.mark.parametrize("is_answered", [True, False])
def test_who_cannot_be_settled_in_time_is_put_off(is_answered: bool) -> None:
    play = Play()
    assert play.ask() is None
    if is_answered:
        play.answer(A)
    play.settle(ok=False)
    assert extended(play.reply()) == [NOT_READY] and play.reply().rcode() == 2
    if not is_answered:
        play.answer(A)
    assert len(play.replies) == 1 and play.kept == [], "what is not settled is not kept"


def test_what_the_answer_leads_to_is_settled_in_a_second_round() -> None:
    play = Play()
    assert play.ask() is None
    play.answer(f"{PLAIN}. 60 CNAME {LISTED}.\n{LISTED}. 60 A {ADDRESS}")
    play.settle(b"plain-1")
    assert play.replies == [] and play.settling[0][0] == (parse_name(LISTED),)
    play.settle(b"listed-1")
    assert 16 in extended(play.reply()) and play.fetched == []


def test_a_list_that_never_settles_ends_in_being_put_off() -> None:
    """Salt after salt: each time the keys are gone."""
    play = Play()
    assert play.ask() is None
    play.answer(A)
    rounds = 0
    while play.settling:
        play.settle()
        rounds += 1
        assert rounds < 10
    assert extended(play.reply()) == [NOT_READY]


def test_a_client_whose_network_is_gone_is_not_answered() -> None:
    play = Play()
    assert play.ask() is None
    play.engine.clients.configure((), 0)
    play.engine.clients.forget()
    play.settle(b"plain-1")
    play.answer(A)
    assert play.replies == []


def test_clients_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play()
    play.ask(LISTED)
    play.settle(b"listed-1")
    (client,) = play.engine.clients.take_active()
    assert isinstance(client, Client) and sum(client.counts.values()) == 1
