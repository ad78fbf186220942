"""What happens on a miss: one question upstream for all who wait, then the cache, then everybody's answer.

A stale answer is given when upstream takes too long or fails (RFC 8767), and the question goes on in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from guardian.errors import FormError, UpstreamError
from guardian.names import format_name
from guardian.resolver.cache import Cache, Entry, make_entry, make_failure
from guardian.resolver.handle import Miss
from guardian.wire import dns

log = logging.getLogger(__name__)

STALE_WAIT = 1.8  # seconds that a client waits before it gets stale data, RFC 8767 section 5
MAX_IN_FLIGHT = 1000  # questions upstream at once, as many as `upstream` takes; a home has tens
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
        self._upstream = upstream
        self._cache = cache
        self._is_private = is_private
        self._second = second
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch(self, miss: Miss, waiter: Waiter | None = None) -> None:
        """Ask upstream for `miss`; `waiter` is called once with an entry, be it a failure. One question serves all."""
        waiters = self._waiting.get(miss.key)
        if waiters is not None:
            if waiter is not None and len(waiters) < MAX_WAITERS:
                waiters.append(waiter)
            return
        if len(self._waiting) >= MAX_IN_FLIGHT:
            if waiter is not None:
                waiter(self._fail(miss, dns.EDE_NO_REACHABLE_AUTHORITY, "too many questions at once"))
            return
        self.misses += 1
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
        waiters = self._waiting.pop(miss.key, [])
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
            log.debug("event=bad-answer name=%s error=%r", format_name(miss.name), str(error))
            return self._fail(miss, dns.EDE_NETWORK_ERROR, "upstream gave a broken answer")
        if entry.rcode not in (dns.RCODE_NOERROR, dns.RCODE_NXDOMAIN):
            self.failures += 1
            if miss.stale is not None and miss.stale.rcode != dns.RCODE_SERVFAIL:
                miss.stale.failed = self._second()
                return miss.stale
            entry.error = next((option for option in _options(message) if option[0] == dns.OPTION_EDE), None)
        if entry.lifetime > 0:
            self._cache.put(entry)
        return entry

    def _fail(self, miss: Miss, code: int, text: str) -> Entry:
        self.failures += 1
        if miss.stale is not None and miss.stale.rcode != dns.RCODE_SERVFAIL:
            miss.stale.failed = self._second()
            return miss.stale
        entry = make_failure(miss.key, miss.name, miss.type, self._second(), code, text)
        self._cache.put(entry)
        return entry

    def replace_upstream(self, upstream: Upstream) -> None:
        """Ask `upstream` from now on."""
        self._upstream = upstream

    async def close(self) -> None:
        """End the questions that are under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _options(message: dns.Message) -> tuple[tuple[int, bytes], ...]:
    return message.edns.options if message.edns else ()
