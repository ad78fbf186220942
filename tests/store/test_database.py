from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from guardian.errors import ConfigError
from guardian.store.database import (
    cannot_write,
    connect,
    explain_errors,
    find_storage_trouble,
    finish_interrupted_change,
    is_damaged,
    open_database,
    open_to_read,
    replacing_damaged,
    transaction,
)
from guardian.store.migrations import Migration

STEPS = (Migration(1, "first", ("CREATE TABLE things (name TEXT NOT NULL) STRICT",)),)


def test_a_new_database_is_private_durable_and_in_its_newest_form(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "one.db"
    with closing(open_database(str(path), STEPS, 0o600)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
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


def test_a_reader_sees_one_moment_and_cannot_write(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    with closing(open_database(path, STEPS, 0o600)) as connection:
        connection.execute("INSERT INTO things VALUES ('first')")
    with closing(open_to_read(path, STEPS)) as reader:
        assert reader.execute("SELECT name FROM things").fetchall() == [("first",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM things")
    before = Path(path).read_bytes()
    newer = (*STEPS, Migration(2, "second", ("ALTER TABLE things ADD COLUMN more TEXT",)))
    with closing(open_to_read(path, newer)) as reader:
        assert reader.execute("SELECT name, more FROM things").fetchall() == [("first", None)]
        with pytest.raises(sqlite3.OperationalError):
            reader.execute("DELETE FROM things")
    assert Path(path).read_bytes() == before
    with closing(open_database(path, newer, 0o600)):
        pass
    with pytest.raises(ConfigError, match="newer Guardian"):
        open_to_read(path, STEPS)


def test_another_thread_keeps_its_lock_while_we_open(tmp_path: Path) -> None:
    """A file that is opened and closed beside SQLite loses all locks of its process (POSIX)."""
    path = str(tmp_path / "one.db")
    open_database(path, STEPS, 0o600).close()
    with closing(open_database(path, STEPS, 0o600)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        child = os.fork()  # another process; it must not inherit a connection that it would use
        if child == 0:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, "locked, as it must be"
        with pytest.raises(sqlite3.OperationalError):
            connect_impatiently(path)
        child = os.fork()
        if child == 0:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, "and still"
        holder.execute("ROLLBACK")


def connect_impatiently(path: str) -> None:
    """Open it as the product does, without its patience."""
    from guardian.store import database

    patience, database._BUSY_SECONDS = database._BUSY_SECONDS, 0.1
    try:
        open_database(path, STEPS, 0o600).close()
    finally:
        database._BUSY_SECONDS = patience


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "x"), "storage-full"),
        (OSError(errno.EDQUOT, "x"), "storage-full"),
        (OSError(errno.EROFS, "x"), "storage-read-only"),
        (OSError(errno.EACCES, "x"), ""),  # has the number of SQLITE_FULL
        (OSError(errno.ENOEXEC, "x"), ""),  # and this one that of SQLITE_READONLY
        (sqlite3.OperationalError("made by Python"), ""),
        (ValueError("x"), ""),
        (None, ""),
    ],
)
def test_troubles_of_the_disk_have_codes(error: BaseException | None, code: str) -> None:
    assert find_storage_trouble(error) == code


def test_a_full_database_is_one_that_cannot_be_written(tmp_path: Path) -> None:
    with closing(open_database(str(tmp_path / "one.db"), STEPS, 0o600)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("INSERT INTO things VALUES (?)", ("x" * 20_000,))
    assert find_storage_trouble(caught.value) == "storage-full" and cannot_write(caught.value)


def test_what_is_damaged_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = str(tmp_path / "one.db")
    with closing(open_database(path, STEPS, 0o600)) as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")
    assert not is_damaged(path)
    with replacing_damaged(path) as target:
        assert target == path
    damaged = Path(path).read_bytes()[:4096] + b"noise" * 2000
    Path(path).write_bytes(damaged)
    Path(f"{path}-journal").write_bytes(b"of the damaged one")
    assert is_damaged(path)
    with pytest.raises(ZeroDivisionError), replacing_damaged(path) as target:
        open_database(target, STEPS, 0o600).close()
        raise ZeroDivisionError
    assert Path(path).read_bytes() == damaged and not os.path.exists(f"{path}.new")
    with replacing_damaged(path) as target, closing(open_database(target, STEPS, 0o600)) as connection:
        connection.execute("INSERT INTO things VALUES ('new')")
    with closing(open_to_read(path, STEPS)) as reader:
        assert reader.execute("SELECT name FROM things").fetchall() == [("new",)]
    assert Path(f"{path}.damaged").read_bytes() == damaged
    assert sorted(os.listdir(tmp_path)) == ["one.db", "one.db.damaged"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is root that makes a file of another user")
def test_what_root_makes_by_hand_belongs_to_the_user_of_the_services(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    open_database(str(folder / "made.db"), STEPS, 0o640).close()
    made = (folder / "made.db").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (12345, 12346, 0o640)
