"""`guardian hotline transparency`: the numbers as people and programs get them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.desk.report_store import ReportStore, keep_report
from tests.desk.reports import make_id, received
from tests.desk.worked_desk import WorkedDesk

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A desk of September 2026, asked on 11 September; the exit code is the first line."""
    desk = WorkedDesk(tmp_path / "desk")
    desk.add(("domain", "listed-1.example"), ("url", "https://listed-2.example/page"))
    desk.wait(10)
    desk.add(("domain", "listed-3.example"))
    store = ReportStore(str(desk.folder))
    keep_report(store, received(make_id(1)), desk.now)
    keep_report(store, received(make_id(2), type="unblock_request"), desk.now)
    monkeypatch.setattr("guardian.cli.hotline.transparency.time.time", lambda: desk.now + 60.0)

    def run_it(*words: str) -> str:
        code = main(["hotline", "--desk", str(desk.folder), "transparency", *words])
        printed = capsys.readouterr()
        return f"{code}\n{printed.out}{printed.err}"

    return run_it


def test_text_for_people(run: Run) -> None:
    text = run()
    assert text.startswith("0\nPublic numbers from 2026-09-01 to 2026-09-11 (UTC)\n")
    for line in (
        "csam-md: 3 entries in force",
        "  national, law_order: 3",
        "  not enforceable (pages over HTTPS, never widened to their site): 1",
        "  on the list: median 10.0 days, longest 10.0 days",
        "    3 added, 0 renewed, 0 removed",
        "    ended after: none",
        "Reports received: 2",
        "Requests to unblock: 1, of which 1 wait",
    ):
        assert f"{line}\n" in text, line
    assert "listed-" not in text


def test_json_and_a_period(run: Run) -> None:
    numbers = json.loads(run("--json", "--to", "2026-09-05")[2:])
    assert numbers["schema"] == 1
    assert numbers["lists"][0]["in_force"] == 2
    assert numbers["reports"] == {}
    assert numbers["end"] - numbers["start"] == 5 * 86400
    later = json.loads(run("--json", "--from", "2026-09-06")[2:])
    assert later["lists"][0]["changes"]["added"] == 1
    assert later["reports"] == {"csam_suspected": 1, "unblock_request": 1}


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "yesterday"],
        ["--to", "2026-02-30"],
        ["--from", "2026-09-09", "--to", "2026-09-08"],
        ["--to", "2020-01-01"],
        ["--from", "2030-01-01"],
    ],
)
def test_periods_that_cannot_be(run: Run, words: list[str]) -> None:
    assert run(*words).startswith("1\nguardian: ")
