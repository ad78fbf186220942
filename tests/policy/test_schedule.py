"""The schedule against an oracle that knows nothing but the clock on the wall, minute by minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.policy.model import FOREVER, DayException, Schedule, Window
from guardian.policy.posix_tz import parse_posix_tz
from guardian.policy.schedule import (
    active_window,
    local_date,
    next_change,
    next_midnight,
    start_of_day,
    wall_minutes,
    windows_on,
    windows_starting,
)

CHISINAU = ZoneInfo("Europe/Chisinau")
DAILY = frozenset(range(7))
# Days around which the clock changes, leap days, and an ordinary week. The last zone jumps over midnight.
CASES = [
    (CHISINAU, [date(2026, 3, 29), date(2026, 10, 25), date(2028, 2, 29), date(2026, 6, 10)]),
    (ZoneInfo("America/New_York"), [date(2026, 3, 8), date(2026, 11, 1), date(2026, 12, 31)]),
    (ZoneInfo("Australia/Lord_Howe"), [date(2026, 4, 5), date(2026, 10, 4), date(2027, 3, 1)]),
    (ZoneInfo("Asia/Beirut"), [date(2026, 3, 29), date(2026, 10, 25)]),
    (parse_posix_tz("<-0330>3:30<-0230>,M3.2.0/0:01,M11.1.0/0:01"), [date(2026, 3, 8), date(2026, 11, 1)]),
]


def label_by_the_wall_clock(schedule: Schedule, wall: datetime) -> str | None:
    """The oracle: look at the date and the minute, go through yesterday's and today's windows."""

    def starting(day: date) -> list[Window]:
        exceptions = [exception for exception in schedule.exceptions if exception.day == day]
        if exceptions:
            return [window for exception in exceptions for window in exception.windows]
        return [window for window in schedule.windows if day.weekday() in window.days]

    minute, best, label = wall.hour * 60 + wall.minute, -1, None
    for day, shift in ((wall.date() - timedelta(days=1), 1440), (wall.date(), 0)):
        for window in starting(day):
            length = window.end - window.start if window.end > window.start else window.end + 1440 - window.start
            if window.start <= minute + shift < window.start + length and window.start + length - shift > best:
                best, label = window.start + length - shift, window.label
    return label


def label_now(schedule: Schedule, tz: object, now: float) -> str | None:
    window = active_window(schedule, tz, now)  # type: ignore[arg-type]
    return None if window is None else window.label


minutes = st.one_of(st.integers(0, 1439), st.sampled_from([0, 60, 119, 120, 150, 180, 239, 1380, 1439]))
windows = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=minutes,
    end=st.one_of(minutes, st.just(1440)),
    label=st.sampled_from(["bedtime", "homework"]),
)


@st.composite
def schedules(draw: st.DrawFn, near: date) -> Schedule:
    days = st.integers(-2, 9).map(lambda shift: near + timedelta(days=shift))
    exceptions = st.builds(DayException, day=days, windows=st.lists(windows, max_size=2).map(tuple))
    return Schedule(
        tuple(draw(st.lists(windows, max_size=4))),
        tuple(draw(st.lists(exceptions, max_size=3))),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_the_oracle_minute_by_minute(data: st.DataObject) -> None:
    tz, days = data.draw(st.sampled_from(CASES))
    near = data.draw(st.sampled_from(days))
    schedule = data.draw(schedules(near))
    begin = datetime(near.year, near.month, near.day, tzinfo=tz).timestamp() // 60 * 60 - 86400
    moments = [begin + 60 * minute for minute in range(3 * 1440)]
    labels = [label_by_the_wall_clock(schedule, datetime.fromtimestamp(moment, tz)) for moment in moments]
    # `next_change` from a few moments, and from each change to the next, must be where the oracle's label changes.
    changes = [index for index in range(1, len(labels)) if labels[index] != labels[index - 1]]
    starts = {0, *changes[:20], data.draw(st.integers(0, len(labels) - 1))}
    for start in sorted(starts):
        expected = next((moments[index] for index in changes if index > start), None)
        found = next_change(schedule, tz, moments[start] + data.draw(st.sampled_from([0, 0.25, 59.5])))
        assert found == expected if expected is not None else found > moments[-1]
    for index in range(0, len(labels), 7):
        assert label_now(schedule, tz, moments[index]) == labels[index]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_far_change_is_found_and_forever_is_true(data: st.DataObject) -> None:
    tz, days = data.draw(st.sampled_from(CASES))
    near = data.draw(st.sampled_from(days))
    week = data.draw(st.sampled_from([(), (Window(DAILY, 0, 1440),), (Window(DAILY, 600, 600),)]))
    far = near + timedelta(days=data.draw(st.integers(0, 40)))
    exception = DayException(far, tuple(data.draw(st.lists(windows, max_size=1))))
    schedule = Schedule(week, (exception,) if data.draw(st.booleans()) else ())
    now = datetime(near.year, near.month, near.day, 12, tzinfo=tz).timestamp()
    begin = label_by_the_wall_clock(schedule, datetime.fromtimestamp(now, tz))
    # Away from the exception the week is all open or all closed: the hours are enough there, and the oracle is slow.
    shift = (far - near).days
    near_it = range((shift - 2) * 1440, (shift + 3) * 1440)
    moments = (now + 60 * minute for minute in range(44 * 1440) if minute % 60 == 0 or minute in near_it)
    expected = next(
        (
            moment
            for moment in moments
            if label_by_the_wall_clock(schedule, datetime.fromtimestamp(moment, tz)) != begin
        ),
        FOREVER,
    )
    assert next_change(schedule, tz, now) == expected


BEDTIME = Window(DAILY, 21 * 60, 7 * 60)


@pytest.mark.parametrize(
    ("windows", "begin", "fold", "change", "minutes"),
    [
        # The nights on which the clock jumps forward, and back.
        ([(23 * 60, 7 * 60)], "2026-03-28 23:00", 0, "2026-03-29 07:00", 7 * 60),
        ([(23 * 60, 7 * 60)], "2026-10-24 23:00", 0, "2026-10-25 07:00", 9 * 60),
        ([(0, 1440)], "2026-06-10 12:00", 0, None, 0),
        ([(600, 660), (660, 720)], "2026-06-10 10:00", 0, "2026-06-10 12:00", 120),  # they touch
        ([(600, 680), (660, 720)], "2026-06-10 10:00", 0, "2026-06-10 12:00", 120),  # they overlap
        ([(600, 1440), (0, 60)], "2026-06-10 10:00", 0, "2026-06-11 01:00", 15 * 60),  # they meet at midnight
        ([(600, 600)], "2026-06-10 10:00", 0, None, 0),  # a whole day from ten to ten, every day
    ],
)
def test_windows_in_words(
    at: Callable[..., float], windows: list[tuple[int, int]], begin: str, fold: int, change: str | None, minutes: int
) -> None:
    schedule = Schedule(tuple(Window(DAILY, start, end) for start, end in windows))
    now = at(begin, fold)
    assert active_window(schedule, CHISINAU, now) is not None
    if change is None:
        assert next_change(schedule, CHISINAU, now) == FOREVER
    else:
        assert next_change(schedule, CHISINAU, now) == at(change) == now + 60 * minutes


def test_the_night_the_clock_jumps_in_new_york() -> None:
    new_york = ZoneInfo("America/New_York")
    schedule = Schedule((Window(frozenset({6}), 120, 180),))  # Sundays 02:00-03:00
    saturday = datetime(2026, 3, 7, 12, tzinfo=new_york).timestamp()
    # On 8 March 02:00-03:00 does not exist: the next change is a week later.
    assert next_change(schedule, new_york, saturday) == datetime(2026, 3, 15, 2, tzinfo=new_york).timestamp()
    # On 1 November 01:30-02:00 comes twice, and is closed twice.
    schedule = Schedule((Window(frozenset({6}), 90, 120),))
    moment, edges = datetime(2026, 10, 31, 12, tzinfo=new_york).timestamp(), []
    for _ in range(4):
        moment = next_change(schedule, new_york, moment)
        edges.append(datetime.fromtimestamp(moment, new_york))
    assert [(edge.strftime("%H:%M"), edge.fold) for edge in edges] == [
        ("01:30", 0),
        ("01:00", 1),  # the clock falls back from 02:00 to 01:00: online again for half an hour
        ("01:30", 1),
        ("02:00", 0),
    ]


def test_of_overlapping_windows_the_last_to_end_speaks(at: Callable[..., float]) -> None:
    schedule = Schedule((Window(DAILY, 16 * 60, 22 * 60, "homework"), BEDTIME))
    assert label_now(schedule, CHISINAU, at("2026-06-10 17:00")) == "homework"
    assert next_change(schedule, CHISINAU, at("2026-06-10 17:00")) == at("2026-06-10 21:00")
    assert label_now(schedule, CHISINAU, at("2026-06-10 21:30")) == "bedtime"
    assert next_change(schedule, CHISINAU, at("2026-06-10 21:30")) == at("2026-06-11 07:00")


def test_an_exception_replaces_what_starts_on_its_date_only(at: Callable[..., float]) -> None:
    late = Window(frozenset(), 60, 420)  # its `days` are not looked at
    schedule = Schedule((BEDTIME,), (DayException(date(2026, 12, 31), ()), DayException(date(2027, 1, 1), (late,))))
    assert label_now(schedule, CHISINAU, at("2026-12-31 06:59")) == "bedtime"  # began on the 30th
    assert next_change(schedule, CHISINAU, at("2026-12-31 08:00")) == at("2027-01-01 01:00")
    assert next_change(schedule, CHISINAU, at("2027-01-01 02:00")) == at("2027-01-01 07:00")
    assert next_change(schedule, CHISINAU, at("2027-01-01 12:00")) == at("2027-01-02 21:00")


def test_exceptions_at_the_ends_of_the_calendar_do_no_harm(at: Callable[..., float]) -> None:
    ends = (DayException(date.min, (BEDTIME,)), DayException(date.max, (BEDTIME,)))
    assert next_change(Schedule((), ends), CHISINAU, at("2026-06-10 12:00")) == FOREVER
    assert next_change(Schedule(), CHISINAU, at("2026-06-10 12:00")) == FOREVER


@pytest.mark.parametrize("zone", ["Europe/Chisinau", "Asia/Beirut", "America/Havana", "Pacific/Apia"])
def test_midnight_is_the_first_moment_of_another_date(zone: str) -> None:
    tz = ZoneInfo(zone)
    for text in ("2011-12-28", "2026-03-06", "2026-03-27", "2026-10-23", "2026-10-30"):
        begin = datetime.fromisoformat(text).replace(tzinfo=tz).timestamp()
        for hour in range(0, 96, 5):
            now = begin + hour * 3600 + 0.5
            midnight = next_midnight(tz, now)
            assert local_date(tz, midnight) > local_date(tz, midnight - 1) == local_date(tz, now)


@pytest.mark.parametrize(("zone", "days"), CASES)
def test_a_day_starts_with_its_first_moment(zone: object, days: list[date]) -> None:
    for near in days:
        for day in (near + timedelta(days=shift) for shift in range(-2, 3)):
            began = start_of_day(zone, day)  # type: ignore[arg-type]
            assert local_date(zone, began) == day  # type: ignore[arg-type]
            assert local_date(zone, began - 1) == day - timedelta(days=1)  # type: ignore[arg-type]


def test_a_date_that_was_skipped_starts_with_the_next_one() -> None:
    samoa = ZoneInfo("Pacific/Apia")  # there was no 2011-12-30
    assert start_of_day(samoa, date(2011, 12, 30)) == start_of_day(samoa, date(2011, 12, 31))
    assert local_date(samoa, start_of_day(samoa, date(2011, 12, 30))) == date(2011, 12, 31)


def test_a_day_of_twenty_three_and_of_twenty_five_hours() -> None:
    for day, hours in ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 10), 24)):
        assert start_of_day(CHISINAU, day + timedelta(days=1)) - start_of_day(CHISINAU, day) == hours * 3600


@settings(max_examples=60)
@given(st.data())
def test_the_windows_of_a_day_are_those_that_the_clock_meets(data: st.DataObject) -> None:
    day = data.draw(st.sampled_from([date(2026, 6, 10), date(2028, 2, 29), date(2026, 12, 31)]))  # no clock changes
    schedule = data.draw(schedules(day))
    found = windows_on(schedule, day)
    assert all(0 <= window.start < window.end <= 1440 and not window.days for window in found)
    assert list(found) == sorted(found, key=lambda window: (window.start, window.end, window.label))
    began = start_of_day(CHISINAU, day)
    for minute in range(0, 1440, 7):
        expected = active_window(schedule, CHISINAU, began + minute * 60) is not None
        assert any(window.start <= minute < window.end for window in found) == expected


def test_the_windows_of_a_day_hold_the_morning_of_last_night_and_its_exception() -> None:
    week = (Window(DAILY, 21 * 60, 7 * 60), Window(frozenset({2}), 15 * 60, 16 * 60, "homework"))
    off = DayException(date(2026, 6, 10), ())
    wednesday = windows_on(Schedule(week), date(2026, 6, 10))
    assert [(window.start, window.end, window.label) for window in wednesday] == [
        (0, 420, "bedtime"), (900, 960, "homework"), (1260, 1440, "bedtime"),
    ]  # fmt: skip
    free = windows_on(Schedule(week, (off,)), date(2026, 6, 10))
    assert [(window.start, window.end) for window in free] == [(0, 420)]
    assert [(w.start, w.end) for w in windows_on(Schedule(week, (off,)), date(2026, 6, 11))] == [(1260, 1440)]


def test_the_windows_that_start_on_a_date() -> None:
    own = Window(frozenset(), 600, 660)
    week = (Window(frozenset({1}), 900, 960, "homework"), BEDTIME)
    schedule = Schedule(week, (DayException(date(2026, 6, 10), (own,)), DayException(date(2026, 6, 10), (BEDTIME,))))
    assert windows_starting(schedule, date(2026, 6, 9)) == week  # a Tuesday, as written
    assert windows_starting(schedule, date(2026, 6, 10)) == (own, BEDTIME)
    assert windows_starting(schedule, date(2026, 6, 11)) == (BEDTIME,)


@pytest.mark.parametrize(
    ("begin", "fold", "minutes", "spans"),
    [
        ("2026-06-10 23:50", 0, 20, [("06-10 23:50", "06-11 00:10")]),
        ("2026-03-29 01:50", 0, 20, [("03-29 01:50", "03-29 02:00"), ("03-29 03:00", "03-29 03:10")]),
        ("2026-10-25 02:50", 0, 20, [("10-25 02:50", "10-25 03:00"), ("10-25 02:00", "10-25 02:10")]),
        ("2026-10-25 02:50", 1, 20, [("10-25 02:50", "10-25 03:10")]),
    ],
)
def test_what_the_wall_shows(
    at: Callable[..., float], begin: str, fold: int, minutes: int, spans: list[tuple[str, str]]
) -> None:
    def read(text: str) -> int:
        day, time = text.split()
        hour, minute = time.split(":")
        return date.fromisoformat(f"2026-{day}").toordinal() * 1440 + int(hour) * 60 + int(minute)

    moment = at(begin, fold)
    assert wall_minutes(CHISINAU, moment, moment + minutes * 60) == [(read(a), read(b)) for a, b in spans]
    begun = wall_minutes(CHISINAU, moment + 0.5, moment + minutes * 60 - 59.5)  # begun minutes are whole ones
    assert [begun[0][0], begun[-1][1]] == [read(spans[0][0]), read(spans[-1][1])]


def test_a_long_time_on_the_wall_is_without_gaps(at: Callable[..., float]) -> None:
    moment = at("2026-06-10 12:00")
    spans = wall_minutes(CHISINAU, moment, moment + 20 * 3600)
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert spans[-1][1] - spans[0][0] == 20 * 60
