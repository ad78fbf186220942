"""Rows and households are the same; everything of the one before goes away. Whole files: test_settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from sqlite3 import Connection, IntegrityError

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.errors import ConfigError
from guardian.policy.model import Bonus, Device, Household, Profile
from guardian.store.database import transaction
from guardian.store.settings import open_settings
from guardian.store.settings_rows import read_household, replace_household, write_bonuses
from guardian.store.words import read_timezone


@pytest.fixture
def settings_file(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_settings(str(tmp_path / "settings.db"))) as made:
        yield made


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_household_replaces_another(
    data: st.DataObject, households: st.SearchStrategy[Household], settings_file: Connection
) -> None:
    for household in data.draw(st.lists(households, min_size=1, max_size=2)):
        with transaction(settings_file):
            replace_household(settings_file, household)
        assert read_household(settings_file) == household


def test_no_row_stays_behind(settings_file: Connection) -> None:
    empty = Household("UTC", read_timezone("UTC"), (), country="md")
    assert read_household(settings_file) is None
    replace_household(settings_file, empty)
    assert read_household(settings_file) == empty
    tables = [row[0] for row in settings_file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    counts = {table: settings_file.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    assert {table for table, count in counts.items() if count} == {"household", "migrations"}


def test_what_does_not_hold_together_is_refused(settings_file: Connection) -> None:
    utc = read_timezone("UTC")
    with pytest.raises(IntegrityError), transaction(settings_file):
        replace_household(settings_file, Household("UTC", utc, (), (Device("d", "D", "nobody"),)))
    with pytest.raises(IntegrityError), transaction(settings_file):
        write_bonuses(settings_file, "nobody", (Bonus(date(2026, 1, 1), 5),))
    assert read_household(settings_file) is None


def test_a_time_zone_that_this_machine_has_not(settings_file: Connection) -> None:
    replace_household(settings_file, Household("UTC", read_timezone("UTC"), ()))
    settings_file.execute("UPDATE household SET timezone = 'Mars/Phobos'")
    with pytest.raises(ConfigError, match="Mars/Phobos"):
        read_household(settings_file)


def test_an_empty_name_of_an_older_file_is_shown_as_the_id(settings_file: Connection) -> None:
    profile, device = Profile("ana", "Ana"), Device("tablet", "Tablet", "ana")
    replace_household(settings_file, Household("UTC", read_timezone("UTC"), (profile,), (device,)))
    settings_file.execute("UPDATE profiles SET name = ''")
    settings_file.execute("UPDATE devices SET name = '  '")
    found = read_household(settings_file)
    assert found is not None
    assert (found.profiles[0].name, found.devices[0].name) == ("ana", "tablet")
