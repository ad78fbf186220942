from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from guardian.errors import ConfigError
from guardian.store.database import connect, explain_errors, finish_interrupted_change, open_database, transaction
from guardian.store.migrations import Migration

STEPS = (Migration(1, "first", ("CREATE TABLE things (name TEXT NOT NULL) STRICT",)),)


def test_a_new_database_is_private_durable_and_in_its_newest_form(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "one.db"
    with closing(open_database(str(path), STEPS, 0o600)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("SELECT * FROM things").fetchall() == []
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_database_of_a_newer_guardian_is_refused_and_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    newer = (*STEPS, Migration(2, "second", ("CREATE TABLE more (name TEXT) STRICT",)))
    open_database(path, newer, 0o600).close()
    with pytest.raises(ConfigError, match="newer Guardian"):
        open_database(path, STEPS, 0o600)
    with closing(connect(path, "ro")) as connection:
        assert connection.execute("SELECT * FROM more").fetchall() == []


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    open_database(path, STEPS, 0o600).close()
    with closing(connect(path, "ro")) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO things VALUES ('x')")


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with closing(open_database(str(tmp_path / "one.db"), STEPS, 0o600)) as connection:
        with pytest.raises(ZeroDivisionError), transaction(connection):
            connection.execute("INSERT INTO things VALUES ('lost')")
            raise ZeroDivisionError
        with transaction(connection):
            connection.execute("INSERT INTO things VALUES ('kept')")
        assert connection.execute("SELECT * FROM things").fetchall() == [("kept",)]


def test_what_a_killed_writer_left_is_rolled_back(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    with closing(open_database(path, STEPS, 0o600)) as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")
    writer = os.fork()
    if writer == 0:  # a power cut in the middle of a write: pages are in the file, the commit is not
        connection = connect(path, "rw")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM things")
        connection.executemany("INSERT INTO things VALUES (?)", [("x" * 5000,) for _ in range(50)])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == 0
    assert os.path.getsize(f"{path}-journal") > 0
    with closing(connect(path, "ro")) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT * FROM things").fetchall()
    finish_interrupted_change(path)
    with closing(connect(path, "ro")) as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == [("kept",)]


@pytest.mark.parametrize(
    ("error", "words"),
    [(sqlite3.OperationalError("disk is on fire"), "disk is on fire"), (OSError(28, "No space left"), "No space left")],
)
def test_errors_name_the_file(error: Exception, words: str) -> None:
    with pytest.raises(ConfigError, match=f"/some/where.db: the settings cannot be used: {words}"):
        with_errors(error)


def with_errors(error: Exception) -> None:
    with explain_errors("/some/where.db"):
        raise error
