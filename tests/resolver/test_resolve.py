"""What happens on a miss: one question for all, stale data in time, failures kept for a moment, nothing left behind.

Upstream is a double with the protocol's own shape: what it says and when is the input of these tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

import dns.edns
import pytest

from guardian.errors import UpstreamError
from guardian.names import parse_name
from guardian.resolver import resolve
from guardian.resolver.answer import MAX_TEXT_BYTES
from guardian.resolver.cache import FAILURE_TTL, Cache, Entry, Limits, make_entry, make_failure, make_key
from guardian.resolver.handle import STALE_HOLD, Miss
from guardian.resolver.local import is_private_address
from guardian.resolver.resolve import MAX_IN_FLIGHT, MAX_WAITERS, Resolver
from guardian.wire import dns as wire
from guardian.wire.dns import Edns, Message, Question, Record
from tests.resolver.engine import CHILD, Engine, make_query

NAME = parse_name("a.example")
SERVFAIL = Message(1, 0x8182, Question(NAME, 1, 1))


class Reply(NamedTuple):
    parsed: Message


class Script:
    """An upstream that says what it is told, when it is told. `asked` are its questions."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bool, bool]] = []
        self.answers: list[asyncio.Future[Message]] = []

    async def resolve(self, question: bytes, *, dnssec_ok: bool = False, checking_disabled: bool = False) -> Reply:
        self.asked.append((question, dnssec_ok, checking_disabled))
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.answers.append(future)
        return Reply(await future)


class Bench:
    """A resolver, its upstream, its cache and its clock."""

    def __init__(self, **limits: int) -> None:
        self.second = 1000
        self.upstream = Script()
        self.cache = Cache(Limits()._replace(**limits))
        self.resolver = Resolver(
            self.upstream, self.cache, lambda name, address: is_private_address(address), lambda: self.second
        )
        self.got: list[Entry] = []

    def ask(self, name: bytes = NAME, stale: Entry | None = None, **bits: bool) -> Miss:
        key = make_key(name, 1, bits.get("dnssec_ok", False), bits.get("checking_disabled", False))
        miss = Miss(key, name, 1, bits.get("dnssec_ok", False), bits.get("checking_disabled", False), stale)
        self.resolver.fetch(miss, self.got.append)
        return miss

    async def say(self, what: Message | BaseException, index: int = -1) -> None:
        await settle()
        if isinstance(what, BaseException):
            self.upstream.answers[index].set_exception(what)
        else:
            self.upstream.answers[index].set_result(what)
        await settle()

    def keep(self, ttl: int = 60) -> Entry:
        """An entry that is in the cache and has just expired."""
        miss = Miss(make_key(NAME, 1, False, False), NAME, 1, False, False, None)
        entry = make_entry(miss.key, NAME, 1, answer(ttl=ttl), self.second - ttl, self.cache.limits, is_private_address)
        self.cache.put(entry)
        return entry


def answer(name: bytes = NAME, ttl: int = 60, address: bytes = b"\xc0\0\2\1") -> Message:
    return Message(1, 0x8180, Question(name, 1, 1), (Record(name, 1, 1, ttl, address),))


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end; no task may be left, and no exception unheard."""

    async def watch() -> None:
        unheard: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        async with asyncio.timeout(20):
            await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not unheard

    asyncio.run(watch())


def test_one_question_serves_all_who_wait() -> None:
    async def scenario() -> None:
        bench = Bench()
        for _ in range(10):
            bench.ask()
        bench.ask(parse_name("b.example"))
        bench.ask(dnssec_ok=True)
        bench.ask(checking_disabled=True)
        await settle()
        asked = [(NAME, False, False), (b"\1b" + NAME[2:], False, False), (NAME, True, False), (NAME, False, True)]
        assert bench.upstream.asked == [(name + b"\0\1\0\1", do, cd) for name, do, cd in asked]
        await bench.say(answer(), 0)
        assert len(bench.got) == 10
        assert len(set(map(id, bench.got))) == 1
        assert bench.cache.get(bench.got[0].key, bench.second) is bench.got[0]
        assert (bench.resolver.misses, bench.resolver.failures) == (4, 0)
        await bench.resolver.close()

    run(scenario())


def test_every_waiter_is_called_even_when_there_are_too_many() -> None:
    async def scenario() -> None:
        bench = Bench()
        for _ in range(MAX_WAITERS + 5):
            bench.ask()
        assert [entry.rcode for entry in bench.got] == [wire.RCODE_SERVFAIL] * 5
        await bench.say(answer())
        assert len(bench.got) == MAX_WAITERS + 5
        assert len(bench.cache) == 1

    run(scenario())


def test_too_many_questions_fail_at_once_and_leave_no_mark() -> None:
    """A flood of random names must neither push answers out of the cache nor mark other names as failed."""

    async def scenario() -> None:
        bench = Bench()
        old = bench.keep()
        for number in range(MAX_IN_FLIGHT):
            bench.ask(b"\4" + number.to_bytes(4) + b"\0")
        assert not bench.got
        bench.ask(parse_name("late.example"))
        bench.ask(stale=old)
        assert [entry.rcode for entry in bench.got] == [wire.RCODE_SERVFAIL, wire.RCODE_NOERROR]
        assert len(bench.cache) == 1
        await settle()
        assert len(bench.upstream.asked) == MAX_IN_FLIGHT
        await bench.resolver.close()

    run(scenario())


@pytest.mark.parametrize("how", ["error", "servfail", "refused", "broken"])
def test_stale_data_serves_when_upstream_fails(how: str) -> None:
    async def scenario() -> None:
        bench = Bench()
        old = bench.keep()
        bench.ask(stale=old)
        bad = Message(1, 0x8180, Question(NAME, 1, 1), (Record(NAME, 1, 1, 60, b"\1"),))
        said: dict[str, Message | BaseException] = {
            "error": UpstreamError(),
            "servfail": SERVFAIL,
            "refused": SERVFAIL._replace(flags=0x8185),
            "broken": bad,
        }
        await bench.say(said[how])
        assert bench.got == [old]
        assert old.failed == bench.second
        assert bench.cache.get(old.key, bench.second) is old
        assert bench.resolver.failures == 1

    run(scenario())


def test_stale_data_serves_when_upstream_is_slow_and_the_question_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve.STALE_WAIT == 1.8  # RFC 8767 section 5
    monkeypatch.setattr(resolve, "STALE_WAIT", 0.01)

    async def scenario() -> None:
        bench = Bench()
        old = bench.keep()
        bench.ask(stale=old)
        await settle()
        while not bench.got:
            await asyncio.sleep(0.005)
        assert bench.got == [old]
        assert old.failed == bench.second
        await bench.say(answer(address=b"\xc0\0\2\2"))
        assert bench.got == [old]  # nobody is answered twice
        fresh = bench.cache.get(old.key, bench.second)
        assert fresh is not None
        assert fresh is not old

    run(scenario())


def test_who_comes_after_the_stale_answer_was_given_gets_the_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "STALE_WAIT", 0.01)

    async def scenario() -> None:
        bench = Bench()
        old = bench.keep()
        bench.ask(stale=old)
        while not bench.got:
            await asyncio.sleep(0.005)
        bench.ask(stale=old)
        await bench.say(answer())
        assert len(bench.upstream.asked) == 1
        assert [entry is old for entry in bench.got] == [True, False]

    run(scenario())


def test_failures_are_kept_for_five_seconds_with_their_reason() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.ask()
        await bench.say(UpstreamError("no answer in time", 23))
        entry = bench.got[0]
        assert entry.rcode == wire.RCODE_SERVFAIL
        assert entry.error == wire.build_extended_error(23, "no answer in time")
        assert bench.cache.get(entry.key, bench.second + FAILURE_TTL - 1) is entry
        assert bench.cache.get(entry.key, bench.second + FAILURE_TTL) is None

    run(scenario())


def test_an_upstreams_own_error_is_passed_on_cut() -> None:
    """Anybody may have written it: 60 kB of it used to reach over the reply's slot into those of other clients."""

    async def scenario() -> None:
        bench = Bench()
        options = ((10, b"cookie"), (15, b"\x00\x06" + "bogus — ".encode() * 8000), (15, b"\x00\x09"))
        bench.ask()
        await bench.say(SERVFAIL._replace(edns=Edns(options=options)))
        error = bench.got[0].error
        assert error is not None
        assert error[1].startswith(b"\x00\x06bogus")
        assert len(error[1]) <= 2 + MAX_TEXT_BYTES
        error[1][2:].decode()
        bench.cache.flush()
        bench.ask()
        await bench.say(SERVFAIL._replace(edns=Edns(options=((15, b"\x00"),))))
        assert bench.got[1].error is None

    run(scenario())


def test_what_may_not_be_kept_still_reaches_who_asked() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.ask()
        await bench.say(answer(ttl=0))
        assert bench.got[0].answers == 1
        assert len(bench.cache) == 0

    run(scenario())


def test_what_must_not_be_kept_still_reaches_who_asked() -> None:
    async def scenario() -> None:
        bench = Bench()
        seen: list[bytes] = []
        bench.resolver.may_keep = lambda entry: bool(seen.append(entry.name))
        bench.ask()
        await bench.say(answer())
        bench.ask()
        await bench.say(UpstreamError())
        assert [entry.rcode for entry in bench.got] == [0, 2] and seen == [NAME, NAME]
        assert len(bench.cache) == 0
        bench.resolver.may_keep = None
        bench.resolver.keep(bench.got[0])
        assert len(bench.cache) == 1

    run(scenario())


def test_private_addresses_are_told_by_the_name_that_was_asked() -> None:
    async def scenario() -> None:
        bench = Bench()
        seen = []

        def is_private(name: bytes, address: bytes) -> bool:
            seen.append((name, address))
            return False

        bench.resolver = Resolver(bench.upstream, bench.cache, is_private, lambda: bench.second)
        bench.ask()
        await bench.say(answer())
        assert seen == [(NAME, b"\xc0\0\2\1")]

    run(scenario())


def test_a_defect_does_not_make_a_name_unreachable_for_ever() -> None:
    """An exception that nobody foresaw used to leave the question in the table: all who asked it later waited."""

    async def scenario() -> None:
        unheard: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        bench = Bench()
        bench.ask()
        await bench.say(ZeroDivisionError("a defect"))
        bench.ask()
        await bench.say(answer())
        assert len(bench.got) == 1
        bench.upstream.answers.clear()
        await settle()
        assert [str(context["exception"]) for context in unheard] == ["a defect"]  # logged by the loop, not swallowed

    asyncio.run(scenario())


def test_another_upstream_takes_over() -> None:
    async def scenario() -> None:
        bench, other = Bench(), Script()
        bench.ask()
        await settle()
        bench.resolver.replace_upstream(other)
        bench.ask(parse_name("b.example"))
        await bench.say(answer())
        assert len(bench.got) == 1
        assert len(other.asked) == 1
        await bench.resolver.close()

    run(scenario())


def test_closing_leaves_no_task_and_no_timer() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.ask(stale=bench.keep())
        for number in range(50):
            bench.ask(parse_name(f"n{number}.example"))
        await settle()
        await bench.resolver.close()
        await bench.resolver.close()
        assert not bench.got

    run(scenario())


# Together with the handler: what the next client sees


def test_a_stale_answer_is_held_and_says_so(engine: Engine) -> None:
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 60 A 192.0.2.1")
    engine.wait(100)
    miss = engine.miss(packet)
    assert miss.stale is not None
    miss.stale.failed = engine.second  # the resolver's note
    for seconds in (0, STALE_HOLD - 1):
        engine.wait(seconds)
        reply = engine.ask(packet)
        assert reply.answer[0].ttl == 30
        assert [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)] == [3]
    assert packet[2:] not in engine.client(CHILD).ready
    engine.wait(1)
    assert engine.miss(packet).stale is miss.stale


def test_just_after_the_machine_started_nothing_is_held(engine: Engine) -> None:
    """The monotonic clock starts at boot: `failed = 0` used to mean "failed at boot" for its first 30 seconds."""
    engine.second = 3
    packet = make_query("a.example")
    engine.feed(packet, "a.example. 5 A 192.0.2.1")
    engine.wait(6)
    assert engine.miss(packet).stale is not None


def test_an_old_failure_is_not_given_as_stale_data(engine: Engine) -> None:
    """It used to be: whoever asked a slow name that had failed once got SERVFAIL after 1.8 seconds, for 30 seconds."""
    packet = make_query("a.example")
    miss = engine.miss(packet)
    engine.cache.put(make_failure(miss.key, miss.name, miss.type, engine.second, 22, "nobody"))
    assert engine.ask(packet).rcode() == wire.RCODE_SERVFAIL
    engine.wait(FAILURE_TTL)
    assert engine.miss(packet).stale is None
