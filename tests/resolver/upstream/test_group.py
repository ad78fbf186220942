"""The search for a good answer among servers that are slow, silent, lame or gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from guardian.config import Strategy, Transport, Upstream
from guardian.errors import UpstreamError
from guardian.resolver.upstream.health import FAILURES_TO_DOWN

SERVFAIL, REFUSED = 2, 5


def find_closed_port() -> Upstream:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        return Upstream(Transport.UDP, "127.0.0.1", held.getsockname()[1])


def saying(net: Any, rcode: int, **more: Any) -> Any:
    return net.UdpServer(lambda query, _: [net.make_answer(query, rcode=rcode)], **more)


def silent(net: Any, **more: Any) -> Any:
    return net.UdpServer(lambda query, _: [], **more)


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("first", ["closed", "silent", "SERVFAIL", "REFUSED", "garbage"])
def test_a_bad_server_does_not_keep_the_answer_of_a_good_one(
    first: str, strategy: Strategy, run: Any, opened: Any, net: Any
) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            good = await stack.enter_async_context(net.UdpServer(host="127.0.0.2"))
            if first == "closed":
                bad = find_closed_port()
            else:
                makers = {
                    "silent": lambda: silent(net),
                    "SERVFAIL": lambda: saying(net, SERVFAIL),
                    "REFUSED": lambda: saying(net, REFUSED),
                    "garbage": lambda: net.UdpServer(lambda query, _: [net.make_answer(query)[:-1]]),
                }
                bad = (await stack.enter_async_context(makers[first]())).upstream
            async with opened(bad, good.upstream, strategy=strategy) as upstreams:
                for number in range(FAILURES_TO_DOWN + 2):
                    answer = await upstreams.resolve(net.make_question(f"{number}.test"))
                    assert answer.source == good.upstream.label
                assert net.read_address(answer.message) == "192.0.2.1"
                status = {entry.label: entry for entry in upstreams.status()}
                assert status[good.upstream.label].healthy
                assert status[good.upstream.label].failures == 0
                assert status[good.upstream.label].rtt is not None
                if strategy is Strategy.FAILOVER:
                    assert not status[bad.label].healthy
                    assert status[bad.label].last_error

    run(main())


def test_servfail_of_all_is_handed_on_and_nobody_is_blamed(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        for strategy in Strategy:
            servers = [saying(net, code, host=f"127.0.0.{n}") for n, code in ((2, REFUSED), (3, SERVFAIL), (4, 2))]
            async with (
                servers[0],
                servers[1],
                servers[2],
                opened(*(server.upstream for server in servers), strategy=strategy) as upstreams,
            ):
                for _ in range(5):
                    answer = await upstreams.resolve(net.make_question("www.test"))
                    assert answer.parsed.rcode == SERVFAIL
                    assert answer.source in {server.upstream.label for server in servers[1:]}
                assert all(entry.healthy for entry in upstreams.status())

    run(main())


def test_one_server_that_says_servfail_is_asked_once(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with saying(net, SERVFAIL) as server, opened(server.upstream) as upstreams:
            assert (await upstreams.resolve(net.make_question("www.test"))).parsed.rcode == SERVFAIL
            assert len(server.queries) == 1

    run(main())


def test_servfail_waits_little_for_a_second_opinion_and_none_from_one_that_is_down(
    run: Any, opened: Any, net: Any
) -> None:
    failing = False

    async def main() -> None:
        nonlocal failing

        def behave(query: bytes, _: int) -> list[bytes]:
            return [net.make_answer(query, rcode=SERVFAIL if failing else 0)]

        mute = net.UdpServer(lambda query, _: [] if failing else [net.make_answer(query)])
        async with (
            net.UdpServer(behave, delay=0.02) as one,
            mute,
            opened(one.upstream, mute.upstream, strategy=Strategy.RACE, timeout=4) as upstreams,
        ):
            for _ in range(2):
                await upstreams.resolve(net.make_question("www.test"))
            failing = True
            answer = await asyncio.wait_for(upstreams.resolve(net.make_question("www.test")), 3.5)
            assert (answer.source, answer.parsed.rcode) == (one.upstream.label, SERVFAIL)
        gone = find_closed_port()
        failing = False
        async with net.UdpServer(behave) as one, opened(gone, one.upstream) as upstreams:
            for _ in range(FAILURES_TO_DOWN):
                await upstreams.resolve(net.make_question("www.test"))
            asked = upstreams.status()[0].queries
            failing = True
            assert (await upstreams.resolve(net.make_question("www.test"))).parsed.rcode == SERVFAIL
            assert upstreams.status()[0].queries == asked

    run(main())


def test_refused_by_all_is_an_error(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with (
            saying(net, REFUSED) as one,
            saying(net, REFUSED) as two,
            opened(one.upstream, two.upstream) as upstreams,
        ):
            with pytest.raises(UpstreamError, match="REFUSED") as caught:
                await upstreams.resolve(net.make_question("www.test"))
            assert caught.value.code == 22
            assert (len(one.queries), len(two.queries)) == (1, 1)

    run(main())


def test_failover_asks_the_first_only(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with (
            net.UdpServer(delay=0.01) as one,
            net.UdpServer() as two,
            opened(one.upstream, two.upstream) as upstreams,
        ):
            for _ in range(20):
                await upstreams.resolve(net.make_question("www.test"))
            assert len(one.queries) == 20
            assert len(two.queries) <= 2  # a pause of the machine makes an answer overdue

    run(main())


def test_fastest_settles_on_the_quicker_server_and_moves_when_it_slows(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with (
            net.UdpServer(delay=0.05) as one,
            net.UdpServer() as two,
            opened(one.upstream, two.upstream, strategy=Strategy.FASTEST) as upstreams,
        ):
            for _ in range(20):
                await upstreams.resolve(net.make_question("www.test"))
            assert len(two.queries) >= 18
            assert len(one.queries) <= 4
            two.delay = 0.15
            for _ in range(20):
                await upstreams.resolve(net.make_question("www.test"))
            assert len(one.queries) >= 8

    run(main())


def test_race_takes_the_first_good_answer_and_asks_no_third(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        slow = net.UdpServer(lambda query, _: [net.make_answer(query, address="192.0.2.9")], delay=0.03)
        async with saying(net, SERVFAIL) as quick, slow, net.UdpServer() as spare:
            async with opened(quick.upstream, slow.upstream, strategy=Strategy.RACE, timeout=2) as upstreams:
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert net.read_address(answer.message) == "192.0.2.9"
            async with opened(spare.upstream, slow.upstream, quick.upstream, strategy=Strategy.RACE) as upstreams:
                await asyncio.sleep(0)
                before = len(quick.queries)
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert net.read_address(answer.message) == "192.0.2.1"
                assert len(spare.queries) == 1
                assert len(quick.queries) - before <= 1  # a measurement, which nobody waits for

    run(main())


def test_a_server_that_was_down_is_probed_by_a_real_query_and_comes_back(run: Any, opened: Any, net: Any) -> None:
    alive = False

    async def main() -> None:
        nonlocal alive
        first = net.UdpServer(lambda query, _: [net.make_answer(query, rcode=0 if alive else REFUSED)])
        async with first, net.UdpServer() as second, opened(first.upstream, second.upstream) as upstreams:
            for _ in range(FAILURES_TO_DOWN):
                await upstreams.resolve(net.make_question("www.test"))
            assert [entry.healthy for entry in upstreams.status()] == [False, True]
            asked = len(first.queries)
            for _ in range(5):
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert answer.source == second.upstream.label
            assert len(first.queries) == asked  # it rests
            alive = True
            while not upstreams.status()[0].healthy:
                await upstreams.resolve(net.make_question("www.test"))
                await asyncio.sleep(0.02)
            assert len(first.queries) == asked + 1
            assert (await upstreams.resolve(net.make_question("www.test"))).source == first.upstream.label

    run(main())


def test_when_all_are_down_the_next_query_finds_the_one_that_came_back(run: Any, opened: Any, net: Any) -> None:
    alive = False

    async def main() -> None:
        nonlocal alive

        def behave(query: bytes, _: int) -> list[bytes]:
            return [net.make_answer(query)] if alive else []

        async with (
            net.UdpServer(behave) as one,
            silent(net) as two,
            opened(one.upstream, two.upstream, timeout=0.2) as upstreams,
        ):
            for _ in range(FAILURES_TO_DOWN + 1):
                with pytest.raises(UpstreamError, match="in time"):
                    await upstreams.resolve(net.make_question("www.test"))
            assert not any(entry.healthy for entry in upstreams.status())
            alive = True
            assert (await upstreams.resolve(net.make_question("www.test"))).source == one.upstream.label
            assert upstreams.status()[0].healthy

    run(main())


def test_giving_up_a_question_leaves_nothing_behind(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with (
            silent(net) as one,
            silent(net) as two,
            opened(one.upstream, two.upstream, strategy=Strategy.RACE, timeout=10) as upstreams,
        ):
            tasks = [asyncio.create_task(upstreams.resolve(net.make_question(f"{n}.test"))) for n in range(20)]
            while len(one.queries) < 20:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
            for _ in range(3):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert all(entry.healthy for entry in upstreams.status())  # impatience is no failure

    run(main())
