"""The compiled lists as they are used: lookups straight in the bytes of an image, nothing copied out.

The names are in buckets by the top bits of their keyed hash. A bucket is a run of 32-bit fingerprints (the hash's low
bits), found with the buffer's own `find`; the same place in a second array holds a 16-bit class, and the class table
says which tags it blocks and allows. A name that is not listed passes for a listed one with a chance of about
32 / 2**32 per label. The file must not change while it is mapped: it is replaced by rename only.
"""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple

from guardian.blocklist.facts import SourceFacts, parse_facts
from guardian.blocklist.layout import (
    CHECKED_AT_OPEN,
    SECTIONS,
    ImageBuffer,
    check_section,
    read_classes,
    read_header,
    read_tags,
)
from guardian.blocklist.urls import MAX_PATH_BYTES, normalize_path, prefixes
from guardian.errors import ListError
from guardian.names import suffixes

_NOTHING = (0, 0)
_PRINT = 0xFFFFFFFF


class Entry(NamedTuple):
    """One entry on the way up from a name: what it says for one tag."""

    tag: str
    name: bytes  # the listed wire name
    allow: bool
    exact: bool  # holds for the name alone, not below


class _Table(NamedTuple):
    """One hash table of the image: bucket `b` is the bytes `buckets[b]` to `buckets[b + 1]` of the buffer."""

    buckets: memoryview | array[int]
    shift: int
    prints: int  # where the fingerprints begin
    classes: int  # where the classes begin


class Image:
    """A list image over `bytes` or a read-only `mmap`. It satisfies `guardian.policy.model.NameLists`.

    Opening checks the header, the small sections and all positions, so that no lookup can fail; `verify` checks every
    byte. Raises ListError, which says what is wrong.
    """

    __slots__ = ("_below", "_buffer", "_classes", "_exact", "_header", "_hot", "_names", "_tags", "_urls", "_view")

    def __init__(self, buffer: ImageBuffer) -> None:
        self._buffer = buffer
        self._view = view = memoryview(buffer)
        self._header = header = read_header(view)
        small = {name: check_section(view, header, name) for name in SECTIONS if name in CHECKED_AT_OPEN}
        self._tags = read_tags(small["tags"], header.tags)
        self._classes = read_classes(small["classes"], header.tags)
        # Per class what a hit says: (tags that now hold, tags that now are decided). Allow wins over block.
        self._exact = {
            number: (
                (c.block | c.block_exact) & ~(c.allow | c.allow_exact),
                c.block | c.block_exact | c.allow | c.allow_exact,
            )
            for number, c in enumerate(self._classes)
        }
        self._below = {number: (c.block & ~c.allow, c.block | c.allow) for number, c in enumerate(self._classes)}
        self._names = self._open_table(small["name_buckets"], "name", header.name_shift, header.names)
        self._urls = self._open_table(small["url_buckets"], "url", header.url_shift, header.urls)
        key = header.key
        names = self._names
        self._hot = (
            buffer.find, names.buckets, names.shift, key.prime, key.multiplier,
            names.prints, names.classes, view, self._exact, self._below,
        )  # fmt: skip

    def _open_table(self, data: memoryview, kind: str, shift: int, count: int) -> _Table:
        buckets: memoryview | array[int] = data.cast("I")
        if sys.byteorder == "big":
            buckets = array("I", bytes(data))
            buckets.byteswap()
        prints, length, _ = self._header.sections[f"{kind}_prints"]
        classes = self._header.sections[f"{kind}_classes"].start
        if min(buckets) != prints or max(buckets) != prints + length or buckets[-1] != prints + 4 * count:
            raise ListError("the image's buckets do not add up")
        return _Table(buckets, shift, prints, classes)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; bit i of every mask stands for `tags[i]`."""
        return self._tags

    @property
    def created(self) -> float:
        """When the image was compiled, in epoch seconds."""
        return self._header.created

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self._header.size

    @property
    def name_count(self) -> int:
        """How many different names are listed."""
        return self._header.names

    @property
    def url_count(self) -> int:
        """How many different URLs are listed."""
        return self._header.urls

    def lookup(self, name: bytes) -> int:
        """Return the mask of the tags that hold for a wire name (lower case).

        For each tag the most specific entry decides, the name itself first, then its parents; allow wins a tie.
        """
        find, buckets, shift, prime, multiplier, prints, classes, view, says, below = self._hot
        holds = decided = position = 0
        length = name[0]
        while length:
            following = position + 1 + length
            length = name[following]
            if not length:
                break  # a single label is never listed
            number = int.from_bytes(name[position:]) * multiplier % prime
            bucket = number >> shift
            mark = (number & 0xFFFFFFFF).to_bytes(4, "little")
            at = find(mark, buckets[bucket], buckets[bucket + 1])
            while at >= 0:
                if not at & 3:
                    place = classes + ((at - prints) >> 1)
                    block, said = says.get(view[place] | view[place + 1] << 8, _NOTHING)
                    holds |= block & ~decided
                    decided |= said
                    break
                at = find(mark, at + 1, buckets[bucket + 1])  # four bytes across two fingerprints
            says = below
            position = following
        return holds

    def lookup_url(self, name: bytes, path: bytes) -> int:
        """Return the mask of the tags that hold for a page: the wire name of its host, its path with the query.

        An entry covers its page and all below it (`/games`: `/games`, `/games?x`, `/games/chess`, not `/gamesroom`), or
        its page alone (front pages, pages with a query). The more specific wins, allow wins a tie. The host is
        compared whole: an entry for `example.com/x` says nothing of `www.example.com/x`.
        """
        if not self._header.urls:
            return 0
        path = normalize_path(path[: 4 * MAX_PATH_BYTES])
        holds = decided = 0
        candidates = prefixes(path)
        number = self._find(self._urls, name + path)
        if number is not None:
            # The page itself: what is said of it alone, and of it with all below.
            holds, decided = self._exact.get(number, _NOTHING)
        for prefix in reversed(candidates):
            number = self._find(self._urls, name + prefix)
            if number is not None:
                block, said = self._below.get(number, _NOTHING)
                holds |= block & ~decided
                decided |= said
        return holds

    def _find(self, table: _Table, key: bytes) -> int | None:
        """The class number of a key, or None when it is not listed."""
        number = int.from_bytes(key) * self._header.key.multiplier % self._header.key.prime
        bucket = number >> table.shift
        end = table.buckets[bucket + 1]
        mark = (number & _PRINT).to_bytes(4, "little")
        at = self._buffer.find(mark, table.buckets[bucket], end)
        while at >= 0 and at & 3:
            at = self._buffer.find(mark, at + 1, end)
        if at < 0:
            return None
        place = table.classes + ((at - table.prints) >> 1)
        return self._view[place] | self._view[place + 1] << 8

    def entries(self, name: bytes) -> list[Entry]:
        """Return every entry that speaks about a wire name, the most specific first: for explanations."""
        found = []
        for suffix in suffixes(name):
            number = self._find(self._names, suffix) if suffix[1 + suffix[0]] else None
            if number is None or number >= len(self._classes):
                continue
            class_ = self._classes[number]
            own = suffix == name
            for bit, tag in enumerate(self._tags):
                if own and class_.allow_exact >> bit & 1:
                    found.append(Entry(tag, suffix, allow=True, exact=True))
                if class_.allow >> bit & 1:
                    found.append(Entry(tag, suffix, allow=True, exact=False))
                if own and class_.block_exact >> bit & 1:
                    found.append(Entry(tag, suffix, allow=False, exact=True))
                if class_.block >> bit & 1:
                    found.append(Entry(tag, suffix, allow=False, exact=False))
        return found

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        """Return (tag, listed wire name) for each tag that `lookup` sets, in the order of `tags`."""
        first: dict[str, Entry] = {}
        for found in self.entries(name):
            first.setdefault(found.tag, found)
        return [(tag, first[tag].name) for tag in self._tags if tag in first and not first[tag].allow]

    @property
    def sources(self) -> tuple[SourceFacts, ...]:
        """What is known of each list in the image; read when asked for. Raises ListError when that part is damaged."""
        return parse_facts(bytes(check_section(self._view, self._header, "facts")))

    def verify(self) -> None:
        """Check every byte against the checksums. It reads the whole image: the writer does it before the rename."""
        for name in SECTIONS:
            check_section(self._view, self._header, name)
