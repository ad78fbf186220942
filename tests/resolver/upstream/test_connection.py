"""What a connection does on its own: idle close, and the end of its queries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guardian.resolver.upstream.connection import Connection, ConnectionLostError
from guardian.resolver.upstream.frames import FrameDialog
from guardian.resolver.upstream.message import Query

QUERY = Query(b"\x03www\x04test\0\0\1\0\1")


async def connect(server: Any, idle: float) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(FrameDialog(padded=False), None, "", idle), server.host, server.port
    )
    await connection.ready
    return connection


def test_an_idle_connection_closes_itself(run: Any, net: Any) -> None:
    async def main() -> None:
        async with net.StreamServer(net.serve_honestly) as server:
            connection = await connect(server, idle=0.05)
            assert (await connection.ask(QUERY)).good
            assert connection.served
            await connection.lost
            assert not connection.usable(1.0)
            with pytest.raises(ConnectionLostError, match="idle"):
                await connection.ask(QUERY)

    run(main())


def test_a_retired_connection_closes_with_its_last_answer(run: Any, net: Any) -> None:
    async def main() -> None:
        async with net.StreamServer(net.serve_honestly) as server:
            connection = await connect(server, idle=10)
            waiting = asyncio.create_task(connection.ask(QUERY))
            await asyncio.sleep(0)
            connection.retire()
            assert not connection.usable(1.0)
            assert (await waiting).good
            await connection.lost

    run(main())


def test_silence_makes_a_connection_unusable_and_any_answer_usable_again(run: Any, net: Any) -> None:
    late = asyncio.Event()

    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await server.read(reader)
        await late.wait()
        writer.write(net.frame(net.make_answer(query)))
        await reader.read()

    async def main() -> None:
        async with net.StreamServer(serve) as server:
            connection = await connect(server, idle=10)
            waiting = asyncio.create_task(connection.ask(QUERY))
            while not server.queries:
                await asyncio.sleep(0.001)
            assert connection.usable(5.0)
            assert not connection.usable(0.0)
            late.set()
            await waiting
            assert connection.usable(0.0)
            connection.drop("test")
            await connection.lost

    run(main())
