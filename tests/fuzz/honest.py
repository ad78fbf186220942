"""A client of TCP that means well, on a bad network: loss on either side of the router, disorder, duplicates.

What it sends again is the same bytes, perhaps cut in another way. It acknowledges what it has got, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.filter.packets import ACK, PSH, SYN, Connection, build_tcp, timestamps
from tests.fuzz.linux_receiver import MASK, Reply, before
from tests.fuzz.path import Path, Sent

ROUNDS = 3000


class HonestClient:
    """Sends a stream over a path. `loss` is the chance of each packet, on each side."""

    def __init__(self, random: Random, path: Path, connection: Connection, loss: float) -> None:
        self.random = random
        self.path = path
        self.connection = connection
        self.loss = loss
        self.segment = random.choice((1, 7, 100, 536, 1448, 1448, 9000, 40_000))
        self.flight = random.choice((1, 4, 10, 40))  # segments a round
        self.has_stamps = connection.stamps
        self.clock = random.choice((1000, 0xFFFFFFF0, 0x7FFFFFF0))
        self.origin = -1
        self.heard = 0  # bytes of the server
        self.acknowledged = 0  # offset: the server has all before

    def connect(self) -> None:
        for _ in range(ROUNDS):
            self._send(lambda: self._build(-1, b"", SYN), wait=1.0)
            if self.origin >= 0:
                self._send(lambda: self._build(0, b"", ACK))
                return
        raise AssertionError("no connection came about")

    def say(self, stream: bytes, until: Callable[[], bool]) -> None:
        """Send a stream, of which the part up to `acknowledged` is there already, until the other side has answered."""
        random = self.random
        for _ in range(ROUNDS):
            if self.acknowledged == len(stream) and until():
                return
            start, end = self.acknowledged, len(stream)
            if self.acknowledged == len(stream):  # the answer was lost: a keep-alive finds out
                start = end - 1
            limit = min(end, start + self.path.receiver.window)
            segments = []
            for _ in range(self.flight):
                if start >= limit:
                    break
                size = min(
                    random.randrange(1, self.segment + 1) if random.random() < 0.3 else self.segment, limit - start
                )
                segments.append((start, stream[start : start + size]))
                start += size
            if random.random() < 0.2 and segments:
                segments.append(random.choice(segments))
            if random.random() < 0.2:
                index = random.randrange(len(segments))
                segments.append(segments.pop(index))
            for offset, payload in segments:
                self._send(lambda offset=offset, payload=payload: self._build(offset, payload, PSH | ACK))  # type: ignore[misc]
            self.path.now += random.choice((0.01, 0.2, 3.0))
        raise AssertionError(f"the stream did not get through: {self.acknowledged} of {len(stream)}")

    def _build(self, offset: int, payload: bytes, flags: int) -> bytes:
        self.clock += self.random.choice((0, 1, 1, 9))
        options = timestamps(self.clock, 7) if self.has_stamps else b""
        number = self.origin + self.heard if flags & ACK else 0
        sequence = self.connection.initial + offset
        return build_tcp(self.connection.ends, sequence, number, flags, payload, options=options, is_checked=False)

    def _send(self, build: Callable[[], bytes], wait: float = 0.0) -> None:
        random = self.random
        packet = build()
        fate = Sent(lambda _: packet, random.random() >= self.loss, wait, random.random() < self.loss)
        for reply in self.path.send(fate):
            if reply.flags & SYN or random.random() >= self.loss:
                self._take(reply)

    def _take(self, reply: Reply) -> None:
        if reply.flags & SYN:
            if self.origin < 0:
                self.origin = reply.sequence + 1 & MASK
                self.has_stamps = self.has_stamps and self.path.receiver.offers_stamps
            return
        offset = reply.acknowledgement - self.connection.initial & MASK
        if offset < 0x80000000:
            self.acknowledged = max(self.acknowledged, offset)
        # Bytes that were lost come with the server's next segment: it sends them again.
        end = reply.sequence + reply.size & MASK
        if not before(end, self.origin + self.heard & MASK):
            self.heard = end - self.origin & MASK
