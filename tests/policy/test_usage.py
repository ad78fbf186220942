"""Minutes that were used: by day and week, kept for a week, whatever the clock did."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.policy.usage import MOST_DAYS, Usage

MONDAY = date(2026, 11, 23)


def test_a_day_and_its_week() -> None:
    usage = Usage()
    usage.add("ana", "", MONDAY - timedelta(days=1), 100)  # Sunday is another week's
    usage.add("ana", "", MONDAY, 10)
    usage.add("ana", "", MONDAY, 0.5)
    usage.add("ana", "", MONDAY + timedelta(days=6), 7)
    usage.add("ana", "youtube", MONDAY, 3)
    usage.add("ion", "", MONDAY, 1000)
    assert [usage.today("ana", "", MONDAY + timedelta(days=days)) for days in (-1, 0, 1, 6)] == [100, 10.5, 0, 7]
    assert [usage.week("ana", "", MONDAY + timedelta(days=days)) for days in (-1, 0, 3, 6, 7)] == [
        100,
        17.5,
        17.5,
        17.5,
        0,
    ]
    assert (usage.today("ana", "youtube", MONDAY), usage.week("ana", "group:video", MONDAY)) == (3, 0)


def test_the_week_of_new_year() -> None:
    usage = Usage()
    for day in (date(2026, 12, 27), date(2026, 12, 31), date(2027, 1, 3), date(2027, 1, 4)):
        usage.add("ana", "", day, 1)
    assert usage.week("ana", "", date(2027, 1, 1)) == 2


@pytest.mark.parametrize("minutes", [-5.0, float("nan"), 0.0])
def test_nothing_is_ever_taken_away(minutes: float) -> None:
    usage = Usage()
    usage.add("ana", "", MONDAY, 5)
    usage.add("ana", "", MONDAY, minutes)
    assert usage.today("ana", "", MONDAY) == 5


def test_old_days_go_and_a_clock_that_ran_ahead_costs_none() -> None:
    usage = Usage()
    usage.add("ana", "", date(1970, 1, 1), 1)  # before the clock was set
    for days in range(30):
        usage.add("ana", "", MONDAY + timedelta(days=days), days)
    assert sorted(row[0] for row in usage.rows())[0] == "2026-12-15"
    today = MONDAY + timedelta(days=29)
    week = usage.week("ana", "", today)
    usage.add("ana", "", date(2040, 1, 1), 1)
    usage.add("ana", "", today, 1)
    assert usage.week("ana", "", today) == week + 1
    usage.add("ana", "", today + timedelta(days=1), 1)
    assert "2040-01-01" not in {row[0] for row in usage.rows()}


rows = st.tuples(
    st.dates(date(2026, 11, 20), date(2026, 11, 27)).map(date.isoformat),
    st.sampled_from(["ana", "ion"]),
    st.sampled_from(["", "youtube", "group:games"]),
    st.floats(0, 1440),
)


@given(st.lists(rows, unique_by=lambda row: row[:3]))
def test_rows_are_an_exact_copy(written: list[tuple[str, str, str, float]]) -> None:
    usage = Usage()
    usage.add("gone", "", MONDAY, 1)
    usage.load(written)
    assert sorted(usage.rows()) == sorted(written)


@given(st.lists(st.tuples(st.dates(), st.floats(0, 60)), min_size=1, max_size=60))
def test_memory_is_bounded_and_the_last_day_is_always_there(added: list[tuple[date, float]]) -> None:
    usage = Usage()
    for day, minutes in added:
        before = usage.today("ana", "", day)
        usage.add("ana", "", day, minutes)
        assert usage.today("ana", "", day) == before + minutes
        assert len(list(usage.rows())) <= MOST_DAYS


def test_a_row_that_is_none() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        Usage().load([("yesterday", "ana", "", 1.0)])
