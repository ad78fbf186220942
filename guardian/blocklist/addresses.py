"""Lists of addresses: the ways around the filter that have no name. Text -> network, networks -> a table to look up in.

A table holds the places where the answer changes, sorted, with the tag that holds from there on. The longest prefix has
won when the table was made, so a lookup is one binary search, and an address costs 10 bytes (IPv4) or 34 (IPv6).
Addresses of IPv6 that carry one of IPv4 (mapped, 6to4, the well-known NAT64 prefix) are that one, here and there.
"""

from __future__ import annotations

import ipaddress
import json
import re
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple
from zlib import crc32

from guardian.blocklist.facts import SourceFacts, format_facts, parse_facts
from guardian.errors import ListError, TextError

FORMAT = "addresses"  # what `sources.yaml` calls such a list
NOT_AN_ADDRESS = "not-an-address"
TOO_WIDE = "too-wide"  # shorter than /8, IPv6 /16
NOT_PUBLIC = "not-public"  # overlaps with private, loopback, link-local, multicast, reserved or unspecified addresses

_WHY = {
    NOT_AN_ADDRESS: "is not an address or a prefix like 192.0.2.0/24",
    TOO_WIDE: "takes too much: no prefix shorter than /8, in IPv6 /16",
    NOT_PUBLIC: "is no public address: the home and its machines have such ones",
}
_LEAST_BITS = {4: 8, 16: 16}
_SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3
::/8 64:ff9b::/32 fc00::/7 fe80::/9 ff00::/8
"""
_SIX_TO_FOUR = b"\x20\x02"  # 2002::/16, RFC 3056
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_NAT64 = b"\x00\x64\xff\x9b" + bytes(8)  # 64:ff9b::/96, RFC 6052
_CARRIERS = frozenset({_MAPPED, _NAT64})
_LOW = (1 << 64) - 1
_BITS = re.compile(r"[0-9]{1,3}")

# The file. All numbers are little-endian; the checksum is over all other bytes.
MAGIC = b"GUARDADR"
VERSION = 1
_HEAD = struct.Struct("<8sHHIIIIId")  # magic, version, 0, five sizes and counts, moment of making
_CRC = struct.Struct("<I")


class Network(NamedTuple):
    """A prefix: its first address, packed (4 or 16 bytes, zeros behind the prefix), and its length in bits."""

    first: bytes
    bits: int

    def __str__(self) -> str:
        return f"{ipaddress.ip_address(self.first)}/{self.bits}"


def parse_network(text: str) -> Network:
    """Return the network of `192.0.2.1` or `2001:db8::/32`. Raises TextError, also for one that no list may hold."""
    found = read_network(text)
    if isinstance(found, str):
        raise TextError(f"'{text[:80]}' {_WHY[found]}")
    return found


def read_network(text: str) -> Network | str:
    """Return the network of a text, or the reason why a list may not hold it. Bits behind the prefix are ignored."""
    host, slash, length = text.partition("/")
    if "%" in host or (slash and not _BITS.fullmatch(length)):
        return NOT_AN_ADDRESS
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        return NOT_AN_ADDRESS
    width = 8 * len(packed)
    bits = int(length) if slash else width
    if bits > width:
        return NOT_AN_ADDRESS
    network = _unwrap(_mask(packed, bits), bits)
    if network.bits < _LEAST_BITS[len(network.first)]:
        return TOO_WIDE
    return NOT_PUBLIC if _special_addresses().find_overlap(network) else network


def _mask(packed: bytes, bits: int) -> bytes:
    shift = 8 * len(packed) - bits
    return (int.from_bytes(packed, "big") >> shift << shift).to_bytes(len(packed), "big") if shift else packed


def _unwrap(first: bytes, bits: int) -> Network:
    """The network of IPv4 that a network of IPv6 carries, else itself; below a 6to4 site there is only the site."""
    if len(first) == 16:
        if first[:2] == _SIX_TO_FOUR and bits >= 16:
            return Network(first[2:6], min(bits, 48) - 16)
        if first[:12] in _CARRIERS and bits >= 96:
            return Network(first[12:], bits - 96)
    return Network(first, bits)


@cache
def _special_addresses() -> AddressTable:
    """What no list may hold, in part or as a whole."""
    networks = (ipaddress.ip_network(text) for text in _SPECIAL.split())
    return build_table(("special", Network(item.network_address.packed, item.prefixlen)) for item in networks)


class AddressTable:
    """Which tag an address has. It satisfies what the policy asks of address lists: `lookup`.

    `build_table`, `compile_addresses` and `from_bytes` make one; it never changes.
    """

    __slots__ = ("_highs", "_lows", "_numbers4", "_numbers6", "_starts4", "count", "created", "sources", "tags")

    def __init__(
        self,
        tags: tuple[str, ...],  # tags[0] is ""
        v4: tuple[array[int], bytes],  # where each stretch begins, and the number of its tag; the first begins at 0
        v6: tuple[array[int], array[int], bytes],  # the same; the upper and the lower half of each address
        count: int,
        sources: tuple[SourceFacts, ...] = (),
        created: float = 0.0,
    ) -> None:
        self.tags = tags
        self._starts4, self._numbers4 = v4
        self._highs, self._lows, self._numbers6 = v6
        self.count = count  # different networks
        self.sources = sources
        self.created = created  # epoch seconds

    def lookup(self, address: bytes) -> str:
        """Return the tag of the longest listed prefix of a packed address (4 or 16 bytes), "" when none is listed."""
        if len(address) == 16:
            if address[:2] == _SIX_TO_FOUR:
                address = address[2:6]
            elif address[:12] in _CARRIERS:
                address = address[12:]
            else:
                return self.tags[self._numbers6[self._find6(int.from_bytes(address, "big"))]]
        return self.tags[self._numbers4[bisect_right(self._starts4, int.from_bytes(address, "big")) - 1]]

    def find_overlap(self, network: Network) -> str:
        """Return the tag of the first address in a network that is listed, "" when none is."""
        first = int.from_bytes(network.first, "big")
        last = first | (1 << 8 * len(network.first) - network.bits) - 1
        if len(network.first) == 4:
            begin, end = bisect_right(self._starts4, first) - 1, bisect_right(self._starts4, last)
            inside = self._numbers4[begin:end]
        else:
            inside = self._numbers6[self._find6(first) : self._find6(last) + 1]
        return self.tags[next((number for number in inside if number), 0)]

    def _find6(self, value: int) -> int:
        high = value >> 64
        begin = bisect_left(self._highs, high)
        end = bisect_right(self._highs, high, begin)
        return bisect_right(self._lows, value & _LOW, begin, end) - 1  # begin - 1 when all of this half come later

    @property
    def size(self) -> int:
        """Bytes of the arrays."""
        arrays = (self._starts4, self._highs, self._lows)
        return sum(item.itemsize * len(item) for item in arrays) + len(self._numbers4) + len(self._numbers6)

    def to_bytes(self) -> bytes:
        """Return the file of the table: see `docs/lists.md`."""
        tags, facts = json.dumps(self.tags[1:]).encode(), format_facts(self.sources)
        parts = (_little(self._starts4), self._numbers4, _little(self._highs), _little(self._lows), self._numbers6)
        body = b"".join((*parts, tags, facts))
        sizes = (len(self._numbers4), len(self._numbers6), len(tags), len(facts), self.count)
        head = _HEAD.pack(MAGIC, VERSION, 0, *sizes, self.created)
        return head + _CRC.pack(crc32(body, crc32(head))) + body


def build_table(
    pairs: Iterable[tuple[str, Network]], sources: tuple[SourceFacts, ...] = (), created: float = 0.0
) -> AddressTable:
    """Return the table of (tag, network) pairs; of a network with two tags the tag that was named first stays.

    Raises ListError for more than 255 tags.
    """
    numbers = {"": 0}
    keys: dict[int, list[int]] = {4: [], 16: []}  # first address, length, number of the tag, in one number that sorts
    for tag, (first, bits) in pairs:
        number = numbers.setdefault(tag, len(numbers))
        keys[len(first)].append(int.from_bytes(first, "big") << 16 | bits << 8 | number)
    if len(numbers) > 256:
        raise ListError(f"{len(numbers) - 1} tags of addresses are more than the 255 that a table can hold")
    starts, numbers4 = array("I"), bytearray()
    highs, lows, numbers6 = array("Q"), array("Q"), bytearray()
    count = 0
    for width, found in ((32, keys[4]), (128, keys[16])):
        found.sort()
        different = [key for at, key in enumerate(found) if not at or found[at - 1] >> 8 != key >> 8]
        found.clear()
        count += len(different)
        for start, number in _find_changes(different, width):
            if width == 32:
                starts.append(start)
                numbers4.append(number)
            else:
                highs.append(start >> 64)
                lows.append(start & _LOW)
                numbers6.append(number)
    return AddressTable(
        tuple(numbers), (starts, bytes(numbers4)), (highs, lows, bytes(numbers6)), count, sources, created
    )


def _find_changes(keys: Iterable[int], width: int) -> Iterator[tuple[int, int]]:
    """Yield (address, number of the tag that holds from there on), beginning at 0, one per address and change."""
    before = -1
    at, number = 0, 0
    for start, begun in _walk(keys, width):
        if start != at:
            if number != before:
                yield at, number
                before = number
            at = start
        number = begun
    if number != before and not at >> width:
        yield at, number


def _walk(keys: Iterable[int], width: int) -> Iterator[tuple[int, int]]:
    """Yield each begin and end of the networks in order, with the number that holds then. Networks never cross."""
    inside: list[tuple[int, int]] = [((1 << width) + 1, 0)]  # (end, number), the innermost last
    for key in chain(keys, (1 << width + 16,)):
        start, bits, number = key >> 16, key >> 8 & 0xFF, key & 0xFF
        while inside[-1][0] <= start:
            end, _ = inside.pop()
            yield end, inside[-1][1]
        if not start >> width:
            yield start, number
            inside.append((start + (1 << width - bits), number))


def from_bytes(data: bytes) -> AddressTable:
    """Return the table of a file. Raises ListError: not such a file, another version, cut off, damaged."""
    if not data.startswith(MAGIC):
        raise ListError("this is no address list of Guardian")
    if len(data) < _HEAD.size + _CRC.size:
        raise ListError("the address list is cut off")
    _, version, _, count4, count6, tags_size, facts_size, count, created = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ListError(f"the address list has version {version}; this Guardian reads {VERSION}: run 'guardian sync'")
    start = _HEAD.size + _CRC.size
    sizes = (4 * count4, count4, 8 * count6, 8 * count6, count6, tags_size, facts_size)
    if len(data) != start + sum(sizes):
        raise ListError(f"the address list is cut off: {len(data)} of {start + sum(sizes)} bytes")
    if _CRC.unpack_from(data, _HEAD.size)[0] != crc32(data[start:], crc32(data[: _HEAD.size])):
        raise ListError("the address list is damaged: its checksum is wrong")
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    tags = ("", *_read_tags(parts[5]))
    starts, highs, lows = _native("I", parts[0]), _native("Q", parts[2]), _native("Q", parts[3])
    numbers4, numbers6 = parts[1], parts[4]
    whole = bool(starts and highs) and (starts[0], highs[0], lows[0]) == (0, 0, 0)
    if not whole or max(numbers4 + numbers6) >= len(tags):
        raise ListError("the address list does not add up")
    return AddressTable(tags, (starts, numbers4), (highs, lows, numbers6), count, parse_facts(parts[6]), created)


def _read_tags(data: bytes) -> list[str]:
    try:
        tags = json.loads(data)
    except ValueError:
        tags = None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ListError("the tags of the address list are broken")
    return tags


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _native(typecode: str, data: bytes) -> array[int]:
    numbers: array[int] = array(typecode, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
