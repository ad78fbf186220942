"""How the databases of settings are opened: durable, one writer at a time, errors that name the file.

The rollback journal with `synchronous=FULL` keeps the old state or the new one through a power cut.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from guardian.errors import ConfigError, Problem
from guardian.store.migrations import Migration, migrate

_BUSY_SECONDS = 5.0


def connect(path: str, mode: str) -> sqlite3.Connection:
    """Return a connection in autocommit mode; `mode` is `ro` or `rw`. Raises sqlite3.Error."""
    address = f"file:{quote(os.path.abspath(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def open_database(path: str, migrations: tuple[Migration, ...], file_mode: int) -> sqlite3.Connection:
    """Return a writing connection to the database at `path`, made and brought up to date if need be.

    Raises ConfigError, sqlite3.Error, OSError.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, file_mode))  # SQLite gives its journal the same mode
    connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what was removed is gone from the file's bytes
        migrate(connection, migrations, path)
    except BaseException:
        connection.close()
        raise
    return connection


def finish_interrupted_change(path: str) -> None:
    """Roll back what a killed writer left: a read-only connection may not, and would refuse the file."""
    if not os.path.exists(f"{path}-journal") or not os.access(path, os.W_OK):
        return
    with closing(connect(path, "rw")) as connection:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()


@contextmanager
def explain_errors(path: str) -> Iterator[None]:
    """Turn what SQLite and the system say of the file into a ConfigError."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError([Problem(path, f"the settings cannot be used: {error}")]) from error
    except OSError as error:
        raise ConfigError([Problem(path, f"the settings cannot be used: {error.strerror}")]) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside happens, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
