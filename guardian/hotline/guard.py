"""What a list must be before it replaces the one before: a list, of a plausible size, without protected names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from guardian.blocklist.address_lists import AddressFacts, parse_addresses
from guardian.blocklist.addresses import AddressTable, Network
from guardian.blocklist.parse import ListFacts as ParsedFacts
from guardian.blocklist.parse import ListParser, read_entries
from guardian.errors import ListError
from guardian.hotline.fetch import open_private
from guardian.names import format_name, suffixes

_CHUNK_BYTES = 1 << 18
SHRINK_TO = 10  # a list that keeps less than one entry of so many has lost its content, not its targets
_SMALL = 20  # entries; below, shrinking says nothing
_MOST = {4: 1 << 27, 16: 1 << 114}  # addresses of one list: a 32nd of IPv4, four /16 of IPv6


@dataclass(frozen=True, slots=True)
class ListFacts:
    """What a list holds: lines with content, entries, and the protected names or addresses that it wanted to block."""

    content: int
    entries: int
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protection:
    """The names that no list may block.

    `below`: wire names with all below and all above; `exact`: wire names with all above.
    """

    below: frozenset[bytes]
    exact: frozenset[bytes]
    _above: frozenset[bytes] = field(init=False)
    _tails: frozenset[bytes] = field(init=False)
    _tail_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        above = {suffix for name in self.below | self.exact for suffix in suffixes(name)}
        # A short tail of each name sorts out nearly all candidates with one look into a set.
        tail_bytes = min((len(name) for name in self.below), default=1)
        object.__setattr__(self, "_above", frozenset(above))
        object.__setattr__(self, "_tail_bytes", tail_bytes)
        object.__setattr__(self, "_tails", frozenset(name[-tail_bytes:] for name in self.below))

    def find(self, names: Iterable[bytes]) -> list[bytes]:
        """Return those of the wire names that are protected, or have a protected name below or above them."""
        if not self._above:
            return []
        tails, size, above = self._tails, self._tail_bytes, self._above
        suspects = [name for name in names if name[-size:] in tails or name in above]
        return [name for name in suspects if name in above or any(suffix in self.below for suffix in suffixes(name))]


NO_PROTECTION = Protection(frozenset(), frozenset())


def inspect_list(path: Path, format_: str, protection: Protection, confidential: bool = False) -> ListFacts:
    """Return what the list at `path` holds; a confidential one is never quoted.

    Raises ListError: it is no list (fewer than half of its lines parse). Raises OSError when it cannot be read.
    """
    parser = ListParser(format_)
    dropped: dict[bytes, None] = {}
    for entries in read_entries(parser, read_chunks(path)):
        for names in (entries.block, entries.block_exact):
            for name in protection.find(names):
                dropped.setdefault(name)
    facts = parser.facts
    _check_sense(facts, confidential)
    return ListFacts(facts.content, facts.entries, tuple(format_name(name) for name in dropped))


def inspect_addresses(path: Path, shared: AddressTable) -> ListFacts:
    """Return what the list of addresses at `path` holds, without those that `shared` has, which many sites share.

    Raises ListError: it is no list, or it takes too much of the internet. Raises OSError when it cannot be read.
    """
    facts = AddressFacts()
    dropped: Counter[str] = Counter()
    taken = {4: 0, 16: 0}
    entries = 0
    for first, bits in keep_unshared(path, shared, facts, dropped):
        entries += 1
        taken[len(first)] += 1 << 8 * len(first) - bits
    _check_sense(facts, confidential=False)
    for size, most in _MOST.items():
        if taken[size] > most:
            share = 100 * taken[size] / (1 << 8 * size)
            raise ListError(f"it takes {share:.2g} % of all IPv{4 if size == 4 else 6} addresses")
    return ListFacts(facts.content, entries, tuple(f"{count} of {owner}" for owner, count in dropped.most_common()))


def keep_unshared(
    path: Path, shared: AddressTable, facts: AddressFacts, dropped: Counter[str] | None = None
) -> Iterator[Network]:
    """Yield the networks of the list at `path` but those that touch `shared`; `dropped` counts them by owner."""
    for network in parse_addresses(read_chunks(path), facts):
        owner = shared.find_overlap(network)
        if not owner:
            yield network
        elif dropped is not None:
            dropped[owner] += 1


def _check_sense(facts: ParsedFacts, confidential: bool) -> None:
    if not facts.content:
        raise ListError("there is nothing in it")
    if not facts.is_list:
        shown = (
            "" if confidential else next((f", for example '{kept[0].text}'" for kept in facts.examples.values()), "")
        )
        raise ListError(f"no list: {facts.junk} of {facts.content} lines make no sense{shown}")


def check_shrinking(entries: int, before: int) -> None:
    """Raise ListError when a list has lost more than nine tenths of its entries."""
    if before >= _SMALL and entries * SHRINK_TO < before:
        raise ListError(f"it shrank from {before} to {entries} entries")


def leave_out(path: Path, names: Iterable[str], target: Path) -> None:
    """Write the list at `path` to `target` without the lines that name one of `names` (as a whole name)."""
    words = "|".join(re.escape(name) for name in names)
    pattern = re.compile(rf"(?<![\w-])(?<![\w-]\.)(?:\*\.)?(?:{words})\.?(?![\w.-])".encode(), re.IGNORECASE)
    with open(path, "rb") as source, open(target, "wb", opener=open_private) as kept:
        for line in source:
            if not pattern.search(line):
                kept.write(line)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
