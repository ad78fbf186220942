"""IP packets as a child's own tool would write them, field by field, and what the other side's packets say."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
TCP, UDP, HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 6, 17, 0, 43, 44, 60
HOPS = 64
FEW_HOPS = 4  # reaches the home's router, and not the server: `grounds.py` drops what has fewer than 8

NOP = b"\1"
MD5 = b"\x13\x12" + bytes(range(16)) + NOP * 2  # RFC 2385; only a peer that has a key takes it
AUTHENTICATION = b"\x1d\x10\1\1" + bytes(range(12))  # RFC 5925


class Ends(NamedTuple):
    """Packed addresses and ports, as the client sends them."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int

    @property
    def is_v6(self) -> bool:
        return len(self.source) == 16


class Looks(NamedTuple):
    """How a packet differs from an honest one."""

    hops: int = HOPS
    checksum: int = 0  # added to the true one
    options: bytes = b""  # of IPv4: a multiple of 4
    extensions: tuple[tuple[int, bytes], ...] = ()  # of IPv6: kind, and what stands behind its first byte
    fragments: tuple[tuple[int, int], ...] = ()  # where to cut what IP carries: begin and end, in the order of sending
    reserved: int = 0  # the four bits behind TCP's data offset


HONEST = Looks()


class Told(NamedTuple):
    """A TCP segment that came."""

    ends: Ends  # turned round: the client is the source
    sequence: int
    acknowledgement: int
    flags: int
    options: bytes
    payload: bytes


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build_segment(
    ends: Ends,
    sequence: int,
    acknowledgement: int,
    flags: int,
    payload: bytes = b"",
    *,
    options: bytes = b"",
    window: int = 64_000,
    urgent: int = 0,
    looks: Looks = HONEST,
) -> bytes:
    """A TCP segment with its checksum; `options` are padded."""
    options += NOP * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4 | looks.reserved
    head = struct.pack(
        ">HHIIBBHHH",
        ends.source_port,
        ends.destination_port,
        sequence & 0xFFFFFFFF,
        acknowledgement & 0xFFFFFFFF,
        offset,
        flags,
        window,
        0,
        urgent,
    )
    return seal(ends, TCP, bytearray(head + options + payload), 16, looks)


def build_datagram(ends: Ends, payload: bytes, looks: Looks = HONEST) -> bytes:
    """A UDP datagram with its checksum."""
    head = struct.pack(">HHHH", ends.source_port, ends.destination_port, 8 + len(payload), 0)
    return seal(ends, UDP, bytearray(head + payload), 6, looks)


def seal(ends: Ends, protocol: int, body: bytearray, at: int, looks: Looks) -> bytes:
    pseudo = ends.source + ends.destination + struct.pack(">II", len(body), protocol)
    body[at : at + 2] = (checksum(pseudo + body) + looks.checksum & 0xFFFF or 0xFFFF).to_bytes(2)
    return bytes(body)


def wrap(ends: Ends, protocol: int, body: bytes, looks: Looks = HONEST, number: int = 1) -> list[bytes]:
    """The IP packets that carry `body`: one, or its fragments."""
    if ends.is_v6:
        return _wrap_v6(ends, protocol, body, looks, number)
    if not looks.fragments:
        return [_wrap_v4(ends, protocol, body, looks, number, 0x4000)]
    packets = []
    for begin, end in looks.fragments:
        assert begin % 8 == 0
        more = 0x2000 if end < len(body) else 0
        packets.append(_wrap_v4(ends, protocol, body[begin:end], looks, number, more | begin // 8))
    return packets


def _wrap_v4(ends: Ends, protocol: int, body: bytes, looks: Looks, number: int, place: int) -> bytes:
    words = 5 + len(looks.options) // 4
    size = words * 4 + len(body)
    head = bytearray(struct.pack(">BBHHHBBH", 0x40 | words, 0, size, number & 0xFFFF, place, looks.hops, protocol, 0))
    head += ends.source + ends.destination + looks.options
    head[10:12] = checksum(bytes(head)).to_bytes(2)
    return bytes(head) + body


def _wrap_v6(ends: Ends, protocol: int, body: bytes, looks: Looks, number: int) -> list[bytes]:
    kinds = [kind for kind, _ in looks.extensions] + [protocol]
    extensions = b"".join(bytes((kinds[index + 1],)) + rest for index, (_, rest) in enumerate(looks.extensions))
    if not looks.fragments:
        return [_head_v6(ends, kinds[0], extensions + body, looks)]
    packets = []
    for begin, end in looks.fragments:
        place = begin | (end < len(body))
        cut = struct.pack(">BBHI", protocol, 0, place, number) + body[begin:end]
        packets.append(_head_v6(ends, FRAGMENT, cut, looks))
    return packets


def _head_v6(ends: Ends, kind: int, body: bytes, looks: Looks) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), kind, looks.hops) + ends.source + ends.destination + body


def padded_extension(kind: int) -> tuple[int, bytes]:
    """A hop-by-hop or destination options header of 8 bytes with nothing in it (PadN)."""
    return kind, b"\0\1\4\0\0\0\0"


def routing_extension() -> tuple[int, bytes]:
    """A routing header with no segments left (RFC 8200 section 4.4)."""
    return ROUTING, b"\2\0\0" + bytes(20)


def cut(size: int, *places: int) -> tuple[tuple[int, int], ...]:
    """Fragments of `size` bytes that lie side by side, in order."""
    edges = [0, *places, size]
    return tuple(itertools.pairwise(edges))


def read_segment(packet: bytes) -> Told | None:
    """Return the TCP segment in an IP packet that came, None when there is none."""
    if len(packet) >= 40 and packet[0] >> 4 == 4 and packet[9] == TCP:
        start, end, source, destination = (
            (packet[0] & 15) * 4,
            int.from_bytes(packet[2:4]),
            packet[12:16],
            packet[16:20],
        )
    elif len(packet) >= 60 and packet[0] >> 4 == 6 and packet[6] == TCP:
        start, end, source, destination = 40, 40 + int.from_bytes(packet[4:6]), packet[8:24], packet[24:40]
    else:
        return None
    source_port, port, sequence, acknowledgement, offset, flags = struct.unpack_from(">HHIIBB", packet, start)
    payload = start + (offset >> 4) * 4
    ends = Ends(destination, port, source, source_port)
    return Told(ends, sequence, acknowledgement, flags, packet[start + 20 : payload], packet[payload:end])


def find_option(options: bytes, wanted: int) -> bytes | None:
    """The value of a TCP option."""
    position = 0
    while position < len(options) and options[position]:
        if options[position] == 1:
            position += 1
            continue
        if position + 1 >= len(options) or options[position + 1] < 2:
            return None
        if options[position] == wanted:
            return options[position + 2 : position + options[position + 1]]
        position += options[position + 1]
    return None


def pack_address(address: str) -> bytes:
    """The bytes of an address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def join_hardware(address: str) -> bytes:
    """The bytes of aa:bb:cc:dd:ee:ff."""
    return bytes.fromhex(address.replace(":", ""))


def frames(packets: Iterable[bytes], source: bytes, destination: bytes) -> list[bytes]:
    """Ethernet frames around IP packets."""
    kinds = {4: b"\x08\x00", 6: b"\x86\xdd"}
    return [destination + source + kinds[packet[0] >> 4] + packet for packet in packets]
