"""What links, addresses and neighbours share: the kernel's tables and notices, and nobody else's."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from guardian.errors import FormError
from guardian.rtnetlink import Notices, open_rtnetlink, read_table

RTM_GETLINK, RTM_GETADDR = 18, 22
LINK = struct.pack("=BxHiII", 0, 0, 0, 0, 0)


def test_a_table_has_a_row_for_each_interface() -> None:
    rows = read_table(RTM_GETLINK, LINK, lambda payload: struct.unpack_from("=BxHi", payload)[2])
    assert sorted(rows) == sorted(index for index, _ in socket.if_nameindex())


def test_what_is_none_is_left_out() -> None:
    assert read_table(RTM_GETLINK, LINK, lambda payload: None) == []


def test_a_kernel_that_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="does not list what was asked for") as caught:
        read_table(4094, b"", bytes)  # there is no such table
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_answer_that_cannot_be_read_is_an_error() -> None:
    def parse(payload: bytes) -> None:
        raise FormError("a message is cut")

    with pytest.raises(OSError, match="cannot be read: a message is cut") as caught:
        read_table(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0), parse)
    assert caught.value.errno == errno.EPROTO


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel lets root alone write to another socket")
def test_what_another_process_sends_is_not_the_kernels() -> None:
    notices = Notices(0)
    with open_rtnetlink() as stranger:
        stranger.sendto(b"\x10\0\0\0\x03\0\0\0\x01\0\0\0\0\0\0\0", (notices_port(notices), 0))
    assert notices.receive() == ([], False)
    notices.close()


def notices_port(notices: Notices) -> int:
    with socket.socket(fileno=os.dup(notices.fileno())) as same:
        port: int = same.getsockname()[0]
    return port


def test_a_closed_subscription_says_so_and_brings_nothing() -> None:
    notices = Notices(1)
    notices.close()
    notices.close()
    with pytest.raises(OSError, match="closed"):
        notices.fileno()
    assert notices.receive() == ([], False)
