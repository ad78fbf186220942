"""`guardian hotline`: the table of commands, where the desk is, and wrong usage."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from guardian.cli import Parser, main
from guardian.cli.hotline import COMMANDS
from tests.cli.hotline.desks import call

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotline", name, "--help"]) == 0
    assert f"usage: guardian hotline {name}" in capsys.readouterr().out
    module = importlib.import_module(f"guardian.cli.hotline.{COMMANDS[name].module}")
    parser = Parser(prog="x")
    parser.set_defaults(command=name)
    module.add_arguments(parser)
    assert callable(module.run)


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotline", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_an_unknown_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotline", "aprove"]) == 2
    assert "did you mean 'approve'?" in capsys.readouterr().err
    assert main(["hotline"]) == 2
    assert main(["hotline", "list", "--nonsense"]) == 2
    assert "Try 'guardian hotline list --help'" in capsys.readouterr().err


def test_the_desk_is_named_before_behind_or_by_the_environment(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GUARDIAN_DESK", raising=False)
    assert call(folder, "people", "list") == 0
    assert main(["hotline", "people", "--desk", str(folder), "list"]) == 0
    assert main(["hotline", "people", "list"]) == 1
    assert "which desk? Give --desk DIR, or set $GUARDIAN_DESK" in capsys.readouterr().err
    monkeypatch.setenv("GUARDIAN_DESK", str(folder))
    assert main(["hotline", "people", "list"]) == 0
    monkeypatch.setenv("GUARDIAN_DESK", str(folder / "nowhere"))
    assert main(["hotline", "people", "list"]) == 1
    assert "no desk" in capsys.readouterr().err
