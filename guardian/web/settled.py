"""What past days were like, so that each is read once: packed, bounded, and forgotten when the history forgets it.

It holds no name of a site. What of it may be shown, and whether a device is still one of the household, is decided anew
by who asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

T = TypeVar("T")
MOST_BYTES = 1024 * 1024  # ninety days of one child take 100 KB
_OWN_BYTES = 400  # that an entry takes besides its content, about


class Span(NamedTuple):
    """What was asked: of which history, in which hours since the epoch (`until` is not included)."""

    path: str
    since: int
    until: int
    of: tuple[str, ...] = ()  # device ids, in any order that the asker keeps to


class Settled:
    """Remembers answers about hours of which nothing more will be written. Any thread may ask."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: dict[tuple[type, Span], bytes] = {}  # the longest unused first
        self._lock = threading.Lock()

    def find(self, kind: type[T], span: Span, read: Callable[[], T]) -> T:
        """Return what `read` returns, a value of a type that msgspec knows, or what it returned before."""
        with self._lock:
            packed = self._known.pop((kind, span), None)
            if packed is not None:
                self._known[kind, span] = packed
        if packed is not None:
            return msgspec.msgpack.decode(packed, type=kind)
        value = read()
        packed = msgspec.msgpack.encode(value)
        with self._lock:
            if (kind, span) not in self._known:
                self._known[kind, span] = packed
                self._bytes += len(packed) + _OWN_BYTES
            while self._bytes > self._most_bytes:
                self._forget(next(iter(self._known)))
        return value

    def forget_before(self, path: str, oldest: int | None) -> None:
        """Forget what ended before the oldest hour that a history still has, everything when it has none.

        Hours are erased all together, or from the oldest on.
        """
        with self._lock:
            for key in [key for key in self._known if key[1].path == path]:
                if oldest is None or key[1].until <= oldest:
                    self._forget(key)

    def __len__(self) -> int:
        return len(self._known)

    def _forget(self, key: tuple[type, Span]) -> None:
        self._bytes -= len(self._known.pop(key)) + _OWN_BYTES
