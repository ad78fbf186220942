"""When the hotline's feed is looked at: by the hour, after a hint, after a failure. Pure: `now` and chance are given.

A million routers do this. So everything has chance in it, and nothing that a broker sends makes a router look more than
once a minute or twelve times an hour. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random
from typing import NamedTuple


class Pace(NamedTuple):
    """How often is often. Seconds, but for the counts."""

    start: float = 60.0  # the first look comes within it
    fresh_start: float = 300.0  # the same while the list is fresh: the power came back in a whole town
    least_pause: float = 60.0  # between two looks, whatever calls for them
    hour: float = 3600.0
    hints_an_hour: int = 12
    first_retry: float = 60.0  # after a failure; doubled after each more
    longest_retry: float = 3600.0
    hint_looks: int = 4  # for one hint whose version is not there: then it was a lie, or somebody else's
    spread: float = 1.0  # share of a hint's spread that is used; 0 = all at once, for measurements


PACE = Pace()


class FeedPlan:
    """The next look at the feed. `begin` and `finish` frame each look; `due` tells when the next one is."""

    def __init__(
        self, poll: float, is_fresh: bool, version: int, now: float, chance: Random, pace: Pace = PACE
    ) -> None:
        """`poll` is seconds between two looks, `version` the one in force, `is_fresh` whether it is of today."""
        self._poll = poll
        self._chance = chance
        self._pace = pace
        self._version = version
        self._poll_due = now + chance.uniform(0, pace.fresh_start if is_fresh else pace.start)
        self._hint_due = math.inf
        self._hint_version = 0
        self._hint_looks = 0
        self._last = -math.inf
        self._for_hints: deque[float] = deque(maxlen=pace.hints_an_hour)  # when a hint made us look
        self._is_for_hint = False
        self._failures = 0

    @property
    def due(self) -> float:
        """When the next look is due."""
        return max(min(self._poll_due, self._find_hint_due()), self._last + self._pace.least_pause)

    @property
    def has_hint(self) -> bool:
        """Whether a hint waits to be followed."""
        return self._hint_due < math.inf

    def _find_hint_due(self) -> float:
        if len(self._for_hints) == self._pace.hints_an_hour:
            return max(self._hint_due, self._for_hints[0] + self._pace.hour)
        return self._hint_due

    def hear(self, version: int, is_urgent: bool, spread: float, now: float) -> bool:
        """Take a hint; return whether it makes the next look sooner. `spread`: seconds over which all routers look."""
        if version <= self._version:
            return False
        if version == self._hint_version and not is_urgent:
            return False  # once more would be another throw of the dice, and the earliest of many is soon
        if version > self._hint_version:
            self._hint_version, self._hint_looks = version, 0
        before = self._hint_due
        wait = 0.0 if is_urgent else self._chance.uniform(0, spread * self._pace.spread)
        self._hint_due = min(before, now + wait)
        return self._hint_due < before

    def begin(self, now: float) -> None:
        """A look begins."""
        self._is_for_hint = self._find_hint_due() <= now
        if self._is_for_hint:
            self._for_hints.append(now)
            self._hint_looks += 1
        self._last = now

    def finish(self, is_done: bool, version: int, now: float) -> None:
        """A look has ended: `is_done` when the feed was there and right; `version` is the one in force now."""
        pace = self._pace
        self._version = version
        if is_done:
            self._failures = 0
            self._poll_due = now + self._poll * self._chance.uniform(0.5, 1.5)
        else:
            self._poll_due = now + self._find_pause(self._failures, min(pace.longest_retry, self._poll))
            self._failures += 1
        if not self.has_hint or version >= self._hint_version or self._hint_looks >= pace.hint_looks:
            self._hint_due, self._hint_version, self._hint_looks = math.inf, 0, 0
        elif self._is_for_hint:  # a mirror that is behind: soon it is there
            self._hint_due = now + self._find_pause(self._hint_looks - 1, pace.longest_retry)

    def hurry(self, now: float) -> None:
        """The wall clock was set: a look by the wrong time may have been refused, or be dated years ago."""
        self._poll_due = min(self._poll_due, now + self._chance.uniform(0, self._pace.start))

    def note(self, version: int, now: float) -> None:
        """Somebody else has looked (`guardian sync` by hand or by the clock), and all was well."""
        self._is_for_hint = False
        self.finish(True, version, now)

    def _find_pause(self, failures: int, longest: float) -> float:
        """Return the pause after so many failures before this one: anything up to a ceiling that doubles."""
        pace = self._pace
        ceiling = min(pace.first_retry * 2.0 ** min(failures, 30), longest - pace.first_retry)
        return pace.first_retry + self._chance.uniform(0, max(0.0, ceiling))
