"""What is written and deleted: counts against a dict, the bounds of time and size."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.devices import Sighting
from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store import history_file, history_write
from guardian.store.history import HistoryWriter
from guardian.store.history_read import HistoryReader
from guardian.store.history_record import NAMES_PER_DEVICE, OTHER_KIND, Recorder
from guardian.store.history_write import (
    NAMES_PER_DEVICE_HOUR,
    delete_old,
    erase_all,
    erase_names,
    erase_services,
    write_batch,
)
from tests.store.history_home import HOUR, NAMES, NOW, Clock, all_bytes, block, one_batch, write

RECORDS = st.tuples(
    st.integers(HOUR - 3, HOUR),
    st.sampled_from(["ana", "ion", ""]),
    st.sampled_from(["a.example", "b.example", "\\*.we\\032ird.example"]),
    st.sampled_from(["allow", "block", "rewrite"]),
    st.sampled_from(["default", "category", "helpline", "mandatory", "rule"]),
    st.sampled_from(["", "category:games", "service:x"]),
    st.integers(1, 5),
    st.sampled_from(list(Visibility)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(RECORDS, max_size=30), max_size=4))
def test_counts_equal_a_naive_model(tmp_path: Path, flushes: list[list[tuple]]) -> None:  # type: ignore[type-arg]
    path = str(tmp_path / "model.db")
    history_file.remove_database(path)
    recorder = Recorder()
    totals: Counter[tuple[int, str, bool]] = Counter()
    names: Counter[tuple[str, str, str, str, str]] = Counter()
    mandatory = 0
    batches = []
    for flush in flushes:
        for hour, device, name, action, reason, tag, count, visibility in flush:
            recorder.add(hour, device, parse_name(name), action, reason, tag, count, hour * 3600.0 + 7, visibility)
            if reason == "mandatory":
                mandatory += count
            elif reason != "helpline":
                totals[hour, device, action == "block"] += count
                if visibility is Visibility.NAMES:
                    names[device, name, action, reason, tag] += count
        batches.append(recorder.take())
    write(path, *batches)
    with HistoryReader(path) as reader:
        assert sum(day.queries for day in reader.mandatory_days()) == mandatory
        for device in ("ana", "ion", ""):
            rows = {row.hour: (row.allowed, row.blocked) for row in reader.by_hour(device=device)}
            expected = {
                hour: (totals[hour, device, False], totals[hour, device, True])
                for hour in range(HOUR - 3, HOUR + 1)
                if totals[hour, device, False] + totals[hour, device, True]
            }
            assert rows == expected
        stored = Counter[tuple[str, str, str, str, str]]()
        for action in ("allow", "block", "rewrite"):
            for row in reader.top_names(action, limit=1000):
                stored[row.device, row.name, action, row.reason, row.tag] += row.queries
        assert stored == names


def test_first_and_last_time_and_the_order_of_tries(path: str) -> None:
    recorder = Recorder()
    for second in (50, 20, 90):
        recorder.add(HOUR, "ana", parse_name("x.example"), "block", "rule", "", 1, NOW + second, NAMES)
    first = recorder.take()
    recorder.add(HOUR, "ana", parse_name("x.example"), "block", "rule", "", 4, NOW + 10, NAMES)
    recorder.add(HOUR, "ana", parse_name("y.example"), "block", "rule", "", 1, NOW + 95, NAMES)
    write(path, first, recorder.take())
    with HistoryReader(path) as reader:
        newest, older = reader.last_tries(device="ana")
        assert (newest.name, older.name, older.queries) == ("y.example", "x.example", 7)
        assert (older.first_seen, older.last_seen) == (NOW + 10, NOW + 90)
        assert reader.last_tries(device="ion") == []
        assert reader.last_tries(since=HOUR + 1) == []
        assert [row.name for row in reader.last_tries(limit=1)] == ["y.example"]


def test_known_devices_come_back_as_they_were(path: str) -> None:
    mac = bytes.fromhex("06aabbccddee")
    first = Sighting(mac, NOW - 100, NOW - 50, (bytes([10, 0, 0, 1]),), "phone")
    later = Sighting(mac, NOW - 10, NOW, (bytes(15) + b"\x01", bytes([10, 0, 0, 1])), "")
    recorder = Recorder()
    write(path, recorder.take((first,)), recorder.take((later,)))
    with HistoryReader(path) as reader:
        assert reader.known_devices() == (later._replace(first_seen=NOW - 100, hostname="phone"),)


def test_a_flooding_device_loses_names_but_no_counts_and_hurts_nobody_else(path: str) -> None:
    recorder = Recorder()
    batches = []
    per_batch = NAMES_PER_DEVICE + 100
    for flush in range(6):
        for number in range(per_batch):
            block(recorder, "flood", f"r{flush}-{number}.example")
        block(recorder, "ana", f"mine{flush}.example")
        batch = recorder.take()
        assert batch is not None
        assert batch.unnamed == 100
        batches.append(batch)
    write(path, *batches)
    with HistoryReader(path) as reader:
        assert reader.totals(device="flood").blocked == 6 * per_batch
        assert len(reader.last_tries(device="flood", limit=100_000)) == NAMES_PER_DEVICE_HOUR
        assert len(reader.last_tries(device="ana")) == 6


def test_retention_deletes_what_is_older(path: str, tmp_path: Path) -> None:
    recorder = Recorder()
    for age in (0, 6, 8, 40):
        block(recorder, "ana", f"age{age}.example", hour=HOUR - age * 24)
        then = NOW - age * 86400
        recorder.add(HOUR, "ana", None, "block", "mandatory", "", 1, then, NAMES)
    write(path, recorder.take())
    writer = HistoryWriter(path, retention_days=7, clock=Clock())
    writer.start()
    writer.close()
    with HistoryReader(path) as reader:
        assert {row.name for row in reader.last_tries()} == {"age0.example", "age6.example"}
        assert reader.oldest_hour() == HOUR - 6 * 24
        assert len(reader.mandatory_days()) == 2
    assert not re.search(rb"age8|age40", all_bytes(tmp_path))


@pytest.mark.parametrize("cap", [history_file.MIN_SIZE_CAP, 3 * 1024 * 1024])
def test_the_size_cap_bounds_the_files_and_the_newest_stays(path: str, cap: int) -> None:
    chance = random.Random(7)
    writer = HistoryWriter(path, size_cap_bytes=cap, clock=Clock())
    writer.start()
    recorder = Recorder()
    largest = 0
    hours = 60
    # With the small cap a batch is more than the free tenth: the file is full in the middle of it, and room is made.
    for hour in range(HOUR - hours, HOUR + 1):
        for number in range(1000):
            block(recorder, f"d{number % 4}", f"{chance.randbytes(12).hex()}.example", hour=hour)
        assert writer.submit(recorder.take())
        writer.drain()
        status = writer.status()
        assert (status.error, status.lost_queries) == ("", 0)
        largest = max(largest, status.file_bytes)
    with HistoryReader(path) as reader:
        newest = reader.last_tries(limit=100_000)
        assert len([row for row in newest if row.first_seen >= NOW]) == 1000
        assert len(newest) < hours * 1000
        assert reader.totals().blocked == (hours + 1) * 1000  # the counts are small and outlive the names
    writer.close()
    assert cap / 3 < largest <= cap


def rows(connection: sqlite3.Connection, query: str) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(query).fetchall()


def test_a_batch_is_written_whole_or_not_at_all(connection: sqlite3.Connection) -> None:
    batch = one_batch("a.example")
    assert batch is not None
    with pytest.raises(sqlite3.IntegrityError):
        write_batch(connection, batch._replace(mandatory={None: 1}))  # type: ignore[dict-item]
    assert not connection.in_transaction
    for table in ("kind", "name", "hourly", "visit"):
        assert rows(connection, f"SELECT * FROM {table}") == []
    write_batch(connection, batch)
    assert rows(connection, "SELECT name, count FROM visits") == [("a.example", 1)]


def test_in_a_full_hour_known_names_still_count(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_write, "NAMES_PER_DEVICE_HOUR", 2)
    for names in (("a.example", "b.example", "c.example"), ("a.example", "d.example")):
        batch = one_batch(*names)
        assert batch is not None
        write_batch(connection, batch)
    assert rows(connection, "SELECT name, count FROM visits ORDER BY name") == [("a.example", 2), ("b.example", 1)]
    assert rows(connection, "SELECT name FROM name ORDER BY name") == [("a.example",), ("b.example",)]
    assert rows(connection, "SELECT sum(count) FROM hours") == [(5,)]


def test_times_stay_within_their_hour(connection: sqlite3.Connection) -> None:
    """The clock may jump between a decision and its flush."""
    recorder = Recorder()
    for name, moment in (("before.example", NOW - 500), ("after.example", NOW + 5000), ("in.example", NOW + 7.9)):
        recorder.add(HOUR, "ana", parse_name(name), "block", "rule", "", 1, moment, NAMES)
    batch = recorder.take()
    assert batch is not None
    write_batch(connection, batch)
    assert rows(
        connection, "SELECT name, first_seen - hour * 3600, last_seen - hour * 3600 FROM visits ORDER BY 2"
    ) == [
        ("before.example", 0, 0),
        ("in.example", 7, 7),
        ("after.example", 3599, 3599),
    ]


def test_devices_are_forgotten_after_half_a_year_and_the_newest_stay(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_write, "MAX_KNOWN_DEVICES", 2)
    ages = {b"\x02": 0, b"\x04": 179, b"\x06": 100, b"\x08": 181}
    seen = tuple(Sighting(bytes(5) + mac, 0.0, NOW - days * 86400, (), "") for mac, days in ages.items())
    batch = Recorder().take(seen[3:])
    assert batch is not None
    write_batch(connection, batch)
    delete_old(connection, NOW, retention_days=365)
    assert rows(connection, "SELECT mac FROM sighting") == []
    write_batch(connection, batch._replace(sightings=seen[:3]))
    delete_old(connection, NOW, retention_days=1)
    assert rows(connection, "SELECT mac FROM sighting ORDER BY mac") == [("00:00:00:00:00:02",), ("00:00:00:00:00:06",)]


def test_erasing_leaves_the_others_and_no_orphans(connection: sqlite3.Connection) -> None:
    for device, names in (("ana", ("own.example", "shared.example")), ("ion", ("shared.example",))):
        batch = one_batch(*names, device=device)
        assert batch is not None
        write_batch(connection, batch)
    erase_names(connection, ["ana"])
    assert rows(connection, "SELECT device, name FROM visits") == [("ion", "shared.example")]
    assert rows(connection, "SELECT name FROM name") == [("shared.example",)]
    assert rows(connection, "SELECT device, count FROM hours ORDER BY device") == [("ana", 2), ("ion", 1)]
    erase_all(connection)
    assert all(rows(connection, f"SELECT * FROM {table}") == [] for table in ("kind", "name", "hourly", "visit"))


DAY = "2026-10-24"


def note_a_day(recorder: Recorder, days_ago: int = 0, device: str = "ana-tablet", profile: str = "ana") -> None:
    moment = NOW - days_ago * 86400
    day = datetime.fromtimestamp(moment, UTC).date().isoformat()
    recorder.note_attempt(device, None, "doh", 3, moment)
    for of in ("", "youtube", "group:video"):
        recorder.note_minutes(day, profile, of, 1.5)
    for service in ("", "youtube"):
        recorder.note_device_minutes(day, device, service, 1.5, NAMES)


def write_day(connection: sqlite3.Connection, **options: str | int) -> None:
    recorder = Recorder()
    note_a_day(recorder, **options)  # type: ignore[arg-type]
    batch = recorder.take()
    assert batch is not None
    write_batch(connection, batch)


def test_attempts_and_minutes_of_batches_add_up(connection: sqlite3.Connection) -> None:
    recorder = Recorder()
    for moment in (NOW + 50.9, NOW + 20.9, NOW + 90.9):
        recorder.note_attempt("tablet", None, "doh", 2, moment)
        recorder.note_minutes(DAY, "ana", "", 0.25)
        recorder.note_device_minutes(DAY, "tablet", "", 0.25, NAMES)
        batch = recorder.take()
        assert batch is not None
        write_batch(connection, batch)
    assert rows(connection, "SELECT * FROM attempt") == [(DAY, "tablet", "", "doh", 6, NOW + 20, NOW + 90)]
    assert rows(connection, "SELECT * FROM used") == [(DAY, "ana", "", 0.75)]
    assert rows(connection, "SELECT * FROM used_by_device") == [(DAY, "tablet", "", 0.75)]


def test_made_up_macs_do_not_fill_the_file(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_write, "ATTEMPT_ROWS_A_DAY", 3)
    recorder = Recorder()
    for flush in range(4):
        for number in range(4):
            recorder.note_attempt("", (flush * 4 + number).to_bytes(6), "dns", 1, NOW)
        recorder.note_attempt("", bytes(6), "dns", 1, NOW)
        recorder.note_attempt("tablet", None, "vpn", 1, NOW)
        batch = recorder.take()
        assert batch is not None
        write_batch(connection, batch)
    assert rows(connection, "SELECT device, mac, kind, count FROM attempt ORDER BY 1, 2") == [
        ("", "", "dns", 13),
        ("", "00:00:00:00:00:00", "dns", 5),
        ("", "00:00:00:00:00:01", "dns", 1),
        ("", "00:00:00:00:00:02", "dns", 1),
        ("tablet", "", OTHER_KIND, 4),
    ]


def test_retention_of_attempts_and_minutes(connection: sqlite3.Connection) -> None:
    """Minutes of profiles stay for a week's limit."""
    for days_ago in (0, 2, 8, 10):
        write_day(connection, days_ago=days_ago)
    delete_old(connection, NOW, retention_days=1)
    assert rows(connection, "SELECT day FROM attempt") == [(DAY,)]
    assert rows(connection, "SELECT DISTINCT day FROM used_by_device") == [(DAY,)]
    assert rows(connection, "SELECT DISTINCT day FROM used") == [("2026-10-16",), ("2026-10-22",), (DAY,)]


def test_days_of_minutes_go_when_nothing_else_is_left_and_the_newest_never(connection: sqlite3.Connection) -> None:
    batch = one_batch("a.example")
    assert batch is not None
    write_batch(connection, batch)
    for days_ago in range(3):
        write_day(connection, days_ago=days_ago)
    steps = history_write.trim(connection, 0, above=0.0, down_to=0.0)
    assert steps == 2 + 3 * 2  # names, counts, and two days of three tables
    assert rows(connection, "SELECT * FROM hourly") == []
    for table in ("attempt", "used", "used_by_device"):
        assert rows(connection, f"SELECT DISTINCT day FROM {table}") == [(DAY,)]


def test_erasing_attempts_and_minutes(connection: sqlite3.Connection) -> None:
    def left() -> tuple[int, ...]:
        tables = ("attempt", "used_by_device", "used")
        return tuple(rows(connection, f"SELECT count(*) FROM {table}")[0][0] for table in tables)

    for device, profile in (("ana-tablet", "ana"), ("ion-phone", "ion"), ("", "guests")):
        write_day(connection, device=device, profile=profile)
    assert left() == (3, 6, 9)
    erase_names(connection, ["ana-tablet"])
    assert left() == (3, 6, 9)
    erase_services(connection, ["ana-tablet"])
    assert left() == (3, 5, 9)
    assert rows(connection, "SELECT service FROM used_by_device WHERE device = 'ana-tablet'") == [("",)]
    erase_all(connection)
    assert left() == (0, 0, 0)
