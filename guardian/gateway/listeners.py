"""The gateway's DNS sockets: opened all or nothing, kept over a reload."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable

from guardian.config import Endpoint
from guardian.errors import GuardianError
from guardian.resolver.listen import Core, UdpListener, open_udp
from guardian.resolver.tcp import TcpListener

log = logging.getLogger(__name__)

BIND_TRIES = 10  # a predecessor that was killed may hold the port for a moment
BIND_PAUSE = 0.3  # seconds


class Listeners:
    """UDP and TCP listeners by endpoint."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._udp: dict[Endpoint, UdpListener] = {}
        self._tcp: dict[Endpoint, TcpListener] = {}

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where queries are taken."""
        return list(self._udp)

    async def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Open what is not open yet, all or nothing; then close what is no longer named. Raises GuardianError."""
        wanted = dict.fromkeys(endpoints)
        missing = [endpoint for endpoint in wanted if endpoint not in self._udp]
        try:
            for endpoint in missing:
                await self._open(endpoint)
        except BaseException:
            for endpoint in missing:
                await self._close(endpoint)
            raise
        for endpoint in [endpoint for endpoint in self._udp if endpoint not in wanted]:
            await self._close(endpoint)

    async def follow(self, endpoints: Iterable[Endpoint]) -> bool:
        """Close what is no longer named, then open each that is not open; return whether all of them are now.

        This is for addresses that the machine has got or lost: what cannot be used yet is logged and harms no other.
        """
        wanted = dict.fromkeys(endpoints)
        for endpoint in [endpoint for endpoint in self._udp if endpoint not in wanted]:
            await self._close(endpoint)
        is_whole = True
        for endpoint in [endpoint for endpoint in wanted if endpoint not in self._udp]:
            try:
                await self._open(endpoint)
            except GuardianError as error:
                await self._close(endpoint)
                log.warning("event=address-not-used error=%r", str(error))
                is_whole = False
        return is_whole

    async def close(self) -> None:
        """Close all."""
        for endpoint in list(self._udp):
            await self._close(endpoint)

    async def _open(self, endpoint: Endpoint) -> None:
        udp = UdpListener(await self._open_udp(endpoint), self._core)
        self._udp[endpoint] = udp
        self._tcp[endpoint] = await self._open_tcp(endpoint)
        asyncio.get_running_loop().add_reader(udp.fileno(), udp.on_readable)

    async def _close(self, endpoint: Endpoint) -> None:
        if endpoint in self._udp:
            udp = self._udp.pop(endpoint)
            asyncio.get_running_loop().remove_reader(udp.fileno())
            udp.close()
        if endpoint in self._tcp:
            await self._tcp.pop(endpoint).close()

    async def _open_udp(self, endpoint: Endpoint) -> socket.socket:
        for attempt in range(BIND_TRIES):
            try:
                return open_udp(endpoint)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._is_in_our_way(endpoint) or attempt == BIND_TRIES - 1:
                    raise self._explain(endpoint, error) from None
                await asyncio.sleep(BIND_PAUSE)
        raise AssertionError("unreachable")

    async def _open_tcp(self, endpoint: Endpoint) -> TcpListener:
        listener = TcpListener(self._core)
        for attempt in range(BIND_TRIES):
            try:
                await listener.start(endpoint)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == BIND_TRIES - 1:
                    raise self._explain(endpoint, error) from None
                await asyncio.sleep(BIND_PAUSE)
            else:
                break
        return listener

    def _is_in_our_way(self, endpoint: Endpoint) -> bool:
        """Whether we hold the port on another address ourselves: one of the two is then a wildcard."""
        return any(other.port == endpoint.port for other in self._udp if other != endpoint)

    def _explain(self, endpoint: Endpoint, error: OSError) -> GuardianError:
        where = f"cannot listen on {endpoint.host} port {endpoint.port}"
        if error.errno == errno.EADDRINUSE and self._is_in_our_way(endpoint):
            return GuardianError(f"{where}: this gateway has the port on another address; restart it for this change")
        if error.errno == errno.EADDRINUSE:
            return GuardianError(f"{where}: another program does; `guardian doctor` tells which")
        if error.errno == errno.EACCES:
            return GuardianError(f"{where}: ports below 1024 need CAP_NET_BIND_SERVICE or root")
        return GuardianError(f"{where}: {error.strerror}")
