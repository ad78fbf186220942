"""Client Initial packets as QUIC clients send them, for tests; the `cryptography` package seals them, not our code.

`build_datagrams` is all that most tests need: the datagrams that show one hello, as a plain client or as Chrome sends
them. `CryptoFrame` lists and `seal_initial` are the parts, for packets that nobody honest sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

V1, V2 = 1, 0x6B3343CF
SALTS = {
    V1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    V2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
PREFIXES = {V1: b"quic ", V2: b"quicv2 "}
TYPES = {
    V1: {"initial": 0, "0rtt": 1, "handshake": 2, "retry": 3},
    V2: {"initial": 1, "0rtt": 2, "handshake": 3, "retry": 0},
}
PING = b"\1"
DATAGRAM_BYTES = 1200
TAG_BYTES = 16


class CryptoFrame(NamedTuple):
    """Bytes of the handshake at their offset."""

    offset: int
    data: bytes

    def build(self) -> bytes:
        return b"\6" + varint(self.offset) + varint(len(self.data)) + self.data


def varint(number: int, size: int = 0) -> bytes:
    """A QUIC integer in `size` bytes (1, 2, 4 or 8), or in as few as it takes."""
    for power in range(4):
        if number < 1 << (8 * (1 << power) - 2) and size in (0, 1 << power):
            return (number | power << (8 * (1 << power) - 2)).to_bytes(1 << power)
    raise ValueError(f"{number} does not fit into {size} bytes")


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    full = b"tls13 " + label
    info = length.to_bytes(2) + bytes((len(full),)) + full + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


def make_keys(version: int, destination_id: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, IV and header protection key of the client."""
    extract = HMAC(SALTS[version], SHA256())
    extract.update(destination_id)
    secret = _expand(extract.finalize(), b"client in", 32)
    prefix = PREFIXES[version]
    return (
        _expand(secret, prefix + b"key", 16),
        _expand(secret, prefix + b"iv", 12),
        _expand(secret, prefix + b"hp", 16),
    )


def _encrypt_block(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def seal_initial(
    payload: bytes,
    destination_id: bytes,
    *,
    version: int = V1,
    key_id: bytes | None = None,
    key_version: int | None = None,
    source_id: bytes = b"",
    token: bytes = b"",
    number: int = 0,
    number_bytes: int = 4,
    pad_to: int = 0,
    first_bits: int = 0xC0,
    length_bytes: int = 2,
) -> bytes:
    """Return one protected Initial packet; with PADDING frames behind the payload, until it has `pad_to` bytes.

    `key_id`: the id that the keys come from (default: `destination_id`), as in a client's second flight.
    """
    first = first_bits | TYPES[version]["initial"] << 4 | (number_bytes - 1)
    head = version.to_bytes(4) + vector(destination_id) + vector(source_id) + varint(len(token)) + token
    around = 1 + len(head) + length_bytes + number_bytes + TAG_BYTES
    payload = payload.ljust(max(pad_to - around, 4 - number_bytes, 0), b"\0")
    short = (number & ((1 << 8 * number_bytes) - 1)).to_bytes(number_bytes)
    head += varint(number_bytes + len(payload) + TAG_BYTES, length_bytes)
    key, iv, protection = make_keys(key_version or version, destination_id if key_id is None else key_id)
    nonce = (int.from_bytes(iv) ^ number).to_bytes(12)
    sealed = AESGCM(key).encrypt(nonce, payload, bytes((first,)) + head + short)
    mask = _encrypt_block(protection, (short + sealed)[4:20])
    hidden = bytes(a ^ b for a, b in zip(short, mask[1:], strict=False))
    return bytes((first ^ mask[0] & 0x0F,)) + head + hidden + sealed


def vector(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def build_other(kind: str, destination_id: bytes, body: bytes = bytes(40), *, version: int = V1) -> bytes:
    """A 0rtt, handshake or retry packet; its body is not sealed, as only the ends could open it."""
    head = bytes((0xC0 | TYPES[version][kind] << 4,)) + version.to_bytes(4) + vector(destination_id) + vector(b"")
    return head + (body if kind == "retry" else varint(len(body), 2) + body)


def split_hello(hello: bytes, sizes: Iterable[int], start: int = 0) -> list[CryptoFrame]:
    """The frames of a hello: of `sizes` bytes, and the rest in a last one."""
    frames, position = [], 0
    for size in sizes:
        frames.append(CryptoFrame(start + position, hello[position : position + size]))
        position += size
    return [*frames, CryptoFrame(start + position, hello[position:])]


def build_datagrams(
    hello: bytes,
    destination_id: bytes,
    *,
    version: int = V1,
    chaos: Random | None = None,
    token: bytes = b"",
    source_id: bytes = b"",
    number: int = 0,
) -> list[bytes]:
    """Return the datagrams of 1200 bytes that show a hello; one, or two when it has more than 1000 bytes.

    `chaos`: as Chrome does it: the hello in a dozen frames in any order, PING and PADDING between them.
    """
    room = 1000
    frames: Sequence[CryptoFrame] = split_hello(hello, [room] * ((len(hello) - 1) // room))
    if chaos:
        cuts = sorted(chaos.sample(range(1, len(hello)), 11))
        frames = split_hello(hello, [end - begin for begin, end in zip([0, *cuts], cuts, strict=False)])
        frames = chaos.sample(frames, len(frames))
    payloads = [b""]
    for frame in frames:
        if len(payloads[-1]) + len(frame.data) > room + 60:
            head, tail = split_hello(frame.data, [max(room - len(payloads[-1]), 1)], frame.offset)
            payloads[-1] += head.build()
            payloads.append(tail.build())
        else:
            payloads[-1] += frame.build()
        if chaos:
            payloads[-1] += chaos.choice((b"", PING, bytes(chaos.randrange(1, 6))))
    return [
        seal_initial(
            payload,
            destination_id,
            version=version,
            token=token,
            source_id=source_id,
            number=number + index,
            pad_to=1200,
        )
        for index, payload in enumerate(payloads)
    ]
