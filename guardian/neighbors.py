"""Who has which address: source address -> MAC, told by the kernel's neighbour table over rtnetlink (v4 and v6).

`Neighbors.open()` subscribes to the kernel's notices and reads the table once; after that an event loop feeds it:
`loop.add_reader(neighbors.fileno(), neighbors.on_readable)`. No capability is needed. Codec: linux/rtnetlink.h,
linux/neighbour.h; numbers are in the machine's byte order, addresses in network order.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from guardian.errors import FormError
from guardian.rtnetlink import DUMP_TRIES, RECEIVE_BYTES, Notices, open_rtnetlink
from guardian.wire.netlink import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkMessage,
    pack_attribute,
    pack_message,
    split_attributes,
    split_messages,
)

log = logging.getLogger(__name__)

MAX_PRESENT = 8192  # the kernel's own limit is 1024 a family by default (gc_thresh3)
MAX_GONE = 1024

RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30

_RTMGRP_NEIGH = 0x4  # the multicast group RTNLGRP_NEIGH (3) as a bit of the socket's address
_NDA_DST = 1
_NDA_LLADDR = 2

_NEIGHBOR = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type

_ADDRESS_BYTES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, how a dual-stack socket shows an IPv4 client


class Neighbor(NamedTuple):
    """What the kernel says of an address. `mac` is None when it knows none (any more) that a device could have."""

    interface: int  # index
    address: bytes  # packed, 4 or 16 bytes
    mac: bytes | None
    state: int  # NUD_* bits


def parse_neighbor(payload: bytes) -> Neighbor | None:
    """Return the neighbour of an RTM_NEWNEIGH or RTM_DELNEIGH payload; None for bridges and other families.

    Raises FormError when the bytes are not a neighbour message.
    """
    if len(payload) < _NEIGHBOR.size:
        raise FormError("a neighbour message is cut")
    family, interface, state, _flags, _type = _NEIGHBOR.unpack_from(payload)
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        return None
    address = b""
    mac = None
    for kind, value in split_attributes(payload, _NEIGHBOR.size):
        if kind == _NDA_DST:
            address = value
        elif kind == _NDA_LLADDR and is_device_mac(value):
            mac = value
    if len(address) != size:
        raise FormError(f"a neighbour message has an address of {len(address)} bytes")
    return Neighbor(interface, address, mac, state)


def build_request(address: bytes | None, interface: int, sequence: int) -> bytes:
    """Return an RTM_GETNEIGH request: for one address on an interface, or for the whole table (`address` None)."""
    if address is None:
        family, flags, attribute = 0, NLM_F_REQUEST | NLM_F_DUMP, b""
    else:
        family = int(socket.AF_INET if len(address) == 4 else socket.AF_INET6)
        flags = NLM_F_REQUEST
        attribute = pack_attribute(_NDA_DST, address)
    return pack_message(RTM_GETNEIGH, flags, sequence, _NEIGHBOR.pack(family, interface, 0, 0, 0) + attribute)


def is_device_mac(mac: bytes) -> bool:
    """Tell whether the bytes are the MAC of one device: 6 bytes, not a group address, not all zeros."""
    return len(mac) == 6 and not mac[0] & 1 and any(mac)


def plain_address(address: bytes) -> bytes:
    """Return a packed address with the IPv4-mapped form of IPv6 undone."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


class NeighborTable:
    """Addresses and their MACs, bounded. `on_change(address, mac)` is called when `mac_of(address)` gets a new answer.

    What the kernel forgets (an idle phone, a collected entry) is remembered until another MAC takes the address:
    a phone that wakes up may send its first query before it is resolved again.
    """

    def __init__(self, on_change: Callable[[bytes, bytes], None] | None = None) -> None:
        self._on_change = on_change
        self._present: dict[bytes, dict[int, bytes]] = {}  # address -> interface -> mac, the newest last
        self._gone: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        """Return the number of addresses, the remembered ones included."""
        return len(self._present) + len(self._gone)

    def mac_of(self, address: bytes, interface: int = 0) -> bytes | None:
        """Return the MAC of a packed address, or None. `interface` tells equal link-local addresses apart."""
        address = plain_address(address)
        macs = self._present.get(address)
        if macs is None:
            return self._gone.get(address)
        return macs.get(interface) or next(reversed(macs.values()))

    def learn(self, neighbor: Neighbor) -> None:
        """Take in what the kernel says of an address."""
        address, mac = neighbor.address, neighbor.mac
        if mac is None:
            self.forget(neighbor)
            return
        macs = self._present.setdefault(address, {})
        if macs.get(neighbor.interface) == mac:
            return
        before = next(reversed(macs.values()), None) or self._gone.pop(address, None)
        macs.pop(neighbor.interface, None)
        macs[neighbor.interface] = mac
        if len(self._present) > MAX_PRESENT:
            self._retire(next(iter(self._present)))
        if before != mac and self._on_change is not None:
            self._on_change(address, mac)

    def forget(self, neighbor: Neighbor) -> None:
        """The kernel has no MAC for this address on this interface any more."""
        macs = self._present.get(neighbor.address)
        if macs is None or neighbor.interface not in macs:
            return
        if len(macs) > 1:
            del macs[neighbor.interface]
        else:
            self._retire(neighbor.address)

    def replace(self, neighbors: list[Neighbor]) -> None:
        """Take in a whole table; what it lacks counts as gone."""
        listed = {(neighbor.address, neighbor.interface) for neighbor in neighbors if neighbor.mac is not None}
        stale = [
            Neighbor(interface, address, None, 0)
            for address, macs in self._present.items()
            for interface in macs
            if (address, interface) not in listed
        ]
        for neighbor in neighbors:
            self.learn(neighbor)
        for neighbor in stale:
            self.forget(neighbor)

    def _retire(self, address: bytes) -> None:
        macs = self._present.pop(address)
        self._gone.pop(address, None)
        self._gone[address] = next(reversed(macs.values()))
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]


class Neighbors:
    """The kernel's neighbour table, followed live. Requests have their own socket: notices never mix with answers."""

    def __init__(
        self, notices: Notices, requests: socket.socket, on_change: Callable[[bytes, bytes], None] | None = None
    ) -> None:
        self.table = NeighborTable(on_change)
        self._notices = notices
        self._requests = requests
        self._sequence = 0
        self.fileno = notices.fileno

    @classmethod
    def open(cls, on_change: Callable[[bytes, bytes], None] | None = None) -> Neighbors:
        """Return a table that is subscribed and filled. Raises OSError where the kernel has no rtnetlink."""
        with contextlib.ExitStack() as made:
            notices = made.enter_context(contextlib.closing(Notices(_RTMGRP_NEIGH)))
            neighbors = cls(notices, made.enter_context(open_rtnetlink()), on_change)
            neighbors.dump()
            made.pop_all()
        return neighbors

    def close(self) -> None:
        """Close both sockets; the table stays readable. May be called twice."""
        self._notices.close()
        self._requests.close()

    def mac_of(self, address: bytes, interface: int = 0) -> bytes | None:
        """Return the MAC of a packed IPv4 or IPv6 address (IPv4-mapped too), or None."""
        return self.table.mac_of(address, interface)

    def on_readable(self) -> None:
        """Take in every notice that waits. After lost notices (ENOBUFS) the whole table is read again."""
        notices, lost = self._notices.receive()
        for data in notices:
            for message, neighbor in _read_datagram(data):
                self._take_notice(message.type, neighbor)
        if lost:
            log.warning("event=neighbour-notices-lost action=dump")
            self.dump()

    def dump(self) -> None:
        """Read the whole table. The kernel builds the answer inside our calls, so this never waits."""
        for _ in range(DUMP_TRIES):
            listed, whole = self._ask(None, 0)
            if whole:
                break
        self.table.replace(listed)

    def query(self, address: bytes, interface: int = 0) -> bytes | None:
        """Ask the kernel for one packed address now and return its MAC, or None.

        Without an interface index every interface is asked: two system calls each.
        """
        address = plain_address(address)
        interfaces = [interface] if interface else [index for index, _name in socket.if_nameindex()]
        for index in interfaces:
            for neighbor in self._ask(address, index)[0]:
                if neighbor.address == address and neighbor.mac is not None:
                    self.table.learn(neighbor)
                    return neighbor.mac
        return None

    def _ask(self, address: bytes | None, interface: int) -> tuple[list[Neighbor], bool]:
        """Return the neighbours that answer a request, and whether the table held still meanwhile."""
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        self._requests.sendto(build_request(address, interface, self._sequence), (0, 0))
        listed: list[Neighbor] = []
        whole = True
        while True:
            try:
                data, sender = self._requests.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:  # an answer of fewer messages than promised: what is here is what there is
                return listed, False
            if sender[0] != 0:
                continue
            for message, neighbor in _read_datagram(data):
                if message.sequence != self._sequence:
                    continue
                if message.type in (NLMSG_DONE, NLMSG_ERROR):  # ENOENT for one address: not known
                    return listed, whole
                whole = whole and not message.flags & NLM_F_DUMP_INTR
                if neighbor is not None:
                    listed.append(neighbor)
                    if address is not None:
                        return listed, True

    def _take_notice(self, kind: int, neighbor: Neighbor | None) -> None:
        if neighbor is None:
            return
        if kind == RTM_NEWNEIGH:
            self.table.learn(neighbor)
        else:
            self.table.forget(neighbor)


def _read_datagram(data: bytes) -> list[tuple[NetlinkMessage, Neighbor | None]]:
    """Return the messages of a datagram, each with its neighbour; what cannot be read is logged and left out."""
    read = []
    try:
        for message in split_messages(data):
            is_neighbor = message.type in (RTM_NEWNEIGH, RTM_DELNEIGH)
            read.append((message, parse_neighbor(message.payload) if is_neighbor else None))
    except FormError as error:
        log.warning("event=neighbour-message-unreadable error=%s", error)
    return read
