"""Netlink's codec: what is packed is split again, pyroute2 reads it, and lengths that lie are FormErrors."""

from __future__ import annotations

import errno
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg

from guardian.errors import FormError
from guardian.wire.netlink import (
    NLA_F_NESTED,
    NLMSG_ERROR,
    NetlinkMessage,
    pack_attribute,
    pack_message,
    read_error,
    split_attributes,
    split_messages,
)
from tests.fuzz.driver import fuzz, mutate_bytes

KINDS = st.integers(0, 0x3FFF)
ATTRIBUTES = st.lists(st.tuples(KINDS, st.binary(max_size=40)), max_size=6)
MESSAGES = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=50)),
    max_size=5,
)


@given(MESSAGES)
def test_messages_come_back(messages: list[tuple[int, int, int, bytes]]) -> None:
    data = b"".join(pack_message(*message) for message in messages)
    assert len(data) % 4 == 0
    expected = [NetlinkMessage(kind, flags, sequence, 0, payload) for kind, flags, sequence, payload in messages]
    assert list(split_messages(data)) == list(split_messages(memoryview(data))) == expected


@given(ATTRIBUTES)
def test_attributes_come_back(attributes: list[tuple[int, bytes]]) -> None:
    data = b"".join(pack_attribute(kind, value) for kind, value in attributes)
    assert len(data) % 4 == 0
    assert list(split_attributes(data)) == attributes
    assert list(split_attributes(memoryview(b"head" + data), 4)) == attributes


@given(KINDS, ATTRIBUTES)
def test_attributes_in_attributes(kind: int, inner: list[tuple[int, bytes]]) -> None:
    data = pack_attribute(kind | NLA_F_NESTED, b"".join(pack_attribute(*pair) for pair in inner))
    ((outer, value),) = split_attributes(data)
    assert outer == kind
    assert list(split_attributes(value)) == inner


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=9))
def test_pyroute2_reads_what_we_write(kind: int, flags: int, sequence: int, payload: bytes) -> None:
    message = nlmsg(pack_message(kind, flags, sequence, payload))
    message.decode()
    header = message["header"]
    assert (header["type"], header["flags"], header["sequence_number"], header["pid"]) == (kind, flags, sequence, 0)
    assert header["length"] == 16 + len(payload)


def test_the_last_one_needs_no_padding() -> None:
    assert [message.payload for message in split_messages(pack_message(9, 0, 1, b"abcde")[:21])] == [b"abcde"]
    assert list(split_attributes(pack_attribute(9, b"abcde")[:9])) == [(9, b"abcde")]


@pytest.mark.parametrize("length", [0, 3, 15, 21, 0xFFFFFFFF])
def test_a_message_that_lies_about_its_length(length: int) -> None:
    data = struct.pack("=I", length) + pack_message(9, 0, 1, b"abcd")[4:]
    with pytest.raises(FormError):
        list(split_messages(data))


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_that_lies_about_its_length(length: int) -> None:
    with pytest.raises(FormError):
        list(split_attributes(struct.pack("=HH", length, 1) + b"abcd"))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_too_short_for_a_header(size: int) -> None:
    with pytest.raises(FormError):
        list(split_attributes(bytes(size)))
    with pytest.raises(FormError):
        list(split_messages(bytes(size)))


def test_errors() -> None:
    assert read_error(struct.pack("=i", -errno.ENOENT) + bytes(16)) == errno.ENOENT
    assert read_error(bytes(4)) == 0
    with pytest.raises(FormError):
        read_error(b"\0\0")


SEEDS = [
    pack_message(NLMSG_ERROR, 0, 1, struct.pack("=i", -2) + bytes(16)) + pack_message(0x300, 2, 3, b"abcde"),
    pack_message(9, 0, 1, pack_attribute(1, b"abcde") + pack_attribute(2 | NLA_F_NESTED, pack_attribute(3, b"x"))),
]


def test_nothing_but_form_errors() -> None:
    def check(data: bytes) -> None:
        try:
            for message in split_messages(data):
                total = sum(4 + len(value) for _kind, value in split_attributes(message.payload))
                assert total <= len(message.payload)
        except FormError:
            pass

    for seed in SEEDS:
        check(seed)
    fuzz(check, SEEDS, mutate_bytes, seed=1, count=10_000)
    for number in range(200):
        check(Random(number).randbytes(number))
