"""Numbered steps that bring a database to the form that this version of Guardian knows.

Each step runs in one transaction together with the row that records it, so a power cut leaves a step done or not done.
"""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from guardian.errors import ConfigError, Problem

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied REAL NOT NULL           -- epoch seconds
) STRICT
"""


class Migration(NamedTuple):
    """One step: SQL statements that are run in order. A step that was released is never changed."""

    version: int  # 1, 2, 3, ...
    name: str
    statements: tuple[str, ...]


def migrate(connection: sqlite3.Connection, steps: tuple[Migration, ...], path: str) -> int:
    """Run the steps that the database lacks; return its version now.

    The connection must be in autocommit mode (`isolation_level=None`). `path` is named in errors. Raises ConfigError
    for a database that a newer Guardian wrote, sqlite3.Error when the database cannot be changed.
    """
    current = read_version(connection, steps, path)
    for step in steps:
        if step.version > current:
            _apply(connection, step)
    return max(steps[-1].version, current)


def read_version(connection: sqlite3.Connection, steps: tuple[Migration, ...], path: str) -> int:
    """Return the version of the database, 0 for an empty one. Raises ConfigError when it is newer than `steps`."""
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'").fetchone()
    if known is None:
        return 0
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    if version > steps[-1].version:
        raise ConfigError(
            [
                Problem(
                    path,
                    f"was written by a newer Guardian (form {version}, this one knows {steps[-1].version}): "
                    "install that version again, or move the file away and import a household",
                )
            ]
        )
    return int(version)


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_TABLE)
        # Another process may have run this step while this one waited for the lock.
        if connection.execute("SELECT 1 FROM migrations WHERE version = ?", (step.version,)).fetchone() is None:
            for statement in step.statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (step.version, step.name, time.time()))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
