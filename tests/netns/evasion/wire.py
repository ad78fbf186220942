"""A child's own TCP: raw frames out of the tablet's network card, beside its kernel, which keeps silent about them."""

from __future__ import annotations

import contextlib
import itertools
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.netns.evasion import packets
from tests.netns.evasion.packets import ACK, FIN, HONEST, PSH, RST, SYN, Ends, Looks, Told

ETH_P_ALL = 3
FIRST_PORT, LAST_PORT = 10_000, 29_999  # of this TCP: the kernel gives others, from 32,768 on, to its own sockets
QUIET = f"""
table inet quiet {{
    chain out {{
        type filter hook output priority 0; policy accept;
        tcp sport {FIRST_PORT}-{LAST_PORT} tcp flags & rst == rst drop
    }}
}}
"""
PATIENCE = 6.0  # seconds that a client waits for what should come
RETRY = 0.7
SEGMENT_BYTES = 1400


class Wire:
    """The tablet's network card. One thread reads it, and acknowledges what comes for a `Connection`."""

    def __init__(self, card: socket.socket, source: str, router: str) -> None:
        self._card = card
        self._source, self._router = packets.join_hardware(source), packets.join_hardware(router)
        self._connections: dict[Ends, Connection] = {}
        self._ports = itertools.cycle(range(FIRST_PORT, LAST_PORT))
        self.stamp_base = random.getrandbits(28)  # one clock for all connections, as a host has it
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._card.close()

    def take_port(self) -> int:
        """A port that nobody had before."""
        with self._lock:
            return next(self._ports)

    def send(self, ends: Ends, protocol: int, body: bytes, looks: Looks = HONEST, number: int | None = None) -> None:
        """Send what IP carries; `number` is IP's identification."""
        number = random.getrandbits(16) if number is None else number
        for frame in packets.frames(packets.wrap(ends, protocol, body, looks, number), self._source, self._router):
            self._send_frame(frame)

    def _send_frame(self, frame: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._card.send(frame)
            except (BlockingIOError, OSError):  # the card's queue is full
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                return

    def register(self, connection: Connection) -> None:
        """Hand to this connection what comes for it from now on."""
        with self._lock:
            self._connections[connection.ends] = connection

    def _read(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._card], [], [], 0.2)[0]:
                continue
            with contextlib.suppress(BlockingIOError, OSError):
                frame, (_, _, kind, *_) = self._card.recvfrom(65536)
                told = packets.read_segment(frame[14:]) if kind != socket.PACKET_OUTGOING else None
                if told is None:
                    continue
                connection = self._connections.get(told.ends)
                if connection is not None:
                    connection.receive(told)


def open_card() -> socket.socket:
    """All frames of eth0; call it in the namespace."""
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    card.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    card.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)  # SO_SNDBUFFORCE
    card.bind(("eth0", 0))
    card.setblocking(False)
    return card


class Style(NamedTuple):
    """How a client opens its connection."""

    stamps: bool = True  # TCP timestamps (RFC 7323)
    initial: int | None = None  # sequence number of the SYN
    segment: int = 1460
    window: int = 64_000
    scale: int | None = 7
    port: int = 0  # of the client; 0 = a new one


PLAIN = Style()


class Connection:
    """One TCP connection. `sequence` is that of the next byte; offsets of `at` count from the first byte of all."""

    def __init__(self, wire: Wire, source: str, destination: str, port: int, style: Style = PLAIN) -> None:
        self.wire = wire
        own = style.port or wire.take_port()
        self.ends = Ends(packets.pack_address(source), own, packets.pack_address(destination), port)
        self.style = style
        self.initial = random.getrandbits(31) if style.initial is None else style.initial
        self.sent = 0  # bytes, in order
        self.expected = 0  # sequence number of the server's next byte
        self.acknowledged = -1  # offset up to which the server has the bytes
        self.received = bytearray()
        self.replies = 0  # segments that came
        self.opening = 0  # bytes that went with the SYN
        self.is_open = self.is_reset = self.is_ended = False
        self.asks = False  # a SYN was sent, and not answered
        self.is_deaf = False
        self.answers = True  # acknowledge what comes
        self.looks = HONEST
        self.window = style.window
        self._server_stamp = 0
        self._stamps_agreed = False
        self._changed = threading.Condition()
        wire.register(self)

    # What comes

    def receive(self, told: Told) -> None:
        """Called by the wire's thread."""
        if self.is_deaf:
            return
        with self._changed:
            self.replies += 1
            if told.flags & RST:
                self.is_reset = True
            elif told.flags & SYN:
                self._take_opening(told)
            elif self.is_open:
                self._take(told)
            elif told.flags & ACK and self.asks:  # of a connection before, that the server still has (RFC 9293)
                self.asks = False
                self.segment(b"", told.acknowledgement - self.initial - 1, RST)
            self._changed.notify_all()

    def _take_opening(self, told: Told) -> None:
        taken = told.acknowledgement - self.initial - 1 & 0xFFFFFFFF
        if taken > self.opening:
            return
        self.expected = told.sequence + 1 & 0xFFFFFFFF
        self.acknowledged = max(self.acknowledged, taken)
        self._note_stamp(told)
        self._stamps_agreed = packets.find_option(told.options, 8) is not None
        self.is_open = True

    def _take(self, told: Told) -> None:
        offset = told.acknowledgement - self.initial - 1 & 0xFFFFFFFF
        if told.flags & ACK and offset < 0x40000000:
            self.acknowledged = max(self.acknowledged, offset)
        self._note_stamp(told)
        late = self.expected - told.sequence & 0xFFFFFFFF
        if late >= 0x80000000:  # behind a gap: the server sends it again
            return
        fresh = told.payload[late:]
        self.received += fresh
        self.expected = self.expected + len(fresh) & 0xFFFFFFFF
        if told.flags & FIN and late <= len(told.payload) and not self.is_ended:
            self.is_ended = True
            self.expected = self.expected + 1 & 0xFFFFFFFF
        if self.answers and (told.payload or told.flags & FIN):
            self.acknowledge()

    def _note_stamp(self, told: Told) -> None:
        value = packets.find_option(told.options, 8)
        if value is not None and len(value) == 8:
            self._server_stamp = int.from_bytes(value[:4])

    def wait(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Wait until something is true or the connection was reset; return whether it is true."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self.is_reset, seconds)
            return condition()

    # What goes

    def stamp(self, shift: int = 0) -> bytes:
        """The timestamp option of now, or of `shift` milliseconds from now; b"" where none were agreed."""
        value = self.wire.stamp_base + int(time.monotonic() * 1000) + shift & 0xFFFFFFFF
        return packets.NOP * 2 + struct.pack(">BBII", 8, 10, value, self._server_stamp)

    def segment(
        self,
        payload: bytes = b"",
        at: int | None = None,
        flags: int = ACK | PSH,
        *,
        options: bytes | None = None,
        acknowledgement: int | None = None,
        urgent: int = 0,
        looks: Looks | None = None,
    ) -> None:
        """Send one segment as it is said; it is not counted as sent."""
        if options is None:
            options = self.stamp() if self._stamps_agreed else b""
        sequence = self.initial + 1 + (self.sent if at is None else at)
        body = packets.build_segment(
            self.ends,
            sequence,
            self.expected if acknowledgement is None else acknowledgement,
            flags,
            payload,
            options=options,
            window=self.window,
            urgent=urgent,
            looks=looks or self.looks,
        )
        self.wire.send(self.ends, packets.TCP, body, looks or self.looks)

    def acknowledge(self) -> None:
        """Send an empty ACK."""
        self.segment(flags=ACK)

    def send_opening(self, payload: bytes = b"", initial: int | None = None, looks: Looks | None = None) -> None:
        """Send a SYN."""
        self.opening = max(self.opening, len(payload))
        self.asks = not self.is_open
        style = self.style
        options = b"\2\4" + style.segment.to_bytes(2) + b"\4\2"
        if style.stamps:
            options += self.stamp()
        if style.scale is not None:
            options += b"\3\3" + bytes((style.scale,)) + packets.NOP
        first = self.initial if initial is None else initial
        body = packets.build_segment(
            self.ends, first, 0, SYN, payload, options=options, window=style.window, looks=looks or self.looks
        )
        self.wire.send(self.ends, packets.TCP, body, looks or self.looks)

    def open(self, seconds: float = PATIENCE) -> bool:
        """Shake hands; return whether the server answered."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.is_reset:
            self.send_opening()
            if self.wait(lambda: self.is_open, RETRY):
                self.acknowledge()
                return True
        return False

    def push(self, parts: list[tuple[int, bytes]], seconds: float = PATIENCE, pause: float = 0.0) -> bool:
        """Send (offset, bytes) in this order, and again what got lost, until the server has all; return whether."""
        end = max(at + len(part) for at, part in parts)
        deadline = time.monotonic() + seconds
        while True:
            for at, part in parts:
                if at + len(part) > self.acknowledged:
                    self.segment(part, at)
                    if pause:
                        time.sleep(pause)
            self.sent = max(self.sent, end)
            if self.wait(lambda: self.acknowledged >= end, RETRY):
                return True
            if self.is_reset or time.monotonic() > deadline:
                return False

    def send(self, data: bytes, size: int = SEGMENT_BYTES) -> bool:
        """Send bytes as an honest client does, in segments of `size`."""
        start = self.sent
        if not data:
            return True
        return self.push([(start + at, data[at : at + size]) for at in range(0, len(data), size)])

    def expect(self, wanted: bytes, seconds: float = PATIENCE) -> bool:
        """Wait for bytes; return whether they came."""
        return self.wait(lambda: wanted in self.received or self.is_ended, seconds) and wanted in self.received

    def close(self) -> None:
        """Say goodbye, and wait until the server has done so too."""
        self.segment(flags=ACK | FIN)
        self.wait(lambda: self.acknowledged > self.sent, RETRY)
        self.sent += 1
        self.wait(lambda: self.is_ended, 2.0)


@contextlib.contextmanager
def close_at_end(wire: Wire) -> Iterator[Wire]:
    try:
        yield wire
    finally:
        wire.close()
