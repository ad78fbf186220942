"""What the binary files of a feed have in common: magic, size, a header in JSON, sections of little-endian numbers.

docs/feed.md has the layout. Every field of a header is checked here before anybody relies on it.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from guardian.blocklist.layout import ImageBuffer, align
from guardian.errors import ListError

MAX_FILE_BYTES = 64 << 20  # the same as the largest target of a feed
MAX_HEADER_BYTES = 1 << 20
MAX_CREATED = 1 << 40  # epoch seconds

Numbers = memoryview | array  # type: ignore[type-arg]  # of unsigned integers, in the order of this machine
Header = dict[str, Any]

_HEAD = struct.Struct("<8sQI")
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]+")


def pack_header(header: Mapping[str, Any], what: str) -> bytes:
    """Return a header as bytes: the same for the same values. Raises ListError."""
    try:
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ListError(f"{what}: its header cannot be written: {error}") from None
    if len(data) > MAX_HEADER_BYTES:
        raise ListError(f"{what}: its header has {len(data)} bytes, more than {MAX_HEADER_BYTES}")
    return data


def pack_file(magic: bytes, header: Mapping[str, Any], sections: bytes, what: str) -> bytes:
    """Return a whole file: magic, size, header, zeros up to a multiple of 8, sections. Raises ListError."""
    head = pack_header(header, what)
    start = align(_HEAD.size + len(head))
    size = start + len(sections)
    if size > MAX_FILE_BYTES:
        raise ListError(f"{what}: {size} bytes are more than a file of a feed may have ({MAX_FILE_BYTES})")
    return (_HEAD.pack(magic, size, len(head)) + head).ljust(start, b"\0") + sections


def open_file(buffer: ImageBuffer | bytes, magic: bytes, what: str) -> tuple[Header, memoryview]:
    """Return a file's header and its sections. Raises ListError, which names `what`."""
    view = memoryview(buffer)
    if view[: len(magic)] != magic:
        raise ListError(f"{what}: it does not begin with {magic.decode()}")
    if len(view) < _HEAD.size:
        raise ListError(f"{what}: {len(view)} bytes do not hold its header")
    _, size, length = _HEAD.unpack_from(view)
    start = align(_HEAD.size + length)
    if size != len(view) or size > MAX_FILE_BYTES:
        raise ListError(f"{what}: it has {len(view)} bytes where {size} belong")
    if length > MAX_HEADER_BYTES or start > size:
        raise ListError(f"{what}: its header does not fit")
    if any(view[_HEAD.size + length : start]):
        raise ListError(f"{what}: there is something between header and sections")
    try:
        header = json.loads(str(view[_HEAD.size : _HEAD.size + length], "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ListError(f"{what}: its header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise ListError(f"{what}: its header is no object")
    return header, view[start:]


def read_numbers(sections: memoryview, start: int, count: int, code: str, what: str) -> Numbers:
    """Return `count` little-endian numbers of an array code (H, I, Q), not copied where the machine is little-endian.

    Raises ListError when the file does not hold them.
    """
    end = start + count * array(code).itemsize
    if end > len(sections):
        raise ListError(f"{what}: its sections end too soon")
    data = sections[start:end]
    if sys.byteorder == "big":
        numbers = array(code, bytes(data))
        numbers.byteswap()
        return numbers
    return data.cast(code)  # type: ignore[call-overload,no-any-return]


def pack_numbers(numbers: array[int]) -> bytes:
    """Return numbers as little-endian bytes."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def take_int(header: Mapping[str, Any], field: str, least: int, most: int, what: str) -> int:
    """Return a whole number of a header. Raises ListError when it is none or out of bounds."""
    value = header.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ListError(f"{what}: '{field}' must be a whole number from {least} to {most}")
    return value


def take_time(header: Mapping[str, Any], field: str, what: str) -> float:
    """Return a time of a header in epoch seconds. Raises ListError."""
    value = header.get(field)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_CREATED:
        raise ListError(f"{what}: '{field}' must be a time in epoch seconds")
    return float(value)


def take_word(header: Mapping[str, Any], field: str, what: str) -> str:
    """Return the name of a list or an epoch. Raises ListError."""
    value = header.get(field)
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ListError(f"{what}: '{field}' must be up to 32 letters a-z, digits and '-'")
    return value


def take_digest(header: Mapping[str, Any], field: str, digits: int, what: str) -> str:
    """Return a string of lower-case hex digits. Raises ListError."""
    value = header.get(field)
    if not isinstance(value, str) or len(value) != digits or not _DIGEST.fullmatch(value):
        raise ListError(f"{what}: '{field}' must have {digits} hex digits")
    return value


def take_object(header: Mapping[str, Any], field: str, what: str) -> Header:
    """Return a JSON object of a header. Raises ListError."""
    value = header.get(field)
    if not isinstance(value, dict):
        raise ListError(f"{what}: '{field}' must be an object")
    return value


def take_array(header: Mapping[str, Any], field: str, most: int, what: str) -> list[Any]:
    """Return a JSON array of a header. Raises ListError when it is none or longer than `most`."""
    value = header.get(field)
    if not isinstance(value, list) or len(value) > most:
        raise ListError(f"{what}: '{field}' must be an array of at most {most}")
    return value


def take_line(header: Mapping[str, Any], field: str, longest: int, what: str, default: str | None = None) -> str:
    """Return a text of a header, one that every encoding can hold. Raises ListError; `default` is for a missing one."""
    value = header.get(field, default)
    if not isinstance(value, str) or len(value) > longest or any("\ud800" <= char <= "\udfff" for char in value):
        raise ListError(f"{what}: '{field}' must be a text of at most {longest} characters")
    return value
