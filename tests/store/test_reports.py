from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardian.store.console import ConsoleStore
from guardian.store.reports import (
    MOST_WAITING,
    ReportCounts,
    count_reports,
    finish_report,
    forget_reports,
    give_up_reports,
    list_due,
    mend_times,
    postpone_report,
    queue_report,
)

NOW = 1_795_000_000.0
DAY = 86400.0
SECRET = "zebra-crossing-7f3a"


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    return ConsoleStore(str(tmp_path / "console.db"))


def test_what_waits_is_handed_out_in_turn(store: ConsoleStore) -> None:
    assert queue_report(store, "b", "{}", NOW, NOW + 1)
    assert queue_report(store, "a", '{"x": 1}', NOW, NOW)
    assert [report.id for report in list_due(store, NOW)] == ["a"]
    assert [report.id for report in list_due(store, NOW + 1)] == ["a", "b"]
    assert [report.id for report in list_due(store, NOW + 1, limit=1)] == ["a"]
    postpone_report(store, "a", NOW + 60)
    (b,) = list_due(store, NOW + 1)
    assert b.tries == 0
    b, a = list_due(store, NOW + 60)
    assert (a.id, a.body, a.made, a.tries) == ("a", '{"x": 1}', NOW, 1)


def test_no_more_than_200_wait(store: ConsoleStore) -> None:
    assert all(queue_report(store, str(number), "{}", NOW, NOW) for number in range(MOST_WAITING))
    assert not queue_report(store, "one more", "{}", NOW, NOW)
    finish_report(store, "0", NOW)
    assert queue_report(store, "one more", "{}", NOW, NOW)
    assert count_reports(store) == ReportCounts(MOST_WAITING, 1, 0)


@pytest.mark.parametrize("sent", [NOW, None])
@pytest.mark.parametrize("size", [10, 30_000])  # in a page of others, and in pages of its own
def test_nothing_of_a_finished_report_is_left_in_the_file(store: ConsoleStore, sent: float | None, size: int) -> None:
    for number in range(5):
        queue_report(store, str(number), f"{SECRET}{number}{'x' * size}", NOW, NOW)
    assert Path(store.path).read_bytes().count(SECRET.encode()) == 5
    for number in range(5):
        finish_report(store, str(number), sent)
    assert SECRET.encode() not in Path(store.path).read_bytes()
    assert not Path(f"{store.path}-journal").exists()
    assert count_reports(store) == (ReportCounts(0, 5, 0) if sent else ReportCounts(0, 0, 5))
    assert list_due(store, NOW + DAY) == []


def test_what_nobody_took_is_given_up_and_wiped(store: ConsoleStore) -> None:
    queue_report(store, "old", SECRET, NOW - 31 * DAY, NOW)
    queue_report(store, "new", "{}", NOW - 29 * DAY, NOW)
    assert give_up_reports(store, NOW - 30 * DAY, least_tries=1) == 0  # never tried: the box was off
    postpone_report(store, "old", NOW)
    assert give_up_reports(store, NOW - 30 * DAY, least_tries=1) == 1
    assert SECRET.encode() not in Path(store.path).read_bytes()
    assert count_reports(store) == ReportCounts(1, 0, 1)


def test_a_wrong_clock_costs_no_report(store: ConsoleStore) -> None:
    queue_report(store, "1970", "{}", 3600.0, 3600.0)
    queue_report(store, "2099", "{}", NOW + 9 * 365 * DAY, NOW + 9 * 365 * DAY)
    queue_report(store, "right", "{}", NOW - DAY, NOW - DAY)
    queue_report(store, "waits too long", "{}", NOW - DAY, NOW + 300 * DAY)
    mend_times(store, NOW, NOW - 100 * DAY, longest_wait=DAY)
    made = {report.id: report.made for report in list_due(store, NOW)}
    assert made == {"1970": NOW, "2099": NOW, "right": NOW - DAY, "waits too long": NOW - DAY}


def test_that_there_was_one_is_forgotten_after_90_days(store: ConsoleStore) -> None:
    for name, made in (("old", NOW - 91 * DAY), ("new", NOW - 89 * DAY), ("waits", NOW - 91 * DAY)):
        queue_report(store, name, "{}", made, NOW)
    finish_report(store, "old", NOW - 91 * DAY)
    finish_report(store, "new", NOW - 89 * DAY)
    forget_reports(store, NOW)
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT id FROM reports ORDER BY id").fetchall() == [("new",), ("waits",)]
