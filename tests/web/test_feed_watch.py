"""The feed is looked at in time, by one process at a time, which ends in time, and the pages learn of it.

Here `guardian sync --feed` is a stand-in that does what a test tells it, hanging and dying too; with the real one, a
real feed and a real broker the whole way is in test_feed_live.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from guardian.config.values import HotlineConfig, PushConfig
from guardian.feed import Hint
from guardian.hotline.feed_state import STATE_FILE, FeedState, feed_folder, load_state, save_state
from guardian.web import feed_watch
from guardian.web.feed_plan import PACE, Pace
from guardian.web.feed_watch import FeedWatch
from tests.web.broker import broker
from tests.web.test_push import settings_of

QUICK = PACE._replace(start=0.1, fresh_start=0.1, least_pause=0.2, first_retry=0.2, longest_retry=0.5)
STAND_IN = """
import json, os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
order = json.loads((folder / "order.json").read_text())
with open(folder / "looks", "a") as file:
    print(json.dumps([os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), time.time(), sys.argv[1:]]), file=file)
if order.get("ignores-asking"):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "deaf").touch()
time.sleep(order.get("seconds", 0))
state = order.get("state")
if state is not None:
    from guardian.hotline.feed_state import FeedState, ListState, save_state
    lists = {key: ListState(**one) for key, one in state.pop("lists", {}).items()}
    done = {} if state.get("code") else {"succeeded": time.time()}
    save_state(folder / "state" / "hotline", FeedState(checked=time.time(), lists=lists, **done, **state))
sys.exit(order.get("code", 0))
"""


class Place:
    """A folder with a stand-in, and a watch over it."""

    def __init__(self, folder: Path, push: PushConfig | None = None) -> None:
        self.folder = folder
        (folder / "stand_in.py").write_text(STAND_IN)
        self.changes: list[float] = []
        self.order(state={"version": 5})
        self.hotline = feed_folder(folder / "state")
        self.hotline.mkdir(parents=True, exist_ok=True)
        self.settings = HotlineConfig("http://127.0.0.1:1/", str(folder / "root.json"), push=push or PushConfig())
        self.state = str(folder / "state")

    def order(self, **order: Any) -> None:
        """What the next looks do: `seconds`, `code`, `state`, `ignores-asking`."""
        (self.folder / "order.new").write_text(json.dumps(order))
        os.replace(self.folder / "order.new", self.folder / "order.json")

    def looks(self) -> list[list[Any]]:
        path = self.folder / "looks"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def make(self, pace: Pace = QUICK) -> FeedWatch:
        def note_change() -> None:
            self.changes.append(time.monotonic())

        command = (sys.executable, str(self.folder / "stand_in.py"))
        return FeedWatch(self.settings, self.state, "/the/guardian.yaml", note_change, pace, Random(1), command)

    async def until(self, what: Callable[[], Any], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextlib.asynccontextmanager
async def watching(place: Place, pace: Pace = QUICK) -> AsyncIterator[FeedWatch]:
    watch = place.make(pace)
    watch.start()
    try:
        yield watch
    finally:
        await watch.stop()


def drive(act: Callable[[], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await act()

    asyncio.run(main())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_looks_soon_after_the_start_and_tells_the_pages(place: Place) -> None:
    async def act() -> None:
        async with watching(place):
            await place.until(lambda: place.changes)
            await asyncio.sleep(0.6)
        assert len(place.looks()) == 1, "the next one is hours away"
        _, nice, _, words = place.looks()[0]
        assert words == ["sync", "--feed", "--quiet", "--config", "/the/guardian.yaml"]
        assert nice == max(os.getpriority(os.PRIO_PROCESS, 0), feed_watch.SYNC_NICE)
        assert len(place.changes) == 1

    drive(act)


def test_a_clock_that_was_set_makes_it_look_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router starts in 1970: what its first look has written down is dated before all lists."""
    monkeypatch.setattr(feed_watch, "STATE_SECONDS", 0.1)

    async def act() -> None:
        async with watching(place):
            await place.until(lambda: place.changes)
            clock = time.time
            for ahead, looks in ((30.0, 1), (56 * 365 * 86400.0, 2)):
                with monkeypatch.context() as patch:
                    patch.setattr(feed_watch.time, "time", lambda ahead=ahead: clock() + ahead)
                    await asyncio.sleep(0.5)
                    await place.until(lambda looks=looks: len(place.looks()) == looks)
                    await asyncio.sleep(0.5)
                    assert len(place.looks()) == looks, "it was set once"

    drive(act)


def test_a_hint_makes_it_look_and_a_known_one_does_not(place: Place) -> None:
    async def act() -> None:
        async with watching(place) as watch:
            await place.until(lambda: place.changes)
            for version in (3, 5):
                watch.hear(Hint(version=version, urgent=True))
            await asyncio.sleep(0.5)
            assert len(place.looks()) == 1
            place.order(state={"version": 6})
            watch.hear(Hint(version=6, urgent=True))
            heard = time.monotonic()
            await place.until(lambda: len(place.changes) == 2)
            assert time.monotonic() - heard < 2

    drive(act)


def test_hints_without_end_make_no_second_process_and_no_hurry(place: Place) -> None:
    place.order(state={"version": 5}, seconds=0.3)

    async def act() -> None:
        async with watching(place, QUICK._replace(hints_an_hour=4)) as watch:
            end = time.monotonic() + 4
            version = 5
            while time.monotonic() < end:
                version += 1
                watch.hear(Hint(version=version, urgent=True))
                await asyncio.sleep(0.001)
        looks = place.looks()
        assert 4 <= len(looks) <= 5, "one of its own, and the four of the hour"
        times = [look[2] for look in looks]
        assert all(after - before >= 0.3 for before, after in pairwise(times))

    drive(act)


@pytest.mark.parametrize(
    "order",
    [
        {"code": 1},
        {"code": 0},  # but it wrote nothing: it did not look
        {"code": 0, "state": {"version": 5, "code": "offline", "error": "no server was reached"}},
        {"code": 0, "state": {"version": 5, "lists": {"one": {"code": "growth", "error": "too much"}}}},
        {"code": -9},
    ],
)
def test_after_a_failure_it_looks_again_soon(place: Place, order: dict[str, Any]) -> None:
    place.order(**order)

    async def act() -> None:
        async with watching(place):
            await place.until(lambda: len(place.looks()) >= 3)
            place.order(state={"version": 5})
            await place.until(lambda: load_state(place.hotline) and not load_state(place.hotline).troubles())  # type: ignore[union-attr]
            await asyncio.sleep(0.3)
            done = len(place.looks())
            await asyncio.sleep(1)
            assert len(place.looks()) == done

    drive(act)


def test_a_sync_that_hangs_is_ended_though_it_does_not_want_to(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed_watch, "SYNC_SECONDS", 1.0)
    monkeypatch.setattr(feed_watch, "END_SECONDS", 0.3)
    place.order(seconds=60, **{"ignores-asking": True})

    async def act() -> None:
        async with watching(place):
            await place.until(lambda: len(place.looks()) >= 2)
            assert not is_alive(place.looks()[0][0])

    drive(act)
    assert "event=sync-hung" in caplog.text
    assert not any(is_alive(look[0]) for look in place.looks())


def test_stopping_ends_the_sync_that_runs(place: Place) -> None:
    place.order(seconds=60)

    async def act() -> None:
        async with watching(place):
            await place.until(place.looks)
            begin = time.monotonic()
        assert time.monotonic() - begin < 1
        assert not is_alive(place.looks()[0][0])

    drive(act)


def test_a_sync_that_cannot_be_started_is_tried_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def act() -> None:
        watch = FeedWatch(
            place.settings, place.state, "x", lambda: None, QUICK, Random(1), (str(place.folder / "nothing"),)
        )
        watch.start()
        await place.until(lambda: caplog.text.count("event=feed-not-looked-at") >= 2)
        await watch.stop()

    drive(act)


def test_a_look_of_somebody_else_counts_and_the_pages_learn_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_watch, "STATE_SECONDS", 0.05)

    async def act() -> None:
        async with watching(place, QUICK._replace(start=3.0, fresh_start=3.0)) as watch:
            await asyncio.sleep(0.1)
            save_state(place.hotline, FeedState(version=9, checked=time.time(), succeeded=time.time()))
            await place.until(lambda: place.changes)
            watch.hear(Hint(version=9, urgent=True))
            await asyncio.sleep(3.2)
            assert not place.looks(), "the first look of its own is put off as well"

    drive(act)


@pytest.mark.parametrize(
    ("age", "is_fresh"), [(3600, True), (2 * 86400, False), (-50 * 365 * 86400, True), (None, False)]
)
def test_after_a_power_cut_a_fresh_list_waits_longer(place: Place, age: float | None, is_fresh: bool) -> None:
    """A clock without a battery says 1970: then nobody knows, and the kinder guess counts."""
    if age is not None:
        save_state(place.hotline, FeedState(version=5, succeeded=time.time() - age))

    async def act() -> None:
        waits = [
            FeedWatch(place.settings, place.state, "x", lambda: None, PACE, Random(seed))._plan.due - time.monotonic()
            for seed in range(200)
        ]
        assert (max(waits) > 61) == is_fresh
        assert max(waits) <= (300 if is_fresh else 60)

    drive(act)


def test_a_broken_state_is_no_reason_to_stop(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    (place.hotline / STATE_FILE).write_text("{")

    async def act() -> None:
        async with watching(place):
            await place.until(lambda: place.changes)
        assert load_state(place.hotline) is not None

    drive(act)
    assert "event=feed-state-broken" in caplog.text


def test_a_mistake_of_ours_in_one_part_does_not_end_the_others(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed_watch, "AGAIN_SECONDS", 0.05)
    tried = []

    async def fail() -> None:
        tried.append(True)
        raise ZeroDivisionError

    async def act() -> None:
        watch = place.make()
        watch._begin(fail)
        watch.start()
        await place.until(lambda: place.changes and len(tried) >= 3)
        await watch.stop()

    drive(act)
    assert "ZeroDivisionError" in caplog.text


def test_what_a_real_broker_tells_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with broker(tmp_path / "broker") as running:
        place = Place(tmp_path, settings_of(running, tmp_path))

        async def act() -> None:
            async with watching(place):
                await place.until(lambda: place.changes and "event=push-connected" in caplog.text)
                place.order(state={"version": 6})
                await asyncio.to_thread(running.publish, '{"version": 6, "urgent": true}')
                await place.until(lambda: len(place.changes) == 2)
            assert len(place.looks()) == 2

        drive(act)


def test_without_a_broker_nothing_of_push_is_loaded(place: Place) -> None:
    script = (
        "import asyncio, sys\n"
        "from guardian.config.values import HotlineConfig\n"
        "from guardian.web.feed_watch import FeedWatch\n"
        "async def main():\n"
        f"    watch = FeedWatch(HotlineConfig('http://x/'), {place.state!r}, 'x', print)\n"
        "    watch.start(); await asyncio.sleep(0.01); await watch.stop()\n"
        "asyncio.run(main())\n"
        "print(sorted(name for name in sys.modules if 'push' in name or 'mqtt' in name or 'tuf' in name))\n"
    )

    async def act() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        printed, _ = await process.communicate()
        assert (process.returncode, printed) == (0, b"[]\n")

    drive(act)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
