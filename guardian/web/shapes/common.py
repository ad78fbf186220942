"""Words that all shapes share."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Language = Literal["ro", "ru", "en"]
AgeBand = Literal["", "0-6", "7-9", "10-12", "13-15", "16-17"]  # "" for adults
# `$` alone lets a line end through in Python; `$(?!\n)` means the very end there and in JavaScript. No `\d`: it knows
# digits of all scripts.
Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)", description="id of a profile or a device")]
Name = Annotated[str, Meta(min_length=1, max_length=200, description="what people call it")]
ShortName = Annotated[str, Meta(min_length=1, max_length=60, description="of a person, a program, a channel")]
Note = Annotated[str, Meta(max_length=200)]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="a local date")]
Weekday = Annotated[int, Meta(ge=0, le=6)]
Moment = Annotated[float, Meta(ge=0, le=4102444800, description="epoch seconds")]


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    """The base of all shapes."""


class FieldProblem(Struct):
    """What is wrong with one part of a request: `profile.rules[2].pattern`, or `household.yaml:12`."""

    where: str
    message: str


class Problem(Struct):
    """Why a call failed (RFC 9457). `code` is for programs and translations; `detail` is an English sentence."""

    status: int
    code: str
    title: str
    detail: str = ""
    problems: list[FieldProblem] = []
    retry_after: int | None = None  # seconds


class Done(Struct):
    """It is done; `revision` is the household's after it. `until` is there where the call works that moment out."""

    revision: int
    until: Moment | None = None
