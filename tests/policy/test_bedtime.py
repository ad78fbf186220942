"""Bedtime now: until when."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.policy.bedtime import end_of_bedtime
from guardian.policy.model import DayException, Schedule, Window

ZONE = ZoneInfo("Europe/Chisinau")
DAILY = frozenset(range(7))
SCHOOL = frozenset({0, 1, 2, 3, 6})
NIGHTS = Schedule((Window(SCHOOL, 21 * 60, 7 * 60), Window(frozenset({4, 5}), 22 * 60, 8 * 60)))
HOMEWORK = Schedule((Window(DAILY, 15 * 60, 17 * 60, "homework"), *NIGHTS.windows))
TWO = Schedule((Window(DAILY, 21 * 60, 1440), Window(DAILY, 0, 6 * 60 + 30)))  # one night in two windows
OTHER = Schedule((Window(DAILY, 20 * 60, 9 * 60, "no internet"),))
ALWAYS = Schedule((Window(DAILY, 0, 1440),))
LATE = Schedule((Window(frozenset({2}), 21 * 60, 7 * 60),))  # Wednesdays only
HOLIDAY = Schedule(NIGHTS.windows, (DayException(date(2026, 11, 23), (Window(frozenset(), 23 * 60, 10 * 60),)),))


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=ZONE).timestamp()


@pytest.mark.parametrize(
    ("schedule", "now", "end"),
    [
        (NIGHTS, "11-23T20:14", "11-24T07:00"),  # a Monday
        (NIGHTS, "11-23T22:00", "11-24T07:00"),
        (NIGHTS, "11-24T02:00", "11-24T07:00"),
        (NIGHTS, "11-23T14:00", "11-24T07:00"),
        (NIGHTS, "11-27T20:00", "11-28T08:00"),
        (HOMEWORK, "11-23T15:30", "11-24T07:00"),  # homework is no bedtime
        (TWO, "11-23T20:00", "11-24T06:30"),
        (OTHER, "11-23T21:00", "11-24T07:00"),
        (ALWAYS, "11-23T21:00", "11-24T07:00"),
        (LATE, "11-23T20:00", "11-24T07:00"),  # the next bedtime is too far away
        (LATE, "11-25T20:00", "11-26T07:00"),
        (HOLIDAY, "11-23T20:00", "11-24T10:00"),
        (Schedule(), "11-23T20:00", "11-24T07:00"),
        (Schedule(), "11-23T02:00", "11-23T07:00"),
        (Schedule(), "11-23T07:00", "11-24T07:00"),
        (Schedule(), "10-24T23:00", "10-25T07:00"),  # the clock goes back in this night
        (NIGHTS, "03-28T23:00", "03-29T08:00"),  # and forward in this one
    ],
)
def test_end_of_bedtime(schedule: Schedule, now: str, end: str) -> None:
    assert end_of_bedtime(schedule, ZONE, at(now)) == at(end)


windows = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sampled_from(["bedtime", "homework"]),
)


@given(st.lists(windows, max_size=6), st.integers(1_700_000_000, 1_900_000_000))
def test_a_night_ends(nights: list[Window], now: int) -> None:
    end = end_of_bedtime(Schedule(tuple(nights)), ZONE, float(now))
    assert now < end < now + 9 * 86400
