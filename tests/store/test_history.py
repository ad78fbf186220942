"""The history: what each visibility keeps, counts against a dict, bounds, and what happens when files go wrong."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.devices import Sighting
from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store import history_file
from guardian.store.history import HistoryWriter
from guardian.store.history_read import CategoryCount, DayCount, HistoryError, HistoryReader, Totals
from guardian.store.history_record import NAMES_PER_BATCH, NAMES_PER_DEVICE, Batch, Recorder
from guardian.store.history_write import NAMES_PER_DEVICE_HOUR

HOUR = 498_000  # 2026-10-24
NOW = HOUR * 3600.0
NAMES = Visibility.NAMES


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "history.db")


def block(recorder: Recorder, device: str, name: str, visibility: Visibility = NAMES, hour: int = HOUR) -> None:
    recorder.add(hour, device, parse_name(name), "block", "category", "category:gambling", 1, hour * 3600.0, visibility)


def one_batch(*names: str, device: str = "ana", hour: int = HOUR) -> Batch | None:
    recorder = Recorder()
    for name in names:
        block(recorder, device, name, hour=hour)
    return recorder.take()


def write(path: str, *batches: Batch | None, **options: object) -> None:
    writer = HistoryWriter(path, clock=Clock(), **options)  # type: ignore[arg-type]
    writer.start()
    for batch in batches:
        assert writer.submit(batch)
        writer.drain()
    status = writer.status()
    writer.close()
    assert status.error == ""


def all_bytes(directory: str | Path) -> bytes:
    """Everything that stands in the directory: databases, logs, snapshots."""
    return b"".join(file.read_bytes() for file in Path(directory).rglob("*") if file.is_file())


# What is kept


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


# Bounds


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


def test_a_batch_is_bounded_over_all_devices() -> None:
    recorder = Recorder()
    for number in range(NAMES_PER_BATCH + 10):
        block(recorder, f"d{number % 50}", f"n{number}.example")
    batch = recorder.take()
    assert batch is not None
    assert len(batch.names) == NAMES_PER_BATCH
    assert batch.queries == NAMES_PER_BATCH + 10


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


# Erasing


def test_erased_names_and_devices_are_in_no_byte_of_any_file(path: str, tmp_path: Path) -> None:
    writer = HistoryWriter(path, str(tmp_path / "snapshot.db"), clock=Clock())
    writer.start()
    (tmp_path / "history.db.corrupt").write_text("secret1.example")
    writer.submit(one_batch("secret1.example", "shared.example", device="anas-tablet"))
    writer.submit(one_batch("secret2.example", device="ions-phone"))
    writer.submit(one_batch("shared.example", device="moms-laptop"))
    writer.erase_names(["anas-tablet"]).result(10)
    kept = all_bytes(tmp_path)
    assert b"secret1" not in kept
    assert b"anas-tablet" in kept  # the counts stay
    writer.erase_devices(["anas-tablet", "ions-phone", "nobody"]).result(10)
    kept = all_bytes(tmp_path)
    assert not re.search(rb"secret2|anas-tablet|ions-phone", kept)
    assert b"shared.example" in kept
    with HistoryReader(path) as reader:
        assert [row.device for row in reader.by_device()] == ["moms-laptop"]
    writer.submit(Recorder().take((Sighting(bytes(5) + b"\x02", NOW, NOW, (), "hostname-of-ana"),)))
    writer.erase_all().result(10)
    assert not re.search(rb"shared|moms-laptop|hostname-of-ana", all_bytes(tmp_path))
    writer.close()
    assert not re.search(rb"shared|moms-laptop|hostname-of-ana", all_bytes(tmp_path))


def test_a_reader_in_the_way_delays_the_scrubbing_but_not_for_good(path: str, tmp_path: Path) -> None:
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.drain()
    assert writer._connection is not None
    writer._connection.execute("PRAGMA busy_timeout = 10")
    writer.submit(one_batch("secret.example"))
    writer.drain()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM visits").fetchone() == (1,)
    writer.erase_all().result(10)
    assert reader.execute("SELECT count(*) FROM visits").fetchone() == (1,)  # its own moment still
    reader.close()
    writer.submit(one_batch("later.example"))
    writer.drain()
    kept = all_bytes(tmp_path)
    writer.close()
    assert b"secret" not in kept
    assert b"later" in kept


# Files that go wrong


WRITE_FOREVER = """
import sys
from guardian.store.history import HistoryWriter
from guardian.store.history_record import Recorder
from guardian.names import parse_name
from guardian.policy.model import Visibility
writer = HistoryWriter(sys.argv[1], clock=lambda: 498000 * 3600.0)
writer.start()
recorder = Recorder()
for flush in range(1_000_000):
    for number in range(200):
        name = parse_name(f"f{flush}-{number}.example")
        recorder.add(498000, f"d{flush}", name, "block", "rule", "", 1, 498000 * 3600.0, Visibility.NAMES)
    writer.submit(recorder.take())
    writer.drain()
    print(flush + 1, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 20])
def test_kill_9_loses_at_most_the_batch_in_flight(path: str, acknowledged: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, path], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        seen = 0
        while seen < acknowledged:
            seen = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = [seen, *map(int, process.stdout.read().split())][-1]
    write(path)  # the next start
    with HistoryReader(path) as reader:
        blocked = reader.totals().blocked
        assert blocked % 200 == 0
        assert blocked // 200 in (last, last + 1)
        assert len(reader.last_tries(limit=10**6)) == blocked


def test_the_snapshot_brings_a_lost_ram_disk_back(path: str, tmp_path: Path) -> None:
    snapshot = str(tmp_path / "flash" / "history.db")
    write(path, one_batch("kept.example"), snapshot_path=snapshot)
    assert not Path(snapshot + ".new").exists()
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.submit(one_batch("lost.example"))
    writer.drain()
    log_left_behind = Path(path + "-wal").read_bytes()
    assert b"lost.example" in log_left_behind
    writer.close()
    history_file.remove_database(path)
    Path(path + "-wal").write_bytes(log_left_behind)
    write(path, one_batch("new.example"), snapshot_path=snapshot)
    with HistoryReader(path) as reader:
        assert {row.name for row in reader.last_tries()} == {"kept.example", "new.example"}
    assert os.stat(path).st_mode & 0o777 == history_file.FILE_MODE
    assert os.stat(snapshot).st_mode & 0o777 == history_file.FILE_MODE


def test_a_snapshot_is_taken_every_hour_and_only_when_something_changed(path: str, tmp_path: Path) -> None:
    clock = Clock()
    writer = HistoryWriter(path, str(tmp_path / "snapshot.db"), clock=clock)
    writer.start()
    writer.submit(one_batch("a.example"))
    writer.drain()
    assert writer.status().snapshot_at == 0
    clock.now += 3600
    writer.submit(one_batch("b.example"))
    writer.drain()
    writer.erase_names([]).result(10)  # behind the upkeep in the thread
    at = writer.status().snapshot_at
    assert at == clock.now
    inode = os.stat(tmp_path / "snapshot.db").st_ino
    clock.now += 1
    writer.close()
    assert os.stat(tmp_path / "snapshot.db").st_ino == inode


def broken_header(file: Path) -> None:
    file.write_bytes(b"<html>404</html>" * 500)


def broken_pages(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = random.Random(1).randbytes(len(content) - 4096)
    file.write_bytes(content)


def broken_length(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:9000])


@pytest.mark.parametrize("damage", [broken_header, broken_pages, broken_length])
@pytest.mark.parametrize("snapshot_too", [False, True])
def test_a_broken_database_is_moved_aside(path: str, tmp_path: Path, damage, snapshot_too, caplog) -> None:  # type: ignore[no-untyped-def]
    snapshot = tmp_path / "snapshot.db"
    write(path, one_batch(*(f"n{number}.example" for number in range(200))), snapshot_path=str(snapshot))
    damage(Path(path))
    if snapshot_too:
        damage(snapshot)
    write(path, one_batch("after.example"), snapshot_path=str(snapshot))
    with HistoryReader(path) as reader:
        assert reader.totals().blocked == (1 if snapshot_too else 201)
    assert Path(path + ".corrupt").exists()
    assert "history-broken" in caplog.text
    assert ("history-snapshot-broken" in caplog.text) == snapshot_too


def test_a_database_that_breaks_while_we_run_is_replaced(path: str, tmp_path: Path) -> None:
    snapshot = str(tmp_path / "snapshot.db")
    write(path, one_batch("kept.example"), snapshot_path=snapshot)
    writer = HistoryWriter(path, snapshot, clock=Clock())
    writer.start()
    writer.drain()
    broken_pages(Path(path))
    assert writer._connection is not None
    writer._connection.execute("PRAGMA shrink_memory")
    for name in ("one.example", "two.example", "three.example"):
        writer.submit(one_batch(name))
        writer.drain()
    status = writer.status()
    writer.close()
    assert status.error == ""
    with HistoryReader(path) as reader:
        assert {"kept.example", "three.example"} <= {row.name for row in reader.last_tries()}


def test_a_file_that_somebody_removed_is_begun_again(path: str) -> None:
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.submit(one_batch("a.example"))
    writer.drain()
    history_file.remove_database(path)
    writer.submit(one_batch("b.example"))
    writer.drain()
    writer.close()
    with HistoryReader(path) as reader:
        assert [row.name for row in reader.last_tries()] == ["b.example"]


def test_a_newer_database_is_left_alone_and_told(path: str) -> None:
    write(path, one_batch("a.example"))
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO migrations VALUES (99, 'from the future', 0)")
    connection.commit()
    connection.close()
    writer = HistoryWriter(path, clock=Clock())
    writer.start()
    writer.submit(one_batch("b.example"))
    writer.drain()
    status = writer.status()
    writer.close()
    assert "newer Guardian" in status.error
    assert (status.running, status.lost_queries) == (False, 1)
    with HistoryReader(path) as reader:
        assert [row.name for row in reader.last_tries()] == ["a.example"]


def test_a_full_disk_stops_the_history_and_nothing_else(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", mount], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode()}")
    path = str(mount / "history.db")
    writer = HistoryWriter(path, clock=Clock())
    try:
        writer.start()
        writer.submit(one_batch("first.example"))
        writer.drain()
        filler = mount / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        for hour in range(3):
            writer.submit(one_batch(*(f"{hour}-{number}.example" for number in range(500)), hour=HOUR - hour))
            writer.drain()
        status = writer.status()
        assert status.running
        assert "full" in status.error
        assert status.lost_queries >= 500
        filler.unlink()
        writer.submit(one_batch("again.example"))
        writer.drain()
        assert writer.status().error == ""
        with HistoryReader(path) as reader:
            assert "again.example" in {row.name for row in reader.last_tries(limit=10_000)}
    finally:
        writer.close()
        subprocess.run(["umount", mount], check=True)


def test_a_directory_that_is_not_there_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "later" / "history.db"
    writer = HistoryWriter(str(path), clock=Clock())
    writer.start()
    writer.submit(one_batch("a.example"))
    writer.submit(one_batch("b.example"))
    writer.drain()
    assert "history.db" in writer.status().error
    assert caplog.text.count("action=write") == 1  # the same failure is logged once
    path.parent.mkdir()
    writer.submit(one_batch("c.example"))
    writer.drain()
    status = writer.status()
    writer.close()
    assert (status.error, status.lost_queries, status.batches) == ("", 2, 1)


def test_a_writer_that_is_too_slow_loses_batches_and_says_so(path: str) -> None:
    writer = HistoryWriter(path, clock=Clock())
    accepted = [writer.submit(one_batch("a.example")) for _ in range(40)]  # nobody takes them: not started
    assert accepted.count(False) == writer.status().lost_queries > 0
    writer.start()
    writer.close()
    with HistoryReader(path) as reader:
        assert reader.totals().blocked == accepted.count(True)


# Reading


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
