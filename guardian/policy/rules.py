"""The parents' own rules: their text, and a table that finds the most specific one for a name.

From most to least specific, for `ads1.example.com`: `=ads1.example.com`, `ads1.example.com`, `ads*.example.com`,
`*.example.com`, `example.com`, `com`, `*ads*`. At the same specificity a profile's rule wins over the household's,
and then allow wins over block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardian.errors import TextError
from guardian.names import ROOT, format_name, parse_name, suffixes
from guardian.policy.model import FOREVER, Action, Match, Rule

_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_GLOB = re.compile(r"[a-z0-9_*-]{1,63}")


class Glob(NamedTuple):
    """One label with stars; `ads*x` is ("ads", (), "x"). Matching is a few `find`s: no pattern can make it slow."""

    prefix: bytes
    middles: tuple[bytes, ...]
    suffix: bytes
    literals: int  # characters that are not stars: more is more specific

    def matches(self, label: bytes) -> bool:
        """Tell whether a label (lower case, without its length) fits."""
        if len(label) < self.literals or not label.startswith(self.prefix) or not label.endswith(self.suffix):
            return False
        position, end = len(self.prefix), len(label) - len(self.suffix)
        for middle in self.middles:
            position = label.find(middle, position, end)
            if position < 0:
                return False
            position += len(middle)
        return True


class Pattern(NamedTuple):
    """What a rule's text comes to.

    EXACT and SUBDOMAINS: `base` is the wire name. WILDCARD: `glob` is for the label left of `base`, and what is below
    that label goes with it; no glob stands for `*.`: all names below `base`; the base of a pattern without a dot
    (`*ads*`) is the root, and its glob is for any label of a name.
    """

    match: Match
    base: bytes
    glob: Glob | None
    text: str  # in A-labels, lower case


def parse_pattern(text: str) -> Pattern:
    """Return the pattern that a parent wrote.

    `example.com`, `=example.com`, `*.example.com`, `ads*.example.com`, `*ads*`; see Pattern for what they cover.
    Raises TextError with a message for parents.
    """
    text = text.strip().lower()
    if "/" in text:
        raise TextError(f"{text[:80]!r}: write only the site's name, without 'https://' and what follows the name")
    if text.startswith("="):
        base = _parse_site(text[1:])
        return Pattern(Match.EXACT, base, None, "=" + format_name(base))
    if "*" not in text:
        base = _parse_site(text)
        return Pattern(Match.SUBDOMAINS, base, None, format_name(base))
    first, dot, rest = text.partition(".")
    if "*" in rest:
        raise TextError(f"{text[:80]!r}: only the first part of a name can hold a *")
    if not _GLOB.fullmatch(first):
        raise TextError(f"{text[:80]!r}: beside * only letters, digits, - and _ can stand in the first part")
    base = _parse_site(rest) if dot else ROOT
    glob = None if first == "*" and dot else _read_glob(first)
    return Pattern(Match.WILDCARD, base, glob, f"{first}.{format_name(base)}" if dot else first)


def parse_rule(text: str, action: Action, expires: float = FOREVER, note: str = "") -> Rule:
    """Return the rule for a pattern that a parent wrote; `action` is ALLOW or BLOCK. Raises TextError."""
    pattern = parse_pattern(text)
    return Rule(action, pattern.text, pattern.match, expires, note)


def format_rule(rule: Rule) -> str:
    """Return how explanations and logs of the parents call a rule: `block =example.com`."""
    sign = "=" if rule.match is Match.EXACT and not rule.pattern.startswith("=") else ""
    return f"{rule.action.value} {sign}{rule.pattern}"


def _parse_site(text: str) -> bytes:
    if not text:
        raise TextError("a rule needs the name of a site, like example.com")
    name = parse_name(text)
    labels = format_name(name).split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise TextError(f"{text[:80]!r} is not the name of a site: only letters, digits, - and _ between the dots")
    if labels[-1].isdigit():
        raise TextError(f"{text[:80]!r} is a number or an address; a rule needs the name of a site")
    return name


def _read_glob(text: str) -> Glob:
    first, *middles, last = text.encode().split(b"*")
    return Glob(first, tuple(part for part in middles if part), last, len(text) - text.count("*"))


class RuleEntry(NamedTuple):
    """A rule in a table; `number` is its place there, `shared` tells that it is the household's."""

    number: int
    rule: Rule
    shared: bool

    @property
    def rank(self) -> tuple[bool, bool]:
        return self.shared, self.rule.action is Action.BLOCK


class _Node:
    """The rules whose names end in one base."""

    __slots__ = ("below", "globs", "here")

    def __init__(self) -> None:
        self.globs: list[tuple[Glob, RuleEntry]] = []
        self.below: list[RuleEntry] = []
        self.here: list[RuleEntry] = []  # for the base and all below it


class RuleTable:
    """The rules of one profile, its own and the household's, compiled once and read-only."""

    __slots__ = ("_anywhere", "_exact", "_expiries", "_nodes")

    def __init__(self, own: Iterable[Rule], shared: Iterable[Rule] = ()) -> None:
        self._exact: dict[bytes, list[RuleEntry]] = {}
        self._nodes: dict[bytes, _Node] = {}
        self._anywhere: list[tuple[Glob, RuleEntry]] = []
        rules = [(rule, False) for rule in own] + [(rule, True) for rule in shared]
        entries = [RuleEntry(number, rule, is_shared) for number, (rule, is_shared) in enumerate(rules)]
        self._expiries = sorted({entry.rule.expires for entry in entries})
        for entry in sorted(entries, key=lambda entry: entry.rank):
            self._add(entry)
        for globs in (self._anywhere, *(node.globs for node in self._nodes.values())):
            globs.sort(key=lambda pair: -pair[0].literals)  # stable: the rank still decides between equals

    def _add(self, entry: RuleEntry) -> None:
        rule = entry.rule
        if rule.match is Match.EXACT:
            self._exact.setdefault(parse_name(rule.pattern.removeprefix("=")), []).append(entry)
            return
        pattern = parse_pattern(rule.pattern)
        if pattern.base == ROOT and pattern.glob is not None:
            self._anywhere.append((pattern.glob, entry))
            return
        node = self._nodes.setdefault(pattern.base, _Node())
        if pattern.match is Match.SUBDOMAINS:
            node.here.append(entry)
        elif pattern.glob is None:
            node.below.append(entry)
        else:
            node.globs.append((pattern.glob, entry))

    def find(self, name: bytes, now: float) -> RuleEntry | None:
        """Return the rule that holds for a lower-case wire name at `now`, or None."""
        if (exact := self._exact.get(name)) is not None and (entry := _first(exact, now)) is not None:
            return entry
        nodes = self._nodes
        if nodes:
            before = position = 0
            while length := name[position]:
                node = nodes.get(name[position:])
                if node is not None and (entry := _ask(node, name[before:position], now)) is not None:
                    return entry
                before = position
                position += length + 1
        return self._find_anywhere(name, now) if self._anywhere else None

    def _find_anywhere(self, name: bytes, now: float) -> RuleEntry | None:
        labels = [suffix[1 : 1 + suffix[0]] for suffix in suffixes(name)]
        for glob, entry in self._anywhere:
            if entry.rule.expires > now and any(glob.matches(label) for label in labels):
                return entry
        return None

    def expiries(self, now: float) -> Iterator[float]:
        """Yield the moments after `now` at which rules expire, ascending."""
        return (moment for moment in self._expiries if now < moment < FOREVER)


def _first(entries: list[RuleEntry], now: float) -> RuleEntry | None:
    for entry in entries:
        if entry.rule.expires > now:
            return entry
    return None


def _ask(node: _Node, label: bytes, now: float) -> RuleEntry | None:
    """Ask a node about the name whose next label down is `label`, with its length byte; b"" is the base itself."""
    if label:
        for glob, entry in node.globs:
            if entry.rule.expires > now and glob.matches(label[1:]):
                return entry
        if node.below and (below := _first(node.below, now)) is not None:
            return below
    return _first(node.here, now)
