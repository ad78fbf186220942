"""A broken image is refused at open, or it is harmless until `verify` finds it out."""

from __future__ import annotations

import random
import struct
from zlib import crc32

import pytest

from guardian.blocklist.image import Image
from guardian.blocklist.layout import CHECKED_AT_OPEN, HEADER_BYTES, SECTIONS, VERSION, align, read_header
from guardian.errors import ListError
from guardian.names import parse_name

PROBES = [parse_name(f"www.name{number}.example.com") for number in range(50)] + [parse_name("help.example")]


def use(image: Image) -> None:
    for name in PROBES:
        assert image.lookup(name) >= 0
        image.matches(name)
    assert image.lookup_url(parse_name("example.org"), b"/games/x") >= 0


def test_a_truncation_anywhere_is_refused(small_image: bytes) -> None:
    header = read_header(memoryview(small_image))
    edges = {0, 1, 7, 8, HEADER_BYTES - 1, HEADER_BYTES, len(small_image) - 1}
    for section in header.sections.values():
        edges |= {section.start, section.start + section.length - 1, section.start + section.length}
    for edge in sorted(edges - {len(small_image)}):
        with pytest.raises(ListError):
            Image(small_image[:edge])
    with pytest.raises(ListError, match="has grown"):
        Image(small_image + b"\0")


def test_a_changed_byte_is_refused_or_harmless_and_always_found(small_image: bytes) -> None:
    header = read_header(memoryview(small_image))
    trusted = [range(HEADER_BYTES)]
    for name in CHECKED_AT_OPEN:
        start, length, _ = header.sections[name]
        trusted.append(range(start, start + length))
    rng = random.Random(5)
    big = [
        start + rng.randrange(length)
        for start, length, _ in (header.sections[name] for name in SECTIONS if name not in CHECKED_AT_OPEN)
        for _ in range(40)
    ]
    for place in [place for stretch in trusted for place in stretch] + big:
        broken = bytearray(small_image)
        broken[place] ^= 1 << rng.randrange(8)
        try:
            image = Image(bytes(broken))
        except ListError:
            continue
        assert place in big, place
        use(image)
        with pytest.raises(ListError, match="checksum"):
            image.verify()


def reseal(image: bytearray) -> bytes:
    """Make the header's checksum right again: damage by a wrong writer instead of by a disk."""
    image[HEADER_BYTES - 4 : HEADER_BYTES] = struct.pack("<I", crc32(bytes(image[: HEADER_BYTES - 4])))
    return bytes(image)


def test_a_header_that_checks_but_does_not_add_up_is_refused_or_harmless(small_image: bytes) -> None:
    rng = random.Random(6)
    refused = 0
    for _ in range(3000):
        broken = bytearray(small_image)
        place = rng.randrange(8, HEADER_BYTES - 4)
        broken[place] = rng.choice((0, 1, 0x7F, 0xFF, broken[place] ^ 1, rng.randrange(256)))
        try:
            image = Image(reseal(broken))
        except ListError:
            refused += 1
            continue
        use(image)
    assert refused > 1000


def test_buckets_that_lead_out_of_their_table_are_refused(small_image: bytes) -> None:
    header = read_header(memoryview(small_image))
    start, length, _ = header.sections["name_buckets"]
    broken = bytearray(small_image)
    broken[start + 4 : start + 8] = struct.pack("<I", len(small_image))
    at = broken.index(struct.pack("<QQI", start, length, crc32(small_image[start : start + length])))
    broken[at + 16 : at + 20] = struct.pack("<I", crc32(bytes(broken[start : start + length])))
    with pytest.raises(ListError, match="buckets do not add up"):
        Image(reseal(broken))


def test_what_is_wrong_is_said(small_image: bytes) -> None:
    with pytest.raises(ListError, match="no Guardian list image"):
        Image(b"#!/bin/sh\n" * 100)
    newer = bytearray(small_image)
    newer[8] = VERSION + 1
    with pytest.raises(ListError, match=f"version {VERSION + 1}.*compile it anew"):
        Image(reseal(newer))
    swapped = bytearray(small_image)
    swapped[10:12] = swapped[11:9:-1]
    with pytest.raises(ListError, match="byte order"):
        Image(reseal(swapped))


def test_sections_begin_at_multiples_of_eight() -> None:
    assert [align(position) for position in (0, 1, 8, 9)] == [0, 8, 8, 16]
