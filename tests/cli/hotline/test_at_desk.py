"""What the commands share: passwords, tables, and the line that says what is secret."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from guardian.cli.hotline.at_desk import print_table, read_password, say_confidential, show_time
from guardian.errors import DeskError

ROOT = Path(__file__).parents[3]


def write(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    os.chmod(path, mode)
    return str(path)


def test_a_password_is_the_first_line_of_a_file(tmp_path: Path) -> None:
    for data in (b"four plain words", b"four plain words\n", b"four plain words\r\nmore\n"):
        assert read_password("ana", write(tmp_path / "p", data)) == "four plain words"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(DeskError, match="can be read by other users of this machine: chmod 600"):
        read_password("ana", write(tmp_path / "p", b"four plain words", mode))


@pytest.mark.parametrize(("data", "message"), [(b"", "is empty"), (b"\nx", "is empty"), (b"\xff\xfe", "not text")])
def test_a_password_file_without_one_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DeskError, match=message):
        read_password("ana", write(tmp_path / "p", data))
    with pytest.raises(DeskError, match="cannot be read"):
        read_password("ana", str(tmp_path / "lost"))


def test_a_password_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"four plain words\n")
    os.close(writing)
    try:
        assert read_password("ana", f"/dev/fd/{reading}") == "four plain words"
    finally:
        os.close(reading)


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(DeskError, match="no terminal to ask ana for a password: give --password-file FILE"):
            read_password("ana", None)


def test_on_a_terminal_a_password_is_asked_for_and_not_shown() -> None:
    asking = "print('got', len(read_password('ana', None, new=True)))"
    script = f"from guardian.cli.hotline.at_desk import read_password; {asking}"
    child, terminal = pty.fork()
    if not child:  # a real terminal, of its own
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", script])
    shown = b""
    for expected in (b"New password of ana: ", b"Once more: "):
        while expected not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, b"four plain words\n")
    while b"got" not in shown or not shown.endswith(b"\n"):
        shown += os.read(terminal, 1024)
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"got 16" in shown and b"plain" not in shown


def test_tables_are_as_wide_as_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "long head"), [("wide cell", 1), ("x", None)])
    assert capsys.readouterr().out == "a          long head\nwide cell  1\nx          None\n"
    print_table(("a",), [])
    assert capsys.readouterr().out == "a\n"


def test_what_is_secret_is_said_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    say_confidential()
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("confidential: ")


def test_times_are_shown_in_utc() -> None:
    assert show_time(1_800_000_000) == "2027-01-15 08:00"
