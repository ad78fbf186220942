"""The machine's network interfaces, by index: which there are and what they are called, told live by rtnetlink.

`Links.open()` subscribes to the kernel's notices and reads the list once; after that an event loop feeds it:
`loop.add_reader(links.fileno(), links.on_readable)`. A renamed interface keeps its index; one that is made anew, even
under its old name, has another. No capability is needed. Codec: linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from guardian.errors import FormError
from guardian.wire.netlink import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkMessage,
    pack_message,
    read_error,
    split_attributes,
    split_messages,
)

log = logging.getLogger(__name__)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18

_RTMGRP_LINK = 0x1  # the multicast group RTNLGRP_LINK (1) as a bit of the socket's address
_IFLA_IFNAME = 3
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change

_RECEIVE_BYTES = 64 * 1024  # the kernel's dump chunks are at most 32 KiB
_BACKLOG_BYTES = 256 * 1024
_DUMP_TRIES = 3
_NOTICES_PER_WAKE = 256  # then the event loop gets its turn


class Link(NamedTuple):
    """One interface as the kernel tells it."""

    interface: int  # index
    name: str  # "" when the message does not say


def parse_link(payload: bytes) -> Link | None:
    """Return the interface of an RTM_NEWLINK or RTM_DELLINK payload; None for what only a protocol says of it.

    A port that leaves a bridge is an RTM_DELLINK of the family AF_BRIDGE: the interface stays. Raises FormError.
    """
    if len(payload) < _LINK.size:
        raise FormError("a link message is cut")
    family, _type, interface, _flags, _change = _LINK.unpack_from(payload)
    if family != socket.AF_UNSPEC:
        return None
    name = b""
    for kind, value in split_attributes(payload, _LINK.size):
        if kind == _IFLA_IFNAME:
            name = value.rstrip(b"\0")
    return Link(interface, name.decode("utf-8", "surrogateescape"))


def open_netlink(groups: int) -> socket.socket:
    """Return a non-blocking rtnetlink socket that hears the multicast groups of a bit mask. Raises OSError."""
    endpoint = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG_BYTES)
        endpoint.bind((0, groups))
    except OSError:
        endpoint.close()
        raise
    return endpoint


def receive_notices(endpoint: socket.socket | None) -> tuple[list[bytes], bool]:
    """Return the kernel's notices that wait, some hundred at most, and whether others were lost (ENOBUFS).

    What other processes send is left out: nobody else may tell us how the network is. Raises OSError.
    """
    notices: list[bytes] = []
    lost = False
    if endpoint is None:
        return notices, lost
    for _ in range(_NOTICES_PER_WAKE):
        try:
            data, sender = endpoint.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            lost = True
            continue
        if sender[0] == 0:  # the kernel
            notices.append(data)
    return notices, lost


class Links:
    """The list of interfaces, followed live. `on_change` is called once for all that one wake brought."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._names: dict[int, str] = {}
        self._notices: socket.socket | None = None

    @classmethod
    def open(cls, on_change: Callable[[], None]) -> Links:
        """Return a list that is subscribed and filled. Raises OSError where the kernel has no rtnetlink."""
        links = cls(on_change)
        try:
            links._notices = open_netlink(_RTMGRP_LINK)
            links._names = _dump()
        except OSError:
            links.close()
            raise
        return links

    def close(self) -> None:
        """Close the socket; the list stays readable. May be called twice."""
        if self._notices is not None:
            self._notices.close()
        self._notices = None

    def fileno(self) -> int:
        """Return the descriptor to watch for reading. Raises OSError after `close`."""
        if self._notices is None:
            raise OSError(errno.EBADF, "the list of interfaces is closed")
        return self._notices.fileno()

    def names(self) -> dict[int, str]:
        """Return index -> name of every interface there is, up or down."""
        return dict(self._names)

    def on_readable(self) -> None:
        """Take in every notice that waits. After lost notices (ENOBUFS) the whole list is read again."""
        before = dict(self._names)
        notices, lost = receive_notices(self._notices)
        for data in notices:
            for message, link in _read_datagram(data):
                self._take_notice(message.type, link)
        if lost:
            log.warning("event=link-notices-lost action=dump")
            self._names = _dump()
        if self._names != before:
            self._on_change()

    def _take_notice(self, kind: int, link: Link | None) -> None:
        if link is None:
            return
        if kind == RTM_DELLINK:
            self._names.pop(link.interface, None)
        elif kind == RTM_NEWLINK and link.name:
            self._names[link.interface] = link.name


def _dump() -> dict[int, str]:
    """Return index -> name, asked now. The kernel builds the answer inside our calls, so this never waits."""
    for _ in range(_DUMP_TRIES):
        names: dict[int, str] = {}
        whole = True
        with open_netlink(0) as requests:  # notices never mix with answers, nor those of one try with the next
            requests.sendto(pack_message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, _LINK.pack(0, 0, 0, 0, 0)), (0, 0))
            for message, link in _receive_answer(requests):
                whole = whole and not message.flags & NLM_F_DUMP_INTR
                if link is not None:
                    names[link.interface] = link.name
        if whole:
            break
    return names


def _receive_answer(requests: socket.socket) -> Iterator[tuple[NetlinkMessage, Link | None]]:
    """Yield the messages of a dump, its end included. Raises OSError when the kernel refuses it."""
    while True:
        try:
            data, sender = requests.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:  # an answer of fewer messages than promised: what is here is what there is
            return
        for message, link in _read_datagram(data) if sender[0] == 0 else ():
            if message.type == NLMSG_ERROR:
                code = read_error(message.payload)
                raise OSError(code, f"the kernel does not list its interfaces: {os.strerror(code)}")
            yield message, link
            if message.type == NLMSG_DONE:
                return


def _read_datagram(data: bytes) -> list[tuple[NetlinkMessage, Link | None]]:
    """Return the messages of a datagram, each with its interface; what cannot be read is logged and left out."""
    read = []
    try:
        for message in split_messages(data):
            read.append((message, parse_link(message.payload) if message.type in (RTM_NEWLINK, RTM_DELLINK) else None))
    except FormError as error:
        log.warning("event=link-message-unreadable error=%s", error)
    return read
