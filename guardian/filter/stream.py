"""The client's half of one TCP connection, placed by sequence number as the server will place it (RFC 9293). Pure.

A filter that appends in order of arrival sees another stream than the server. What makes the difference impossible
here: a byte that was let through once can never be another byte later. Honest retransmissions are identical.
"""

from __future__ import annotations

import enum
from typing import Final

MAX_STREAM_BYTES: Final = 18_000  # more than any hello or request head that can be judged
MAX_SEGMENTS: Final = 400  # of an undecided stream
MERGED_BYTES: Final = 65_536  # the kernel merges segments up to this size before it hands them over


class Placement(enum.Enum):
    """What a segment brought."""

    NEW = "new"  # the contiguous stream has grown
    NOTHING = "nothing"  # a retransmission, or bytes behind a gap
    FORGOTTEN = "forgotten"  # begins before what is held, so nobody can tell whether its bytes are the same
    CONFLICT = "conflict"  # another byte at a place that was seen before
    TOO_MUCH = "too much"  # nothing was taken in


class Stream:
    """Bytes from the initial sequence number on. `data` is what is contiguous from `base` on; offsets are absolute."""

    __slots__ = ("_ahead", "base", "data", "initial", "room", "segments")

    def __init__(self, initial: int) -> None:
        """`initial` is the sequence number of the first byte: that of the SYN, plus one."""
        self.initial = initial
        self.base = 0
        self.data = bytearray()
        self.segments = 0
        self.room = MAX_STREAM_BYTES + MERGED_BYTES  # bytes that may be held; as many again behind a gap
        self._ahead: list[tuple[int, bytes]] | None = None

    @property
    def end(self) -> int:
        """The offset behind the contiguous bytes."""
        return self.base + len(self.data)

    @property
    def size(self) -> int:
        """The bytes that are held."""
        return len(self.data) + (sum(len(piece) for _, piece in self._ahead) if self._ahead else 0)

    def place(self, sequence: int, payload: bytes) -> Placement:
        """Take in a segment's data. Sequence numbers wrap at 2^32; the stream itself may be longer than that."""
        self.segments += 1
        here = self.initial + self.end & 0xFFFFFFFF
        if sequence == here and self._ahead is None:
            if len(self.data) + len(payload) > self.room:
                return Placement.TOO_MUCH
            self.data += payload
            return Placement.NEW
        return self._place_at(self.offset_of(sequence), payload)

    def offset_of(self, sequence: int) -> int:
        """Return the absolute offset of a sequence number: the one nearest to the end."""
        distance = sequence - self.initial - self.end & 0xFFFFFFFF
        return self.end + (distance if distance < 0x80000000 else distance - 0x100000000)

    def agrees(self, sequence: int, payload: bytes) -> bool:
        """Tell whether a segment's data contradict none of the bytes that are held; they are not kept."""
        offset = self.offset_of(sequence)
        if offset >= self.end or offset + len(payload) <= self.base:
            return self._agrees(offset, payload)
        skipped = max(self.base - offset, 0)
        start = offset + skipped - self.base
        known = self.data[start : start + len(payload) - skipped]
        return payload[skipped : skipped + len(known)] == known and self._agrees(offset, payload)

    def _place_at(self, offset: int, payload: bytes) -> Placement:
        if offset < self.base:
            if self.base:
                return Placement.FORGOTTEN
            if offset + len(payload) <= 0:  # a keep-alive before the first byte
                return Placement.NOTHING
            payload = payload[-offset:]
            offset = 0
        if offset > self.end:
            return self._keep_ahead(offset, payload)
        known = self.data[offset - self.base : offset - self.base + len(payload)]
        if payload[: len(known)] != known or not self._agrees(offset, payload):
            return Placement.CONFLICT
        if len(known) == len(payload):
            return Placement.NOTHING
        if len(self.data) + len(payload) - len(known) > self.room:
            return Placement.TOO_MUCH
        self.data += payload[len(known) :]
        self._join()
        return Placement.NEW

    def _keep_ahead(self, offset: int, payload: bytes) -> Placement:
        end = offset + len(payload)
        if not self._agrees(offset, payload):
            return Placement.CONFLICT
        if self._ahead is None:
            self._ahead = []
        if any(start <= offset and end <= start + len(piece) for start, piece in self._ahead):
            return Placement.NOTHING
        if (
            end - self.end > self.room
            or len(self._ahead) >= MAX_SEGMENTS
            or sum(len(piece) for _, piece in self._ahead) + len(payload) > self.room
        ):
            return Placement.TOO_MUCH
        self._ahead.append((offset, payload))
        return Placement.NOTHING

    def _agrees(self, offset: int, payload: bytes) -> bool:
        """Whether the bytes are those that were seen at the same places behind the gap."""
        if self._ahead is None:
            return True
        end = offset + len(payload)
        for start, piece in self._ahead:
            low, high = max(start, offset), min(start + len(piece), end)
            if low < high and piece[low - start : high - start] != payload[low - offset : high - offset]:
                return False
        return True

    def _join(self) -> None:
        """Append the pieces that are no longer behind a gap."""
        if self._ahead is None:
            return
        waiting = sorted(self._ahead)
        left = []
        for offset, piece in waiting:
            if offset > self.end:
                left.append((offset, piece))
            elif offset + len(piece) > self.end:
                self.data += piece[self.end - offset :]
        self._ahead = left or None

    def forget(self, offset: int) -> None:
        """Let go of the bytes before an absolute offset: whoever sends them again is not heard."""
        cut = min(offset - self.base, len(self.data))
        if cut > 0:
            del self.data[:cut]
            self.base += cut
