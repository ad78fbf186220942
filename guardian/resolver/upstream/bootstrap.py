"""Where an upstream is: the addresses behind its host name, never asked of the system's resolver.

On a gateway the system's resolver is Guardian itself; a lookup there would wait for itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from guardian.config import Upstream
from guardian.errors import TextError, UpstreamError
from guardian.names import parse_name
from guardian.resolver.upstream.failure import explain
from guardian.wire.dns import CLASS_IN, EDE_NETWORK_ERROR, TYPE_A, TYPE_AAAA, Message

SHORTEST_LIFE = 60.0  # seconds that a found address is used at least
LONGEST_LIFE = 86400.0
RETRY_PAUSE = 2.0  # seconds between failed lookups, while older addresses are still there

# Asks the bootstrap upstreams for one question (wire) and returns the message. Raises UpstreamError.
Ask = Callable[[bytes], Awaitable[Message]]


class Address(NamedTuple):
    """Where to connect: a socket family and what `connect` takes; no name in it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


def make_address(host: str, port: int) -> Address:
    """Return the socket address of an IP literal, which may carry a scope (`fe80::1%eth0`).

    Raises OSError when the scope names no interface.
    """
    if ":" not in host:
        return Address(socket.AF_INET, (host, port))
    literal, _, scope = host.partition("%")
    if not scope:
        index = 0
    else:
        index = int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    return Address(socket.AF_INET6, (literal, port, 0, index))


def is_literal(host: str) -> bool:
    """Tell whether a host is an IP address and needs no lookup."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host.partition("%")[0])
    except OSError:
        return False
    return True


class Addresses:
    """The addresses of one upstream, the one that worked last first."""

    def __init__(self, upstream: Upstream, ask: Ask | None) -> None:
        self._host = upstream.host
        self._port = upstream.port
        self._ask = ask
        self._hosts = upstream.addresses or ((upstream.host,) if is_literal(upstream.host) else ())
        self._expires = float("inf") if self._hosts else 0.0  # configured addresses stay
        self._ready: tuple[Address, ...] = ()  # made of `_hosts`
        self._lookup: asyncio.Task[None] | None = None

    async def get(self) -> tuple[Address, ...]:
        """Return the addresses, best first, after a lookup if need be. Raises UpstreamError when there are none."""
        if asyncio.get_running_loop().time() >= self._expires:
            await self._look_up()
        if not self._ready:
            try:
                self._ready = tuple([make_address(host, self._port) for host in self._hosts])
            except OSError as error:  # an interface that is not there now
                raise explain(error) from None
        return self._ready

    def avoid(self, address: Address) -> None:
        """Put an address that did not work behind the others."""
        self._hosts = tuple(sorted(self._hosts, key=lambda host: host.partition("%")[0] == address.sockaddr[0]))
        self._ready = ()

    async def close(self) -> None:
        """Stop a lookup that runs."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait((self._lookup,))

    async def _look_up(self) -> None:
        """One lookup for all who wait; who gives up does not end it for the others."""
        if self._lookup is None:
            self._lookup = asyncio.get_running_loop().create_task(self._find())
            self._lookup.add_done_callback(self._forget_lookup)
        await asyncio.shield(self._lookup)

    def _forget_lookup(self, task: asyncio.Task[None]) -> None:
        self._lookup = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody does any more, it is nobody's

    async def _find(self) -> None:
        if self._ask is None:
            raise UpstreamError(f"{self._host} has no address, and no bootstrap server is set", EDE_NETWORK_ERROR)
        loop = asyncio.get_running_loop()
        name = _encode_host(self._host)
        found = await asyncio.gather(
            *(self._ask(name + kind.to_bytes(2) + CLASS_IN.to_bytes(2)) for kind in (TYPE_A, TYPE_AAAA)),
            return_exceptions=True,
        )
        hosts: list[str] = []
        life = LONGEST_LIFE
        failure = "no address"
        for result in found:
            if isinstance(result, UpstreamError):
                failure = str(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                for record in result.answers:
                    life = min(life, record.ttl)
                    if record.type == TYPE_A and len(record.rdata) == 4:
                        hosts.append(socket.inet_ntop(socket.AF_INET, record.rdata))
                    elif record.type == TYPE_AAAA and len(record.rdata) == 16:
                        hosts.append(socket.inet_ntop(socket.AF_INET6, record.rdata))
        if hosts:
            self._hosts = tuple(dict.fromkeys(hosts))
            self._ready = ()
            self._expires = loop.time() + max(life, SHORTEST_LIFE)
        elif self._hosts:  # the old ones are better than none: the certificate still has to show the name
            self._expires = loop.time() + RETRY_PAUSE
        else:
            raise UpstreamError(f"{self._host}: {failure}", EDE_NETWORK_ERROR)


def _encode_host(host: str) -> bytes:
    try:
        return parse_name(host)
    except TextError as error:
        raise UpstreamError(str(error), EDE_NETWORK_ERROR) from None
