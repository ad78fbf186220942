"""The TCP side: many queries on one connection, answered as they come ready (RFC 7766). Not a hot path."""

from __future__ import annotations

import asyncio
import logging
import socket

from guardian.clock import tell_time
from guardian.config import Endpoint
from guardian.resolver.listen import Core

log = logging.getLogger(__name__)

IDLE_SECONDS = 20.0  # RFC 7766 section 6.2.3 asks for some seconds; also for answers that are owed or not yet read
MESSAGE_SECONDS = 5.0  # for one message to arrive whole: a slow drip ends here
MAX_CONNECTIONS = 128
MAX_PER_CLIENT = 16  # and for all strangers together, who get REFUSED
MAX_PENDING = 64  # queries of one connection that wait for upstream; then nothing more is read
MAX_QUERY_BYTES = 4096  # no honest query is longer
MAX_UNSENT_BYTES = 262_144  # a client that does not read is cut off
MAX_ANSWER_BYTES = 65535


class TcpListener:
    """One listening TCP socket."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], bytes] = {}

    async def start(self, endpoint: Endpoint) -> None:
        """Bind and listen. Raises OSError."""
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._server = await asyncio.start_server(
            self._serve, endpoint.host, endpoint.port, family=family, limit=MAX_QUERY_BYTES, reuse_address=True
        )

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end the connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = writer.get_extra_info("peername")
        if peer is None:  # it left before it was served
            writer.close()
            return
        address = _pack(peer[0])
        client = self._core.clients.find(address, tell_time())
        # By device, where it is known: one tablet has many IPv6 addresses.
        owner = b"" if client is None else client.mac or address
        mine = sum(1 for other in self._connections.values() if other == owner)
        if len(self._connections) >= MAX_CONNECTIONS or mine >= MAX_PER_CLIENT:
            writer.close()
            return
        self._connections[task] = owner
        try:
            await self._serve_connection(reader, writer, address)
            writer.close()
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left, or was too slow: nobody to tell
        finally:
            del self._connections[task]
            writer.transport.abort()  # `close` alone would wait for ever for a client that does not read

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: bytes
    ) -> None:
        pending = _Pending(writer)
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                first = await reader.read(1)
            if not first:  # no more queries; the client still gets what it is owed (RFC 1035 section 4.2.2)
                break
            async with asyncio.timeout(MESSAGE_SECONDS):
                size = int.from_bytes(first + await reader.readexactly(1))
                if size > MAX_QUERY_BYTES:
                    return
                packet = await reader.readexactly(size)
            pending.count += 1
            answer = self._core.answer(packet, address, MAX_ANSWER_BYTES, pending.send)
            if answer is not None:
                pending.send(answer)
            async with asyncio.timeout(IDLE_SECONDS):
                await pending.wait_below(MAX_PENDING)
                await writer.drain()
        async with asyncio.timeout(IDLE_SECONDS):
            await pending.wait_below(1)


class _Pending:
    """Sends answers as they come; `count` are those still owed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.count = 0
        self._writer = writer
        self._sent = asyncio.Event()

    def send(self, answer: bytes) -> None:
        self.count -= 1
        self._sent.set()
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._writer.transport.abort()
        else:
            self._writer.write(len(answer).to_bytes(2) + answer)

    async def wait_below(self, count: int) -> None:
        """Wait until fewer than `count` answers are owed, or nobody is there to get them."""
        while self.count >= count and not self._writer.is_closing():
            self._sent.clear()
            await self._sent.wait()


def _pack(host: str) -> bytes:
    host = host.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
