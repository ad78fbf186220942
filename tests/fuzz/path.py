"""The way of a device's TCP packets to a server: connection tracking, our rules in the kernel, the engine, the network.

The kernel's part is what `ruleset` renders, told in Python. Connection tracking is more lenient here than it is: only
what its window check stops for sure is stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from guardian.filter import marks
from guardian.filter.ruleset import SILENT_REPLIES
from tests.filter.home import NOON, Home
from tests.filter.packets import Ends, build_tcp, timestamps
from tests.fuzz.linux_receiver import ACK, FIN, MASK, RST, SYN, LinuxReceiver, Reply, before, parse_segment

LEAST_WINDOW = 66_000  # MAXACKWINCONST: how far behind an ACK may be
BLOCKED_NAMES = (b"bet.example", b"dice.example")
FLAGS = FIN | SYN | RST | ACK
VERDICTS = {marks.DROP, marks.PASS, 1, 2, 3, 5, 6, 7}


class Sent(NamedTuple):
    """A client's packet, and what becomes of it behind the router."""

    build: Callable[[int], bytes]  # from the sequence number of the server's first byte
    arrives: bool = True  # has the hops, and is not lost
    wait: float = 0.0  # seconds before it
    is_lost_before: bool = False  # between the device and the router
    forgets: bool = False  # the server has lost the connection, unseen by connection tracking


class Path:
    """`send` packets; `receiver.names` are what the server accepted. `home` None: no filter on the way."""

    def __init__(self, home: Home | None, receiver: LinuxReceiver, ends: Ends) -> None:
        self.home = home
        self.receiver = receiver
        self.ends = ends
        self.now = NOON
        self.mark = marks.UNDECIDED
        self.verdicts: list[int] = []
        self._is_stale = False  # connection tracking has an entry of a connection that is no more
        self._end: int | None = None  # conntrack's td_end of the server: all that it has sent
        self._edge = 0  # td_maxend of the client
        self._replies = 0

    @property
    def has_refused(self) -> bool:
        return self.mark & marks.STATE_MASK == marks.REFUSED

    def send(self, sent: Sent) -> list[Reply]:
        """Return the server's replies that the client gets."""
        self.now += sent.wait
        if self.home is not None and sent.wait:
            self.home.engine.age(self.now)
        if sent.forgets and self.receiver.state != "listen":
            self.receiver.forget()
            self._is_stale = True
        packet = sent.build(self.receiver.origin)
        if sent.is_lost_before or not self._tracks(packet) or not self._passes(packet) or not sent.arrives:
            return []
        return [reply for reply in self.receiver.receive(parse_segment(packet)) if self._returns(reply)]

    def _tracks(self, packet: bytes) -> bool:
        """Connection tracking: nothing of INVALID goes on."""
        segment = parse_segment(packet)
        if segment.flags & SYN and not segment.flags & (ACK | RST | FIN):
            if self.receiver.state == "listen" and self._end is not None and not self._is_stale:
                self.mark, self._end, self._replies = marks.UNDECIDED, None, 0  # it saw the end: a new entry
            return True
        if self._end is None:
            return False
        if segment.flags & ACK and (
            before(self._end, segment.acknowledgement)
            or before(segment.acknowledgement, self._end - LEAST_WINDOW & MASK)
        ):
            return False
        return not before(self._edge, segment.sequence)

    def _passes(self, packet: bytes) -> bool:
        """Our rules and the engine."""
        if self.home is None:
            return True
        segment = parse_segment(packet)
        state = self.mark & marks.STATE_MASK
        is_syn = segment.flags & (SYN | ACK) == SYN
        if is_syn and state in (marks.ALLOWED, marks.REFUSED):
            self.mark = marks.UNDECIDED
        elif state == marks.ALLOWED:
            return True
        elif state == marks.REFUSED:
            return False
        elif segment.flags & RST or (
            segment.flags & FLAGS == ACK
            and not segment.payload
            and (state == marks.WATCHED or self._replies <= SILENT_REPLIES)
        ):
            return True
        verdict = self.home.handle(packet, self.now)
        assert verdict in VERDICTS
        self.verdicts.append(verdict)
        if verdict > 0:
            self.mark = verdict
        return verdict >= 0 and verdict & marks.STATE_MASK != marks.REFUSED

    def _returns(self, reply: Reply) -> bool:
        self._replies += 1
        end = reply.sequence + reply.size + bool(reply.flags & SYN) & MASK
        if reply.flags & SYN:
            self._end, self._is_stale = end, False
            self._edge = reply.acknowledgement + self.receiver.window & MASK
        elif self._end is not None and before(self._end, end):
            self._end = end
        edge = reply.acknowledgement + self.receiver.window & MASK
        if before(self._edge, edge):
            self._edge = edge
        if self.home is None or not reply.flags & SYN or self.mark & marks.STATE_MASK == marks.ALLOWED:
            return not self.has_refused or self.home is None
        if self.has_refused:
            return False
        options = timestamps(7, 7) if self.receiver.offers_stamps else b""
        packet = build_tcp(
            self.ends.turned(), reply.sequence, reply.acknowledgement, reply.flags, options=options, is_checked=False
        )
        return self.home.handle(packet, self.now, mac=b"\2\0\0\0\0\xfe") >= 0

    def accepted_blocked(self) -> list[bytes]:
        return [name for name in self.receiver.names if name in BLOCKED_NAMES]
