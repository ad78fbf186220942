"""Which server a question may reach, and how many questions there may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guardian.config import Forward, Strategy, Transport, Upstream, UpstreamConfig
from guardian.errors import ConfigError, UpstreamError
from guardian.names import parse_name
from guardian.resolver.upstream import MOST_RUNNING, Upstreams


def test_the_longest_forwarded_domain_wins_in_any_case(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer() as general, net.UdpServer() as outer, net.UdpServer() as inner:
            forwards = (
                Forward(parse_name("corp.test"), (outer.upstream,)),
                Forward(parse_name("lab.corp.test"), (inner.upstream,)),
            )
            async with opened(general.upstream, forwards=forwards) as upstreams:
                for name, server in {
                    "corp.test": outer,
                    "www.corp.test": outer,
                    "xlab.corp.test": outer,
                    "lab.corp.test": inner,
                    "a.b.lab.corp.test": inner,
                    "xcorp.test": general,
                    "test": general,
                }.items():
                    for question in (net.make_question(name), net.make_question(name).replace(b"co", b"Co")):
                        assert (await upstreams.resolve(question)).source == server.upstream.label
            assert all(b"corp" not in query.lower() for query in general.queries if b"xcorp" not in query.lower())

    run(main())


@pytest.mark.parametrize("strategy", Strategy)
def test_a_forwarded_domain_never_leaks(strategy: Strategy, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer() as general, net.UdpServer() as other:
            dead = net.UdpServer(lambda query, _: [])
            refusing = net.UdpServer(lambda query, _: [net.make_answer(query, rcode=5)])
            async with dead, refusing:
                forwards = (
                    Forward(parse_name("home.arpa"), (dead.upstream, refusing.upstream)),
                    Forward(parse_name("168.192.in-addr.arpa"), (refusing.upstream,)),
                )
                servers = (general.upstream, other.upstream)
                async with opened(*servers, forwards=forwards, strategy=strategy, timeout=0.1) as upstreams:
                    for name in ("tv.home.arpa", "HOME.arpa", "1.1.168.192.in-addr.arpa"):
                        for _ in range(4):
                            with pytest.raises(UpstreamError):
                                await upstreams.resolve(net.make_question(name))
            assert general.queries == other.queries == []
            assert dead.queries
            assert refusing.queries

    run(main())


def test_beyond_the_bound_questions_fail_at_once(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async def swallow(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.read(reader)

        async with (
            net.StreamServer(swallow) as server,
            opened(Upstream(Transport.TCP, server.host, server.port), timeout=15) as upstreams,
        ):
            tasks = [
                asyncio.create_task(upstreams.resolve(net.make_question(f"{number}.test")))
                for number in range(MOST_RUNNING)
            ]
            while len(server.queries) < MOST_RUNNING:
                await asyncio.sleep(0.01)
            with pytest.raises(UpstreamError, match="too many"):
                await upstreams.resolve(net.make_question("more.test"))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with pytest.raises(UpstreamError, match="in time"):
                await asyncio.wait_for(_resolve_shortly(opened, server, net), 5)

    run(main())


async def _resolve_shortly(opened: Any, server: Any, net: Any) -> None:
    async with opened(Upstream(Transport.TCP, server.host, server.port), timeout=0.1) as upstreams:
        await upstreams.resolve(net.make_question("again.test"))


def test_draining_lets_questions_end(run: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer(delay=0.05) as server:
            upstreams = Upstreams(UpstreamConfig((server.upstream,)))
            tasks = [asyncio.create_task(upstreams.resolve(net.make_question(f"{n}.test"))) for n in range(10)]
            while len(server.queries) < 10:
                await asyncio.sleep(0.001)
            await upstreams.drain()
            assert all([net.read_address((await task).message) == "192.0.2.1" for task in tasks])
            with pytest.raises(UpstreamError, match="closed"):
                await upstreams.resolve(net.make_question("www.test"))

    run(main())


def test_status_lists_each_server_once(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer() as one, net.UdpServer() as two:
            forwards = (Forward(parse_name("corp.test"), (two.upstream, one.upstream)),)
            async with opened(one.upstream, bootstrap=(two.upstream,), forwards=forwards) as upstreams:
                await upstreams.resolve(net.make_question("www.test"))
                await upstreams.resolve(net.make_question("www.corp.test"))
                status = {entry.label: entry.queries for entry in upstreams.status()}
                assert status == {one.upstream.label: 1, two.upstream.label: 1}
                assert len(upstreams.status()) == 2

    run(main())


def test_a_ca_file_that_is_not_there_is_told_at_the_start() -> None:
    upstream = Upstream(Transport.TLS, "dns.test", 853, ca_file="/does/not/exist.pem")
    with pytest.raises(ConfigError, match=r"/does/not/exist\.pem"):
        Upstreams(UpstreamConfig((upstream,)))


def test_without_https_nothing_of_http_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from guardian.config import *; from guardian.resolver.upstream import Upstreams;"
        "Upstreams(UpstreamConfig((read_upstream('1.1.1.1'), read_upstream('tls://dns.test@1.1.1.1'))));"
        "print([name for name in ('h2', 'httpx', 'http.client', 'requests') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
