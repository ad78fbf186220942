"""What happens on a miss: one question upstream for all who wait, then the cache, then everybody's answer.

A stale answer is given when upstream takes too long or fails (RFC 8767), and the question goes on in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from guardian.errors import FormError, UpstreamError
from guardian.resolver.answer import MAX_TEXT_BYTES
from guardian.resolver.cache import Cache, Entry, make_entry, make_failure
from guardian.resolver.handle import Miss
from guardian.wire import dns

log = logging.getLogger(__name__)

STALE_WAIT = 1.8  # seconds that a client waits before it gets stale data, RFC 8767 section 5
MAX_IN_FLIGHT = 1000  # questions upstream at once, as many as `upstream` takes; a home has tens
MAX_SHARE = 250  # of these for one device: names that nobody answers must not silence the others
MAX_WAITERS = 64  # for one question

Waiter = Callable[[Entry], None]


class UpstreamReply(Protocol):
    """What an upstream gave; `guardian.resolver.upstream.Answer` satisfies it."""

    @property
    def parsed(self) -> dns.Message: ...


class Upstream(Protocol):
    """Who is asked; `guardian.resolver.upstream.Upstreams` satisfies it."""

    async def resolve(
        self, question: bytes, *, dnssec_ok: bool = False, checking_disabled: bool = False
    ) -> UpstreamReply: ...


class Resolver:
    """Asks upstream, fills the cache, wakes the waiters."""

    def __init__(
        self, upstream: Upstream, cache: Cache, is_private: Callable[[bytes, bytes], bool], second: Callable[[], int]
    ) -> None:
        """`is_private(name, address)` tells whether an answer for `name` must not hold `address`."""
        self.misses = 0
        self.failures = 0
        # `may_keep(entry)`: whether its names are settled, and none is on a list whose names nobody may keep.
        self.may_keep: Callable[[Entry], bool] | None = None
        self._upstream = upstream
        self._cache = cache
        self._is_private = is_private
        self._second = second
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._shares: Counter[bytes] = Counter()  # questions under way, by who asked first
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch(self, miss: Miss, waiter: Waiter | None = None) -> None:
        """Ask upstream for `miss`; `waiter` is called once with an entry, be it a failure. One question serves all."""
        waiters = self._waiting.get(miss.key)
        if waiters is not None:
            if waiter is not None:
                if len(waiters) < MAX_WAITERS:
                    waiters.append(waiter)
                else:
                    waiter(self._refuse(miss))
            return
        if len(self._waiting) >= MAX_IN_FLIGHT or (miss.asker and self._shares[miss.asker] >= MAX_SHARE):
            if waiter is not None:
                waiter(self._refuse(miss))
            return
        self.misses += 1
        self._shares[miss.asker] += 1
        self._waiting[miss.key] = [] if waiter is None else [waiter]
        task = asyncio.get_running_loop().create_task(self._run(miss))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, miss: Miss) -> None:
        timer = None
        if miss.stale is not None:
            timer = asyncio.get_running_loop().call_later(STALE_WAIT, self._give_stale, miss, miss.stale)
        try:
            entry = await self._ask(miss)
        finally:
            if timer is not None:
                timer.cancel()
            waiters = self._waiting.pop(miss.key, [])  # in any case, or nobody could ask it again
            self._shares[miss.asker] -= 1
            if not self._shares[miss.asker]:
                del self._shares[miss.asker]
        for waiter in waiters:
            waiter(entry)

    def _give_stale(self, miss: Miss, stale: Entry) -> None:
        waiters = self._waiting.get(miss.key, [])
        given, waiters[:] = list(waiters), []
        stale.failed = self._second()
        for waiter in given:
            waiter(stale)

    async def _ask(self, miss: Miss) -> Entry:
        try:
            reply = await self._upstream.resolve(
                miss.question, dnssec_ok=miss.dnssec_ok, checking_disabled=miss.checking_disabled
            )
            message = reply.parsed
            entry = make_entry(
                miss.key,
                miss.name,
                miss.type,
                message,
                self._second(),
                self._cache.limits,
                lambda address: self._is_private(miss.name, address),
            )
        except UpstreamError as error:
            return self._fail(miss, error.code, str(error))
        except FormError as error:
            log.debug("event=bad-answer error=%r", str(error))  # no name at any level: it may be a helpline
            return self._fail(miss, dns.EDE_NETWORK_ERROR, "upstream gave a broken answer")
        if entry.is_failure:
            self.failures += 1
            if miss.stale is not None:
                miss.stale.failed = self._second()
                return miss.stale
            entry.error = _extended_error(message)
        self.keep(entry)
        return entry

    def keep(self, entry: Entry) -> None:
        """Put what upstream said into the cache, if it lives at all and may be kept."""
        if entry.lifetime > 0 and (self.may_keep is None or self.may_keep(entry)):
            self._cache.put(entry)

    def _fail(self, miss: Miss, code: int, text: str) -> Entry:
        self.failures += 1
        if miss.stale is not None:
            miss.stale.failed = self._second()
            return miss.stale
        entry = make_failure(miss.key, miss.name, miss.type, self._second(), code, text)
        self.keep(entry)
        return entry

    def _refuse(self, miss: Miss) -> Entry:
        """What a waiter gets for whom there is no room; not kept: the name is not at fault."""
        self.failures += 1
        text = "too many questions at once"
        return miss.stale or make_failure(miss.key, miss.name, miss.type, self._second(), dns.EDE_OTHER, text)

    def replace_upstream(self, upstream: Upstream) -> None:
        """Ask `upstream` from now on."""
        self._upstream = upstream

    async def close(self) -> None:
        """End the questions that are under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _extended_error(message: dns.Message) -> tuple[int, bytes] | None:
    """The first Extended DNS Error of upstream's message, its text cut: anybody may have written it."""
    for code, value in message.edns.options if message.edns else ():
        if code == dns.OPTION_EDE and len(value) >= 2:
            text = value[2 : 2 + MAX_TEXT_BYTES].decode(errors="ignore")
            return dns.build_extended_error(int.from_bytes(value[:2]), text)
    return None
