"""One TCP connection: the client's stream, how far it was judged, and what the client has heard of the server. Pure."""

from __future__ import annotations

import enum

from guardian.filter import marks
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey
from guardian.filter.stream import Stream
from guardian.policy.model import Kind
from guardian.wire import tls
from guardian.wire.http import Body
from guardian.wire.ip import NO_TIMESTAMP, Segment


class Stage(enum.IntEnum):
    FIRST = 0  # no byte has told the protocol
    TLS = 1
    HTTP = 2  # between two requests
    BODY = 3  # in the body of a request
    AGREED = 4  # allowed; waits for the client to acknowledge server data
    REFUSED = 5
    ANSWERED = 6


class TcpFlow:
    """One connection. Offsets are in the client's stream."""

    __slots__ = (
        "acknowledged",
        "agreed_at",
        "awaits",
        "body",
        "is_settled",
        "key",
        "kind",
        "mark",
        "name",
        "origin",
        "passed",
        "position",
        "reader",
        "rival",
        "seen",
        "sends_early",
        "stage",
        "stamp",
        "stream",
        "upgrades",
        "uses_stamps",
        "who",
    )

    def __init__(self, who: Who, key: FlowKey, initial: int, stamp: int, now: float) -> None:
        """`initial` is the sequence number of the client's first byte, `stamp` its SYN's TSval or NO_TIMESTAMP."""
        self.who = who
        self.key = key
        self.stream = Stream(initial)
        self.stage = Stage.FIRST
        self.seen = now
        self.stamp = stamp
        self.uses_stamps = False  # both sides do
        self.origin = -1  # sequence number of the server's first byte; -1 = it has not answered the SYN
        self.acknowledged = -1  # the highest ACK so far
        self.agreed_at = -1  # `acknowledged` when the last decision was made
        self.rival: TcpFlow | None = None  # another connection with these ports, if the server takes it
        self.position = 0  # where the next hello or request begins
        self.passed = 0  # behind the hello: records before it are no second one
        self.awaits = False  # a name is not settled: what was dropped is read again when it comes again
        self.is_settled = False  # what follows the hello is no second one
        self.sends_early = False  # TLS early data follow the hello
        self.reader: tls.HelloReader | None = None
        self.body: Body | None = None
        self.upgrades = False
        self.kind = Kind.ADDRESS
        self.name = b""
        self.mark = marks.ALLOWED

    def begin(self, origin: int, stamp: int) -> None:
        """Take in the server's SYN-ACK: where its data begin, and its TSval. Nothing changes once data were seen."""
        if self.stage is Stage.FIRST and not self.stream.segments:
            self.origin = self.acknowledged = self.agreed_at = origin
            self.uses_stamps = NO_TIMESTAMP not in (self.stamp, stamp)

    def acknowledge(self, number: int) -> int:
        """Take in the client's ACK; return how many bytes of the server it has acknowledged since the last decision."""
        distance = number - self.acknowledged & 0xFFFFFFFF
        if distance < 0x80000000:
            self.acknowledged = number
        return self.acknowledged - self.agreed_at & 0xFFFFFFFF

    @property
    def heard(self) -> int:
        """How many bytes of the server the client has acknowledged."""
        return self.acknowledged - self.origin & 0xFFFFFFFF

    def keeps_time(self, segment: Segment) -> bool:
        """Tell whether the server will take a segment by its timestamp (RFC 7323 section 5)."""
        if not self.uses_stamps:
            return True
        stamp = segment.timestamp
        if stamp == NO_TIMESTAMP or (stamp - self.stamp & 0xFFFFFFFF) >= 0x80000000:
            return False
        self.stamp = stamp
        return True
