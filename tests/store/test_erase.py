from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardian.catalogue import load_catalogue
from guardian.store.channels import add_channel
from guardian.store.console import ConsoleStore
from guardian.store.erase import SIGN_IN_TABLES, erase_accounts, erase_console, erase_settings
from guardian.store.household import decode_household
from guardian.store.reports import queue_report
from guardian.store.settings import load_household, read_revision, save_household

HOUSEHOLD = """
timezone: Europe/Chisinau
profiles:
  ana: {name: Anastasia-Wombat, age: 10-12, minutes: 60, allow: [wombat-school.example]}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Tablet, profile: ana, macs: ["02:00:5e:10:00:01"]}
"""


def rows(path: str) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables}


def test_the_household_and_its_journal_are_gone_from_the_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, decode_household(HOUSEHOLD, "home.yaml", load_catalogue(names=False)), "Wombat-Mama")
    assert b"ombat" in Path(path).read_bytes()
    erase_settings(path)
    assert {table for table, count in rows(path).items() if count} == {"migrations"}
    assert b"ombat" not in Path(path).read_bytes()
    assert load_household(path) is None
    assert read_revision(path) == 0


def test_what_was_erased_can_be_set_again(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    household = decode_household(HOUSEHOLD, "home.yaml", load_catalogue(names=False))
    for _ in range(2):
        save_household(path, household)
        erase_settings(path)
        erase_settings(path)
    save_household(path, household)
    assert load_household(path) == household


def test_a_box_without_settings_has_none_after_it(tmp_path: Path) -> None:
    erase_settings(str(tmp_path / "settings.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    made = ConsoleStore(str(tmp_path / "console.db"))
    with made.writing() as connection:
        connection.execute("INSERT INTO accounts VALUES (1, 'Mama', 'mama', 'parent', 'scrypt$..', 1.0, NULL)")
        connection.execute("INSERT INTO sessions VALUES (x'00', 1, 'c', 1.0, 1.0)")
        connection.execute("INSERT INTO tokens VALUES (1, 'App', x'00', 'read', 1.0, NULL)")
        connection.execute(
            "INSERT INTO requests (profile, device, kind, site, message, asked, state)"
            " VALUES ('ana', 'tablet', 'site', 'wombat.example', 'please', 1.0, 'open')"
        )
    queue_report(made, "1", "wombat", 1.0, 1.0)
    add_channel(made, "Tata", "json://wombat/", requests=True, alerts=True, known=["request:1"], now=1.0)
    made.set_option("login_from_children", "yes")
    made.dismiss({"alert": 1}, 1.0)
    return made


def test_who_may_sign_in_goes_last(store: ConsoleStore) -> None:
    before = rows(store.path)
    assert all(before.values()), before  # every table has something to lose
    erase_console(store)
    assert {table for table, count in rows(store.path).items() if count} == {"migrations", *SIGN_IN_TABLES}
    assert b"wombat" not in Path(store.path).read_bytes()
    erase_accounts(store)
    assert {table for table, count in rows(store.path).items() if count} == {"migrations"}
    assert b"Mama" not in Path(store.path).read_bytes()
