"""The commands about entries: proposing, looking up, listing; and the popular names."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from guardian.desk.store import Desk
from tests.cli.hotline.desks import LAW, call
from tests.desk.desks import LIST

Capture = pytest.CaptureFixture[str]
ADD = ["add", "--list", LIST, *LAW, "--why", "report 17"]


def add(folder: Path, *words: str) -> None:
    assert call(folder, *ADD, *words, who="ana") == 0
    number = Desk.open(folder).proposals("open")[-1].id
    assert call(folder, "approve", str(number), who="ion") == 0


def test_two_people_put_an_entry_on_the_list(folder: Path, capsys: Capture) -> None:
    assert call(folder, *ADD, "--domain", "listed-1.example", "--url", "listed-2.example/a", who="ana") == 0
    shown = capsys.readouterr().out
    assert "proposal 1: 2 entries; nothing has changed yet" in shown
    assert "a second person runs 'guardian hotline approve 1 --as NAME'" in shown
    assert list(Desk.open(folder).entries()) == []
    assert call(folder, "approve", "1", who="ion") == 0
    assert [entry.value for entry in Desk.open(folder).entries()] == ["listed-1.example", "https://listed-2.example/a"]


def test_values_come_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("listed-1.example\n\n listed-2.example \n"))
    add(folder, "--domain", "-")
    assert [entry.value for entry in Desk.open(folder).entries()] == ["listed-1.example", "listed-2.example"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--domain", "facebook.com"], "[shared-host]"),
        (["--domain", "10.0.0.1"], "[address]"),
        (["--host", "https://listed-1.example/a"], "[url-as-name]"),
        (["--url-prefix", "https://listed-1.example/"], "[grows-to-host]"),
        (["--domain", "listed-1.example", "--days", "0"], "[expired]"),
        (["--domain", "listed-1.example", "--days", "100"], "[too-long]"),
        ([], "what is to be listed?"),
    ],
)
def test_refusals_are_told_and_nothing_is_proposed(
    folder: Path, capsys: Capture, words: list[str], message: str
) -> None:
    assert call(folder, *ADD, *words, who="ana") == 1
    assert message in capsys.readouterr().err
    assert Desk.open(folder).proposals() == []


def test_a_wrong_password_changes_nothing(folder: Path, capsys: Capture) -> None:
    (folder.parent / "password").write_text("another password\n")
    assert call(folder, *ADD, "--domain", "listed-1.example", who="ana") == 1
    shown = capsys.readouterr()
    assert "the password is wrong" in shown.err and "another password" not in shown.err + shown.out
    assert Desk.open(folder).proposals() == []


def test_an_override_needs_both(folder: Path, capsys: Capture) -> None:
    assert call(folder, *ADD, "--domain", "facebook.com", "--override", "court order", who="ana") == 0
    assert "approve 1 --as NAME --override REASON" in capsys.readouterr().out
    assert call(folder, "approve", "1", who="ion") == 1
    assert "with your own --override REASON" in capsys.readouterr().err
    assert call(folder, "approve", "1", "--override", "seen", who="ion") == 0
    assert call(folder, "list") == 0
    assert "(override)" in capsys.readouterr().out


def test_entries_are_suspended_resumed_renewed_and_removed(folder: Path, capsys: Capture) -> None:
    add(folder, "--domain", "listed-1.example", "--days", "2")
    desk = Desk.open(folder)
    for number, command, status in ((2, "suspend", "suspended"), (3, "resume", "active"), (4, "renew", "active")):
        author = "maria" if command == "suspend" else "ana"
        assert call(folder, command, "1", "--why", "x", who=author) == 0
        assert call(folder, "approve", str(number), who="ion") == 0
        entry = desk.entry(1)
        assert entry is not None and entry.status == status
    assert entry is not None and entry.expires - entry.verified == 14 * 86400
    assert "anybody else on duty" in capsys.readouterr().out
    assert call(folder, "remove", "1", "--why", "gone", who="ion") == 0
    assert call(folder, "approve", "5", who="ana") == 0
    capsys.readouterr()
    assert call(folder, "show", "1") == 0
    shown = capsys.readouterr()
    assert "removed_reason gone" in shown.out and "confidential" in shown.err
    assert [line.split()[2] for line in shown.out.split("history\n")[1].splitlines()[1:]] == [
        "add", "suspend", "resume", "renew", "remove",
    ]  # fmt: skip
    assert call(folder, "renew", "1", "99", "--why", "x", who="ana") == 1
    assert "there is no entry 99" in capsys.readouterr().err


def test_showing_and_listing(folder: Path, capsys: Capture) -> None:
    add(folder, "--domain", "listed-1.example", "--domain", "other.example", "--days", "2")
    add(folder, "--url", "https://someone.github.io/a", "--licence-class", "isp_only")
    capsys.readouterr()
    assert call(folder, "show", "LISTED", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["value"] == "listed-1.example" and entry["reviewers"] == ["ana", "ion"] and entry["error"] == 16
    assert call(folder, "show", "3", "--json") == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["shared_host"] is True and entry["enforceable"] is False
    assert [step["kind"] for step in entry["history"]] == ["add"]
    for state, count in (("active", 3), ("ending", 2), ("expired", 0), ("removed", 0)):
        assert call(folder, "list", "--list", LIST, "--state", state, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)) == count, state
    assert call(folder, "show", "nothing-like-it") == 1
    assert call(folder, "show", "99") == 1
    assert call(folder, "list", "--list", "other") == 1
    assert "there is no list 'other'" in capsys.readouterr().err


def test_popular_names_are_taken_from_a_file(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "popular.csv"
    file.write_text("\ufeff1,popular.example\n2,www.second.example\n# a remark\n\nthird.example\n")
    assert call(folder, "popular", str(file), who="ion") == 0
    assert "3 popular names" in capsys.readouterr().out
    assert list(Desk.open(folder).popular_names()) == ["popular.example", "www.second.example", "third.example"]
    assert call(folder, *ADD, "--domain", "second.example", who="ana") == 1
    assert "[popular]" in capsys.readouterr().err
    for text in ("1,popular.example\n2,not a name\n", "single\n", "a..b.example\n", "# none\n", ""):
        file.write_text(text)
        assert call(folder, "popular", str(file), who="ion") == 1
        assert "popular.csv:" in capsys.readouterr().err
    assert len(list(Desk.open(folder).popular_names())) == 3
    file.write_text("1,com\n2,co.uk\n3,10.0.0.1\n4,popular.example\n")
    assert call(folder, "popular", str(file), who="ion") == 0
    assert list(Desk.open(folder).popular_names()) == ["popular.example"]
