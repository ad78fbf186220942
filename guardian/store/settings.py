"""settings.db: what parents set, in plain tables, one row a thing.

Written by one process at a time (the console, or a command); the gateway reads.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import date, timedelta
from typing import NamedTuple

from guardian.errors import ConfigError, GuardianError, Problem, TextError
from guardian.policy.model import (
    Action,
    Bonus,
    DayException,
    Device,
    GroupMinutes,
    Household,
    Match,
    Profile,
    Rule,
    SafeSearch,
    Schedule,
    ServiceRule,
    Visibility,
    Window,
    YouTube,
)
from guardian.store.database import connect, explain_errors, finish_interrupted_change, open_database, transaction
from guardian.store.migrations import migrate, read_version
from guardian.store.settings_schema import MIGRATIONS
from guardian.store.words import format_days, read_days, read_timezone
from guardian.typed_yaml import suggest

FILE_MODE = 0o640  # the gateway reads it through its group
_BONUS_DAYS = 8  # kept behind a new bonus: the week of the one before may still run
# In this order rows can go away, whatever points at them.
_TABLES = ("household", "device_matches", "devices", "rules", "profiles")


class Entry(NamedTuple):
    """A line of the list of changes: who did what. `kind` and `details` let a page say it in another language."""

    who: str
    what: str  # English
    kind: str = ""  # bonus, pause, profile-changed, ...; "" = only `what` tells
    details: Mapping[str, str | int] = {}


class ConflictError(GuardianError):
    """Somebody else has changed the household meanwhile."""


def load_household(path: str) -> Household | None:
    """Return the household in the database at `path`, None when there is none yet.

    Opens the file read-only and sees one moment of it. A file of an older Guardian is brought up to date in memory
    only: the reader may not write it. Raises ConfigError when the file cannot be used.
    """
    if not os.path.exists(path):
        return None
    with explain_errors(path):
        finish_interrupted_change(path)
        with closing(connect(path, "ro")) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            if read_version(connection, MIGRATIONS, path) == MIGRATIONS[-1].version:
                return _read_household(connection)
            connection.execute("ROLLBACK")
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
                connection.backup(copy)
                migrate(copy, MIGRATIONS, path)
                return _read_household(copy)


def save_household(path: str, household: Household, who: str = "", what: str = "household replaced") -> None:
    """Replace the household in the database at `path` in one transaction; `who` and `what` go to its list of changes.

    Makes the file when it is missing. Raises ConfigError when it cannot be written.
    """
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
        _write_household(connection, household)
        _record_change(connection, Entry(who, what))


def set_pause(path: str, *, profile: str = "", device: str = "", until: float, who: str = "") -> None:
    """Pause a profile or a device (by id) until a moment in epoch seconds; 0 resumes, FOREVER waits for a parent.

    Raises TextError when there is no such profile or device, ConfigError when the file cannot be written.
    """
    table, wanted = ("profiles", profile) if profile else ("devices", device)
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        done = connection.execute(
            f"UPDATE {table} SET paused_until = ? WHERE id = ?",  # noqa: S608 - one of two names
            (until, wanted),
        )
        if done.rowcount == 0:
            known = [row[0] for row in connection.execute(f"SELECT id FROM {table}")]  # noqa: S608
            raise TextError(f"there is no {table.removesuffix('s')} '{wanted}'{suggest(wanted, known)}")
        _record_change(connection, Entry(who, f"{wanted} {'paused' if until else 'resumed'}"))


def add_bonus(path: str, profile: str, bonus: Bonus, who: str = "") -> None:
    """Give a profile (by id) minutes on top; bonuses of more than a week before go.

    Raises TextError when there is no such profile, ConfigError when the file cannot be written.
    """
    oldest = (bonus.day - timedelta(days=_BONUS_DAYS)).isoformat()
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        known = [row[0] for row in connection.execute("SELECT id FROM profiles")]
        if profile not in known:
            raise TextError(f"there is no profile '{profile}'{suggest(profile, known)}")
        connection.execute("DELETE FROM bonuses WHERE profile = ? AND day < ?", (profile, oldest))
        _write_bonuses(connection, profile, (bonus,))
        given = f"{bonus.minutes} minutes{f' for {bonus.of}' if bonus.of else ''} on {bonus.day}"
        _record_change(connection, Entry(who, f"{profile} got {given}"))


def list_changes(path: str, limit: int = 100) -> list[tuple[float, str, str]]:
    """Return the last changes, newest first: (epoch seconds, who, what). Raises ConfigError."""
    if not os.path.exists(path):
        return []
    with explain_errors(path), closing(connect(path, "ro")) as connection:
        return list(connection.execute("SELECT at, who, what FROM changes ORDER BY id DESC LIMIT ?", (limit,)))


def edit_household(
    path: str,
    entry: Entry,
    change: Callable[[Household], Household],
    first: Callable[[], Household],
    revision: int | None = None,
) -> int:
    """Change the household in one transaction and return its new revision; `entry` goes to the list of changes.

    `change` gets what the database holds (what `first` returns when it holds nothing) and returns what shall be;
    whatever it raises leaves everything as it was. Raises ConflictError unless the database is at `revision` (None: at
    any), ConfigError when it cannot be written.
    """
    with explain_errors(path), closing(open_settings(path)) as connection, transaction(connection):
        now_at = _read_revision(connection)
        if revision is not None and revision != now_at:
            raise ConflictError(f"the household was changed meanwhile (revision {now_at}, not {revision})")
        changed = change(_read_household(connection) or first())
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
        _write_household(connection, changed)
        _record_change(connection, entry)
        return _read_revision(connection)


def read_revision(path: str) -> int:
    """Return a number that grows with every change of the settings, 0 before the first. Raises ConfigError."""
    if not os.path.exists(path):
        return 0
    with explain_errors(path):
        finish_interrupted_change(path)
        with closing(connect(path, "ro")) as connection:
            return _read_revision(connection)


def _read_revision(connection: sqlite3.Connection) -> int:
    (revision,) = connection.execute("SELECT coalesce(max(id), 0) FROM changes").fetchone()
    return int(revision)


def open_settings(path: str) -> sqlite3.Connection:
    """Return a writing connection to the settings at `path`. Raises ConfigError, sqlite3.Error, OSError."""
    return open_database(path, MIGRATIONS, FILE_MODE)


def _record_change(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO changes (at, who, what, kind, details) VALUES (?, ?, ?, ?, ?)",
        (time.time(), entry.who, entry.what, entry.kind, json.dumps(dict(entry.details), ensure_ascii=False)),
    )


def _write_household(connection: sqlite3.Connection, household: Household) -> None:
    for position, profile in enumerate(household.profiles):
        _write_profile(connection, position, profile)
    for position, device in enumerate(household.devices):
        connection.execute(
            "INSERT INTO devices VALUES (?, ?, ?, ?, ?)",
            (device.id, position, device.name, device.profile, device.paused_until),
        )
        matches = [("mac", value) for value in device.macs] + [("address", value) for value in device.addresses]
        connection.executemany(
            "INSERT INTO device_matches (device, kind, value) VALUES (?, ?, ?)",
            [(device.id, kind, value) for kind, value in matches],
        )
    _write_rules(connection, None, household.rules)
    connection.execute(
        "INSERT INTO household (one, timezone, language, new_device_profile) VALUES (1, ?, ?, ?)",
        (household.timezone, household.language, household.new_device_profile or None),
    )


def _write_profile(connection: sqlite3.Connection, position: int, profile: Profile) -> None:
    connection.execute(
        "INSERT INTO profiles (id, position, name, age_band, filtered, paused_until, allow_list_only, safe_search,"
        " youtube, bypass_protection, visibility, language, strict, week_minutes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            profile.id,
            position,
            profile.name,
            profile.age_band,
            profile.filtered,
            profile.paused_until,
            profile.allow_list_only,
            profile.safe_search.enabled,
            profile.safe_search.youtube.value,
            profile.bypass_protection,
            profile.visibility.value,
            profile.language,
            profile.strict,
            profile.week_minutes,
        ),
    )
    connection.executemany(
        "INSERT INTO minutes VALUES (?, ?, ?)", [(profile.id, day, each) for day, each in enumerate(profile.minutes)]
    )
    connection.executemany(
        "INSERT INTO categories VALUES (?, ?)", [(profile.id, category) for category in sorted(profile.categories)]
    )
    _write_group_minutes(connection, profile)
    _write_bonuses(connection, profile.id, profile.bonuses)
    _write_rules(connection, profile.id, profile.rules)
    _write_windows(connection, "profile", profile.id, profile.schedule.windows)
    for exception in profile.schedule.exceptions:
        made = connection.execute(
            "INSERT INTO exceptions (profile, day, note) VALUES (?, ?, ?)",
            (profile.id, exception.day.isoformat(), exception.note),
        )
        _write_windows(connection, "exception", made.lastrowid, exception.windows)
    for rule in profile.services:
        made = connection.execute(
            "INSERT INTO services (profile, service, action) VALUES (?, ?, ?)",
            (profile.id, rule.service, rule.action.value),
        )
        _write_windows(connection, "service", made.lastrowid, rule.hours)


def _write_group_minutes(connection: sqlite3.Connection, profile: Profile) -> None:
    for limit in profile.group_minutes:
        made = connection.execute(
            "INSERT INTO group_minutes (profile, of, week) VALUES (?, ?, ?)", (profile.id, limit.of, limit.week)
        )
        connection.executemany(
            "INSERT INTO group_minutes_of_days VALUES (?, ?, ?)",
            [(made.lastrowid, day, each) for day, each in enumerate(limit.minutes)],
        )


def _write_bonuses(connection: sqlite3.Connection, profile: str, bonuses: Iterable[Bonus]) -> None:
    connection.executemany(
        "INSERT INTO bonuses (profile, day, minutes, of) VALUES (?, ?, ?, ?)",
        [(profile, bonus.day.isoformat(), bonus.minutes, bonus.of) for bonus in bonuses],
    )


def _write_rules(connection: sqlite3.Connection, profile: str | None, rules: Iterable[Rule]) -> None:
    connection.executemany(
        "INSERT INTO rules (profile, action, pattern, match, expires, note) VALUES (?, ?, ?, ?, ?, ?)",
        [(profile, rule.action.value, rule.pattern, rule.match.value, rule.expires, rule.note) for rule in rules],
    )


def _write_windows(
    connection: sqlite3.Connection, owner: str, key: str | int | None, windows: Iterable[Window]
) -> None:
    connection.executemany(
        f'INSERT INTO windows ({owner}, days, start, "end", label) VALUES (?, ?, ?, ?, ?)',  # noqa: S608 - a column
        [(key, format_days(window.days), window.start, window.end, window.label) for window in windows],
    )


def _read_household(connection: sqlite3.Connection) -> Household | None:
    found = connection.execute("SELECT timezone, language, new_device_profile FROM household").fetchone()
    if found is None:
        return None
    timezone, language, new_device_profile = found
    try:
        zone = read_timezone(timezone)
    except TextError as error:
        raise ConfigError([Problem("settings.db", str(error))]) from None
    return Household(
        timezone=timezone,
        tz=zone,
        profiles=_read_profiles(connection),
        devices=_read_devices(connection),
        new_device_profile=new_device_profile or "",
        rules=tuple(_read_rules(connection).get(None, ())),
        language=language,
    )


def _read_profiles(connection: sqlite3.Connection) -> tuple[Profile, ...]:
    rules = _read_rules(connection)
    offline = _read_windows(connection, "profile")
    exceptions = _read_exceptions(connection)
    services = _read_services(connection)
    group_minutes = _read_group_minutes(connection)
    bonuses = _read_bonuses(connection)
    minutes: dict[str, list[int]] = {}
    for profile, each in connection.execute("SELECT profile, minutes FROM minutes ORDER BY profile, day"):
        minutes.setdefault(profile, []).append(each)
    categories: dict[str, list[str]] = {}
    for profile, category in connection.execute("SELECT profile, category FROM categories"):
        categories.setdefault(profile, []).append(category)
    rows = connection.execute(
        "SELECT id, name, age_band, filtered, paused_until, allow_list_only, safe_search, youtube, bypass_protection,"
        " visibility, language, strict, week_minutes FROM profiles ORDER BY position"
    )
    return tuple(
        Profile(
            id=key,
            name=name,
            age_band=age_band,
            filtered=bool(filtered),
            paused_until=paused_until,
            schedule=Schedule(tuple(offline.get(key, ())), tuple(exceptions.get(key, ()))),
            minutes=tuple(minutes.get(key, ())),
            week_minutes=week_minutes,
            group_minutes=tuple(group_minutes.get(key, ())),
            bonuses=tuple(bonuses.get(key, ())),
            rules=tuple(rules.get(key, ())),
            services=tuple(services.get(key, ())),
            categories=frozenset(categories.get(key, ())),
            allow_list_only=bool(allow_list_only),
            safe_search=SafeSearch(bool(safe_search), YouTube(youtube)),
            bypass_protection=bool(bypass_protection),
            strict=bool(strict),
            visibility=Visibility(visibility),
            language=language,
        )
        for (
            key, name, age_band, filtered, paused_until, allow_list_only, safe_search, youtube, bypass_protection,
            visibility, language, strict, week_minutes,
        ) in rows
    )  # fmt: skip


def _read_group_minutes(connection: sqlite3.Connection) -> dict[str, list[GroupMinutes]]:
    days: dict[int, list[int]] = {}
    for owner, each in connection.execute("SELECT owner, minutes FROM group_minutes_of_days ORDER BY owner, day"):
        days.setdefault(owner, []).append(each)
    limits: dict[str, list[GroupMinutes]] = {}
    for key, profile, of, week in connection.execute("SELECT id, profile, of, week FROM group_minutes ORDER BY id"):
        limits.setdefault(profile, []).append(GroupMinutes(of, tuple(days.get(key, ())), week))
    return limits


def _read_bonuses(connection: sqlite3.Connection) -> dict[str, list[Bonus]]:
    bonuses: dict[str, list[Bonus]] = {}
    for profile, day, minutes, of in connection.execute("SELECT profile, day, minutes, of FROM bonuses ORDER BY id"):
        bonuses.setdefault(profile, []).append(Bonus(date.fromisoformat(day), minutes, of))
    return bonuses


def _read_devices(connection: sqlite3.Connection) -> tuple[Device, ...]:
    matches: dict[tuple[str, str], list[str]] = {}
    for device, kind, value in connection.execute("SELECT device, kind, value FROM device_matches ORDER BY id"):
        matches.setdefault((device, kind), []).append(value)
    return tuple(
        Device(
            key, name, profile, tuple(matches.get((key, "mac"), ())), tuple(matches.get((key, "address"), ())), until
        )
        for key, name, profile, until in connection.execute(
            "SELECT id, name, profile, paused_until FROM devices ORDER BY position"
        )
    )


def _read_rules(connection: sqlite3.Connection) -> dict[str | None, list[Rule]]:
    rules: dict[str | None, list[Rule]] = {}
    for profile, action, pattern, match, expires, note in connection.execute(
        "SELECT profile, action, pattern, match, expires, note FROM rules ORDER BY id"
    ):
        rules.setdefault(profile, []).append(Rule(Action(action), pattern, Match(match), expires, note))
    return rules


def _read_windows(connection: sqlite3.Connection, owner: str) -> dict[str | int, list[Window]]:
    windows: dict[str | int, list[Window]] = {}
    for key, days, start, end, label in connection.execute(
        f'SELECT {owner}, days, start, "end", label FROM windows WHERE {owner} IS NOT NULL ORDER BY id'  # noqa: S608
    ):
        # Windows of a date have no days of their own.
        chosen = frozenset(read_days(days)) if days else frozenset()
        windows.setdefault(key, []).append(Window(chosen, start, end, label))
    return windows


def _read_exceptions(connection: sqlite3.Connection) -> dict[str, list[DayException]]:
    windows = _read_windows(connection, "exception")
    exceptions: dict[str, list[DayException]] = {}
    for key, profile, day, note in connection.execute("SELECT id, profile, day, note FROM exceptions ORDER BY id"):
        found = DayException(date.fromisoformat(day), tuple(windows.get(key, ())), note)
        exceptions.setdefault(profile, []).append(found)
    return exceptions


def _read_services(connection: sqlite3.Connection) -> dict[str, list[ServiceRule]]:
    windows = _read_windows(connection, "service")
    services: dict[str, list[ServiceRule]] = {}
    for key, profile, service, action in connection.execute(
        "SELECT id, profile, service, action FROM services ORDER BY id"
    ):
        found = ServiceRule(service, Action(action), tuple(windows.get(key, ())))
        services.setdefault(profile, []).append(found)
    return services
