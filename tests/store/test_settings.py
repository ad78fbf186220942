"""settings.db: exact, whole after any kill, and readable by people."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sqlite3
import stat
import time
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.errors import ConfigError, TextError
from guardian.policy.model import FOREVER, Action, Bonus, Device, Household, Profile
from guardian.policy.rules import parse_rule
from guardian.store.migrations import migrate
from guardian.store.settings import (
    ConflictError,
    Entry,
    add_bonus,
    edit_household,
    list_changes,
    load_household,
    note_change,
    open_settings,
    read_journal,
    read_revision,
    save_household,
    set_pause,
)
from guardian.store.settings_schema import MIGRATIONS
from guardian.store.words import read_timezone

UTC = read_timezone("UTC")


def make_household(number: int, rules: int = 1) -> Household:
    """A household whose every part carries `number`."""
    profile = Profile(
        id=f"p{number}",
        name=f"Profile {number}",
        rules=tuple(parse_rule(f"n{number}-{index}.example", Action.BLOCK) for index in range(rules)),
    )
    device = Device(f"d{number}", f"Device {number}", profile.id, (f"02:00:00:00:00:{number % 256:02x}",))
    return Household("UTC", UTC, (profile,), (device,), profile.id)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_saved_is_loaded(
    data: st.DataObject, households: st.SearchStrategy[Household], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("settings") / "settings.db")
    for household in data.draw(st.lists(households, min_size=1, max_size=2)):
        save_household(path, household)
        assert load_household(path) == household


def test_nothing_yet(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "settings.db")
    assert load_household(path) is None
    assert not os.path.exists(path)
    open_settings(path).close()
    assert load_household(path) is None
    assert list_changes(path) == []


def test_the_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "settings.db"
    before = os.umask(0)
    try:
        save_household(str(path), make_household(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_who_changed_what(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, make_household(1), who="mum", what="imported home.yaml")
    set_pause(path, profile="p1", until=FOREVER, who="dad")
    set_pause(path, device="d1", until=99.0, who="dad")
    set_pause(path, profile="p1", until=0.0, who="mum")
    assert [change[1:] for change in list_changes(path)] == [
        ("mum", "p1 resumed"),
        ("dad", "d1 paused"),
        ("dad", "p1 paused"),
        ("mum", "imported home.yaml"),
    ]
    household = load_household(path)
    assert household is not None
    assert household.profiles[0].paused_until == 0.0
    assert household.devices[0].paused_until == 99.0


def test_pause_of_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, make_household(1))
    with pytest.raises(TextError, match=r"there is no profile 'p11', did you mean 'p1'\?"):
        set_pause(path, profile="p11", until=FOREVER)
    with pytest.raises(TextError, match="there is no device 'x'"):
        set_pause(path, device="x", until=FOREVER)
    assert len(list_changes(path)) == 1


def test_bonuses(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, make_household(1))
    given = [
        Bonus(date(2026, 12, 1), 10),
        Bonus(date(2026, 12, 9), 20, "group:games"),
        Bonus(date(2026, 12, 9), 20, "group:games"),
        Bonus(date(2026, 12, 10), 30),
    ]
    for bonus in given:
        add_bonus(path, "p1", bonus, who="mum")
    household = load_household(path)
    assert household is not None
    assert household.profiles[0].bonuses == tuple(given[1:])  # of 1 December nothing can be used any more
    assert list_changes(path)[1][1:] == ("mum", "p1 got 20 minutes for group:games on 2026-12-09")
    with pytest.raises(TextError, match=r"there is no profile 'p11', did you mean 'p1'\?"):
        add_bonus(path, "p11", given[0])
    assert len(list_changes(path)) == 5


def test_the_journal_can_be_said_in_any_language(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    assert read_journal(path, 10) == []
    save_household(path, make_household(1), who="mum", what="imported", kind="restored", details={"file": "Аня.yaml"})
    set_pause(path, profile="p1", until=99.5, who="dad")
    set_pause(path, device="d1", until=FOREVER, who="dad")
    set_pause(path, device="d1", until=0.0, who="dad")
    add_bonus(path, "p1", Bonus(date(2026, 12, 9), 20, "group:games"), who="mum")
    add_bonus(path, "p1", Bonus(date(2026, 12, 9), 5), who="mum")
    lines = read_journal(path, 10)
    assert [line.id for line in lines] == [6, 5, 4, 3, 2, 1]
    assert [(line.entry.kind, line.entry.details) for line in lines] == [
        ("bonus", {"profile": "Profile 1", "minutes": 5}),
        ("bonus", {"profile": "Profile 1", "minutes": 20, "of": "group:games"}),
        ("resume", {"device": "Device 1"}),
        ("pause", {"device": "Device 1"}),
        ("pause", {"profile": "Profile 1", "until": 99}),
        ("restored", {"file": "Аня.yaml"}),
    ]
    assert [line.id for line in read_journal(path, 2, before=4)] == [3, 2]
    assert read_journal(path, 2, before=1) == []


def test_what_is_no_part_of_the_household_is_noted_too(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    assert note_change(path, Entry("Mama", "account Tata made", "account-made", {"name": "Tata"})) == 1
    assert load_household(path) is None  # a box that nobody has set up stays one
    save_household(path, make_household(1), "Mama")
    assert note_change(path, Entry("Tata", "key made", "token-made", {"name": "App"})) == read_revision(path) == 3
    assert load_household(path) == make_household(1)
    assert [line.entry.kind for line in read_journal(path, 10)] == ["token-made", "", "account-made"]


def test_several_lines_for_one_change_told_by_the_change(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    told: list[Entry] = []
    details: dict[str, str | int] = {}

    def change(household: Household) -> Household:
        assert household == make_household(1)
        details["name"] = "two"
        told.extend([Entry("mum", "one"), Entry("mum", "two", "kind", details)])
        return make_household(2)

    assert edit_household(path, told, change, lambda: make_household(1)) == 2
    assert [line.entry for line in read_journal(path, 9)] == [Entry("mum", "two", "kind", {"name": "two"}), told[0]]
    assert load_household(path) == make_household(2)
    with pytest.raises(ConflictError):
        edit_household(path, told, change, lambda: make_household(1), revision=1)

    def fail(household: Household) -> Household:
        raise TextError("no")

    with pytest.raises(TextError):
        edit_household(path, Entry("mum", "three"), fail, lambda: make_household(1))
    assert (read_revision(path), load_household(path)) == (2, make_household(2))


def make_old_file(path: Path) -> None:
    """What the first version of Guardian wrote."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:1], str(path))
        connection.execute("INSERT INTO profiles VALUES ('p1', 0, 'P', '', 1, 0, 0, 1, 'off', 1, 'names', 'ru')")
        connection.execute("INSERT INTO minutes SELECT 'p1', value, 60 FROM json_each('[0, 1, 2, 3, 4, 5, 6]')")
        connection.execute("INSERT INTO household VALUES (1, 'UTC', 'ro', 'p1')")


def test_a_reader_understands_the_file_of_an_older_guardian(tmp_path: Path) -> None:
    """After an upgrade the gateway must filter before anybody writes settings; it may not write the file."""
    path = tmp_path / "settings.db"
    make_old_file(path)
    before = path.read_bytes()
    household = load_household(str(path))
    assert household is not None
    (profile,) = household.profiles
    assert (profile.minutes, profile.week_minutes, profile.safe_search.enabled) == ((60,) * 7, None, True)
    assert household.country == ""
    assert read_journal(str(path), 5) == []
    assert (profile.strict, profile.group_minutes, profile.bonuses, profile.language) == (False, (), (), "ru")
    assert path.read_bytes() == before
    add_bonus(str(path), "p1", Bonus(date(2026, 12, 24), 5))  # the next writer brings it up to date
    assert path.read_bytes() != before
    after = load_household(str(path))
    assert after is not None
    assert dataclasses.replace(after.profiles[0], bonuses=()) == profile


def test_a_household_that_does_not_hold_together_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, make_household(1))
    broken = Household("UTC", UTC, (), (Device("d", "D", "nobody"),))
    with pytest.raises(ConfigError, match="FOREIGN KEY"):
        save_household(path, broken)
    assert load_household(path) == make_household(1)
    assert len(list_changes(path)) == 1


def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.db"
    save_household(str(path), make_household(1))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'future', 0)")
    for use in (lambda: load_household(str(path)), lambda: save_household(str(path), make_household(2))):
        with pytest.raises(ConfigError, match="newer Guardian"):
            use()


def test_damaged_settings_are_refused_until_others_are_put_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "settings.db"
    damaged = b"this is not a database" * 100
    path.write_bytes(damaged)
    for use in (
        lambda: load_household(str(path)),
        lambda: read_revision(str(path)),
        lambda: set_pause(str(path), profile="ana", until=0),
        lambda: edit_household(str(path), Entry("Mama", "x"), lambda now: now, lambda: make_household(1)),
    ):
        with pytest.raises(ConfigError, match="not a database"):
            use()
        assert path.read_bytes() == damaged and os.listdir(tmp_path) == ["settings.db"]
    save_household(str(path), make_household(2))
    assert load_household(str(path)) == make_household(2)
    assert (tmp_path / "settings.db.damaged").read_bytes() == damaged
    assert sorted(os.listdir(tmp_path)) == ["settings.db", "settings.db.damaged"]


def test_a_reader_never_writes(tmp_path: Path) -> None:
    path = tmp_path / "settings.db"
    save_household(str(path), make_household(1))
    before = path.read_bytes()
    os.chmod(path, 0o440)
    os.chmod(tmp_path, 0o550)
    try:
        assert load_household(str(path)) == make_household(1)
    finally:
        os.chmod(tmp_path, 0o750)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["settings.db"]


def test_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = str(tmp_path / "settings.db")
    save_household(path, make_household(0, 300))
    chance = random.Random(2026)
    interrupted = 0
    for _ in range(25):
        ready, started = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(started, b"x")
                for number in range(1, 1_000_000):
                    save_household(path, make_household(number, 300))
            finally:
                os._exit(1)
        os.close(started)
        os.read(ready, 1)
        os.close(ready)
        # Where in its work the child is hit is what varies; no assertion depends on it.
        time.sleep(chance.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += os.path.exists(f"{path}-journal")
        household = load_household(path)
        assert household is not None
        number = int(household.profiles[0].id[1:])
        assert household == make_household(number, 300)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert interrupted, "no kill hit a transaction: the test proves nothing"
