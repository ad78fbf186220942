"""What clients send in QUIC, mutated as datagrams and, before it is sealed, as frames.

Invariants: `QuicFlow.read` raises nothing; UNREADABLE is for good; the hellos are those that a plain model finds, byte
by byte; a datagram that was changed without its key shows no other name. By hand, for hours:
`python -m tests.fuzz.test_fuzz_quic --seconds 3600`.
"""

from __future__ import annotations

from random import Random

from guardian.errors import FormError
from guardian.filter.openssl import load_cipher
from guardian.filter.quic import MAX_STREAM_BYTES, QuicFlow, State
from guardian.wire.quic import LongHeader, is_long_header, read_crypto, read_long_header, resembles_quic
from guardian.wire.tls import ClientHello, parse_client_hello
from tests.fuzz.driver import fuzz, main, mutate_bytes
from tests.wire.hellos import build_hello
from tests.wire.initials import PING, V1, V2, CryptoFrame, build_datagrams, build_other, seal_initial, split_hello

FIRST, SECOND = b"first-id", b"secondid"
HELLO = build_hello("www.example.com", alpn=["h3"])
LARGE = build_hello("www.example.com", post_quantum=True, grease=True)
ACK = b"\2\0\0\0\0"
CIPHER = load_cipher()


def make_datagrams() -> list[bytes]:
    seeds = [bytes.fromhex("000100002112a442") + bytes(12), b"\xc0Q050" + bytes(60), b"\x41" + bytes(40)]
    for version in (V1, V2):
        seeds += build_datagrams(HELLO, FIRST, version=version)
        seeds += build_datagrams(LARGE, SECOND, version=version, chaos=Random(version))
        seeds += [build_other(kind, FIRST, version=version) for kind in ("0rtt", "handshake", "retry")]
        seeds.append(seal_initial(PING, b"server", key_id=FIRST, version=version, token=b"token", pad_to=300))
    seeds.append(seeds[3] + build_other("0rtt", FIRST))
    return seeds


def make_payloads() -> list[bytes]:
    random = Random(1)
    seeds = [
        CryptoFrame(0, HELLO).build(),
        ACK + CryptoFrame(0, HELLO).build() + bytes(30),
        CryptoFrame(0, LARGE).build(),
    ]
    for sizes in ([10, 50], [4, 4, 100, 7], [1] * 40):
        frames = split_hello(HELLO, sizes)
        seeds.append(b"".join(frame.build() for frame in frames))
        seeds.append(PING.join(frame.build() for frame in random.sample(frames, len(frames))))
        seeds.append(b"".join(frame.build() for frame in [*frames, frames[0], CryptoFrame(3, HELLO[3:90])]))
    seeds.append(CryptoFrame(0, HELLO + HELLO).build() + b"\x1c\0\0\3bye")
    return seeds


def check_datagram(data: bytes) -> None:
    """Alone, and behind a hello."""
    start = 0
    while start < len(data) and is_long_header(data[start]):
        try:
            header: LongHeader | None = read_long_header(data, start)
        except FormError:
            break
        resembles_quic(data, start)
        if header is None:
            break
        assert start + 6 < header.packet_number_offset <= header.end <= len(data)
        start = header.end
    assert CIPHER is not None
    for before in ([], build_datagrams(HELLO, FIRST), build_datagrams(LARGE, SECOND)[:1]):
        flow = QuicFlow(CIPHER)
        for datagram in before:
            flow.read(datagram)
        reading = flow.read(data)
        assert reading.state is flow.state
        assert (flow.state is State.UNREADABLE) is bool(flow.reason)
        assert all(hello.name == b"\3www\7example\3com\0" for hello in reading.hellos), "no key, no other name"
        if flow.state is State.UNREADABLE:
            assert flow.read(build_datagrams(HELLO, FIRST)[0]) == ((), State.UNREADABLE, False)


def model(payload: bytes) -> tuple[list[ClientHello], State]:
    """What a flow of this one Initial shows, by a map from offset to byte."""
    seen: dict[int, int] = {}
    hellos: list[ClientHello] = []
    try:
        for offset, piece in read_crypto(payload):
            if offset + len(piece) > MAX_STREAM_BYTES:
                return [], State.UNREADABLE
            for position, byte in enumerate(piece, offset):
                if seen.setdefault(position, byte) != byte:
                    return [], State.UNREADABLE
        known = bytes(seen[position] for position in range(next(i for i in range(len(seen) + 1) if i not in seen)))
        rest = known
        while rest and (hello := parse_client_hello(rest)):
            hellos.append(hello)
            rest = rest[hello.end :]
    except FormError:
        return [], State.UNREADABLE
    whole = bool(hellos) and not rest and len(known) == len(seen)
    return hellos, State.WHOLE if whole else State.PENDING


def check_payload(payload: bytes) -> None:
    payload = payload[:3800].ljust(8, b"\0")
    assert CIPHER is not None
    reading = QuicFlow(CIPHER).read(seal_initial(payload, FIRST))
    assert (list(reading.hellos), reading.state) == model(payload)


def check(data: bytes) -> None:
    check_datagram(data)
    check_payload(data)


DATAGRAMS, PAYLOADS = make_datagrams(), make_payloads()


def test_no_datagram_breaks_the_invariant() -> None:
    for seed in DATAGRAMS:
        check_datagram(seed)
    assert fuzz(check_datagram, DATAGRAMS, mutate_bytes, seed=1, count=1500) == 1500


def test_no_frames_break_the_invariant() -> None:
    for seed in PAYLOADS:
        check_payload(seed)
        assert model(seed)[0], "a seed shows a hello"
    assert fuzz(check_payload, PAYLOADS, mutate_bytes, seed=1, count=4000) == 4000


if __name__ == "__main__":
    main(check, DATAGRAMS + PAYLOADS)
