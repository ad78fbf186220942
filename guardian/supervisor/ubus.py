"""ubus, OpenWrt's bus, as far as a caller needs it: values <-> bytes (pure), and one call over the Unix socket.

A message is a head of 8 bytes and one attribute that holds the others. An attribute is a word (1 bit: it has a name, 7
bits: its number, 24 bits: its length with this word) and its value, filled up to 4 bytes. Words are big-endian. Values
of calls have names ("blobmsg"): two bytes with the name's length, the name, a zero byte, filled up to 4 bytes.

After ubusmsg.h, blob.h and blobmsg.h of OpenWrt's ubus and libubox. Old and new ubusd disagree about the byte order of
the head's sequence number, so ours reads the same both ways.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import NamedTuple

from guardian.errors import FormError, GuardianError

SOCKET = "/var/run/ubus/ubus.sock"
MAX_MESSAGE_BYTES = 1 << 20  # as ubusd has it
MAX_DEPTH = 16  # of tables within tables
MAX_REPLIES = 64  # messages that one request may bring

HELLO, STATUS, DATA, LOOKUP, INVOKE = 0, 1, 2, 4, 5  # kinds of messages
ATTR_STATUS, ATTR_OBJECT_PATH, ATTR_OBJECT_ID, ATTR_METHOD, ATTR_DATA = 1, 2, 3, 4, 7

_ARRAY, _TABLE, _STRING, _INT64, _INT32, _INT16, _INT8, _DOUBLE = range(1, 9)
_INTEGERS = {_INT64: ">q", _INT32: ">i", _INT16: ">h"}
_NAMED = 1 << 31
_WORD = struct.Struct(">I")
_HEAD = struct.Struct(">BBHI")  # version, kind, sequence, peer
HEAD_BYTES = _HEAD.size
_STATUSES = (
    "ok",
    "invalid command",
    "invalid argument",
    "no such method",
    "not found",
    "no data",
    "permission denied",
    "timeout",
    "not supported",
    "unknown error",
    "connection failed",
)

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]


class UbusError(GuardianError):
    """A call was refused, or nobody answered it."""


class Message(NamedTuple):
    """One message; `attributes` are those within its outer one, by number (of several the last)."""

    kind: int
    sequence: int
    peer: int
    attributes: Mapping[int, bytes]


# Bytes <-> values


def build_attribute(number: int, value: bytes) -> bytes:
    """Return an attribute without a name, filled up to a multiple of 4 bytes."""
    return _WORD.pack(number << 24 | len(value) + 4) + value + bytes(-len(value) % 4)


def read_attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of attributes one behind the other, by number. Raises FormError."""
    return {number: value for number, _, value in _split(data)}


def build_message(kind: int, sequence: int, peer: int, attributes: bytes) -> bytes:
    """Return a whole message around attributes."""
    return _HEAD.pack(0, kind, sequence, peer) + _WORD.pack(len(attributes) + 4) + attributes


def read_length(head: bytes) -> int:
    """Return how many bytes follow the first 12 of a message. Raises FormError when it is none, or too long."""
    if len(head) != HEAD_BYTES + 4 or head[0] != 0:
        raise FormError("not a message of ubus")
    length: int = _WORD.unpack_from(head, HEAD_BYTES)[0] & 0xFFFFFF
    if not 4 <= length <= MAX_MESSAGE_BYTES:
        raise FormError(f"a message of ubus with {length} bytes")
    return _fill(length) - 4


def read_message(data: bytes) -> Message:
    """Return the message that `data` is, all of it. Raises FormError."""
    rest = read_length(data[: HEAD_BYTES + 4])
    if len(data) != HEAD_BYTES + 4 + rest:
        raise FormError("a message of ubus is cut")
    _, kind, sequence, peer = _HEAD.unpack_from(data)
    length = _WORD.unpack_from(data, HEAD_BYTES)[0] & 0xFFFFFF
    return Message(kind, sequence, peer, read_attributes(data[HEAD_BYTES + 4 : HEAD_BYTES + length]))


def build_table(values: Mapping[str, Value]) -> bytes:
    """Return named values as a call carries them. Whole numbers have 32 bits, or 64 where these are too few."""
    return b"".join(_build_value(name, value) for name, value in values.items())


def read_table(data: bytes) -> dict[str, Value]:
    """Return the named values of a call or its reply. Raises FormError."""
    return {name: value for name, value in _read_values(data, MAX_DEPTH)}  # noqa: C416 - of one name the last


def _build_value(name: str, value: Value) -> bytes:
    kind, data = _pack(value)
    text = name.encode()
    head = len(text).to_bytes(2) + text + b"\0"
    head += bytes(-len(head) % 4)
    inner = head + data
    return _WORD.pack(_NAMED | kind << 24 | len(inner) + 4) + inner + bytes(-len(inner) % 4)


def _pack(value: Value) -> tuple[int, bytes]:
    match value:
        case bool():
            return _INT8, bytes([value])
        case int():
            kind = _INT32 if -(1 << 31) <= value < 1 << 31 else _INT64
            return kind, struct.pack(_INTEGERS[kind], value)
        case float():
            return _DOUBLE, struct.pack(">d", value)
        case str():
            return _STRING, value.encode() + b"\0"
        case list():
            return _ARRAY, b"".join(_build_value("", item) for item in value)
        case dict():
            return _TABLE, build_table(value)


def _read_values(data: bytes, depth: int) -> list[tuple[str, Value]]:
    if not depth:
        raise FormError("a value of ubus is nested too deep")
    found = []
    for kind, is_named, inner in _split(data):
        if not is_named or len(inner) < 3:
            raise FormError("a value of ubus has no name")
        size = int.from_bytes(inner[:2])
        begin = _fill(size + 3)
        if begin > len(inner) or inner[2 + size] != 0:
            raise FormError("the name of a value of ubus is cut")
        found.append((inner[2 : 2 + size].decode(errors="replace"), _unpack(kind, inner[begin:], depth)))
    return found


def _unpack(kind: int, data: bytes, depth: int) -> Value:
    try:
        match kind:
            case 1:
                return [value for _, value in _read_values(data, depth - 1)]
            case 2:
                return dict(_read_values(data, depth - 1))
            case 3:
                if not data.endswith(b"\0"):
                    raise FormError("a text of ubus has no end")
                return data[:-1].decode(errors="replace")
            case 7:
                return bool(struct.unpack(">B", data)[0])
            case 8:
                return float(struct.unpack(">d", data)[0])
            case _ if kind in _INTEGERS:
                return int(struct.unpack(_INTEGERS[kind], data)[0])
            case _:
                raise FormError(f"a value of ubus of kind {kind}")
    except struct.error:
        raise FormError(f"a number of ubus with {len(data)} bytes") from None


def _split(data: bytes) -> list[tuple[int, bool, bytes]]:
    """Return (number, has a name, value) of attributes one behind the other. Raises FormError."""
    found, position = [], 0
    while position < len(data):
        if position + 4 > len(data):
            raise FormError("an attribute of ubus is cut")
        word: int = _WORD.unpack_from(data, position)[0]
        length = word & 0xFFFFFF
        if length < 4 or position + length > len(data):
            raise FormError("an attribute of ubus is cut")
        found.append((word >> 24 & 0x7F, bool(word & _NAMED), data[position + 4 : position + length]))
        position += _fill(length)
    return found


def _fill(length: int) -> int:
    return length + -length % 4


# The call


async def call(path: str, name: str, method: str, values: Mapping[str, Value], seconds: float) -> dict[str, Value]:
    """Call `method` of the object `name` on the bus at `path`, and return what it answered.

    Raises UbusError when nobody answers within `seconds`, or the answer is a refusal.
    """
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await _ask(reader, writer, name, method, values)
            finally:
                writer.close()
    except TimeoutError:
        raise UbusError(f"{path}: no answer to {name} {method}") from None
    except asyncio.IncompleteReadError:
        raise UbusError(f"{path}: the bus hung up") from None
    except OSError as error:
        raise UbusError(f"{path}: {error.strerror or error}") from None
    except FormError as error:
        raise UbusError(f"{path}: {error}") from None


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, method: str, values: Mapping[str, Value]
) -> dict[str, Value]:
    if (await _receive(reader)).kind != HELLO:
        raise FormError("this is not ubus: it does not greet")
    looked_up = build_attribute(ATTR_OBJECT_PATH, name.encode() + b"\0")
    found = await _request(reader, writer, build_message(LOOKUP, 0x0101, 0, looked_up), 0x0101, name)
    number = found.get(ATTR_OBJECT_ID, b"")
    if len(number) != 4:
        raise UbusError(f"ubus has no object '{name}'")
    invoked = build_attribute(ATTR_OBJECT_ID, number) + build_attribute(ATTR_METHOD, method.encode() + b"\0")
    invoked += build_attribute(ATTR_DATA, build_table(values))
    message = build_message(INVOKE, 0x0202, int.from_bytes(number), invoked)
    answer = await _request(reader, writer, message, 0x0202, f"{name} {method}")
    return read_table(answer.get(ATTR_DATA, b""))


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes, sequence: int, what: str
) -> Mapping[int, bytes]:
    """Send a message; return the attributes of its data when its status says that all is well."""
    writer.write(message)
    await writer.drain()
    data: Mapping[int, bytes] = {}
    for _ in range(MAX_REPLIES):
        reply = await _receive(reader)
        if reply.sequence != sequence:
            continue  # not for us
        if reply.kind == DATA:
            data = reply.attributes
        elif reply.kind == STATUS:
            status = int.from_bytes(reply.attributes.get(ATTR_STATUS, b""))
            if status:
                said = _STATUSES[status] if status < len(_STATUSES) else f"status {status}"
                raise UbusError(f"ubus: {what}: {said}")
            return data
    raise FormError("too many messages of ubus")


async def _receive(reader: asyncio.StreamReader) -> Message:
    head = await reader.readexactly(HEAD_BYTES + 4)
    return read_message(head + await reader.readexactly(read_length(head)))
