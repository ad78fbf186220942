"""Talking with the kernel about links, addresses and neighbours: a subscription to its notices, and whole tables.

Shared by `links`, `interfaces` and `neighbors`, which know the messages. No capability is needed. Source: rtnetlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import TypeVar

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
    split_messages,
)

RECEIVE_BYTES = 64 * 1024  # the kernel's dump chunks are at most 32 KiB
_BACKLOG_BYTES = 256 * 1024
_NOTICES_PER_WAKE = 256  # then the event loop gets its turn
DUMP_TRIES = 3  # a table that changes while it is read is read again

Row = TypeVar("Row")


class Notices:
    """A subscription to multicast groups (RTMGRP_* bits), for an event loop to watch. Raises OSError."""

    def __init__(self, groups: int) -> None:
        self._endpoint = open_rtnetlink(groups)

    def close(self) -> None:
        """End the subscription. May be called twice."""
        self._endpoint.close()

    def fileno(self) -> int:
        """Return the descriptor to watch for reading. Raises OSError after `close`."""
        descriptor = self._endpoint.fileno()
        if descriptor < 0:
            raise OSError(errno.EBADF, "the subscription to the kernel's notices is closed")
        return descriptor

    def receive(self) -> tuple[list[bytes], bool]:
        """Return the notices that wait, some hundred at most, and whether others were lost (ENOBUFS). Raises OSError.

        What other processes send is left out: nobody else may tell us how the network is.
        """
        notices: list[bytes] = []
        lost = False
        if self._endpoint.fileno() < 0:  # closed while the event loop still had it to call
            return notices, lost
        for _ in range(_NOTICES_PER_WAKE):
            try:
                data, sender = self._endpoint.recvfrom(RECEIVE_BYTES)
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


def open_rtnetlink(groups: int = 0) -> socket.socket:
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


def read_table(request: int, question: bytes, parse: Callable[[bytes], Row | None]) -> list[Row]:
    """Return the rows of one of the kernel's tables, asked now; what `parse` finds to be none is left out.

    `request` is a RTM_GET* type, `question` the structure that it takes. The kernel builds the answer inside our
    calls, so this never waits. Raises OSError when it refuses, or says what cannot be read.
    """
    answer = request - 2  # RTM_NEW* of the same thing
    for _ in range(DUMP_TRIES):
        rows: list[Row] = []
        whole = True
        with open_rtnetlink() as endpoint:  # notices never mix with answers, nor those of one try with the next
            endpoint.sendto(pack_message(request, NLM_F_REQUEST | NLM_F_DUMP, 1, question), (0, 0))
            try:
                for message in _receive_answer(endpoint):
                    whole = whole and not message.flags & NLM_F_DUMP_INTR
                    row = parse(message.payload) if message.type == answer else None
                    if row is not None:
                        rows.append(row)
            except FormError as error:
                raise OSError(errno.EPROTO, f"the kernel's answer cannot be read: {error}") from None
        if whole:
            break
    return rows


def _receive_answer(endpoint: socket.socket) -> Iterator[NetlinkMessage]:
    """Yield the messages of a dump, its end included."""
    while True:
        try:
            data, sender = endpoint.recvfrom(RECEIVE_BYTES)
        except BlockingIOError:  # fewer messages than promised: what is here is what there is
            return
        for message in split_messages(data) if sender[0] == 0 else ():
            if message.type == NLMSG_ERROR:
                code = read_error(message.payload)
                raise OSError(code, f"the kernel does not list what was asked for: {os.strerror(code)}")
            yield message
            if message.type == NLMSG_DONE:
                return
