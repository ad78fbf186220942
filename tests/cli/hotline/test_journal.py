"""`guardian hotline journal`: shown, verified, exported."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from guardian.cli.hotline.journal import run
from guardian.desk.store import Desk
from tests.cli.hotline.desks import LAW, call
from tests.desk.desks import LIST

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def worked(folder: Path) -> Path:
    call(folder, "add", "--list", LIST, *LAW, "--why", "report 17", "--domain", "listed-1.example", who="ana")
    call(folder, "approve", "1", who="ion")
    return folder


def test_lines_are_shown(worked: Path, capsys: Capture) -> None:
    assert callable(run)
    capsys.readouterr()
    assert call(worked, "journal", "show", "--last", "2") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in shown[1:]] == ["propose", "approve"] and "why=report 17" in shown[1]
    assert call(worked, "journal", "show", "--last", "0", "--json") == 0
    assert [line["kind"] for line in json.loads(capsys.readouterr().out)][:4] == ["person"] * 3 + ["list"]


def test_a_right_journal_and_a_changed_one(worked: Path, capsys: Capture) -> None:
    head = Desk.open(worked).journal_head()
    assert call(worked, "journal", "verify", "--head", head) == 0
    shown = capsys.readouterr().out
    assert f"6 lines are right, 1 active entries follow from them; head {head}" in shown and "ana " in shown
    assert call(worked, "journal", "verify", "--head", "f" * 64) == 1
    assert "lines are missing" in capsys.readouterr().err
    with closing(sqlite3.connect(worked / "desk.db")) as connection, connection:
        connection.execute("UPDATE entries SET value = 'listed-2.example'")
    assert call(worked, "journal", "verify") == 1
    assert "entries: 1 is not what the journal says" in capsys.readouterr().err


def test_an_export_is_verified_without_the_desk(worked: Path, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    assert call(worked, "journal", "export", str(file)) == 0
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert call(tmp_path, "journal", "verify", "--file", str(file)) == 0
    text = file.read_text()
    file.write_text(text.replace("listed-1", "listed-2"))
    assert call(tmp_path, "journal", "verify", "--file", str(file)) == 1
    assert "body" in capsys.readouterr().err
    assert call(worked, "journal", "export", "-") == 0
    assert capsys.readouterr().out == text
    assert call(worked, "journal", "export", str(tmp_path / "no" / "where")) == 1
    assert call(tmp_path, "journal", "verify", "--file", str(tmp_path / "lost")) == 1


def test_a_clock_that_was_ahead(worked: Path, capsys: Capture) -> None:
    desk = Desk.open(worked)
    from guardian.desk.people import unlock_signer
    from tests.cli.hotline.desks import PASSWORD

    ion = unlock_signer(worked, "ion", PASSWORD)
    desk.note(ion, "ahead", 4_000_000_000.0)
    assert call(worked, "remove", "1", "--why", "x", who="ana") == 1
    assert "'guardian hotline journal set-clock'" in capsys.readouterr().err
    assert call(worked, "journal", "set-clock", "--why", "the battery was empty", who="ion") == 0
    assert call(worked, "remove", "1", "--why", "x", who="ana") == 0
    assert call(worked, "journal", "verify") == 0
