"""The first message of a TLS client (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2): which name does it ask for?

The rule: when a server would take the bytes as a ClientHello that names N, the answer is N or FormError; never another
name. So everything that servers read in different ways is a FormError: a repeated extension, a second name, lengths
that do not add up, an empty record, bytes behind the message in its record.

`read_client_hello` reads an incomplete stream from its start each time; `HelloReader` goes on where it was.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from guardian.errors import FormError
from guardian.wire.host import read_host_name

MAX_HELLO_BYTES = 17 * 1024  # of stream, with record headers; the largest honest ones are near 2 KB
MAX_RECORD_BYTES = 1 << 14  # RFC 8446 section 5.1

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = range(20, 24)
CLIENT_HELLO = 1
_WARNING = 1  # the level of an alert
SERVER_NAME, ALPN, EARLY_DATA, ENCRYPTED_CLIENT_HELLO = 0, 16, 42, 0xFE0D

_RECORD_AND_MESSAGE_HEAD = struct.Struct(">BBxHBBH")
_LENGTH = struct.Struct(">H")
_EXTENSION_HEAD = struct.Struct(">HH")
_SERVER_NAME_HEAD = struct.Struct(">HBH")

Buffer = bytes | bytearray | memoryview


class ClientHello(NamedTuple):
    """What a ClientHello tells before anything is encrypted."""

    name: bytes | None  # lower-case wire name; None: no server_name
    has_ech: bool  # encrypted_client_hello is there, real or GREASE; `name` is then the outer name
    alpn: tuple[bytes, ...]
    end: int  # offset behind the record (QUIC: the message) that ends the hello
    has_early_data: bool = False  # records of 0-RTT data may stand before a second hello: see find_next_hello


def read_client_hello(stream: Buffer, start: int = 0) -> ClientHello | None:
    """Return the ClientHello at `start`, a record boundary of the client's bytes; None when more bytes are needed.

    The message may be split over any number of records. Raises FormError as soon as it cannot become a hello that
    servers agree on, or takes more than MAX_HELLO_BYTES.
    """
    if len(stream) - start >= 9:  # all in one record: nearly always
        kind, major, size, message, high, low = _RECORD_AND_MESSAGE_HEAD.unpack_from(stream, start)
        if kind == HANDSHAKE and major == 3 and message == CLIENT_HELLO and not high and size == low + 4:
            end = start + 5 + size
            if size > MAX_RECORD_BYTES:
                raise FormError("TLS record too long")
            return _read_hello(stream, start + 9, end, end) if end <= len(stream) else None
    return HelloReader(start).read(stream)


class HelloReader:
    """Reads one ClientHello out of a stream that grows, each record once: for hellos that come in many small pieces."""

    __slots__ = ("_message", "_position", "_start")

    def __init__(self, start: int = 0) -> None:
        self._start = self._position = start
        self._message = bytearray()  # of the records before _position

    def read(self, stream: Buffer) -> ClientHello | None:
        """Return and raise what `read_client_hello` does; `stream` is the one of the last call, with bytes added.

        After a ClientHello or FormError the reader is used up.
        """
        message = self._message
        while (size := _read_record_size(stream, self._position)) is not None:
            begin = self._position + 5
            end = begin + size
            if end - self._start > MAX_HELLO_BYTES:
                raise FormError("ClientHello too long")
            head = message if len(message) >= 4 else message + stream[begin : min(begin + 4, end)]
            whole = 4 + int.from_bytes(head[1:4]) if len(head) >= 4 else MAX_HELLO_BYTES
            if (head and head[0] != CLIENT_HELLO) or whole > MAX_HELLO_BYTES or len(message) + size > whole:
                raise FormError("not a ClientHello, or too long, or bytes behind it in its record")
            if end > len(stream):
                return None
            message += stream[begin:end]
            self._position = end
            if len(message) == whole:
                return _read_hello(message, 4, whole, end)
        return None


def parse_client_hello(handshake: Buffer) -> ClientHello | None:
    """Return the ClientHello that begins a stream of handshake messages without records (QUIC CRYPTO, RFC 9001).

    None when more bytes are needed. `end` is the offset behind the message; what follows is not looked at. Raises
    FormError as `read_client_hello` does.
    """
    if not len(handshake):
        return None
    if handshake[0] != CLIENT_HELLO:
        raise FormError("not a ClientHello")
    if len(handshake) < 4:
        return None
    end = 4 + int.from_bytes(handshake[1:4])
    if end > MAX_HELLO_BYTES:
        raise FormError("ClientHello too long")
    return _read_hello(handshake, 4, end, end) if end <= len(handshake) else None


def find_next_hello(stream: Buffer, start: int, skip_early_data: bool = False) -> int | None:
    """Return where a second ClientHello begins, the answer to a HelloRetryRequest (RFC 8446 section 4.1.4).

    `start` is a record boundary, the `end` of the first hello. Change_cipher_spec records are passed over whole, and
    warnings too: servers take no notice of user_canceled (section 6.1). The offset is that of the handshake record; -1
    when something else follows; None when more bytes are needed. Raises nothing.

    With `skip_early_data`, application data records are passed over too. A server that answers `has_early_data` with a
    HelloRetryRequest does so (section 4.2.10), up to 16 KB by default: without it a second hello hides behind them.
    """
    first = -1  # an empty handshake record in front: reading from there is a FormError, as it must be
    position = start
    while len(stream) > position:
        kind = stream[position]
        if not CHANGE_CIPHER_SPEC <= kind <= HANDSHAKE and not (skip_early_data and kind == APPLICATION_DATA):
            return -1
        if len(stream) > position + 1 and stream[position + 1] != 3:
            return -1
        if len(stream) < position + 5:
            return None
        size = _LENGTH.unpack_from(stream, position + 3)[0]
        if size and kind in (ALERT, HANDSHAKE):
            if len(stream) == position + 5:
                return None
            if kind == ALERT and stream[position + 5] != _WARNING:
                return -1
        if kind == HANDSHAKE:
            first = position if first < 0 else first
            if size:
                return first if stream[position + 5] == CLIENT_HELLO else -1
        position += 5 + size
    return None


def pass_records(stream: Buffer, start: int) -> int:
    """Return the offset behind the whole records from `start`, a record boundary, on, up to one of a handshake.

    From there `find_next_hello` finds the same as from `start`, once it has found None.
    """
    while len(stream) >= start + 5 and stream[start] != HANDSHAKE:
        end = start + 5 + int(_LENGTH.unpack_from(stream, start + 3)[0])
        if end > len(stream):
            break
        start = end
    return start


def _read_record_size(stream: Buffer, position: int) -> int | None:
    """Bytes of payload in the handshake record at `position` (RFC 8446 section 5.1); None: needs more bytes."""
    available = len(stream) - position
    if available > 0 and stream[position] != HANDSHAKE:
        raise FormError("not a TLS handshake record")
    if available > 1 and stream[position + 1] != 3:
        raise FormError("not a TLS version")
    if available < 5:
        return None
    size: int = _LENGTH.unpack_from(stream, position + 3)[0]
    if not 0 < size <= MAX_RECORD_BYTES:
        raise FormError("TLS record empty or too long")
    return size


def _read_hello(data: Buffer, position: int, end: int, behind: int) -> ClientHello:
    """The hello whose body is data[position:end]; all of it is there."""
    if position + 35 > end:
        raise FormError("ClientHello too short")
    if data[position] != 3 or not data[position + 1]:
        raise FormError("ClientHello of no TLS version")  # SSL 3.0 has no extensions
    position += 34
    size = data[position]
    position += 1 + size
    if size > 32 or position + 2 > end:
        raise FormError("session id of the wrong size")
    size = _LENGTH.unpack_from(data, position)[0]
    position += 2 + size
    if not size or size & 1 or position >= end:
        raise FormError("cipher suites of the wrong size")
    size = data[position]
    position += 1 + size
    if not size or position > end:
        raise FormError("compression methods of the wrong size")
    if position == end:
        return ClientHello(None, False, (), behind)
    if position + 2 > end or position + 2 + _LENGTH.unpack_from(data, position)[0] != end:
        raise FormError("extensions of the wrong size")
    return _read_extensions(data, position + 2, end, behind)


def _read_extensions(data: Buffer, position: int, end: int, behind: int) -> ClientHello:
    name = None
    alpn: tuple[bytes, ...] = ()
    seen: set[int] = set()
    unpack = _EXTENSION_HEAD.unpack_from
    while position < end:
        if position + 4 > end:
            raise FormError("truncated extension")
        kind, size = unpack(data, position)
        position += 4
        following = position + size
        if following > end:
            raise FormError("extension longer than the ClientHello")
        if kind in seen:
            raise FormError("repeated extension")
        seen.add(kind)
        if kind == SERVER_NAME:
            name = _read_server_name(data, position, following)
        elif kind == ALPN:
            alpn = _read_alpn(data, position, following)
        position = following
    return ClientHello(name, ENCRYPTED_CLIENT_HELLO in seen, alpn, behind, EARLY_DATA in seen)


def _read_server_name(data: Buffer, position: int, end: int) -> bytes:
    """RFC 6066 section 3: a list of exactly one host_name."""
    if position + 5 > end:
        raise FormError("server_name too short")
    total, kind, size = _SERVER_NAME_HEAD.unpack_from(data, position)
    if kind or position + 2 + total != end or position + 5 + size != end:
        raise FormError("server_name is not one host name")
    return read_host_name(bytes(data[position + 5 : end]))


def _read_alpn(data: Buffer, position: int, end: int) -> tuple[bytes, ...]:
    """RFC 7301 section 3.1."""
    if position + 2 > end or position + 2 + _LENGTH.unpack_from(data, position)[0] != end:
        raise FormError("ALPN of the wrong size")
    position += 2
    protocols = []
    while position < end:
        following = position + 1 + data[position]
        if following > end or following == position + 1:
            raise FormError("ALPN protocol of the wrong size")
        protocols.append(bytes(data[position + 1 : following]))
        position = following
    return tuple(protocols)
