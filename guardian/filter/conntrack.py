"""The kernel's table of flows over ctnetlink: read it by mark, change the mark of a flow, end a flow.

Only the bits of a mask are ever changed. The kernel answers inside our system calls, so nothing here waits; a dump
comes in pieces, so that its reader can give the event loop its turn. Codec: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from guardian.errors import FormError, GuardianError
from guardian.wire.netlink import (
    ATTRIBUTE,
    NETFILTER,
    NETLINK_NETFILTER,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    pack_attribute,
    pack_message,
    read_error,
    split_attributes,
    split_messages,
)

ICMP: Final = 1
ICMPV6: Final = 58

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_CT_NEW, _CT_GET, _CT_DELETE, _CT_GET_STATS = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2, _SUBSYSTEM | 5
_CTA_TUPLE_ORIG, _CTA_MARK, _CTA_COUNTERS_ORIG, _CTA_COUNTERS_REPLY, _CTA_MARK_MASK = 1, 8, 9, 10, 21
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST, _CTA_IP_V6_SRC, _CTA_IP_V6_DST = 1, 2, 3, 4
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_PROTO_ICMP_ID, _CTA_PROTO_ICMPV6_ID = 4, 7  # type and code follow
_CTA_COUNTERS_PACKETS, _CTA_COUNTERS_BYTES = 1, 2

_RECEIVE_BYTES = 64 * 1024  # the kernel's dump chunks are at most 32 KiB
_BACKLOG_BYTES = 1024 * 1024


class Flow(NamedTuple):
    """One flow as its opener addressed it, before any translation. Counters are 0 where accounting is off.

    ICMP has no ports: `source_port` is its id, `destination_port` type and code. Other protocols without ports have 0.
    """

    protocol: int
    source: bytes  # packed, 4 or 16 bytes
    source_port: int
    destination: bytes
    destination_port: int
    mark: int
    out_bytes: int  # from the opener, with IP headers
    out_packets: int
    in_bytes: int
    in_packets: int


def _foreign(length: int, kind: int) -> int:
    """Return an attribute's header, which is in the machine's order, as a number read in network order."""
    return int.from_bytes(ATTRIBUTE.pack(length, kind), "big")


# The tuple of a flow with ports as the kernel always writes it, up to the destination port.
_PORTS = "I I B 3x I H 2x I H 2x"
_TUPLE4 = struct.Struct(">I I I 4s I 4s" + _PORTS)
_TUPLE6 = struct.Struct(">I I I 16s I 16s" + _PORTS)
_NESTED = NLA_F_NESTED
_PORT_HEADS = (
    _foreign(28, _CTA_TUPLE_PROTO | _NESTED),
    _foreign(5, _CTA_PROTO_NUM),
    _foreign(6, _CTA_PROTO_SRC_PORT),
    _foreign(6, _CTA_PROTO_DST_PORT),
)
_HEADS4 = (
    _foreign(52, _CTA_TUPLE_ORIG | _NESTED),
    _foreign(20, _CTA_TUPLE_IP | _NESTED),
    _foreign(8, _CTA_IP_V4_SRC),
    _foreign(8, _CTA_IP_V4_DST),
    *_PORT_HEADS,
)
_HEADS6 = (
    _foreign(76, _CTA_TUPLE_ORIG | _NESTED),
    _foreign(44, _CTA_TUPLE_IP | _NESTED),
    _foreign(20, _CTA_IP_V6_SRC),
    _foreign(20, _CTA_IP_V6_DST),
    *_PORT_HEADS,
)
_COUNTERS = struct.Struct(">I Q I Q")
_COUNTER_HEADS = (_foreign(12, _CTA_COUNTERS_PACKETS), _foreign(12, _CTA_COUNTERS_BYTES))
_MARK = struct.Struct(">I")


def parse_flow(data: bytes | memoryview) -> Flow | None:
    """Return the flow of an IPCTNL_MSG_CT_NEW payload; None when it has no addresses. Raises FormError."""
    tuple_ = _read_usual_tuple(data)
    mark = out_bytes = out_packets = in_bytes = in_packets = 0
    position, end = NETFILTER.size, len(data)
    while position < end:
        if end - position < ATTRIBUTE.size:
            raise FormError("a flow's attribute is cut in its header")
        length, kind = ATTRIBUTE.unpack_from(data, position)
        if length < ATTRIBUTE.size or position + length > end:
            raise FormError(f"a flow's attribute claims {length} bytes")
        kind &= 0x3FFF
        if kind == _CTA_MARK:
            if length != 8:
                raise FormError("a flow's mark is not of 4 bytes")
            mark = _MARK.unpack_from(data, position + 4)[0]
        elif kind == _CTA_COUNTERS_ORIG:
            out_packets, out_bytes = _read_counters(data[position + 4 : position + length])
        elif kind == _CTA_COUNTERS_REPLY:
            in_packets, in_bytes = _read_counters(data[position + 4 : position + length])
        elif kind == _CTA_TUPLE_ORIG and tuple_ is None:
            tuple_ = _read_tuple(data[position + 4 : position + length])
        position += (length + 3) & ~3
    if tuple_ is None:
        return None
    return Flow(*tuple_, mark, out_bytes, out_packets, in_bytes, in_packets)


_Tuple = tuple[int, bytes, int, bytes, int]


def _read_usual_tuple(data: bytes | memoryview) -> _Tuple | None:
    """Return protocol, source, port, destination, port of a flow with ports, in its usual form; else None."""
    if len(data) >= NETFILTER.size + _TUPLE6.size and data[0] == socket.AF_INET6:
        form, heads = _TUPLE6, _HEADS6
    elif len(data) >= NETFILTER.size + _TUPLE4.size and data[0] == socket.AF_INET:
        form, heads = _TUPLE4, _HEADS4
    else:
        return None
    (a, b, c, source, d, destination, e, f, protocol, g, source_port, h, destination_port) = form.unpack_from(data, 4)
    if (a, b, c, d, e, f, g, h) != heads:
        return None
    return protocol, source, source_port, destination, destination_port


def _read_tuple(data: bytes | memoryview) -> _Tuple | None:
    """Return protocol, source, port, destination, port of any tuple; None without addresses. Raises FormError."""
    source = destination = b""
    protocol = 0
    ports: dict[int, int] = {}
    for kind, value in split_attributes(data):
        if kind == _CTA_TUPLE_IP:
            addresses = dict(split_attributes(value))
            source = addresses.get(_CTA_IP_V4_SRC) or addresses.get(_CTA_IP_V6_SRC, b"")
            destination = addresses.get(_CTA_IP_V4_DST) or addresses.get(_CTA_IP_V6_DST, b"")
        elif kind == _CTA_TUPLE_PROTO:
            ports = {number: int.from_bytes(field[:2], "big") for number, field in split_attributes(value)}
            protocol = ports.get(_CTA_PROTO_NUM, 0) & 0xFF
    if len(source) not in (4, 16) or len(destination) != len(source):
        return None
    first = _CTA_PROTO_ICMP_ID if _CTA_PROTO_ICMP_ID in ports else _CTA_PROTO_ICMPV6_ID
    if first in ports:
        kind_and_code = (ports.get(first + 1, 0) & 0xFF) << 8 | ports.get(first + 2, 0) & 0xFF
        return protocol, source, ports[first], destination, kind_and_code
    return protocol, source, ports.get(_CTA_PROTO_SRC_PORT, 0), destination, ports.get(_CTA_PROTO_DST_PORT, 0)


def _read_counters(data: bytes | memoryview) -> tuple[int, int]:
    """Return packets and bytes. Raises FormError."""
    if len(data) == _COUNTERS.size:
        first, packets, second, octets = _COUNTERS.unpack(data)
        if (first, second) == _COUNTER_HEADS:
            return packets, octets
    counters = {kind: int.from_bytes(value[:8], "big") for kind, value in split_attributes(data)}
    return counters.get(_CTA_COUNTERS_PACKETS, 0), counters.get(_CTA_COUNTERS_BYTES, 0)


def pack_tuple(protocol: int, source: bytes, source_port: int, destination: bytes, destination_port: int) -> bytes:
    """Return the family's header and CTA_TUPLE_ORIG for a flow as `Flow` writes it."""
    if len(source) == 4:
        family, first = int(socket.AF_INET), _CTA_IP_V4_SRC
    else:
        family, first = int(socket.AF_INET6), _CTA_IP_V6_SRC
    addresses = pack_attribute(first, source) + pack_attribute(first + 1, destination)
    proto = pack_attribute(_CTA_PROTO_NUM, bytes((protocol,)))
    if protocol in (ICMP, ICMPV6):
        start = _CTA_PROTO_ICMP_ID if protocol == ICMP else _CTA_PROTO_ICMPV6_ID
        proto += pack_attribute(start, source_port.to_bytes(2, "big"))
        proto += pack_attribute(start + 1, bytes((destination_port >> 8,)))
        proto += pack_attribute(start + 2, bytes((destination_port & 0xFF,)))
    else:  # a protocol without ports passes over them
        proto += pack_attribute(_CTA_PROTO_SRC_PORT, source_port.to_bytes(2, "big"))
        proto += pack_attribute(_CTA_PROTO_DST_PORT, destination_port.to_bytes(2, "big"))
    nested = pack_attribute(_CTA_TUPLE_IP | _NESTED, addresses) + pack_attribute(_CTA_TUPLE_PROTO | _NESTED, proto)
    return NETFILTER.pack(family, 0, 0) + pack_attribute(_CTA_TUPLE_ORIG | _NESTED, nested)


def _pack_mark(mark: int, mask: int) -> bytes:
    return pack_attribute(_CTA_MARK, _MARK.pack(mark)) + pack_attribute(_CTA_MARK_MASK, _MARK.pack(mask))


class Conntrack:
    """The table of flows of the network namespace that `open` was called in. Not for use by several threads."""

    def __init__(self) -> None:
        self._requests: socket.socket | None = None
        self._dumping = False
        self._sequence = 0

    @classmethod
    def open(cls) -> Conntrack:
        """Return a usable table. Raises GuardianError that says what the machine lacks."""
        conntrack = cls()
        try:
            conntrack._requests = _open_endpoint()
            code = conntrack._ask(_CT_GET_STATS, NETFILTER.pack(0, 0, 0), NLM_F_REQUEST)
        except OSError as error:
            code = error.errno or errno.EIO
        if code:
            conntrack.close()
            raise GuardianError(explain(code))
        return conntrack

    def close(self) -> None:
        """Close the socket. May be called twice."""
        if self._requests is not None:
            self._requests.close()
        self._requests = None

    def dump(self, mark: int, mask: int) -> Iterator[list[Flow]]:
        """Yield the flows whose mark has these bits under `mask`, v4 and v6, one list for each datagram (~100 flows).

        Flows that come or go meanwhile may be missing. Raises GuardianError while another dump runs, OSError when the
        kernel fails.
        """
        if self._dumping:
            raise GuardianError("a dump of the conntrack table is running already: finish or close it first")
        self._dumping = True
        try:
            with _open_endpoint() as endpoint:  # its own: a dump that is given up leaves no answers behind
                request = NETFILTER.pack(socket.AF_UNSPEC, 0, 0) + _pack_mark(mark, mask)
                endpoint.send(pack_message(_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, request))
                more = True
                while more:
                    try:
                        data = endpoint.recv(_RECEIVE_BYTES)
                    except BlockingIOError:  # the kernel has no more to say
                        return
                    flows, more = _read_flows(data)
                    if flows:
                        yield flows
        finally:
            self._dumping = False

    def set_mark(
        self,
        protocol: int,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        mark: int,
        mask: int,
    ) -> bool:
        """Set the bits of `mask` in a flow's mark to those of `mark`; False when the flow is gone. Raises OSError."""
        address = pack_tuple(protocol, source, source_port, destination, destination_port)
        return self._change(_CT_NEW, address + _pack_mark(mark & mask, mask))

    def delete(self, protocol: int, source: bytes, source_port: int, destination: bytes, destination_port: int) -> bool:
        """Forget a flow: its next packet opens a new one. False when it is gone. Raises OSError."""
        return self._change(_CT_DELETE, pack_tuple(protocol, source, source_port, destination, destination_port))

    def _open_socket(self) -> socket.socket:
        if self._requests is None:
            raise OSError(errno.EBADF, "the conntrack table is closed")
        return self._requests

    def _change(self, kind: int, body: bytes) -> bool:
        code = self._ask(kind, body, NLM_F_REQUEST | NLM_F_ACK)
        if code not in (0, errno.ENOENT):
            raise OSError(code, os.strerror(code))
        return code == 0

    def _ask(self, kind: int, body: bytes, flags: int) -> int:
        """Send a request and return the errno of its answer, 0 when all is well. Raises OSError."""
        requests = self._open_socket()
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        requests.send(pack_message(kind, flags, self._sequence, body))
        while True:
            for message in split_messages(requests.recv(_RECEIVE_BYTES)):
                if message.sequence == self._sequence:
                    return read_error(message.payload) if message.type == NLMSG_ERROR else 0


def explain(code: int) -> str:
    """Return what to do when the conntrack table answers with an errno."""
    if code in (errno.EPERM, errno.EACCES):
        return "the conntrack table cannot be read: run with the capability CAP_NET_ADMIN"
    if code in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        return (
            "the kernel has no ctnetlink: load the module nf_conntrack_netlink (on OpenWrt: kmod-nf-conntrack-netlink)"
        )
    return f"the conntrack table cannot be read: {os.strerror(code)}"


def _read_flows(data: bytes) -> tuple[list[Flow], bool]:
    """Return the flows of one datagram of a dump, and whether more follow. Raises OSError, FormError."""
    flows: list[Flow] = []
    for message in split_messages(data):
        if message.type == _CT_NEW:
            flow = parse_flow(message.payload)
            if flow is not None:
                flows.append(flow)
        elif message.type == NLMSG_DONE:
            return flows, False
        elif message.type == NLMSG_ERROR:
            code = read_error(message.payload)
            raise OSError(code, os.strerror(code))
    return flows, True


def _open_endpoint() -> socket.socket:
    endpoint = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG_BYTES)
        endpoint.bind((0, 0))
        endpoint.connect((0, 0))  # from now on only the kernel is heard
    except OSError:
        endpoint.close()
        raise
    return endpoint
