"""Makes the slow keys of domains off the event loop: one thread, fair between the devices of the home.

Each device has a short queue; they take turns. What finds no room is refused at once, and what takes too long is given
up by who asked, but not by us: the next try finds it. Plain names are held only while they wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from guardian.blocklist.feed_base import derive_key
from guardian.errors import ListError
from guardian.hotline.listed import ListedNames

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds that a query waits; stub resolvers give up after five
MAX_OF_DEVICE = 24  # domains that wait for one device: a page full of unknown ones
MAX_IN_BACKGROUND = 2048  # running flows whose names must be looked at after an update
MAX_WAITING = 4096  # domains, of all devices
MAX_WISHES = 64  # for one domain
_NOBODY = b""  # as an asker: who looks at running flows
NICENESS = 10  # of the thread: on one core the loop goes first


class Settler:
    """Settles names for one gateway. All but the hashing happens in the event loop's thread."""

    def __init__(self, names: ListedNames, on_listed: Callable[[bytes], None]) -> None:
        """`on_listed(domain)` is called when it turns out that something below a key domain is listed."""
        self.names = names
        self.hashes = 0
        self.refused = 0  # for want of room
        self.late = 0  # that had waited PATIENCE seconds
        self._on_listed = on_listed
        self._wishes: dict[bytes, list[_Wish]] = {}  # by key domain
        self._queues: dict[bytes, deque[bytes]] = {}  # by asker, whose turn it is first
        self._worker: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, "hotline-keys", _step_back)

    @property
    def waiting(self) -> int:
        """How many domains wait for their keys."""
        return len(self._wishes)

    def use(self, names: ListedNames) -> None:
        """Settle by other lists from now on. With another salt who waits is told to look again."""
        is_other = names.base.salt != self.names.base.salt
        self.names = names
        if is_other:
            self._queues.clear()
            waiting, self._wishes = self._wishes, {}
            for wishes in waiting.values():
                _end(wishes, True)

    def settle(self, names: Iterable[bytes], asker: bytes, done: Callable[[bool], None]) -> None:
        """Call `done(True)` when all of the lower-case wire names can be looked at, `done(False)` when they cannot now.

        `asker` is the device's MAC or address. `done` is called at once when nothing is missing.
        """
        domains = {domain for name in names if (domain := self.names.missing(name)) is not None}
        if not domains:
            done(True)
            return
        wish = _Wish(len(domains), done)
        wish.timer = asyncio.get_running_loop().call_later(PATIENCE, self._give_up, wish)
        for domain in domains:
            if len(self._wishes.get(domain, ())) >= MAX_WISHES or not self._enqueue(domain, asker, MAX_OF_DEVICE):
                self.refused += 1
                wish.end(False)
                break
            self._wishes[domain].append(wish)
        self._start()

    def settle_later(self, name: bytes) -> None:
        """Settle a name for which nobody waits: one of a flow that runs. For want of room it is left out."""
        domain = self.names.missing(name)
        if domain is not None and domain not in self._wishes:
            self.refused += not self._enqueue(domain, _NOBODY, MAX_IN_BACKGROUND)
            self._start()

    def _enqueue(self, domain: bytes, asker: bytes, most: int) -> bool:
        """Put a domain into the queue of a device, and into the table of wishes. False when there is no room."""
        if domain not in self._wishes and len(self._wishes) >= MAX_WAITING:
            return False
        queue = self._queues.get(asker)
        if queue is None or domain not in queue:
            if queue is not None and len(queue) >= most:
                return False
            # Also when another device waits for it already: whose turn comes first brings it to both.
            self._queues.setdefault(asker, deque()).append(domain)
        self._wishes.setdefault(domain, [])
        return True

    def _start(self) -> None:
        if self._worker is None and self._queues:
            self._worker = asyncio.get_running_loop().create_task(self._work())
            self._worker.add_done_callback(_tell_failure)

    def _give_up(self, wish: _Wish) -> None:
        if not wish.is_over:
            self.late += 1
            wish.end(False)

    def _take_turn(self) -> bytes | None:
        """The next domain: of the device whose turn it is, which then goes to the end of the line."""
        while self._queues:
            asker = next(iter(self._queues))
            queue = self._queues.pop(asker)
            domain = queue.popleft()
            if queue:
                self._queues[asker] = queue
            if domain in self._wishes:  # else somebody else's turn has brought it
                return domain
        return None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (domain := self._take_turn()) is not None:
                base = self.names.base
                try:
                    key = await loop.run_in_executor(self._executor, derive_key, domain, base.salt, base.cost)
                except (ListError, MemoryError) as error:
                    log.error("event=hotline-key-failed error=%s", type(error).__name__)  # no name at any level
                    _end(self._wishes.pop(domain, []), False)
                    continue
                self.hashes += 1
                if base.salt != self.names.base.salt:
                    continue  # who waits now came after the new lists, and has a place in the queue
                if self.names.learn(domain, base.salt, key):
                    self._on_listed(domain)
                _end(self._wishes.pop(domain, []), True)
        finally:
            self._worker = None

    async def close(self) -> None:
        """End what is under way; nobody is told any more."""
        self._queues.clear()
        for wishes in self._wishes.values():
            for wish in wishes:
                wish.cancel()
        self._wishes.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Wish:
    """Somebody who waits for some domains."""

    __slots__ = ("_done", "_left", "is_over", "timer")

    def __init__(self, left: int, done: Callable[[bool], None]) -> None:
        self._left = left
        self._done: Callable[[bool], None] | None = done
        self.timer: asyncio.TimerHandle | None = None
        self.is_over = False

    def end(self, is_settled: bool) -> None:
        """One domain more is there; or none will be."""
        self._left -= 1
        if self.is_over or (is_settled and self._left):
            return
        done = self._done
        self.cancel()
        if done is not None:  # later, so that whoever fails there does not stop the work for others
            asyncio.get_running_loop().call_soon(done, is_settled)

    def cancel(self) -> None:
        """Tell nobody any more, and hold on to nothing."""
        self.is_over, self._done = True, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _end(wishes: list[_Wish], is_settled: bool) -> None:
    for wish in wishes:
        wish.end(is_settled)


def _step_back() -> None:
    thread = threading.get_native_id()  # on Linux a priority is a thread's
    os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def _tell_failure(worker: asyncio.Task[None]) -> None:
    if not worker.cancelled() and (error := worker.exception()) is not None:
        log.critical("event=hotline-worker-failed error=%s", type(error).__name__)
