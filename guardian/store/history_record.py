"""What of a decision may be kept, and how it is gathered in memory until the next flush.

This is the one place where privacy is decided: what is not in a `Batch` never reaches the disk.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from guardian.devices import Sighting
from guardian.policy.model import Action, Reason, Visibility

NAMES_PER_BATCH = 2048
NAMES_PER_DEVICE = 512  # in one batch, so that one flooding device does not silence the others

_HELPLINE = Reason.HELPLINE.value
_MANDATORY = Reason.MANDATORY.value
_BLOCK = Action.BLOCK.value
# Tags that name a kind of site. A rule's text or a listed name would tell the site itself.
_KEPT_TAGS = ("category:", "service:", "bypass:", "allowed:")
_MAX_TAG = 80


class Kind(NamedTuple):
    """What happened to whom. Empty parts are those that the profile's visibility does not keep."""

    device: str
    action: str
    reason: str
    tag: str


class Visits(NamedTuple):
    """How often, and when first and last (epoch seconds)."""

    queries: int
    first: float
    last: float


class Batch(NamedTuple):
    """What one flush writes. Hours are whole hours since the epoch; names are wire names; days are ISO dates."""

    counts: dict[tuple[int, Kind], int]
    names: dict[tuple[int, Kind, bytes], Visits]
    mandatory: dict[str, int]
    sightings: tuple[Sighting, ...]
    unnamed: int  # queries that are counted, but whose names found no room

    @property
    def queries(self) -> int:
        """Return how many queries the batch counts."""
        return sum(self.counts.values()) + sum(self.mandatory.values())


def _make_kind(device: str, action: str, reason: str, tag: str) -> Kind:
    """A rule's text or a listed name would tell the site itself: only tags of kinds of sites are kept."""
    return Kind(device, action, reason, tag if tag.startswith(_KEPT_TAGS) and len(tag) <= _MAX_TAG else "")


class Recorder:
    """Gathers decisions between two flushes; bounded, and not thread-safe: the thread that adds also takes.

    `timezone` may be set again on reload; it says on which day a mandatory hit falls.
    """

    def __init__(self, timezone: tzinfo = UTC) -> None:
        self.timezone = timezone
        self._reset()

    def _reset(self) -> None:
        self._counts: dict[tuple[int, Kind], int] = {}
        self._names: dict[tuple[int, Kind, bytes], Visits] = {}
        self._names_of: dict[str, int] = {}
        self._mandatory: dict[str, int] = {}
        self._unnamed = 0

    def add(
        self,
        hour: int,
        device: str,
        name: bytes | None,
        action: str,
        reason: str,
        tag: str,
        count: int,
        now: float,
        visibility: Visibility,
    ) -> None:
        """Note `count` equal decisions. `hour` is epoch seconds // 3600, `name` a wire name or None when `add_name`
        brings it, the rest values of enums.

        Helplines are dropped here. A mandatory hit becomes one more on the day's count of the home, nothing else.
        """
        if reason == _HELPLINE or tag == "helpline":
            return
        if reason == _MANDATORY or tag.startswith("mandatory:"):
            day = datetime.fromtimestamp(now, self.timezone).date().isoformat()
            self._mandatory[day] = self._mandatory.get(day, 0) + count
            return
        if visibility is Visibility.COUNTS:
            kind = Kind(device, _BLOCK if action == _BLOCK else Action.ALLOW.value, "", "")
        else:
            kind = _make_kind(device, action, reason, tag)
        self._counts[hour, kind] = self._counts.get((hour, kind), 0) + count
        if visibility is Visibility.NAMES and name is not None:
            self._add_name(hour, kind, name, count, now)

    def add_name(
        self, hour: int, device: str, name: bytes, action: str, reason: str, tag: str, count: int, now: float
    ) -> None:
        """Note the name of `count` decisions that `add` has counted, for a profile whose names are kept."""
        if reason not in (_HELPLINE, _MANDATORY):
            self._add_name(hour, _make_kind(device, action, reason, tag), name, count, now)

    def has_room(self, device: str) -> bool:
        """Tell whether another name of `device` would be kept before the next `take`."""
        return len(self._names) < NAMES_PER_BATCH and self._names_of.get(device, 0) < NAMES_PER_DEVICE

    def skip_names(self, count: int) -> None:
        """Note that `count` decisions were counted without their names, because there was no room."""
        self._unnamed += count

    def _add_name(self, hour: int, kind: Kind, name: bytes, count: int, now: float) -> None:
        key = (hour, kind, name)
        before = self._names.get(key)
        if before is not None:
            visits = Visits(before.queries + count, min(before.first, now), max(before.last, now))
        else:
            taken = self._names_of.get(kind.device, 0)
            if len(self._names) >= NAMES_PER_BATCH or taken >= NAMES_PER_DEVICE:
                self._unnamed += count
                return
            self._names_of[kind.device] = taken + 1
            visits = Visits(count, now, now)
        self._names[key] = visits

    def take(self, sightings: tuple[Sighting, ...] = ()) -> Batch | None:
        """Return what was gathered and begin anew; None when there is nothing to write."""
        if not self._counts and not self._mandatory and not sightings:
            return None
        batch = Batch(self._counts, self._names, self._mandatory, sightings, self._unnamed)
        self._reset()
        return batch
