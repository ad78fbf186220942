"""`guardian hotline import`: a preview by default, a proposal when asked."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from guardian.cli.hotline.importing import run
from guardian.desk.store import Desk
from tests.cli.hotline.desks import LAW, call
from tests.desk.desks import LIST

Capture = pytest.CaptureFixture[str]
TEXT = "url,ref\nhttp://listed-1.example/a,1\nlisted-2.example,2\n10.0.0.1/a,3\n"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "iwf.csv"
    path.write_text(TEXT)
    return str(path)


def test_a_preview_changes_nothing_and_tells_every_refusal(folder: Path, file: str, capsys: Capture) -> None:
    assert callable(run)
    head = Desk.open(folder).journal_head()
    out = str(Path(file).with_name("refused.txt"))
    assert call(folder, "import", file, "--list", LIST, *LAW, "--source", "iwf", "--refused", out) == 0
    shown = capsys.readouterr()
    for expected in ("1  new", "2  refused", "line 3: listed-2.example", "line 4: 10.0.0.1/a", "not used: ref"):
        assert expected in shown.out
    assert "nothing was changed or proposed: --propose does" in shown.out and "confidential" in shown.err
    assert Desk.open(folder).journal_head() == head
    assert len(Path(out).read_text().splitlines()) == 2 and stat.S_IMODE(os.stat(out).st_mode) == 0o600


def test_a_proposal_needs_a_name_and_a_reason(folder: Path, file: str, capsys: Capture) -> None:
    words = ["import", file, "--list", LIST, *LAW, "--propose"]
    assert call(folder, *words) == 1
    assert "--propose needs --as NAME and --why TEXT" in capsys.readouterr().err
    assert call(folder, *words, "--why", "this morning", "--json", who="ana") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (
        shown["proposal"] == 1 and shown["counts"]["new"] == 1 and shown["rules"] == {"grows-to-host": 1, "address": 1}
    )
    assert [(it["line"], it["rule"]) for it in shown["refusals"]] == [(3, "grows-to-host"), (4, "address")]
    assert call(folder, "approve", "1", who="ion") == 0
    assert [entry.value for entry in Desk.open(folder).entries()] == ["http://listed-1.example/a"]


def test_a_file_of_refusals_alone_fails(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "names.txt"
    path.write_text("facebook.com\ncom.md\n")
    assert call(folder, "import", str(path), "--list", LIST, *LAW) == 1
    assert call(folder, "import", str(path), "--list", LIST, *LAW, "--propose", "--why", "x", who="ana") == 1
    assert "there is nothing to propose" in capsys.readouterr().err


def test_bare_urls_and_other_columns(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "other.csv"
    path.write_text("Adresse;x\nlisted-1.example;\n")
    words = ["import", str(path), "--list", LIST, *LAW, "--json"]
    assert call(folder, *words, "--map", "url=Adresse", "--bare", "host") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["new"] == 1
    assert call(folder, *words, "--map", "url") == 1
    assert "write it like url=Web address" in capsys.readouterr().err
    assert call(folder, "import", str(tmp_path / "lost"), "--list", LIST, *LAW) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_file_comes_from_standard_input(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"listed-1.example\n")))
    assert call(folder, "import", "-", "--list", LIST, *LAW, "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["new"] == 1
