"""From one state of a list to the next in few bytes: what goes by its position, what comes by its tag.

docs/feed.md has the format. A delta comes signed, and is treated as if it were not: whatever its bytes are, applying it
takes time and memory that grow with the old list and the delta alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha256

from guardian.blocklist import rice
from guardian.blocklist.feed_file import open_file, pack_file, take_digest, take_int, take_object, take_word
from guardian.blocklist.layout import ImageBuffer
from guardian.blocklist.tag_table import MAX_ENTRIES, MAX_SERIAL, TagTable, pack_tags
from guardian.errors import ListError

MAGIC = b"GKDELT01"
_WHAT = "the delta"
_MAX_TAG = (1 << 56) - 1


def make_delta(old: bytes, new: bytes) -> bytes:
    """Return the delta that leads from one file of tags to another of the same list and epoch.

    The same arguments give the same bytes. Raises ListError when the two do not belong together.
    """
    before, after = TagTable(old), TagTable(new)
    if (before.list_id, before.epoch, before.salt_digest) != (after.list_id, after.epoch, after.salt_digest):
        raise ListError(f"{_WHAT}: the two states are not of one list, epoch and salt")
    if before.serial >= after.serial:
        raise ListError(f"{_WHAT}: serial {after.serial} does not come after {before.serial}")
    old_values, new_values = before.values(), after.values()
    removed = [bisect_left(old_values, value) for value in find_missing(new_values, old_values)]
    added = list(find_missing(old_values, new_values))
    position_gaps = _to_gaps([place + 1 for place in removed], 1)
    tag_gaps = _to_gaps([value >> 8 for value in added], 0)
    parameters = rice.choose_parameter(position_gaps), rice.choose_parameter(tag_gaps)
    changed = {
        key: value for key, value in after.header.items() if key != "entries" and before.header.get(key, ...) != value
    }
    header = {
        "list": after.list_id,
        "from": before.serial,
        "to": after.serial,
        "removed": len(removed),
        "added": len(added),
        "removed_rice": parameters[0],
        "added_rice": parameters[1],
        "header": changed,
        "result": sha256(new).hexdigest(),
    }
    bits = rice.write_bits(position_gaps, parameters[0]) + rice.write_bits(tag_gaps, parameters[1])
    sections = rice.pack_bits(bits) + bytes([value & 0xFF for value in added])
    delta = pack_file(MAGIC, header, sections, _WHAT)
    apply_delta(old, delta)  # it leads there, or it is not published
    return delta


def apply_delta(old: ImageBuffer, delta: bytes) -> bytes:
    """Return the next state of a list. Raises ListError unless the delta fits it and the result has the hash told."""
    table = TagTable(old)
    header, sections = open_file(delta, MAGIC, _WHAT)
    if take_word(header, "list", _WHAT) != table.list_id:
        raise ListError(f"{_WHAT} is for another list")
    if take_int(header, "from", 0, MAX_SERIAL, _WHAT) != table.serial:
        raise ListError(f"{_WHAT} does not start at serial {table.serial}")
    serial = take_int(header, "to", table.serial + 1, MAX_SERIAL, _WHAT)
    result = take_digest(header, "result", 64, _WHAT)
    removed_count = take_int(header, "removed", 0, table.entries, _WHAT)
    added_count = take_int(header, "added", 0, min(len(sections), MAX_ENTRIES), _WHAT)
    parameters = [take_int(header, f"{kind}_rice", 0, rice.MAX_PARAMETER, _WHAT) for kind in ("removed", "added")]
    reader = rice.BitReader(sections)
    removed = _from_gaps(reader.read(removed_count, parameters[0], table.entries), -1, 1, table.entries - 1)
    tags = _from_gaps(reader.read(added_count, parameters[1], _MAX_TAG), 0, 0, _MAX_TAG)
    hidden = sections[reader.finish() :]
    if len(hidden) != added_count:
        raise ListError(f"{_WHAT}: {len(hidden)} classes for {added_count} added tags")
    added = array("Q", (tag << 8 | class_ for tag, class_ in zip(tags, hidden, strict=True)))
    values = _insert(_remove(table.values(), removed), added)
    whole = pack_tags({**table.header, **take_object(header, "header", _WHAT)}, values)
    if sha256(whole).hexdigest() != result:
        raise ListError(f"{_WHAT} does not lead to the signed result")
    found = TagTable(whole)
    if (found.list_id, found.epoch, found.salt_digest) != (table.list_id, table.epoch, table.salt_digest):
        raise ListError(f"{_WHAT} leads to another list or epoch")
    if found.serial != serial:
        raise ListError(f"{_WHAT} leads to serial {found.serial} instead of {serial}")
    return whole


def count_growth(old: TagTable, new: TagTable) -> int:
    """Return how many entries of `new` are not in `old`. A changed class is no growth; with a new salt all are new."""
    if old.salt_digest != new.salt_digest:
        return new.entries
    tags = [(value >> 8 for value in table.values()) for table in (old, new)]
    return sum(1 for _ in find_missing(*tags))


def find_missing(old: Iterable[int], new: Iterable[int]) -> Iterator[int]:
    """Yield the numbers of `new` that are not in `old`; both are sorted."""
    others = iter(old)
    other = next(others, None)
    for value in new:
        while other is not None and other < value:
            other = next(others, None)
        if other != value:
            yield value


def _remove(values: array[int], places: array[int]) -> array[int]:
    kept = array("Q")
    start = 0
    for place in places:
        kept.extend(values[start:place])
        start = place + 1
    kept.extend(values[start:])
    return kept


def _insert(values: array[int], added: array[int]) -> array[int]:
    merged = array("Q")
    start = 0
    for value in added:
        place = bisect_left(values, value, start)
        merged.extend(values[start:place])
        merged.append(value)
        start = place
    merged.extend(values[start:])
    return merged


def _to_gaps(numbers: list[int], step: int) -> list[int]:
    previous = [0, *numbers]
    return [number - before - step for before, number in zip(previous, numbers, strict=False)]


def _from_gaps(gaps: Iterable[int], before: int, step: int, most: int) -> array[int]:
    numbers = array("Q")
    for gap in gaps:
        before += gap + step
        if before > most:
            raise ListError(f"{_WHAT}: a position or tag is out of bounds")
        numbers.append(before)
    return numbers
