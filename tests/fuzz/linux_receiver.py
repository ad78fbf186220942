"""A server as its client's packets meet it: Linux's TCP input for one connection, and an application that reads.

It is written from what Linux does (net/ipv4/tcp_input.c, tcp_minisocks.c), not from our engine. Where servers differ
(which of two overlapping segments counts, segments without the timestamp) there is a switch, and what the engine
promises must hold for each. `test_linux_receiver` holds it against the kernel that runs the tests.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MASK = 0xFFFFFFFF
Overlap = Literal["linux", "first", "last"]


class Seen(NamedTuple):
    """A client's segment, as the server's TCP reads it."""

    sequence: int
    acknowledgement: int
    flags: int
    stamp: int | None
    is_signed: bool
    window: int
    payload: bytes

    @property
    def length(self) -> int:
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


class Reply(NamedTuple):
    flags: int
    sequence: int
    acknowledgement: int
    size: int  # bytes of payload


def parse_segment(packet: bytes) -> Seen:
    start = 20 if packet[0] >> 4 == 4 else 40
    _, _, sequence, acknowledgement, offset, flags, window = struct.unpack_from(">HHIIBBH", packet, start)
    payload = start + (offset >> 4) * 4
    stamp, is_signed, position = None, False, start + 20
    while position < payload and packet[position]:
        kind, size = packet[position], 1
        if kind != 1:
            if position + 1 >= payload or not 2 <= (size := packet[position + 1]) <= payload - position:
                break
            if kind == 8 and size == 10:
                (stamp,) = struct.unpack_from(">I", packet, position + 2)
            is_signed = is_signed or kind in (19, 29)
        position += size
    return Seen(sequence, acknowledgement, flags, stamp, is_signed, window, packet[payload:])


def before(one: int, other: int) -> bool:
    return (one - other & MASK) >= 0x80000000


class Application:
    """Reads a stream, and tells how many bytes it answers. `names` are all that it was asked for."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.is_over = False  # it has closed the connection

    def feed(self, data: bytes) -> int:
        raise NotImplementedError


class LinuxReceiver:
    """One port of a server: a connection at a time, and the application behind it."""

    def __init__(
        self,
        application: type[Application] | list[Application],
        *,
        origin: int,
        overlap: Overlap = "linux",
        window: int = 65_535,
        offers_stamps: bool = True,
        needs_stamps: bool = False,
        heeds_signatures: bool = True,
        heeds_fin: bool = True,
        heeds_old_acks: bool = True,
    ) -> None:
        self._applications = application
        self.overlap = overlap
        self.window = window
        self.offers_stamps = offers_stamps
        self.needs_stamps = needs_stamps
        self.heeds_signatures = heeds_signatures  # a kernel without CONFIG_TCP_MD5SIG does not
        self.heeds_fin = heeds_fin
        self.heeds_old_acks = heeds_old_acks  # Linux since 6.7: no ACK is taken of bytes that were never sent
        self.origin = origin  # of the next connection
        self.state = "listen"
        self.served: list[Application] = []
        self._reset()

    def _reset(self) -> None:
        self.state = "listen"
        self.next = 0  # RCV.NXT
        self.unacknowledged = self.sent = self.origin  # SND.UNA, SND.NXT
        self.largest_window = 0
        self.recent: int | None = None  # TS.Recent
        self._waiting: list[tuple[int, bytes]] = []  # out of order: sequence and bytes
        self._is_finished = False  # the client has sent FIN

    @property
    def names(self) -> list[bytes]:
        return [name for application in self.served for name in application.names]

    def receive(self, segment: Seen) -> list[Reply]:
        """Take a segment in; return what the server sends."""
        if segment.is_signed and self.heeds_signatures:
            return []  # tcp_inbound_md5_hash: not expected
        if self.state == "listen":
            return self._listen(segment)
        if self.state == "syn-received" and not self._complete(segment):
            return self._answer_syn(segment)
        return self._established(segment)

    def _listen(self, segment: Seen) -> list[Reply]:
        if segment.flags & (ACK | RST | FIN) or not segment.flags & SYN:
            return []
        self._reset()
        self.state = "syn-received"
        self.initial = segment.sequence
        self.next = segment.sequence + 1 & MASK
        self.unacknowledged, self.sent = self.origin - 1 & MASK, self.origin
        self.recent = segment.stamp if self.offers_stamps else None
        self.largest_window = segment.window
        return [Reply(SYN | ACK, self.origin - 1 & MASK, self.next, 0)]

    def _answer_syn(self, segment: Seen) -> list[Reply]:
        if segment.flags == SYN and segment.sequence == self.initial:
            return [Reply(SYN | ACK, self.origin - 1 & MASK, self.next, 0)]
        is_answer = not segment.flags & ACK or segment.acknowledgement == self.origin
        if segment.flags & (RST | SYN) and is_answer and self._is_in_window(segment):
            self.forget()
        return []

    def _complete(self, segment: Seen) -> bool:
        """tcp_check_req: the third packet of the handshake, or data in its place."""
        if segment.flags & (SYN | RST) or not segment.flags & ACK or segment.acknowledgement != self.origin:
            return False
        if self._is_old(segment) or not self._is_in_window(segment):
            return False
        self.state = "established"
        self.unacknowledged = self.origin
        application = self._applications() if isinstance(self._applications, type) else self._applications.pop(0)
        self.served.append(application)
        return True

    def _is_old(self, segment: Seen) -> bool:
        """PAWS (RFC 7323 section 5); Linux takes segments without the option."""
        if self.recent is None:
            return False
        if segment.stamp is None:
            return self.needs_stamps
        return before(segment.stamp, self.recent)

    def _is_in_window(self, segment: Seen) -> bool:
        end = segment.sequence + segment.length & MASK
        return not before(end, self.next) and not before(self.next + self.window & MASK, segment.sequence)

    def forget(self) -> None:
        """End the connection here; the next one has other numbers."""
        self.state = "listen"
        self.origin = self.origin * 69_069 + 12_345 & MASK

    def _duplicate(self) -> list[Reply]:
        return [Reply(ACK, self.sent, self.next, 0)]

    def _established(self, segment: Seen) -> list[Reply]:
        if self._is_old(segment) and not segment.flags & RST:
            return self._duplicate()
        if not self._is_in_window(segment):
            return [] if segment.flags & RST else self._duplicate()
        if segment.flags & RST:
            if segment.sequence != self.next and not (self._is_finished and segment.sequence + 1 & MASK == self.next):
                return self._duplicate()  # RFC 5961 section 3.2, and tcp_reset_check
            self.forget()
            return []
        if segment.flags & SYN:
            return self._duplicate()  # RFC 5961 section 4.2
        if not segment.flags & ACK:
            return []
        if before(self.sent, segment.acknowledgement):
            return self._duplicate()
        allowance = self.unacknowledged - self.origin & MASK if self.heeds_old_acks else self.largest_window
        if before(segment.acknowledgement, self.unacknowledged - min(allowance, self.largest_window) & MASK):
            return self._duplicate()  # RFC 5961 section 5.2
        if before(self.unacknowledged, segment.acknowledgement):
            self.unacknowledged = segment.acknowledgement
        self.largest_window = max(self.largest_window, segment.window)
        if segment.stamp is not None and self.recent is not None and not before(self.next, segment.sequence):
            self.recent = segment.stamp
        return self._take(segment)

    def _take(self, segment: Seen) -> list[Reply]:
        """tcp_data_queue, and what the application says to it."""
        if self._is_finished:
            return []
        end = segment.sequence + len(segment.payload) & MASK
        if not segment.payload:
            return self._finish() if segment.flags & FIN and end == self.next else []
        sequence, payload = segment.sequence, segment.payload
        if before(self.next, sequence):
            self._keep(sequence, payload)
            return self._duplicate()
        skipped = self.next - sequence & MASK
        if self.overlap == "first":  # what waits was there before
            payload = self._cover(sequence, payload)
        fresh = payload[skipped:]
        self.next = self.next + len(fresh) & MASK
        fresh += self._join()
        application = self.served[-1]
        size = 0 if application.is_over else application.feed(fresh)
        reply = Reply(ACK | PSH, self.sent, self.next, size)
        self.sent = self.sent + size & MASK
        return [reply, *self._finish()] if segment.flags & FIN and end == self.next else [reply]

    def _finish(self) -> list[Reply]:
        if not self.heeds_fin:
            return []
        self._is_finished = True
        self.next = self.next + 1 & MASK
        return self._duplicate()

    def _cover(self, sequence: int, payload: bytes) -> bytes:
        """The payload, with the bytes that wait at the same places put over it."""
        covered = bytearray(payload)
        for start, piece in self._waiting:
            shift = start - sequence & MASK
            for index, byte in enumerate(piece):
                if shift + index < len(covered):
                    covered[shift + index] = byte
        return bytes(covered)

    def _keep(self, sequence: int, payload: bytes) -> None:
        """tcp_data_queue_ofo."""
        end = sequence + len(payload) & MASK
        if self.overlap == "first":
            payload = self._cover(sequence, payload)
        kept = []
        for start, piece in self._waiting:
            stop = start + len(piece) & MASK
            is_within = not before(sequence, start) and not before(stop, end)
            if is_within and self.overlap != "last":
                return
            if before(start, sequence) or before(end, stop):  # not covered by the new one
                if self.overlap == "last":
                    piece = self._lay_over(start, piece, sequence, payload)
                kept.append((start, piece))
        if self.overlap == "linux":  # tcp_ooo_try_coalesce: neighbours become one segment
            for index, (start, piece) in enumerate(kept):
                if start + len(piece) & MASK == sequence:
                    sequence, payload = start, piece + payload
                    del kept[index]
                    break
        self._waiting = [*kept, (sequence, payload)]

    @staticmethod
    def _lay_over(start: int, piece: bytes, sequence: int, payload: bytes) -> bytes:
        laid = bytearray(piece)
        for index, byte in enumerate(payload):
            place = sequence + index - start & MASK
            if place < len(laid):
                laid[place] = byte
        return bytes(laid)

    def _join(self) -> bytes:
        """tcp_ofo_queue: the segment that begins first counts where two overlap."""
        joined = b""
        for start, piece in sorted(self._waiting, key=lambda each: each[0] - self.next + 0x80000000 & MASK):
            if before(self.next, start):
                break
            self._waiting.remove((start, piece))
            fresh = piece[self.next - start & MASK :] if (self.next - start & MASK) < len(piece) else b""
            joined += fresh
            self.next = self.next + len(fresh) & MASK
        return joined
