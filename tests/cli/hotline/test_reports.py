"""`guardian hotline reports`: what analysts see, do and cannot do, by the command line."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.desk.report_store import ReportStore, keep_report
from tests.desk.reports import NOW, make_id, received
from tests.desk.worked_desk import PASSWORDS, WorkedDesk

REPORTS = (
    {"url": "https://listed-1.example/a;b", "note": "first line\nsecond", "contact": "me@example.org"},
    {"url": "", "note": "somebody wrote to me", "type": "grooming"},
    {"url": "blocked-1.example", "type": "unblock_request", "found_via": "=cmd()"},
)
Run = Callable[..., str]


@pytest.fixture
def desk(tmp_path: Path) -> WorkedDesk:
    made = WorkedDesk(tmp_path / "desk")
    store = ReportStore(str(made.folder))
    for number, parts in enumerate(REPORTS, 1):
        assert keep_report(store, received(make_id(number), **parts), NOW) == "kept"
    for name, password in PASSWORDS.items():
        file = tmp_path / name
        file.write_text(password + "\n")
        file.chmod(0o600)
    return made


@pytest.fixture
def run(desk: WorkedDesk, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of `reports`; return what it prints on both, with the exit code as the first line."""

    def run_it(*words: str, as_: str = "") -> str:
        more = ["--as", as_, "--password-file", str(desk.folder.parent / as_)] if as_ else []
        code = main(["hotline", "--desk", str(desk.folder), "reports", *words, *more])
        printed = capsys.readouterr()
        return f"{code}\n{printed.out}{printed.err}"

    return run_it


def test_the_queue_without_contacts(run: Run) -> None:
    lines = run("list").splitlines()
    assert lines[0] == "0"
    assert lines[1].split() == ["N", "received", "type", "state", "who", "address"]
    assert lines[2].split() == [
        "1",
        "2026-11-22",
        "01:00",
        "csam_suspected",
        "open",
        "-",
        "https://listed-1.example/a;b",
    ]
    assert len([line for line in lines if line[:1].isdigit()]) == 4
    assert lines[-1].startswith("confidential:")
    assert "me@example.org" not in run("list", "--state", "all", "--json")


def test_states_and_types(run: Run) -> None:
    assert [
        it["number"] for it in json.loads(run("list", "--type", "grooming", "--json")[2:].rpartition("]")[0] + "]")
    ] == [2]
    assert "'gossip' is no type" in run("list", "--type", "gossip")
    assert "blocked-1" not in run("list", "--state", "closed")


def test_one_report_whole(run: Run) -> None:
    text = run("show", "1")
    assert "contact    me@example.org" in text
    assert "    first line\n    second" in text
    assert json.loads(run("show", "1", "--json")[2:].rpartition("}")[0] + "}")["contact"] == "me@example.org"
    assert run("show", "9").startswith("1\n")


def test_taking_and_closing_with_the_own_key(run: Run) -> None:
    assert "is yours" in run("take", "1", as_="ana")
    assert "ana has taken report 1" in run("take", "1", as_="ion")
    assert "ana has taken it" in run("close", "1", "--result", "listed", as_="ion")
    assert "no result of csam_suspected" in run("close", "1", "--result", "unblocked", as_="ana")
    assert "closed: forwarded. Its words are wiped in 30 days" in run("close", "1", "--result", "forwarded", as_="ana")
    shown = run("show", "1")
    assert "ana: take" in shown
    assert "ana: close forwarded" in shown
    assert "me@example.org" in shown
    assert "All 2 lines" in run("verify")
    assert "open again" in run("reopen", "1", as_="ion")
    assert "All 3 lines" in run("verify")


def test_nobody_acts_for_somebody_else(run: Run, desk: WorkedDesk) -> None:
    (desk.folder.parent / "ana").write_text(PASSWORDS["ion"])
    assert run("take", "1", as_="ana").startswith("1\n")
    assert "open" in run("list", "--state", "open")
    assert "All 0 lines" in run("verify")


def test_a_hand_in_the_queue_is_found(run: Run, desk: WorkedDesk) -> None:
    connection = sqlite3.connect(desk.folder / "reports.db")
    connection.execute("UPDATE reports SET state = 'closed', result = 'not-illegal', person = 'ana' WHERE number = 1")
    connection.commit()
    connection.close()
    assert "report 1 is closed ana not-illegal, but nobody has signed that" in run("verify")


def test_who_has_changed_the_key_has_signed_before(run: Run, desk: WorkedDesk) -> None:
    from guardian.desk.people import change_key

    run("take", "1", as_="ana")
    change_key(desk.folder, desk.ana, "another lamp and seven chairs")
    (desk.folder.parent / "ana").write_text("another lamp and seven chairs")
    run("close", "1", "--result", "other", as_="ana")
    assert "All 2 lines" in run("verify")


def test_words_go_when_any_command_runs(run: Run) -> None:
    run("take", "1", as_="ana")
    run("close", "1", "--result", "listed", as_="ana")
    assert "for 1 days" in run("keep", "1")
    assert "for 1 days" in run("keep")
    assert run("keep", "0").startswith("1\n")
    assert "first line" in run("show", "1")


def test_words_that_are_over_are_wiped(run: Run, desk: WorkedDesk) -> None:
    run("take", "1", as_="ana")
    run("close", "1", "--result", "listed", as_="ana")
    connection = sqlite3.connect(desk.folder / "reports.db")
    connection.execute("UPDATE reports SET closed = closed - 31 * 86400 WHERE number = 1")
    connection.commit()
    connection.close()
    assert "(wiped)" in run("list", "--state", "closed")
    assert "me@example.org" not in run("show", "1")
    assert b"me@example.org" not in (desk.folder / "reports.db").read_bytes()


def test_export_for_scart(run: Run, desk: WorkedDesk) -> None:
    out = desk.folder.parent / "scart.csv"
    text = run("export", str(out), "--work-user", "ana@hotline.example")
    assert "1 reports for SCART" in text
    assert out.read_bytes() == (b"https://listed-1.example/a%3Bb;;ana@hotline.example;guardian-1;webform;website\r\n")
    assert stat.S_IMODE(os.stat(out).st_mode) == 0o600
    assert "not in it: 2" in run("export", str(out), "--type", "grooming")
    assert "2 reports for SCART" in run("export", str(out), "--type", "unblock_request", "--type", "csam_suspected")
    assert "no mail address" in run("export", str(out), "--work-user", "=1+1")
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".new")]


def test_export_as_json(run: Run, desk: WorkedDesk) -> None:
    out = desk.folder.parent / "reports.json"
    assert "3 reports" in run("export", str(out), "--format", "json")
    assert len(json.loads(out.read_text())) == 3
    assert "me@example.org" not in out.read_text()
    assert "cannot write" in run("export", str(out / "deeper"), "--format", "json")


@pytest.mark.parametrize(
    "words",
    [
        ["--listen", "here"],
        ["--listen", "127.0.0.1:99999"],
        ["--proxy", "10.0.0.1/8"],
        ["--certificate", "x.pem"],
        ["--listen", "0.0.0.0:8001"],
    ],
)
def test_serving_in_ways_that_cannot_be(run: Run, words: list[str]) -> None:
    assert run("serve", *words).startswith("1\n")


def test_a_desk_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotline", "--desk", str(tmp_path), "reports", "list"]) == 1
    assert "no desk" in capsys.readouterr().err
    assert not (tmp_path / "reports.db").exists()
