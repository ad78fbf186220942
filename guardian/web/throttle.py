"""How often secrets may be tried: per source with growing pauses, and over all sources together."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from guardian.web.routing import RefusalError

FREE_TRIES = 5  # of one source without a pause
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 900.0  # seconds; each wrong try doubles it
FORGET_SECONDS = 6 * 3600.0  # after the last wrong try of a source
ALL_TRIES, ALL_SECONDS = 50, 600.0  # wrong tries of all sources together
MOST_SOURCES = 1024
MOST_KNOWN = 64


@dataclass(slots=True)
class _Source:
    tries: int = 0
    last: float = 0.0
    until: float = 0.0


class Throttle:
    """Counts tries at one kind of secret. Any thread may use it; `now` is monotonic seconds.

    A try is counted before it is made (`begin`) and taken back when it was right (`succeed`): tries at the same time
    cannot slip through together. A right one clears nothing else, so that nobody can guess another's password between
    two sign-ins of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._all: deque[float] = deque()
        # Where a right one came from: a flood from elsewhere does not lock these out.
        self._known: OrderedDict[str, None] = OrderedDict()

    def begin(self, source: str, now: float) -> None:
        """Count a try. Raises RefusalError 429 with the seconds to wait when it may not be made."""
        with self._lock:
            found = self._sources.get(source)
            if found is not None and now - found.last > FORGET_SECONDS:
                found = None
            if found is not None and now < found.until:
                raise _refuse(found.until - now)
            while self._all and now - self._all[0] > ALL_SECONDS:
                self._all.popleft()
            if len(self._all) >= ALL_TRIES and source not in self._known:
                raise _refuse(self._all[0] + ALL_SECONDS - now)
            found = found or _Source()
            found.tries, found.last = found.tries + 1, now
            found.until = now + _pause_after(found.tries)
            self._all.append(now)
            self._sources[source] = found
            self._sources.move_to_end(source)
            while len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)

    def succeed(self, source: str, now: float) -> None:
        """Take back the try that was just begun: it was right."""
        with self._lock:
            found = self._sources.get(source)
            if found is not None:
                found.tries -= 1
                found.until = now
                if found.tries <= 0:
                    del self._sources[source]
            if self._all:
                self._all.pop()
            self._trust(source)

    def trust(self, source: str) -> None:
        """Keep a flood of tries elsewhere from holding up this source."""
        with self._lock:
            self._trust(source)

    def _trust(self, source: str) -> None:
        self._known[source] = None
        self._known.move_to_end(source)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _pause_after(tries: int) -> float:
    """Seconds before the next try after so many wrong ones."""
    if tries < FREE_TRIES:
        return 0.0
    return min(FIRST_PAUSE * 2.0 ** min(tries - FREE_TRIES, 30), LONGEST_PAUSE)


def _refuse(seconds: float) -> RefusalError:
    return RefusalError(429, "throttled", "too many tries: wait a little", retry_after=max(1, math.ceil(seconds)))
