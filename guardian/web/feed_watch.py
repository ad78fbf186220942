"""Keeps the hotline's feed fresh: runs `guardian sync --feed` when `feed_plan` says so, one process at a time.

What comes from the internet is parsed there, never here. The pages are told when the feed's state has changed, whoever
changed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from random import Random, SystemRandom
from typing import Any

from guardian.config.values import HotlineConfig
from guardian.errors import ListError
from guardian.feed import Hint
from guardian.hotline.feed_state import STATE_FILE, FeedState, feed_folder, load_state
from guardian.web.feed_plan import PACE, FeedPlan, Pace

log = logging.getLogger(__name__)

SYNC_SECONDS = 600.0  # sync has a deadline of its own; this is for one that hangs
END_SECONDS = 2.0  # for a sync to end when it is asked to
STATE_SECONDS = 30.0  # between two looks at the file that others may write
FRESH_SECONDS = 86400.0
AGAIN_SECONDS = 60.0  # after a mistake of ours
CLOCK_SECONDS = 600.0  # by which the wall clock was set when that is news: a router begins in 1970
SYNC_NICE = 10


class FeedWatch:
    """Looks in time and listens for hints. `start` and `stop` once each, in the loop that all of it belongs to."""

    def __init__(
        self,
        settings: HotlineConfig,
        state: str,
        config_path: str,
        on_change: Callable[[], None],
        pace: Pace = PACE,
        chance: Random | None = None,
        command: Sequence[str] = (sys.executable, "-m", "guardian"),
    ) -> None:
        """`state` is the state directory; `on_change` is called when the feed's state is another than before."""
        self._settings = settings
        self._folder = feed_folder(state)
        self._command = [*command, "sync", "--feed", "--quiet", "--config", config_path]
        self._on_change = on_change
        self._chance = chance or SystemRandom()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stamp = self._read_stamp()
        self._known = self._load()
        self._clock_ahead = time.time() - time.monotonic()
        age = time.time() - self._known.succeeded  # below 0: the clock of a router that has just started
        self._plan = FeedPlan(
            self._settings.poll_hours * 3600,
            self._known.succeeded > 0 and age < FRESH_SECONDS,
            self._known.version,
            time.monotonic(),
            self._chance,
            pace,
        )

    def start(self) -> None:
        """Begin to look, and to listen where there is a broker."""
        self._begin(self._watch)
        if self._settings.push.broker is not None:
            from guardian.web.push import PushListener  # only where it is wanted: memory is scarce

            self._begin(PushListener(self._settings.push, self.hear, self._chance).run)

    async def stop(self) -> None:
        """End it; a sync that runs is ended too, and leaves what was in force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def hear(self, hint: Hint) -> None:
        """Take a hint."""
        is_sooner = self._plan.hear(hint.version, hint.urgent, hint.spread, time.monotonic())
        log.debug("event=hint version=%d urgent=%s sooner=%s", hint.version, hint.urgent, is_sooner)
        if is_sooner:
            self._wake.set()

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(_keep_up(work)))

    async def _watch(self) -> None:
        while True:
            wait = self._plan.due - time.monotonic()
            if wait <= 0:
                await self._look()
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(wait, STATE_SECONDS))
            self._wake.clear()
            self._note_others()
            self._note_clock()

    async def _look(self) -> None:
        before = self._known
        self._plan.begin(time.monotonic())
        try:
            code = await self._sync()
        except OSError as error:  # no process can be started: memory or processes have run out
            log.error("event=feed-not-looked-at error=%r", str(error))
            code = -1
        self._read_state()
        state = self._known
        is_done = code == 0 and not state.troubles() and state.checked != before.checked
        self._plan.finish(is_done, state.version, time.monotonic())
        log.log(
            logging.INFO if state.version != before.version else logging.DEBUG,
            "event=feed-looked-at done=%s code=%d version=%d next=%.0f",
            is_done,
            code,
            state.version,
            self._plan.due - time.monotonic(),
        )

    async def _sync(self) -> int:
        """Run `guardian sync --feed` and return its exit code; what it says of trouble is in our log."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the console, which then decides
        )
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, SYNC_NICE)
        try:
            return await asyncio.wait_for(process.wait(), SYNC_SECONDS)
        except TimeoutError:
            log.error("event=sync-hung seconds=%.0f", SYNC_SECONDS)
            return -1
        finally:
            if process.returncode is None:
                await _end(process)

    def _note_others(self) -> None:
        """Whoever else has looked, by hand or by the clock, has saved us the next look."""
        before = self._known
        if self._read_state() and self._known.succeeded != before.succeeded:
            self._plan.note(self._known.version, time.monotonic())

    def _note_clock(self) -> None:
        """Look soon when the wall clock was set."""
        ahead = time.time() - time.monotonic()
        if abs(ahead - self._clock_ahead) > CLOCK_SECONDS:
            log.info("event=clock-set seconds=%.0f", ahead - self._clock_ahead)
            self._plan.hurry(time.monotonic())
        self._clock_ahead = ahead  # a clock that is slewed is not set

    def _read_state(self) -> bool:
        """Read the state if it was written since, and tell the pages; return whether it was."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self._known = self._load()
        self._on_change()
        return True

    def _read_stamp(self) -> tuple[int, int]:
        """What tells that the state was written anew: a new file is renamed over it."""
        try:
            found = os.stat(self._folder / STATE_FILE)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> FeedState:
        try:
            return load_state(self._folder) or FeedState()
        except ListError as error:  # the next look makes it anew
            log.error("event=feed-state-broken error=%r", str(error))
            return FeedState()


async def _keep_up(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what should never end; a mistake of ours in one of two must not end it for all days to come."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("event=feed-watch-failed")
        await asyncio.sleep(AGAIN_SECONDS)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process: asked first, then killed."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
