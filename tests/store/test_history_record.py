"""What may be kept of a decision, and the bounds of what is gathered between two flushes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from guardian.devices import Sighting
from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_read import CategoryCount, DayCount, HistoryReader, Totals
from guardian.store.history_record import NAMES_PER_BATCH, NAMES_PER_DEVICE, Batch, Kind, Recorder, Visits
from tests.store.history_home import HOUR, NAMES, NOW, Clock, all_bytes, block, write

X = parse_name("x.example")


@pytest.mark.parametrize("visibility", list(Visibility))
def test_each_visibility_keeps_what_it_may_and_no_more(path: str, tmp_path: Path, visibility: Visibility) -> None:
    recorder = Recorder()
    block(recorder, "tablet", "casino.example", visibility)
    recorder.add(
        HOUR, "tablet", parse_name("own.example"), "block", "rule", "rule:block own.example", 2, NOW, visibility
    )
    recorder.add(HOUR, "tablet", parse_name("fine.example"), "rewrite", "safe-search", "", 3, NOW, visibility)
    writer = HistoryWriter(path, str(tmp_path / "flash" / "history.db"), clock=Clock())
    writer.start()
    writer.submit(recorder.take())
    writer.drain()
    with HistoryReader(path) as reader:
        assert reader.totals() == Totals(3, 3)
        shown = reader.by_category()
        names = {row.name for row in reader.top_names()} | {row.name for row in reader.last_tries()}
    kept = all_bytes(tmp_path)  # with the log
    writer.close()
    kept += all_bytes(tmp_path)  # with the snapshot
    if visibility is Visibility.NAMES:
        assert names == {"casino.example", "own.example"}
        assert b"casino.example" in kept
    else:
        assert names == set()
        assert not re.search(rb"casino|own\.|fine", kept)
    if visibility is Visibility.COUNTS:
        assert shown == [CategoryCount("", "allow", "", 3), CategoryCount("", "block", "", 3)]
        assert b"gambling" not in kept
    else:
        assert CategoryCount("category:gambling", "block", "category", 1) in shown
        assert CategoryCount("", "block", "rule", 2) in shown


def test_helplines_leave_no_trace_and_mandatory_hits_only_a_number(path: str, tmp_path: Path) -> None:
    recorder = Recorder()
    for visibility in Visibility:
        recorder.add(HOUR, "tablet", parse_name("help.example"), "allow", "helpline", "helpline", 1, NOW, visibility)
        recorder.add(HOUR, "tablet", parse_name("help.example"), "allow", "default", "helpline", 1, NOW, visibility)
    assert recorder.take() is None
    for visibility in Visibility:
        recorder.add(
            HOUR, "tablet", parse_name("evil.example"), "block", "mandatory", "mandatory:x", 2, NOW, visibility
        )
    write(path, recorder.take(), snapshot_path=str(tmp_path / "snapshot.db"))
    with HistoryReader(path) as reader:
        assert reader.mandatory_days() == [DayCount("2026-10-24", 6)]
        assert reader.totals() == Totals(0, 0)
        assert reader.by_device() == []
    assert not re.search(rb"evil|help\.example|helpline|tablet|mandatory:", all_bytes(tmp_path))


def test_a_batch_is_bounded_over_all_devices() -> None:
    recorder = Recorder()
    for number in range(NAMES_PER_BATCH + 10):
        block(recorder, f"d{number % 50}", f"n{number}.example")
    batch = recorder.take()
    assert batch is not None
    assert len(batch.names) == NAMES_PER_BATCH
    assert batch.queries == NAMES_PER_BATCH + 10


@pytest.mark.parametrize(
    ("tag", "kept"),
    [
        ("category:gambling", "category:gambling"),
        ("service:tiktok", "service:tiktok"),
        ("bypass:doh", "bypass:doh"),
        ("allowed:kids", "allowed:kids"),
        ("rule:block own.example", ""),
        ("safe-search:www.example", ""),
        ("own.example", ""),
        ("category:" + "x" * 71, "category:" + "x" * 71),
        ("category:" + "x" * 72, ""),  # whoever names lists does not decide how much is stored
    ],
)
def test_a_tag_is_kept_when_it_names_a_kind_of_sites(tag: str, kept: str) -> None:
    recorder = Recorder()
    recorder.add(HOUR, "ana", None, "block", "category", tag, 1, NOW, NAMES)
    recorder.add_name(HOUR, "ana", X, "block", "category", tag, 1, NOW)
    batch = recorder.take()
    assert batch is not None
    assert [kind.tag for _, kind in batch.counts] == [kind.tag for _, kind, _ in batch.names] == [kept]


def test_a_mandatory_hit_falls_on_the_homes_own_day() -> None:
    recorder = Recorder()
    late = datetime(2026, 12, 31, 22, 30, tzinfo=UTC).timestamp()
    for zone in ("UTC", "Europe/Chisinau", "America/New_York"):
        recorder.timezone = ZoneInfo(zone)
        recorder.add(HOUR, "ana", X, "block", "mandatory", "mandatory:x", 1, late, NAMES)
    batch = recorder.take()
    assert batch is not None and batch.mandatory == {"2026-12-31": 2, "2027-01-01": 1}


def test_a_name_may_come_after_its_count() -> None:
    recorder = Recorder()
    recorder.add(HOUR, "ana", None, "block", "rule", "", 3, NOW, NAMES)
    for moment in (NOW + 5, NOW + 2):
        recorder.add_name(HOUR, "ana", X, "block", "rule", "", 1, moment)
    recorder.add_name(HOUR, "ana", X, "allow", "helpline", "helpline", 1, NOW)
    recorder.add_name(HOUR, "ana", X, "block", "mandatory", "mandatory:x", 1, NOW)
    recorder.skip_names(1)
    batch = recorder.take()
    kind = Kind("ana", "block", "rule", "")
    assert batch == Batch({(HOUR, kind): 3}, {(HOUR, kind, X): Visits(2, NOW + 2, NOW + 5)}, {}, (), 1)
    assert batch.queries == 3


def test_room_is_per_device_and_new_after_each_take() -> None:
    recorder = Recorder()
    for number in range(NAMES_PER_DEVICE):
        assert recorder.has_room("flood")
        block(recorder, "flood", f"n{number}.example")
    assert not recorder.has_room("flood") and recorder.has_room("ana")
    block(recorder, "flood", "n0.example")  # known already: it needs no room
    for number in range(NAMES_PER_BATCH - NAMES_PER_DEVICE):
        block(recorder, f"d{number % 50}", f"n{number}.example")
    assert not recorder.has_room("ana")
    batch = recorder.take()
    assert batch is not None and batch.unnamed == 0
    assert recorder.take() is None
    assert recorder.has_room("flood")
    seen = (Sighting(bytes(6), NOW, NOW, (), ""),)
    assert recorder.take(seen) == Batch({}, {}, {}, seen, 0)
