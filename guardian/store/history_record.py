"""What of a decision may be kept, and how it is gathered in memory until the next flush.

This is the one place where privacy is decided: what is not in a `Batch` never reaches the disk.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from guardian.devices import Sighting
from guardian.policy.model import Action, Reason, Visibility

NAMES_PER_BATCH = 2048
NAMES_PER_DEVICE = 512  # in one batch, so that one flooding device does not silence the others

ATTEMPTS_PER_BATCH = 256
MAX_KINDS = 64  # of attempts: list authors name some of them
OTHER_KIND = "other"
HELPLINE_BLOCKED = "helpline-blocked"  # noted as an attempt, of nobody: a mandatory list stands in a helpline's way
DEVICE_MINUTES_PER_BATCH = 4096

_HELPLINE = Reason.HELPLINE.value
_MANDATORY = Reason.MANDATORY.value
_BLOCK = Action.BLOCK.value
# Tags that name a kind of site. A rule's text or a listed name would tell the site itself.
_KEPT_TAGS = ("category:", "service:", "bypass:", "allowed:")
_MAX_TAG = 80
_KIND_OF_ATTEMPT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)


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


class AttemptKey(NamedTuple):
    """Who tried which way around the filter, on which local day (ISO date)."""

    day: str
    device: str  # a device id; "" for a device that nobody has named
    mac: str  # of an unnamed device, where it is known; else ""
    kind: str  # doh, vpn, unknown-device, ...


class Attempts(NamedTuple):
    """How often, and when first and last (epoch seconds)."""

    times: int
    first: float
    last: float


class Batch(NamedTuple):
    """What one flush writes. Hours are whole hours since the epoch; names are wire names; days are ISO dates."""

    counts: dict[tuple[int, Kind], int]
    names: dict[tuple[int, Kind, bytes], Visits]
    mandatory: dict[str, int]
    sightings: tuple[Sighting, ...]
    unnamed: int  # queries that are counted, but whose names found no room
    attempts: dict[AttemptKey, Attempts]
    minutes: dict[tuple[str, str, str], float]  # (day, profile, of) -> minutes of use
    device_minutes: dict[tuple[str, str, str], float]  # (day, device, service) -> minutes of use

    @property
    def queries(self) -> int:
        """Return how many queries the batch counts."""
        return sum(self.counts.values()) + sum(self.mandatory.values())


def _make_kind(device: str, action: str, reason: str, tag: str) -> Kind:
    """A rule's text or a listed name would tell the site itself: only tags of kinds of sites are kept."""
    return Kind(device, action, reason, tag if tag.startswith(_KEPT_TAGS) and len(tag) <= _MAX_TAG else "")


class Recorder:
    """Gathers decisions between two flushes; bounded, and not thread-safe: the thread that adds also takes.

    `timezone` may be set again on reload; it says on which day a mandatory hit or an attempt falls. `mirror` is told
    all decisions and attempts as well, and drops the same: whoever watches live learns no more than the history.
    """

    def __init__(self, timezone: tzinfo = UTC) -> None:
        self.timezone = timezone
        self.mirror: Recorder | None = None
        self._kinds: set[str] = set()  # of attempts, ever seen
        self._reset()

    def _reset(self) -> None:
        self._counts: dict[tuple[int, Kind], int] = {}
        self._names: dict[tuple[int, Kind, bytes], Visits] = {}
        self._names_of: dict[str, int] = {}
        self._mandatory: dict[str, int] = {}
        self._unnamed = 0
        self._attempts: dict[AttemptKey, Attempts] = {}
        self._minutes: dict[tuple[str, str, str], float] = {}
        self._device_minutes: dict[tuple[str, str, str], float] = {}

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
        if self.mirror is not None:
            self.mirror.add(hour, device, name, action, reason, tag, count, now, visibility)
        if reason == _HELPLINE or tag == "helpline":
            return
        if reason == _MANDATORY or tag.startswith("mandatory:"):
            day = self._day_of(now)
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
        if self.mirror is not None:
            self.mirror.add_name(hour, device, name, action, reason, tag, count, now)
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

    def note_attempt(self, device: str, mac: bytes | None, kind: str, count: int, now: float) -> None:
        """Note `count` attempts to get around the filter; all of one device, kind and local day become one row.

        `kind` is a bypass tag without its prefix, or another short word of the engine: [a-z0-9-], at most 32 letters,
        at most MAX_KINDS of them; what is more becomes "other". `mac` counts for a device without a name ("") only.
        It is kept whatever the profile shows: parents are to know, and it names no site.
        """
        if self.mirror is not None:
            self.mirror.note_attempt(device, mac, kind, count, now)
        kind = self._known_kind(kind)
        key = AttemptKey(self._day_of(now), device, "" if device or mac is None else mac.hex(":"), kind)
        if key not in self._attempts and len(self._attempts) >= ATTEMPTS_PER_BATCH:
            # Who makes up MACs gets one row for all of them. Named devices are as many as parents made.
            key = key._replace(mac="", kind=OTHER_KIND if device else kind)
        before = self._attempts.get(key)
        if before is None:
            self._attempts[key] = Attempts(count, now, now)
        else:
            self._attempts[key] = Attempts(before.times + count, min(before.first, now), max(before.last, now))

    def _known_kind(self, kind: str) -> str:
        if kind not in self._kinds:
            if not _KIND_OF_ATTEMPT.fullmatch(kind) or len(self._kinds) >= MAX_KINDS:
                return OTHER_KIND
            self._kinds.add(kind)
        return kind

    def note_minutes(self, day: str, profile: str, of: str, minutes: float) -> None:
        """Add minutes of use by a profile on a local day (ISO date). `of` is "" for all, a service id or "group:NAME".

        Kept whatever the profile shows: limits need them after a restart.
        """
        _add_minutes(self._minutes, (day, profile, of), minutes)

    def note_device_minutes(self, day: str, device: str, service: str, minutes: float, visibility: Visibility) -> None:
        """Add minutes of use by a device; `service` is "" for all. Profiles that show counts keep the total only."""
        if service and (visibility is Visibility.COUNTS or len(self._device_minutes) >= DEVICE_MINUTES_PER_BATCH):
            return
        _add_minutes(self._device_minutes, (day, device, service), minutes)

    def _day_of(self, now: float) -> str:
        return datetime.fromtimestamp(now, self.timezone).date().isoformat()

    def take(self, sightings: tuple[Sighting, ...] = ()) -> Batch | None:
        """Return what was gathered and begin anew; None when there is nothing to write."""
        gathered = (self._counts, self._mandatory, self._attempts, self._minutes, self._device_minutes, sightings)
        if not any(gathered):
            return None
        batch = Batch(
            self._counts,
            self._names,
            self._mandatory,
            sightings,
            self._unnamed,
            self._attempts,
            self._minutes,
            self._device_minutes,
        )
        self._reset()
        return batch


def _add_minutes(minutes: dict[tuple[str, str, str], float], key: tuple[str, str, str], more: float) -> None:
    if 0 < more < math.inf:  # and not NaN, which no row may hold
        minutes[key] = minutes.get(key, 0.0) + more
