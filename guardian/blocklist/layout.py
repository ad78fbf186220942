"""The bytes of a list image: header, sections, and the checks that make a broken one harmless.

All numbers are little-endian. `docs/list-format.md` has the whole layout.
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple, Protocol
from zlib import crc32

from guardian.blocklist.hashing import HashKey
from guardian.errors import ListError

MAGIC = b"GUARDIMG"
VERSION = 1
ORDER = 0x0102  # reads 0x0201 in a file whose bytes were swapped
ALIGNMENT = 8
MAX_IMAGE_BYTES = 1 << 32  # positions are 32 bits
MAX_CLASSES = 1 << 16
MAX_TAGS = 4096

SECTIONS = (
    "tags",
    "classes",
    "name_buckets",
    "url_buckets",
    "name_prints",
    "name_classes",
    "url_prints",
    "url_classes",
    "facts",
)
# Small sections that lookups trust are checked at open; the big ones by `Image.verify`, so that open touches few pages.
CHECKED_AT_OPEN = frozenset({"tags", "classes", "name_buckets", "url_buckets"})

_HEAD = struct.Struct("<8sHHIQdQQQQIIBBHI")
_SECTION = struct.Struct("<QQII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _SECTION.size * len(SECTIONS) + _CRC.size


class ImageBuffer(Protocol):
    """What an image lies in: `bytes` or a read-only `mmap.mmap`."""

    def find(self, sub: bytes, start: int, end: int, /) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


class Section(NamedTuple):
    start: int
    length: int
    crc: int


class Header(NamedTuple):
    """The facts of an image's first bytes. `created` is in epoch seconds; the shifts turn a hash into a bucket."""

    size: int
    created: float
    key: HashKey
    names: int
    urls: int
    tags: int
    classes: int
    name_shift: int
    url_shift: int
    sections: dict[str, Section]


class Class(NamedTuple):
    """What an entry says: masks of tags blocked and allowed, for itself and all below, and for itself alone."""

    block: int = 0
    block_exact: int = 0
    allow: int = 0
    allow_exact: int = 0


def align(position: int) -> int:
    """Return the first section position at or after `position`."""
    return -(-position // ALIGNMENT) * ALIGNMENT


def pack_header(header: Header) -> bytes:
    """Return the header's bytes, padded to where the first section begins."""
    data = _HEAD.pack(
        MAGIC,
        VERSION,
        ORDER,
        HEADER_BYTES,
        header.size,
        header.created,
        header.key.prime,
        header.key.multiplier,
        header.names,
        header.urls,
        header.tags,
        header.classes,
        header.name_shift,
        header.url_shift,
        len(SECTIONS),
        0,
    )
    data += b"".join(_SECTION.pack(*header.sections[name], 0) for name in SECTIONS)
    data += _CRC.pack(crc32(data))
    return data.ljust(align(HEADER_BYTES), b"\0")


def read_header(buffer: memoryview) -> Header:
    """Return the header of an image. Raises ListError when anything in it does not add up."""
    if buffer[: len(MAGIC)] != MAGIC:
        raise ListError("this is no Guardian list image")
    if len(buffer) < align(HEADER_BYTES):
        raise ListError(f"the image is cut off: {len(buffer)} bytes do not hold its header")
    _, version, order, header_bytes, size, created, *rest = _HEAD.unpack_from(buffer)
    prime, multiplier, names, urls, tags, classes, name_shift, url_shift, section_count, _ = rest
    if order != ORDER:
        raise ListError("the image was written in another byte order")
    if version != VERSION:
        raise ListError(
            f"the image has format version {version}; this program reads version {VERSION}: compile it anew"
        )
    (crc,) = _CRC.unpack_from(buffer, HEADER_BYTES - _CRC.size)
    if (
        header_bytes != HEADER_BYTES
        or section_count != len(SECTIONS)
        or crc32(buffer[: HEADER_BYTES - _CRC.size]) != crc
    ):
        raise ListError("the image's header is damaged")
    if size != len(buffer):
        raise ListError(f"the image is cut off or has grown: {len(buffer)} bytes where {size} belong")
    sections = {}
    for index, name in enumerate(SECTIONS):
        start, length, section_crc, _ = _SECTION.unpack_from(buffer, _HEAD.size + index * _SECTION.size)
        sections[name] = Section(start, length, section_crc)
    header = Header(
        size, created, HashKey(prime, multiplier), names, urls, tags, classes, name_shift, url_shift, sections
    )
    _check_header(header)
    return header


def _check_header(header: Header) -> None:
    position = align(HEADER_BYTES)
    for name, section in header.sections.items():
        if section.start != position:
            raise ListError(f"the image's section '{name}' is not where it belongs")
        position = align(section.start + section.length)
    if position != header.size or header.size > MAX_IMAGE_BYTES:
        raise ListError("the image's sections do not fill it")
    if header.key.prime >> 63 != 1 or not header.key.multiplier & 1:
        raise ListError("the image's hash key is damaged")
    if header.classes > MAX_CLASSES or header.tags > MAX_TAGS:
        raise ListError("the image has more tags or classes than the format allows")
    expected = {
        "name_prints": 4 * header.names,
        "name_classes": 2 * header.names,
        "url_prints": 4 * header.urls,
        "url_classes": 2 * header.urls,
        "classes": 4 * mask_bytes(header.tags) * header.classes,
    }
    for table, shift in (("name_buckets", header.name_shift), ("url_buckets", header.url_shift)):
        if not 32 <= shift <= 64:
            raise ListError("the image's hash table is damaged")
        expected[table] = 4 * ((1 << (64 - shift)) + 1)
    for name, length in expected.items():
        if header.sections[name].length != length:
            raise ListError(
                f"the image's section '{name}' has {header.sections[name].length} bytes instead of {length}"
            )


def check_section(buffer: memoryview, header: Header, name: str) -> memoryview:
    """Return the bytes of a section after comparing its checksum. Raises ListError."""
    start, length, crc = header.sections[name]
    data = buffer[start : start + length]
    if crc32(data) != crc:
        raise ListError(f"the image's section '{name}' is damaged: its checksum is wrong")
    return data


def mask_bytes(tags: int) -> int:
    """Return how many bytes a mask of so many tags takes."""
    return (tags + 7) // 8


def pack_classes(classes: list[Class], tags: int) -> bytes:
    """Return the class table: four masks a class."""
    width = mask_bytes(tags)
    return b"".join(mask.to_bytes(width, "little") for class_ in classes for mask in class_)


def read_classes(data: memoryview, tags: int) -> list[Class]:
    """Return the class table of checked bytes. Raises ListError when a mask names a tag that is not there."""
    width = mask_bytes(tags)
    if not width:
        return []
    masks = [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]
    if masks and max(masks) >> tags:
        raise ListError("the image's class table names tags that it does not have")
    return [Class(*masks[at : at + 4]) for at in range(0, len(masks), 4)]


def pack_tags(tags: tuple[str, ...]) -> bytes:
    """Return the tags as bytes."""
    return json.dumps(tags).encode()


def read_tags(data: memoryview, count: int) -> tuple[str, ...]:
    """Return the tags of checked bytes. Raises ListError."""
    try:
        tags = tuple(json.loads(bytes(data)))
    except (ValueError, TypeError, RecursionError):
        tags = ()
    if len(tags) != count or len(set(tags)) != count or not all(isinstance(tag, str) for tag in tags):
        raise ListError("the image's tags are damaged")
    return tags
