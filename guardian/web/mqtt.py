"""MQTT 5 packets as bytes, for a client that only listens (OASIS standard "MQTT Version 5.0", 2019). Pure.

Not aiomqtt, on which the desk publishes: below it paho-mqtt reads a packet of whatever length the broker announces into
memory (576 MB for a packet of 200 MB, though CONNECT named a largest size of 2 KB). A broker is not trusted here, and
a router has 256 MB. Here a length is looked at before its bytes are taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from guardian.errors import FormError

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14
SUCCESS = 0x00
FAILURES = 0x80  # reason codes from here on
MAX_INFLIGHT = 8  # messages that wait for our acknowledgement

_CLEAN_START, _PASSWORD, _USER_NAME = 0x02, 0x40, 0x80
_SERVER_KEEP_ALIVE, _RECEIVE_MAXIMUM, _MAXIMUM_PACKET_SIZE = 0x13, 0x21, 0x27
_SUBSCRIPTION_ID, _USER_PROPERTY = 0x0B, 0x26  # the only ones that may come more than once
# Section 2.2.2.2: what each property holds.
_PROPERTIES = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), "byte"),
    **dict.fromkeys((_SERVER_KEEP_ALIVE, _RECEIVE_MAXIMUM, 0x22, 0x23), "short"),
    **dict.fromkeys((0x02, 0x11, 0x18, _MAXIMUM_PACKET_SIZE), "long"),
    **dict.fromkeys((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F), "binary"),
    _SUBSCRIPTION_ID: "variable",
    _USER_PROPERTY: "pair",
}


class Packet(NamedTuple):
    """A whole packet: its kind, the four flags of its first byte, and what follows its length."""

    kind: int
    flags: int
    body: bytes


class Welcome(NamedTuple):
    """CONNACK: 0 or why not; the seconds between two packets of ours that the broker asks for, None = what we said."""

    reason: int
    keep_alive: int | None


class Granted(NamedTuple):
    """SUBACK: for which SUBSCRIBE; the granted QoS, or from 0x80 on why not."""

    packet_id: int
    reason: int


class Message(NamedTuple):
    """PUBLISH. `packet_id` is to be acknowledged, 0 = nothing is."""

    topic: str
    payload: bytes
    packet_id: int
    is_retained: bool


class Splitter:
    """Cuts what comes into packets, none with more than `limit` bytes after its length."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = bytearray()

    @property
    def is_midway(self) -> bool:
        """Whether a packet has begun that is not whole yet."""
        return bool(self._waiting)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that are whole now. Raises FormError for a length that is none or too large."""
        self._waiting += data
        while (found := self._find_length()) is not None:
            start, length = found
            if len(self._waiting) < start + length:
                return
            first, body = self._waiting[0], bytes(self._waiting[start : start + length])
            del self._waiting[: start + length]
            yield Packet(first >> 4, first & 0x0F, body)

    def _find_length(self) -> tuple[int, int] | None:
        """Where the body begins and its length, None while that is not known."""
        length = 0
        for index, byte in enumerate(self._waiting[1:5]):
            length |= (byte & 0x7F) << 7 * index
            if length > self._limit:
                raise FormError(f"a packet of more than {self._limit} bytes")
            if not byte & 0x80:
                return index + 2, length
        if len(self._waiting) >= 5:
            raise FormError("a length of more than four bytes")
        return None


def encode_connect(client_id: str, keep_alive: int, max_packet: int, user: str = "", password: bytes = b"") -> bytes:
    """Return CONNECT: nothing of an earlier session is wanted, none is to be kept. `keep_alive` is seconds."""
    flags = _CLEAN_START | (_USER_NAME | _PASSWORD if user else 0)
    properties = struct.pack("!BHBI", _RECEIVE_MAXIMUM, MAX_INFLIGHT, _MAXIMUM_PACKET_SIZE, max_packet)
    body = _pack_text("MQTT") + struct.pack("!BBH", 5, flags, keep_alive) + _pack_number(len(properties)) + properties
    body += _pack_text(client_id)
    if user:
        body += _pack_text(user) + struct.pack("!H", len(password)) + password
    return _pack(CONNECT, 0, body)


def encode_subscribe(packet_id: int, topic: str) -> bytes:
    """Return SUBSCRIBE to one topic with QoS 1; what is retained is sent at once."""
    return _pack(SUBSCRIBE, 2, struct.pack("!HB", packet_id, 0) + _pack_text(topic) + b"\x01")


def encode_puback(packet_id: int) -> bytes:
    """Return PUBACK of a message."""
    return _pack(PUBACK, 0, struct.pack("!H", packet_id))


def encode_ping() -> bytes:
    """Return PINGREQ."""
    return _pack(PINGREQ, 0, b"")


def encode_disconnect() -> bytes:
    """Return DISCONNECT: nothing is wrong."""
    return _pack(DISCONNECT, 0, b"")


def decode_connack(packet: Packet) -> Welcome:
    """Return a CONNACK. Raises FormError for any other packet, and for a session that nobody wanted."""
    body = _open(packet, CONNACK)
    session, reason = body.take_byte(), body.take_byte()
    if session:
        raise FormError("a session of before, though none is kept")
    properties = body.take_properties()
    body.end()
    return Welcome(reason, properties.get(_SERVER_KEEP_ALIVE))


def decode_suback(packet: Packet) -> Granted:
    """Return the SUBACK to a SUBSCRIBE with one topic. Raises FormError."""
    body = _open(packet, SUBACK)
    packet_id = body.take_short()
    body.take_properties()
    reason = body.take_byte()
    body.end()
    return Granted(packet_id, reason)


def decode_publish(packet: Packet) -> Message:
    """Return a PUBLISH of QoS 0 or 1: nobody may send us more. Raises FormError."""
    if packet.kind != PUBLISH:
        raise FormError(f"packet {packet.kind} instead of {PUBLISH}")
    quality = packet.flags >> 1 & 3
    if quality > 1:
        raise FormError(f"a message of QoS {quality}, which was not asked for")
    body = _Body(packet.body)
    topic = body.take_binary()
    packet_id = body.take_short() if quality else 0
    if quality and not packet_id:
        raise FormError("a message of QoS 1 without an id")
    body.take_properties()
    try:
        name = topic.decode()
    except UnicodeDecodeError:
        raise FormError("a topic that is not UTF-8") from None
    return Message(name, body.take_rest(), packet_id, bool(packet.flags & 1))


def decode_disconnect(packet: Packet) -> int:
    """Return why the broker ends the connection. Raises FormError."""
    body = _open(packet, DISCONNECT)
    return body.take_byte() if packet.body else SUCCESS


def check_pong(packet: Packet) -> None:
    """Raise FormError for anything but PINGRESP."""
    _open(packet, PINGRESP).end()


class _Body:
    """Takes the fields of a packet one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise FormError("a packet that ends too soon")
        self._at += size
        return taken

    def take_byte(self) -> int:
        return self._take(1)[0]

    def take_short(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def take_binary(self) -> bytes:
        return self._take(self.take_short())

    def take_rest(self) -> bytes:
        return self._take(len(self._data) - self._at)

    def take_variable(self) -> int:
        """A number of one to four bytes (section 1.5.5)."""
        number = 0
        for index in range(4):
            byte = self.take_byte()
            number |= (byte & 0x7F) << 7 * index
            if not byte & 0x80:
                return number
        raise FormError("a number of more than four bytes")

    def take_properties(self) -> dict[int, int]:
        """The properties that are numbers, by their id. Those that are texts are looked at and left."""
        end = self.take_variable() + self._at
        found: dict[int, int] = {}
        seen: set[int] = set()
        while self._at < end:
            which = self.take_variable()
            if which in seen and which not in (_USER_PROPERTY, _SUBSCRIPTION_ID):
                raise FormError(f"property {which} twice")
            seen.add(which)
            match _PROPERTIES.get(which):
                case "byte":
                    found[which] = self.take_byte()
                case "short":
                    found[which] = self.take_short()
                case "long":
                    found[which] = int.from_bytes(self._take(4), "big")
                case "variable":
                    found[which] = self.take_variable()
                case "binary":
                    self.take_binary()
                case "pair":
                    self.take_binary()
                    self.take_binary()
                case _:
                    raise FormError(f"property {which}, which is none")
        if self._at > end:
            raise FormError("a property that is longer than all of them")
        return found

    def end(self) -> None:
        if self._at != len(self._data):
            raise FormError("a packet that goes on after its end")


def _open(packet: Packet, kind: int) -> _Body:
    if (packet.kind, packet.flags) != (kind, 0):
        raise FormError(f"packet {packet.kind} with flags {packet.flags} instead of {kind}")
    return _Body(packet.body)


def _pack(kind: int, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + _pack_number(len(body)) + body


def _pack_number(number: int) -> bytes:
    packed = b""
    while number > 0x7F:
        packed += bytes([number & 0x7F | 0x80])
        number >>= 7
    return packed + bytes([number])


def _pack_text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("!H", len(encoded)) + encoded
