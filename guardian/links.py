"""The machine's network interfaces, by index: which there are and what they are called, told live by rtnetlink.

`Links.open()` subscribes to the kernel's notices and reads the list once; after that an event loop feeds it:
`loop.add_reader(links.fileno(), links.on_readable)`. A renamed interface keeps its index; one that is made anew, even
under its old name, has another. No capability is needed. Codec: linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from guardian.errors import FormError
from guardian.rtnetlink import Notices, read_table
from guardian.wire.netlink import split_attributes, split_messages

log = logging.getLogger(__name__)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18

_RTMGRP_LINK = 0x1  # the multicast group RTNLGRP_LINK (1) as a bit of the socket's address
_IFLA_IFNAME = 3
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change


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


class Links:
    """The list of interfaces, followed live. `on_change` is called once for all that one wake brought."""

    def __init__(self, notices: Notices, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._notices = notices
        self._names = list_links()
        self.fileno = notices.fileno
        self.close = notices.close  # the list stays readable

    @classmethod
    def open(cls, on_change: Callable[[], None]) -> Links:
        """Return a list that is subscribed and filled. Raises OSError where the kernel has no rtnetlink."""
        notices = Notices(_RTMGRP_LINK)
        try:
            return cls(notices, on_change)
        except OSError:
            notices.close()
            raise

    def names(self) -> dict[int, str]:
        """Return index -> name of every interface there is, up or down."""
        return dict(self._names)

    def on_readable(self) -> None:
        """Take in every notice that waits. After lost notices (ENOBUFS) the whole list is read again."""
        before = dict(self._names)
        notices, lost = self._notices.receive()
        for data in notices:
            for kind, link in _read_datagram(data):
                self._take_notice(kind, link)
        if lost:
            log.warning("event=link-notices-lost action=dump")
            self._names = list_links()
        if self._names != before:
            self._on_change()

    def _take_notice(self, kind: int, link: Link) -> None:
        if kind == RTM_DELLINK:
            self._names.pop(link.interface, None)
        elif link.name:
            self._names[link.interface] = link.name


def list_links() -> dict[int, str]:
    """Return index -> name of every interface, asked now. Raises OSError when the kernel does not tell."""
    return {link.interface: link.name for link in read_table(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), parse_link)}


def _read_datagram(data: bytes) -> list[tuple[int, Link]]:
    """Return the interfaces that a notice tells of, each with its message's type; what cannot be read is logged."""
    read = []
    try:
        for message in split_messages(data):
            link = parse_link(message.payload) if message.type in (RTM_NEWLINK, RTM_DELLINK) else None
            if link is not None:
                read.append((message.type, link))
    except FormError as error:
        log.warning("event=link-message-unreadable error=%s", error)
    return read
