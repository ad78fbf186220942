"""Servers that stand for each other, and the search for one good answer among them.

A search starts one try (two, when racing), and the next one when a try fails or is overdue. A try that is overdue
goes on: what was slow may still be first. The first good answer ends the search, the deadline in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from guardian.config import Strategy
from guardian.errors import UpstreamError
from guardian.resolver.upstream.failure import ShortageError
from guardian.resolver.upstream.health import Health
from guardian.resolver.upstream.message import Query, Reply, name_rcode
from guardian.wire.dns import EDE_NETWORK_ERROR, EDE_NO_REACHABLE_AUTHORITY, RCODE_SERVFAIL, Message

log = logging.getLogger(__name__)

SHORTEST_PATIENCE = 0.4  # seconds, at most an eighth of the timeout: recursion upstream takes its time
REFRESH = 60.0  # seconds after which the round trip of an idle server is measured again
ENOUGH_SERVFAILS = 2  # servers that say so are believed


class Answer(NamedTuple):
    """What an upstream said: the raw response, from whom, after how many seconds, and the response taken apart."""

    message: bytes
    source: str
    seconds: float
    parsed: Message


class UpstreamStatus(NamedTuple):
    """How one upstream does. `rtt` is in milliseconds, smoothed; None before the first answer."""

    label: str
    healthy: bool
    rtt: float | None
    queries: int
    failures: int
    last_error: str


class Exchanger(Protocol):
    """One server over one transport."""

    async def exchange(self, query: Query, again: bool = False) -> Reply:
        """Return the reply. Raises UpstreamError. Waits until cancelled."""

    async def close(self) -> None:
        """Close what is open."""


class Server:
    """One upstream with its health. Groups may share it."""

    def __init__(self, label: str, exchanger: Exchanger) -> None:
        self.label = label
        self.exchanger = exchanger
        self.health = Health()
        self.probing = False

    def succeed(self, seconds: float, now: float) -> None:
        """Note a good answer."""
        if self.health.succeed(seconds, now):
            log.info("upstream=%s state=up rtt_ms=%.1f", self.label, seconds * 1000)

    def fail(self, reason: str, now: float) -> None:
        """Note a failure that is the server's fault."""
        if self.health.fail(reason, now):
            log.warning("upstream=%s state=down error=%s", self.label, reason)

    def blame(self, error: UpstreamError, now: float) -> None:
        """Note a try that failed."""
        if isinstance(error, ShortageError):
            self.health.complain(str(error))
        else:
            self.fail(str(error), now)

    def report(self) -> UpstreamStatus:
        """Return how it does."""
        health = self.health
        rtt = health.round_trip * 1000 if health.answered and health.round_trip is not None else None
        return UpstreamStatus(self.label, health.up, rtt, health.queries, health.errors, health.last_error)


class Tasks:
    """What runs: searches, and the tasks that no search waits for any more (probes, tries that came too late)."""

    def __init__(self) -> None:
        self.closed = False
        self.searches: set[_Search] = set()
        self._tasks: set[asyncio.Task[Reply]] = set()

    def keep(self, task: asyncio.Task[Reply]) -> None:
        """Hold a task until it is done, and take notice of how it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def close(self) -> None:
        """Cancel all tasks and wait for their ends; no search starts another one from now on."""
        self.closed = True
        for search in self.searches:
            search.give_up()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _end(self, task: asyncio.Task[Reply]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, UpstreamError):
            log.error("task=upstream error=%s", error, exc_info=error)


class Group:
    """Servers for the same questions: the general ones, or those of one forwarded domain."""

    def __init__(self, servers: tuple[Server, ...], strategy: Strategy, timeout: float, tasks: Tasks) -> None:
        self._servers = servers
        self._strategy = strategy
        self._timeout = timeout
        self._tasks = tasks

    async def resolve(self, query: Query) -> Answer:
        """Return the first good answer, or SERVFAIL when that is what upstream says. Raises UpstreamError."""
        now = asyncio.get_running_loop().time()
        order, together = self._order(now)
        search = _Search(query, order, together, self._timeout, self._tasks)
        self._tasks.searches.add(search)
        try:
            return await search.run(now)
        finally:
            self._tasks.searches.discard(search)
            search.end()
            self._probe(query, now)

    def _order(self, now: float) -> tuple[list[Server], int]:
        """The servers in the order to be tried, and how many at once."""
        if len(self._servers) == 1:
            return list(self._servers), 1
        up = [server for server in self._servers if server.health.up]
        down = [server for server in self._servers if not server.health.up]
        if self._strategy is not Strategy.FAILOVER:
            up.sort(key=_round_trip)
        if len(down) > 1:
            down.sort(key=lambda server: server.health.failures)
        if not up:  # quick recovery matters more than one packet
            return down, 2
        unmeasured = self._strategy is Strategy.FASTEST and up[0].health.round_trip is None
        return up + down, 2 if unmeasured or self._strategy is Strategy.RACE else 1

    def _probe(self, query: Query, now: float) -> None:
        """Ask servers that rested, or were not measured for long, the same real question; nobody waits for it."""
        if len(self._servers) == 1 or self._tasks.closed:
            return
        measuring = self._strategy is not Strategy.FAILOVER
        for server in self._servers:
            health = server.health
            stale = measuring and health.up and now - health.measured >= REFRESH
            if not server.probing and (stale or health.may_probe(now)):
                server.probing = True
                health.measured = now
                self._tasks.keep(asyncio.get_running_loop().create_task(self._run_probe(server, query)))

    async def _run_probe(self, server: Server, query: Query) -> Reply:
        loop = asyncio.get_running_loop()
        started = loop.time()
        server.health.queries += 1
        try:
            async with asyncio.timeout(self._timeout):
                reply = await server.exchanger.exchange(query)
        except TimeoutError:
            server.fail("no answer in time", loop.time())
            raise UpstreamError("no answer in time") from None
        except UpstreamError as error:
            server.blame(error, loop.time())
            raise
        finally:
            server.probing = False
        if reply.good:
            server.succeed(loop.time() - started, loop.time())
        else:
            server.fail(name_rcode(reply.rcode), loop.time())
        return reply


def _round_trip(server: Server) -> float:
    return server.health.round_trip or 0.0


class _Try(NamedTuple):
    server: Server
    started: float
    overdue: float  # the moment from which the next server may be asked


class _Search:
    """One question's tries. `run` once, then `end`."""

    def __init__(self, query: Query, order: list[Server], together: int, timeout: float, tasks: Tasks) -> None:
        self._loop = asyncio.get_running_loop()
        self._query = query
        self._order: Iterator[Server] = iter(order)
        self._together = together
        self._timeout = timeout
        self._tasks = tasks
        self._waiting: dict[asyncio.Task[Reply], _Try] = {}
        self._done: list[asyncio.Task[Reply]] = []
        self._wake: asyncio.Future[None] | None = None
        self._repeated: set[Server] = set()
        self._deadline = 0.0
        self._next_start = 0.0
        self._blamed: list[tuple[Server, str]] = []  # answered badly: at fault if another does better
        self._servfail: Answer | None = None
        self._servfails = 0
        self._error = UpstreamError("no upstream is configured")
        self._answered = False
        self._expired = False

    async def run(self, now: float) -> Answer:
        """Return the answer. Raises UpstreamError."""
        self._deadline = now + self._timeout
        for _ in range(self._together):
            self._start(now)
        while self._waiting and now < self._deadline:
            if not self._done:
                await self._wait_until(min(self._deadline, self._next_start))
            now = self._loop.time()
            done, self._done = self._done, []
            for task in done:
                answer = self._judge(task, now)
                if answer is not None:
                    return answer
            overdue = now >= self._next_start
            if self._servfails >= ENOUGH_SERVFAILS:
                break
            if done or overdue:
                self._start(now)
        self._expired = now >= self._deadline
        if self._servfail is not None:
            return self._servfail
        if self._waiting:
            self._error = UpstreamError("no answer in time")
        raise self._error

    def give_up(self) -> None:
        """Cancel the tries; `run` then ends with an error."""
        for task in self._waiting:
            task.cancel()
            self._tasks.keep(task)

    def end(self) -> None:
        """Give up what still waits, and tell the servers' health what was seen."""
        now = self._loop.time()
        if self._answered:
            for server, reason in self._blamed:
                server.fail(reason, now)
        for task, attempt in self._waiting.items():
            task.cancel()
            self._tasks.keep(task)
            if self._expired or (self._answered and now >= attempt.overdue):
                attempt.server.fail("no answer in time", now)
            else:
                attempt.server.health.outlast(now - attempt.started, now)

    def _start(self, now: float) -> None:
        """Ask the next server; when all were asked, one that is still silent once more (its packet may be lost)."""
        if self._tasks.closed:
            return
        server = next(self._order, None)
        if server is not None and self._servfails and not server.health.up:
            server = None  # no second opinion from one that is down
        again = server is None
        if server is None:
            silent = [attempt for attempt in self._waiting.values() if attempt.server not in self._repeated]
            self._next_start = min((attempt.overdue for attempt in silent), default=float("inf"))
            if now < self._next_start:
                return
            server = min(silent, key=lambda attempt: attempt.overdue).server
            self._repeated.add(server)
        longest = self._timeout / 4
        overdue = now + server.health.patience(min(SHORTEST_PATIENCE, longest / 2), longest)
        self._next_start = overdue
        server.health.queries += 1
        task = self._loop.create_task(server.exchanger.exchange(self._query, again))
        task.add_done_callback(self._note_done)
        self._waiting[task] = _Try(server, now, overdue)

    async def _wait_until(self, moment: float) -> None:
        """Wait for a try to end: asyncio.wait in a third of its time."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_at(moment, self._ring)
        try:
            await self._wake
        finally:
            timer.cancel()

    def _note_done(self, task: asyncio.Task[Reply]) -> None:
        self._done.append(task)
        self._ring()

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _judge(self, task: asyncio.Task[Reply], now: float) -> Answer | None:
        """The answer that ends the search, if the task has brought one."""
        server, started, _ = self._waiting.pop(task)
        if task.cancelled():
            self._error = UpstreamError("the upstreams are closed")
            return None
        try:
            reply = task.result()
        except UpstreamError as error:
            server.blame(error, now)
            if self._error.code != EDE_NETWORK_ERROR:
                self._error = error
            return None
        assert reply.parsed is not None  # transports follow TC themselves
        answer = Answer(reply.message, server.label, now - started, reply.parsed)
        if reply.good:
            server.succeed(answer.seconds, now)
            self._answered = True
            return answer
        reason = name_rcode(reply.rcode)
        server.health.measure(answer.seconds, now)
        server.health.complain(reason)
        self._blamed.append((server, reason))
        if reply.rcode == RCODE_SERVFAIL:
            self._servfail = self._servfail or answer
            self._servfails += 1
            # A second opinion is worth a wait, but not all of the client's patience.
            self._deadline = min(self._deadline, now + self._timeout / 2)
        self._error = UpstreamError(f"{server.label} answers {reason}", EDE_NO_REACHABLE_AUTHORITY)
        return None
