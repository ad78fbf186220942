"""A desk that is used through the command line alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.cli import main

PEOPLE = ("ana", "ion", "maria")
PASSWORD = "four words make 1 password"


def make_desk(folder: Path) -> Path:
    """Make a trial desk and the files of its people's passwords below a folder, and return the folder."""
    words = []
    for name in PEOPLE:
        path = folder / f"{name}.txt"
        path.write_text(PASSWORD + "\n")
        path.chmod(0o600)
        words += ["--password-file", f"{name}={path}"]
    assert (
        main(["hotline", "init", str(folder / "desk"), "--trial", "--name", "A trial", *words, "--log2-n", "12"]) == 0
    )
    return folder


class TypedDesk:
    """Runs commands and returns what they say."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.desk = folder / "desk"
        self._capsys = capsys
        self._proposals = 0

    def run(self, command: str, *words: str, by: str = "", code: int = 0) -> str:
        """Run a command, which must end with this code; return its output."""
        self._capsys.readouterr()
        who = ["--as", by, "--password-file", str(self.folder / f"{by}.txt")] if by else []
        ended = main(["hotline", "--desk", str(self.desk), command, *words, *who])
        said = self._capsys.readouterr()
        assert ended == code, said.out + said.err
        return said.out

    def fail(self, command: str, *words: str, by: str = "") -> str:
        """Run a command that must fail; return what it says of that."""
        self._capsys.readouterr()
        who = ["--as", by, "--password-file", str(self.folder / f"{by}.txt")] if by else []
        ended = main(["hotline", "--desk", str(self.desk), command, *words, *who])
        said = self._capsys.readouterr()
        assert ended == 1, said.out + said.err
        return said.err

    def add(self, *names: str) -> None:
        """Two people put names on the list."""
        domains = [word for name in names for word in ("--domain", name)]
        law = ["--legal-basis", "law_order", "--order-ref", "Law 1/2024", "--authority", "Hotline", "--why", "a test"]
        self.run("add", "--list", "csam-md", *domains, *law, by="ana")
        self._proposals += 1
        self.run("approve", str(self._proposals), by="ion")
