"""Bedtime now: until when."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.policy.bedtime import end_of_bedtime, stay_up
from guardian.policy.model import DayException, Schedule, Window
from guardian.policy.schedule import active_window

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


# 30 minutes longer


def night(*windows: tuple[int, int], day: str = "2026-11-23", note: str = "") -> DayException:
    return DayException(date.fromisoformat(day), tuple(Window(frozenset(), start, end) for start, end in windows), note)


def clock(hour: int, minute: int = 0) -> int:
    return hour * 60 + minute


# A Monday, 23 November 2026, and bedtime from nine to seven. What comes before `now` stays as it was.
LONGER = [
    ("11-23T21:05", 30, "11-23T21:35", (night((clock(21), clock(21, 5)), (clock(21, 35), clock(7))),)),
    ("11-23T21:00", 30, "11-23T21:30", (night((clock(21, 30), clock(7))),)),
    # Over midnight: the night's rest belongs to the date on which it begins now, with that date's own night.
    ("11-23T23:45", 30, "11-24T00:15", (
        night((clock(21), clock(23, 45))), night((15, clock(7)), (clock(21), clock(7)), day="2026-11-24"),
    )),
    ("11-23T23:30", 30, "11-24T00:00", (
        night((clock(21), clock(23, 30))), night((0, clock(7)), (clock(21), clock(7)), day="2026-11-24"),
    )),
    # After midnight the night of the date before is lifted. It ended at midnight, exactly: 24:00.
    ("11-24T00:00", 30, "11-24T00:30", (
        night((clock(21), clock(24))), night((30, clock(7)), (clock(21), clock(7)), day="2026-11-24"),
    )),
    ("11-24T06:50", 30, "11-24T07:20", (night((clock(21), clock(6, 50))),)),  # it would have ended before
    # None runs yet, but one begins soon: it begins so much later.
    ("11-23T20:50", 30, "11-23T21:30", (night((clock(21, 30), clock(7))),)),
    ("11-23T20:30", 30, "11-23T21:30", (night((clock(21, 30), clock(7))),)),
    ("11-23T23:00", 240, "11-24T03:00", (
        night((clock(21), clock(23))), night((clock(3), clock(7)), (clock(21), clock(7)), day="2026-11-24"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("now", "minutes", "until", "exceptions"), LONGER)
def test_stay_up(now: str, minutes: int, until: str, exceptions: tuple[DayException, ...]) -> None:
    assert stay_up(NIGHTS, ZONE, at(now), minutes) == (Schedule(NIGHTS.windows, exceptions), at(until))


@pytest.mark.parametrize(
    ("schedule", "now"),
    [(NIGHTS, "11-23T20:29"), (NIGHTS, "11-23T07:00"), (Schedule(), "11-23T21:05"), (HOLIDAY, "11-23T21:05")],
)
def test_nobody_need_stay_up(schedule: Schedule, now: str) -> None:
    assert stay_up(schedule, ZONE, at(now), 30) is None


def test_a_begun_minute_is_given_whole() -> None:
    longer = stay_up(NIGHTS, ZONE, at("11-23T21:05") + 10.5, 30)
    assert longer is not None
    assert longer[0].exceptions == (night((clock(21), clock(21, 5)), (clock(21, 36), clock(7))),)
    assert longer[1] == at("11-23T21:36")


def test_a_second_tap_adds_again() -> None:
    schedule, now = NIGHTS, at("11-23T21:05")
    for minutes_later, until in ((0, "11-23T21:35"), (1, "11-23T22:05")):
        longer = stay_up(schedule, ZONE, now + minutes_later * 60, 30)
        assert longer is not None and longer[1] == at(until)
        schedule = longer[0]
    assert schedule.exceptions == (night((clock(21), clock(21, 5)), (clock(22, 5), clock(7))),)


def test_a_day_with_hours_of_its_own_keeps_them_and_its_note() -> None:
    holiday = Schedule(NIGHTS.windows, (night((clock(9), clock(10)), (clock(20), clock(8)), note="cinema"),))
    longer = stay_up(holiday, ZONE, at("11-23T20:10"), 30)
    assert longer is not None
    hours = (clock(9), clock(10)), (clock(20), clock(20, 10)), (clock(20, 40), clock(8))
    assert longer[0].exceptions == (night(*hours, note="cinema"),)
    # Two exceptions for one date hold both, and become one.
    doubled = Schedule((), (night((clock(9), clock(10)), note="a"), night((clock(20), clock(8)), note="b")))
    longer = stay_up(doubled, ZONE, at("11-23T20:10"), 30)
    assert longer is not None
    assert longer[0].exceptions == (night(*hours, note="a"),)


def test_other_windows_of_the_date_stay_and_all_that_are_in_the_way_are_lifted() -> None:
    three = Schedule(
        (
            Window(DAILY, clock(15), clock(17), "homework"),
            Window(DAILY, clock(20), clock(21, 10), "supper"),
            Window(DAILY, clock(21, 20), clock(7)),
        )
    )
    longer = stay_up(three, ZONE, at("11-23T21:00"), 30)
    assert longer is not None
    (made,) = longer[0].exceptions
    assert [(window.start, window.end, window.label) for window in made.windows] == [
        (clock(15), clock(17), "homework"), (clock(20), clock(21), "supper"), (clock(21, 30), clock(7), "bedtime"),
    ]  # fmt: skip


def test_exceptions_of_long_ago_go() -> None:
    old, recent = night(day="2026-10-23"), night(day="2026-10-24")
    coming = night((clock(22), clock(9)), day="2026-12-24", note="Crăciun")
    longer = stay_up(Schedule(NIGHTS.windows, (coming, old, recent)), ZONE, at("11-23T21:05"), 30)
    assert longer is not None
    assert [each.day.isoformat() for each in longer[0].exceptions] == ["2026-10-24", "2026-11-23", "2026-12-24"]
    assert longer[0].exceptions[-1] == coming


def test_many_taps_leave_no_more_windows_than_a_page_can_send_back() -> None:
    schedule, now = Schedule((Window(DAILY, 0, 1440),)), at("11-23T12:00")
    while now < at("11-23T20:00"):
        longer = stay_up(schedule, ZONE, now, 5)
        assert longer is not None
        schedule, now = longer[0], longer[1] + 60
        assert active_window(schedule, ZONE, now - 1) is not None  # it went on
        assert active_window(schedule, ZONE, at("11-23T23:59")) is not None
    (made,) = schedule.exceptions
    assert len(made.windows) == 20


@pytest.mark.parametrize(
    ("now", "fold", "minutes", "online"),
    [
        # On 29 March 2026 the clock goes from 02:00 to 03:00, on 25 October from 03:00 back to 02:00.
        ("2026-03-29T01:50", 0, 30, [("2026-03-29T01:50", 0, 30)]),
        ("2026-10-25T02:50", 0, 30, [
            ("2026-10-25T02:00", 0, 20), ("2026-10-25T02:50", 0, 30), ("2026-10-25T02:50", 1, 10),
        ]),
        ("2026-10-25T02:30", 0, 60, [("2026-10-25T02:00", 0, 120)]),
        ("2026-10-25T02:30", 1, 60, [("2026-10-25T02:30", 0, 30), ("2026-10-25T02:30", 1, 60)]),
    ],
)  # fmt: skip
def test_the_nights_in_which_the_clock_changes(
    now: str, fold: int, minutes: int, online: list[tuple[str, int, int]]
) -> None:
    def moment(text: str, fold: int) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=ZONE, fold=fold).timestamp()

    schedule = Schedule((Window(DAILY, clock(21), clock(7)),))
    begin = moment(now, fold)
    longer = stay_up(schedule, ZONE, begin, minutes)
    assert longer is not None
    assert longer[1] == begin + minutes * 60
    found = {
        begin + shift * 60 for shift in range(-180, 180) if active_window(longer[0], ZONE, begin + shift * 60) is None
    }
    spans = [(moment(text, fold), count) for text, fold, count in online]
    assert found == {start + minute * 60 for start, count in spans for minute in range(count)}


def label_at(schedule: Schedule, zone: ZoneInfo, moment: float) -> str | None:
    window = active_window(schedule, zone, moment)
    return None if window is None else window.label


@st.composite
def weeks(draw: st.DrawFn, near: date) -> Schedule:
    days = st.integers(-3, 3).map(lambda shift: near + timedelta(days=shift))
    exceptions = st.builds(DayException, days, st.lists(windows, max_size=3).map(tuple))
    return Schedule(tuple(draw(st.lists(windows, max_size=5))), tuple(draw(st.lists(exceptions, max_size=4))))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_nothing_but_these_minutes_is_other(data: st.DataObject) -> None:
    near = data.draw(st.sampled_from([date(2026, 6, 10), date(2026, 3, 29), date(2026, 10, 25), date(2027, 1, 1)]))
    zone = data.draw(st.sampled_from([ZONE, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]))
    schedule = data.draw(weeks(near))
    midnight = datetime(near.year, near.month, near.day, tzinfo=zone).timestamp()
    now = midnight + data.draw(st.integers(0, 1439)) * 60 + data.draw(st.sampled_from([0.0, 0.5, 59.0]))
    minutes = data.draw(st.integers(5, 240))
    longer = stay_up(schedule, zone, now, minutes)
    this_minute, most = now // 60 * 60, -(-(now + minutes * 60) // 60) * 60
    if longer is None:
        moment = this_minute
        while moment < most:
            assert active_window(schedule, zone, moment) is None
            moment += 60
        return
    after, until = longer
    assert until % 60 == 0 and most <= until <= most + minutes * 60
    assert after.windows == schedule.windows
    assert {each.day for each in after.exceptions} >= {each.day for each in schedule.exceptions}
    lifted = {
        datetime.fromtimestamp(this_minute + shift * 60, zone).replace(fold=0)
        for shift in range(int(until - this_minute) // 60)
    }
    for shift in (*range(-3 * 1440, -900, 13), *range(-900, 900), *range(900, 3 * 1440, 13)):
        moment = this_minute + shift * 60
        wall = datetime.fromtimestamp(moment, zone).replace(fold=0)
        if wall in lifted:  # also the second time that the clock shows it
            assert active_window(after, zone, moment) is None
        elif moment >= until:
            assert label_at(after, zone, moment) == label_at(schedule, zone, moment)
        else:  # of two that overlapped until now another label may be told: it is over
            assert (label_at(after, zone, moment) is None) == (label_at(schedule, zone, moment) is None)


@settings(deadline=None)
@given(st.data())
def test_as_many_taps_as_you_like_and_every_window_can_be_saved(data: st.DataObject) -> None:
    schedule, now = data.draw(weeks(date(2026, 6, 10))), datetime(2026, 6, 10, 12, tzinfo=ZONE).timestamp()
    for _ in range(8):
        longer = stay_up(schedule, ZONE, now, data.draw(st.integers(5, 240)))
        if longer is not None:
            schedule = longer[0]
            dates = [each.day for each in schedule.exceptions]
            assert active_window(schedule, ZONE, longer[1] - 1) is None
            assert dates == sorted(dates)
        now += data.draw(st.integers(1, 120)) * 60
    for window in (window for each in schedule.exceptions for window in each.windows):
        assert 0 <= window.start <= 1439 and 0 <= window.end <= 1440
