"""The block page in a blocked server's name: TCP segments that end a plain HTTP connection with an answer. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from guardian.filter.tcp import Answer
from guardian.wire import ip

SEGMENT_BYTES = 1200  # fits every home link
MAX_RESPONSE_BYTES = 60_000  # what a client's first window takes
_HOP_LIMIT = 64
_WINDOW = 65_535
_TCP_HEAD = struct.Struct(">HHIIBBHHH")
_STAMPS = struct.Struct(">BBBBII")


def build_reply(answer: Answer, response: bytes) -> Iterator[bytes]:
    """Yield the IP packets from the server to the client that carry `response` and end the connection.

    Raises ValueError for a response that is longer than MAX_RESPONSE_BYTES.
    """
    if len(response) > MAX_RESPONSE_BYTES:
        raise ValueError("a block page of more than one window")
    for start in range(0, len(response), SEGMENT_BYTES):
        piece = response[start : start + SEGMENT_BYTES]
        is_last = start + len(piece) == len(response)
        flags = ip.ACK | ip.PSH | ip.FIN if is_last else ip.ACK
        yield _build_packet(answer, answer.sequence + start & 0xFFFFFFFF, flags, piece)


def _build_packet(answer: Answer, sequence: int, flags: int, payload: bytes) -> bytes:
    key = answer.key
    options = b"" if answer.timestamp is None else _STAMPS.pack(1, 1, 8, 10, *answer.timestamp)
    offset = (20 + len(options)) // 4 << 4
    head = _TCP_HEAD.pack(
        key.destination_port, key.source_port, sequence, answer.acknowledgement, offset, flags, _WINDOW, 0, 0
    )
    segment = bytearray(head + options + payload)
    source, destination = key.destination, key.source  # the server speaks
    pseudo = source + destination + struct.pack(">II", len(segment), ip.TCP)
    segment[16:18] = checksum(pseudo + bytes(segment)).to_bytes(2)
    if len(source) == 16:
        return struct.pack(">IHBB", 6 << 28, len(segment), ip.TCP, _HOP_LIMIT) + source + destination + bytes(segment)
    header = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, _HOP_LIMIT, ip.TCP, 0))
    header += source + destination
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header + segment)


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of bytes whose own checksum field is zero."""
    if len(data) % 2:
        data += b"\x00"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
