"""What happens in the home as it happens, told to who listens on the control socket. Costs nothing while nobody does.

A mirror of the history's recorder gathers the same decisions and attempts, so a listener learns what the history keeps
and nothing else: no helpline, no mandatory list, names only where parents see names.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from guardian.errors import GuardianError
from guardian.names import format_name
from guardian.store.history_record import HELPLINE_BLOCKED, Batch, Kind, Recorder

MAX_READERS = 8
MAX_WAITING = 512  # events that one reader has not taken yet


class Reader:
    """One who listens. Bounded: what finds no room is counted, and told as `lost`."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._events: list[dict[str, Any]] = []
        self._lost = 0
        self._is_closed = False
        self._wake = asyncio.Event()

    def put(self, event: dict[str, Any]) -> None:
        """Keep an event until it is taken."""
        if len(self._events) < MAX_WAITING:
            self._events.append(event)
        else:
            self._lost += 1
        self._wake.set()

    async def take(self, seconds: float) -> list[dict[str, Any]] | None:
        """Return the events that wait, none after `seconds` without any, None after `close`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        if self._is_closed:
            return None
        self._wake.clear()
        events, self._events = self._events, []
        if self._lost:
            events.append({"event": "lost", "count": self._lost})
            self._lost = 0
        return events

    def close(self) -> None:
        """Listen no more. May be called twice."""
        self._is_closed = True
        self._wake.set()
        self._live.leave(self)


class Live:
    """Hands events to its readers. One thread, the gateway's."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._readers: list[Reader] = []

    def listen(self) -> Reader:
        """Return a new reader. Raises GuardianError when there are too many."""
        if len(self._readers) >= MAX_READERS:
            raise GuardianError(f"{MAX_READERS} programs listen already")
        reader = Reader(self)
        self._readers.append(reader)
        if self._recorder.mirror is None:
            self._recorder.mirror = Recorder(self._recorder.timezone)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader; after the last one nothing is gathered any more."""
        if reader in self._readers:
            self._readers.remove(reader)
        if not self._readers:
            self._recorder.mirror = None

    def publish(self, event: str, **facts: str | float | bool) -> None:
        """Tell one event now."""
        for reader in self._readers:
            reader.put({"event": event, **facts})

    def tick(self, now: float) -> None:
        """Tell what was decided since the last tick; call once a second, when all answers were recorded."""
        mirror = self._recorder.mirror
        if mirror is None:
            return
        mirror.timezone = self._recorder.timezone
        batch = mirror.take()
        if batch is not None:
            for event in describe_batch(batch, now):
                for reader in self._readers:
                    reader.put(event)


def describe_batch(batch: Batch, now: float) -> Iterator[dict[str, Any]]:
    """Yield the events of a batch: a decision for each device, kind and name, an attempt for each device and way.

    Mandatory hits are in none. Nor is a helpline that a mandatory list blocks: the moment would tell who had asked.
    """
    named: Counter[tuple[int, Kind]] = Counter()
    for (hour, kind, name), visits in batch.names.items():
        named[hour, kind] += visits.queries
        yield _describe_decision(kind, visits.queries, visits.last) | {"name": format_name(name)}
    for (hour, kind), count in batch.counts.items():
        if (nameless := count - named[hour, kind]) > 0:
            yield _describe_decision(kind, nameless, now)
    for key, seen in batch.attempts.items():
        if key.kind != HELPLINE_BLOCKED:
            attempt = {"device": key.device, "mac": key.mac, "kind": key.kind, "times": seen.times}
            yield {"event": "attempt", "at": int(seen.last), **attempt}


def _describe_decision(kind: Kind, times: int, at: float) -> dict[str, Any]:
    return {"event": "decision", "at": int(at), **kind._asdict(), "times": times}
