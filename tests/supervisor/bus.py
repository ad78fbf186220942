"""A small ubusd with a small procd behind it, on a real Unix socket. Written from the protocol, not from our client."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

SERVICE_ID = 0x5E1F0001
Change = Callable[[bytes], bytes]


@dataclass
class Bus:
    """What was asked, and how the bus is to answer."""

    path: str
    calls: list[bytes] = field(default_factory=list)  # the blobmsg of each call of `service watchdog`
    timeout: int = 30
    status: int = 0  # of the call
    is_big_endian: bool = True  # how it writes sequence and peer of its own messages; it echoes ours as they are
    is_silent: bool = False
    change: Change = bytes  # what becomes of each message before it is sent


def attribute(number: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack(">L", (number << 24) + size) + value + b"\0" * ((4 - size % 4) % 4)


def named(kind: int, name: str, value: bytes) -> bytes:
    head = struct.pack(">H", len(name)) + name.encode() + b"\0"
    while len(head) % 4:
        head += b"\0"
    size = 4 + len(head) + len(value)
    return struct.pack(">L", 0x80000000 + (kind << 24) + size) + head + value + b"\0" * ((4 - size % 4) % 4)


def whole(kind: int, sequence: bytes, peer: bytes, inner: bytes) -> bytes:
    return bytes([0, kind]) + sequence + peer + struct.pack(">L", 4 + len(inner)) + inner


def take_apart(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        (word,) = struct.unpack_from(">L", data)
        size = word & 0x00FFFFFF
        assert size >= 4, "our client sent an attribute without a head"
        found[(word & 0x7F000000) >> 24] = data[4:size]
        data = data[(size + 3) // 4 * 4 :]
    return found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Bus]:
    bus = Bus(str(folder / "ubus.sock"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(message: bytes) -> None:
            writer.write(bus.change(message))

        try:
            order = ">" if bus.is_big_endian else "<"
            send(whole(0, struct.pack(order + "H", 0), struct.pack(order + "L", 0x12345678), b""))
            while True:
                await answer(bus, await reader.readexactly(12), reader, send)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, bus.path)
    try:
        yield bus
    finally:
        server.close()
        await server.wait_closed()


async def answer(bus: Bus, head: bytes, reader: asyncio.StreamReader, send: Callable[[bytes], None]) -> None:
    version, kind, sequence, peer = head[0], head[1], head[2:4], head[4:8]
    assert version == 0
    (word,) = struct.unpack(">L", head[8:])
    found = take_apart(await reader.readexactly((word & 0xFFFFFF) - 4))
    if bus.is_silent:
        return
    if kind == 4:
        assert found[2].endswith(b"\0")
        status = 4
        if found[2] == b"service\0":
            status = 0
            told = attribute(2, found[2]) + attribute(3, struct.pack(">L", SERVICE_ID))
            told += attribute(5, struct.pack(">L", 7)) + attribute(6, named(2, "watchdog", b""))
            send(whole(2, sequence, peer, told))
    else:
        assert kind == 5
        assert found[3] == struct.pack(">L", SERVICE_ID)
        assert found[4] == b"watchdog\0"
        bus.calls.append(found[7])
        status = bus.status
        if not status:
            said = named(3, "name", b"guardian\0") + named(3, "instance", b"gateway\0")
            said += named(5, "mode", struct.pack(">L", 2)) + named(5, "timeout", struct.pack(">L", bus.timeout))
            send(whole(2, sequence, found[3], attribute(3, found[3]) + attribute(7, said)))
    send(whole(1, sequence, peer, attribute(1, struct.pack(">L", status)) + attribute(3, struct.pack(">L", 1))))
