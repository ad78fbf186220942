"""What children asked, and what was answered: the table `requests` of console.db.

A request that nobody answered within a day has expired; that is worked out when it is read, nothing is written for it.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from guardian.errors import GuardianError
from guardian.store.console import ConsoleStore

OPEN_SECONDS = 24 * 3600.0  # how long a request waits for its answer
MOST_OPEN = 3  # of one profile
MOST_A_DAY = 20  # of one profile, within 24 hours
KEEP_SECONDS = 90 * 86400.0
_COLUMNS = (
    "id, profile, device, kind, minutes, site, message, asked, state, answered, answered_by, granted_minutes,"
    " granted_until, note"
)


class TooManyError(GuardianError):
    """A profile has too many open requests, or has asked too often today."""


class AnsweredError(GuardianError):
    """Somebody has answered it already, or it has expired."""


class Wish(NamedTuple):
    """What a child asks for. `site` is the pattern of a rule, in A-labels; "" where it asks for time."""

    profile: str
    device: str
    kind: str  # time, site
    minutes: int | None
    site: str
    message: str  # hostile text


class StoredRequest(NamedTuple):
    """A request as it is kept, its state as of the moment at which it was read. Moments are epoch seconds."""

    id: int
    profile: str
    device: str
    kind: str
    minutes: int | None
    site: str
    message: str
    asked: float
    state: str  # open, granted, refused, expired
    answered: float | None
    answered_by: str
    granted_minutes: int | None
    granted_until: float | None  # of a site; None = for good
    note: str


class Verdict(NamedTuple):
    """An answer. `minutes` and `until` are of what was granted."""

    state: str  # granted, refused
    who: str
    minutes: int | None = None
    until: float | None = None
    note: str = ""


def add_request(store: ConsoleStore, wish: Wish, now: float) -> tuple[StoredRequest, bool]:
    """Keep a request and return it, and whether it is new: an open one that wishes the same is not asked twice.

    What was asked long ago goes. Raises TooManyError, ConfigError.
    """
    with store.writing() as connection:
        connection.execute("DELETE FROM requests WHERE asked < ?", (now - KEEP_SECONDS,))
        recent = _select_recent(connection, wish.profile, now)
        waiting = [found for found in recent if found.state == "open"]
        for found in waiting:
            if (found.kind, found.minutes, found.site) == (wish.kind, wish.minutes, wish.site):
                return found, False
        if len(waiting) >= MOST_OPEN:
            raise TooManyError("there are open requests already: wait for their answers")
        if len(recent) >= MOST_A_DAY:
            raise TooManyError("that is enough for one day")
        made = connection.execute(
            "INSERT INTO requests (profile, device, kind, minutes, site, message, asked, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'open')",
            (*wish, now),
        )
        return _select(connection, "id = ?", (made.lastrowid,), now)[0], True


def can_ask(store: ConsoleStore, profile: str, now: float) -> bool:
    """Tell whether a profile (by id) may ask for something new. Raises ConfigError."""
    with store.reading() as connection:
        recent = _select_recent(connection, profile, now)
    return len(recent) < MOST_A_DAY and sum(found.state == "open" for found in recent) < MOST_OPEN


def list_requests(store: ConsoleStore, now: float, profile: str | None = None, limit: int = 100) -> list[StoredRequest]:
    """Return the newest requests, of one profile or of all: open ones first, then the newest. Raises ConfigError."""
    where, values = ("profile = ?", (profile,)) if profile is not None else ("true", ())
    with store.reading() as connection:
        found = _select(connection, f"{where} ORDER BY asked DESC, id DESC LIMIT {int(limit)}", values, now)
    return sorted(found, key=lambda each: (each.state != "open", -each.asked, -each.id))


def count_open(store: ConsoleStore, now: float) -> int:
    """Return how many requests wait for an answer. Raises ConfigError."""
    with store.reading() as connection:
        return sum(found.state == "open" for found in _select(connection, "state = 'open'", (), now))


def find_request(store: ConsoleStore, key: int, now: float) -> StoredRequest | None:
    """Return one request, None when there is none of this number. Raises ConfigError."""
    with store.reading() as connection:
        found = _select(connection, "id = ?", (key,), now)
    return found[0] if found else None


def answer_request(store: ConsoleStore, key: int, verdict: Verdict, now: float) -> StoredRequest:
    """Write the answer to an open request and return it. Raises AnsweredError, ConfigError."""
    with store.writing() as connection:
        found = _select(connection, "id = ?", (key,), now)
        if not found or found[0].state != "open":
            raise AnsweredError("it was answered already, or nobody waits for it any more")
        connection.execute(
            "UPDATE requests SET state = ?, answered = ?, answered_by = ?, granted_minutes = ?, granted_until = ?,"
            " note = ? WHERE id = ?",
            (verdict.state, now, verdict.who, verdict.minutes, verdict.until, verdict.note, key),
        )
        return _select(connection, "id = ?", (key,), now)[0]


def _select_recent(connection: sqlite3.Connection, profile: str, now: float) -> list[StoredRequest]:
    # A clock that once ran ahead must shut nobody up for years.
    within = (profile, now - OPEN_SECONDS, now + OPEN_SECONDS)
    return _select(connection, "profile = ? AND asked > ? AND asked < ?", within, now)


def _select(connection: sqlite3.Connection, where: str, values: tuple[object, ...], now: float) -> list[StoredRequest]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM requests WHERE {where}", values)  # noqa: S608 - of this file
    found = [StoredRequest(*row) for row in rows]
    return [
        each._replace(state="expired") if each.state == "open" and abs(now - each.asked) >= OPEN_SECONDS else each
        for each in found
    ]
