"""A filter of names that are known not to be listed: a binary fuse filter with three probes and 16 bits.

Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters" (2022). It takes 2.3 to 2.4 bytes a name at
50,000 names. A name outside it passes with a chance of 1 in 65,536; the builder draws anew until no listed one does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b, shake_128
from typing import NamedTuple

from guardian.errors import ListError

MAX_GOOD = 4_000_000
MAX_SEGMENT = 1 << 18
_MASK = (1 << 64) - 1
_MIX = 0x9FB21C651E98DF25  # odd, half of its bits set; the product of two 64-bit numbers, folded, mixes them
_SEEDS = 100  # the chance that a seed does not work is a few percent
_FILLS = 20_000  # draws for one seed: enough for some 600,000 listed names


class Shape(NamedTuple):
    """How a filter is laid out: slots = (segment_count + 2) * segment_length, a power of two."""

    seed: int
    segment_length: int
    segment_count: int

    @property
    def slots(self) -> int:
        """How many 16-bit slots the filter has; 0 for the filter of no name."""
        return (self.segment_count + 2) * self.segment_length if self.segment_count else 0


EMPTY = Shape(0, 0, 0)


def find_shape(count: int, seed: int) -> Shape:
    """Return the shape for so many different names (the authors' formulas for three probes)."""
    if not count:
        return EMPTY
    size = max(count, 2)
    segment = 1 << min(18, int(math.log(size) / math.log(3.33) + 2.25))
    factor = max(1.125, 0.875 + 0.25 * math.log(1_000_000) / math.log(size))
    return Shape(seed, segment, max(1, -(-round(size * factor) // segment) - 2))


def check_shape(shape: Shape) -> None:
    """Check that every probe of such a filter falls into it. Raises ListError."""
    seed, length, count = shape
    if shape == EMPTY:
        return
    if not 0 <= seed <= _MASK or not 4 <= length <= MAX_SEGMENT or length & (length - 1):
        raise ListError("the known-good filter's seed or segments are damaged")
    if not 1 <= count <= 2 * MAX_GOOD // length + 2:
        raise ListError("the known-good filter has more segments than the format allows")


def passes(slots: Sequence[int], shape: Shape, number: int) -> bool:
    """Tell whether the hash of a name passes: it is one of the good ones, or one of 65,536 others."""
    seed, length, count = shape
    if not count:
        return False
    product = (number ^ seed) * _MIX
    mixed = (product ^ product >> 64) & _MASK
    first = mixed * (count * length) >> 64
    second = first + length
    third = second + length
    low = length - 1
    found = slots[first] ^ slots[second ^ mixed >> 18 & low] ^ slots[third ^ mixed & low]
    return found == (mixed ^ mixed >> 32) & 0xFFFF


def build_filter(good: Iterable[int], listed: Collection[int], random_bytes: bytes) -> tuple[Shape, array[int]]:
    """Return a filter that every hash of `good` passes and none of `listed`.

    A hash that is in both counts as listed. The same arguments give the same filter. Raises ListError when there are
    so many listed names that no draw spares them all.
    """
    refused = set(listed)
    numbers = sorted(set(good) - refused)
    if len(numbers) > MAX_GOOD:
        raise ListError(f"{len(numbers)} known-good names are more than the format allows ({MAX_GOOD})")
    if not numbers:
        return EMPTY, array("H")
    for turn in range(_SEEDS):
        seed = int.from_bytes(blake2b(random_bytes + turn.to_bytes(4), digest_size=8).digest(), "little")
        shape = find_shape(len(numbers), seed)
        order = _peel(_mix(numbers, seed), shape)
        if order is not None:
            return shape, _fill(order, _mix(refused, seed), shape, random_bytes)
    raise ListError("no seed makes a known-good filter of these names")  # 2 ** -100: the hash is broken


def _mix(numbers: Iterable[int], seed: int) -> list[int]:
    products = [(number ^ seed) * _MIX for number in numbers]
    return [(product ^ product >> 64) & _MASK for product in products]


def _probes(mixed: int, shape: Shape) -> tuple[int, int, int]:
    length = shape.segment_length
    first = mixed * (shape.segment_count * length) >> 64
    second = first + length
    return first, second ^ mixed >> 18 & length - 1, second + length ^ mixed & length - 1


def _peel(mixed: list[int], shape: Shape) -> list[tuple[int, int, int, int]] | None:
    """Return (own slot, two other slots, fingerprint) of each name in the order of peeling; None: try another seed."""
    counts = [0] * shape.slots
    sums = [0] * shape.slots
    for number in mixed:
        for slot in _probes(number, shape):
            counts[slot] += 1
            sums[slot] ^= number
    alone = [slot for slot, count in enumerate(counts) if count == 1]
    order = []
    while alone:
        slot = alone.pop()
        if counts[slot] != 1:
            continue
        number = sums[slot]
        probes = _probes(number, shape)
        for other in probes:
            counts[other] -= 1
            sums[other] ^= number
            if counts[other] == 1:
                alone.append(other)
        one, two = (other for other in probes if other != slot)
        order.append((slot, one, two, (number ^ number >> 32) & 0xFFFF))
    return order if len(order) == len(mixed) else None


def _fill(order: list[tuple[int, int, int, int]], listed: list[int], shape: Shape, random_bytes: bytes) -> array[int]:
    # A sixth of the slots belongs to no name: other values there make another filter without peeling again.
    tests = [(*_probes(number, shape), (number ^ number >> 32) & 0xFFFF) for number in listed]
    order = order[::-1]
    for turn in range(_FILLS):
        start = b"fill" + shape.seed.to_bytes(8) + turn.to_bytes(4) + random_bytes
        noise = shake_128(start).digest(2 * shape.slots)
        slots = [one | two << 8 for one, two in zip(noise[::2], noise[1::2], strict=True)]
        for slot, one, two, fingerprint in order:
            slots[slot] = slots[one] ^ slots[two] ^ fingerprint
        if not any(slots[a] ^ slots[b] ^ slots[c] == fingerprint for a, b, c, fingerprint in tests):
            return array("H", slots)
    raise ListError(
        f"no known-good filter spares all of {len(listed)} listed domains: there are too many of them for 16 bits"
    )
