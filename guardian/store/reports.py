"""The reports that wait for the hotline, in console.db.

A report is readable only until it was taken, refused or given up: then its body is emptied, and `secure_delete` wipes
the bytes. What stays is that there was one, in which hour. There is no question here that shows a body to people.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from guardian.store.console import ConsoleStore

MOST_WAITING = 200
MOST_BEFORE_STRANGERS = 100  # that wait when a device that nobody has named makes one more
KEEP_COUNTS_SECONDS = 90 * 86400.0


class WaitingReport(NamedTuple):
    """A report to be sent now."""

    id: str
    body: str  # JSON, as it is sent
    made: float  # epoch seconds, here and below
    tries: int


class ReportCounts(NamedTuple):
    """How many reports wait, and what became of those of the last 90 days."""

    waiting: int
    sent: int
    lost: int  # refused by the hotline, or given up


def queue_report(
    store: ConsoleStore, report_id: str, body: str, made: float, now: float, most: int = MOST_WAITING
) -> bool:
    """Keep a report until it is sent, and return True; False when `most` wait already. Raises ConfigError."""
    with store.writing() as connection:
        if _count(connection, "body != ''") >= most:
            return False
        connection.execute(
            "INSERT INTO reports (id, body, made, next_try) VALUES (?, ?, ?, ?)", (report_id, body, made, now)
        )
        return True


def list_due(store: ConsoleStore, now: float, limit: int = 10) -> list[WaitingReport]:
    """Return the reports whose next try has come, the longest waiting first. Raises ConfigError."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT id, body, made, tries FROM reports WHERE body != '' AND next_try <= ? ORDER BY next_try LIMIT ?",
            (now, limit),
        )
        return [WaitingReport(*row) for row in rows]


def finish_report(store: ConsoleStore, report_id: str, sent: float | None) -> None:
    """Empty the body of a report that was taken at `sent`, or is lost (None). Raises ConfigError."""
    with store.writing() as connection:
        connection.execute("UPDATE reports SET body = '', sent = ? WHERE id = ?", (sent, report_id))


def postpone_report(store: ConsoleStore, report_id: str, next_try: float) -> None:
    """Note a try that failed, and when the next one is. Raises ConfigError."""
    with store.writing() as connection:
        connection.execute("UPDATE reports SET tries = tries + 1, next_try = ? WHERE id = ?", (next_try, report_id))


def mend_times(store: ConsoleStore, now: float, oldest: float, longest_wait: float) -> None:
    """Mend the times of waiting reports from before the clock was right.

    A router without a battery wakes up in 1970: what was made before `oldest`, or in the future, counts as made now;
    and nothing waits longer than `longest_wait` seconds. Raises ConfigError.
    """
    with store.writing() as connection:
        connection.execute(
            "UPDATE reports SET made = :now, next_try = :now WHERE body != '' AND (made < :oldest OR made > :now)",
            {"now": now, "oldest": oldest},
        )
        connection.execute(
            "UPDATE reports SET next_try = :now WHERE body != '' AND next_try > :latest",
            {"now": now, "latest": now + longest_wait},
        )


def give_up_reports(store: ConsoleStore, made_before: float, least_tries: int) -> int:
    """Empty the reports that nobody took in time and in so many tries; return how many. Raises ConfigError."""
    with store.writing() as connection:
        done = connection.execute(
            "UPDATE reports SET body = '' WHERE body != '' AND made < ? AND tries >= ?", (made_before, least_tries)
        )
        return done.rowcount


def forget_reports(store: ConsoleStore, now: float) -> None:
    """Forget that there were reports, 90 days after they were made. Raises ConfigError."""
    with store.writing() as connection:
        connection.execute("DELETE FROM reports WHERE body = '' AND made < ?", (now - KEEP_COUNTS_SECONDS,))


def count_reports(store: ConsoleStore) -> ReportCounts:
    """Return how many reports wait, were sent, were lost. Raises ConfigError."""
    with store.reading() as connection:
        return ReportCounts(
            _count(connection, "body != ''"),
            _count(connection, "sent IS NOT NULL"),
            _count(connection, "body = '' AND sent IS NULL"),
        )


def _count(connection: sqlite3.Connection, condition: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM reports WHERE {condition}").fetchone()  # noqa: S608 - ours
    return int(count)
