"""IP packets of a home's device, built field by field, and one TCP connection's numbers. Checksums are right."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
TCP, UDP = 6, 17
CLIENT, SERVER = "10.0.0.2", "192.0.2.1"
CLIENT6, SERVER6 = "fd00::2", "2001:db8::1"
SYN_OPTIONS = b"\x02\x04\x05\xb4\x04\x02"  # MSS, SACK permitted
MD5 = b"\x13\x12" + bytes(16) + b"\1\1"


def checksum(data: bytes) -> int:
    """RFC 1071, byte by byte as it is told there."""
    total = 0
    for index in range(0, len(data), 2):
        total += data[index] << 8 | (data[index + 1] if index + 1 < len(data) else 0)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def build_ip(source: bytes, destination: bytes, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    if len(source) == 16:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, ttl) + source + destination + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, protocol, 0) + source + destination
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def timestamps(value: int, echo: int) -> bytes:
    return b"\1\1\x08\x0a" + struct.pack(">II", value & 0xFFFFFFFF, echo & 0xFFFFFFFF)


class Ends(NamedTuple):
    """Both ends, as the client names them."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int

    def turned(self) -> Ends:
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


def make_ends(port: int = 443, source_port: int = 40000, v6: bool = False, server: str = "") -> Ends:
    client, server = (CLIENT6, server or SERVER6) if v6 else (CLIENT, server or SERVER)
    return Ends(ip_address(client).packed, source_port, ip_address(server).packed, port)


def build_tcp(
    ends: Ends,
    sequence: int,
    acknowledgement: int,
    flags: int,
    payload: bytes = b"",
    *,
    options: bytes = b"",
    window: int = 65535,
    ttl: int = 64,
    is_checked: bool = True,
) -> bytes:
    """A TCP segment from `ends.source`; `is_checked=False` leaves the checksum 0, which is quicker."""
    options += bytes(-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    numbers = (sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF)
    head = struct.pack(">HHIIBBH", ends.source_port, ends.destination_port, *numbers, offset, flags, window)
    segment = head + bytes(4) + options + payload
    if is_checked:
        pseudo = ends.source + ends.destination + struct.pack(">II", len(segment), TCP)
        segment = segment[:16] + checksum(pseudo + segment).to_bytes(2) + segment[18:]
    return build_ip(ends.source, ends.destination, TCP, segment, ttl)


def build_udp(ends: Ends, payload: bytes) -> bytes:
    size = 8 + len(payload)
    head = struct.pack(">HHH", ends.source_port, ends.destination_port, size)
    pseudo = ends.source + ends.destination + struct.pack(">II", size, UDP)
    number = checksum(pseudo + head + bytes(2) + payload) or 0xFFFF
    return build_ip(ends.source, ends.destination, UDP, head + number.to_bytes(2) + payload)


class Connection:
    """The numbers of one connection: offsets into both streams become sequence numbers and timestamps."""

    def __init__(
        self,
        port: int = 443,
        *,
        source_port: int = 40000,
        v6: bool = False,
        initial: int = 1000,
        origin: int = 5000,
        stamps: bool = True,
        server: str = "",
    ) -> None:
        self.ends = make_ends(port, source_port, v6, server)
        self.initial = initial  # of the client's first byte
        self.origin = origin  # of the server's
        self.stamps = stamps
        self.clock = 100_000

    def _options(self, extra: bytes) -> bytes:
        self.clock += 1
        return extra + (timestamps(self.clock, 7) if self.stamps else b"")

    def syn(self, *, initial: int | None = None, payload: bytes = b"", flags: int = SYN) -> bytes:
        begin = self.initial if initial is None else initial
        return build_tcp(self.ends, begin - 1, 0, flags, payload, options=self._options(SYN_OPTIONS))

    def syn_ack(self, *, origin: int | None = None, initial: int | None = None) -> bytes:
        """The server's answer."""
        begin, end = (self.origin if origin is None else origin), (self.initial if initial is None else initial)
        options = SYN_OPTIONS + (timestamps(7, self.clock) if self.stamps else b"")
        return build_tcp(self.ends.turned(), begin - 1, end, SYN | ACK, options=options)

    def data(
        self,
        offset: int,
        payload: bytes,
        heard: int = 0,
        *,
        flags: int = PSH | ACK,
        extra: bytes = b"",
        clock: int | None = None,
    ) -> bytes:
        """A segment of the client; `heard` is how many bytes of the server it acknowledges."""
        options = self._options(extra)
        if clock is not None:
            options = extra + timestamps(clock, 7)
        return build_tcp(self.ends, self.initial + offset, self.origin + heard, flags, payload, options=options)
