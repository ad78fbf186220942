"""Headers of IPv4, IPv6, TCP and UDP: offsets as struct says, and FormError for everything else."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.wire import ip
from guardian.wire.ip import read_datagram, read_packet, read_segment
from tests.filter.packets import ACK, MD5, PSH, SYN, Connection, build_ip, build_tcp, build_udp, make_ends, timestamps

BOTH = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


@BOTH
@given(sequence=st.integers(0, 0xFFFFFFFF), acknowledgement=st.integers(0, 0xFFFFFFFF), payload=st.binary(max_size=40))
def test_a_segment(v6: bool, sequence: int, acknowledgement: int, payload: bytes) -> None:
    ends = make_ends(443, 1234, v6)
    data = build_tcp(ends, sequence, acknowledgement, ACK | PSH, payload, options=timestamps(7, 9)) + b"padding"
    packet = read_packet(data)
    assert (packet.source, packet.destination) == (ends.source, ends.destination)
    assert packet.key == ends.source + ends.destination + struct.pack(">HH", 1234, 443)
    assert packet.protocol == ip.TCP
    assert data[packet.end :] == b"padding"
    segment = read_segment(data, packet.start, packet.end)
    assert segment[:8] == (1234, 443, sequence, acknowledgement, ACK | PSH, 7, 9, False)
    assert data[segment.payload : packet.end] == payload


@BOTH
def test_a_datagram(v6: bool) -> None:
    ends = make_ends(53, 1234, v6)
    data = build_udp(ends, b"hello")
    packet = read_packet(data)
    assert packet.protocol == ip.UDP
    datagram = read_datagram(data, packet.start, packet.end)
    assert datagram[:2] == (1234, 53)
    assert data[datagram.payload : datagram.end] == b"hello"


@BOTH
def test_other_protocols_have_no_ports_in_their_key(v6: bool) -> None:
    ends = make_ends(v6=v6)
    packet = read_packet(build_ip(ends.source, ends.destination, 47, b"gre"))
    assert packet.key == ends.source + ends.destination
    assert packet.protocol == 47


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (timestamps(5, 6), (5, 6, False)),
        (b"\x08\x0a\0\0\0\5\0\0\0\6\0\0", (5, 6, False)),
        (b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\5\0\0\0\6\x01\x03\x03\x07", (5, 6, False)),
        (MD5, (ip.NO_TIMESTAMP, 0, True)),
        (b"\x1d\x10" + bytes(14), (ip.NO_TIMESTAMP, 0, True)),
        (MD5 + timestamps(5, 6), (5, 6, True)),
        (b"\0" + MD5[:19] + b"\1" * 4, (ip.NO_TIMESTAMP, 0, False)),  # behind the end of options
        (b"\x03\0\0\0" + timestamps(5, 6), (ip.NO_TIMESTAMP, 0, False)),  # up to the first lie
        (b"\x03\x40\0\0" + timestamps(5, 6), (ip.NO_TIMESTAMP, 0, False)),
        (b"\1\1\1\x08", (ip.NO_TIMESTAMP, 0, False)),
        (b"\x08\x09\0\0\0\0\0\0\0\0\0\0", (ip.NO_TIMESTAMP, 0, False)),
        (timestamps(5, 6) + timestamps(7, 8), (7, 8, False)),  # the last counts, as in Linux
    ],
)
def test_options_are_read_as_linux_reads_them(options: bytes, expected: tuple[int, int, bool]) -> None:
    data = build_tcp(make_ends(), 1, 2, ACK, b"x", options=options)
    packet = read_packet(data)
    segment = read_segment(data, packet.start, packet.end)
    assert (segment.timestamp, segment.echo, segment.is_signed) == expected
    assert data[segment.payload :] == b"x"


def patch(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


V4, V6 = Connection().syn(), Connection(v6=True).syn()


@pytest.mark.parametrize(
    "data",
    [
        b"", V4[:19], V6[:39], b"\x55" + bytes(40), patch(V4, 0, b"\x46"), patch(V4, 0, b"\x44"),
        patch(V4, 6, b"\x20\x00"), patch(V4, 6, b"\x00\x01"), patch(V4, 6, b"\x1f\xff"),  # fragments
        patch(V4, 2, b"\xff\xff"), patch(V4, 2, b"\x00\x13"), patch(V6, 4, b"\xff\xff"),
        *(patch(V6, 6, bytes((header,))) for header in (0, 43, 44, 60, 135, 139, 140)),
    ],
)  # fmt: skip
def test_what_no_home_device_sends(data: bytes) -> None:
    with pytest.raises(FormError):
        read_packet(data)


def test_a_packet_of_merged_segments_says_no_length() -> None:
    assert read_packet(patch(V4, 2, b"\0\0")).end == len(V4)
    assert read_packet(patch(V6, 4, b"\0\0")).end == len(V6)


@pytest.mark.parametrize("size", [*range(20), 0x0F])
def test_a_cut_segment(size: int) -> None:
    with pytest.raises(FormError):
        read_segment(V4, 20, 20 + size)


@pytest.mark.parametrize("offset", [0, 4, 0xF])
def test_a_lying_offset(offset: int) -> None:
    data = patch(build_tcp(make_ends(), 1, 2, SYN), 32, bytes((offset << 4,)))
    with pytest.raises(FormError):
        read_segment(data, 20, len(data))


@pytest.mark.parametrize("length", [1, 7, 14, 0xFFFF])
def test_a_lying_datagram(length: int) -> None:
    data = patch(build_udp(make_ends(), b"hello"), 24, length.to_bytes(2))
    with pytest.raises(FormError):
        read_datagram(data, 20, len(data))


def test_a_datagram_without_length_reaches_to_the_end() -> None:
    data = patch(build_udp(make_ends(), b"hello"), 24, b"\0\0")
    assert read_datagram(data, 20, len(data)).end == len(data)
    with pytest.raises(FormError):
        read_datagram(data, 20, 27)


@given(data=st.binary(max_size=120), head=st.sampled_from([b"", V4[:1], V6[:1], V4[:10], V6[:7]]))
def test_nothing_but_form_errors(data: bytes, head: bytes) -> None:
    data = head + data
    try:
        packet = read_packet(data)
        assert 20 <= packet.start <= packet.end <= len(data)
        for read in (read_segment, read_datagram):
            with contextlib.suppress(FormError):
                assert packet.start < read(data, packet.start, packet.end).payload <= packet.end
    except FormError:
        pass
