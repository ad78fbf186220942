"""What the gateway remembers over a restart, and what it forgets when parents look at less."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardian.config import HistoryConfig
from guardian.devices import Sighting
from guardian.errors import GuardianError
from guardian.gateway.memory import DAYS_OF_USE, Memory, visibility_by_device
from guardian.leases import LeaseFiles
from guardian.names import parse_name
from guardian.policy.model import Device, Household, Profile, Visibility
from guardian.store.history_read import HistoryReader
from guardian.store.history_record import HELPLINE_BLOCKED
from tests.store.history_home import all_bytes

MAC, OTHER_MAC = bytes.fromhex("02005e770010"), bytes.fromhex("02005e770020")
ADDRESS = bytes([10, 77, 0, 10])
NAME = "secret.example"


def home(visibility: Visibility = Visibility.NAMES, newcomers: Visibility = Visibility.COUNTS) -> Household:
    profiles = (Profile("ana", "Ana", visibility=visibility), Profile("guests", "Guests", visibility=newcomers))
    return Household("UTC", UTC, profiles, (Device("tablet", "Tablet", "ana"),), "guests")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "history.db")


@pytest.fixture
def memory(path: str) -> Iterator[Memory]:
    memory = Memory(HistoryConfig(path, flush_seconds=1000.0), home())
    memory.writer.start()
    yield memory
    memory.writer.close()


def note(memory: Memory, device: str = "tablet") -> None:
    hour = int(time.time()) // 3600
    memory.recorder.add(hour, device, parse_name(NAME), "block", "rule", "", 1, time.time(), Visibility.NAMES)


def day(days_ago: int = 0) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days_ago)).isoformat()


def test_devices_and_minutes_come_back_after_a_restart(path: str, memory: Memory) -> None:
    assert memory.known.see(MAC, ADDRESS, "tablet", time.time())
    memory.recorder.note_minutes(day(), "ana", "", 12.5)
    memory.recorder.note_minutes(day(1), "ana", "group:video", 3.0)
    memory.recorder.note_minutes(day(DAYS_OF_USE + 1), "ana", "", 99.0)
    memory.flush()
    memory.writer.close()
    after = Memory(HistoryConfig(path), home())
    used = asyncio.run(after.recall(home()))
    assert sorted(used) == sorted([(day(), "ana", "", 12.5), (day(1), "ana", "group:video", 3.0)])
    assert not after.known.see(MAC, ADDRESS, "", time.time()) and after.known.see(OTHER_MAC, ADDRESS, "", time.time())
    after.writer.close()


def test_a_history_that_cannot_be_read_is_told_and_nothing_is_known(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(path).mkdir()  # where the file should be
    memory = Memory(HistoryConfig(path), home())
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(memory.recall(home())) == []
    assert "event=devices-forgotten" in caplog.text
    assert memory.known.see(MAC, ADDRESS, "", time.time())
    memory.writer.close()


@pytest.mark.parametrize(
    ("after", "stays"), [(Visibility.NAMES, True), (Visibility.CATEGORIES, False), (Visibility.COUNTS, False)]
)
def test_names_go_when_parents_look_at_less(path: str, memory: Memory, after: Visibility, stays: bool) -> None:
    note(memory)
    memory.flush()
    memory.forget_narrowed(home(), home(after))
    memory.writer.drain()
    with HistoryReader(path) as history:
        assert [count.name for count in history.top_names()] == ([NAME] if stays else [])
        assert history.totals().blocked == 1
    memory.writer.close()
    assert (parse_name(NAME) in all_bytes(Path(path).parent) or NAME.encode() in all_bytes(Path(path).parent)) == stays


def test_names_go_when_parents_changed_their_mind_while_the_gateway_was_down(path: str, memory: Memory) -> None:
    note(memory)
    memory.flush()
    memory.writer.close()
    after = Memory(HistoryConfig(path), home(Visibility.CATEGORIES))
    asyncio.run(after.recall(home(Visibility.CATEGORIES)))
    after.writer.drain()
    with HistoryReader(path) as history:
        assert history.top_names() == []
    after.writer.close()


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "restarted"])
def test_services_go_when_parents_see_counts_only(path: str, memory: Memory, is_running: bool) -> None:
    memory.recorder.note_device_minutes(day(), "tablet", "youtube", 5.0, Visibility.NAMES)
    memory.recorder.note_device_minutes(day(), "tablet", "", 7.0, Visibility.NAMES)
    memory.flush()
    memory.forget_narrowed(home(), home(Visibility.CATEGORIES))
    memory.writer.drain()
    with HistoryReader(path) as history:
        assert {row.service for row in history.device_minutes(day())} == {"", "youtube"}
    if is_running:
        memory.forget_narrowed(home(Visibility.CATEGORIES), home(Visibility.COUNTS))
        memory.writer.drain()
    else:
        memory.writer.close()
        memory = Memory(HistoryConfig(path), home(Visibility.COUNTS))
        asyncio.run(memory.recall(home(Visibility.COUNTS)))
        memory.writer.drain()
        memory.writer.close()
    with HistoryReader(path) as history:
        assert [(row.service, row.minutes) for row in history.device_minutes(day())] == [("", 7.0)]


def test_names_of_unnamed_devices_go_with_their_profile(path: str, memory: Memory) -> None:
    note(memory, device="")
    memory.flush()
    memory.forget_narrowed(home(newcomers=Visibility.NAMES), home())
    memory.writer.drain()
    with HistoryReader(path) as history:
        assert history.top_names() == []


def test_sightings_are_noted_now_and_then(tmp_path: Path, memory: Memory) -> None:
    leases = tmp_path / "leases"
    leases.write_text("0 02:00:5e:77:00:10 10.77.0.10 Tablet *\n")
    memory.note_sightings([(MAC, ADDRESS, 1000.0), (OTHER_MAC, b"", 1001.0)], LeaseFiles((str(leases),)))
    assert sorted(memory.known.take_changes()) == [
        Sighting(MAC, 1000.0, 1000.0, (ADDRESS,), "tablet"),
        Sighting(OTHER_MAC, 1001.0, 1001.0, (), ""),
    ]
    assert memory.known.take_changes() == ()


def attempts(path: str) -> list[tuple[str, str, str, int, int, int]]:
    with HistoryReader(path) as history:
        return [(row.device, row.mac, row.kind, row.times, row.first, row.last) for row in history.attempts()]


def test_a_lost_helpline_is_noted_once_a_day_of_nobody_and_without_its_hour(path: str, memory: Memory) -> None:
    began = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC).timestamp()
    for second in (1.0, 40_000.0, 86_399.0):
        memory.note_lost_helpline(began + second)
    memory.note_lost_helpline(began - 5.0)  # the day before
    memory.flush()
    memory.writer.drain()
    today, yesterday = int(began), int(began) - 86400
    assert attempts(path) == [
        ("", "", HELPLINE_BLOCKED, 1, today, today),
        ("", "", HELPLINE_BLOCKED, 1, yesterday, yesterday),
    ]


def test_erasing_leaves_nothing_in_memory_in_the_file_or_in_its_copy(tmp_path: Path, path: str) -> None:
    copy = str(tmp_path / "copy.db")
    memory = Memory(HistoryConfig(path, copy, flush_seconds=1000.0), home())
    memory.writer.start()
    note(memory)
    memory.known.see(MAC, ADDRESS, "tablet", time.time())
    memory.flush()
    memory.writer.drain()
    note(memory)  # gathered, not yet written
    memory.known.see(OTHER_MAC, ADDRESS, "phone", time.time())
    asyncio.run(memory.erase())
    assert len(memory.known) == 0 and memory.recorder.take() is None
    data = all_bytes(tmp_path)
    for secret in (NAME.encode(), MAC.hex(":").encode(), b"tablet", b"phone"):
        assert secret not in data
    note(memory)  # and it goes on
    memory.flush()
    memory.writer.close()
    with HistoryReader(copy) as history:
        assert history.totals().blocked == 1 and history.known_devices() == ()


def test_erasing_that_fails_is_told(path: str) -> None:
    Path(path).mkdir()
    memory = Memory(HistoryConfig(path), home())
    memory.writer.start()
    with pytest.raises(GuardianError, match="cannot be erased"):
        asyncio.run(memory.erase())
    memory.writer.close()


def test_a_batch_is_due_after_its_seconds(path: str) -> None:
    assert not Memory(HistoryConfig(path, flush_seconds=1000.0), home()).is_due()
    assert Memory(HistoryConfig(path, flush_seconds=0.0), home()).is_due()


def test_a_batch_that_is_lost_is_told(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """The writer was never started, so that nobody takes the batches out of its queue."""
    memory = Memory(HistoryConfig(path), home())
    for _ in range(1000):
        note(memory)
        memory.flush()
        if caplog.text:
            break
    assert "event=history-batch-lost" in caplog.text


def test_what_parents_see_of_each_device() -> None:
    lost = Device("lost", "Lost", "no such profile")
    household = Household("UTC", UTC, home().profiles, (*home().devices, lost), "guests")
    assert visibility_by_device(household) == {
        "tablet": Visibility.NAMES,
        "lost": Visibility.COUNTS,
        "": Visibility.COUNTS,
    }


def test_remembering_keeps_what_was_seen_meanwhile(path: str, memory: Memory) -> None:
    """Devices ask while the history is still being read."""
    now = float(int(time.time()))
    memory.known.see(MAC, ADDRESS, "", now - 1000.0)
    memory.flush()
    memory.writer.close()
    after = Memory(HistoryConfig(path), home())
    after.known.see(MAC, ADDRESS, "", now)
    asyncio.run(after.recall(home()))
    (sighting,) = after.known.take_changes()
    assert sighting == Sighting(MAC, now - 1000.0, now, (ADDRESS,), "")
    after.writer.close()
