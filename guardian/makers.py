"""Who made a device, by the first digits of its MAC: the lists that the system may have (Debian: ieee-data, nmap).

Nothing of them is copied: a file is mapped, and an index of 8 bytes an entry is made at the first question.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable

log = logging.getLogger(__name__)

FILES = (
    "/usr/share/ieee-data/oui.txt",
    "/usr/share/ieee-data/mam.txt",
    "/usr/share/ieee-data/oui36.txt",
    "/usr/share/misc/oui.txt",
    "/usr/share/nmap/nmap-mac-prefixes",
)
LONGEST_NAME = 60
_OFFSET_BITS = 28
_MOST_BYTES = 1 << _OFFSET_BITS
_NOBODY = ("", "Private", "IEEE Registration Authority")  # the last has given the block away in parts
# `28-6F-B9   (hex)  Name`, and below it `286FB9 (base 16)` or, for a part of a block, `A00000-AFFFFF (base 16)`.
_IEEE = re.compile(
    rb"^([0-9A-F]{2})-([0-9A-F]{2})-([0-9A-F]{2})[ \t]+\(hex\)[ \t]*([^\r\n]*)\r?\n"
    rb"(?:([0-9A-F]{6})-([0-9A-F]{6})[ \t]+\(base 16\))?",
    re.MULTILINE,
)
_NMAP = re.compile(rb"^([0-9A-F]{6,9})[ \t]+([^\r\n]+)", re.MULTILINE)


def find_maker(mac: str) -> str:
    """Return the maker of a device by its MAC (`aa:bb:cc:dd:ee:ff`), "" when not known or when the MAC is made up."""
    digits = mac.replace(":", "").replace("-", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{12}", digits) or int(digits[1], 16) & 3:  # a group, or of its own making
        return ""
    return _find(digits[:9].upper())


@functools.lru_cache(maxsize=1024)
def _find(digits: str) -> str:
    for length in (9, 7, 6):
        for file in _open_files():
            name = file.find(digits[:length])
            if name not in _NOBODY:
                return name
    return ""


@functools.cache
def _open_files() -> tuple[MakerFile, ...]:
    return tuple(open_files(FILES))


def open_files(paths: Iterable[str]) -> list[MakerFile]:
    """Return the lists among `paths` that are there and can be read, each file once."""
    found: dict[str, MakerFile] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in found:
            continue
        try:
            found[real] = MakerFile(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            log.warning("event=makers-unreadable file=%s error=%r", path, str(error))
    return list(found.values())


class MakerFile:
    """One list, mapped."""

    def __init__(self, path: str) -> None:
        """Raises OSError, ValueError."""
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._data) > _MOST_BYTES:
            raise ValueError("it is too large")
        entries: dict[int, list[int]] = {}
        for length, prefix, offset in self._scan(path.endswith("prefixes")):
            entries.setdefault(length, []).append(prefix << _OFFSET_BITS | offset)
        self._index = {length: array("Q", sorted(each)) for length, each in entries.items()}
        self._data.madvise(mmap.MADV_DONTNEED)

    def find(self, prefix: str) -> str:
        """Return whose a prefix of 6, 7 or 9 upper-case hexadecimal digits is, "" when it is nobody's."""
        index = self._index.get(len(prefix))
        if index is None:
            return ""
        wanted = int(prefix, 16)
        place = bisect_left(index, wanted << _OFFSET_BITS)
        if place == len(index) or index[place] >> _OFFSET_BITS != wanted:
            return ""
        start = index[place] & (_MOST_BYTES - 1)
        end = self._data.find(b"\n", start)
        raw = self._data[start : len(self._data) if end < 0 else end]
        text = "".join(char for char in raw.decode("utf-8", "replace") if unicodedata.category(char)[0] != "C")
        return text.strip()[:LONGEST_NAME].strip()

    def _scan(self, is_nmap: bool) -> Iterable[tuple[int, int, int]]:
        """Yield (digits, prefix, where its name begins)."""
        if is_nmap:
            for found in _NMAP.finditer(self._data):
                yield len(found[1]), int(found[1], 16), found.start(2)
            return
        for found in _IEEE.finditer(self._data):
            digits = found[1] + found[2] + found[3]
            if found[5]:
                size = int(found[6], 16) - int(found[5], 16) + 1
                digits += found[5][: 6 - (size.bit_length() - 1) // 4]
            yield len(digits), int(digits, 16), found.start(4)
