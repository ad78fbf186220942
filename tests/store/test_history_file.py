"""The file: what comes back from a snapshot, what is broken moves aside, and its mode."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from guardian.store import history_file
from guardian.store.database import transaction
from guardian.store.history import HistoryWriter
from guardian.store.history_read import HistoryReader
from guardian.store.migrations import migrate
from tests.store.history_home import Clock, broken_pages, one_batch, write


def test_the_snapshot_brings_a_lost_ram_disk_back(path: str, tmp_path: Path) -> None:
    snapshot = str(tmp_path / "flash" / "history.db")
    write(path, one_batch("kept.example"), snapshot_path=snapshot)
    assert not Path(snapshot + ".new").exists()
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.submit(one_batch("lost.example"))
    writer.drain()
    log_left_behind = Path(path + "-wal").read_bytes()
    assert b"lost.example" in log_left_behind
    writer.close()
    history_file.remove_database(path)
    Path(path + "-wal").write_bytes(log_left_behind)
    write(path, one_batch("new.example"), snapshot_path=snapshot)
    with HistoryReader(path) as reader:
        assert {row.name for row in reader.last_tries()} == {"kept.example", "new.example"}
    assert os.stat(path).st_mode & 0o777 == history_file.FILE_MODE
    assert os.stat(snapshot).st_mode & 0o777 == history_file.FILE_MODE


def broken_header(file: Path) -> None:
    file.write_bytes(b"<html>404</html>" * 500)


def broken_length(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:9000])


@pytest.mark.parametrize("damage", [broken_header, broken_pages, broken_length])
@pytest.mark.parametrize("snapshot_too", [False, True])
def test_a_broken_database_is_moved_aside(path: str, tmp_path: Path, damage, snapshot_too, caplog) -> None:  # type: ignore[no-untyped-def]
    snapshot = tmp_path / "snapshot.db"
    write(path, one_batch(*(f"n{number}.example" for number in range(200))), snapshot_path=str(snapshot))
    damage(Path(path))
    if snapshot_too:
        damage(snapshot)
    write(path, one_batch("after.example"), snapshot_path=str(snapshot))
    with HistoryReader(path) as reader:
        assert reader.totals().blocked == (1 if snapshot_too else 201)
    assert Path(path + ".corrupt").exists()
    assert "history-broken" in caplog.text
    assert ("history-snapshot-broken" in caplog.text) == snapshot_too


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("secure_delete", 1),  # what parents erase is gone from the file's bytes
        ("auto_vacuum", 2),  # freed pages can be given back
        ("synchronous", 1),
        ("cache_size", -512),
    ],
)
def test_how_the_writer_opens_it(connection: sqlite3.Connection, pragma: str, value: object) -> None:
    assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)


@pytest.mark.parametrize(("cap", "allowed"), [(0, 1024 * 1024), (1024 * 1024, 1024 * 1024), (2**24, 2**24)])
def test_the_database_takes_six_tenths_of_the_cap_and_not_less_than_it_needs(path: str, cap: int, allowed: int) -> None:
    connection = history_file.open_file(path, "", cap)
    (pages,) = connection.execute("PRAGMA max_page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    assert pages == history_file.allowed_pages(connection, cap)
    assert allowed * 0.59 < pages * page_bytes <= allowed * 0.6
    connection.close()


def test_a_transaction_is_whole_or_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(ZeroDivisionError), transaction(connection):
        connection.execute("INSERT INTO name (name) VALUES ('a.example')")
        raise ZeroDivisionError
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM name").fetchone() == (0,)
    with transaction(connection):
        connection.execute("INSERT INTO name (name) VALUES ('a.example')")
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM name").fetchone() == (1,)


def test_a_snapshot_that_fails_leaves_the_old_one(connection: sqlite3.Connection, tmp_path: Path) -> None:
    snapshot = tmp_path / "flash" / "history.db"
    history_file.take_snapshot(connection, str(snapshot))
    before = snapshot.read_bytes()
    (tmp_path / "flash" / "history.db.new").write_bytes(b"what a power cut left")
    connection.execute("INSERT INTO name (name) VALUES ('a.example')")
    with transaction(connection), pytest.raises(sqlite3.OperationalError):
        history_file.take_snapshot(connection, str(snapshot))  # SQLite copies no open transaction
    assert snapshot.read_bytes() == before
    assert os.listdir(snapshot.parent) == ["history.db"]
    history_file.take_snapshot(connection, str(snapshot))
    assert b"a.example" in snapshot.read_bytes()
    assert os.listdir(snapshot.parent) == ["history.db"]


def test_a_path_with_signs_of_an_address_is_read_and_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "my home?mode=rwc#%20.db")
    with pytest.raises(sqlite3.OperationalError):
        history_file.open_read_only(path)
    assert os.listdir(tmp_path) == []
    write(path, one_batch("a.example"))
    connection = history_file.open_read_only(path)
    assert connection.execute("SELECT name FROM visits").fetchall() == [("a.example",)]
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM visit")
    connection.close()


def test_what_is_removed_and_measured(path: str, tmp_path: Path) -> None:
    assert (history_file.read_inode(path), history_file.measure_file(path)) == (0, 0)
    for ending, size in (("", 5), ("-wal", 7), ("-shm", 9), (".corrupt", 11), (".mine", 13)):
        Path(path + ending).write_bytes(bytes(size))
    assert history_file.read_inode(path) == os.stat(path).st_ino
    assert history_file.measure_file(path) == 12
    snapshot = tmp_path / "snapshot.db"
    snapshot.touch()
    history_file.remove_copies(path, str(snapshot))
    history_file.remove_copies(path, "")
    assert sorted(os.listdir(tmp_path)) == ["history.db", "history.db-shm", "history.db-wal", "history.db.mine"]
    assert history_file.restore(str(snapshot), path) is False
    history_file.remove_database(path)
    assert os.listdir(tmp_path) == ["history.db.mine"]


def test_a_history_of_the_first_form_is_brought_forward(path: str, tmp_path: Path) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, history_file.MIGRATIONS[:1], path)
    old.execute("INSERT INTO mandatory VALUES ('2026-10-24', 3)")
    old.close()
    write(path, one_batch("new.example"))
    with HistoryReader(path) as reader:
        assert [day.queries for day in reader.mandatory_days()] == [3]
        assert reader.attempts() == []
