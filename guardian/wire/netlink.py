"""Netlink: messages and attributes (linux/netlink.h, linux/netfilter/nfnetlink.h).

Headers are in the machine's byte order. Netfilter writes what attributes carry in network order, rtnetlink mostly not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from guardian.errors import FormError

NETLINK_NETFILTER: Final = 12  # the protocol of a socket
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10  # the table changed while it was dumped
NLM_F_DUMP: Final = 0x300
NLA_F_NESTED: Final = 0x8000
ATTRIBUTE_TYPE: Final = 0x3FFF  # without the NESTED and BYTEORDER bits

HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
NETFILTER: Final = struct.Struct(">BBH")  # nfgenmsg: family, version, resource (the number of a queue)

_ERROR = struct.Struct("=i")


class NetlinkMessage(NamedTuple):
    """One netlink message: `type` is NLMSG_*, RTM_* or subsystem and operation; `payload` is what follows the header.

    `port` is who asked for what the message tells: a program's first socket has its process id, 0 is the kernel.
    """

    type: int
    flags: int
    sequence: int
    port: int
    payload: bytes


def split_messages(data: bytes | memoryview) -> Iterator[NetlinkMessage]:
    """Yield the messages of one datagram. Raises FormError when lengths do not add up."""
    position, end = 0, len(data)
    while position < end:
        if end - position < HEADER.size:
            raise FormError("a netlink message is cut in its header")
        length, kind, flags, sequence, port = HEADER.unpack_from(data, position)
        if length < HEADER.size or position + length > end:
            raise FormError(f"a netlink message claims {length} bytes")
        yield NetlinkMessage(kind, flags, sequence, port, bytes(data[position + HEADER.size : position + length]))
        position += (length + 3) & ~3


def pack_message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return one message to the kernel, padded so that another can follow."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload + bytes(-len(payload) & 3)


def split_attributes(data: bytes | memoryview, position: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type (without the flag bits) and value of each attribute from `position` to the end of `data`.

    Raises FormError when lengths do not add up.
    """
    end = len(data)
    while position < end:
        if end - position < ATTRIBUTE.size:
            raise FormError("a netlink attribute is cut in its header")
        length, kind = ATTRIBUTE.unpack_from(data, position)
        if length < ATTRIBUTE.size or position + length > end:
            raise FormError(f"a netlink attribute claims {length} bytes")
        yield kind & ATTRIBUTE_TYPE, bytes(data[position + ATTRIBUTE.size : position + length])
        position += (length + 3) & ~3


def pack_attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded; `kind` may carry NLA_F_NESTED. Raises struct.error above 65,531 bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) & 3)


def read_error(payload: bytes) -> int:
    """Return the errno of an NLMSG_ERROR payload; 0 is an acknowledgement. Raises FormError when it is cut."""
    if len(payload) < _ERROR.size:
        raise FormError("a netlink error is cut")
    code: int = _ERROR.unpack_from(payload)[0]
    return abs(code)
