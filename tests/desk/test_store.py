"""A desk on disk: who may read it, two programs at once, a program that is killed, and what routers are given."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from guardian.desk.entries import DAY
from guardian.desk.fold import Body, Ended
from guardian.desk.journal import Signer
from guardian.desk.review import approve, propose
from guardian.desk.store import Desk
from guardian.desk.verify import verify_desk
from guardian.errors import DeskError
from guardian.names import parse_name
from tests.desk.desks import LIST, make_desk, put_on_list

NOW = 1_800_000_000.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Desk, dict[str, Signer]]:
    return make_desk(tmp_path, NOW)


def test_nobody_else_may_read_a_desk(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        desk = Desk.create(tmp_path / "desk")
        with desk.changing() as connection:
            connection.execute("INSERT INTO options VALUES ('a', 'b')")
            for name in os.listdir(desk.folder):
                path = Path(desk.folder, name)
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, name
    finally:
        os.umask(before)
    os.chmod(desk.path, 0o640)
    with pytest.raises(DeskError, match="can be read by other users of this machine: chmod 600"):
        Desk.open(desk.folder)


def test_a_folder_without_a_desk_is_told_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="no desk"):
        Desk.open(tmp_path)
    with pytest.raises(DeskError, match="no desk"):
        Desk.open(tmp_path / "nowhere")
    assert os.listdir(tmp_path) == []
    (tmp_path / "desk.db").write_bytes(b"not a database" * 100)
    os.chmod(tmp_path / "desk.db", 0o600)
    with pytest.raises(DeskError, match=r"desk\.db cannot be used: file is not a database"):
        Desk.open(tmp_path).people()
    (tmp_path / "file").touch()
    with pytest.raises(DeskError, match="a desk can't be made here"):
        Desk.create(tmp_path / "file" / "desk")


def test_making_a_desk_again_keeps_it(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    again = Desk.create(at.folder)
    assert again.journal_head() == at.journal_head() and len(list(again.entries())) == 1


def test_routers_get_what_is_approved_active_and_not_expired(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    put_on_list(at, who, "listed-2.example", now=NOW, expires=int(NOW) + DAY)
    put_on_list(at, who, "listed-3.example", now=NOW, licence_class="isp_only")
    put_on_list(at, who, "listed-4.example", "listed-5.example", now=NOW, licence_class="public")
    for kind, number in (("suspend", 4), ("remove", 5)):
        body = Body(**{kind: [Ended([number], "x")]})  # type: ignore[arg-type]
        approve(at, who["ion"], propose(at, who["ana"], kind, LIST, body, "x", NOW), NOW)
    assert [entry.id for entry in at.list_active(LIST, NOW)] == [1, 2]
    assert [entry.id for entry in at.list_active(LIST, NOW, isp_only=True)] == [1, 2, 3]
    assert [entry.id for entry in at.list_active(LIST, NOW + DAY)] == [1]
    assert list(at.list_active(LIST, NOW + 14 * DAY)) == []
    with pytest.raises(DeskError, match=r"there is no list 'other' \(there are: csam-md\)"):
        list(at.list_active("other", NOW))
    assert [entry.id for entry in at.entries(LIST, "LISTED-4")] == [4]
    assert [entry.id for entry in at.entries(status="removed")] == [5]
    assert list(at.entries(contains="%")) == list(at.entries(contains="'")) == []
    assert at.entry(4).status == "suspended" and at.entry(99) is None  # type: ignore[union-attr]


def test_a_long_reading_sees_one_moment_and_stops_nobody(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", "listed-2.example", now=NOW)
    found = at.list_active(LIST, NOW)
    first = next(found)
    put_on_list(at, who, "listed-3.example", now=NOW)
    assert [first.id, *(entry.id for entry in found)] == [1, 2]
    assert len(list(at.list_active(LIST, NOW))) == 3


def test_a_reader_changes_nothing(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, _ = desk
    with pytest.raises(DeskError, match="readonly"), at.reading() as connection:
        connection.execute("DELETE FROM lists")


def test_what_fails_halfway_leaves_nothing(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, _ = desk
    head = at.journal_head()
    with pytest.raises(KeyError), at.changing() as connection:
        connection.execute("DELETE FROM lists")
        raise KeyError
    assert at.journal_head() == head and list(at.lists()) == [LIST]


def test_popular_names_and_their_parents(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    names = [
        parse_name(text) for text in ("www.popular.example", "second.example", "popular.example", "second.example")
    ]
    assert at.replace_popular(who["maria"], names, "f" * 64, NOW) == 3
    assert list(at.popular_names()) == ["www.popular.example", "second.example", "popular.example"]
    assert at.replace_popular(who["maria"], names[:1], "e" * 64, NOW) == 1
    with at.reading() as connection:
        assert connection.execute("SELECT name, rank FROM popular ORDER BY name").fetchall() == [
            ("popular.example", 0),
            ("www.popular.example", 1),
        ]
        assert verify_desk(connection).problems == ()


def test_options_are_kept(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, _ = desk
    assert at.option("x", "none") == "none"
    at.set_option("x", "1")
    at.set_option("x", "2")
    assert at.option("x") == "2"


WRITER = """
import sys
from guardian.desk.store import Desk
from guardian.desk.journal import Signer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
desk = Desk.open(sys.argv[1])
signer = Signer(sys.argv[2], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[3])))
print("ready", flush=True)
for number in range(int(sys.argv[4])):
    desk.note(signer, "work", number=number)
"""


def start_writer(desk: Desk, signer: Signer, count: int) -> subprocess.Popen[str]:
    raw = signer.key.private_bytes_raw().hex()
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, desk.folder, signer.name, raw, str(count)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_programs_write_at_once_and_both_are_kept(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path)
    writers = [start_writer(desk, who[name], 40) for name in ("ana", "ion", "maria")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with desk.reading() as connection:
        report = verify_desk(connection)
        done = connection.execute("SELECT person, count(*) FROM journal WHERE kind = 'note' GROUP BY person").fetchall()
    assert report.problems == () and dict(done) == {"ana": 40, "ion": 40, "maria": 40}


def test_a_program_that_is_killed_leaves_a_whole_desk(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path)
    for delay in (0.005, 0.02, 0.05, 0.1):
        writer = start_writer(desk, who["ana"], 100_000)
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=30)
        desk.note(who["ion"], "after")
        with desk.reading() as connection:
            assert verify_desk(connection).problems == ()
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_desk_that_somebody_holds_locked_is_waited_for(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    holder = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(0.5); c.execute('ROLLBACK')"
    )
    with subprocess.Popen([sys.executable, "-c", holder, at.path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        start = time.monotonic()
        at.note(who["ana"], "hello", NOW)
        assert time.monotonic() - start > 0.3


def test_the_list_is_not_in_any_other_file(desk: tuple[Desk, dict[str, Signer]], tmp_path: Path) -> None:
    """A removed list's pages are gone from the tables; the journal keeps them, as it must."""
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file() and b"listed-1" in path.read_bytes()}
    assert names <= {"desk.db", "desk.db-wal"}
    with closing(sqlite3.connect(at.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
