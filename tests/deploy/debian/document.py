"""docs/raspberry-pi.md as a story: its commands typed on the machine, what comes compared with what it shows.

A block ```console is typed by the Pi's user, ```tablet on a device of the home; `...` stands for lines left out. What
differs each time (codes, addresses of a mode) is compared by its form.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.deploy.debian.container import Container
from tests.deploy.debian.street import TABLET, Street, inside

DOCUMENT = Path(__file__).parents[3] / "docs" / "raspberry-pi.md"
_BLOCK = re.compile(r"^```(console|tablet)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FORMS = (
    (r"\bcode [A-Z2-9]{5}-[A-Z2-9]{5}\b", "code CODE"),
    (r"\bup .*", "up SOME TIME"),
    (r"\b192\.168\.(1\.2|77\.1)\b", "ADDRESS"),
)
_ANSWER = re.compile(r"(\[y/N\]) (\w+)$")


class Command(NamedTuple):
    """A command of the document, where it is typed, and the lines that the document shows below it."""

    place: str
    typed: str
    shown: tuple[str, ...]


def read_sections() -> dict[str, list[Command]]:
    """Return the document's commands by the heading above them."""
    sections: dict[str, list[Command]] = {}
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        sections[heading] = [
            Command(place, *_split(lines))
            for place, block in _BLOCK.findall(body)
            for lines in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        ]
    return sections


def _split(lines: str) -> tuple[str, tuple[str, ...]]:
    typed, *shown = lines.rstrip("\n").split("\n")
    return typed, tuple(shown)


def type_section(machine: Container, street: Street, commands: list[Command]) -> None:
    """Type commands, and compare what comes with what the document shows. Raises AssertionError."""
    assert commands
    for command in commands:
        answers = "".join(f"{found[2]}\n" for line in command.shown if (found := _ANSWER.search(line)))
        if command.place == "tablet":
            words = inside(TABLET, "bash", "-c", command.typed.replace("dig ", f"dig @{machine_address(street)} "))
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        else:
            done = machine.run(command.typed, user="pi", typed=answers, check=False, seconds=300)
        echoed = done.stdout.replace("[y/N] \n", "[y/N]\n\n")  # a terminal shows the end of the line that is typed
        came = echoed.rstrip("\n").split("\n") if echoed else []
        assert done.returncode == 0, f"$ {command.typed}\n{done.stdout}{done.stderr}"
        shown = [mask(_ANSWER.sub(r"\1", line)) for line in command.shown]
        assert fits(shown, [mask(line) for line in came]), f"$ {command.typed}\n{done.stdout}\nis not\n" + "\n".join(
            command.shown
        )


def machine_address(street: Street) -> str:
    """Return whom a device of the home asks: what DHCP or the parent has told it."""
    return "192.168.77.1" if street.behind else "192.168.1.2"


def mask(line: str) -> str:
    """Return a line with what differs each time by its form."""
    for pattern, form in _FORMS:
        line = re.sub(pattern, form, line)
    return re.sub(r"code ABCDE-FGHJK", "code CODE", line).rstrip()


def fits(shown: list[str], came: list[str]) -> bool:
    """Tell whether the lines are those shown, with any number of lines for `...`."""
    if not shown:
        return not came
    if shown[0] == "...":
        return any(fits(shown[1:], came[at:]) for at in range(len(came) + 1))
    return bool(came) and came[0] == shown[0] and fits(shown[1:], came[1:])
