"""The engine behind real sockets on loopback, and an upstream that does as its names say."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from ipaddress import ip_network
from types import TracebackType
from typing import Any, NamedTuple

from guardian.config import Endpoint
from guardian.names import format_name
from guardian.resolver.clients import Client
from guardian.resolver.listen import Core, UdpListener, open_udp
from guardian.resolver.local import is_private_address
from guardian.resolver.resolve import Resolver
from guardian.resolver.tcp import TcpListener
from guardian.wire.dns import FLAG_QR, Message, Question, Record
from tests.resolver.engine import make_engine

NETWORKS = ("127.0.0.0/29", "::1/128")
STRANGER = "127.0.0.9"  # outside of NETWORKS
ADULT, CHILD = "127.0.0.1", "127.0.0.2"  # loopback speaks for others; unknown devices are children here


def read_second() -> int:
    return int(time.monotonic())


class Reply(NamedTuple):
    parsed: Message


class Upstream:
    """Answers `N.*` with N addresses, others with one; what begins with `late` when `open_late` was called."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ttl = 600
        self.count_of_late = 1
        self._late = asyncio.Event()

    def open_late(self) -> None:
        self._late.set()

    async def resolve(self, question: bytes, *, dnssec_ok: bool = False, checking_disabled: bool = False) -> Reply:
        name, kind = question[:-4], int.from_bytes(question[-4:-2])
        text = format_name(name)
        self.asked.append(text)
        if text.startswith("late"):
            await self._late.wait()
        first = text.partition(".")[0]
        count = int(first) if first.isdecimal() and len(first) < 4 else 1
        count = self.count_of_late if first.startswith("late") else count
        records = tuple(
            Record(name, kind, 1, self.ttl, bytes((192, 0, 2 + n // 256, n % 256)) if kind == 1 else bytes(40))
            for n in range(count)
        )
        return Reply(Message(1, FLAG_QR, Question(name, kind, 1), records))


class Served:
    """UDP and TCP on one port of each host, while entered."""

    def __init__(self, hosts: tuple[str, ...] = ("127.0.0.1",), max_bytes: int = 1 << 24) -> None:
        self.engine = make_engine(schedule=False, max_bytes=max_bytes)
        self.engine.clients.configure(tuple(map(ip_network, NETWORKS)), 0)
        self.upstream = Upstream()
        self.resolver = Resolver(
            self.upstream, self.engine.cache, lambda name, address: is_private_address(address), read_second
        )
        self.drained: list[Client] = []
        self.core = Core(self.engine.clients, self.engine.handler, self.resolver, self.drained.extend)
        self.udp: dict[str, UdpListener] = {}
        self.tcp: dict[str, TcpListener] = {}
        self.ports: dict[str, int] = {}
        self.unheard: list[dict[str, Any]] = []
        self._hosts = hosts

    async def __aenter__(self) -> Served:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.unheard.append(context))
        for host in self._hosts:
            listener = UdpListener(open_udp(Endpoint(host, 0)), self.core)
            self.ports[host] = listener.socket.getsockname()[1]
            self.udp[host] = listener
            loop.add_reader(listener.fileno(), listener.on_readable)
            self.tcp[host] = TcpListener(self.core)
            await self.tcp[host].start(Endpoint(host, self.ports[host]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self._hosts:
            asyncio.get_running_loop().remove_reader(self.udp[host].fileno())
            self.udp[host].close()
            await self.tcp[host].close()
        await self.resolver.close()
        await asyncio.sleep(0)
        if error is None:
            assert not self.unheard, self.unheard

    @property
    def port(self) -> int:
        return self.ports[self._hosts[0]]


class UdpClient:
    """A real socket with an address of its own."""

    def __init__(self, source: str = CHILD) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((source, 0))

    def __enter__(self) -> UdpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, packet: bytes, port: int, host: str = "127.0.0.1") -> None:
        self.socket.sendto(packet, (host, port))

    async def receive(self) -> tuple[bytes, str]:
        """The next datagram and who sent it."""
        async with asyncio.timeout(10):
            data, sender = await asyncio.get_running_loop().sock_recvfrom(self.socket, 65535)
        return data, str(sender[0])

    async def ask(self, packet: bytes, port: int, host: str = "127.0.0.1") -> bytes:
        self.send(packet, port, host)
        return (await self.receive())[0]

    async def is_silent(self, port: int, probe: bytes, host: str = "127.0.0.1") -> bool:
        """Whether nothing but the answer to `probe`, which is asked now, comes."""
        return (await self.ask(probe, port, host))[:2] == probe[:2]


class TcpClient:
    """One connection; messages with their two bytes of length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1", source: str = CHILD) -> TcpClient:
        return cls(*await asyncio.open_connection(host, port, local_addr=(source, 0)))

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(struct.pack(">H", len(packet)) + packet for packet in packets))

    async def receive(self) -> bytes | None:
        """The next message; None when the server has closed."""
        async with asyncio.timeout(15):
            try:
                return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(2)))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def reply(self) -> bytes:
        """The next message, which must come."""
        message = await self.receive()
        assert message is not None, "the server has closed"
        return message

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; no task may be left behind."""

    async def watch() -> None:
        async with asyncio.timeout(60):
            await coroutine
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watch())
