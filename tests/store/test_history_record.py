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
from guardian.store.history_record import (
    ATTEMPTS_PER_BATCH,
    DEVICE_MINUTES_PER_BATCH,
    MAX_KINDS,
    NAMES_PER_BATCH,
    NAMES_PER_DEVICE,
    OTHER_KIND,
    AttemptKey,
    Attempts,
    Batch,
    Kind,
    Recorder,
    Visits,
)
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
    assert batch == Batch({(HOUR, kind): 3}, {(HOUR, kind, X): Visits(2, NOW + 2, NOW + 5)}, {}, (), 1, {}, {}, {})
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
    assert recorder.take(seen) == Batch({}, {}, {}, seen, 0, {}, {}, {})


MAC = bytes.fromhex("06aabbccddee")


def test_attempts_of_a_day_are_one_row_each() -> None:
    recorder = Recorder(ZoneInfo("Europe/Chisinau"))
    late = datetime(2026, 12, 31, 21, 59, tzinfo=UTC).timestamp()
    for device, mac, kind, moment in (
        ("tablet", None, "doh", late),
        ("tablet", MAC, "doh", late - 50),  # the MAC of a named device is nobody's business
        ("tablet", MAC, "vpn", late),
        ("", MAC, "unknown-device", late),
        ("", None, "doh", late),
        ("tablet", None, "doh", late + 60),  # the next day in Chisinau
    ):
        recorder.note_attempt(device, mac, kind, 2, moment)
    batch = recorder.take()
    assert batch is not None
    assert batch.attempts == {
        AttemptKey("2026-12-31", "tablet", "", "doh"): Attempts(4, late - 50, late),
        AttemptKey("2026-12-31", "tablet", "", "vpn"): Attempts(2, late, late),
        AttemptKey("2026-12-31", "", "06:aa:bb:cc:dd:ee", "unknown-device"): Attempts(2, late, late),
        AttemptKey("2026-12-31", "", "", "doh"): Attempts(2, late, late),
        AttemptKey("2027-01-01", "tablet", "", "doh"): Attempts(2, late + 60, late + 60),
    }
    assert batch.queries == 0
    assert recorder.take() is None


@pytest.mark.parametrize("kind", ["", "Doh", "a b", "-doh", "x" * 33, "casino.example", "дох", "doh\n"])
def test_a_kind_is_one_short_word_and_never_a_site(kind: str) -> None:
    recorder = Recorder()
    recorder.note_attempt("tablet", None, kind, 1, NOW)
    recorder.note_attempt("tablet", None, "x" * 32, 1, NOW)
    batch = recorder.take()
    assert batch is not None
    assert [key.kind for key in batch.attempts] == [OTHER_KIND, "x" * 32]


def test_kinds_are_bounded_over_all_batches() -> None:
    recorder = Recorder()
    kinds = set()
    for number in range(MAX_KINDS * 2):
        recorder.note_attempt("tablet", None, f"k{number}", 1, NOW)
        recorder.note_attempt("tablet", None, "k0", 1, NOW)
        batch = recorder.take()
        assert batch is not None
        kinds |= {key.kind for key in batch.attempts}
    assert kinds == {f"k{number}" for number in range(MAX_KINDS)} | {OTHER_KIND}


def test_made_up_macs_fill_no_memory_and_hide_no_named_device() -> None:
    recorder = Recorder()
    for number in range(10_000):
        recorder.note_attempt("", number.to_bytes(6), "doh", 1, NOW + number)
    recorder.note_attempt("tablet", None, "vpn", 1, NOW)
    recorder.note_attempt("", bytes(6), "doh", 1, NOW)
    batch = recorder.take()
    assert batch is not None
    assert len(batch.attempts) == ATTEMPTS_PER_BATCH + 2
    day = "2026-10-24"
    assert batch.attempts[AttemptKey(day, "", "", "doh")].times == 10_000 - ATTEMPTS_PER_BATCH
    assert batch.attempts[AttemptKey(day, "tablet", "", OTHER_KIND)].times == 1
    assert batch.attempts[AttemptKey(day, "", "00:00:00:00:00:00", "doh")].times == 2


def test_a_mirror_is_told_the_same_and_drops_the_same() -> None:
    recorder = Recorder()
    recorder.mirror = Recorder()
    for visibility in Visibility:
        for reason, tag in (("category", "category:games"), ("helpline", "helpline"), ("mandatory", "mandatory:x")):
            recorder.add(HOUR, visibility.value, X, "block", reason, tag, 2, NOW, visibility)
    recorder.add(HOUR, "late", None, "block", "category", "category:games", 2, NOW, Visibility.NAMES)
    recorder.add_name(HOUR, "late", X, "block", "category", "category:games", 2, NOW)
    recorder.note_attempt("late", None, "vpn", 3, NOW)
    mirrored, kept = recorder.mirror.take(), recorder.take()
    assert mirrored == kept and kept is not None and kept.queries == 14
    recorder.note_minutes("2026-10-24", "ana", "", 1.0)  # nothing that is told live
    assert recorder.mirror.take() is None


def test_minutes_add_up_and_each_visibility_keeps_what_it_may() -> None:
    recorder = Recorder()
    day = "2026-10-24"
    for visibility in Visibility:
        recorder.note_device_minutes(day, visibility.value, "youtube", 0.25, visibility)
        recorder.note_device_minutes(day, visibility.value, "", 0.25, visibility)
        recorder.note_device_minutes(day, visibility.value, "", 0.5, visibility)
    for minutes in (0.25, 0.25, 0.0, -1.0, float("nan"), float("inf")):
        recorder.note_minutes(day, "ana", "group:video", minutes)
        recorder.note_device_minutes(day, "odd", "", minutes - 0.25, Visibility.NAMES)
    batch = recorder.take()
    assert batch is not None
    assert batch.minutes == {(day, "ana", "group:video"): 0.5}
    assert batch.device_minutes == {
        (day, "names", "youtube"): 0.25,
        (day, "names", ""): 0.75,
        (day, "categories", "youtube"): 0.25,
        (day, "categories", ""): 0.75,
        (day, "counts", ""): 0.75,
    }


def test_services_of_devices_are_bounded_and_totals_always_have_room() -> None:
    recorder = Recorder()
    for number in range(DEVICE_MINUTES_PER_BATCH + 10):
        recorder.note_device_minutes("2026-10-24", "tablet", f"s{number}", 1.0, Visibility.NAMES)
    recorder.note_device_minutes("2026-10-24", "tablet", "", 1.0, Visibility.NAMES)
    batch = recorder.take()
    assert batch is not None
    assert len(batch.device_minutes) == DEVICE_MINUTES_PER_BATCH + 1
    assert batch.device_minutes["2026-10-24", "tablet", ""] == 1.0
