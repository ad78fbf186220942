"""`pending`, `approve`, `reject`: the second person sees all and decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardian.cli.hotline.deciding import run
from guardian.desk.store import Desk
from tests.cli.hotline.desks import LAW, call
from tests.desk.desks import LIST

Capture = pytest.CaptureFixture[str]


def add(folder: Path, *values: str, author: str = "ana") -> None:
    words = [word for value in values for word in ("--domain", value)]
    assert call(folder, "add", "--list", LIST, *LAW, "--why", "report 17", *words, who=author) == 0


def test_what_waits_is_shown(folder: Path, capsys: Capture) -> None:
    assert callable(run)
    assert call(folder, "pending") == 0
    assert "nothing waits for a second person" in capsys.readouterr().out
    add(folder, *(f"listed-{number}.example" for number in range(60)))
    capsys.readouterr()
    assert call(folder, "pending") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split()[:5] == ["1", "add", LIST, "60", "ana"] and "listed-" not in shown.out
    assert call(folder, "pending", "1") == 0
    shown = capsys.readouterr()
    assert "listed-49.example" in shown.out and "listed-50.example" not in shown.out and "and 10 more" in shown.out
    assert "confidential" in shown.err
    assert call(folder, "pending", "1", "--all") == 0
    assert "listed-59.example" in capsys.readouterr().out
    assert call(folder, "pending", "1", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["body"]["add"][0]["targets"]) == 60
    assert call(folder, "pending", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["author"] == "ana"
    assert call(folder, "pending", "9") == 1


def test_the_author_does_not_decide(folder: Path, capsys: Capture) -> None:
    add(folder, "listed-1.example")
    assert call(folder, "approve", "1", who="ana") == 1
    assert "a second person must look at it" in capsys.readouterr().err
    assert call(folder, "approve", "1", who="maria") == 1
    assert "needs the role analyst or list" in capsys.readouterr().err
    assert call(folder, "approve", "1", who="ion") == 0
    assert "'guardian hotline publish' brings it to the routers" in capsys.readouterr().out
    assert call(folder, "approve", "1", who="ion") == 1
    assert "is approved already, by ion" in capsys.readouterr().err


def test_a_rejection_is_kept_with_its_reason(folder: Path, capsys: Capture) -> None:
    add(folder, "listed-1.example")
    assert call(folder, "reject", "1", who="ion") == 2  # no reason
    assert call(folder, "reject", "1", "--why", "not illegal", who="ion") == 0
    (proposal,) = Desk.open(folder).proposals("rejected")
    assert (proposal.decided_by, proposal.decided_why) == ("ion", "not illegal")
    assert call(folder, "approve", "1", who="ion") == 1
    assert "is rejected already" in capsys.readouterr().err


def test_the_changes_of_entries_are_shown_with_their_values(folder: Path, capsys: Capture) -> None:
    add(folder, "listed-1.example")
    call(folder, "approve", "1", who="ion")
    call(folder, "suspend", "1", "--why", "wrong", who="ana")
    capsys.readouterr()
    assert call(folder, "pending", "2") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["suspend", "1", "domain", "listed-1.example", "wrong"]
