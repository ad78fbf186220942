"""The night that a parent means with "bedtime now"."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo

from guardian.policy.model import FOREVER, Schedule
from guardian.policy.schedule import active_window, local_date, next_change

BEDTIME = "bedtime"  # the label of a window
SOON_SECONDS = 18 * 3600.0  # a bedtime that begins later than this is not the coming night's
MORNING = time(7)
_MOST_EDGES = 64  # no night has so many


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
