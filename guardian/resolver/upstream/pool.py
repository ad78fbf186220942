"""All upstreams: which group a question belongs to, how many run at a time, and how each server is reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guardian.config import Forward, Strategy, Transport, Upstream, UpstreamConfig
from guardian.errors import UpstreamError
from guardian.names import ROOT, suffixes
from guardian.resolver.upstream.bootstrap import Addresses, Ask
from guardian.resolver.upstream.frames import FrameDialog
from guardian.resolver.upstream.group import Answer, Exchanger, Group, Server, Tasks, UpstreamStatus
from guardian.resolver.upstream.message import Query
from guardian.resolver.upstream.plain import Plain
from guardian.resolver.upstream.stream import Stream
from guardian.wire.dns import Message

if TYPE_CHECKING:
    import ssl

MOST_RUNNING = 1000  # questions at a time, each with one to a few tries
TLS_IDLE = 60.0  # seconds; a handshake costs more than an open socket
DOT_PROTOCOL = "dot"  # RFC 7858 has no ALPN of its own; the name is registered, and servers may ignore it


class Upstreams:
    """The upstreams of one gateway. Make and use it within one running event loop; `close` it at the end."""

    def __init__(self, config: UpstreamConfig, forwards: tuple[Forward, ...] = ()) -> None:
        """Open nothing yet. Raises ConfigError when a CA file cannot be used."""
        self._timeout = config.timeout
        self._tasks = Tasks()
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self._servers: dict[Upstream, Server] = {}
        self._addresses: list[Addresses] = []
        self._running = 0
        self._closed = False
        self._drained: asyncio.Event | None = None
        self._bootstrap: Group | None = None
        if config.bootstrap:
            self._bootstrap = self._make_group(config.bootstrap, Strategy.FAILOVER, None)
        ask = self._ask_bootstrap if self._bootstrap else None
        self._general = self._make_group(config.servers, config.strategy, ask)
        # The servers of a company or a router are listed in the order of their worth.
        self._forwards = {
            forward.domain.lower(): self._make_group(forward.upstreams, Strategy.FAILOVER, ask) for forward in forwards
        }

    async def resolve(self, question: bytes, *, dnssec_ok: bool = False, checking_disabled: bool = False) -> Answer:
        """Return an upstream's answer to `question`: uncompressed QNAME, QTYPE and QCLASS as on the wire.

        The answer is a good one, or upstream's SERVFAIL when no server did better. Nothing but the question and the
        two bits leaves. Raises UpstreamError when there is no usable answer within the configured timeout, or when
        too many questions wait already.
        """
        if self._closed:
            raise UpstreamError("the upstreams are closed")
        if self._running >= MOST_RUNNING:
            raise UpstreamError("too many questions wait for upstreams")
        self._running += 1
        try:
            return await self._find_group(question).resolve(Query(question, dnssec_ok, checking_disabled))
        finally:
            self._running -= 1
            if not self._running and self._drained is not None:
                self._drained.set()

    def status(self) -> list[UpstreamStatus]:
        """Return how each server does, in the order of the settings, bootstrap servers first."""
        return [server.report() for server in self._servers.values()]

    async def drain(self) -> None:
        """Take no new questions, let those under way end (each has its timeout), then close."""
        self._closed = True
        if self._running:
            self._drained = asyncio.Event()
            await self._drained.wait()
        await self.close()

    async def close(self) -> None:
        """End every try and close every connection; wait until the sockets are closed."""
        self._closed = True
        await self._tasks.close()
        for addresses in self._addresses:
            await addresses.close()
        for server in self._servers.values():
            await server.exchanger.close()

    def _find_group(self, question: bytes) -> Group:
        """The group of the longest forwarded domain above the name; only without one, the general group."""
        if not self._forwards:
            return self._general
        for suffix in suffixes(question[:-4].lower()):
            group = self._forwards.get(suffix)
            if group is not None:
                return group
        return self._forwards.get(ROOT, self._general)

    def _make_group(self, upstreams: tuple[Upstream, ...], strategy: Strategy, ask: Ask | None) -> Group:
        for upstream in upstreams:
            if upstream not in self._servers:
                self._servers[upstream] = Server(upstream.label, self._make_exchanger(upstream, ask))
        servers = tuple(dict.fromkeys(self._servers[upstream] for upstream in upstreams))
        return Group(servers, strategy, self._timeout, self._tasks)

    def _make_exchanger(self, upstream: Upstream, ask: Ask | None) -> Exchanger:
        addresses = Addresses(upstream, ask)
        self._addresses.append(addresses)
        if upstream.transport is Transport.TLS:
            return Stream(
                addresses,
                lambda: FrameDialog(padded=True),
                idle=TLS_IDLE,
                timeout=self._timeout,
                context=self._get_context(upstream.ca_file, DOT_PROTOCOL),
                host=upstream.host,
            )
        if upstream.transport is Transport.HTTPS:
            from guardian.resolver.upstream.https import PROTOCOL, HttpDialog

            host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
            authority = host if upstream.port == 443 else f"{host}:{upstream.port}"
            return Stream(
                addresses,
                lambda: HttpDialog(authority, upstream.path),
                idle=TLS_IDLE,
                timeout=self._timeout,
                context=self._get_context(upstream.ca_file, PROTOCOL),
                host=upstream.host,
                protocol=PROTOCOL,
            )
        return Plain(addresses, upstream.transport, self._timeout)

    def _get_context(self, ca_file: str, protocol: str) -> ssl.SSLContext:
        key = (ca_file, protocol)
        if key not in self._contexts:
            from guardian.resolver.upstream.tls import make_context

            self._contexts[key] = make_context(ca_file, protocol)
        return self._contexts[key]

    async def _ask_bootstrap(self, question: bytes) -> Message:
        assert self._bootstrap is not None
        return (await self._bootstrap.resolve(Query(question))).parsed
