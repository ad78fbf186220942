"""QUIC packets with a long header, version 1 (RFC 9000, 9001) and 2 (RFC 9369): what a client sends at first.

The keys of a client's Initial packets follow from a connection id that stands in the first of them, so everybody on the
path can read them. The cipher is an argument: this module is pure.
"""

from __future__ import annotations

import hmac
import re
from typing import Final, NamedTuple, Protocol

from guardian.errors import FormError

VERSION_1: Final = 1
VERSION_2: Final = 0x6B3343CF
INITIAL, ZERO_RTT, HANDSHAKE, RETRY = range(4)  # kinds of packets, as version 1 numbers them
LONG_HEADER: Final = 0x80
FIXED_BIT: Final = 0x40
MAX_ID_BYTES: Final = 20
MIN_INITIAL_DATAGRAM: Final = 1200  # bytes; servers drop an Initial in a smaller datagram (RFC 9000 section 14.1)

_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO, _CONNECTION_CLOSE = 0x00, 0x01, 0x02, 0x03, 0x06, 0x1C
_NOT_PADDING = re.compile(rb"[^\0]")
_SAMPLE_OFFSET: Final = 4  # behind the start of the packet number, whatever its length (RFC 9001 section 5.4.2)
_SAMPLE_END: Final = 20


class Cipher(Protocol):
    """AES-128, as Initial packets need it."""

    def encrypt_block(self, key: bytes, block: bytes) -> bytes:
        """Return one block of 16 bytes, encrypted (ECB)."""

    def open_sealed(self, key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes | None:
        """Return the plaintext of `sealed`, which ends with its tag (GCM), or None when the tag is wrong."""


class LongHeader(NamedTuple):
    """A packet with a long header. Offsets count from the start of the datagram."""

    version: int
    kind: int  # INITIAL, ZERO_RTT, HANDSHAKE or RETRY, for either version
    destination_id: bytes
    source_id: bytes
    packet_number_offset: int  # of a RETRY: where its token starts
    end: int  # behind this packet


class Keys(NamedTuple):
    """The client's Initial keys: AES-128-GCM key and IV, and the key of header protection."""

    key: bytes
    iv: bytes
    hp: bytes


class Opened(NamedTuple):
    """An Initial packet without its protection."""

    number: int
    plaintext: bytes


def is_long_header(first: int) -> bool:
    """Tell whether a packet that starts with this byte has a long header (RFC 8999 section 5.1)."""
    return first >= LONG_HEADER


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a variable-length integer, of any legal length, and the position behind it (RFC 9000 section 16)."""
    if position >= len(data):
        raise FormError("truncated QUIC integer")
    first = data[position]
    if first < 0x40:
        return first, position + 1
    size = 1 << (first >> 6)
    end = position + size
    if end > len(data):
        raise FormError("truncated QUIC integer")
    return int.from_bytes(data[position:end]) & ((1 << (8 * size - 2)) - 1), end


def read_long_header(datagram: bytes, start: int) -> LongHeader | None:
    """Return the long header at `start` (RFC 9000 section 17.2, RFC 9369 section 3.2); None: neither version 1 nor 2.

    The byte at `start` has been seen to be of a long header. The fixed bit may be 0 (RFC 9287). Raises FormError when
    an id is longer than 20 bytes or the packet is longer than its datagram.
    """
    version = int.from_bytes(datagram[start + 1 : start + 5])
    kind = datagram[start] >> 4 & 3
    if version == VERSION_2:
        kind = (kind - 1) & 3
    elif version != VERSION_1 or len(datagram) < start + 5:
        return None
    try:
        position = start + 6 + datagram[start + 5]
        destination_id = datagram[start + 6 : position]
        source_start = position + 1
        position = source_start + datagram[position]
    except IndexError:
        raise FormError("truncated QUIC header") from None
    source_id = datagram[source_start:position]
    size = len(datagram)
    if position > size or len(destination_id) > MAX_ID_BYTES or len(source_id) > MAX_ID_BYTES:
        raise FormError("QUIC connection id too long")
    if kind == RETRY:
        return LongHeader(version, kind, destination_id, source_id, position, size)
    if kind == INITIAL:
        token_bytes, position = _read_varint(datagram, position)
        position += token_bytes
    length, position = _read_varint(datagram, position)
    end = position + length
    if end > size:
        raise FormError("QUIC packet longer than its datagram")
    return LongHeader(version, kind, destination_id, source_id, position, end)


def resembles_quic(datagram: bytes, start: int) -> bool:
    """Tell whether a packet of a version that we do not know is QUIC all the same.

    True for drafts, Google's and Meta's versions and versions kept free for tests (RFC 9000 section 15), and for any
    other with a fixed bit, ids of legal length and a datagram in which a server would accept it. Other protocols also
    start with a high bit: RTP has no fixed bit, a game's query is short. Version negotiation is nothing a client sends.
    """
    version = int.from_bytes(datagram[start + 1 : start + 5])
    if len(datagram) < start + 7 or not version:
        return False
    if version & 0x0F0F0F0F == 0x0A0A0A0A or version >> 8 in (0xFF0000, 0xFACEB0) or version >> 16 in (0x5130, 0x5430):
        return True
    if not datagram[start] & FIXED_BIT or len(datagram) < MIN_INITIAL_DATAGRAM:
        return False
    length = datagram[start + 5]
    source_at = start + 6 + length
    return length <= MAX_ID_BYTES and source_at < len(datagram) and datagram[source_at] <= MAX_ID_BYTES


def _make_label(label: bytes, length: int) -> bytes:
    """An HkdfLabel without context (RFC 8446 section 7.1), and the counter of HKDF-Expand's only block behind it."""
    full = b"tls13 " + label
    return length.to_bytes(2) + bytes((len(full),)) + full + b"\0\1"


_SECRET_LABEL = _make_label(b"client in", 32)
_DERIVATIONS = {
    VERSION_1: (
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        *(_make_label(b"quic " + name, length) for name, length in ((b"key", 16), (b"iv", 12), (b"hp", 16))),
    ),
    VERSION_2: (
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        *(_make_label(b"quicv2 " + name, length) for name, length in ((b"key", 16), (b"iv", 12), (b"hp", 16))),
    ),
}


def derive_client_keys(version: int, destination_id: bytes) -> Keys:
    """Return the keys of the client's Initials (RFC 9001 section 5.2, RFC 9369 section 3.3). `version` is 1 or 2.

    `destination_id` is that of the client's first Initial, or of its first after a Retry.
    """
    salt, key_label, iv_label, hp_label = _DERIVATIONS[version]
    secret = hmac.digest(hmac.digest(salt, destination_id, "sha256"), _SECRET_LABEL, "sha256")
    return Keys(
        hmac.digest(secret, key_label, "sha256")[:16],
        hmac.digest(secret, iv_label, "sha256")[:12],
        hmac.digest(secret, hp_label, "sha256")[:16],
    )


def _restore_number(truncated: int, size: int, largest: int) -> int:
    """Return the whole packet number of `size` bytes on the wire (RFC 9000 appendix A.3)."""
    expected = largest + 1
    window = 1 << 8 * size
    number = (expected & -window) | truncated
    if number <= expected - window // 2 and number < (1 << 62) - window:
        return number + window
    if number > expected + window // 2 and number >= window:
        return number - window
    return number


def open_initial(
    datagram: bytes, start: int, header: LongHeader, keys: Keys, cipher: Cipher, largest: int = -1
) -> Opened | None:
    """Return the Initial packet at `start` without its protection (RFC 9001 section 5); None: `keys` do not open it.

    `largest` is the largest number of a packet that these keys have opened.
    """
    offset, end = header.packet_number_offset, header.end
    if end - offset < _SAMPLE_END:
        return None
    mask = cipher.encrypt_block(keys.hp, datagram[offset + _SAMPLE_OFFSET : offset + _SAMPLE_END])
    first = datagram[start] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    truncated = int.from_bytes(datagram[offset : offset + size]) ^ int.from_bytes(mask[1 : 1 + size])
    number = _restore_number(truncated, size, largest)
    plaintext = cipher.open_sealed(
        keys.key,
        (int.from_bytes(keys.iv) ^ number).to_bytes(12),
        b"%c%b%b" % (first, datagram[start + 1 : offset], truncated.to_bytes(size)),
        datagram[offset + size : end],
    )
    return None if plaintext is None else Opened(number, plaintext)


def read_crypto(plaintext: bytes) -> list[tuple[int, bytes]]:
    """Return offset and bytes of the CRYPTO frames of an Initial packet, in their order (RFC 9000 section 19).

    Raises FormError on any frame that an Initial may not hold (section 12.4) and on a frame cut short.
    """
    pieces = []
    position, size = 0, len(plaintext)
    padding_start = len(plaintext.rstrip(b"\0"))  # what is left of a packet: found ten times faster than by the search
    while position < size:
        kind, position = _read_varint(plaintext, position)
        if kind == _CRYPTO:
            offset, position = _read_varint(plaintext, position)
            length, position = _read_varint(plaintext, position)
            end = position + length
            if end > size:
                raise FormError("truncated CRYPTO frame")
            pieces.append((offset, plaintext[position:end]))
            position = end
        elif kind == _PADDING:
            if position >= padding_start:
                break
            found = _NOT_PADDING.search(plaintext, position)
            position = found.start() if found else size
        elif kind in (_ACK, _ACK_ECN):
            position = _skip_ack(plaintext, position, kind)
        elif kind == _CONNECTION_CLOSE:
            _, position = _read_varint(plaintext, position)
            _, position = _read_varint(plaintext, position)
            length, position = _read_varint(plaintext, position)
            position += length
            if position > size:
                raise FormError("truncated CONNECTION_CLOSE frame")
        elif kind != _PING:
            raise FormError("frame that an Initial packet may not hold")
    return pieces


def _skip_ack(plaintext: bytes, position: int, kind: int) -> int:
    """Return the position behind an ACK frame; `position` is behind its type (RFC 9000 section 19.3)."""
    _, position = _read_varint(plaintext, position)
    _, position = _read_varint(plaintext, position)
    ranges, position = _read_varint(plaintext, position)
    left = 1 + 2 * ranges + (3 if kind == _ACK_ECN else 0)
    if left > len(plaintext) - position:
        raise FormError("truncated ACK frame")
    for _ in range(left):
        _, position = _read_varint(plaintext, position)
    return position
