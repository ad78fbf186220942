"""The writer in its thread: erasing, snapshots, and what happens when the file goes wrong while it runs."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from guardian.devices import Sighting
from guardian.store import history_file
from guardian.store.history import HistoryWriter
from guardian.store.history_read import HistoryReader
from guardian.store.history_record import Recorder
from tests.store.history_home import HOUR, NAMES, NOW, Clock, all_bytes, broken_pages, one_batch, write


def test_erased_names_are_in_no_byte_of_any_file(path: str, tmp_path: Path) -> None:
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
    assert b"secret2" in kept and b"shared.example" in kept
    with HistoryReader(path) as reader:
        assert {row.device for row in reader.by_device()} == {"anas-tablet", "ions-phone", "moms-laptop"}
    writer.submit(Recorder().take((Sighting(bytes(5) + b"\x02", NOW, NOW, (), "hostname-of-ana"),)))
    writer.erase_all().result(10)
    assert not re.search(rb"shared|secret|anas-tablet|moms-laptop|hostname-of-ana", all_bytes(tmp_path))
    writer.close()
    assert not re.search(rb"shared|secret|anas-tablet|moms-laptop|hostname-of-ana", all_bytes(tmp_path))


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


def test_a_newer_database_is_put_aside_and_a_new_one_begun(path: str, caplog: pytest.LogCaptureFixture) -> None:
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
    assert (status.error, status.running, status.lost_queries) == ("", True, 0)
    assert "event=history-newer" in caplog.text
    with HistoryReader(path) as reader:
        assert [row.name for row in reader.last_tries()] == ["b.example"]
    with sqlite3.connect(f"{path}.newer") as kept:
        assert kept.execute("SELECT name FROM visits").fetchall() == [("a.example",)]
    kept.close()


def test_what_was_put_aside_goes_with_the_years_and_with_what_parents_erase(path: str, tmp_path: Path) -> None:
    clock, snapshot = Clock(), str(tmp_path / "snapshot.db")
    old, young = Path(f"{path}.corrupt"), Path(f"{snapshot}.newer")
    for file, days in ((old, 31), (young, 29)):
        file.write_text("secret1.example")
        os.utime(file, (clock.now - days * 86400,) * 2)
    writer = HistoryWriter(path, snapshot, retention_days=30, clock=clock)
    writer.start()
    writer.drain()
    assert not old.exists() and young.exists()
    writer.erase_names(["ana"], again=True).result(10)
    assert young.exists()
    writer.erase_names(["ana"]).result(10)
    assert not young.exists()
    writer.close()


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


def test_erased_attempts_and_minutes_are_in_no_byte_of_any_file(path: str, tmp_path: Path) -> None:
    writer = HistoryWriter(path, str(tmp_path / "snapshot.db"), clock=Clock())
    writer.start()
    recorder = Recorder()
    recorder.note_attempt("anas-tablet", None, "secret-kind", 1, NOW)
    recorder.note_minutes("2026-10-24", "profile-of-ana", "secret-app", 1.0)
    recorder.note_device_minutes("2026-10-24", "anas-tablet", "secret-game", 1.0, NAMES)
    recorder.note_device_minutes("2026-10-24", "anas-tablet", "", 1.0, NAMES)
    assert writer.submit(recorder.take())
    writer.drain()
    assert all(word in all_bytes(tmp_path) for word in (b"secret-kind", b"secret-app", b"secret-game"))
    writer.erase_services(["anas-tablet"]).result(10)
    kept = all_bytes(tmp_path)
    assert b"secret-game" not in kept and b"anas-tablet" in kept
    assert b"secret-app" in kept and b"secret-kind" in kept
    writer.erase_all().result(10)
    writer.close()
    assert not re.search(rb"secret|anas-tablet|profile-of-ana", all_bytes(tmp_path))
