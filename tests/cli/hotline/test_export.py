"""`guardian hotline export-rpz`: from a desk's entries to a zone file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.desk.rpz import read_serial
from tests.desk.resolvers import check_zone
from tests.desk.worked_desk import WorkedDesk

Run = Callable[..., str]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkedDesk:
    made = WorkedDesk(tmp_path / "desk")
    made.add(("domain", "listed-1.example"), ("host", "www.listed-2.example"))
    made.add(("url", "http://listed-3.example/page"))
    made.add(("domain", "listed-4.example"), licence_class="hashed_ok")
    made.add(("domain", "listed-5.example"), licence_class="isp_only")
    made.add(("domain", "listed-6.example"), days=3)
    monkeypatch.setattr("guardian.cli.hotline.export.time.time", lambda: made.now)
    return made


@pytest.fixture
def run(desk: WorkedDesk, capsys: pytest.CaptureFixture[str]) -> Run:
    """Export to `out`; return the exit code as the first line, then what is printed on both."""

    def run_it(*words: str) -> str:
        out = [] if "--out" in words else ["--out", str(desk.folder.parent / "out")]
        code = main(["hotline", "--desk", str(desk.folder), "export-rpz", "--list", "csam-md", *words, *out])
        printed = capsys.readouterr()
        return f"{code}\n{printed.out}{printed.err}"

    return run_it


def test_a_zone_for_everybody_and_one_for_isps(desk: WorkedDesk, run: Run) -> None:
    out = desk.folder.parent / "out"
    text = run()
    assert text.startswith("0\n")
    assert "2 sites with all below them, 1 single names" in text
    assert "1 pages left out" in text
    assert "1 left out by their licence" in text
    assert "1 left out: they are for internet providers only (--for isp)" in text
    assert "confidential" in text
    zone = out.read_text()
    assert desk.desk.journal_head() in zone.splitlines()[0]
    assert "listed-5" not in zone
    assert stat.S_IMODE(os.stat(out).st_mode) == 0o600
    assert check_zone("csam-md.rpz.invalid", out) == ""
    assert "3 sites with all below them" in run("--for", "isp")
    for word in ("listed-3", "listed-4"):
        assert word not in out.read_text()


def test_the_file_changes_with_its_records_only(desk: WorkedDesk, run: Run) -> None:
    out = desk.folder.parent / "out"
    run()
    first = out.read_bytes()
    desk.wait(1)
    assert "nothing has changed" in run()
    assert out.read_bytes() == first
    desk.wait(3)  # listed-6 has ended, and no line of the journal says so
    run()
    assert "listed-6" not in out.read_text()
    assert read_serial(out.read_text()) == desk.now > read_serial(first.decode())


def test_modes_and_names(desk: WorkedDesk, run: Run) -> None:
    out = desk.folder.parent / "out"
    run("--mode", "cname", "--target", "blocked.isp.example", "--zone", "RPZ.isp.example")
    assert "$ORIGIN rpz.isp.example.\n" in out.read_text()
    assert "*.listed-1.example CNAME blocked.isp.example.\n" in out.read_text()
    assert "needs a target" in run("--mode", "cname")
    assert "is no name like" in run("--zone", "single")
    assert run("--mode", "passthru").startswith("2\n")


def test_another_file_is_not_written_over(desk: WorkedDesk, run: Run) -> None:
    other = desk.folder.parent / "thesis.txt"
    other.write_text("years of work")
    assert "name another file" in run("--out", str(other))
    assert other.read_text() == "years of work"
    (desk.folder.parent / "binary").write_bytes(b"\xff\xfe")
    assert "cannot be read" in run("--out", str(desk.folder.parent / "binary"))


def test_a_list_that_is_not_there(desk: WorkedDesk, capsys: pytest.CaptureFixture[str]) -> None:
    out = desk.folder.parent / "out"
    assert main(["hotline", "--desk", str(desk.folder), "export-rpz", "--list", "nothing", "--out", str(out)]) == 1
    assert "nothing" in capsys.readouterr().err
    assert not out.exists()
