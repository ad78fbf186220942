"""Lists -> image, in memory near the size of the result.

Only hashes are kept, spread over 64 partitions by their top bits. Each partition is then merged by itself: duplicates
fall together, and a name in several lists gets a class that says what all of them say.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from guardian.blocklist import entry
from guardian.blocklist.entry import Entries
from guardian.blocklist.facts import SourceFacts, format_facts
from guardian.blocklist.hashing import HashKey, make_key
from guardian.blocklist.layout import (
    HEADER_BYTES,
    MAX_CLASSES,
    MAX_IMAGE_BYTES,
    MAX_TAGS,
    SECTIONS,
    Class,
    Header,
    Section,
    align,
    pack_classes,
    pack_header,
    pack_tags,
)
from guardian.blocklist.parse import ListParser, read_entries
from guardian.errors import ListError

Progress = Callable[[float, str], None]  # the share done (0..1), and what is being done

_PARTITION_BITS = 6
_BUCKET_ENTRIES = 32
_ALLOWS = {entry.BLOCK: entry.ALLOW, entry.BLOCK_EXACT: entry.ALLOW_EXACT}
_CONFIDENTIAL = "mandatory:"
_READ_SHARE = 0.8  # of the whole time


@dataclass(frozen=True, slots=True)
class Source:
    """One list to compile. `data` is called when its turn comes, and gives its bytes or an iterable of chunks.

    `action` "allow" takes the listed names out of the tag instead. `names` are ready wire names (lower case), each with
    all below. `notes` go into the image's facts as they are (JSON values).
    """

    tag: str
    name: str
    data: Callable[[], bytes | Iterable[bytes]] | None = None
    names: Sequence[bytes] = ()
    action: str = "block"
    format: str = "auto"
    notes: Mapping[str, Any] = field(default_factory=dict)


class Compiled(NamedTuple):
    """An image ready to be written: its bytes are the chunks one after the other."""

    chunks: tuple[bytes | bytearray | array[int], ...]
    name_count: int
    url_count: int
    sources: tuple[SourceFacts, ...]

    def to_bytes(self) -> bytes:
        return b"".join(bytes(chunk) for chunk in self.chunks)


def compile_image(
    sources: Sequence[Source], random_bytes: bytes, now: float, progress: Progress | None = None
) -> Compiled:
    """Return the image of the sources.

    `random_bytes` are 16 or more unguessable bytes, fresh for each image; `now` is in epoch seconds.
    Raises ListError when a source is no list (most of its lines make no sense) or the image would outgrow its format.
    """
    tags = tuple(dict.fromkeys(source.tag for source in sources))
    if len(tags) > MAX_TAGS:
        raise ListError(f"{len(tags)} tags are more than the {MAX_TAGS} of an image")
    key = make_key(random_bytes)
    classes = _Classes()
    names = _TableBuilder(key, classes)
    urls = _TableBuilder(key, classes)
    report = progress or (lambda share, what: None)
    facts = []
    for index, source in enumerate(sources):
        report(_READ_SHARE * index / len(sources), source.name)
        facts.append(_read_source(source, 1 << tags.index(source.tag), names, urls))
    report(_READ_SHARE, "merging")
    names.merge()
    urls.merge()
    sections: dict[str, list[bytes | array[int]]] = {
        "tags": [pack_tags(tags)],
        "facts": [format_facts(facts)],
    }
    sections["classes"] = [pack_classes(classes.known, len(tags))]
    return _assemble(names, urls, sections, key, len(tags), len(classes.known), now, tuple(facts))


def _read_source(source: Source, bit: int, names: _TableBuilder, urls: _TableBuilder) -> SourceFacts:
    """Feed one source into the tables, and return what was seen."""
    if source.action not in ("block", "allow"):
        raise ListError(f"{source.name}: the action is '{source.action}', neither block nor allow")
    allow = source.action == "allow"

    def class_of(kind: int) -> Class:
        masks = [0, 0, 0, 0]
        masks[_ALLOWS.get(kind, kind) if allow else kind] = bit
        return Class(*masks)

    for name in source.names:
        if len(name) < 4 or not name[1 + name[0]]:
            raise ListError(f"{source.name}: a ready name must be a wire name of two labels at least")
    names.add(source.names, class_of(entry.BLOCK))
    facts = SourceFacts(
        source.name, source.tag, source.action, "names", entries=len(source.names), notes=dict(source.notes)
    )
    if source.data is None:
        return facts
    parser = ListParser(source.format)
    for entries in read_entries(parser, source.data()):
        _add_entries(entries, names, urls, class_of)
    seen = parser.facts
    if source.tag.startswith(_CONFIDENTIAL):
        seen.examples.clear()  # a refused line of such a list is a secret as well
    if not seen.is_list and seen.content:
        shown = next((kept[0] for reason, kept in seen.examples.items() if reason in entry.JUNK), None)
        raise ListError(
            f"{source.name}: this does not look like a list: {seen.junk} refusals in {seen.content} lines"
            + (f", for example line {shown.line}: {shown.text}" if shown else "")
        )
    return SourceFacts(
        source.name,
        source.tag,
        source.action,
        seen.format,
        seen.lines,
        seen.content,
        seen.entries + len(source.names),
        dict(seen.refused),
        seen.examples,
        dict(source.notes),
    )


def _add_entries(entries: Entries, names: _TableBuilder, urls: _TableBuilder, class_of: Callable[[int], Class]) -> None:
    for kind in (entry.BLOCK, entry.BLOCK_EXACT, entry.ALLOW, entry.ALLOW_EXACT):
        if entries[kind]:
            names.add(entries[kind], class_of(kind))
    if entries.url:
        urls.add(entries.url, class_of(entry.BLOCK))
    if entries.url_exact:
        urls.add(entries.url_exact, class_of(entry.BLOCK_EXACT))


class _Classes:
    """The distinct classes, numbered as they come up."""

    def __init__(self) -> None:
        self.known: list[Class] = []
        self._numbers: dict[Class, int] = {}
        self._unions: dict[tuple[int, int], int] = {}

    def number(self, class_: Class) -> int:
        found = self._numbers.get(class_)
        if found is None:
            found = self._numbers[class_] = len(self.known)
            if found >= MAX_CLASSES:
                raise ListError("the lists overlap in more ways than an image can hold (65536); leave some out")
            self.known.append(class_)
        return found

    def unite(self, one: int, other: int) -> int:
        """Return the number of the class that says what both say."""
        if one == other:
            return one
        found = self._unions.get((one, other))
        if found is None:
            pairs = zip(self.known[one], self.known[other], strict=True)
            found = self._unions[one, other] = self.number(Class(*[a | b for a, b in pairs]))
        return found


class _TableBuilder:
    """One hash table in the making: partitions of hashes, and marks that tell which class a stretch of them has."""

    def __init__(self, key: HashKey, classes: _Classes) -> None:
        self._key = key
        self._classes = classes
        self._partitions = [array("Q") for _ in range(1 << _PARTITION_BITS)]
        self._marks: list[tuple[int, array[int]]] = []  # class number, where its stretch begins in each partition
        self._entry_classes: list[array[int]] = []
        self.count = 0

    def add(self, keys: Iterable[bytes], class_: Class) -> None:
        number = self._classes.number(class_)
        if not self._marks or self._marks[-1][0] != number:
            self._marks.append((number, array("I", map(len, self._partitions))))
        prime, multiplier = self._key
        from_bytes = int.from_bytes
        appends = [partition.append for partition in self._partitions]
        top = 64 - _PARTITION_BITS
        for key in keys:
            hashed = from_bytes(key) * multiplier % prime
            appends[hashed >> top](hashed)

    def merge(self) -> None:
        """Sort each partition and give each distinct hash the union of its classes."""
        for index, partition in enumerate(self._partitions):
            merged = self._merge_partition(index, partition)
            ordered = sorted(merged)
            self._partitions[index] = array("Q", ordered)
            self._entry_classes.append(array("H", map(merged.__getitem__, ordered)))
            self.count += len(ordered)
        self._marks.clear()

    def _merge_partition(self, index: int, partition: array[int]) -> dict[int, int]:
        merged: dict[int, int] = {}
        unite = self._classes.unite
        for place, (number, starts) in enumerate(self._marks):
            end = self._marks[place + 1][1][index] if place + 1 < len(self._marks) else len(partition)
            stretch = dict.fromkeys(partition[starts[index] : end], number)
            for hashed in merged.keys() & stretch.keys():
                stretch[hashed] = unite(merged[hashed], number)
            merged.update(stretch)
        return merged

    @property
    def shift(self) -> int:
        return 64 - (self.count // _BUCKET_ENTRIES).bit_length()

    def take_buckets(self, start: int) -> array[int]:
        """Return where each bucket's fingerprints begin in the image, when all of them begin at `start`."""
        shift = self.shift
        counts = [0] * (1 << (64 - shift))
        top = 64 - _PARTITION_BITS
        for index, partition in enumerate(self._partitions):
            done = 0
            for bucket in range((index << top) >> shift, ((((index + 1) << top) - 1) >> shift) + 1):
                end = bisect_left(partition, (bucket + 1) << shift, done)
                counts[bucket] += end - done
                done = end
        buckets = array("I", (start,))
        for count in counts:
            start += 4 * count
            buckets.append(start)
        return _little_endian(buckets)

    def take_prints(self) -> list[array[int]]:
        """Return the fingerprints; the hashes are forgotten on the way."""
        prints = []
        for index, partition in enumerate(self._partitions):
            prints.append(_little_endian(array("I", [hashed & 0xFFFFFFFF for hashed in partition])))
            self._partitions[index] = array("Q")
        return prints

    def take_classes(self) -> list[array[int]]:
        return [_little_endian(numbers) for numbers in self._entry_classes]


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _assemble(
    names: _TableBuilder,
    urls: _TableBuilder,
    parts: dict[str, list[bytes | array[int]]],
    key: HashKey,
    tag_count: int,
    class_count: int,
    now: float,
    facts: tuple[SourceFacts, ...],
) -> Compiled:
    """Lay the sections out, with the header in front."""
    sizes = {name: sum(len(memoryview(part).cast("B")) for part in part_list) for name, part_list in parts.items()}
    for kind, table in (("name", names), ("url", urls)):
        sizes[f"{kind}_buckets"] = 4 * ((1 << (64 - table.shift)) + 1)
        sizes[f"{kind}_prints"] = 4 * table.count
        sizes[f"{kind}_classes"] = 2 * table.count
    starts = {}
    position = align(HEADER_BYTES)
    for name in SECTIONS:
        starts[name] = position
        position = align(position + sizes[name])
    if position > MAX_IMAGE_BYTES:
        raise ListError(f"the image would have {position} bytes, more than its format can address")
    shifts = (names.shift, urls.shift)
    for kind, table in (("name", names), ("url", urls)):
        parts[f"{kind}_buckets"] = [table.take_buckets(starts[f"{kind}_prints"])]
        parts[f"{kind}_prints"] = [*table.take_prints()]
        parts[f"{kind}_classes"] = [*table.take_classes()]
    sections = {}
    chunks: list[bytes | array[int]] = []
    for name in SECTIONS:
        crc = 0
        for part in parts[name]:
            crc = crc32(part, crc)
        sections[name] = Section(starts[name], sizes[name], crc)
        chunks += parts[name]
        chunks.append(bytes(align(sizes[name]) - sizes[name]))
    header = Header(position, now, key, names.count, urls.count, tag_count, class_count, *shifts, sections)
    return Compiled((pack_header(header), *chunks), names.count, urls.count, facts)
