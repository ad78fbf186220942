"""QUIC's long headers, Initial keys and frames: the vectors of the RFCs, and packets that lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError
from guardian.filter.openssl import OpenSslCipher, load_cipher
from guardian.wire.quic import (
    HANDSHAKE,
    INITIAL,
    RETRY,
    VERSION_1,
    VERSION_2,
    ZERO_RTT,
    derive_client_keys,
    is_long_header,
    open_initial,
    read_crypto,
    read_long_header,
    resembles_quic,
)
from tests.wire.initials import V1, V2, CryptoFrame, build_other, make_keys, seal_initial, varint, vector

RFC_ID = bytes.fromhex("8394c8f03e515708")
# RFC 9001 appendix A.2, RFC 9369 appendix A.2: the CRYPTO frame in front of 917 bytes of PADDING
RFC_FRAME = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
)
RFC_STARTS = {  # header and the first bytes of ciphertext, which are the sample
    V1: "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
    V2: "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071",
}
RFC_TAG_1 = "e221af44860018ab0856972e194cd934"
RFC_KEYS = {
    V1: ("1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"),
    V2: ("8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"),
}
DESTINATION = b"destinat"
versions = st.sampled_from((V1, V2))


@pytest.fixture(scope="module")
def cipher() -> OpenSslCipher:
    cipher = load_cipher()
    if cipher is None:
        pytest.skip("no libcrypto on this machine")
    return cipher


def rfc_packet(version: int) -> bytes:
    packet = seal_initial(RFC_FRAME, RFC_ID, version=version, number=2, pad_to=1200)
    assert packet.startswith(bytes.fromhex(RFC_STARTS[version])), "the builder of the tests is not the RFC's"
    return packet


@pytest.mark.parametrize("version", [V1, V2])
def test_keys_are_those_of_the_rfc(version: int) -> None:
    assert tuple(part.hex() for part in derive_client_keys(version, RFC_ID)) == RFC_KEYS[version]


@given(versions, st.binary(max_size=20))
def test_keys_are_those_that_cryptography_derives(version: int, destination_id: bytes) -> None:
    assert derive_client_keys(version, destination_id) == make_keys(version, destination_id)


@pytest.mark.parametrize("version", [V1, V2])
def test_the_initial_of_the_rfc_opens(version: int, cipher: OpenSslCipher) -> None:
    datagram = rfc_packet(version)
    if version == V1:
        assert datagram[-16:].hex() == RFC_TAG_1
    header = read_long_header(datagram, 0)
    assert header is not None
    assert header == (version, INITIAL, RFC_ID, b"", 18, 1200)
    opened = open_initial(datagram, 0, header, derive_client_keys(version, RFC_ID), cipher)
    assert opened is not None
    assert opened == (2, RFC_FRAME.ljust(1162, b"\0"))
    assert read_crypto(opened.plaintext) == [(0, RFC_FRAME[4:])]


def test_the_known_versions_are_1_and_2() -> None:
    assert (VERSION_1, VERSION_2) == (V1, V2)


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize(("kind", "number"), [("0rtt", ZERO_RTT), ("handshake", HANDSHAKE), ("retry", RETRY)])
def test_kinds_of_both_versions(version: int, kind: str, number: int) -> None:
    packet = build_other(kind, DESTINATION, version=version)
    header = read_long_header(b"before" + packet + b"behind", 6)
    assert header is not None
    assert header.kind == number
    assert header.destination_id == DESTINATION
    assert header.end == (len(packet) + 12 if kind == "retry" else len(packet) + 6)


@given(versions, st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=100), st.sampled_from((2, 4, 8)))
def test_a_header_tells_its_parts_wherever_it_starts(
    version: int, destination_id: bytes, source_id: bytes, token: bytes, length_bytes: int
) -> None:
    packet = seal_initial(
        b"\1", destination_id, version=version, source_id=source_id, token=token, length_bytes=length_bytes
    )
    header = read_long_header(b"xyz" + packet + b"behind", 3)
    assert header is not None
    assert header[:4] == (version, INITIAL, destination_id, source_id)
    assert header.end == 3 + len(packet)


def test_a_cleared_fixed_bit_hides_nothing(cipher: OpenSslCipher) -> None:
    """A server that greases the bit (RFC 9287) takes such a packet."""
    packet = seal_initial(CryptoFrame(0, b"hello").build(), DESTINATION, first_bits=0x80)
    header = read_long_header(packet, 0)
    assert header is not None
    opened = open_initial(packet, 0, header, derive_client_keys(V1, DESTINATION), cipher)
    assert opened is not None
    assert read_crypto(opened.plaintext) == [(0, b"hello")]


@pytest.mark.parametrize("version", [0, 2, 0xFF00001D, 0x51303530, 0x0A0A0A0A])
def test_other_versions_are_not_read(version: int) -> None:
    packet = rfc_packet(V1)
    assert read_long_header(packet[:1] + version.to_bytes(4) + packet[5:], 0) is None


def test_a_packet_cut_short_is_malformed() -> None:
    packet = rfc_packet(V1)
    for size in range(1, 5):
        assert read_long_header(packet[:size], 0) is None, "no version to be seen"
    for size in range(5, len(packet)):
        with pytest.raises(FormError):
            read_long_header(packet[:size], 0)


@pytest.mark.parametrize(
    "head",
    [vector(bytes(21)) + vector(b""), vector(b"") + vector(bytes(21)), vector(bytes(255)) + vector(b"")],
)
def test_ids_are_at_most_20_bytes(head: bytes) -> None:
    with pytest.raises(FormError, match="too long"):
        read_long_header(b"\xc0\0\0\0\1" + head + b"\0\x40\x64" + bytes(300), 0)


@pytest.mark.parametrize("tail", [b"\xff" * 8, b"\0\xff" + b"\xff" * 7, b"\x40\xff\x41\x00"])
def test_lengths_beyond_the_datagram_are_malformed(tail: bytes) -> None:
    with pytest.raises(FormError):
        read_long_header(b"\xc0\0\0\0\1" + vector(DESTINATION) + vector(b"") + tail + bytes(200), 0)


@pytest.mark.parametrize(("number_bytes", "number"), [(1, 0), (1, 255), (2, 65535), (3, 1 << 20), (4, (1 << 32) - 1)])
@pytest.mark.parametrize("version", [V1, V2])
def test_first_packet_numbers_of_any_size(version: int, number_bytes: int, number: int, cipher: OpenSslCipher) -> None:
    packet = seal_initial(b"\1" * 9, DESTINATION, version=version, number=number, number_bytes=number_bytes)
    header = read_long_header(packet, 0)
    assert header is not None
    largest = -1 if number < 1 << (8 * number_bytes - 1) else number - 1
    opened = open_initial(packet, 0, header, derive_client_keys(version, DESTINATION), cipher, largest)
    assert opened == (number, b"\1" * 9)


@given(st.integers(0, (1 << 62) - 300), st.integers(1, 4), st.data())
def test_a_number_is_restored_near_the_largest_seen(largest: int, number_bytes: int, data: st.DataObject) -> None:
    """RFC 9000 appendix A.3: anything within half a window of what is expected."""
    half = 1 << 8 * number_bytes - 1
    number = data.draw(st.integers(max(largest + 2 - half, 0), min(largest + half, (1 << 62) - 1)))
    packet = seal_initial(b"\1" * 9, DESTINATION, number=number, number_bytes=number_bytes)
    header = read_long_header(packet, 0)
    cipher = load_cipher()
    assert header is not None
    assert cipher is not None
    opened = open_initial(packet, 0, header, derive_client_keys(V1, DESTINATION), cipher, largest)
    assert opened is not None
    assert opened.number == number


def test_the_example_of_a_restored_number(cipher: OpenSslCipher) -> None:
    packet = seal_initial(b"\1" * 9, DESTINATION, number=0xA82F9B32, number_bytes=2)
    header = read_long_header(packet, 0)
    assert header is not None
    opened = open_initial(packet, 0, header, derive_client_keys(V1, DESTINATION), cipher, 0xA82F30EA)
    assert opened is not None
    assert opened.number == 0xA82F9B32


@given(st.data())
def test_a_changed_packet_does_not_open(data: st.DataObject) -> None:
    packet = bytearray(rfc_packet(V1))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    cipher = load_cipher()
    assert cipher is not None
    try:
        header = read_long_header(bytes(packet), 0)
    except FormError:
        return
    if header is not None:
        assert open_initial(bytes(packet), 0, header, derive_client_keys(V1, RFC_ID), cipher) is None


def test_a_packet_without_a_sample_does_not_open(cipher: OpenSslCipher) -> None:
    for size in range(20):
        packet = b"\xc0\0\0\0\1" + vector(DESTINATION) + vector(b"") + b"\0" + varint(size) + bytes(size)
        header = read_long_header(packet, 0)
        assert header is not None
        assert open_initial(packet, 0, header, derive_client_keys(V1, DESTINATION), cipher) is None


def test_long_headers_have_the_high_bit() -> None:
    assert [is_long_header(first) for first in (0x00, 0x40, 0x7F, 0x80, 0xC0, 0xFF)] == [False] * 3 + [True] * 3


def pad(head: bytes, size: int = 1200) -> bytes:
    return head.ljust(size, b"\x55")


IDS = vector(DESTINATION) + vector(b"")


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(pad(b"\xc0\xff\0\0\x1d" + IDS, 60), True, id="draft 29, however short"),
        pytest.param(pad(b"\xc0Q050" + IDS, 60), True, id="Google QUIC"),
        pytest.param(pad(b"\xc0T051" + IDS, 60), True, id="Google QUIC with TLS"),
        pytest.param(pad(b"\xc0\xfa\xce\xb0\2" + IDS, 60), True, id="Meta's mvfst"),
        pytest.param(pad(b"\x80\x1a\x2a\x3a\x4a" + IDS, 60), True, id="a version that forces negotiation"),
        pytest.param(pad(b"\xc0\0\0\0\3" + IDS), True, id="a version to come"),
        pytest.param(pad(b"\xc0\0\0\0\3" + IDS, 1199), False, id="in a datagram that no server would take"),
        pytest.param(pad(b"\x80\0\0\0\3" + IDS), False, id="without fixed bit"),
        pytest.param(pad(b"\xc0\0\0\0\3" + vector(bytes(21)) + vector(b"")), False, id="with too long an id"),
        pytest.param(pad(b"\xc0\0\0\0\3" + vector(b"") + vector(bytes(21))), False, id="with too long a source id"),
        pytest.param(pad(b"\xc0\0\0\0\0" + IDS), False, id="version negotiation"),
        pytest.param(b"\xff\xff\xff\xffTSource Engine Query\0", False, id="a game's query"),
        pytest.param(pad(b"\x80\x60\x12\x34\0\1\2\3", 172), False, id="RTP"),
        pytest.param(pad(b"\x90\x7f\x12\x34\0\1\2\3"), False, id="RTP of a whole packet"),
        pytest.param(b"\xc0\xff\0\0", False, id="without a whole version"),
    ],
)
def test_what_resembles_quic(packet: bytes, expected: bool) -> None:
    assert resembles_quic(packet, 0) is expected


def test_a_coalesced_packet_counts_with_its_datagram() -> None:
    assert resembles_quic(bytes(1100) + b"\xc0\0\0\0\3" + IDS + bytes(90), 1100)


def build_ack(ranges: int, ecn: bool = False) -> bytes:
    kind, counts = (b"\3", b"\1\2\3") if ecn else (b"\2", b"")
    return kind + varint(900) + varint(7) + varint(ranges) + varint(3) + b"\1\2" * ranges + counts


CLOSE = b"\x1c" + varint(0x128) + varint(6) + varint(5) + b"sorry"


@pytest.mark.parametrize(
    "between",
    [b"", b"\1", b"\0", b"\0" * 700, b"\0\1" * 20, build_ack(0), build_ack(5), build_ack(2, ecn=True), CLOSE],
    ids=lambda between: f"{between[:1].hex()}x{len(between)}",
)
def test_crypto_frames_among_all_that_an_initial_may_hold(between: bytes) -> None:
    frames = [CryptoFrame(100, b"b" * 70), CryptoFrame(0, b"a" * 100), CryptoFrame(20_000, b""), CryptoFrame(5, b"\0")]
    plaintext = between + b"".join(frame.build() + between for frame in frames)
    assert read_crypto(plaintext) == frames


@given(st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=30), st.sampled_from((2, 4, 8))), max_size=8))
def test_integers_need_not_be_short(frames: list[tuple[int, bytes, int]]) -> None:
    plaintext = b"".join(
        varint(6, size) + varint(offset, size) + varint(len(data), size) + data for offset, data, size in frames
    )
    assert read_crypto(plaintext) == [(offset, data) for offset, data, _ in frames]


@pytest.mark.parametrize("kind", sorted(set(range(0x32)) - {0x00, 0x01, 0x02, 0x03, 0x06, 0x1C}))
def test_other_frames_are_malformed(kind: int) -> None:
    with pytest.raises(FormError, match="may not hold"):
        read_crypto(varint(kind) + bytes(40))


@pytest.mark.parametrize(
    "frame", [CryptoFrame(70, b"hello" * 20).build(), build_ack(3), build_ack(0, ecn=True), CLOSE], ids=len
)
def test_frames_cut_short_are_malformed(frame: bytes) -> None:
    read_crypto(frame)
    for size in range(1, len(frame)):
        with pytest.raises(FormError):
            read_crypto(frame[:size])


def test_an_ack_of_a_billion_ranges_is_refused_at_once() -> None:
    with pytest.raises(FormError, match="truncated ACK"):
        read_crypto(b"\2\1\1" + varint((1 << 62) - 1) + b"\1" * 1100)


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_malformed(plaintext: bytes) -> None:
    try:
        frames = read_crypto(plaintext)
    except FormError:
        return
    assert sum(len(data) for _, data in frames) <= len(plaintext)


@given(st.binary(max_size=60), st.integers(0, 20))
def test_any_bytes_are_a_header_or_malformed(data: bytes, start: int) -> None:
    for version in (V1, V2):
        datagram = bytes(start) + b"\xc0" + version.to_bytes(4) + data
        try:
            header = read_long_header(datagram, start)
        except FormError:
            continue
        assert header is not None
        assert start < header.packet_number_offset <= header.end <= len(datagram)
        resembles_quic(datagram, start)
