"""From what flows carried to minutes of use: a person at the screen counts, an app that pings in the background not.

Time is cut into slices of about 15 s. A slice of one device and one service is quiet, light or heavy. Use begins when
enough slices within a few minutes are not quiet, and is then counted from its first slice; it lasts until a minute is
quiet. Heavy slices of several services show use of the device. See docs/minutes.md for the thresholds and for what is
misjudged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

SLICE_SECONDS: Final = 15.0
_SHORTEST_SLICE: Final = 12.0

# What one slice must carry.
QUIET, LIGHT, HEAVY = range(3)
LIGHT_OUT_PACKETS: Final = 6  # keep-alives and receipts for what others wrote are fewer
HEAVY_OUT_PACKETS: Final = 300  # 20 a second: games, calls
HEAVY_IN_BYTES: Final = 700_000  # video, a page, a feed; the sync of one app is less
HEAVY_NEW_FLOWS: Final = 8  # a page with all it embeds
UPLOAD_BYTES: Final = 300_000  # from here on, with a tenth coming back at most: a backup of photos
_UPLOAD_SHARE: Final = 10

# When use begins, and how long it lasts. Masks hold one bit per slice, the newest lowest.
_WINDOW: Final = 20  # slices that are remembered: 5 minutes
_WHOLE: Final = (1 << _WINDOW) - 1
_MINUTE: Final = 4
_MINUTES: Final = tuple(0xF << start for start in range(0, _WINDOW, _MINUTE))
PATIENCE: Final = 4  # quiet slices that do not end use: a minute
_LASTING: Final = ((1 << (PATIENCE + 1)) - 1) << 1
_NAMED_SPAN, _NAMED_ACTIVE = (1 << 8) - 1, 5  # 5 slices of 8
_UNNAMED_SPAN, _UNNAMED_ACTIVE = (1 << 12) - 1, 10  # 10 slices of 12
_HEAVY_SLICES, _HEAVY_MINUTES = 4, 3  # of the window
_HEAVY_PATIENCE: Final = 8  # slices between heavy ones: two minutes with an app that carries little

ALL: Final = ""  # as a service: traffic of no service that we know; as a result: all use


class Traffic(NamedTuple):
    """What flows carried since the sample before; bytes with IP headers. Out is from the home's device."""

    out_bytes: int
    in_bytes: int
    out_packets: int
    in_packets: int
    new_flows: int


class Use(NamedTuple):
    """Seconds of use that became certain. `service` is "" for all use of the device, where no second counts twice."""

    device: str
    service: str
    seconds: float


class ProfileUse(NamedTuple):
    """The same for a profile, whose devices at the same moment count once. `of` is "", a service id or "group:NAME"."""

    profile: str
    of: str
    seconds: float


class Taken(NamedTuple):
    """What one `take` found out."""

    devices: list[Use]
    profiles: list[ProfileUse]


_NOTHING: Final = Taken([], [])


class _Track:
    """The last slices of one device and service."""

    __slots__ = ("active", "used")

    def __init__(self) -> None:
        self.active = 0  # light or heavy
        self.used = 0  # found to be use

    def age(self, slices: int) -> None:
        self.active = self.active << slices & _WHOLE
        self.used = self.used << slices & _WHOLE

    def judge(self, is_named: bool) -> int:
        """Return the slices that the newest one, which is active, shows to be use, and that were not known to be."""
        lasting = self.used & _LASTING
        if lasting:
            found = (lasting & -lasting) - 1  # up to the newest that is known
        elif begins(self.active, is_named):
            found = find_run(self.active, PATIENCE)
        else:
            return 0
        self.used |= found
        return found


class _Ledger:
    """Which of the last slices count for whom: a slice counts once, whoever brings it."""

    __slots__ = ("_counted", "_fresh")

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], int] = {}
        self._fresh: dict[tuple[str, str], int] = {}

    def age(self, slices: int) -> None:
        aged = ((key, mask << slices & _WHOLE) for key, mask in self._counted.items())
        self._counted = {key: mask for key, mask in aged if mask}

    def count(self, who: str, of: str, slices: int) -> int:
        """Count slices, and return those that were not counted before."""
        key = (who, of)
        before = self._counted.get(key, 0)
        fresh = slices & ~before
        if fresh:
            self._counted[key] = before | fresh
            self._fresh[key] = self._fresh.get(key, 0) | fresh
        return fresh

    def take(self) -> dict[tuple[str, str], int]:
        fresh, self._fresh = self._fresh, {}
        return fresh


class Meter:
    """Counts seconds of use. `now` is in seconds of a clock that nobody sets (time.monotonic).

    `profiles` maps device ids to profile ids, `groups` maps service ids to the names of their groups (`group:video`);
    both may be set again on reload. A device without a profile is counted for itself only. Memory grows with devices
    times services that carried anything within the last five minutes.
    """

    def __init__(self, now: float, profiles: Mapping[str, str], groups: Mapping[str, str]) -> None:
        self.profiles = profiles
        self.groups = groups
        self._began = now
        self._traffic: dict[tuple[str, str], list[int]] = {}
        self._tracks: dict[tuple[str, str], _Track] = {}
        self._heavy: dict[str, int] = {}  # by device: the slices that are heavy in any service
        self._lengths = [0.0] * _WINDOW  # seconds of each slice, the newest first
        self._devices = _Ledger()
        self._profiles = _Ledger()

    def add(self, device: str, service: str, traffic: Traffic) -> None:
        """Add what a device's flows of one service carried since the last call; "" = no service that we know."""
        key = (device, service)
        sums = self._traffic.get(key)
        if sums is None:
            self._traffic[key] = list(traffic)
            return
        for place, more in enumerate(traffic):
            sums[place] += more

    def take(self, now: float) -> Taken:
        """End the slice and return the seconds of use that became certain by it.

        Call it every 15 s, after all `add`. Sooner than 12 s after the last one it does nothing. What was gathered
        over a longer time counts as one slice.
        """
        elapsed = now - self._began
        if elapsed < _SHORTEST_SLICE:
            return _NOTHING
        self._began = now
        self._age(elapsed)
        for key, sums in self._traffic.items():
            weight = weigh(Traffic(*sums))
            if weight:
                track = self._tracks.get(key)
                if track is None:
                    track = self._tracks[key] = _Track()
                track.active |= 1
                found = track.judge(key[1] != ALL)
                if found:
                    self._count(*key, found)
            if weight == HEAVY:
                self._heavy[key[0]] = self._heavy.get(key[0], 0) | 1
        self._traffic = {}
        for device, heavy in self._heavy.items():
            found = find_changing(heavy)
            if found:
                self._count(device, ALL, found)
        return Taken(
            [Use(*key, self._measure(slices)) for key, slices in self._devices.take().items()],
            [ProfileUse(*key, self._measure(slices)) for key, slices in self._profiles.take().items()],
        )

    def _age(self, elapsed: float) -> None:
        slices = max(1, round(elapsed / SLICE_SECONDS))
        length = elapsed / slices
        slices = min(slices, _WINDOW)
        self._lengths = ([length] * slices + self._lengths)[:_WINDOW]
        self._devices.age(slices)
        self._profiles.age(slices)
        aged = ((device, heavy << slices & _WHOLE) for device, heavy in self._heavy.items())
        self._heavy = {device: heavy for device, heavy in aged if heavy}
        gone = []
        for key, track in self._tracks.items():
            track.age(slices)
            if not track.active:
                gone.append(key)
        for key in gone:
            del self._tracks[key]

    def _count(self, device: str, service: str, slices: int) -> None:
        profile = self.profiles.get(device)
        fresh = self._devices.count(device, ALL, slices)
        if profile is not None:
            self._profiles.count(profile, ALL, fresh)
        if service == ALL:
            return
        fresh = self._devices.count(device, service, slices)
        if profile is not None:
            self._profiles.count(profile, service, fresh)
            group = self.groups.get(service)
            if group is not None:
                self._profiles.count(profile, group, fresh)

    def _measure(self, slices: int) -> float:
        return sum(self._lengths[index] for index in range(slices.bit_length()) if slices >> index & 1)


def weigh(traffic: Traffic) -> int:
    """Return whether a slice is QUIET, LIGHT or HEAVY."""
    if traffic.out_bytes >= UPLOAD_BYTES and traffic.out_bytes > _UPLOAD_SHARE * traffic.in_bytes:
        return QUIET
    if (
        traffic.out_packets >= HEAVY_OUT_PACKETS
        or traffic.in_bytes >= HEAVY_IN_BYTES
        or traffic.new_flows >= HEAVY_NEW_FLOWS
    ):
        return HEAVY
    return LIGHT if traffic.out_packets >= LIGHT_OUT_PACKETS else QUIET


def begins(active: int, is_named: bool) -> bool:
    """Tell whether these slices are use. Traffic of no known service is of many apps at once, and must show more."""
    if is_named:
        return (active & _NAMED_SPAN).bit_count() >= _NAMED_ACTIVE or all(active & minute for minute in _MINUTES)
    return (active & _UNNAMED_SPAN).bit_count() >= _UNNAMED_ACTIVE


def find_run(active: int, patience: int) -> int:
    """Return all slices from the newest back to the first active one, with at most `patience` quiet ones in a row."""
    first = quiet = 0
    for index in range(1, _WINDOW):
        if active >> index & 1:
            first, quiet = index, 0
        elif (quiet := quiet + 1) > patience:
            break
    return (2 << first) - 1


def find_changing(heavy: int) -> int:
    """Return the slices that are use of a device whose heavy slices, of any services, are these: who changes between
    apps, or reads page after page, shows no service for long. The newest slice must be heavy.
    """
    if not heavy & 1 or heavy.bit_count() < _HEAVY_SLICES:
        return 0
    run = find_run(heavy, _HEAVY_PATIENCE)
    heavy &= run
    minutes = sum(1 for minute in _MINUTES if heavy & minute)
    return run if heavy.bit_count() >= _HEAVY_SLICES and minutes >= _HEAVY_MINUTES else 0
