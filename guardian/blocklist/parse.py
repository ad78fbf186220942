"""List text -> entries: formats told apart, lines counted, refusals kept with examples.

`ListParser` takes a list in chunks and gives its entries chunk by chunk, so memory does not grow with the list.
`parse_list` reads a whole list at once. See `docs/list-format.md` for what each format may say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from guardian.blocklist import entry
from guardian.blocklist.bulk import take_clean
from guardian.blocklist.entry import Entries, Example, make_printable, no_entries
from guardian.blocklist.lines import LineReader, read_dnsmasq, read_mixed, read_url
from guardian.blocklist.rpz import RpzReader
from guardian.errors import ListError

FORMATS = ("domains", "hosts", "adblock", "dnsmasq", "rpz", "wildcard", "url")

MAX_LINE_BYTES = 4096
_PIECE_BYTES = 1 << 18  # so much text is in work at a time
_SNIFF_LINES = 200
_BOM = b"\xef\xbb\xbf"

_READERS: dict[str, LineReader] = {
    "domains": read_mixed,
    "hosts": read_mixed,
    "adblock": read_mixed,
    "wildcard": read_mixed,
    "dnsmasq": read_dnsmasq,
    "url": read_url,
}
# The first that matches a line tells its format; what matches none is taken for a plain name.
_SIGNS = (
    ("adblock", re.compile(rb"@@|\|\|?[a-z0-9*]|\[Adblock|.*\^(?:\$|\||$)|[^\s#]*#@?[?$%]?#\S", re.IGNORECASE)),
    ("dnsmasq", re.compile(rb"(?:address|server|local)=/")),
    ("rpz", re.compile(rb"\$(?:TTL|ORIGIN)\b|(?:.*\s)(?:CNAME|SOA)\s", re.IGNORECASE)),
    ("hosts", re.compile(rb"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*(?:%\w+)?|0)\s+\S", re.IGNORECASE)),
    ("wildcard", re.compile(rb"\*\.\S+$")),
    ("url", re.compile(rb"(?:https?://)?[^/\s<>]+\.[^/\s<>]+/\S*$", re.IGNORECASE)),
)
_OWNER_LEFT_OUT = re.compile(rb"^[ \t]", re.MULTILINE)
_COMMENT = re.compile(rb"\s*(?:[#!;]|$)")


@dataclass(slots=True)
class ListFacts:
    """What a list turned out to be. `content` counts the lines that are neither empty nor comments."""

    format: str = ""
    lines: int = 0
    content: int = 0
    entries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    @property
    def junk(self) -> int:
        """How many refused things make no sense in any list: an error page has little else."""
        return sum(count for reason, count in self.refused.items() if reason in entry.JUNK)

    @property
    def is_list(self) -> bool:
        """Tell whether at least half of the lines are those of a list; an empty text is none."""
        return self.content > 0 and self.junk * 2 <= self.content

    def refuse(self, reason: str, line: int, text: bytes) -> None:
        """Count one refusal at a line number (from 1) and keep it as an example while there are few."""
        self.refused[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < entry.MAX_EXAMPLES:
            kept.append(Example(line, make_printable(text)))


class ListParser:
    """Reads one list. `careful=True` switches the fast path off: slower, and by contract with the same result."""

    def __init__(self, format_: str = "auto", careful: bool = False) -> None:
        if format_ != "auto" and format_ not in FORMATS:
            raise ListError(f"'{format_}' is no list format; known are auto, {', '.join(FORMATS)}")
        self.facts = ListFacts("" if format_ == "auto" else format_)
        self._careful = careful
        self._pending = b""
        self._at_start = True
        self._in_long_line = False
        self._rpz = RpzReader()

    def feed(self, chunk: bytes) -> Iterator[Entries]:
        """Take the next bytes of the list and yield the entries of the whole lines so far, in stretches."""
        data = self._pending + chunk if self._pending else chunk
        if self._at_start:
            if len(data) <= _PIECE_BYTES:  # the format is told from the first piece, however small the chunks are
                self._pending = data
                return
            data = data.removeprefix(_BOM)
            self._at_start = False
        position = 0
        while len(data) - position > _PIECE_BYTES:
            end = data.rfind(b"\n", position, position + _PIECE_BYTES) + 1
            if not end:  # one line longer than a piece: its end does not matter, it is refused anyway
                end = position + _PIECE_BYTES
            yield self._read(data[position:end])
            position = end
        end = data.rfind(b"\n", position) + 1
        if end:
            yield self._read(data[position:end])
            position = end
        self._pending = data[position:]

    def finish(self) -> Iterator[Entries]:
        """Take what is left as the last line, and yield its entries."""
        rest, self._pending = self._pending, b""
        if self._at_start:
            rest = rest.removeprefix(_BOM)
            self._at_start = False
        if rest.endswith(b"\n"):
            rest = rest[:-1]
        if rest:
            yield self._read(rest + b"\n")
        self.facts.format = self.facts.format or "domains"

    def _read(self, data: bytes) -> Entries:
        """Read a stretch of lines; only a line that is too long may come without its end."""
        entries = no_entries()
        if self._in_long_line:
            _, feed, data = data.partition(b"\n")
            self._in_long_line = not feed
        if not data.endswith(b"\n"):
            start = data.rfind(b"\n") + 1
            if data:
                data = data[:start] + data[start : start + MAX_LINE_BYTES + 1] + b"\n"
                self._in_long_line = True
        facts = self.facts
        if not facts.format:
            facts.format = sniff_format(data)
        if self._careful or not facts.format or (facts.format == "rpz" and not self._is_plain_rpz(data)):
            self._read_carefully(data, facts.lines, entries)
        else:
            taken, rests = take_clean(facts.format, data, entries)
            facts.content += taken
            line = facts.lines
            for rest in rests:
                line = self._read_carefully(rest.text, line + rest.skipped, entries)
            if facts.format == "rpz":
                self._rpz.pass_over(data)
        facts.lines += data.count(b"\n")
        facts.entries += sum(map(len, entries))
        return entries

    def _is_plain_rpz(self, data: bytes) -> bool:
        return self._rpz.plain and b"(" not in data and b"$" not in data and not _OWNER_LEFT_OUT.search(data)

    def _read_carefully(self, data: bytes, line: int, entries: Entries) -> int:
        """Read lines one by one; return the number of the last one."""
        facts = self.facts
        read = self._rpz.read if facts.format == "rpz" else _READERS.get(facts.format, read_mixed)
        for raw in data.split(b"\n")[:-1]:
            line += 1
            if not raw or raw == b"\r":
                continue
            if len(raw) > MAX_LINE_BYTES:
                items: list[entry.Item] = [entry.TOO_LONG]
            else:
                try:
                    items = read(raw.decode())
                except UnicodeDecodeError:
                    items = [] if _COMMENT.match(raw) else [entry.ENCODING]
            if items:
                facts.content += 1
            for item in items:
                if isinstance(item, str):
                    facts.refuse(item, line, raw)
                else:
                    entries[item[0]].append(item[1])
        return line


def sniff_format(data: bytes) -> str:
    """Return the format of most of the first lines that are no comments, or "" when there is none among them."""
    votes: Counter[str] = Counter()
    for raw in data.split(b"\n"):
        line = raw[:512].strip()
        if not line or (_COMMENT.match(line) and not _SIGNS[0][1].match(line)):
            continue
        votes[next((name for name, sign in _SIGNS if sign.match(line)), "domains")] += 1
        if votes.total() == _SNIFF_LINES:
            break
    return votes.most_common(1)[0][0] if votes else ""


@dataclass(frozen=True, slots=True)
class ParsedList:
    """A whole list: its facts, and its entries of each kind packed back to back (see `unpack`)."""

    facts: ListFacts
    block: bytes
    block_exact: bytes
    allow: bytes
    allow_exact: bytes
    urls: tuple[bytes, ...]
    urls_exact: tuple[bytes, ...]


def unpack(packed: bytes) -> Iterator[bytes]:
    """Yield the wire names of a packed kind. A listed name has no zero byte inside, so the final zero parts them."""
    position = 0
    while position < len(packed):
        end = packed.index(b"\0", position) + 1
        yield packed[position:end]
        position = end


def parse_list(data: bytes | Iterable[bytes], format_: str = "auto", careful: bool = False) -> ParsedList:
    """Return what a whole list says. Raises ListError for an unknown format; bad lines are counted, never raised."""
    parser = ListParser(format_, careful)
    block, block_exact, allow, allow_exact = bytearray(), bytearray(), bytearray(), bytearray()
    urls: list[bytes] = []
    urls_exact: list[bytes] = []
    for entries in read_entries(parser, data):
        block += b"".join(entries.block)
        block_exact += b"".join(entries.block_exact)
        allow += b"".join(entries.allow)
        allow_exact += b"".join(entries.allow_exact)
        urls += entries.url
        urls_exact += entries.url_exact
    packed = (bytes(block), bytes(block_exact), bytes(allow), bytes(allow_exact))
    return ParsedList(parser.facts, *packed, tuple(urls), tuple(urls_exact))


def read_entries(parser: ListParser, data: bytes | Iterable[bytes]) -> Iterator[Entries]:
    """Yield the entries of a list that is one buffer or an iterable of chunks."""
    for chunk in (data,) if isinstance(data, bytes) else data:
        yield from parser.feed(chunk)
    yield from parser.finish()
