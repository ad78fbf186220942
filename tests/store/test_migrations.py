"""Migrations: in order, once, each whole or not at all; newer databases are left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guardian.errors import ConfigError
from guardian.store.migrations import Migration, migrate, read_version

ONE = Migration(1, "one", ("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)"))
TWO = Migration(2, "two", ("ALTER TABLE a ADD COLUMN y INTEGER", "UPDATE a SET y = x + 1"))
BROKEN = Migration(2, "broken", ("CREATE TABLE b (x INTEGER)", "INSERT INTO nowhere VALUES (1)"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as opened:
        yield opened


def test_steps_run_once_and_in_order(connection: sqlite3.Connection) -> None:
    assert read_version(connection, (ONE,), "x.db") == 0
    assert migrate(connection, (ONE,), "x.db") == 1
    assert migrate(connection, (ONE, TWO), "x.db") == 2
    assert migrate(connection, (ONE, TWO), "x.db") == 2
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 2)]
    assert connection.execute("SELECT version, name FROM migrations").fetchall() == [(1, "one"), (2, "two")]


def test_a_step_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (ONE, BROKEN), "x.db")
    assert read_version(connection, (ONE,), "x.db") == 1
    assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'b'").fetchall() == []
    assert migrate(connection, (ONE, TWO), "x.db") == 2


def test_a_newer_database_is_refused_and_not_touched(connection: sqlite3.Connection) -> None:
    migrate(connection, (ONE, TWO), "x.db")
    with pytest.raises(ConfigError, match=r"x.db: was written by a newer Guardian \(form 2, this one knows 1\)"):
        migrate(connection, (ONE,), "x.db")
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 2)]


def test_two_processes_do_not_run_a_step_twice(connection: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        seen: list[str] = []

        def interfere(statement: str) -> None:  # the other one comes between reading the version and taking the lock
            seen.append(statement)
            if statement == "BEGIN IMMEDIATE" and seen.count(statement) == 1:
                migrate(other, (ONE,), "x.db")

        connection.set_trace_callback(interfere)
        assert migrate(connection, (ONE,), "x.db") == 1
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)
