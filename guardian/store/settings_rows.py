"""The rows of settings.db: a household is written into its tables, and read from them again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import date

from guardian.errors import ConfigError, Problem, TextError
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
from guardian.store.words import format_days, read_days, read_timezone

# In this order rows can go away, whatever points at them.
_TABLES = ("household", "device_matches", "devices", "rules", "profiles")


def replace_household(connection: sqlite3.Connection, household: Household) -> None:
    """Write a household in place of the one in the database, within the caller's transaction. Raises sqlite3.Error."""
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of this file
    _write_household(connection, household)


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
        "INSERT INTO household (one, timezone, language, new_device_profile, country) VALUES (1, ?, ?, ?, ?)",
        (household.timezone, household.language, household.new_device_profile or None, household.country),
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
    write_bonuses(connection, profile.id, profile.bonuses)
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


def write_bonuses(connection: sqlite3.Connection, profile: str, bonuses: Iterable[Bonus]) -> None:
    """Add bonuses to a profile (by id)."""
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


def read_household(connection: sqlite3.Connection) -> Household | None:
    """Return the household of the database, None when it holds none. Raises ConfigError, sqlite3.Error."""
    found = connection.execute("SELECT timezone, language, new_device_profile, country FROM household").fetchone()
    if found is None:
        return None
    timezone, language, new_device_profile, country = found
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
        country=country,
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
            name=_show_name(name, key),
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


def _show_name(name: str, key: str) -> str:
    """Household files could once bring empty names, which no page could save again: the id stands for one."""
    return name if name.strip() else key


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
            key,
            _show_name(name, key),
            profile,
            tuple(matches.get((key, "mac"), ())),
            tuple(matches.get((key, "address"), ())),
            until,
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
