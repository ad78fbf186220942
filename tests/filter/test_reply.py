"""The block page in a server's name: a real client takes it; its parts are as they were meant."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey
from guardian.filter.reply import MAX_RESPONSE_BYTES, SEGMENT_BYTES, build_reply, checksum
from guardian.filter.tcp import Answer
from guardian.policy.model import FOREVER, Action, Decision, Reason
from guardian.wire import ip
from tests.filter import packets
from tests.filter.packets import ACK, FIN, PSH, SYN, SYN_OPTIONS, build_tcp, make_ends, timestamps
from tests.filter.tun import NEEDS_TUN, open_tun
from tests.netns.namespaces import inside, run

BLOCK = Decision(Action.BLOCK, Reason.CATEGORY, "category:gambling", FOREVER)


def make_answer(
    v6: bool = False, sequence: int = 5000, end: int = 1100, stamps: tuple[int, int] | None = (7, 9), port: int = 40_000
) -> Answer:
    ends = make_ends(80, port, v6)
    key = FlowKey(ip.TCP, ends.source, ends.source_port, ends.destination, ends.destination_port)
    return Answer(Who("tablet", None), key, sequence, end, stamps, (b"\3bet\7example\0",), BLOCK, False)


def sum_of(packet: bytes) -> int:
    """What the receiver adds up: 0 when the TCP checksum is right."""
    v4 = packet[0] >> 4 == 4
    source_and_destination = packet[12:20] if v4 else packet[8:40]
    segment = packet[20:] if v4 else packet[40:]
    return packets.checksum(source_and_destination + struct.pack(">II", len(segment), ip.TCP) + segment)


@pytest.mark.parametrize("v6", [False, True])
@given(
    size=st.sampled_from([1, 2, 1199, 1200, 1201, 5000, MAX_RESPONSE_BYTES]),
    sequence=st.sampled_from([5000, 0xFFFFFFF0, 0]),
    stamps=st.sampled_from([None, (7, 9), (0xFFFFFFFF, 0)]),
)
def test_segments(v6: bool, size: int, sequence: int, stamps: tuple[int, int] | None) -> None:
    response = bytes(index & 0xFF for index in range(size))
    answer = make_answer(v6, sequence, 0xFFFFFFFF, stamps)
    sent = list(build_reply(answer, response))
    taken = b""
    for number, data in enumerate(sent):
        packet = ip.read_packet(data)
        assert packet.end == len(data)
        assert (packet.source, packet.destination) == (answer.key.destination, answer.key.source)
        segment = ip.read_segment(data, packet.start, packet.end)
        assert (segment.source_port, segment.destination_port) == (80, 40_000)
        assert segment.sequence == sequence + len(taken) & 0xFFFFFFFF
        assert segment.acknowledgement == 0xFFFFFFFF
        assert (segment.timestamp, segment.echo) == (stamps or (ip.NO_TIMESTAMP, 0))
        assert bool(segment.flags & FIN) is (number == len(sent) - 1)
        assert len(data) - segment.payload <= SEGMENT_BYTES
        assert sum_of(data) == 0
        if not v6:
            assert packets.checksum(data[:20]) == 0
        taken += data[segment.payload :]
    assert taken == response


def test_a_page_fits_the_first_window() -> None:
    with pytest.raises(ValueError, match="one window"):
        list(build_reply(make_answer(), bytes(MAX_RESPONSE_BYTES + 1)))
    assert list(build_reply(make_answer(), b"")) == []


@given(st.binary(max_size=100))
def test_the_checksum(data: bytes) -> None:
    assert checksum(data) == packets.checksum(data)


# A real client, whose network is a file of ours

NAMESPACE = f"guardian-reply-{os.getpid()}"


@pytest.fixture
def namespace() -> Iterator[str]:
    run(f"ip netns add {NAMESPACE}")
    try:
        yield NAMESPACE
    finally:
        run(f"ip netns del {NAMESPACE}")


def fetch(v6: bool, response: bytes) -> bytes:
    """What a client gets that asks a server; the server is the engine's reply, but for the handshake."""
    ends = make_ends(80, 40_000, v6)
    tun = open_tun("fd00::2/128" if v6 else "10.0.0.2/32", "2001:db8::/32" if v6 else "192.0.2.0/24")
    client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
    client.settimeout(10)
    client.bind(("fd00::2" if v6 else "10.0.0.2", ends.source_port))
    client.setblocking(False)
    client.connect_ex(("2001:db8::1" if v6 else "192.0.2.1", 80))
    sent = False
    try:
        while select.select([tun], [], [], 10)[0]:
            data = os.read(tun, 65_536)
            if data[6 if v6 else 9] != ip.TCP:
                continue
            packet = ip.read_packet(data)
            segment = ip.read_segment(data, packet.start, packet.end)
            stamps = timestamps(700, segment.timestamp)
            if segment.flags & SYN:
                options = SYN_OPTIONS + stamps
                number = segment.sequence + 1 & 0xFFFFFFFF
                os.write(tun, build_tcp(ends.turned(), 4999, number, SYN | ACK, options=options))
            elif not sent and packet.end > segment.payload:
                end = segment.sequence + packet.end - segment.payload & 0xFFFFFFFF
                answer = make_answer(v6, segment.acknowledgement, end, (segment.echo, segment.timestamp))
                for each in build_reply(answer, response):
                    os.write(tun, each)
                client.settimeout(10)
                page = b""
                while piece := client.recv(65_536):
                    page += piece
                return page
            elif not sent and segment.flags & (ACK | PSH) == ACK:
                client.send(b"GET / HTTP/1.1\r\nHost: bet.example\r\n\r\n")
        raise AssertionError("the client went silent")
    finally:
        client.close()
        os.close(tun)


@NEEDS_TUN
@pytest.mark.parametrize("size", [100, 20_000, MAX_RESPONSE_BYTES])
@pytest.mark.parametrize("v6", [False, True])
def test_a_real_client_gets_the_page_and_the_end(namespace: str, v6: bool, size: int) -> None:
    response = bytes(index % 251 for index in range(size))
    assert inside(namespace, lambda: fetch(v6, response)) == response
