"""console.db: what belongs to the console and not to the household. Only the console opens it (mode 600).

Where nothing can be written it can still be read: parents see how things are. Sessions that a full or read-only disk
did not take live in memory, until the console ends.
`accounts`, `requests`, `reports` and `channels` beside this module have the questions of their tables.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from guardian.store.console_schema import MIGRATIONS
from guardian.store.database import cannot_write, explain_errors, open_database, open_to_read, transaction

log = logging.getLogger(__name__)

FILE_MODE = 0o600


class UnsavedSession(NamedTuple):
    """A session that the disk did not take."""

    account: int
    password: str  # the account's stored line at that time
    csrf: str
    opened: float  # epoch seconds


class ConsoleStore:
    """The database at a path. Opened for each use, so any thread may ask. Everything raises ConfigError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.unsaved_sessions: dict[bytes, UnsavedSession] = {}  # by the hash of the secret

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hand out a connection for questions, and for notes that may get lost."""
        with explain_errors(self.path), closing(self._open_to_read()) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hand out a connection within a transaction: all of it happens, or nothing."""
        with (
            explain_errors(self.path),
            closing(open_database(self.path, MIGRATIONS, FILE_MODE)) as connection,
            transaction(connection),
        ):
            yield connection

    def _open_to_read(self) -> sqlite3.Connection:
        try:
            return open_database(self.path, MIGRATIONS, FILE_MODE)
        except sqlite3.OperationalError as error:  # an interrupted change, or an old form, and nothing can be written
            if not cannot_write(error):
                raise
        return open_to_read(self.path, MIGRATIONS)

    def note(self, connection: sqlite3.Connection, statement: str, *values: float | bytes) -> bool:
        """Write something that may get lost, through a connection of `reading`; False when the disk did not take it."""
        try:
            connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if not cannot_write(error):
                raise
            log.info("event=not-noted path=%s error=%r", self.path, str(error))
            return False
        return True

    def option(self, name: str, default: str = "") -> str:
        """Return a setting of the console."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM options WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else default

    def set_option(self, name: str, value: str) -> None:
        """Set a setting of the console."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO options VALUES (?, ?)", (name, value))

    def dismissed(self) -> dict[str, int]:
        """Return the alerts that were put away: how often each had happened by then."""
        with self.reading() as connection:
            return dict(connection.execute("SELECT alert, times FROM dismissed"))

    def dismiss(self, alerts: dict[str, int], now: float, keep_seconds: float = 100 * 86400) -> None:
        """Put alerts away (id -> how often they have happened); those of long ago are forgotten."""
        with self.writing() as connection:
            connection.execute("DELETE FROM dismissed WHERE at < ?", (now - keep_seconds,))
            connection.executemany(
                "INSERT OR REPLACE INTO dismissed VALUES (?, ?, ?)",
                [(alert, times, now) for alert, times in alerts.items()],
            )

    def take_back(self, alerts: Iterable[str]) -> None:
        """Show alerts (by id) again that were put away."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM dismissed WHERE alert = ?", [(alert,) for alert in alerts])
