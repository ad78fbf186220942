"""Plain DNS to one server: UDP with a socket a query, TCP when an answer is truncated or somebody floods us.

A new connected socket for each query: the kernel draws its port at random (RFC 5452 section 9.2), drops packets from
other addresses, and reports a closed port at once. It costs some 15 us more than a shared socket, which would show
one port to guess for all its life.
"""

from __future__ import annotations

import asyncio
import socket

from guardian.config import Transport
from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.bootstrap import Address, Addresses
from guardian.resolver.upstream.failure import explain
from guardian.resolver.upstream.frames import FrameDialog
from guardian.resolver.upstream.message import Query, Reply, build_query, draw_id, read_reply
from guardian.resolver.upstream.stream import Stream
from guardian.wire.dns import EDE_NO_REACHABLE_AUTHORITY

LARGEST_DATAGRAM = 4096  # bytes; we announce 1232, so honest answers are shorter
MOST_STRAYS = 100  # packets that are not the answer: who guesses ids is stopped by going over to TCP
TCP_IDLE = 10.0  # seconds
WITHOUT_EDNS = 900.0  # seconds that a server which refused EDNS is asked without it


class Plain:
    """One server for plain DNS, over UDP first or over TCP only."""

    def __init__(self, addresses: Addresses, transport: Transport, timeout: float) -> None:
        self._addresses = addresses
        self._stream = Stream(addresses, lambda: FrameDialog(padded=False), idle=TCP_IDLE, timeout=timeout)
        self._over_udp = transport is Transport.UDP
        self._without_edns_until = 0.0

    async def exchange(self, query: Query, again: bool = False) -> Reply:
        """Return the reply; a server that refuses EDNS is asked without it. Raises UpstreamError."""
        now = asyncio.get_running_loop().time()
        if now < self._without_edns_until:
            return await self._ask(query._replace(edns=False), again)
        reply = await self._ask(query, again)
        if not reply.refuses_edns:
            return reply
        bare = await self._ask(query._replace(edns=False), again)
        if bare.good:
            self._without_edns_until = now + WITHOUT_EDNS
        return bare

    async def close(self) -> None:
        """Close the TCP connections."""
        await self._stream.close()

    async def _ask(self, query: Query, again: bool) -> Reply:
        if self._over_udp:
            address = (await self._addresses.get())[0]
            try:
                reply = await _ask_over_udp(address, query)
            except OSError as error:
                self._addresses.avoid(address)
                raise explain(error) from None
            if reply is not None:
                return reply
        return await self._stream.exchange(query, again)


async def _ask_over_udp(address: Address, query: Query) -> Reply | None:
    """The reply, or None when TCP has to be used. Raises UpstreamError on a broken reply, OSError."""
    loop = asyncio.get_running_loop()
    ident = draw_id()
    with socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(address.sockaddr)
        sock.send(build_query(query, ident))
        listener = _Listener(sock, ident, query, loop.create_future())
        number = sock.fileno()  # with the socket itself, asyncio's selector spends 15 us on its repr
        loop.add_reader(number, listener.receive)
        try:
            return await listener.future
        finally:
            loop.remove_reader(number)


class _Listener:
    """Waits on one socket for the answer to one query."""

    __slots__ = ("_ident", "_query", "_sock", "_strays", "future")

    def __init__(self, sock: socket.socket, ident: int, query: Query, future: asyncio.Future[Reply | None]) -> None:
        self.future = future
        self._sock = sock
        self._ident = ident
        self._query = query
        self._strays = 0

    def receive(self) -> None:
        """Read one packet; what is not the answer is ignored (RFC 5452 section 9.1), up to a number."""
        if self.future.done():
            return
        try:
            data = self._sock.recv(LARGEST_DATAGRAM + 1)
            reply = read_reply(data, self._ident, self._query) if len(data) <= LARGEST_DATAGRAM else None
        except BlockingIOError:  # a packet with a wrong checksum
            return
        except OSError as error:
            self.future.set_exception(error)
            return
        except FormError as error:
            self.future.set_exception(UpstreamError(f"broken answer: {error}", EDE_NO_REACHABLE_AUTHORITY))
            return
        if reply is not None:
            self.future.set_result(None if reply.truncated else reply)
            return
        self._strays += 1
        if self._strays >= MOST_STRAYS or len(data) > LARGEST_DATAGRAM:
            self.future.set_result(None)
