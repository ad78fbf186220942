"""The rtnetlink codec against pyroute2, and the table: bounds, moves, what is remembered."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from guardian import neighbors
from guardian.errors import FormError
from guardian.neighbors import Neighbor, Neighbors, NeighborTable, build_request, parse_neighbor, split_messages

MAC_1 = bytes.fromhex("020000000001")
MAC_2 = bytes.fromhex("020000000002")
V4 = bytes([192, 168, 1, 7])
V6 = ipaddress.ip_address("fe80::7").packed


def encode(family: int, interface: int, state: int, attributes: list[tuple[str, Any]], kind: int = 28) -> bytes:
    """One neighbour message as pyroute2 writes it."""
    message = ndmsg()
    message["family"], message["ifindex"], message["state"] = family, interface, state
    message["attrs"] = attributes
    message["header"]["type"] = kind
    message["header"]["sequence_number"] = 9
    message.encode()
    return bytes(message.data)


def text_of(mac: bytes) -> str:
    return mac.hex(":")


ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@given(ADDRESSES, st.binary(min_size=6, max_size=6), st.integers(1, 2**31 - 1), st.integers(0, 255))
def test_we_read_what_pyroute2_writes(address: bytes, mac: bytes, interface: int, state: int) -> None:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    text = socket.inet_ntop(family, address)
    attributes = [("NDA_PROBES", 3), ("NDA_DST", text), ("NDA_LLADDR", text_of(mac)), ("NDA_VLAN", 7)]
    data = encode(family, interface, state, attributes)
    (message,) = split_messages(data)
    assert (message.type, message.sequence) == (28, 9)
    expected_mac = mac if not mac[0] & 1 and any(mac) else None
    assert parse_neighbor(message.payload) == Neighbor(interface, address, expected_mac, state)


@given(ADDRESSES, st.integers(1, 2**31 - 1), st.integers(1, 2**32 - 1))
def test_pyroute2_reads_what_we_write(address: bytes, interface: int, sequence: int) -> None:
    message = ndmsg(build_request(address, interface, sequence))
    message.decode()
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    assert (message["family"], message["ifindex"]) == (family, interface)
    assert message.get_attr("NDA_DST") == socket.inet_ntop(family, address)
    header = message["header"]
    assert (header["type"], header["flags"], header["sequence_number"]) == (30, 1, sequence)
    assert header["length"] == len(build_request(address, interface, sequence))


def test_the_dump_request() -> None:
    message = ndmsg(build_request(None, 0, 1))
    message.decode()
    assert (message["family"], message["header"]["type"], message["header"]["flags"]) == (0, 30, 0x301)


def test_bridge_entries_and_names_without_a_mac() -> None:
    (message,) = split_messages(encode(7, 3, 2, [("NDA_LLADDR", text_of(MAC_1))]))
    assert parse_neighbor(message.payload) is None
    (message,) = split_messages(encode(socket.AF_INET, 3, 0x20, [("NDA_DST", "10.0.0.1")]))
    assert parse_neighbor(message.payload) == Neighbor(3, bytes([10, 0, 0, 1]), None, 0x20)


VALID = encode(socket.AF_INET, 3, 2, [("NDA_DST", "10.0.0.1"), ("NDA_LLADDR", text_of(MAC_1))])


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(0, len(VALID)))
def test_damaged_messages_are_form_errors_or_neighbours(position: int, byte: int, cut: int) -> None:
    damaged = bytearray(VALID)
    damaged[position] = byte
    for data in (bytes(damaged), VALID[:cut], bytes(damaged[:cut]), VALID + bytes(damaged)):
        try:
            for message in split_messages(data):
                found = parse_neighbor(message.payload)
                assert found is None or len(found.address) in (4, 16)
        except FormError:
            pass
    with pytest.raises(FormError):
        list(split_messages(VALID[:20]))


class Changes(list[tuple[bytes, bytes]]):
    """What `on_change` was told."""

    def __call__(self, address: bytes, mac: bytes) -> None:
        self.append((address, mac))


@pytest.fixture
def changes() -> Changes:
    return Changes()


def test_a_change_is_told_once_and_only_when_the_answer_changes(changes: Changes) -> None:
    table = NeighborTable(changes)
    table.learn(Neighbor(2, V4, MAC_1, 2))
    table.learn(Neighbor(2, V4, MAC_1, 4))
    assert changes == [(V4, MAC_1)]
    table.learn(Neighbor(2, V4, MAC_2, 2))
    assert changes == [(V4, MAC_1), (V4, MAC_2)]
    assert table.mac_of(bytes(10) + b"\xff\xff" + V4) == MAC_2
    assert table.mac_of(V6) is None


def test_a_sleeping_phone_is_remembered_until_another_takes_its_address(changes: Changes) -> None:
    table = NeighborTable(changes)
    table.learn(Neighbor(2, V4, MAC_1, 2))
    table.learn(Neighbor(2, V4, None, 0x20))  # NUD_FAILED
    assert table.mac_of(V4) == MAC_1
    table.learn(Neighbor(2, V4, MAC_1, 2))
    assert len(changes) == 1
    table.forget(Neighbor(2, V4, MAC_1, 2))
    table.learn(Neighbor(2, V4, MAC_2, 2))
    assert table.mac_of(V4) == MAC_2
    assert changes[-1] == (V4, MAC_2)
    assert len(table) == 1


def test_the_same_link_local_address_on_two_interfaces(changes: Changes) -> None:
    table = NeighborTable(changes)
    table.learn(Neighbor(2, V6, MAC_1, 2))
    table.learn(Neighbor(3, V6, MAC_2, 2))
    assert table.mac_of(V6, 2) == MAC_1
    assert table.mac_of(V6, 3) == table.mac_of(V6) == MAC_2
    table.learn(Neighbor(2, V6, MAC_1, 4))  # a refresh changes nothing
    assert table.mac_of(V6) == MAC_2
    table.forget(Neighbor(3, V6, None, 0))
    assert table.mac_of(V6) == MAC_1
    table.forget(Neighbor(4, V6, None, 0))
    assert table.mac_of(V6, 3) == MAC_1


def test_a_whole_table_replaces_what_we_had(changes: Changes) -> None:
    table = NeighborTable(changes)
    table.learn(Neighbor(2, V4, MAC_1, 2))
    table.learn(Neighbor(2, V6, MAC_1, 2))
    table.replace([Neighbor(2, V6, MAC_2, 2), Neighbor(3, bytes(4), None, 0x20)])
    assert table.mac_of(V4) == MAC_1  # remembered
    assert table.mac_of(V6) == MAC_2
    assert changes[-1] == (V6, MAC_2)
    assert list(table._present) == [V6]


def test_a_flood_of_addresses_stays_bounded() -> None:
    table = NeighborTable()
    for number in range(neighbors.MAX_PRESENT + neighbors.MAX_GONE + 500):
        table.learn(Neighbor(2, number.to_bytes(16, "big"), MAC_1, 2))
    assert len(table) == neighbors.MAX_PRESENT + neighbors.MAX_GONE
    assert table.mac_of(number.to_bytes(16, "big")) == MAC_1
    assert table.mac_of((1).to_bytes(16, "big")) is None


def test_a_closed_table_says_so() -> None:
    table = Neighbors.open()
    table.close()
    table.close()
    with pytest.raises(OSError, match="closed"):
        table.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        table.query(V4)
