"""`guardian hotline init`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from guardian.cli import main
from guardian.desk.store import Desk

PASSWORD = "four words make 1 password"


@pytest.fixture
def passwords(tmp_path: Path) -> list[str]:
    words = []
    for name in ("ana", "ion", "maria", "vasile", "elena"):
        path = tmp_path / f"{name}.txt"
        path.write_text(PASSWORD + "\n")
        path.chmod(0o600)
        words += ["--password-file", f"{name}={path}"]
    return words


def init(*words: str) -> int:
    return main(["hotline", "init", *words, "--log2-n", "12"])


def test_a_trial_is_three_people_at_one_table(
    tmp_path: Path, passwords: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(str(tmp_path / "desk"), "--trial", "--name", "A trial", "--test-name", "t.example", *passwords) == 0
    said = capsys.readouterr()
    assert "instead of 5" in said.err
    assert "This is a trial" in said.out
    root = tmp_path / "desk" / "public" / "default" / "metadata" / "1.root.json"
    assert str(root) in said.out
    digest = hashlib.sha256(root.read_bytes()).hexdigest()
    assert " ".join(digest[place : place + 4] for place in range(0, 64, 4)) in said.out
    assert PASSWORD not in said.out + said.err
    people = Desk.open(tmp_path / "desk").people()
    assert {name: set(person.roles) for name, person in people.items()} == {
        "ana": {"root", "list"},
        "ion": {"root", "list"},
        "maria": {"root", "bulk"},
    }


def test_a_full_desk_tells_who_keeps_what(
    tmp_path: Path, passwords: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--root", "ana,ion,maria,vasile,elena", "--list", "ana,ion,maria", "--bulk", "vasile,elena"]
    title = ["--lists", "csam-md,other", "--title", "other=Another|Alta|Другой"]
    assert init("--desk", str(tmp_path / "desk"), "--name", "Hotline", *words, *title, *passwords) == 0
    said = capsys.readouterr()
    assert "Root of trust: ana, ion, maria, vasile and elena. 3 of them" in said.out
    assert "warning" not in said.err
    assert Desk.open(tmp_path / "desk").lists()["other"].ro == "Alta"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["desk", "--name", "x"], "who signs"),
        (["--name", "x", "--trial"], "where"),
        (["desk", "--name", "x", "--trial", "--root", "ana"], "2 people must sign"),
        (["desk", "--name", "x", "--trial", "--title", "csam-md=a"], "three texts"),
        (["desk", "--name", "x", "--trial", "--password-file", "ana"], "NAME=FILE"),
        (["desk", "--name", "x", "--root", "a,b,c", "--list", "a,b,c", "--bulk", "d"], "--trial allows it"),
        (["desk", "--name", "x", "--trial"], "no terminal"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUARDIAN_DESK", raising=False)
    assert init(*words) == 1
    assert what in capsys.readouterr().err
    assert not (tmp_path / "desk").exists()
