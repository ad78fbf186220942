"""The names that all servers under test get: a million blocked ones and some allowed ones, the same in every run.

They look like real lists: brand-like words, trackers with numbers, deep hosts, a few dozen endings. They are made from
a seed, so that nothing from anybody's list is needed and two runs compare.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

SEED = 20261123
CATEGORIES = (  # ids of Guardian's catalogue
    "adult",
    "gambling",
    "dating",
    "drugs",
    "violence",
    "weapons",
    "hacking",
    "cryptojacking",
    "social_networks",
    "chat",
    "games",
    "shopping",
    "warez",
    "phishing",
    "malware",
    "vpn",
)
MANDATORY_NAMES = 2000  # the last ones of the blocked names stand on a mandatory list

_ENDINGS: tuple[str, ...] = (
    ("com",) * 46 + ("net",) * 9 + ("org",) * 7 + ("info",) * 5 + ("xyz",) * 5 + ("top",) * 4 + ("ru",) * 6
)
_ENDINGS += ("de", "co.uk", "io", "site", "online", "club", "shop", "ro", "md", "com.ua", "fr", "it", "pl", "com.br")
_FIRST = ("ads", "track", "cdn", "www", "static", "img", "api", "m", "click", "stats", "pixel", "login", "video", "go")
_ONSETS: tuple[str, ...] = (
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
)
_ONSETS += ("sh", "st", "t", "tr", "v", "w", "z", "")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "io", "oo")
_CODAS = ("", "", "", "n", "r", "s", "t", "x", "l", "m", "ck", "nd")


class Corpus(NamedTuple):
    """Names as text, each once; no allowed name is a blocked one or lies below one."""

    blocked: list[str]
    allowed: list[str]

    def by_category(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each of the 16 categories with its names: every blocked name that is not mandatory, in turn."""
        ordinary = self.blocked[: len(self.blocked) - MANDATORY_NAMES]
        for index, category in enumerate(CATEGORIES):
            yield category, ordinary[index :: len(CATEGORIES)]

    def mandatory(self) -> list[str]:
        """Return the names of the mandatory list."""
        return self.blocked[len(self.blocked) - MANDATORY_NAMES :]


def make_corpus(blocked: int, allowed: int, seed: int = SEED) -> Corpus:
    """Return so many blocked and allowed names. About 4 s for a million."""
    source = _make_names(random.Random(seed))
    listed = dict.fromkeys(islice(source, blocked))
    while len(listed) < blocked:
        listed.update(dict.fromkeys(islice(source, blocked - len(listed))))
    free: dict[str, None] = {}
    while len(free) < allowed:
        name = next(source)
        if not any(parent in listed for parent in _suffixes(name)):
            free[name] = None
    return Corpus(list(listed), list(free))


def _suffixes(name: str) -> Iterator[str]:
    while True:
        yield name
        _, dot, name = name.partition(".")
        if not dot:
            return


def _make_names(rng: random.Random) -> Iterator[str]:
    words = ["".join(rng.choice(part) for part in (_ONSETS, _VOWELS, _CODAS) * rng.randint(1, 2)) for _ in range(6000)]
    words = [word for word in dict.fromkeys(words) if len(word) > 2]
    count, endings, below = len(words), len(_ENDINGS), rng.random
    while True:
        shape = below()
        name = words[int(below() * count)] + words[int(below() * count)]
        if shape < 0.12:
            name += f"-{words[int(below() * count)]}"
        elif shape < 0.24:
            name += str(int(below() * 1000))
        elif shape < 0.28:
            name = f"{int(below() * 2**40):x}"
        name = f"{name}.{_ENDINGS[int(below() * endings)]}"
        if shape > 0.55:
            name = f"{_FIRST[int(below() * len(_FIRST))]}.{name}"
        if shape > 0.92:
            name = f"{words[int(below() * count)]}{int(below() * 100)}.{name}"
        yield name
