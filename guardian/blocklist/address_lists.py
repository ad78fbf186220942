"""Lists of addresses as text: lines -> networks, and several lists -> one table with their facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardian.blocklist.addresses import FORMAT, NOT_AN_ADDRESS, AddressTable, Network, build_table, read_network
from guardian.blocklist.entry import ENCODING, TOO_LONG
from guardian.blocklist.facts import SourceFacts
from guardian.blocklist.parse import MAX_LINE_BYTES, ListFacts

WITH_A_NAME = "with-a-name"  # a hosts line
_JUNK = frozenset({NOT_AN_ADDRESS, WITH_A_NAME, TOO_LONG, ENCODING})
_COMMENT = re.compile(rb"[#;!]")
_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(slots=True)
class AddressFacts(ListFacts):
    """What a list of addresses turned out to be."""

    format: str = FORMAT

    @property
    def junk(self) -> int:
        """How many lines make no sense in a list of addresses."""
        return sum(count for reason, count in self.refused.items() if reason in _JUNK)


def parse_addresses(data: bytes | Iterable[bytes], facts: AddressFacts) -> Iterator[Network]:
    """Yield the networks of a list, one buffer or chunks; `facts` counts its lines, and its refusals with examples.

    A line is an address or a prefix; a port after it (`192.0.2.1:1080`, `192.0.2.1 1080`, `[2001:db8::1]:1080`) is not
    looked at. Comments begin with `#`, `;` or `!`.
    """
    for line in _split_lines((data,) if isinstance(data, bytes) else data):
        facts.lines += 1
        found = _read_line(line)
        if found is None:
            continue
        facts.content += 1
        if isinstance(found, str):
            facts.refuse(found, facts.lines, line)
        else:
            facts.entries += 1
            yield found


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines
        pending = pending[: MAX_LINE_BYTES + 1]  # what is longer is refused anyway
    if pending:
        yield pending


def _read_line(line: bytes) -> Network | str | None:
    if len(line) > MAX_LINE_BYTES:
        return TOO_LONG
    text = _COMMENT.split(line, maxsplit=1)[0].removeprefix(b"\xef\xbb\xbf")
    if not text.isascii():
        return ENCODING
    words = text.decode("ascii").split()
    if not words:
        return None
    host = words[0]
    if boxed := _BRACKETS.fullmatch(host):
        host = boxed[1]
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not _PORT.fullmatch(port):
            return NOT_AN_ADDRESS
    found = read_network(host)
    if len(words) == 1 or (len(words) == 2 and _PORT.fullmatch(words[1])):
        return found
    return NOT_AN_ADDRESS if found == NOT_AN_ADDRESS else WITH_A_NAME


@dataclass(frozen=True, slots=True)
class AddressSource:
    """A list for `compile_addresses`. `read` yields its networks, and counts into the facts what it leaves out."""

    tag: str
    name: str
    read: Callable[[AddressFacts], Iterable[Network]]
    notes: Mapping[str, Any] = field(default_factory=dict)


def compile_addresses(sources: Sequence[AddressSource], now: float) -> AddressTable:
    """Return the table of all lists with their facts; `now` is in epoch seconds. Raises ListError."""
    seen: list[AddressFacts] = [AddressFacts() for _ in sources]

    def pairs() -> Iterator[tuple[str, Network]]:
        for source, facts in zip(sources, seen, strict=True):
            kept = 0
            for network in source.read(facts):
                kept += 1
                yield source.tag, network
            facts.entries = kept

    table = build_table(pairs())
    table.created = now
    table.sources = tuple(
        SourceFacts(
            source.name,
            source.tag,
            "block",
            FORMAT,
            facts.lines,
            facts.content,
            facts.entries,
            dict(facts.refused),
            dict(facts.examples),
            source.notes,
        )
        for source, facts in zip(sources, seen, strict=True)
    )
    return table
