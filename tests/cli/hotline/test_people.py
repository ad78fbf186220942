"""`guardian hotline people`: names, keys, new keys, ended access."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guardian.cli.hotline.people import run
from guardian.desk.store import Desk
from tests.cli.hotline.desks import LAW, call
from tests.desk.desks import LIST

Capture = pytest.CaptureFixture[str]


def test_people_are_listed_with_their_fingerprints(folder: Path, capsys: Capture) -> None:
    assert callable(run)
    assert call(folder, "people", "list") == 0
    shown = capsys.readouterr().out
    people = Desk.open(folder).people()
    assert all(person.fingerprint in shown for person in people.values())
    assert call(folder, "people", "list", "--json") == 0
    assert {it["name"]: it["public_key"] for it in json.loads(capsys.readouterr().out)} == {
        name: person.public_key.hex() for name, person in people.items()
    }


def test_a_person_is_added_before_and_after_work_has_begun(folder: Path, capsys: Capture) -> None:
    password = str(folder.parent / "password")
    new = ["--roles", "list,analyst", "--new-password-file", password]
    assert call(folder, "people", "add", "vera", *new) == 0
    assert "vera" in Desk.open(folder).people()
    call(folder, "add", "--list", LIST, *LAW, "--why", "x", "--domain", "listed-1.example", who="ana")
    assert call(folder, "people", "add", "eve", *new) == 1
    assert "admin or root must propose" in capsys.readouterr().err
    assert call(folder, "people", "add", "eve", *new, who="ion") == 0
    assert "approves proposal 2" in capsys.readouterr().out and "eve" not in Desk.open(folder).people()
    assert call(folder, "approve", "2", who="maria") == 0
    assert "eve" in Desk.open(folder).people()
    assert call(folder, "approve", "1", who="eve") == 0


def test_a_new_key_has_a_new_password(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another good password\n")
    os.chmod(other, 0o600)
    assert call(folder, "people", "new-key", "--new-password-file", str(other), who="ana") == 0
    assert "next: 'guardian hotline rotate ana'" in capsys.readouterr().out
    words = ["add", "--list", LIST, *LAW, "--why", "x", "--domain", "listed-1.example"]
    assert call(folder, *words, who="ana") == 1
    assert call(folder, *words, "--as", "ana", "--password-file", str(other)) == 0


def test_an_ended_access(folder: Path, capsys: Capture) -> None:
    assert call(folder, "people", "end", "nobody", "--why", "x", who="ion") == 1
    assert call(folder, "people", "end", "ana", "--why", "has left", who="ion") == 0
    assert "next: 'guardian hotline revoke ana'" in capsys.readouterr().out
    assert call(folder, "add", "--list", LIST, *LAW, "--why", "x", "--domain", "listed-1.example", who="ana") == 1
    assert "does not work at this desk any more" in capsys.readouterr().err
    assert call(folder, "people", "list") == 0
    assert "ana" not in capsys.readouterr().out
    assert call(folder, "people", "list", "--all") == 0
    assert "ana" in capsys.readouterr().out
