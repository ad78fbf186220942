"""Minutes that were used, by profile and day: the one part of a policy that grows while it is in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

MOST_DAYS = 8  # kept of each count: a week, and the day on which the next one begins


class Usage:
    """Minutes used. `of` is "" for all use of a profile, a service id (`youtube`), or `group:NAME` (`group:games`).

    A policy holds it by reference, so counting needs no new policy. A `Posture` is right until its `until` as long as
    no count grows by more than a minute a minute; whoever counts in larger steps makes a new posture after each.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[date, float]] = {}

    def add(self, profile: str, of: str, day: date, minutes: float) -> None:
        """Count minutes (a part of one is right, a negative number counts as none) for a local date."""
        days = self._counts.setdefault((profile, of), {})
        days[day] = days.get(day, 0.0) + max(0.0, minutes)
        while len(days) > MOST_DAYS:
            # The farthest, not the oldest: a clock that once ran ahead must not cost the real days.
            del days[max(days, key=lambda known: abs((known - day).days))]

    def today(self, profile: str, of: str, day: date) -> float:
        """Return the minutes used on a local date."""
        return self._counts.get((profile, of), {}).get(day, 0.0)

    def week(self, profile: str, of: str, day: date) -> float:
        """Return the minutes used in the ISO week (Monday to Sunday) of a local date."""
        days = self._counts.get((profile, of), {})
        week = day.isocalendar()[:2]
        return sum(minutes for known, minutes in days.items() if known.isocalendar()[:2] == week)

    def load(self, rows: Iterable[tuple[str, str, str, float]]) -> None:
        """Replace all counts by rows as `rows` gives them. Raises ValueError for a day that is no ISO date."""
        self._counts.clear()
        for day, profile, of, minutes in rows:
            self.add(profile, of, date.fromisoformat(day), minutes)

    def rows(self) -> Iterator[tuple[str, str, str, float]]:
        """Yield (ISO date, profile, of, minutes) of every count, for the store."""
        for (profile, of), days in self._counts.items():
            for day, minutes in days.items():
                yield day.isoformat(), profile, of, minutes
