"""The night that a parent means with "bedtime now", and the one that begins later with "30 minutes longer"."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from guardian.policy.model import FOREVER, DayException, Schedule, Window
from guardian.policy.schedule import active_window, local_date, next_change, wall_minutes, windows_starting

BEDTIME = "bedtime"  # the label of a window
SOON_SECONDS = 18 * 3600.0  # a bedtime that begins later than this is not the coming night's
MORNING = time(7)
_MOST_EDGES = 64  # no night has so many
_DAY = 1440
_PAST_DAYS = 30  # exceptions of dates longer ago go when a new one is made
_MOST_WINDOWS = 20  # of one date; a page can send back no more


def end_of_bedtime(schedule: Schedule, tz: tzinfo, now: float) -> float:
    """Return the moment (epoch seconds) at which the night ends that begins now.

    It is the end of the bedtime window that runs, or of the next that begins within 18 hours; without any the next
    local 07:00.
    """
    begin = now
    for _ in range(_MOST_EDGES):
        if begin - now > SOON_SECONDS or begin == FOREVER:
            break
        if _is_bedtime(schedule, tz, begin):
            end = _find_end(schedule, tz, begin)
            return end if end < FOREVER else _find_morning(tz, now)
        begin = next_change(schedule, tz, begin)
    return _find_morning(tz, now)


def _is_bedtime(schedule: Schedule, tz: tzinfo, moment: float) -> bool:
    window = active_window(schedule, tz, moment)
    return window is not None and window.label == BEDTIME


def _find_end(schedule: Schedule, tz: tzinfo, begin: float) -> float:
    end = begin
    for _ in range(_MOST_EDGES):
        end = next_change(schedule, tz, end)
        if end == FOREVER or not _is_bedtime(schedule, tz, end):
            return end
    return FOREVER


def _find_morning(tz: tzinfo, now: float) -> float:
    today = local_date(tz, now)
    mornings = (datetime.combine(today + timedelta(days=day), MORNING, tz).timestamp() for day in (0, 1))
    return next(morning for morning in mornings if morning > now)


def stay_up(schedule: Schedule, tz: tzinfo, now: float, minutes: int) -> tuple[Schedule, float] | None:
    """Return the schedule that keeps a profile online for some minutes more, and the moment until which it does.

    The window that runs is lifted for these minutes from now on; where none runs, the next begins so much later. After
    that moment (epoch seconds, a whole minute) all goes on as it would have. None when no window runs and none begins
    within these minutes. Exceptions of dates over 30 days ago are dropped.

    A schedule knows the clock on the wall only: where it goes back, what is lifted is lifted both times.
    """
    begin = now if active_window(schedule, tz, now) is not None else next_change(schedule, tz, now)
    if begin > _end_minute(now + minutes * 60):
        return None
    until = _end_minute(begin + minutes * 60)
    lifted = wall_minutes(tz, now, until)
    oldest = local_date(tz, now) - timedelta(days=_PAST_DAYS)
    made = _lift(schedule, lifted)
    kept = [each for each in schedule.exceptions if each.day >= oldest and each.day not in made]
    exceptions = sorted((*kept, *made.values()), key=lambda exception: exception.day)
    return replace(schedule, exceptions=tuple(exceptions)), until


def _end_minute(moment: float) -> float:
    return math.ceil(moment / 60) * 60.0


def _lift(schedule: Schedule, lifted: list[tuple[int, int]]) -> dict[date, DayException]:
    """Return the dates whose windows have to be others when spans of wall minutes are taken out of all of them."""
    begin, end = min(begin for begin, _ in lifted), max(end for _, end in lifted)
    days = range(begin // _DAY - 1, end // _DAY + 1)  # the night before may reach into it
    made: dict[int, list[_Span]] = {day: [] for day in days}
    changed: set[int] = set()
    for day in days:
        for window in windows_starting(schedule, date.fromordinal(day)):
            length = window.end - window.start + (_DAY if window.end <= window.start else 0)
            start = day * _DAY + window.start
            span = _Span(start, start + length, window.label)
            left = _cut(span, lifted)
            if left != [span]:
                changed |= {day, *(piece.begin // _DAY for piece in left)}
            for piece in left:  # what begins after midnight now is the next date's
                made[piece.begin // _DAY].append(piece)
    notes = {each.day: each.note for each in reversed(schedule.exceptions) if each.note}
    dates = {date.fromordinal(day): _leave_out(made[day], begin) for day in sorted(changed)}
    return {
        day: DayException(day, tuple(_make_window(span) for span in spans), notes.get(day, ""))
        for day, spans in dates.items()
    }


class _Span(NamedTuple):
    """A window of one date in minutes of the calendar, see `wall_minutes`."""

    begin: int
    end: int
    label: str


def _cut(span: _Span, lifted: list[tuple[int, int]]) -> list[_Span]:
    left = [span]
    for begin, end in lifted:
        parts = [(span._replace(end=min(span.end, begin)), span._replace(begin=max(span.begin, end))) for span in left]
        left = [part for both in parts for part in both if part.begin < part.end]
    return left


def _leave_out(spans: list[_Span], now: int) -> list[_Span]:
    """Leave out spans that have passed, where a date would have too many: each tap leaves a short one behind."""
    passed = [span for span in spans if span.end <= now]
    gone = passed[: max(0, len(spans) - _MOST_WINDOWS)]
    return [span for span in spans if span not in gone]


def _make_window(span: _Span) -> Window:
    start, end = span.begin % _DAY, span.end - span.begin // _DAY * _DAY
    return Window(frozenset(), start, end if end <= _DAY else end - _DAY, span.label)
