"""When a schedule says "no internet", and when that changes.

What the clock on the wall shows decides, nothing else. So when the clock jumps forward, a window in the skipped hour
does not happen, and a longer one is shorter by it; when the clock goes back, minutes that come twice count twice.
Windows that touch or overlap and have the same label are one to those who ask when it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from guardian.policy.model import FOREVER, Schedule, Window

_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_LAST_DAY = date(9990, 1, 1).toordinal() - _EPOCH  # datetime ends soon after
_STEP = 6 * 3600  # no zone changes its clock twice within this time
# Two weeks and a bit: one of a week's windows may fall into a skipped hour, but not in two weeks running.
_LOOK_AHEAD = 16


def active_window(schedule: Schedule, tz: tzinfo, now: float) -> Window | None:
    """Return the window in which `now` lies; of several, the one that ends last. None = online."""
    return _window_at(_Timetable(schedule), _wall_seconds(tz, math.floor(now)))


def next_change(schedule: Schedule, tz: tzinfo, now: float) -> float:
    """Return the first moment after `now` at which a window begins or ends, or one label follows another.

    Seconds since the epoch; FOREVER when nothing ever changes.
    """
    timetable = _Timetable(schedule)
    if not timetable.has_windows:
        return FOREVER
    begin = math.floor(now)
    wall = _wall_seconds(tz, begin)
    label = _label_at(timetable, wall)
    for first, last in timetable.busy_days(wall // _DAY):
        # Wall days and UTC days differ by less than one day.
        for start, end, offset in _stretches(tz, max(begin, (first - 1) * _DAY), (last + 1) * _DAY):
            for edge in (start + offset, *timetable.edges(start + offset, end + offset)):
                if _label_at(timetable, edge) != label:
                    return float(edge - offset)
    return FOREVER


def next_midnight(tz: tzinfo, now: float) -> float:
    """Return the moment at which the local date next changes, in seconds since the epoch."""
    begin = math.floor(now)
    today = _wall_seconds(tz, begin) // _DAY
    midnight = (today + 1) * _DAY
    for start, end, offset in _stretches(tz, begin, begin + 3 * _DAY):
        if start + offset >= midnight:  # the clock jumped over midnight
            return float(start)
        if end + offset > midnight:
            return float(midnight - offset)
    return float(begin + 3 * _DAY)  # no zone has such a day; asking again is right in any case


def local_date(tz: tzinfo, now: float) -> date:
    """Return the date that a calendar on the wall shows."""
    return date.fromordinal(_wall_seconds(tz, math.floor(now)) // _DAY + _EPOCH)


def start_of_day(tz: tzinfo, day: date) -> float:
    """Return the first moment of a local date, in seconds since the epoch; of a date that was skipped, the next one's.

    Within a day of the ends of the calendar it is not exact.
    """
    moment = float((day.toordinal() - _EPOCH) * _DAY - 20 * 3600)  # everywhere one or two days before
    while local_date(tz, moment) < day:
        moment = next_midnight(tz, moment)
    return moment


def windows_on(schedule: Schedule, day: date) -> tuple[Window, ...]:
    """Return the windows of one local date, its exceptions applied, cut at its midnights, in order.

    The morning of a night that began the day before is among them: 0..420 for a bedtime until seven. `days` is empty.
    """
    timetable, number = _Timetable(schedule), day.toordinal() - _EPOCH
    found = []
    for since, windows in ((1440, timetable.starting_on(number - 1)), (0, timetable.starting_on(number))):
        for window in windows:
            start, end = max(window.start - since, 0), min(_end_minute(window) - since, 1440)
            if start < end:
                found.append(Window(frozenset(), start, end, window.label))
    return tuple(sorted(found, key=lambda window: (window.start, window.end, window.label)))


def windows_starting(schedule: Schedule, day: date) -> tuple[Window, ...]:
    """Return the windows that start on a local date as they are written, its exceptions applied."""
    return tuple(_Timetable(schedule).starting_on(day.toordinal() - _EPOCH))


def wall_minutes(tz: tzinfo, begin: float, end: float) -> list[tuple[int, int]]:
    """Return what a clock on the wall shows from `begin` to `end` (epoch seconds): spans of minutes, begun ones whole.

    Minutes count from midnight of day 1 of the calendar (`date.fromordinal(minute // 1440)`). There are several spans
    where the clock jumps, and where it goes back they overlap.
    """
    shift = _EPOCH * 1440
    return [
        ((start + offset) // 60 + shift, -(-(stop + offset) // 60) + shift)
        for start, stop, offset in _stretches(tz, math.floor(begin), math.ceil(end))
    ]


class _Timetable:
    """A schedule by day; days are counted from 1970-01-01, wall time is seconds from its midnight."""

    def __init__(self, schedule: Schedule) -> None:
        self._week = [[window for window in schedule.windows if day in window.days] for day in range(7)]
        self._exceptions: dict[int, list[Window]] = {}
        for exception in schedule.exceptions:  # two for one date hold both
            self._exceptions.setdefault(exception.day.toordinal() - _EPOCH, []).extend(exception.windows)
        self.has_windows = bool(schedule.windows) or any(self._exceptions.values())

    def starting_on(self, day: int) -> list[Window]:
        exception = self._exceptions.get(day)
        return self._week[(day + 3) % 7] if exception is None else exception  # 1970-01-01 was a Thursday

    def edges(self, begin: int, end: int) -> list[int]:
        """Return the wall times in (begin, end) at which a window begins or ends, ascending."""
        found = set()
        for day in range(begin // _DAY - 1, end // _DAY + 1):
            for window in self.starting_on(day):
                found.add(day * _DAY + window.start * 60)
                found.add(day * _DAY + _end_minute(window) * 60)
        return sorted(edge for edge in found if begin < edge < end)

    def busy_days(self, today: int) -> Iterator[tuple[int, int]]:
        """Yield spans of days in which a change may come; between them the weeks are all alike."""
        last = today - 2
        for day in sorted({today, *(day for day in self._exceptions if day > today)}):
            first, until = max(day - 2, last), min(day + _LOOK_AHEAD, _LAST_DAY)
            if first < until:
                yield first, until
                last = until


def _end_minute(window: Window) -> int:
    """Return the end in minutes after the midnight before the start: up to 2880."""
    return window.end if window.end > window.start else window.end + 1440


def _window_at(timetable: _Timetable, wall: int) -> Window | None:
    day, second = divmod(wall, _DAY)
    minute = second // 60
    latest, found = minute, None
    for since, windows in ((1440, timetable.starting_on(day - 1)), (0, timetable.starting_on(day))):
        for window in windows:
            end = _end_minute(window) - since
            if window.start - since <= minute and end > latest:
                latest, found = end, window
    return found


def _label_at(timetable: _Timetable, wall: int) -> str | None:
    window = _window_at(timetable, wall)
    return None if window is None else window.label


def _offset(tz: tzinfo, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, tz).utcoffset()
    assert offset is not None  # tzinfo says None only to naive times
    return offset // timedelta(seconds=1)


def _wall_seconds(tz: tzinfo, moment: int) -> int:
    return moment + _offset(tz, moment)


def _stretches(tz: tzinfo, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, offset): UTC stretches from `begin` to `end` in which the clock does not change."""
    start, offset = begin, _offset(tz, begin)
    while start < end:
        stop = min(start + _STEP, end)
        following = _offset(tz, stop)
        if following != offset:
            low = start
            while stop - low > 1:
                middle = (low + stop) // 2
                if _offset(tz, middle) == offset:
                    low = middle
                else:
                    stop = middle
            following = _offset(tz, stop)
        yield start, stop, offset
        start, offset = stop, following
