"""Builds: the feed once for everybody, and once more for each ISP that wants its own salt.

All builds hold the same lists and versions and are signed by the same people; salt and canary domains are a build's
own, so a list that leaks tells from which build it came. A build is `DIR/builds/NAME.json`, mode 600.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from guardian.blocklist.feed_base import SALT_BYTES, STANDARD, Base, Cost, SuffixRules, build_base
from guardian.desk.repository import DEFAULT_BUILD
from guardian.errors import DeskError, TextError
from guardian.feed import Count, Digest, Word
from guardian.names import format_name, parse_name

CANARIES = 3
MAX_NAME = 16  # of a build: its name is part of its epochs' names, which are at most 32 long
_CONSONANTS = "bdfglmnprstvz"
_VOWELS = "aeiou"


class Epoch(Struct, frozen=True):
    """A quarter's salt. `base` counts the bases that were made with it; 0 = none yet."""

    name: Word
    salt: Digest  # 32 bytes as hex
    base: Count = 0


class Build(Struct, frozen=True, kw_only=True):
    """A build as its file holds it. `coming` is the epoch that the next publication begins."""

    name: Word
    epoch: Epoch
    coming: Epoch | None = None
    canaries: list[str] = []
    log2_n: Annotated[int, Meta(ge=12, le=15)] = STANDARD.log2_n
    sources: str = ""  # digest of the suffix rules and popular names that the base was made from

    @property
    def cost(self) -> Cost:
        """What a key costs in this build."""
        return STANDARD._replace(log2_n=self.log2_n)


def load_builds(folder: Path) -> dict[str, Build]:
    """Return the builds of a desk by name, `default` first. Raises DeskError with the file that is broken."""
    found: dict[str, Build] = {}
    for path in (folder / "builds").glob("*.json"):
        try:
            build = msgspec.json.decode(path.read_bytes(), type=Build)
        except msgspec.MsgspecError as error:
            raise DeskError(f"{path}: {error}; put the desk's backup back") from None
        found[build.name] = build
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT_BUILD, item[0])))


def place_of(build: str) -> str:
    """Return where a build's file lies below the desk's folder."""
    return f"builds/{build}.json"


def encode_build(build: Build) -> bytes:
    """Return a build's file."""
    return msgspec.json.format(msgspec.json.encode(build), indent=1) + b"\n"


def make_build(name: str, now: float, log2_n: int = STANDARD.log2_n) -> Build:
    """Return a new build without canaries. Raises DeskError for a name that is no word of at most 16 letters."""
    try:
        word = msgspec.convert(name, Word)
    except msgspec.ValidationError:
        word = ""
    if not word or len(word) > MAX_NAME:
        raise DeskError(f"{name!r} is no name of a build: small letters, digits and '-', at most {MAX_NAME}")
    return Build(name=word, epoch=make_epoch(word, now, ()), log2_n=log2_n)


def make_epoch(build: str, now: float, used: Iterable[str]) -> Epoch:
    """Return a new epoch with a new salt, named after build and quarter; a second one in a quarter gets a number."""
    today = datetime.fromtimestamp(now, UTC)
    first = f"{today.year}q{(today.month + 2) // 3}-{build}"
    names = (first, *(f"{first}-{number}" for number in range(2, 1000)))
    taken = set(used)
    return Epoch(next(name for name in names if name not in taken), secrets.token_hex(SALT_BYTES))


def begin_epoch(build: Build, now: float) -> Build:
    """Return the build with an epoch that its next publication begins; one that is waiting stays."""
    if build.coming is not None:
        return build
    return msgspec.structs.replace(build, coming=make_epoch(build.name, now, [build.epoch.name]))


def make_bare_base(epoch: Epoch, cost: Cost, rules: SuffixRules) -> Base:
    """Return a base that only tells key domains: what the real one is made with."""
    return Base(build_base(epoch.name, bytes.fromhex(epoch.salt), cost, rules, (), ()))


def make_canaries(suffix: str, base: Base) -> list[str]:
    """Return three made-up names straight below a public suffix. Raises DeskError for anything else than a suffix.

    A name further down would not be found by who tries all registered domains, and so would tell nothing.
    """
    try:
        wire = parse_name(suffix)
    except TextError as error:
        raise DeskError(f"the suffix of the canary names: {error}") from None
    names = [parse_name(f"{_make_word()}.{format_name(wire)}") for _ in range(CANARIES)]
    if any(base.key_domain(name) != name for name in names):
        raise DeskError(f"{suffix} is no public suffix such as md or com: canary names must stand straight below one")
    return [format_name(name) for name in names]


def check_canaries(names: Sequence[str], base: Base) -> list[str]:
    """Return canary names that somebody chose, spelt as entries are. Raises DeskError unless each is registrable."""
    checked = []
    for name in names:
        try:
            wire = parse_name(name)
        except TextError as error:
            raise DeskError(f"canary name: {error}") from None
        if base.key_domain(wire) != wire:
            raise DeskError(f"canary name {name}: must be a domain that can be registered, not a name below one")
        checked.append(format_name(wire))
    return checked


def _make_word() -> str:
    """Eight letters that look like a name and are nobody's: 4 million million of them with the digits."""
    syllables = "".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(5))
    return f"{syllables}{secrets.randbelow(90) + 10}"
