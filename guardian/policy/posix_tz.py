"""A time zone from a POSIX TZ string, such as `EET-2EEST,M3.5.0/3,M10.5.0/4`.

OpenWrt keeps this string and has no zone database. POSIX.1-2017 section 8.3, with the wider times of RFC 8536
section 3.3.1 (-167 to 167 hours), so that all-year summer time and Greenland's rules can be said.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from guardian.errors import TextError

_NAME = r"[A-Za-z]{3,16}|<[A-Za-z0-9+-]{1,16}>"
_TIME = r"[+-]?[0-9]{1,3}(?::[0-9]{1,2}){0,2}"
_DAY = r"M[0-9]{1,2}\.[0-9]\.[0-9]|J?[0-9]{1,3}"
_ZONE = re.compile(
    f"(?P<std>{_NAME})(?P<std_offset>{_TIME})"
    f"(?:(?P<dst>{_NAME})(?P<dst_offset>{_TIME})?"
    f"(?:,(?P<start>{_DAY})(?:/(?P<start_time>{_TIME}))?,(?P<end>{_DAY})(?:/(?P<end_time>{_TIME}))?)?)?"
)
_DAY_SECONDS = 86400
_DEFAULT_RULES = ("M3.2.0", "M11.1.0")  # a zone with summer time and no rules means the rules of the USA

DayOfYear = Callable[[int], int]  # year -> ordinal of the day on which the clock changes


class _Clock(NamedTuple):
    name: str
    offset: int  # seconds east of UTC


class _Changes(NamedTuple):
    """The clock changes of a year and its neighbours, in seconds since the day before 0001-01-01, ascending."""

    year: int
    utc: list[int]
    wall: tuple[list[int], list[int]]  # the wall time from which the change holds, for fold 0 and 1
    is_dst: list[bool]  # after the change


def parse_posix_tz(text: str) -> PosixZone:
    """Return the time zone that a POSIX TZ string describes. Raises TextError."""
    parts = _ZONE.fullmatch(text)
    if parts is None:
        raise TextError(f"{text[:80]!r} is not a POSIX time zone like EET-2EEST,M3.5.0/3,M10.5.0/4")
    std = _Clock(parts["std"].strip("<>"), -_read_offset(parts["std_offset"]))
    if parts["dst"] is None:
        return PosixZone(text, std, None, None)
    offset = -_read_offset(parts["dst_offset"]) if parts["dst_offset"] else std.offset + 3600
    start, end = parts["start"] or _DEFAULT_RULES[0], parts["end"] or _DEFAULT_RULES[1]
    rules = (
        (_read_day(start), _read_time(parts["start_time"] or "2", 167) - std.offset),
        (_read_day(end), _read_time(parts["end_time"] or "2", 167) - offset),
    )
    return PosixZone(text, std, _Clock(parts["dst"].strip("<>"), offset), rules)


def _read_time(text: str, most_hours: int) -> int:
    hours, minutes, seconds = (*(int(part) for part in text.lstrip("+-").split(":")), 0, 0)[:3]
    if hours > most_hours or minutes > 59 or seconds > 59:
        raise TextError(f"{text!r} is not a time of a POSIX time zone")
    total = hours * 3600 + minutes * 60 + seconds
    return -total if text.startswith("-") else total


def _read_offset(text: str) -> int:
    offset = _read_time(text, 24)
    if abs(offset) >= _DAY_SECONDS:  # datetime counts offsets below a day only
        raise TextError(f"{text!r}: an offset must be less than 24 hours")
    return offset


def _read_day(text: str) -> DayOfYear:
    if text[0] == "M":
        month, week, weekday = (int(part) for part in text[1:].split("."))
        if not (1 <= month <= 12 and 1 <= week <= 5 and weekday <= 6):
            raise TextError(f"{text!r} is not a month.week.day of a POSIX time zone")
        return lambda year: _nth_weekday(year, month, week, weekday)
    day = int(text.removeprefix("J"))
    if text[0] == "J":
        if not 1 <= day <= 365:
            raise TextError(f"{text!r}: the day must be 1 to 365")
        # J60 is 1 March in every year: 29 February is never counted.
        leap_shift = 1 if day >= 60 else 0
        return lambda year: date(year, 1, 1).toordinal() + day - 1 + (leap_shift if _is_leap(year) else 0)
    if day > 365:
        raise TextError(f"{text!r}: the day must be 0 to 365")
    return lambda year: date(year, 1, 1).toordinal() + day


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _nth_weekday(year: int, month: int, week: int, weekday: int) -> int:
    """Return the ordinal of the week-th weekday (0 = Sunday) of a month; week 5 is the last one."""
    first = date(year, month, 1)
    day = first.toordinal() + (weekday - first.isoweekday()) % 7 + 7 * (week - 1)
    return day if date.fromordinal(day).month == month else day - 7


class PosixZone(tzinfo):
    """A standard time, and if there is a summer time, the two days of the year on which the clock changes."""

    def __init__(
        self,
        text: str,
        std: _Clock,
        dst: _Clock | None,
        rules: tuple[tuple[DayOfYear, int], tuple[DayOfYear, int]] | None,
    ) -> None:
        self.text = text
        self._std = std
        self._dst = dst
        self._rules = rules  # start and end of summer time: the day, and its seconds of UTC
        self._changes = _Changes(0, [], ([], []), [])

    def __repr__(self) -> str:
        return f"PosixZone({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PosixZone) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Callable[[str], PosixZone], tuple[str]]:
        return parse_posix_tz, (self.text,)

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        if moment is None and self._dst is not None:
            return None
        return timedelta(seconds=self._clock(moment).offset)

    def dst(self, moment: datetime | None) -> timedelta | None:
        if moment is None and self._dst is not None:
            return None
        clock = self._clock(moment)
        return timedelta(seconds=clock.offset - self._std.offset if clock is self._dst else 0)

    def tzname(self, moment: datetime | None) -> str | None:
        if moment is None and self._dst is not None:
            return None
        return self._clock(moment).name

    def fromutc(self, moment: datetime) -> datetime:
        """Return the wall-clock time of a UTC time, with `fold` set in the hour that comes a second time."""
        clock, fold = self._std, 0
        if self._dst is not None:
            changes = self._changes_around(moment.year, self._dst)
            seconds = _seconds(moment)
            index = bisect_right(changes.utc, seconds) - 1
            if index >= 0 and changes.is_dst[index]:
                clock = self._dst
            if index >= 0:
                before = self._std if changes.is_dst[index] else self._dst
                fold = int(seconds - changes.utc[index] < before.offset - clock.offset)
        return (moment + timedelta(seconds=clock.offset)).replace(fold=fold)

    def _clock(self, moment: datetime | None) -> _Clock:
        """The clock that shows this wall time. In a gap it is the one before for fold 0, after for fold 1 (PEP 495)."""
        if self._dst is None or moment is None:
            return self._std
        changes = self._changes_around(moment.year, self._dst)
        index = bisect_right(changes.wall[moment.fold], _seconds(moment)) - 1
        return self._dst if index >= 0 and changes.is_dst[index] else self._std

    def _changes_around(self, year: int, dst: _Clock) -> _Changes:
        if self._changes.year == year:  # nearly always: questions are about now
            return self._changes
        assert self._rules is not None
        (start_day, start_second), (end_day, end_second) = self._rules
        events: dict[int, bool] = {}
        for near in range(max(year - 1, 1), min(year + 1, 9999) + 1):
            # Of two changes at one moment the later one, a start, holds: that is how all-year summer time is written.
            events[end_day(near) * _DAY_SECONDS + end_second] = False
            events[start_day(near) * _DAY_SECONDS + start_second] = True
        changes = _Changes(year, [], ([], []), [])
        low, high = sorted((self._std.offset, dst.offset))
        for moment in sorted(events):
            if changes.is_dst and changes.is_dst[-1] == events[moment]:
                continue
            changes.utc.append(moment)
            changes.wall[0].append(moment + high)
            changes.wall[1].append(moment + low)
            changes.is_dst.append(events[moment])
        self._changes = changes
        return changes


def _seconds(moment: datetime) -> int:
    return moment.toordinal() * _DAY_SECONDS + moment.hour * 3600 + moment.minute * 60 + moment.second
