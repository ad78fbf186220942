"""Slow keys off the loop: fair, bounded, in time, and without holding on to a name."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from guardian.blocklist.feed_base import Base, Cost
from guardian.blocklist.tag_table import TagTable
from guardian.hotline import settling
from guardian.hotline.listed import GuardedNames, Keys, ListedNames
from guardian.hotline.settling import MAX_OF_DEVICE, MAX_WISHES, Settler
from guardian.names import parse_name
from tests.hotline.listed_feed import CHEAP, make_base, make_tags

A, B = b"device-a", b"device-b"
T = TypeVar("T")


def make_listed(keys: Keys | None = None, cost: Cost = CHEAP, salt: bytes = bytes(32)) -> ListedNames:
    base = Base(make_base(["good.example"], ["listed-1.example"], cost=cost, salt=salt))
    tags = TagTable(make_tags(base, [("h", "www.listed-1.example", 0)]))
    listed = ListedNames(base, [tags], GuardedNames((), ()), keys or Keys())
    listed.hold()
    return listed


class Desk:
    """A settler, and in which order it settled what."""

    def __init__(self, listed: ListedNames | None = None) -> None:
        self.listed = listed or make_listed()
        self.found: list[bytes] = []
        self.done: list[tuple[str, bool]] = []
        self.settler = Settler(self.listed, self.found.append)
        self._changed = asyncio.Event()

    def ask(self, text: str, asker: bytes = A, *more: str) -> None:
        def done(is_settled: bool) -> None:
            self.done.append((text, is_settled))
            self._changed.set()

        self.settler.settle(tuple(map(parse_name, (text, *more))), asker, done)

    async def wait_for(self, count: int, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.done) < count:
                self._changed.clear()
                await self._changed.wait()


def with_desk(play: Callable[[Desk], Awaitable[T]], listed: ListedNames | None = None) -> T:
    async def run() -> T:
        desk = Desk(listed)
        try:
            return await play(desk)
        finally:
            await desk.settler.close()

    return asyncio.run(run())


def test_what_needs_no_key_is_settled_at_once() -> None:
    async def play(desk: Desk) -> None:
        desk.ask("www.good.example")
        desk.ask("example")
        assert desk.done == [("www.good.example", True), ("example", True)] and desk.settler.hashes == 0

    with_desk(play)


def test_an_unknown_name_can_be_looked_at_afterwards() -> None:
    async def play(desk: Desk) -> None:
        name = parse_name("www.listed-1.example")
        assert desk.listed.look(name) is None
        desk.ask("www.listed-1.example", A, "cdn.plain-1.example", "www.good.example")
        assert desk.settler.waiting == 2 and desk.done == []
        await desk.wait_for(1)
        assert desk.done == [("www.listed-1.example", True)]
        assert desk.listed.look(name) == 1 and desk.listed.look(parse_name("plain-1.example")) == 0
        assert desk.found == [parse_name("listed-1.example")], "only of what is listed somebody is told"
        assert (desk.settler.hashes, desk.settler.waiting, desk.settler.refused) == (2, 0, 0)
        desk.ask("other.listed-1.example")
        assert desk.done[-1] == ("other.listed-1.example", True) and desk.settler.hashes == 2

    with_desk(play)


def test_one_key_serves_all_who_wait_for_it() -> None:
    async def play(desk: Desk) -> None:
        for number in range(10):
            desk.ask(f"n{number}.plain-1.example", bytes((number,)))
        await desk.wait_for(10)
        assert desk.settler.hashes == 1 and all(ok for _, ok in desk.done)

    with_desk(play)


def test_a_device_with_many_names_does_not_hold_up_another() -> None:
    async def play(desk: Desk) -> None:
        for number in range(MAX_OF_DEVICE):
            desk.ask(f"flood-{number}.example", A)
        desk.ask("homework.example", B)
        await desk.wait_for(MAX_OF_DEVICE + 1)
        place = [name for name, _ in desk.done].index("homework.example")
        assert place <= 2, "its turn comes after what is under way and one of the other's"

    with_desk(play)


def test_a_device_that_waits_for_another_s_name_has_it_in_its_own_turn() -> None:
    async def play(desk: Desk) -> None:
        for number in range(MAX_OF_DEVICE):
            desk.ask(f"flood-{number}.example", A)
        last = f"flood-{MAX_OF_DEVICE - 1}.example"
        desk.ask(f"www.{last}", B)
        await desk.wait_for(MAX_OF_DEVICE + 1)
        assert [name for name, _ in desk.done].index(f"www.{last}") <= 4
        assert desk.settler.hashes == MAX_OF_DEVICE, "no key was made twice"

    with_desk(play)


def test_what_finds_no_room_is_refused_and_others_are_not() -> None:
    async def play(desk: Desk) -> None:
        for number in range(MAX_OF_DEVICE + 5):
            desk.ask(f"flood-{number}.example", A)
        desk.ask("homework.example", B)
        await desk.wait_for(5, 1.0)
        refused = [name for name, ok in desk.done if not ok]
        assert refused == [f"flood-{number}.example" for number in range(MAX_OF_DEVICE, MAX_OF_DEVICE + 5)]
        await desk.wait_for(MAX_OF_DEVICE + 6)
        assert [ok for _, ok in desk.done].count(False) == desk.settler.refused == 5
        desk.ask(refused[0], A)
        await desk.wait_for(MAX_OF_DEVICE + 7)
        assert desk.done[-1] == (refused[0], True), "the next try finds room"

    with_desk(play)


def test_only_so_many_may_wait_for_one_name() -> None:
    async def play(desk: Desk) -> None:
        for number in range(MAX_WISHES + 3):
            desk.ask(f"n{number}.plain-1.example", A)
        await desk.wait_for(MAX_WISHES + 3)
        assert [ok for _, ok in desk.done].count(False) == 3

    with_desk(play)


def test_who_has_waited_too_long_is_told_so_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0.03)

    async def play(desk: Desk) -> None:
        began = time.monotonic()
        for number in range(8):
            desk.ask(f"late-{number}.example", A)
        await desk.wait_for(8)
        assert time.monotonic() - began < 2.0
        late = [name for name, ok in desk.done if not ok]
        assert len(late) >= 4 and desk.settler.late == len(late)
        async with asyncio.timeout(10):
            while desk.settler.waiting:
                await asyncio.sleep(0.01)
        assert len(desk.done) == 8, "nobody is answered twice"
        desk.ask(late[-1])
        assert desk.done[-1] == (late[-1], True) and desk.settler.hashes == 8, "the next try finds it"

    with_desk(play)


def test_a_new_salt_lets_all_look_again() -> None:
    async def play(desk: Desk) -> None:
        for number in range(4):
            desk.ask(f"n-{number}.example", A)
        await asyncio.sleep(0)  # the first is under way
        newer = make_listed(desk.listed._keys, salt=bytes(range(32)))
        desk.settler.use(newer)
        await desk.wait_for(4, 1.0)
        assert all(ok for _, ok in desk.done)
        assert newer.look(parse_name("n-0.example")) is None, "nothing of the old salt is known to the new lists"
        desk.listed = newer
        desk.ask("n-0.example")
        await desk.wait_for(5)
        assert newer.look(parse_name("n-0.example")) == 0

    with_desk(play)


def test_names_of_running_flows_are_settled_after_all_others_and_asked_once() -> None:
    async def play(desk: Desk) -> None:
        for number in range(200):
            desk.settler.settle_later(parse_name(f"n{number}.listed-1.example"))
            desk.settler.settle_later(parse_name(f"flow-{number % 4}.example"))
        assert desk.settler.waiting == 5
        desk.ask("homework.example", B)
        await desk.wait_for(1)
        assert desk.settler.hashes <= 3
        async with asyncio.timeout(10):
            while desk.settler.waiting:
                await asyncio.sleep(0.01)
        assert desk.settler.hashes == 6 and desk.found == [parse_name("listed-1.example")]

    with_desk(play)


def test_a_key_that_cannot_be_made_is_told_without_the_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A router without 16 MB to spare."""

    def fail(domain: bytes, salt: bytes, cost: Cost) -> bytes:
        raise MemoryError(domain)

    async def play(desk: Desk) -> None:
        desk.ask("www.listed-1.example")
        await desk.wait_for(1)
        assert desk.done == [("www.listed-1.example", False)]
        monkeypatch.undo()
        desk.ask("www.listed-1.example")
        await desk.wait_for(2)
        assert desk.done[-1] == ("www.listed-1.example", True), "the work goes on"

    monkeypatch.setattr(settling, "derive_key", fail)
    with_desk(play)
    assert "hotline-key-failed" in caplog.text and "listed-1" not in caplog.text


def test_the_loop_stays_free_while_keys_are_made() -> None:
    """scrypt lets the interpreter's lock go: with 70 ms a key nothing waits for longer than a few."""

    async def play(desk: Desk) -> float:
        for number in range(8):
            desk.ask(f"slow-{number}.example", A)
        gaps = []
        while desk.settler.waiting:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)
        assert desk.settler.hashes == 8
        return sorted(gaps)[len(gaps) * 9 // 10]

    assert with_desk(play, make_listed(cost=Cost(14, 8, 1))) < 0.02


def test_the_thread_steps_back_and_the_loop_does_not() -> None:
    async def play(desk: Desk) -> tuple[int, int]:
        desk.ask("slow-1.example")
        await desk.wait_for(1)
        thread = next(one for one in threading.enumerate() if one.name.startswith("hotline-keys"))
        assert thread.native_id is not None
        return os.getpriority(os.PRIO_PROCESS, thread.native_id), os.getpriority(os.PRIO_PROCESS, 0)

    theirs, mine = with_desk(play)
    assert theirs == max(mine, settling.NICENESS) and mine == os.getpriority(os.PRIO_PROCESS, 0)


def test_nothing_of_a_settled_name_is_held() -> None:
    async def play(desk: Desk) -> None:
        done = asyncio.Event()
        desk.settler.settle((parse_name("www.listed-1.example"),), A, lambda ok: done.set())
        await done.wait()
        await asyncio.sleep(0.05)
        desk.found.clear()
        gc.collect()
        held = [thing for thing in gc.get_referrers(desk.settler) if isinstance(thing, bytes)]
        assert not held and desk.settler._wishes == {} and desk.settler._queues == {} and desk.settler._worker is None

    with_desk(play)
