"""One UDP flow of QUIC: real clients (aioquic), Chrome's shuffled frames, and those who want to hide a name."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import trustme
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted
from aioquic.quic.packet import encode_quic_retry, pull_quic_header
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.filter.openssl import OpenSslCipher, load_cipher
from guardian.filter.quic import (
    MAX_CONNECTIONS,
    MAX_OPAQUE,
    MAX_PACKETS,
    MAX_PENDING,
    QuicFlow,
    Reading,
    State,
)
from guardian.wire.quic import is_long_header
from tests.wire.hellos import build_hello
from tests.wire.initials import (
    PING,
    V1,
    V2,
    CryptoFrame,
    build_datagrams,
    build_other,
    seal_initial,
    split_hello,
    varint,
    vector,
)

FIRST, SECOND, SERVER = b"first-id", b"secondid", b"server-chosen-id"
HELLO = build_hello("www.example.com", alpn=["h3"])
LARGE = build_hello("www.example.com", post_quantum=True, grease=True, ech=True, alpn=["h3"])
EVIL = build_hello("bad.example.com", alpn=["h3"])
NAME, EVIL_NAME = b"\3www\7example\3com\0", b"\3bad\7example\3com\0"
loaded = load_cipher()
if loaded is None:
    pytest.skip("no libcrypto on this machine", allow_module_level=True)
CIPHER: OpenSslCipher = loaded


def read_all(flow: QuicFlow, datagrams: Sequence[bytes]) -> list[Reading]:
    return [flow.read(datagram) for datagram in datagrams]


def names(readings: Sequence[Reading]) -> list[bytes | None]:
    return [hello.name for reading in readings for hello in reading.hellos]


def states(readings: Sequence[Reading]) -> list[State]:
    return [reading.state for reading in readings]


def seal(frames: Sequence[CryptoFrame], identity: bytes = FIRST, number: int = 0) -> bytes:
    return seal_initial(b"".join(frame.build() for frame in frames), identity, pad_to=1200, number=number)


# Honest clients


@pytest.mark.parametrize("version", [V1, V2])
def test_a_small_hello_is_whole_in_one_datagram(version: int) -> None:
    flow = QuicFlow(CIPHER)
    reading = flow.read(build_datagrams(HELLO, FIRST, version=version)[0])
    assert reading.state is flow.state
    assert reading.state is State.WHOLE
    assert (reading.hellos[0].name, reading.hellos[0].alpn) == (NAME, (b"h3",))
    assert not reading.is_opaque


@pytest.mark.parametrize("version", [V1, V2])
def test_a_large_hello_is_whole_with_its_second_datagram(version: int) -> None:
    readings = read_all(QuicFlow(CIPHER), build_datagrams(LARGE, FIRST, version=version))
    assert states(readings) == [State.PENDING, State.WHOLE]
    assert names(readings) == [NAME]


@pytest.mark.parametrize("seed", range(30))
def test_frames_shuffled_as_chrome_does_it(seed: int) -> None:
    datagrams = build_datagrams(LARGE, FIRST, chaos=Random(seed))
    assert len(datagrams) == 2
    for order in (datagrams, datagrams[::-1]):
        readings = read_all(QuicFlow(CIPHER), order)
        assert states(readings) == [State.PENDING, State.WHOLE]
        assert names(readings) == [NAME]


@given(st.integers(0, 2**32), st.sampled_from((HELLO, LARGE)))
@settings(max_examples=60)
def test_any_split_order_and_overlap_gives_the_hello_once(seed: int, hello: bytes) -> None:
    random = Random(seed)
    cuts = sorted(random.choices(range(len(hello) + 1), k=random.randrange(20)))
    frames = []
    for begin, end in zip([0, *cuts], [*cuts, len(hello)], strict=True):
        begin, end = max(0, begin - random.randrange(9)), min(len(hello), end + random.randrange(9))
        frames += [CryptoFrame(begin, hello[begin:end])] * random.choice((1, 1, 1, 2))
    random.shuffle(frames)
    readings, flow = [], QuicFlow(CIPHER)
    for number, frame in enumerate(frames):
        readings.append(flow.read(seal_initial(frame.build(), FIRST, number=number)))
    assert names(readings) == [NAME]
    assert flow.state is State.WHOLE


def test_a_retransmission_changes_nothing() -> None:
    flow = QuicFlow(CIPHER)
    datagrams = build_datagrams(LARGE, FIRST)
    read_all(flow, datagrams)
    readings = read_all(flow, [*datagrams, *build_datagrams(LARGE, FIRST, chaos=Random(3), number=2)])
    assert not names(readings)
    assert set(states(readings)) == {State.WHOLE}


def test_the_second_flight_goes_to_the_id_of_the_server() -> None:
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST))
    ack = b"\2" + varint(0) + varint(0) + varint(0) + varint(0)
    flight = seal_initial(ack, SERVER, key_id=FIRST, number=1) + build_other("handshake", SERVER)
    assert flow.read(flight.ljust(1200, b"\0")) == ((), State.WHOLE, False)
    assert flow.read(b"\x41" + bytes(40)) == ((), State.WHOLE, False)


def test_a_number_of_one_byte_after_larger_ones() -> None:
    """Firefox starts at a number by chance; what the server has acknowledged makes the next ones short."""
    flow = QuicFlow(CIPHER)
    flow.read(seal_initial(CryptoFrame(0, HELLO).build(), FIRST, number=255, number_bytes=2, pad_to=1200))
    reading = flow.read(seal_initial(PING, SERVER, key_id=FIRST, number=258, number_bytes=1, pad_to=1200))
    assert reading == ((), State.WHOLE, False)


def test_after_a_retry_the_hello_comes_again_under_the_id_of_the_server() -> None:
    flow = QuicFlow(CIPHER)
    readings = read_all(flow, build_datagrams(LARGE, FIRST))
    readings += read_all(flow, build_datagrams(LARGE, SERVER, token=b"token" * 12, number=2))
    assert states(readings) == [State.PENDING, State.WHOLE, State.WHOLE, State.WHOLE]
    assert names(readings) == [NAME, NAME]


def test_a_retry_may_end_an_attempt_half_way() -> None:
    """The second datagram of the first attempt was lost in the home's Wi-Fi."""
    for chaos in (None, Random(5)):
        flow = QuicFlow(CIPHER)
        read_all(flow, build_datagrams(LARGE, FIRST, chaos=chaos)[:1])
        readings = read_all(flow, build_datagrams(LARGE, SERVER, token=b"token", number=2))
        assert states(readings) == [State.PENDING, State.WHOLE]


def test_a_server_may_go_on_in_version_2() -> None:
    """Compatible version negotiation (RFC 9368): version 2, with keys from the id of the first, version 1, Initial."""
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(LARGE, FIRST)[:1])
    rest = CryptoFrame(1000, LARGE[1000:]).build()
    reading = flow.read(seal_initial(rest, SERVER, key_id=FIRST, version=V2, number=1, pad_to=1200))
    assert (names([reading]), reading.state) == ([NAME], State.WHOLE)


def test_a_second_hello_after_a_hello_retry_request_is_read_too() -> None:
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST))
    frames = split_hello(EVIL, [100], start=len(HELLO))
    readings = [
        flow.read(seal_initial(frame.build(), SERVER, key_id=FIRST, number=4 + number, pad_to=1200))
        for number, frame in enumerate(frames)
    ]
    assert states(readings) == [State.PENDING, State.WHOLE]
    assert names(readings) == [EVIL_NAME]


def test_early_data_may_overtake_the_hello() -> None:
    flow = QuicFlow(CIPHER)
    assert flow.read(build_other("0rtt", FIRST)) == ((), State.PENDING, False)
    readings = read_all(flow, build_datagrams(HELLO, FIRST))
    assert (names(readings), flow.state) == ([NAME], State.WHOLE)


def test_early_data_in_the_datagram_of_the_hello() -> None:
    flow = QuicFlow(CIPHER)
    datagram = seal_initial(CryptoFrame(0, HELLO).build(), FIRST) + build_other("0rtt", FIRST, bytes(700))
    assert names([flow.read(datagram)]) == [NAME]
    assert flow.state is State.WHOLE


def test_a_hello_in_two_packets_of_one_datagram() -> None:
    flow = QuicFlow(CIPHER)
    head, tail = split_hello(HELLO, [100])
    datagram = seal_initial(tail.build(), FIRST) + seal_initial(head.build(), FIRST, number=1, pad_to=700)
    assert names([flow.read(datagram)]) == [NAME]


def test_a_new_connection_on_the_same_port() -> None:
    flow = QuicFlow(CIPHER)
    readings = read_all(flow, build_datagrams(HELLO, FIRST))
    readings += read_all(flow, build_datagrams(LARGE, SECOND))
    assert states(readings) == [State.WHOLE, State.PENDING, State.WHOLE]
    assert names(readings) == [NAME, NAME]


# aioquic, a real client and a real server, in memory


class Server:
    """Answers in memory what a client sends; with `retry`, only after the client has shown a token."""

    def __init__(self, folder: Path, versions: list[int], retry: bool) -> None:
        issued = trustme.CA().issue_cert("www.example.com")
        for name, blob in (("key.pem", issued.private_key_pem), ("cert.pem", issued.cert_chain_pems[0])):
            blob.write_to_path(str(folder / name))
        self.configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], supported_versions=versions)
        self.configuration.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
        self.retry = retry
        self.connection: QuicConnection | None = None

    def answer(self, datagram: bytes, now: float) -> list[bytes]:
        if self.connection is None:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=8)
            assert header.version is not None
            if self.retry and not header.token:
                self.original = header.destination_cid
                retry = encode_quic_retry(header.version, SERVER[:8], header.source_cid, self.original, b"a token")
                return [retry]
            self.connection = QuicConnection(
                configuration=self.configuration,
                original_destination_connection_id=self.original if self.retry else header.destination_cid,
                retry_source_connection_id=SERVER[:8] if self.retry else None,
            )
        self.connection.receive_datagram(datagram, ("10.0.0.2", 4433), now)
        return [data for data, _ in self.connection.datagrams_to_send(now)]


def talk(client: QuicConnection, server: Server) -> list[bytes]:
    """What the client sends, datagram by datagram, until the handshake is done and a page was asked for."""
    sent: list[bytes] = []
    client.connect(("10.0.0.1", 443), now=0.0)
    asked = False
    for step in range(20):
        now = 0.01 * step
        datagrams = [data for data, _ in client.datagrams_to_send(now)]
        sent += datagrams
        for answer in [answer for data in datagrams for answer in server.answer(data, now)]:
            client.receive_datagram(answer, ("10.0.0.1", 443), now)
        while event := client.next_event():
            if isinstance(event, HandshakeCompleted) and not asked:
                client.send_stream_data(0, b"GET /\r\n", end_stream=True)
                asked = True
    assert asked, "the handshake was not completed"
    return sent


@pytest.mark.parametrize("retry", [False, True], ids=["at once", "retry"])
@pytest.mark.parametrize("protocols", [1, 150], ids=["small", "large"])
@pytest.mark.parametrize(
    ("first", "offered", "served"),
    [
        pytest.param(V1, [V1], [V1], id="version 1"),
        pytest.param(V2, [V2], [V2], id="version 2"),
        pytest.param(V1, [V2, V1], [V2, V1], id="from 1 to 2"),
        pytest.param(V2, [V1, V2], [V1, V2], id="from 2 to 1"),
    ],
)
def test_a_handshake_of_aioquic(
    first: int, offered: list[int], served: list[int], protocols: int, retry: bool, tmp_path: Path
) -> None:
    configuration = QuicConfiguration(
        alpn_protocols=["h3", *(f"protocol-{number}" for number in range(1, protocols))],
        server_name="www.example.com",
        supported_versions=offered,
        original_version=first,
        verify_mode=ssl.CERT_NONE,
    )
    datagrams = talk(QuicConnection(configuration=configuration), Server(tmp_path, served, retry))
    flow = QuicFlow(CIPHER)
    readings = read_all(flow, datagrams)
    assert set(names(readings)) == {NAME}
    assert len(names(readings)) == 1 + retry
    assert flow.state is State.WHOLE
    assert not any(reading.is_opaque for reading in readings)
    last = max(number for number, reading in enumerate(readings) if reading.hellos)
    assert set(states(readings[last:])) == {State.WHOLE}
    assert (State.PENDING in states(readings[:last])) is (protocols > 1)
    assert any(not is_long_header(datagram[0]) for datagram in datagrams), "the flow got as far as 1-RTT packets"
    if len(offered) > 1:
        versions = {datagram[1:5] for datagram in datagrams if is_long_header(datagram[0])}
        assert versions == {version.to_bytes(4) for version in offered}


# Not QUIC


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(bytes.fromhex("000100002112a442") + bytes(12), id="STUN"),
        pytest.param(bytes.fromhex("16fefd0000000000000000") + bytes(100), id="DTLS 1.2"),
        pytest.param(bytes.fromhex("2f00000000") + bytes(60), id="DTLS 1.3"),
        pytest.param(bytes.fromhex("40000010") + bytes(60), id="TURN channel, or a QUIC connection that moved here"),
        pytest.param(bytes.fromhex("8060123400010203deadbeef") + bytes(160), id="RTP"),
        pytest.param(bytes.fromhex("80c8000600000001") + bytes(20), id="RTCP"),
        pytest.param(bytes.fromhex("01000000") + bytes(144), id="WireGuard"),
        pytest.param(bytes.fromhex("38aabbccddeeff0011000000") + bytes(30), id="OpenVPN"),
        pytest.param(bytes.fromhex("ffffffff54") + b"Source Engine Query\0", id="a game's query"),
        pytest.param(b"d1:ad2:id20:" + bytes(20), id="BitTorrent"),
        pytest.param(bytes.fromhex("1234010000010000000000000377777707") + bytes(20), id="DNS"),
        pytest.param(bytes.fromhex("e3000000") + bytes(44), id="NTP"),
        pytest.param(b"\xc0", id="one byte"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_other_protocols_are_foreign(datagram: bytes) -> None:
    flow = QuicFlow(CIPHER)
    for _ in range(3):
        assert flow.read(datagram) == ((), State.FOREIGN, False)


def test_a_hello_behind_foreign_packets_is_read() -> None:
    flow = QuicFlow(CIPHER)
    flow.read(bytes.fromhex("000100002112a442") + bytes(12))
    readings = read_all(flow, build_datagrams(EVIL, FIRST))
    assert (names(readings), flow.state) == ([EVIL_NAME], State.WHOLE)


# Those who hide a name


def test_a_decoy_with_another_id_does_not_hide_the_hello() -> None:
    flow = QuicFlow(CIPHER)
    readings = read_all(flow, build_datagrams(HELLO, FIRST) + build_datagrams(EVIL, SECOND))
    assert names(readings) == [NAME, EVIL_NAME]


def test_decoy_and_hello_coalesced() -> None:
    decoy = seal_initial(CryptoFrame(0, HELLO).build(), FIRST)
    reading = QuicFlow(CIPHER).read(decoy + seal_initial(CryptoFrame(0, EVIL).build(), SECOND, pad_to=800))
    assert names([reading]) == [NAME, EVIL_NAME]


def test_a_half_hello_keeps_a_flow_with_a_whole_one_pending() -> None:
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST))
    head, tail = split_hello(EVIL, [200])
    assert flow.read(seal([head], SECOND)).state is State.PENDING
    assert names([flow.read(seal([tail], SECOND, number=1))]) == [EVIL_NAME]


@pytest.mark.parametrize("offset", [0, 1, 40, 120, len(HELLO) - 1])
@pytest.mark.parametrize("late", [False, True])
def test_another_byte_at_a_seen_offset_ends_it(offset: int, late: bool) -> None:
    flow = QuicFlow(CIPHER)
    flow.read(seal([CryptoFrame(0, HELLO if late else HELLO[:-1] + b"x")]))
    other = bytes((HELLO[offset] ^ 1,)) if offset < len(HELLO) - 1 else b"y"
    reading = flow.read(seal([CryptoFrame(offset, other)], number=1))
    assert reading == ((), State.UNREADABLE, False)
    assert "other bytes" in flow.reason


@given(st.integers(0, 2**32))
@settings(max_examples=60)
def test_overlaps_that_differ_are_seen_in_any_order(seed: int) -> None:
    random = Random(seed)
    flow = QuicFlow(CIPHER)
    where = random.randrange(20, len(LARGE) - 20)
    frames = [
        CryptoFrame(begin, LARGE[begin : begin + 300]) for begin in range(0, len(LARGE), random.choice((150, 250, 290)))
    ]
    frames = [frame for frame in frames if frame.data]
    frames.append(
        CryptoFrame(where - 5, LARGE[where - 5 : where] + bytes((LARGE[where] ^ 0x80,)) + LARGE[where + 1 : where + 9])
    )
    random.shuffle(frames)
    readings = [flow.read(seal([frame], number=number)) for number, frame in enumerate(frames)]
    assert readings[-1].state is State.UNREADABLE


def test_the_same_connection_in_the_other_version_is_the_same_connection() -> None:
    """A decoy in version 2 under the same id, and the server takes version 1."""
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST, version=V2))
    assert flow.read(build_datagrams(EVIL, FIRST)[0]).state is State.UNREADABLE


@pytest.mark.parametrize("other", ["handshake", "retry", "short"])
def test_what_follows_a_hello_that_was_not_seen_ends_it(other: str) -> None:
    """The rest of the hello went to the server by another port."""
    flow = QuicFlow(CIPHER)
    assert flow.read(seal(split_hello(EVIL, [150])[:1])).state is State.PENDING
    packet = b"\x41" + bytes(60) if other == "short" else build_other(other, SERVER)
    assert flow.read(packet).state is State.UNREADABLE
    assert "not seen" in flow.reason


@pytest.mark.parametrize(
    "data",
    [b"\x41" + bytes(60), build_other("handshake", SERVER), seal_initial(PING, FIRST, number=9) + b"\x41" + bytes(60)],
)
def test_data_is_held_back_while_another_hello_is_half(data: bytes) -> None:
    """A decoy is whole; the rest of the other hello went to the server by another port."""
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST))
    assert not flow.read(data).is_opaque
    head, tail = split_hello(EVIL, [150])
    assert flow.read(seal([head], SECOND)) == ((), State.PENDING, False)
    assert flow.read(data) == ((), State.PENDING, True)
    assert flow.read(seal([tail], SECOND, number=1)).state is State.WHOLE
    assert flow.read(data) == ((), State.WHOLE, False)


@pytest.mark.parametrize("other", ["handshake", "retry"])
def test_a_flow_that_starts_behind_its_hello_is_unreadable(other: str) -> None:
    assert QuicFlow(CIPHER).read(build_other(other, SERVER)).state is State.UNREADABLE


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        pytest.param(b"\xc0\xff\0\0\x1d" + build_datagrams(HELLO, FIRST)[0][5:], "unknown", id="draft 29"),
        pytest.param(b"\xc0Q050" + build_datagrams(HELLO, FIRST)[0][5:], "unknown", id="Google QUIC"),
        pytest.param(b"\xc0\0\0\0\7" + build_datagrams(HELLO, FIRST)[0][5:], "unknown", id="a version to come"),
        pytest.param(b"\xc0\0\0\0\1" + vector(bytes(21)) + bytes(1200), "too long", id="a long id"),
        pytest.param(build_datagrams(HELLO, FIRST)[0][:-1], "longer", id="cut short"),
        pytest.param(build_datagrams(HELLO, FIRST)[0][:-1] + b"\0", "does not open", id="a wrong tag"),
        pytest.param(seal_initial(PING, SERVER, key_id=FIRST, pad_to=1200), "does not open", id="keys of another id"),
        pytest.param(seal_initial(b"\x08", FIRST, pad_to=1200), "may not hold", id="a STREAM frame"),
        pytest.param(seal([CryptoFrame(0, b"\2" + HELLO[1:])]), "ClientHello", id="a ServerHello"),
        pytest.param(seal([CryptoFrame(0, b"\1\1\0\0")]), "too long", id="a hello of 64 KB"),
        pytest.param(seal([CryptoFrame(16_384, b"x")]), "too long", id="a byte far away"),
        pytest.param(seal([CryptoFrame((1 << 62) - 1, b"")]), "too long", id="nothing, further away"),
        pytest.param(seal([CryptoFrame(0, HELLO + b"\x14\0\0")]), "ClientHello", id="bytes behind the hello"),
        pytest.param(
            build_datagrams(HELLO, FIRST)[0] + bytes.fromhex("c0ff00001d") + bytes(99), "unknown", id="coalesced"
        ),
        pytest.param(build_other("0rtt", FIRST) * (MAX_PACKETS + 1), "too many", id="many packets"),
        pytest.param(build_datagrams(HELLO, FIRST)[0] + bytes(16_000), "too many", id="a huge datagram"),
    ],
)
def test_what_cannot_be_read_is_unreadable_for_good(datagram: bytes, reason: str) -> None:
    flow = QuicFlow(CIPHER)
    assert flow.read(datagram) == ((), State.UNREADABLE, False)
    assert reason in flow.reason
    assert flow.read(build_datagrams(HELLO, FIRST)[0]) == ((), State.UNREADABLE, False)


def test_what_nothing_opens_is_not_to_be_let_through_and_ends_a_flow_in_time() -> None:
    flow = QuicFlow(CIPHER)
    read_all(flow, build_datagrams(HELLO, FIRST))
    strange = seal_initial(PING, SERVER, key_id=SECOND, pad_to=1200)
    for _ in range(MAX_OPAQUE):
        assert flow.read(strange) == ((), State.WHOLE, True)
    assert flow.read(build_datagrams(HELLO, FIRST)[0]) == ((), State.WHOLE, False)
    assert flow.read(strange).state is State.UNREADABLE


def test_a_wrong_tag_under_a_known_id_is_opaque() -> None:
    flow = QuicFlow(CIPHER)
    datagram = build_datagrams(HELLO, FIRST)[0]
    flow.read(datagram)
    assert flow.read(datagram[:-1] + bytes((datagram[-1] ^ 1,))) == ((), State.WHOLE, True)


def test_many_connections_end_a_flow() -> None:
    flow = QuicFlow(CIPHER)
    for number in range(MAX_CONNECTIONS):
        assert flow.read(build_datagrams(HELLO, b"identity%d" % number)[0]).state is State.WHOLE
    assert flow.read(build_datagrams(HELLO, b"one too many")[0]).state is State.UNREADABLE


def test_many_bytes_end_a_flow() -> None:
    flow = QuicFlow(CIPHER)
    far = CryptoFrame(16_000, bytes(300))
    assert flow.read(seal([far], FIRST)).state is State.PENDING
    assert flow.read(seal([far], SECOND)).state is State.PENDING
    assert flow.read(seal([far], b"third-id")).state is State.UNREADABLE


def test_a_hello_that_does_not_end_ends_a_flow() -> None:
    flow = QuicFlow(CIPHER)
    datagrams = [seal([CryptoFrame(0, HELLO[: 1 + number])], number=number) for number in range(MAX_PENDING + 1)]
    assert set(states(read_all(flow, datagrams[:-1]))) == {State.PENDING}
    assert flow.read(datagrams[-1]).state is State.UNREADABLE


def test_a_connection_that_shows_nothing_does_not_hide_one_that_does() -> None:
    flow = QuicFlow(CIPHER)
    assert flow.read(seal([], FIRST)).state is State.PENDING
    readings = read_all(flow, build_datagrams(EVIL, SECOND))
    assert (names(readings), flow.state) == ([EVIL_NAME], State.WHOLE)
