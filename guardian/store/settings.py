"""settings.db: what parents set, in plain tables, one row a thing.

Written by one process at a time (the console, or a command); the gateway reads.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import NamedTuple

from guardian.clock import tell_time
from guardian.errors import GuardianError, TextError
from guardian.policy.model import FOREVER, Bonus, Household
from guardian.store.database import explain_errors, open_database, open_to_read, replacing_damaged, transaction
from guardian.store.settings_rows import read_household, replace_household, write_bonuses
from guardian.store.settings_schema import MIGRATIONS
from guardian.typed_yaml import suggest

FILE_MODE = 0o640  # the gateway reads it through its group
BONUS_DAYS = 8  # kept behind a new bonus: the week of the one before may still run


class Entry(NamedTuple):
    """A line of the list of changes: who did what. `kind` and `details` let a page say it in another language."""

    who: str
    what: str  # English
    kind: str = ""  # bonus, pause, profile-changed, ...; "" = only `what` tells
    details: Mapping[str, str | int] = {}


class JournalLine(NamedTuple):
    """A line of the list of changes as it was kept."""

    id: int
    at: float  # epoch seconds
    entry: Entry


class ConflictError(GuardianError):
    """Somebody else has changed the household meanwhile."""


def load_household(path: str) -> Household | None:
    """Return the household in the database at `path`, None when there is none yet.

    Opens the file read-only and sees one moment of it. Raises ConfigError when the file cannot be used.
    """
    if not os.path.exists(path):
        return None
    with _reading(path) as connection:
        return read_household(connection)


def save_household(
    path: str,
    household: Household,
    who: str = "",
    what: str = "household replaced",
    kind: str = "",
    details: Mapping[str, str | int] = {},
) -> None:
    """Replace the household in the database at `path` in one transaction; the rest goes to its list of changes.

    Makes the file when it is missing; a damaged one is put aside. Raises ConfigError when it cannot be written.
    """
    with (
        explain_errors(path),
        replacing_damaged(path) as target,
        closing(open_settings(target)) as connection,
        transaction(connection),
    ):
        replace_household(connection, household)
        _record_change(connection, Entry(who, what, kind, details))


def set_pause(path: str, *, profile: str = "", device: str = "", until: float, who: str = "") -> None:
    """Pause a profile or a device (by id) until a moment in epoch seconds; 0 resumes, FOREVER waits for a parent.

    Raises TextError when there is no such profile or device, ConfigError when the file cannot be written.
    """
    table, wanted = ("profiles", profile) if profile else ("devices", device)
    thing = table.removesuffix("s")
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        names = dict(connection.execute(f"SELECT id, name FROM {table}"))  # noqa: S608 - one of two names
        if wanted not in names:
            raise TextError(f"there is no {thing} '{wanted}'{suggest(wanted, names)}")
        connection.execute(f"UPDATE {table} SET paused_until = ? WHERE id = ?", (until, wanted))  # noqa: S608
        details: dict[str, str | int] = {thing: names[wanted]}
        if 0 < until < FOREVER:
            details["until"] = int(until)
        word = "paused" if until else "resumed"
        _record_change(connection, Entry(who, f"{wanted} {word}", "pause" if until else "resume", details))


def add_bonus(path: str, profile: str, bonus: Bonus, who: str = "") -> None:
    """Give a profile (by id) minutes on top; bonuses of more than a week before go.

    Raises TextError when there is no such profile, ConfigError when the file cannot be written.
    """
    oldest = (bonus.day - timedelta(days=BONUS_DAYS)).isoformat()
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        names = dict(connection.execute("SELECT id, name FROM profiles"))
        if profile not in names:
            raise TextError(f"there is no profile '{profile}'{suggest(profile, names)}")
        connection.execute("DELETE FROM bonuses WHERE profile = ? AND day < ?", (profile, oldest))
        write_bonuses(connection, profile, (bonus,))
        given = f"{bonus.minutes} minutes{f' for {bonus.of}' if bonus.of else ''} on {bonus.day}"
        details: dict[str, str | int] = {"profile": names[profile], "minutes": bonus.minutes}
        if bonus.of:
            details["of"] = bonus.of
        _record_change(connection, Entry(who, f"{profile} got {given}", "bonus", details))


def list_changes(path: str, limit: int = 100) -> list[tuple[float, str, str]]:
    """Return the last changes, newest first: (epoch seconds, who, what). Raises ConfigError."""
    return [(line.at, line.entry.who, line.entry.what) for line in read_journal(path, limit)]


def read_last_change(path: str) -> float:
    """Return when parents last changed the settings, in epoch seconds, 0 for never. Raises ConfigError."""
    return max((at for at, *_ in list_changes(path, 1)), default=0.0)


def read_journal(path: str, limit: int, before: int | None = None) -> list[JournalLine]:
    """Return the last `limit` changes, newest first; with `before` those older than that line. Raises ConfigError."""
    if not os.path.exists(path):
        return []
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT id, at, who, what, kind, details FROM changes WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
            (before, before, limit),
        ).fetchall()
    return [JournalLine(key, at, Entry(who, what, kind, json.loads(told))) for key, at, who, what, kind, told in rows]


def edit_household(
    path: str,
    entry: Entry | Sequence[Entry],
    change: Callable[[Household], Household],
    first: Callable[[], Household],
    revision: int | None = None,
) -> int:
    """Change the household in one transaction and return its new revision.

    `entry` (or several) goes to the list of changes after `change` has run, which may fill its details. `change` gets
    what the database holds (what `first` returns when it holds nothing) and returns what shall be; whatever it raises
    leaves everything as it was. Raises ConflictError unless the database is at `revision` (None: at any), ConfigError
    when it cannot be written.
    """
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        now_at = _read_revision(connection)
        if revision is not None and revision != now_at:
            raise ConflictError(f"the household was changed meanwhile (revision {now_at}, not {revision})")
        replace_household(connection, change(read_household(connection) or first()))
        for each in (entry,) if isinstance(entry, Entry) else entry:
            _record_change(connection, each)
        return _read_revision(connection)


def note_change(path: str, entry: Entry) -> int:
    """Add a line to the list of changes that changes nothing of the household, and return the new revision.

    Raises ConfigError when the file cannot be written.
    """
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        _record_change(connection, entry)
        return _read_revision(connection)


def read_revision(path: str) -> int:
    """Return a number that grows with every change of the settings, 0 before the first. Raises ConfigError."""
    if not os.path.exists(path):
        return 0
    with _reading(path) as connection:
        return _read_revision(connection)


def open_settings(path: str) -> sqlite3.Connection:
    """Return a writing connection to the settings at `path`. Raises ConfigError, sqlite3.Error, OSError."""
    return open_database(path, MIGRATIONS, FILE_MODE)


@contextmanager
def _reading(path: str) -> Iterator[sqlite3.Connection]:
    """Hand out one moment of the settings, in the form of this Guardian."""
    with explain_errors(path), closing(open_to_read(path, MIGRATIONS)) as connection:
        yield connection


def _read_revision(connection: sqlite3.Connection) -> int:
    (revision,) = connection.execute("SELECT coalesce(max(id), 0) FROM changes").fetchone()
    return int(revision)


def _record_change(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO changes (at, who, what, kind, details) VALUES (?, ?, ?, ?, ?)",
        (tell_time(), entry.who, entry.what, entry.kind, json.dumps(dict(entry.details), ensure_ascii=False)),
    )
