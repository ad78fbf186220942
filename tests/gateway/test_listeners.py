"""The gateway's sockets: all or nothing, and a clear word about who is in the way."""

from __future__ import annotations

import asyncio
import socket

import pytest

from guardian.config import Endpoint
from guardian.errors import GuardianError
from guardian.gateway.listeners import Listeners
from guardian.resolver.listen import Core
from tests.gateway.product import free_port
from tests.resolver.engine import make_engine


def make_listeners() -> Listeners:
    engine = make_engine()
    return Listeners(Core(engine.clients, engine.handler, None, lambda clients: None))  # type: ignore[arg-type]


def is_taken(host: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def test_what_stays_keeps_its_socket_and_what_goes_is_free() -> None:
    async def check() -> None:
        listeners = make_listeners()
        stays, goes, comes = (Endpoint("127.0.0.1", free_port()) for _ in range(3))
        await listeners.use([stays, goes])
        descriptor = listeners._udp[stays].fileno()
        await listeners.use([comes, stays])
        assert set(listeners.endpoints) == {stays, comes}
        assert listeners._udp[stays].fileno() == descriptor
        assert not is_taken(goes.host, goes.port, socket.SOCK_DGRAM)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            assert is_taken(comes.host, comes.port, kind)
        await listeners.close()
        assert listeners.endpoints == []

    asyncio.run(check())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_taken_port_opens_nothing(kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.gateway.listeners.BIND_PAUSE", 0.01)
    before, free, taken = (Endpoint("127.0.0.1", free_port()) for _ in range(3))

    async def check() -> None:
        listeners = make_listeners()
        await listeners.use([before])
        with pytest.raises(GuardianError, match=f"port {taken.port}: another program does; `guardian doctor`"):
            await listeners.use([free, taken])
        assert listeners.endpoints == [before]
        assert not is_taken(free.host, free.port, socket.SOCK_DGRAM)
        await listeners.close()

    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(taken)
        if kind is socket.SOCK_STREAM:
            other.listen()
        asyncio.run(check())


def test_a_wildcard_beside_an_own_address_says_restart() -> None:
    async def check() -> None:
        listeners = make_listeners()
        port = free_port()
        await listeners.use([Endpoint("127.0.0.1", port)])
        with pytest.raises(GuardianError, match="this gateway has the port on another address; restart"):
            await listeners.use([Endpoint("0.0.0.0", port)])
        assert listeners.endpoints == [Endpoint("127.0.0.1", port)]
        await listeners.close()

    asyncio.run(check())


def test_it_follows_addresses_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be used yet harms no other, and is there as soon as it can be."""
    monkeypatch.setattr("guardian.gateway.listeners.BIND_PAUSE", 0.01)
    stays, comes, taken = (Endpoint("127.0.0.1", free_port()) for _ in range(3))
    absent = Endpoint("192.0.2.77", free_port())

    async def check() -> None:
        listeners = make_listeners()
        await listeners.use([stays])
        descriptor = listeners._udp[stays].fileno()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(taken)
            assert not await listeners.follow([taken, stays, absent, comes])
            assert set(listeners.endpoints) == {stays, comes}
        assert await listeners.follow([stays, comes, taken])
        assert set(listeners.endpoints) == {stays, comes, taken}
        assert listeners._udp[stays].fileno() == descriptor
        assert await listeners.follow([]) and listeners.endpoints == []
        assert not is_taken(stays.host, stays.port, socket.SOCK_DGRAM)
        await listeners.close()

    asyncio.run(check())
