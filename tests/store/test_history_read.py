"""Questions to the history, also while it is written, and when there is nothing to read."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from guardian.names import parse_name
from guardian.store.history import HistoryWriter
from guardian.store.history_read import (
    Attempt,
    BlockedCount,
    CategoryCount,
    DayCount,
    DeviceMinutes,
    DeviceTotals,
    HistoryError,
    HistoryReader,
    HourTotals,
    KindCount,
    NameCount,
    Totals,
    Tries,
    UsedMinutes,
)
from guardian.store.history_record import Recorder
from tests.store.history_home import HOUR, NAMES, NOW, Clock, broken_pages, one_batch, write


def test_reading_while_writing_sees_whole_batches(path: str) -> None:
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.drain()
    seen = []
    for flush in range(30):
        while not writer.submit(one_batch(*(f"f{flush}-{number}.example" for number in range(50)))):
            writer.drain()
        with HistoryReader(path) as reader:
            seen.append(reader.totals().blocked)
    writer.close()
    assert all(count % 50 == 0 for count in seen)
    assert seen == sorted(seen)
    with HistoryReader(path) as reader:
        assert reader.totals().blocked == 1500


def test_a_reader_cannot_write_and_tells_when_there_is_nothing(path: str, tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        HistoryReader(path)
    assert not Path(path).exists()
    write(path, one_batch("a.example"))
    with HistoryReader(path) as reader, pytest.raises(sqlite3.OperationalError):
        reader._connection.execute("DELETE FROM visit")
    other = tmp_path / "not a database?#"
    other.write_bytes(b"x" * 5000)
    with pytest.raises(HistoryError):
        HistoryReader(str(other))


def add(recorder: Recorder, hour: int, device: str, name: str, action: str, count: int) -> None:
    tag = "category:games" if action == "block" else ""
    reason = "category" if action == "block" else "default"
    recorder.add(hour, device, parse_name(name), action, reason, tag, count, hour * 3600.0 + count, NAMES)


def test_questions_of_hours_and_devices(path: str) -> None:
    recorder = Recorder()
    for hour, device, name, action, count in (
        (HOUR - 2, "ana", "a.example", "block", 64),
        (HOUR - 1, "ana", "a.example", "block", 2),
        (HOUR - 1, "ana", "b.example", "allow", 4),
        (HOUR - 1, "ion", "a.example", "rewrite", 8),
        (HOUR, "", "c.example", "block", 16),
        (HOUR, "ana", "c.example", "block", 32),
    ):
        add(recorder, hour, device, name, action, count)
    write(path, recorder.take())
    with HistoryReader(path) as reader:
        assert reader.oldest_hour() == HOUR - 2
        assert reader.totals() == Totals(12, 114)
        assert reader.totals(since=HOUR - 1) == Totals(12, 50)
        assert reader.totals(until=HOUR) == Totals(12, 66)  # `until` is not included
        assert reader.totals(HOUR - 1, HOUR, "ana") == Totals(4, 2)
        assert reader.totals(device="nobody") == Totals(0, 0)
        assert reader.by_hour() == [
            HourTotals(HOUR - 2, 0, 64),
            HourTotals(HOUR - 1, 12, 2),
            HourTotals(HOUR, 0, 48),
        ]
        assert reader.by_hour(device="ion") == [HourTotals(HOUR - 1, 8, 0)]
        assert reader.by_device() == [
            DeviceTotals("ana", 4, 98),
            DeviceTotals("", 0, 16),
            DeviceTotals("ion", 8, 0),
        ]
        assert [row.device for row in reader.by_device(until=HOUR)] == ["ana", "ion"]
        assert reader.by_category(since=HOUR - 1) == [
            CategoryCount("category:games", "block", "category", 50),
            CategoryCount("", "rewrite", "default", 8),
            CategoryCount("", "allow", "default", 4),
        ]
        blocked = [(row.device, row.name, row.queries, row.last_seen) for row in reader.top_names()]
        assert blocked == [
            ("ana", "a.example", 66, (HOUR - 1) * 3600 + 2),
            ("ana", "c.example", 32, HOUR * 3600 + 32),
            ("", "c.example", 16, HOUR * 3600 + 16),
        ]
        assert [row.queries for row in reader.top_names(since=HOUR - 1, until=HOUR, device="ana")] == [2]
        assert [row.name for row in reader.top_names("allow")] == ["b.example"]
        assert len(reader.top_names(limit=2)) == 2
        assert [row.queries for row in reader.last_tries(until=HOUR)] == [2, 64]


def test_a_history_of_nothing(path: str) -> None:
    write(path)
    with HistoryReader(path) as reader:
        assert reader.oldest_hour() is None
        assert reader.totals() == Totals(0, 0)
        asked = (reader.by_hour, reader.by_device, reader.by_category, reader.top_names, reader.last_tries)
        more = (reader.mandatory_days, reader.known_devices, reader.attempts, reader.used_minutes)
        assert [list(ask()) for ask in (*asked, *more)] == [[]] * 9
        assert reader.device_minutes("2026-10-24") == []


def test_mandatory_days_since_a_day(path: str) -> None:
    recorder = Recorder()
    for day in (2, 0, 1):
        recorder.add(HOUR, "ana", None, "block", "mandatory", "", day + 1, NOW + day * 86400, NAMES)
    write(path, recorder.take())
    with HistoryReader(path) as reader:
        assert reader.mandatory_days("2026-10-25") == [DayCount("2026-10-25", 2), DayCount("2026-10-26", 3)]


def test_a_history_that_breaks_while_it_is_read_is_told_with_its_path(path: str) -> None:
    write(path, one_batch("a.example"))
    with HistoryReader(path) as reader:
        broken_pages(Path(path))
        with pytest.raises(HistoryError, match=re.escape(path)):
            reader.top_names()
        reader.close()  # twice, with the one of the context


def test_attempts_of_some_hours(path: str) -> None:
    recorder = Recorder()
    mac = bytes.fromhex("06aabbccddee")
    for device, kind, moment in (("ana", "doh", NOW - 7200), ("ana", "doh", NOW), ("", "unknown-device", NOW + 5)):
        recorder.note_attempt(device, mac, kind, 2, moment)
    write(path, recorder.take())
    doh = Attempt("2026-10-23", "ana", "", "doh", 2, int(NOW) - 7200, int(NOW) - 7200)
    doh_today = Attempt("2026-10-24", "ana", "", "doh", 2, int(NOW), int(NOW))
    unknown = Attempt("2026-10-24", "", "06:aa:bb:cc:dd:ee", "unknown-device", 2, int(NOW) + 5, int(NOW) + 5)
    with HistoryReader(path) as reader:
        assert reader.attempts() == [unknown, doh_today, doh]
        assert reader.attempts(since=HOUR) == [unknown, doh_today]
        assert reader.attempts(until=HOUR) == [doh]  # `until` is not included
        assert reader.attempts(device="ana") == [doh_today, doh]
        assert reader.attempts(device="") == [unknown]


def test_minutes_come_back_after_a_restart(path: str) -> None:
    for day, minutes in (("2026-10-23", 60.0), ("2026-10-24", 0.25), ("2026-10-24", 0.5)):
        recorder = Recorder()
        recorder.note_minutes(day, "ana", "group:video", minutes)
        recorder.note_minutes(day, "ana", "", minutes)
        recorder.note_device_minutes(day, "tablet", "youtube", minutes, NAMES)
        recorder.note_device_minutes(day, "tablet", "", minutes, NAMES)
        write(path, recorder.take())
    with HistoryReader(path) as reader:
        assert reader.used_minutes("2026-10-24") == [
            UsedMinutes("2026-10-24", "ana", "", 0.75),
            UsedMinutes("2026-10-24", "ana", "group:video", 0.75),
        ]
        assert [row.minutes for row in reader.used_minutes()] == [60.0, 60.0, 0.75, 0.75]
        assert reader.device_minutes("2026-10-24") == [
            DeviceMinutes("2026-10-24", "tablet", "", 0.75),
            DeviceMinutes("2026-10-24", "tablet", "youtube", 0.75),
        ]


def test_the_tries_of_several_devices_add_up(path: str) -> None:
    recorder = Recorder()
    for hour, device, name, action, count in (
        (HOUR - 2, "tablet", "a.example", "block", 1),
        (HOUR - 1, "tablet", "a.example", "block", 2),
        (HOUR - 1, "phone", "b.example", "allow", 4),
        (HOUR - 1, "phone", "b.example", "rewrite", 8),
        (HOUR, "phone", "a.example", "block", 16),
        (HOUR, "else", "a.example", "block", 32),
        (HOUR, "", "a.example", "block", 64),
    ):
        add(recorder, hour, device, name, action, count)
    write(path, recorder.take())
    with HistoryReader(path) as reader:
        mine = reader.tries(["tablet", "phone"])
        assert mine == Tries(
            [HourTotals(HOUR - 2, 0, 1), HourTotals(HOUR - 1, 12, 2), HourTotals(HOUR, 0, 16)],
            [
                KindCount("block", "category", "category:games", 19),
                KindCount("rewrite", "default", "", 8),
                KindCount("allow", "default", "", 4),
            ],
        )
        assert reader.tries(["tablet"], HOUR - 1, HOUR).hours == [HourTotals(HOUR - 1, 0, 2)]
        assert reader.tries([]) == reader.tries(["nobody"]) == Tries([], [])
        assert reader.tries(['") OR 1=1 --', "tablet"]).hours == reader.tries(["tablet"]).hours
        for device in ("tablet", "phone", "else"):  # the same as the older questions say
            assert reader.tries([device]).hours == reader.by_hour(device=device)


def test_blocked_names_of_several_devices(path: str) -> None:
    recorder = Recorder()
    for hour, device, name, action, count in (
        (HOUR - 1, "tablet", "a.example", "block", 2),
        (HOUR, "tablet", "a.example", "block", 3),
        (HOUR, "phone", "a.example", "block", 4),
        (HOUR, "phone", "c.example", "allow", 64),
        (HOUR, "else", "d.example", "block", 64),
    ):
        add(recorder, hour, device, name, action, count)
    write(path, recorder.take())
    with HistoryReader(path) as reader:
        assert reader.blocked_names(["tablet", "phone"]) == [
            NameCount("tablet", "a.example", "category", "category:games", 5, HOUR * 3600 + 3),
            NameCount("phone", "a.example", "category", "category:games", 4, HOUR * 3600 + 4),
        ]
        assert [found.queries for found in reader.blocked_names(["tablet", "phone"], since=HOUR)] == [4, 3]
        assert len(reader.blocked_names(["tablet", "phone"], limit=1)) == 1
        assert reader.blocked_names([]) == []


def test_what_stopped_a_device_by_tag(path: str) -> None:
    recorder = Recorder()
    for hour, device, count in ((HOUR - 3, "tablet", 5), (HOUR, "tablet", 16), (HOUR, "phone", 20), (HOUR, "else", 19)):
        add(recorder, hour, device, "a.example", "block", count)
    add(recorder, HOUR, "phone", "b.example", "allow", 64)
    recorder.add(HOUR, "phone", None, "block", "bypass", "bypass:vpn", 3, NOW, NAMES)
    write(path, recorder.take())
    games = "category:games"
    with HistoryReader(path) as reader:
        assert reader.blocked_by_tag(["category"], least=20) == [
            BlockedCount("tablet", "category", games, 21, HOUR - 3, HOUR),
            BlockedCount("phone", "category", games, 20, HOUR, HOUR),
        ]
        assert reader.blocked_by_tag(["bypass"]) == [BlockedCount("phone", "bypass", "bypass:vpn", 3, HOUR, HOUR)]
        assert len(reader.blocked_by_tag(["bypass", "category"])) == 4
        assert reader.blocked_by_tag(["category"], since=HOUR, least=20)[0].device == "phone"


def test_minutes_of_one_profile(path: str) -> None:
    recorder = Recorder()
    for day, profile, of, minutes in (
        ("2026-10-20", "ana", "", 5.0), ("2026-10-23", "ana", "", 7.5), ("2026-10-23", "ana", "youtube", 2.5),
        ("2026-10-23", "ion", "", 9.0),
    ):  # fmt: skip
        recorder.note_minutes(day, profile, of, minutes)
    write(path, recorder.take())
    with HistoryReader(path) as reader:
        assert reader.profile_minutes("ana", "2026-10-21") == [
            UsedMinutes("2026-10-23", "ana", "", 7.5), UsedMinutes("2026-10-23", "ana", "youtube", 2.5),
        ]  # fmt: skip
        assert len(reader.profile_minutes("ana")) == 3
        assert reader.profile_minutes("nobody") == []
