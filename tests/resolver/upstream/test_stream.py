"""Kept connections: one for all, any order, dead ones replaced; and servers that misbehave on them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guardian.config import Transport, Upstream
from guardian.errors import UpstreamError


def tcp(server: Any) -> Upstream:
    return Upstream(Transport.TCP, server.host, server.port)


def test_a_hundred_questions_share_one_connection_and_come_back_in_any_order(run: Any, opened: Any, net: Any) -> None:
    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            batch = [await server.read(reader) for _ in range(50)]
            for query in reversed(batch):
                number = int(query[13:16])
                writer.write(net.frame(net.make_answer(query, address=f"192.0.2.{number}")))

    async def main() -> None:
        async with net.StreamServer(serve) as server, opened(tcp(server)) as upstreams:
            answers = await asyncio.gather(
                *(upstreams.resolve(net.make_question(f"{number:03}.test")) for number in range(100))
            )
            assert [net.read_address(answer.message) for answer in answers] == [f"192.0.2.{n}" for n in range(100)]
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize("manner", ["after each answer", "without an answer on the reused one"])
def test_a_reused_connection_that_died_is_replaced_once(manner: str, run: Any, opened: Any, net: Any) -> None:
    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(net.frame(net.make_answer(await server.read(reader))))
        if manner.startswith("without"):
            await server.read(reader)

    async def main() -> None:
        async with net.StreamServer(serve) as server, opened(tcp(server)) as upstreams:
            for number in range(4):
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert net.read_address(answer.message) == "192.0.2.1"
                assert server.connections == number + 1
            assert upstreams.status()[0].failures == 0

    run(main())


async def drip(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read(reader)
    writer.write(b"\xff\xff")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.01)


async def stay_silent(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await server.read(reader)


async def close_at_once(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read(reader)


async def half_close(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read(reader)
    writer.write(b"\0\x40half")
    writer.write_eof()
    await reader.read()


async def talk_nonsense(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read(reader)
    writer.write(b"\0\0\0\0HTTP/1.1 200 OK\r\n")
    await reader.read()


async def flood(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.read(reader)
    while True:
        writer.write(b"\0\x0c" + bytes(12))
        await writer.drain()


def answer_with(change: Any) -> Any:
    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            message = change(await server.read(reader))
            writer.write(len(message).to_bytes(2) + message)

    return serve


LIES = {
    "slow drip": drip,
    "silence": stay_silent,
    "close": close_at_once,
    "half-close": half_close,
    "nonsense": talk_nonsense,
    "flood": flood,
    "not a response": answer_with(lambda query: query),
    "truncated for ever": answer_with(lambda query: query[:2] + b"\x83\x80" + query[4:]),
    "broken": answer_with(lambda query: query[:2] + b"\x81\x80\0\1\0\7" + query[8:]),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_end_in_an_error_or_in_another_servers_answer(lie: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.StreamServer(LIES[lie]) as bad, net.UdpServer(lambda query, _: [net.make_answer(query)]) as good:
            async with opened(tcp(bad), timeout=0.1) as upstreams:
                for _ in range(2):
                    with pytest.raises(UpstreamError):
                        await upstreams.resolve(net.make_question("www.test"))
            async with opened(tcp(bad), good.upstream, timeout=0.8) as upstreams:
                for _ in range(5):  # three failures take the bad one down
                    answer = await upstreams.resolve(net.make_question("www.test"))
                    assert answer.source == good.upstream.label
                assert [status.healthy for status in upstreams.status()] == [False, True]
            assert bad.connections < 12

    run(main())


def test_a_silent_connection_is_not_used_for_the_second_try(run: Any, opened: Any, net: Any) -> None:
    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections == 1:  # as if a router between had forgotten it
            writer.write(net.frame(net.make_answer(await server.read(reader))))
            await stay_silent(server, reader, writer)
        await net.serve_honestly(server, reader, writer)

    async def main() -> None:
        async with net.StreamServer(serve) as server, opened(tcp(server), timeout=3) as upstreams:
            for _ in range(3):
                await upstreams.resolve(net.make_question("www.test"))
            assert server.connections == 2

    run(main())


def test_who_gives_up_does_not_spoil_it_for_others(run: Any, opened: Any, net: Any) -> None:
    release = asyncio.Event()

    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queries = [await server.read(reader) for _ in range(2)]
        await release.wait()
        for query in queries:
            writer.write(net.frame(net.make_answer(query)))
        await reader.read()

    async def main() -> None:
        async with net.StreamServer(serve) as server, opened(tcp(server), timeout=5) as upstreams:
            first, second = (asyncio.create_task(upstreams.resolve(net.make_question(f"{n}.test"))) for n in range(2))
            while len(server.queries) < 2:
                await asyncio.sleep(0.001)
            first.cancel()
            await asyncio.wait((first,))
            assert first.cancelled()
            release.set()
            assert net.read_address((await second).message) == "192.0.2.1"
            assert server.connections == 1

    run(main())


def test_closing_in_the_middle_leaves_nothing(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.StreamServer(stay_silent) as server:
            async with opened(tcp(server), timeout=10) as upstreams:
                tasks = [asyncio.create_task(upstreams.resolve(net.make_question(f"{n}.test"))) for n in range(20)]
                while len(server.queries) < 20:
                    await asyncio.sleep(0.001)
                await upstreams.close()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(result) for result in results} == {UpstreamError}
                with pytest.raises(UpstreamError, match="closed"):
                    await upstreams.resolve(net.make_question("www.test"))
            assert len(server.queries) == 20

    run(main())
