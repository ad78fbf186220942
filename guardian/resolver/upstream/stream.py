"""Queries to one server over kept connections: opened once for all who wait, replaced when dead or full."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from guardian.errors import UpstreamError
from guardian.resolver.upstream.bootstrap import Address, Addresses
from guardian.resolver.upstream.connection import (
    LONG_SILENCE,
    SHORT_SILENCE,
    Connection,
    ConnectionLostError,
    Dialog,
)
from guardian.resolver.upstream.failure import ShortageError, explain
from guardian.resolver.upstream.message import Query, Reply
from guardian.wire.dns import EDE_NO_REACHABLE_AUTHORITY

if TYPE_CHECKING:
    import ssl

MOST_CONNECTIONS = 12  # to one server: the one in use, and retired ones that wait for their last answers
MOST_ROUNDS = 4  # looks for a connection with room, for one query
UNACKNOWLEDGED_MS = 5000  # the kernel gives up a connection whose peer is silent for that long (RFC 5482)


class Stream:
    """The connections to one server. Not opened before the first query."""

    def __init__(
        self,
        addresses: Addresses,
        make_dialog: Callable[[], Dialog],
        *,
        idle: float,
        timeout: float,
        context: ssl.SSLContext | None = None,
        host: str = "",
        protocol: str = "",
    ) -> None:
        self._addresses = addresses
        self._make_dialog = make_dialog
        self._idle = idle  # seconds without a query until a connection is closed
        self._timeout = timeout  # seconds to open one, over all addresses
        self._context = context
        self._host = host  # that the certificate must show
        self._protocol = protocol  # that ALPN must agree on, "" = any
        self._session: ssl.SSLSession | None = None
        self._connections: set[Connection] = set()
        self._current: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None

    async def exchange(self, query: Query, again: bool = False) -> Reply:
        """Return the reply. `again`: the same was asked a while ago and is still open. Raises UpstreamError.

        A query on a connection that turns out to be dead is asked once more on a new one (RFC 7766 section 6.2.1.1).
        """
        silence = SHORT_SILENCE if again else LONG_SILENCE
        retried = False
        for _ in range(MOST_ROUNDS):
            connection, fresh = await self._connect(silence)
            if connection.full:  # others who waited for it were quicker
                continue
            try:
                return await connection.ask(query)
            except ConnectionLostError:
                if retried or (fresh and not connection.served):
                    raise
            retried = True
        raise ShortageError("all connections are busy", EDE_NO_REACHABLE_AUTHORITY)

    async def close(self) -> None:
        """Close every connection and wait until the sockets are closed."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        lost = [connection.lost for connection in self._connections]
        for connection in tuple(self._connections):
            connection.drop("closed")
        if lost:
            await asyncio.wait(lost)

    async def _connect(self, silence: float) -> tuple[Connection, bool]:
        """The connection to use, and whether it was opened for this query."""
        current = self._current
        if current is not None:
            if current.usable(silence):
                return current, False
            self._current = None
            self._keep_session(current)
            current.retire()
        if self._opening is None:
            if len(self._connections) >= MOST_CONNECTIONS:
                raise ShortageError("all connections are busy", EDE_NO_REACHABLE_AUTHORITY)
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._note_opened)
        return await asyncio.shield(self._opening), True

    def _note_opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._current = task.result()

    def _keep_session(self, connection: Connection) -> None:
        if connection.tls is not None and connection.served:
            self._session = connection.tls.session or self._session

    async def _open(self) -> Connection:
        addresses = await self._addresses.get()
        failure = UpstreamError("no address")
        for address in addresses:
            try:
                async with asyncio.timeout(self._timeout / len(addresses)):
                    return await self._open_to(address)
            except TimeoutError:
                failure = UpstreamError("no connection in time", EDE_NO_REACHABLE_AUTHORITY)
            except OSError as error:
                failure = explain(error)
            except UpstreamError as error:  # the handshake failed
                failure = error
                self._session = None
            self._addresses.avoid(address)
        raise failure

    async def _open_to(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        tls = None
        if self._context is not None:
            from guardian.resolver.upstream.tls import TlsLayer

            tls = TlsLayer(self._context, self._host, self._session)
        connection = Connection(self._make_dialog(), tls, self._protocol, self._idle)
        sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
            await loop.sock_connect(sock, address.sockaddr)
            await loop.create_connection(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))
        try:
            await connection.ready
        except BaseException:
            connection.drop("given up")
            raise
        return connection
