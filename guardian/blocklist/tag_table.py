"""A list as a router holds it: sorted tags that can be matched and not be read.

A tag is the first 7 bytes of HMAC-SHA256(K of the registrable domain, list, scope, value); an eighth byte hides the
class. docs/feed.md has the format. The lookups work on the bytes of a mapped file; whatever these are, none raises.
"""

from __future__ import annotations

import hmac
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

from guardian.blocklist.feed_base import Base
from guardian.blocklist.feed_file import (
    Header,
    open_file,
    pack_file,
    pack_numbers,
    read_numbers,
    take_array,
    take_digest,
    take_int,
    take_line,
    take_object,
    take_time,
    take_word,
)
from guardian.blocklist.layout import ImageBuffer
from guardian.blocklist.urls import MAX_PATH_BYTES, normalize_path, prefixes
from guardian.errors import ListError
from guardian.names import format_name, is_below

MAGIC = b"GKTAGS01"
MAX_ENTRIES = 8_000_000
MAX_CLASSES = 255
MAX_SERIAL = 1 << 32
TAG_BYTES = 7
_WHAT = "the list of tags"
_BUCKETS = 256  # by the first byte of a tag
_STARTS_BYTES = 4 * (_BUCKETS + 2)  # one start for each bucket, the end, four bytes of zeros


class Scope(Enum):
    """What an entry holds for."""

    DOMAIN = b"d"  # the name and all below
    HOST = b"h"  # the name alone
    PAGE = b"u"  # one page
    PAGES = b"p"  # a page and all below
    ANY = b"a"  # says that something below a key domain is listed; `build_tags` adds it


class Listed(NamedTuple):
    """An entry in plain text, at the desk only. `value` is a wire name, for pages followed by the normalized path."""

    domain: bytes  # the key domain
    scope: Scope
    value: bytes
    number: int  # of the class


class TagTable:
    """A list over `bytes` or a read-only `mmap`. Opening checks all that lookups rely on. Raises ListError."""

    __slots__ = (
        "_buffer", "_classes", "_lows", "_middles", "_prefix", "_starts",
        "classes", "created", "entries", "epoch", "header", "list_id", "salt_digest", "serial",
    )  # fmt: skip

    def __init__(self, buffer: ImageBuffer) -> None:
        self._buffer = buffer
        header, sections = open_file(buffer, MAGIC, _WHAT)
        self.header = header
        self.list_id, self.serial, self.created, self.epoch, self.salt_digest, self.classes = read_facts(header)
        self.entries = count = take_int(header, "entries", 0, MAX_ENTRIES, _WHAT)
        if len(sections) != _STARTS_BYTES + 7 * count:
            raise ListError(f"{_WHAT}: {count} entries do not fill it")
        if count and not self.classes:
            raise ListError(f"{_WHAT}: it has entries and no class")
        starts = list(read_numbers(sections, 0, _BUCKETS + 1, "I", _WHAT))
        if starts[0] != 0 or starts[-1] != count or any(a > b for a, b in pairwise(starts)):
            raise ListError(f"{_WHAT}: its buckets do not add up")
        self._starts = starts
        self._middles = read_numbers(sections, _STARTS_BYTES, count, "I", _WHAT)
        self._lows = read_numbers(sections, _STARTS_BYTES + 4 * count, count, "H", _WHAT)
        self._classes = sections[_STARTS_BYTES + 6 * count :]
        self._prefix = self.list_id.encode() + b"\0"

    def is_silent(self, key: bytes, domain: bytes) -> bool:
        """Tell whether nothing of a key domain is listed: no name and no page below it needs a further look."""
        return self._find(key, b"a") is None and self._find(key, b"d" + domain) is None

    def match_name(self, key: bytes, domain: bytes, name: bytes) -> int | None:
        """Return the number of the class that blocks a lower-case wire name, or None.

        `key` is K of its key domain. The most general entry wins: `domain` first, down to the name. With a lower name
        as `domain` the entries above it are not looked at.
        """
        start = len(name) - len(domain)
        if start < 0 or name[start:] != domain:
            return None
        starts = []
        position = 0
        while position <= start and name[position]:
            starts.append(position)
            position += 1 + name[position]
        for position in reversed(starts):
            number = self._find(key, b"d" + name[position:])
            if number is not None:
                return number
        return self._find(key, b"h" + name)

    def match_page(self, key: bytes, host: bytes, path: bytes) -> int | None:
        """Return the number of the class that blocks a page, or None: the lower-case wire name of its host, its path
        with the query in any spelling.

        Only entries of pages are looked at; `match_name` tells of the host.
        """
        path = normalize_path(path[: 4 * MAX_PATH_BYTES])
        for prefix in prefixes(path):
            number = self._find(key, b"p" + host + prefix)
            if number is not None:
                return number
        return self._find(key, b"u" + host + path)

    def values(self) -> array[int]:
        """Return all entries as sorted numbers: a tag's 7 bytes big-endian, the hidden class as the low 8 bits."""
        numbers = array("Q")
        parts = zip(self._middles, self._lows, self._classes, strict=True)
        for bucket in range(_BUCKETS):
            top = bucket << 56
            count = self._starts[bucket + 1] - self._starts[bucket]
            numbers.extend(top | m << 24 | n << 8 | c for _, (m, n, c) in zip(range(count), parts, strict=False))
        return numbers

    def _find(self, key: bytes, what: bytes) -> int | None:
        digest = hmac.digest(key, self._prefix + what, "sha256")
        middle = int.from_bytes(digest[1:5])
        low = digest[5] << 8 | digest[6]
        end = self._starts[digest[0] + 1]
        place = bisect_left(self._middles, middle, self._starts[digest[0]], end)
        while place < end and self._middles[place] == middle:
            if self._lows[place] == low:
                number = self._classes[place] ^ digest[7]
                # A foreign tag shows a random class: nearly always one that is not there.
                if number < len(self.classes):
                    return number
            place += 1
        return None


def build_tags(
    list_id: str,
    serial: int,
    created: float,
    base: Base,
    classes: Sequence[dict[str, Any]],
    entries: Iterable[Listed],
    keys: Mapping[bytes, bytes],
) -> bytes:
    """Return the bytes of a list. `keys` has K of each key domain (`derive_key`); entries of scope ANY are added.

    An entry given twice counts once, with the lower class number. Raises ListError for an entry that no router would
    enforce: its domain passes the known-good filter (make a new base), or is not the one of its name, or its path is
    not as `normalize_path` writes it.
    """
    header = {
        "list": list_id,
        "serial": serial,
        "created": float(created),
        "epoch": base.epoch,
        "salt_digest": base.salt_digest,
        "classes": list(classes),
    }
    prefix = read_facts(header)[0].encode() + b"\0"
    whole: set[bytes] = set()
    numbers: dict[tuple[bytes, bytes], int] = {}  # key domain, scope and value
    for entry in entries:
        _check_entry(entry, base, len(classes), keys)
        place = (entry.domain, entry.scope.value + entry.value)
        numbers[place] = min(entry.number, numbers.get(place, entry.number))
        if entry.scope is Scope.DOMAIN and entry.value == entry.domain:
            whole.add(entry.domain)
    for domain in {domain for domain, _ in numbers} - whole:
        numbers[domain, Scope.ANY.value] = 0
    values = set()
    for (domain, what), number in numbers.items():
        digest = hmac.digest(keys[domain], prefix + what, "sha256")
        values.add(int.from_bytes(digest[:TAG_BYTES]) << 8 | digest[TAG_BYTES] ^ number)
    data = pack_tags(header, array("Q", sorted(values)))
    TagTable(data)
    return data


def pack_tags(header: Mapping[str, Any], values: array[int]) -> bytes:
    """Return the file of a header and sorted values, as `TagTable.values` has them. Raises ListError."""
    if len(values) > MAX_ENTRIES:
        raise ListError(f"{_WHAT}: {len(values)} entries are more than the format allows ({MAX_ENTRIES})")
    starts = array("I", [bisect_left(values, bucket << 56) for bucket in range(_BUCKETS)])
    starts.extend((len(values), 0))
    middles = array("I", (value >> 24 & 0xFFFFFFFF for value in values))
    lows = array("H", (value >> 8 & 0xFFFF for value in values))
    hidden = bytes(value & 0xFF for value in values)
    sections = pack_numbers(starts) + pack_numbers(middles) + pack_numbers(lows) + hidden
    return pack_file(MAGIC, {**header, "entries": len(values)}, sections, _WHAT)


def read_facts(header: Header) -> tuple[str, int, float, str, str, tuple[dict[str, Any], ...]]:
    """Return list, serial, time, epoch, salt digest, classes of a header. Raises ListError."""
    return (
        take_word(header, "list", _WHAT),
        take_int(header, "serial", 0, MAX_SERIAL, _WHAT),
        take_time(header, "created", _WHAT),
        take_word(header, "epoch", _WHAT),
        take_digest(header, "salt_digest", 16, _WHAT),
        tuple(_read_class(item) for item in take_array(header, "classes", MAX_CLASSES, _WHAT)),
    )


def _read_class(item: Any) -> dict[str, Any]:
    """The fields of `guardian.feed.TagClass`, with those that may be left out filled in."""
    what = f"{_WHAT}: a class"
    if not isinstance(item, dict):
        raise ListError(f"{what} is no object")
    found: dict[str, Any] = {
        "severity": take_line(item, "severity", 32, what),
        "legal_basis": take_line(item, "legal_basis", 32, what),
        "authority": _read_text(take_object(item, "authority", what), what),
        "order_ref": take_line(item, "order_ref", 300, what, ""),
        "message": None,
        "appeal": take_line(item, "appeal", 300, what, ""),
    }
    if found["severity"] not in ("baseline", "national"):
        raise ListError(f"{what}: 'severity' must be baseline or national")
    if found["legal_basis"] not in ("law_order", "court", "voluntary"):
        raise ListError(f"{what}: 'legal_basis' must be law_order, court or voluntary")
    if item.get("message") is not None:
        found["message"] = _read_text(take_object(item, "message", what), what)
    return found


def _read_text(texts: Header, what: str) -> dict[str, str]:
    return {language: take_line(texts, language, 300, what) for language in ("en", "ro", "ru")}


def _check_entry(entry: Listed, base: Base, classes: int, keys: Mapping[bytes, bytes]) -> None:
    domain, scope, value, number = entry
    name = value[: _name_length(value)]
    shown = f"{_WHAT}: {format_name(domain)}"
    if base.key_domain(domain) != domain:
        raise ListError(f"{shown} is no registrable domain of the base")
    if base.is_known_good(domain):
        raise ListError(f"{shown} passes the base's known-good filter: make a new base first")
    if domain not in keys:
        raise ListError(f"{shown} has no key")
    if not 0 <= number < classes:
        raise ListError(f"{shown}: there is no class {number}")
    if scope is Scope.ANY or base.key_domain(name) != domain or not is_below(name, domain):
        raise ListError(f"{shown}: the entry's value does not belong to it")
    path = value[len(name) :]
    if scope in (Scope.DOMAIN, Scope.HOST):
        fits = not path
    else:
        fits = bool(path) and path == normalize_path(path) and len(path) <= MAX_PATH_BYTES
        fits = fits and (scope is Scope.PAGE or path in prefixes(path))
    if not fits:
        raise ListError(f"{shown}: an entry of scope '{scope.value.decode()}' has a path that no router would look for")


def _name_length(value: bytes) -> int:
    position = 0
    while position < len(value) and value[position]:
        position += 1 + value[position]
    if position >= len(value) or position > 254 or value.lower()[: position + 1] != value[: position + 1]:
        raise ListError(f"{_WHAT}: an entry's value does not begin with a lower-case wire name")
    return position + 1
