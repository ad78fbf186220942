"""The frame: help, exit codes, errors in plain lines, colours, what is imported."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.cli import COMMANDS, main
from guardian.errors import ConfigError, ListError, Problem

Guardian = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_command(guardian: Guardian) -> None:
    for words in (["--help"], ["help"], []):
        done = guardian(*words)
        assert done.returncode == (0 if words else 2)
        assert all(f"  {name} " in done.stdout for name in COMMANDS)
        assert done.stderr == ""


def test_version(guardian: Guardian) -> None:
    from guardian import __version__

    assert guardian("--version").stdout == f"guardian {__version__}\n"


@pytest.mark.parametrize("name", ["check", "explain", "household"])
def test_help_of_a_command_shows_examples(guardian: Guardian, name: str) -> None:
    done = guardian(name, "--help")
    assert done.returncode == 0
    assert f"  guardian {name}" in done.stdout
    assert "--config FILE" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "unknown command 'chek', did you mean 'check'?"),
        (["nonsense"], "unknown command 'nonsense' (commands: run,"),
        (["--verbose"], "unknown option '--verbose'"),
        (["check", "--jsn"], "unrecognized arguments: --jsn"),
        (["household"], "ACTION"),
        (["explain", "x.com"], "one of the arguments --device/-d --profile/-p is required"),
        (["check", "--config"], "--config: expected one argument"),
    ],
)
def test_wrong_usage(guardian: Guardian, words: list[str], said: str) -> None:
    done = guardian(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_config_may_stand_anywhere(guardian: Guardian, folder: Path) -> None:
    path = str(folder / "guardian.yaml")
    for words in (["household", "show", "--config", path], ["household", f"--config={path}", "show"]):
        assert guardian(*words, GUARDIAN_CONFIG="/none").returncode == 0
    done = guardian("household", "show", GUARDIAN_CONFIG="/none.yaml")
    assert (done.returncode, done.stderr) == (2, "/none.yaml: cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError([Problem("a:1", "x"), Problem("a:2", "y")]), 2, "a:1: x\na:2: y\n"),
        (ListError("no image"), 1, "guardian: no image\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_lines_and_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(importlib.import_module("guardian.cli.check"), "run", fail)
    assert main(["check"]) == code
    assert capsys.readouterr().err == said


def test_a_reader_that_leaves_early_is_no_error(guardian: Guardian, folder: Path) -> None:
    words = [sys.executable, "-m", "guardian", "explain", "-p", "ana", *(f"n{n}.example" for n in range(400))]
    environment = os.environ | {"GUARDIAN_CONFIG": str(folder / "guardian.yaml"), "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_colours_are_for_terminals_only(folder: Path, guardian: Guardian) -> None:
    def on_a_terminal(**more: str) -> bytes:
        ours, theirs = os.openpty()
        base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        environment = base | {"GUARDIAN_CONFIG": str(folder / "guardian.yaml"), "TERM": "xterm"} | more
        with subprocess.Popen([sys.executable, "-m", "guardian", "check"], stdout=theirs, env=environment) as process:
            process.wait()
        os.close(theirs)
        text = os.read(ours, 65536)
        os.close(ours)
        return text

    assert b"\x1b[32mno problems" in on_a_terminal()
    assert b"\x1b" not in on_a_terminal(NO_COLOR="1")
    assert b"\x1b" not in on_a_terminal(TERM="dumb")
    assert "\x1b" not in guardian("check").stdout


def test_only_the_asked_command_is_imported() -> None:
    script = (
        "import sys; from guardian.cli import main; main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules if m.startswith('guardian.cli.')"
        " or m in ('yaml', 'asyncio', 'sqlite3', 'ssl')))"
    )

    def imported(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert imported("--help") == ""
    assert imported("check", "--help") == "guardian.cli.check yaml"


def test_a_command_that_an_installation_leaves_out_says_so() -> None:
    """Routers come without the desk."""
    script = (
        "import sys; sys.modules['guardian.cli.hotline'] = None;"
        "from guardian.cli import main; sys.exit(main(['hotline']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "guardian: 'guardian hotline' is not part of this installation\n")


def test_a_package_that_is_missing_is_no_missing_command() -> None:
    script = "import sys; sys.modules['yaml'] = None; from guardian.cli import main; sys.exit(main(['check']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ModuleNotFoundError: import of yaml" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, for whom a folder is closed: needs root")
def test_a_folder_that_this_user_may_not_write_is_named_with_what_to_do(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    settings = tmp_path / "guardian.yaml"
    settings.write_text("state: state\nupstreams: {servers: [192.0.2.53]}\nlists: {categories: []}\n")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-m", "guardian", "sync", "--offline", "--config", str(settings)],
        capture_output=True, text=True, check=False, user="nobody", cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(state) in done.stderr and "run it as root, or as Guardian's own user" in done.stderr
