"""What is written to the history database, and what is deleted from it: functions of a connection.

Every function runs in transactions of its own; the writer's thread is the only caller. All raise sqlite3.Error.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from guardian.devices import MAX_KNOWN_DEVICES, Sighting
from guardian.names import format_name
from guardian.store.database import transaction
from guardian.store.history_file import allowed_pages
from guardian.store.history_record import OTHER_KIND, AttemptKey, Attempts, Batch, Kind

NAMES_PER_DEVICE_HOUR = 2000  # a device that asks for random names must not push everybody's history out
ATTEMPT_ROWS_A_DAY = 1024  # nor one that makes up a MAC for each attempt
_MINUTE_DAYS = 8  # a week's limit needs them, however short the retention
_SIGHTING_DAYS = 180
_SECONDS_A_DAY = 86400

_ADD_COUNT = """
    INSERT INTO hourly (hour, kind, count) VALUES (?, ?, ?)
    ON CONFLICT (hour, kind) DO UPDATE SET count = count + excluded.count
"""
_ADD_VISIT = """
    INSERT INTO visit (hour, kind, name, count, first, last)
    VALUES (:hour, :kind, (SELECT id FROM name WHERE name = :name), :count, :first, :last)
    ON CONFLICT (hour, kind, name) DO UPDATE SET
        count = count + excluded.count, first = min(first, excluded.first), last = max(last, excluded.last)
"""
_ADD_TO_OLD_VISIT = """
    UPDATE visit SET count = count + :count, first = min(first, :first), last = max(last, :last)
    WHERE hour = :hour AND kind = :kind AND name = (SELECT id FROM name WHERE name = :name)
"""
_ADD_MANDATORY = """
    INSERT INTO mandatory (day, count) VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET count = count + excluded.count
"""
_ADD_SIGHTING = """
    INSERT INTO sighting (mac, first_seen, last_seen, addresses, hostname, random) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (mac) DO UPDATE SET
        first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen),
        addresses = excluded.addresses,
        hostname = CASE excluded.hostname WHEN '' THEN hostname ELSE excluded.hostname END
"""
_ADD_ATTEMPTS = """
    INSERT INTO attempt (day, device, mac, kind, count, first, last) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (day, device, mac, kind) DO UPDATE SET
        count = count + excluded.count, first = min(first, excluded.first), last = max(last, excluded.last)
"""
_ADD_MINUTES = """
    INSERT INTO used (day, profile, part, minutes) VALUES (?, ?, ?, ?)
    ON CONFLICT (day, profile, part) DO UPDATE SET minutes = minutes + excluded.minutes
"""
_ADD_DEVICE_MINUTES = """
    INSERT INTO used_by_device (day, device, service, minutes) VALUES (?, ?, ?, ?)
    ON CONFLICT (day, device, service) DO UPDATE SET minutes = minutes + excluded.minutes
"""
_HAS_ATTEMPT = "SELECT 1 FROM attempt WHERE day = ? AND device = ? AND mac = ? AND kind = ?"
_COUNT_NAMES = """
    SELECT count(*) FROM visit WHERE hour = ? AND kind IN (SELECT id FROM kind WHERE device = ?)
"""

# The thread that answers queries shares the interpreter with this one: it gets its turn.
ROWS_BETWEEN_BREATHS = 32
BREATH_SECONDS = 0.001


def write_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Write one batch in one transaction."""
    with transaction(connection):
        kinds = _number_kinds(connection, {kind for _hour, kind in batch.counts})
        counts = [(hour, kinds[kind], count) for (hour, kind), count in batch.counts.items()]
        connection.executemany(_ADD_COUNT, counts)
        _write_visits(connection, batch, kinds)
        connection.executemany(_ADD_MANDATORY, batch.mandatory.items())
        connection.executemany(_ADD_SIGHTING, map(_sighting_row, batch.sightings))
        _write_attempts(connection, batch.attempts)
        connection.executemany(_ADD_MINUTES, [(*key, minutes) for key, minutes in batch.minutes.items()])
        connection.executemany(_ADD_DEVICE_MINUTES, [(*key, minutes) for key, minutes in batch.device_minutes.items()])


def _number_kinds(connection: sqlite3.Connection, kinds: Iterable[Kind]) -> dict[Kind, int]:
    numbers = {}
    for kind in kinds:
        connection.execute(
            "INSERT INTO kind (device, action, reason, tag) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", kind
        )
        (numbers[kind],) = connection.execute(
            "SELECT id FROM kind WHERE device = ? AND action = ? AND reason = ? AND tag = ?", kind
        ).fetchone()
    return numbers


def _write_visits(connection: sqlite3.Connection, batch: Batch, kinds: dict[Kind, int]) -> None:
    room: dict[tuple[int, str], int] = {}
    for number, ((hour, kind, name), visits) in enumerate(batch.names.items(), 1):
        if number % ROWS_BETWEEN_BREATHS == 0:
            time.sleep(BREATH_SECONDS)
        place = (hour, kind.device)
        if place not in room:
            (stored,) = connection.execute(_COUNT_NAMES, place).fetchone()
            room[place] = NAMES_PER_DEVICE_HOUR - stored
        row = {
            "hour": hour,
            "kind": kinds[kind],
            "name": format_name(name),
            "count": visits.queries,
            "first": _second_of_hour(visits.first, hour),
            "last": _second_of_hour(visits.last, hour),
        }
        if room[place] > 0:
            room[place] -= 1
            connection.execute("INSERT INTO name (name) VALUES (?) ON CONFLICT DO NOTHING", (row["name"],))
            connection.execute(_ADD_VISIT, row)
        else:
            connection.execute(_ADD_TO_OLD_VISIT, row)


def _write_attempts(connection: sqlite3.Connection, attempts: dict[AttemptKey, Attempts]) -> None:
    room: dict[str, int] = {}
    for key, seen in attempts.items():
        if key.day not in room:
            (stored,) = connection.execute("SELECT count(*) FROM attempt WHERE day = ?", (key.day,)).fetchone()
            room[key.day] = ATTEMPT_ROWS_A_DAY - stored
        place = key
        if connection.execute(_HAS_ATTEMPT, key).fetchone() is None:
            if room[key.day] <= 0:
                place = key._replace(mac="", kind=OTHER_KIND if key.device else key.kind)
            room[key.day] -= 1
        connection.execute(_ADD_ATTEMPTS, (*place, seen.times, int(seen.first), int(seen.last)))


def _second_of_hour(moment: float, hour: int) -> int:
    return min(max(int(moment) - hour * 3600, 0), 3599)


def _sighting_row(sighting: Sighting) -> tuple[str, float, float, str, str, int]:
    addresses = " ".join(
        socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
        for address in sighting.addresses
    )
    mac = sighting.mac.hex(":")
    return (
        mac,
        sighting.first_seen,
        sighting.last_seen,
        addresses,
        sighting.hostname,
        int(sighting.has_random_mac),
    )


def delete_old(connection: sqlite3.Connection, now: float, retention_days: int) -> None:
    """Delete what is older than the retention, and devices that were not seen for half a year."""
    oldest = now - retention_days * _SECONDS_A_DAY
    with transaction(connection):
        _delete_hours(connection, int(oldest // 3600))
        connection.execute("DELETE FROM hourly WHERE hour < ?", (int(oldest // 3600),))
        for table, seconds in (
            ("mandatory", oldest),
            ("attempt", oldest),
            ("used", min(oldest, now - _MINUTE_DAYS * _SECONDS_A_DAY)),
            ("used_by_device", oldest),
        ):
            day = datetime.fromtimestamp(seconds, UTC).date().isoformat()
            connection.execute(f"DELETE FROM {table} WHERE day < ?", (day,))  # noqa: S608
        connection.execute("DELETE FROM sighting WHERE last_seen < ?", (now - _SIGHTING_DAYS * _SECONDS_A_DAY,))
        connection.execute(
            "DELETE FROM sighting WHERE mac NOT IN (SELECT mac FROM sighting ORDER BY last_seen DESC LIMIT ?)",
            (MAX_KNOWN_DEVICES,),
        )
        _delete_orphans(connection)
    connection.execute("PRAGMA incremental_vacuum").fetchall()


def trim(connection: sqlite3.Connection, size_cap_bytes: int, above: float, down_to: float) -> int:
    """When more than `above` of the allowed pages are used, delete the oldest hours until `down_to` of them are.

    Names go first; hourly counts, which are small, only when no name is left; then whole days of attempts and minutes,
    but never the newest day. Returns the number of steps.
    """
    allowed = allowed_pages(connection, size_cap_bytes)
    if _used_pages(connection) <= allowed * above:
        return 0
    steps = 0
    while _used_pages(connection) > allowed * down_to and _delete_oldest(connection):
        steps += 1
        # The log must not grow with all that is deleted.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    return steps


def _delete_oldest(connection: sqlite3.Connection) -> bool:
    """Delete an eighth of the hours, the oldest, of the names or else of the counts; False when nothing is left."""
    for table in ("visit", "hourly"):
        hours = [hour for (hour,) in connection.execute(f"SELECT DISTINCT hour FROM {table} ORDER BY hour")]  # noqa: S608
        if hours:
            before = hours[(len(hours) - 1) // 8] + 1
            with transaction(connection):
                _delete_hours(connection, before)
                if table == "hourly":
                    connection.execute("DELETE FROM hourly WHERE hour < ?", (before,))
                _delete_orphans(connection)
            return True
    return _delete_oldest_day(connection)


def _delete_oldest_day(connection: sqlite3.Connection) -> bool:
    for table in ("used_by_device", "attempt", "used"):
        oldest, newest = connection.execute(f"SELECT min(day), max(day) FROM {table}").fetchone()  # noqa: S608
        if oldest != newest:
            with transaction(connection):
                connection.execute(f"DELETE FROM {table} WHERE day = ?", (oldest,))  # noqa: S608
            return True
    return False


def _delete_hours(connection: sqlite3.Connection, before: int) -> None:
    connection.execute("DELETE FROM visit WHERE hour < ?", (before,))


def erase_names(connection: sqlite3.Connection, devices: Iterable[str]) -> None:
    """Delete the names that these devices asked for; their counts stay. For profiles that show less from now on."""
    with transaction(connection):
        for device in devices:
            connection.execute("DELETE FROM visit WHERE kind IN (SELECT id FROM kind WHERE device = ?)", (device,))
        _delete_orphans(connection)


def erase_services(connection: sqlite3.Connection, devices: Iterable[str]) -> None:
    """Delete which services these devices used for how long; their totals stay."""
    with transaction(connection):
        for device in devices:
            connection.execute("DELETE FROM used_by_device WHERE device = ? AND service != ''", (device,))


def erase_all(connection: sqlite3.Connection) -> None:
    """Delete the whole history, the daily counts, attempts and minutes, and the devices ever seen."""
    tables = ("visit", "hourly", "name", "kind", "mandatory", "sighting", "attempt", "used", "used_by_device")
    with transaction(connection):
        for table in tables:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608


def scrub(connection: sqlite3.Connection) -> bool:
    """Give freed pages back and empty the log, so that erased bytes are in no file; False when a reader holds it."""
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    (busy, _logged, _moved) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _delete_orphans(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM name WHERE id NOT IN (SELECT name FROM visit)")
    connection.execute(
        "DELETE FROM kind WHERE id NOT IN (SELECT kind FROM hourly) AND id NOT IN (SELECT kind FROM visit)"
    )


def _used_pages(connection: sqlite3.Connection) -> int:
    return _read_number(connection, "page_count") - _read_number(connection, "freelist_count")


def _read_number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
