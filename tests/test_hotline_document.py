"""`docs/hotline.md` is one story: all of its commands are typed here, and what comes is what the document shows.

A block ```console holds commands (`$ guardian hotline ...`) with what they print; `...` stands for lines left out. A
block ```text NAME is a file. What differs each time (dates, hashes, keys) is compared by its form.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from guardian.cli import main

DOCUMENT = Path(__file__).parents[1] / "docs" / "hotline.md"
DESK = "/srv/desk"
PASSWORD = "four quiet words here"
CHEAP = ("--log2-n", "12")  # keys of the desk's routers cost a quarter: the story is the same
_BLOCK = re.compile(r"^```(console|text [\w.-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FORMS = (
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "MOMENT"),
    (r"\b\d{4}-\d\d-\d\d\b", "DAY"),
    (r"\b20\d\dq[1-4]-", "QUARTER-"),
    (r"\b[0-9a-f]{4}(?: [0-9a-f]{4}){3,}\b", "FINGERPRINT"),
    (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,64}\b", "HASH"),
    (r"\b1[7-9]\d{8}\b", "SERIAL"),
    (r"\b[a-z]{10}\d\d\.md\b", "CANARY"),
    (r"\bin \d+ (hours|minutes|seconds)\b", "in SOME TIME"),
)


class Command(NamedTuple):
    """A command of the document, and the lines that the document shows below it."""

    typed: str
    shown: tuple[str, ...]


def read_story() -> Iterator[Command | tuple[str, str]]:
    """Yield the document's commands and its files (name, text), in their order."""
    for kind, body in _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")):
        if kind != "console":
            yield kind.removeprefix("text "), body
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            typed, *shown = part.rstrip("\n").split("\n")
            yield Command(typed, tuple(shown))


def mask(line: str, folder: Path) -> str:
    """Return a line with what differs each time by its form, and without the blanks of tables."""
    line = line.replace(str(folder / "desk"), DESK)
    for pattern, form in _FORMS:
        line = re.sub(pattern, form, line)
    return re.sub(r"\s+", " ", line).strip()


def fits(shown: tuple[str, ...], came: list[str]) -> bool:
    """Tell whether the lines are those shown, with any number of lines for `...`."""
    if not shown:
        return not came
    if shown[0] == "...":
        return any(fits(shown[1:], came[at:]) for at in range(len(came) + 1))
    return bool(came) and came[0] == shown[0] and fits(shown[1:], came[1:])


def complete(typed: str, folder: Path) -> list[str]:
    """Return the words of a command with what people type on a terminal: passwords."""
    _, *words = shlex.split(typed.replace(DESK, str(folder / "desk")))
    file = str(folder / "password")
    if "init" in words:
        people = {name for option in ("--root", "--bulk") for name in words[words.index(option) + 1].split(",")}
        return [*words, *CHEAP, *(word for name in sorted(people) for word in ("--password-file", f"{name}={file}"))]
    if "add-person" in words:
        words += ["--new-password-file", file]
    return [*words, "--password-file", file] if "--as" in words else words


def type_story(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Command, list[str], list[str], int]]:
    """Type everything; yield each command with its masked lines, those of errors, and its exit code."""
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for part in read_story():
        if not isinstance(part, Command):
            name, text = part
            (folder / name).write_text(re.sub(r"\b20\d\d-\d\d-\d\d\b", today, text))
            continue
        capsys.readouterr()
        code = main(complete(part.typed, folder))
        said = capsys.readouterr()
        lines = [[mask(line, folder) for line in text.splitlines()] for text in (said.out, said.err)]
        yield part, lines[0], lines[1], code


def test_the_story_of_the_hotline_comes_as_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDIAN_DESK", str(tmp_path / "desk"))
    monkeypatch.chdir(tmp_path)
    typed = 0
    for command, out, err, code in type_story(tmp_path, capsys):
        typed += 1
        shown = tuple(mask(line, tmp_path) for line in command.shown)
        assert any(fits(shown, came) for came in (out, err, [*err, *out])), (
            f"$ {command.typed}\n" + "\n".join([*err, *out]) + "\nbut the document shows\n" + "\n".join(shown)
        )
        assert code == (1 if shown and shown[0].startswith("guardian: ") else 0), command.typed
    assert typed > 50


def test_a_line_that_is_not_so_is_found() -> None:
    """The comparison can fail."""
    assert fits(("a", "...", "c"), ["a", "b", "c"]) and fits(("...",), []) and fits(("a",), ["a"])
    assert not fits(("a", "c"), ["a", "b", "c"]) and not fits((), ["a"]) and not fits(("a", "...", "d"), ["a", "b"])
    first, other = "digest 61173e176650bbcf at 2026-11-22 06:52", "digest 0f173e17665000aa at 2027-01-01 00:00"
    assert mask(first, DOCUMENT) == mask(other, DOCUMENT) != mask("serial 5", DOCUMENT)


def test_everything_that_the_command_line_has_is_told() -> None:
    from guardian.cli.hotline import COMMANDS

    names = ("hotline.md", "reports.md", "rpz.md")
    text = "".join((DOCUMENT.parent / name).read_text(encoding="utf-8") for name in names)
    missing = [name for name in COMMANDS if not re.search(rf"(?:guardian hotline (?:--desk \S+ )?|`){name}\b", text)]
    assert not missing, f"no document for analysts speaks of {missing}"
