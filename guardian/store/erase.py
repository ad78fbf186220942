"""Emptying the databases of settings for a factory reset: each in one transaction, the freed bytes wiped."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from guardian.store.console import ConsoleStore
from guardian.store.database import explain_errors, replacing_damaged, transaction
from guardian.store.settings import open_settings

SIGN_IN_TABLES = ("sessions", "tokens", "accounts")


def erase_settings(path: str) -> None:
    """Empty settings.db: the household and the list of its changes. A file that is not there stays so.

    A damaged one is replaced, and what was put aside of it removed.
    Raises ConfigError.
    """
    if not os.path.exists(path):
        return
    with (
        explain_errors(path),
        replacing_damaged(path) as target,
        closing(open_settings(target)) as connection,
        transaction(connection),
    ):
        _empty(connection, _list_tables(connection))
    with explain_errors(path), suppress(FileNotFoundError):
        os.unlink(f"{path}.damaged")


def erase_console(store: ConsoleStore) -> None:
    """Empty console.db but for who may sign in: requests, reports, channels, options, what was put away.

    Raises ConfigError.
    """
    with store.writing() as connection:
        _empty(connection, [table for table in _list_tables(connection) if table not in SIGN_IN_TABLES])


def erase_accounts(store: ConsoleStore) -> None:
    """End every session and token, and remove all accounts. Raises ConfigError."""
    with store.writing() as connection:
        _empty(connection, SIGN_IN_TABLES)


def _list_tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return [name for (name,) in rows if name != "migrations" and not name.startswith("sqlite_")]


def _empty(connection: sqlite3.Connection, tables: list[str] | tuple[str, ...]) -> None:
    connection.execute("PRAGMA defer_foreign_keys = ON")  # in any order: they are checked at the end
    for table in tables:
        connection.execute(f'DELETE FROM "{table}"')  # noqa: S608 - names of the schema
