"""The tables refuse what cannot be, whoever writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardian.store.settings import open_settings

PROFILE = "INSERT INTO profiles VALUES ('p', 0, 'P', '', 1, 0, 0, 0, 'off', 1, 'names', '', 0, NULL)"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO profiles VALUES ('q', 0, 'Q', '', 2, 0, 0, 0, 'off', 1, 'names', '', 0, NULL)",
        "INSERT INTO profiles VALUES ('q', 0, 'Q', '', 1, 0, 0, 0, 'loud', 1, 'names', '', 0, NULL)",
        "INSERT INTO profiles VALUES ('q', 'first', 'Q', '', 1, 0, 0, 0, 'off', 1, 'names', '', 0, NULL)",
        "INSERT INTO profiles VALUES ('q', 0, 'Q', '', 1, 0, 0, 0, 'off', 1, 'names', '', 2, NULL)",
        "INSERT INTO profiles VALUES ('q', 0, 'Q', '', 1, 0, 0, 0, 'off', 1, 'names', '', 0, 10081)",
        "INSERT INTO household (one, timezone, language) VALUES (2, 'UTC', 'ro')",
        "INSERT INTO household (one, timezone, language, new_device_profile) VALUES (1, 'UTC', 'ro', 'nobody')",
        "INSERT INTO minutes VALUES ('p', 7, 60)",
        "INSERT INTO minutes VALUES ('p', 0, 1441)",
        "INSERT INTO group_minutes VALUES (2, 'nobody', 'youtube', NULL)",
        "INSERT INTO group_minutes VALUES (2, 'p', 'youtube', -1)",
        "INSERT INTO group_minutes VALUES (2, 'p', 'tiktok', NULL)",  # it has its minutes
        "INSERT INTO group_minutes_of_days VALUES (1, 7, 60)",
        "INSERT INTO group_minutes_of_days VALUES (9, 6, 60)",
        "INSERT INTO bonuses VALUES (1, 'p', '2026-12-24', 0, '')",
        "INSERT INTO bonuses VALUES (1, 'nobody', '2026-12-24', 5, '')",
        "INSERT INTO categories VALUES ('nobody', 'adult')",
        "INSERT INTO services (profile, service, action) VALUES ('p', 'youtube', 'rewrite')",
        "INSERT INTO windows (days, start, \"end\", label) VALUES ('mon', 0, 60, 'x')",
        "INSERT INTO windows (profile, days, start, \"end\", label) VALUES ('p', 'mon', 1440, 60, 'x')",
        "INSERT INTO rules VALUES (1, 'p', 'block', 'x.example', 'fuzzy', 9e999, '')",
        "INSERT INTO devices VALUES ('d', 0, 'D', 'nobody', 0)",
        "DELETE FROM profiles",  # a device still belongs to it
    ],
)
def test_refused(statement: str, tmp_path: Path) -> None:
    with closing(open_settings(str(tmp_path / "settings.db"))) as connection:
        connection.execute(PROFILE)
        connection.execute("INSERT INTO devices VALUES ('own', 0, 'Own', 'p', 0)")
        connection.execute("INSERT INTO group_minutes VALUES (1, 'p', 'tiktok', NULL)")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)


def test_what_belongs_to_a_profile_goes_with_it(tmp_path: Path) -> None:
    with closing(open_settings(str(tmp_path / "settings.db"))) as connection:
        connection.execute(PROFILE)
        connection.execute("INSERT INTO services VALUES (1, 'p', 'youtube', 'block')")
        connection.execute("INSERT INTO exceptions VALUES (1, 'p', '2026-12-24', '')")
        for owner, key in (("profile", "p"), ("service", 1), ("exception", 1)):
            connection.execute(
                f"INSERT INTO windows ({owner}, days, start, \"end\", label) VALUES (?, '', 0, 60, 'x')", (key,)
            )
        connection.execute("INSERT INTO group_minutes VALUES (1, 'p', 'youtube', 60)")
        connection.execute("INSERT INTO group_minutes_of_days VALUES (1, 0, 60)")
        connection.execute("INSERT INTO bonuses VALUES (1, 'p', '2026-12-24', 60, '')")
        connection.execute("DELETE FROM profiles")
        owned = ("services", "exceptions", "windows", "group_minutes", "group_minutes_of_days", "bonuses")
        for table in owned:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
