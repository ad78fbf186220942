"""What is told to the open pages as it happens (server-sent events).

`publish_*` may be called from any thread; all else belongs to the loop that `start` was given. While somebody listens
who may see it, one connection to the gateway brings what the gateway tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from guardian.control import follow
from guardian.errors import GuardianError
from guardian.policy.model import Reason

log = logging.getLogger(__name__)

MAX_STREAMS, MAX_STREAMS_PER_CALLER = 32, 4
MAX_WAITING = 256  # events that one stream has not taken yet
READ = "read"
BYPASS = Reason.BYPASS.value  # DNS refuses most ways around the filter: then there is a decision and no attempt
CHANGE_SCOPES = {"household": READ, "devices": READ, "alerts": READ, "requests": "requests"}
GATHER_SECONDS = 0.1  # equal changes within it are told once, at its end
# An app that tries again and again must not make the pages ask each second, and what alerts are made of is in the
# history only when the gateway has written it (`history.flush_seconds`, 5 unless somebody sets it).
GATHER_ALERTS_SECONDS = 6.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before the gateway is tried again


class FullError(GuardianError):
    """There are too many streams."""


class Subscription:
    """One stream: events as bytes, ready to be sent. Bounded: too much at once becomes "ask for everything anew"."""

    def __init__(self, events: Events, caller: object, scopes: frozenset[str]) -> None:
        self.caller = caller
        self.scopes = scopes
        self._events = events
        self._waiting: list[bytes] = []
        self._has_missed = self._is_closed = False
        self.is_doubtful = False  # whether the caller may still listen is to be looked at before anything more is told
        self._wake = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Keep an event until it is taken."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting, self._has_missed = [], True
        if not self._has_missed:
            self._waiting.append(event)
        self._wake.set()

    async def take(self, seconds: float) -> list[bytes] | None:
        """Return the events that wait, none after `seconds` without any, None when the stream is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        if self._is_closed:
            return None
        self._wake.clear()
        taken, self._waiting = self._waiting, []
        if self._has_missed:
            self._has_missed = False
            return [
                encode_event("change", {"what": what}) for what, scope in CHANGE_SCOPES.items() if scope in self.scopes
            ]
        return taken

    def doubt(self) -> None:
        """Have it looked at, at once, whether the caller may still listen."""
        self.is_doubtful = True
        self._wake.set()

    def close(self) -> None:
        """End the stream. May be called twice."""
        self._is_closed = True
        self._wake.set()
        self._events.leave(self)


class Events:
    """Hands events to all who listen."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._streams: list[Subscription] = []
        self._gathering: set[tuple[str, float]] = set()
        self._wanted = asyncio.Event()  # somebody listens who may see what the gateway tells
        self._following: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, control_socket: str) -> None:
        """Begin; from now on events reach those who listen."""
        with self._lock:
            self._loop = loop
        self._following = loop.create_task(self._follow(control_socket))

    def stop(self) -> None:
        """End all streams and the connection to the gateway. Call it in the loop; what is published later is lost."""
        with self._lock:
            self._loop = None
        if self._following is not None:
            self._following.cancel()
        for stream in list(self._streams):
            stream.close()

    def subscribe(self, caller: object, scopes: frozenset[str]) -> Subscription:
        """Return a new stream of what callers with `scopes` may see. Raises FullError; `caller` tells whose share."""
        mine = sum(1 for stream in self._streams if stream.caller == caller)
        if len(self._streams) >= MAX_STREAMS or mine >= MAX_STREAMS_PER_CALLER:
            raise FullError("too many pages are open")
        stream = Subscription(self, caller, scopes)
        self._streams.append(stream)
        self._note_wish()
        return stream

    def leave(self, stream: Subscription) -> None:
        """Forget a stream that is over."""
        if stream in self._streams:
            self._streams.remove(stream)
        self._note_wish()

    def _note_wish(self) -> None:
        if any(READ in stream.scopes for stream in self._streams):
            self._wanted.set()
        else:
            self._wanted.clear()

    # From any thread

    def publish_change(self, what: str) -> None:
        """Tell that something was changed: `household`, `requests`, `alerts`, `devices`; pages ask for it anew.

        Raises KeyError for anything else.
        """
        self._call(self._gather, what, CHANGE_SCOPES[what], GATHER_SECONDS)

    def publish(self, event: str, data: Mapping[str, Any], scope: str = READ) -> None:
        """Tell an event to those who have `scope`."""
        self._call(self._deliver, event, data, scope)

    def check_callers(self) -> None:
        """Have all streams looked at: a session or token has ended, or is worth less than before."""
        self._call(self._doubt_all)

    def _call(self, work: Any, *arguments: Any) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work, *arguments)

    # In the loop

    def _doubt_all(self) -> None:
        for stream in self._streams:
            stream.doubt()

    def _deliver(self, event: str, data: Mapping[str, Any], scope: str) -> None:
        encoded = encode_event(event, data)
        for stream in self._streams:
            if scope in stream.scopes:
                stream.put(encoded)

    def _gather(self, what: str, scope: str, seconds: float) -> None:
        """Tell a change when some time has passed: the console and the gateway both tell of the same one."""
        if (what, seconds) not in self._gathering:  # one that waits for the history does not hold up what is known now
            self._gathering.add((what, seconds))
            asyncio.get_running_loop().call_later(seconds, self._tell_gathered, what, seconds, scope)

    def _tell_gathered(self, what: str, seconds: float, scope: str) -> None:
        self._gathering.discard((what, seconds))
        self._deliver("change", {"what": what}, scope)

    async def _follow(self, control_socket: str) -> None:
        """Bring what the gateway tells, while somebody listens; try again when it is gone."""
        wait = FIRST_WAIT
        is_first = True
        while True:
            await self._wanted.wait()
            try:
                async with aclosing(follow(control_socket, "events")) as told:
                    async for event in told:
                        if "ok" in event:
                            log.debug("event=gateway-followed")
                            self._tell_all_changed(is_first)
                            # What was tried just before is told by nobody, and was perhaps not written yet.
                            self._gather("alerts", READ, GATHER_ALERTS_SECONDS)
                            wait, is_first = FIRST_WAIT, True
                        self._forward(event)
                        if not self._wanted.is_set():
                            break
                    else:
                        raise GuardianError("the gateway has ended")
            except GuardianError as error:
                log.log(logging.INFO if is_first else logging.DEBUG, "event=no-live-events error=%r", str(error))
                if is_first:
                    self._gather("alerts", READ, GATHER_SECONDS)  # one of them may be that the gateway is down
                is_first = False
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    def _tell_all_changed(self, is_first: bool) -> None:
        """After a time without the gateway nobody knows what has happened."""
        if not is_first:
            for what in ("household", "devices", "alerts"):
                self._gather(what, READ, GATHER_SECONDS)

    def _forward(self, told: dict[str, Any]) -> None:
        event = told.pop("event", "")
        if event in ("decision", "attempt", "device"):
            self._deliver(event, told, READ)
        if event == "attempt" or (event == "decision" and told.get("reason") == BYPASS):
            self._gather("alerts", READ, GATHER_ALERTS_SECONDS)
        elif event == "change":
            self._gather("household" if told["what"] == "household" else "alerts", READ, GATHER_SECONDS)
        elif event == "lost":
            self._tell_all_changed(is_first=False)


def encode_event(event: str, data: Mapping[str, Any]) -> bytes:
    """Return an event as it travels. JSON has no line ends of its own, so nothing in `data` can begin another event."""
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
