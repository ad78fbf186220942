"""Versions of Guardian as a feed asks for them: whether a text is one, and which of two is the older."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){0,3}")
_PARTS = 4


def is_version(text: str) -> bool:
    """Tell whether a text is a version: one to four numbers with dots, and nothing else, so that it can be shown."""
    return _NUMBERS.fullmatch(text) is not None


def is_older(version: str, minimum: str) -> bool:
    """Tell whether a version (`1.2.3`, `1.2.3rc1`) is below a minimum; what is no version is below nothing."""
    own = _NUMBERS.match(version)
    return own is not None and is_version(minimum) and _read(own[0]) < _read(minimum)


def _read(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(".")]
    return numbers + [0] * (_PARTS - len(numbers))  # 1.2 and 1.2.0 are one
