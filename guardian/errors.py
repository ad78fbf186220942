"""The error families of Guardian. Each family says who has to act.

`FormError`: bytes from the network are not what the protocol says; the sender is told or ignored.
`TextError`: a name, address or time that somebody wrote is not one; the message says why.
`ListError`: a list or an image cannot be used; the one before stays in force.
`ConfigError`: settings have problems; each names its place, and the running settings stay.
`UpstreamError`: no upstream gave a usable answer.
`DeskError`: the hotline's desk refuses something; the message says what and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class GuardianError(Exception):
    """Every error that Guardian raises on purpose."""


class FormError(GuardianError):
    """Bytes from the network do not follow their protocol."""


class TextError(GuardianError):
    """A text is not the name, address or time that it should be."""


class ListError(GuardianError):
    """A list or a list image is not usable."""


class DeskError(GuardianError):
    """The hotline's desk refuses something, or its files cannot be used; nothing was changed."""


class UpstreamError(GuardianError):
    """No upstream gave a usable answer in time. `code` is the extended DNS error for the client (RFC 8914)."""

    def __init__(self, text: str = "no upstream answered", code: int = 22) -> None:
        super().__init__(text)
        self.code = code  # 22 No Reachable Authority, 23 Network Error


class Problem(NamedTuple):
    """One thing that is wrong in a file: `where` is `file:line`, `message` says what and what to do."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigError(GuardianError):
    """Settings that cannot be used, with every problem found, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problem._replace(message=_make_printable(problem.message)) for problem in problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _make_printable(text: str) -> str:
    """A file quoted in a message may hold what steers a terminal."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
