"""The tables of a desk: made once, the same for everybody, and refused when a newer Guardian made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardian.desk.entries import COLUMNS
from guardian.desk.schema import MIGRATIONS
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.store.migrations import migrate


def test_the_steps_are_numbered_and_make_every_column() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        assert migrate(connection, MIGRATIONS, "x") == len(MIGRATIONS)
        assert tuple(row[1] for row in connection.execute("PRAGMA table_info(entries)")) == COLUMNS
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_newer_desk_is_left_alone(tmp_path: Path) -> None:
    desk = Desk.create(tmp_path)
    with desk.changing() as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'later', 0)")
    with pytest.raises(DeskError, match=r"desk\.db was written by a newer Guardian"), desk.reading():
        pass


@pytest.mark.parametrize("table", ["entries", "proposals"])
def test_a_status_that_nobody_knows_is_refused(tmp_path: Path, table: str) -> None:
    desk = Desk.create(tmp_path)
    with desk.reading() as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ["'x'" if name == "status" else "1" for name in columns]
    with pytest.raises(DeskError, match="CHECK constraint failed"), desk.changing() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join(values)})")
