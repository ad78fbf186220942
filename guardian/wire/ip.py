"""IPv4, IPv6, TCP and UDP headers of packets that the kernel hands over (RFC 791, 8200, 9293, 768).

What a home's devices never send to the internet, and what only serves to show a filter something else than the server,
raises FormError: IP options, fragments that the kernel did not put together, IPv6 extension headers.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from guardian.errors import FormError

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20

NO_TIMESTAMP: Final = -1

_EXTENSION_HEADERS = frozenset({0, 43, 44, 60, 135, 139, 140})  # RFC 8200 section 4, RFC 6275, RFC 7401, RFC 5533
_WITH_PORTS = (TCP, UDP)
_TCP = struct.Struct(">HHIIBBHHH")
_PORTS = struct.Struct(">HH")
_STAMPS = struct.Struct(">II")
_TIMESTAMP_ONLY = b"\x01\x01\x08\x0a"  # how nearly every segment of a connection with timestamps begins its options
_OPTION_END, _OPTION_NOP, _OPTION_TIMESTAMP, _OPTION_MD5, _OPTION_AO = 0, 1, 8, 19, 29


class Packet(NamedTuple):
    """Where things are in an IP packet. `key` is source, destination and, for TCP and UDP, both ports, as sent."""

    key: bytes
    source: bytes  # packed, 4 or 16 bytes
    destination: bytes
    protocol: int
    start: int  # of the transport header
    end: int  # of the packet; what follows is the link's padding


class Segment(NamedTuple):
    """A TCP header. `timestamp` is the sender's TSval or NO_TIMESTAMP, `payload` the offset of the data."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    timestamp: int
    echo: int  # TSecr, the last TSval that came from the other side
    is_signed: bool  # TCP-MD5 or TCP-AO: only peers that share a key accept such a segment
    payload: int


class Datagram(NamedTuple):
    """A UDP header; `payload` is the offset of the data, `end` of the datagram."""

    source_port: int
    destination_port: int
    payload: int
    end: int


def read_packet(data: bytes) -> Packet:
    """Return the layout of an IP packet. Raises FormError."""
    if len(data) < 20:
        raise FormError("an IP packet is cut")
    version = data[0] >> 4
    if version == 4:
        return _read_ipv4(data)
    if version == 6:
        return _read_ipv6(data)
    raise FormError(f"IP version {version}")


def _read_ipv4(data: bytes) -> Packet:
    if data[0] != 0x45:
        raise FormError("an IPv4 packet with options")
    if data[6] & 0x3F or data[7]:
        raise FormError("an IPv4 fragment")
    total = data[2] << 8 | data[3]
    end = total or len(data)  # more than 65,535 bytes of merged segments say 0
    if not 20 <= end <= len(data):
        raise FormError(f"an IPv4 packet claims {total} bytes")
    protocol = data[9]
    if protocol in _WITH_PORTS and end >= 28:
        return Packet(data[12:24], data[12:16], data[16:20], protocol, 20, end)
    return Packet(data[12:20], data[12:16], data[16:20], protocol, 20, end)


def _read_ipv6(data: bytes) -> Packet:
    if len(data) < 40:
        raise FormError("an IPv6 packet is cut")
    length = data[4] << 8 | data[5]
    end = 40 + length if length else len(data)
    if end > len(data):
        raise FormError(f"an IPv6 packet claims {length} bytes")
    protocol = data[6]
    if protocol in _EXTENSION_HEADERS:
        raise FormError(f"an IPv6 packet with extension header {protocol}")
    if protocol in _WITH_PORTS and end >= 48:
        return Packet(data[8:44], data[8:24], data[24:40], protocol, 40, end)
    return Packet(data[8:40], data[8:24], data[24:40], protocol, 40, end)


def read_segment(data: bytes, start: int, end: int) -> Segment:
    """Return the TCP header at `start`. Raises FormError. Options are read as Linux reads them: up to the first lie."""
    if end - start < 20:
        raise FormError("a TCP header is cut")
    source, destination, sequence, acknowledgement, offset, flags, _, _, _ = _TCP.unpack_from(data, start)
    size = (offset >> 4) * 4
    payload = start + size
    if size < 20 or payload > end:
        raise FormError(f"a TCP header claims {size} bytes")
    timestamp, echo, is_signed = NO_TIMESTAMP, 0, False
    if size == 32 and data[start + 20 : start + 24] == _TIMESTAMP_ONLY:
        timestamp, echo = _STAMPS.unpack_from(data, start + 24)
    elif size > 20:
        timestamp, echo, is_signed = _read_options(data, start + 20, payload)
    return Segment(source, destination, sequence, acknowledgement, flags, timestamp, echo, is_signed, payload)


def _read_options(data: bytes, position: int, end: int) -> tuple[int, int, bool]:
    timestamp, echo, is_signed = NO_TIMESTAMP, 0, False
    while position < end:
        kind = data[position]
        if kind == _OPTION_END:
            break
        if kind == _OPTION_NOP:
            position += 1
            continue
        if position + 1 >= end:
            break
        length = data[position + 1]
        if length < 2 or position + length > end:
            break
        if kind == _OPTION_TIMESTAMP and length == 10:
            timestamp, echo = _STAMPS.unpack_from(data, position + 2)
        elif kind in (_OPTION_MD5, _OPTION_AO):
            is_signed = True
        position += length
    return timestamp, echo, is_signed


def read_datagram(data: bytes, start: int, end: int) -> Datagram:
    """Return the UDP header at `start`. Raises FormError."""
    if end - start < 8:
        raise FormError("a UDP header is cut")
    source, destination = _PORTS.unpack_from(data, start)
    length = data[start + 4] << 8 | data[start + 5]
    if length and not 8 <= length <= end - start:
        raise FormError(f"a UDP datagram claims {length} bytes")
    return Datagram(source, destination, start + 8, start + length if length else end)
