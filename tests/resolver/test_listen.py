"""The UDP side over real sockets: ready answers, misses, strangers, limits, and floods of nonsense."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import subprocess
import tracemalloc

import dns.flags
import dns.message
import dns.rcode
import pytest

from guardian.config import Endpoint
from guardian.resolver.batch import BATCH, SLOT_BYTES
from guardian.resolver.cache import Entry
from guardian.resolver.clients import Client
from guardian.resolver.listen import FLUSH_QUERIES, REFUSALS_PER_SECOND, UdpListener, open_udp
from guardian.resolver.tcp import TcpListener
from guardian.wire import dns as wire
from tests.resolver.engine import make_query
from tests.resolver.served import ADULT, CHILD, STRANGER, Served, UdpClient, run


def texts(raw: bytes) -> list[str]:
    return [str(rrset) for rrset in dns.message.from_wire(raw).answer]


@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", CHILD), ("::1", "::1")])
def test_misses_are_answered_later_and_hits_at_once(host: str, source: str) -> None:
    async def scenario() -> None:
        async with Served((host,)) as served:
            with UdpClient(source) as client:
                packet = make_query("www.example")
                for _ in range(3):
                    reply = await client.ask(packet, served.port, host)
                    assert texts(reply) == ["www.example. 600 IN A 192.0.2.0"]
                    assert reply[:2] == packet[:2]
                assert served.upstream.asked == ["www.example"]
                other = make_query("www.example")
                assert (await client.ask(other, served.port, host))[:2] == other[:2]
                assert served.core.clients.by_address[socket.inet_pton(client.socket.family, source)].ready

    run(scenario())


def assert_same_but_for_time(answer: bytes, before: bytes) -> None:
    """Equal bytes, but for TTLs that may have counted down since."""
    one, other = wire.parse_message(answer), wire.parse_message(before)
    records, earlier = ([*m.answers, *m.authority] for m in (one, other))
    assert [record._replace(ttl=0) for record in records] == [record._replace(ttl=0) for record in earlier]
    assert all(0 <= old.ttl - new.ttl <= 5 for new, old in zip(records, earlier, strict=True))
    assert len(answer) == len(before)
    assert (one.id, one.flags, one.question, one.edns) == (other.id, other.flags, other.question, other.edns)


def test_ready_answers_are_what_the_long_way_gives() -> None:
    """The first answer is built, the second is found; both are the same but for the id. 0x20 and EDNS included."""

    async def scenario() -> None:
        async with Served() as served:
            queries = [
                make_query(name, kind, edns=edns, dnssec=dnssec)
                for name in ("wWw.ExAmPlE", "bet.example", "3.example", "80.example", "www.search.example", "a.local")
                for kind in ("A", "AAAA", "HTTPS")
                for edns, dnssec in ((True, False), (False, False), (True, True))
                if not (kind == "HTTPS" and name[0] in "w38")
            ]
            with UdpClient() as client:
                first = [await client.ask(query, served.port) for query in queries]
                for number, (query, before) in enumerate(zip(queries, first, strict=True)):
                    again = number.to_bytes(2) + query[2:]
                    assert_same_but_for_time(await client.ask(again, served.port), again[:2] + before[2:])
                    end = wire.parse_query(query).question_end
                    assert before[12:end] == query[12:end]

    run(scenario())


def test_a_ready_answer_counts_its_ttl_down() -> None:
    async def scenario() -> None:
        async with Served() as served:
            packet = make_query("www.example")
            with UdpClient() as client:
                await client.ask(packet, served.port)
                (ready,) = served.core.clients.by_address[socket.inet_aton(CHILD)].ready.values()
                assert isinstance(ready._entry, Entry)
                ready._entry.stored -= 100  # as if it were a hundred seconds old
                ready.good_until -= 100
                assert texts(await client.ask(packet, served.port)) == ["www.example. 500 IN A 192.0.2.0"]

    run(scenario())


def test_full_batches_with_hits_blocks_misses_and_silence_in_between() -> None:
    """Answers go out in stretches: whatever lies between, each query gets its own."""

    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                hit, blocked = make_query("www.example"), make_query("bet.example")
                await client.ask(hit, served.port)
                shapes = [hit, blocked, make_query("www.example", flags=0x8100), b"\0" * 5, hit[:20]]
                random.seed(7)
                expected = {}
                for number in range(3 * BATCH):
                    shape = random.choice([*shapes, make_query(f"n{number}.example")])
                    packet = number.to_bytes(2) + shape[2:]
                    if shape is not shapes[2] and shape is not shapes[3]:
                        expected[number] = shape
                    client.send(packet, served.port)
                for _ in range(len(expected)):
                    reply, _ = await client.receive()
                    shape = expected.pop(int.from_bytes(reply[:2]))
                    if shape is shapes[4]:
                        assert reply[3] & 15 == dns.rcode.FORMERR
                    else:
                        assert dns.message.from_wire(reply).question == dns.message.from_wire(shape).question
                        assert texts(reply)
                assert not expected

    run(scenario())


@pytest.mark.parametrize(("bound", "hosts"), [("0.0.0.0", ("127.0.0.1", "127.0.0.5")), ("::", ("::1",))])
def test_on_a_wildcard_every_answer_leaves_from_the_address_that_was_asked(bound: str, hosts: tuple[str, ...]) -> None:
    """Ready, made at once, and late: three ways out, one source address."""

    async def scenario() -> None:
        async with Served((bound,)) as served:
            for host in hosts:
                with UdpClient("::1" if ":" in bound else CHILD) as client:
                    for packet in (make_query(f"late-{hosts.index(host)}.example"), make_query("bet.example")):
                        for _ in range(2):
                            client.send(packet, served.port, host)
                            await asyncio.sleep(0)
                            served.upstream.open_late()
                            data, sender = await client.receive()
                            assert (data[:2], sender) == (packet[:2], host)

    run(scenario())


def test_long_answers_are_truncated_and_short_packets_get_nothing_long() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                for edns, most in ((False, 512), (True, wire.MAX_UDP_PAYLOAD)):
                    packet = make_query("200.example", edns=edns)
                    for _ in range(2):
                        reply = await client.ask(packet, served.port)
                        assert len(reply) <= most
                        assert dns.message.from_wire(reply).flags & dns.flags.TC

    run(scenario())


def test_oversize_datagrams_get_formerr() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                for size in (SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 1, 60_000):
                    packet = make_query("www.example", edns=False)
                    reply = await client.ask(packet + bytes(size - len(packet)), served.port)
                    assert reply[:2] == packet[:2]
                    assert reply[3] & 15 == dns.rcode.FORMERR

    run(scenario())


def test_an_upstreams_endless_error_text_stays_in_its_slot() -> None:
    """It used to be written over the slots of other clients' datagrams, or to raise when it was longer than all."""

    async def scenario() -> None:
        async with Served() as served:
            packet = make_query("x.example")
            miss = served.engine.miss(packet, socket.inet_aton(CHILD))
            failure = wire.Message(
                1, 0x8182, wire.Question(miss.name, 1, 1), edns=wire.Edns(options=((15, b"\0\x16" + b"x" * 60_000),))
            )

            class Liar:
                async def resolve(self, question: bytes, **_: bool) -> object:
                    return type("Reply", (), {"parsed": failure})()

            served.resolver.replace_upstream(Liar())  # type: ignore[arg-type]
            with UdpClient() as client:
                for _ in range(2):
                    reply = await client.ask(packet, served.port)
                    assert dns.message.from_wire(reply).rcode() == dns.rcode.SERVFAIL
                    assert len(reply) < 200

    run(scenario())


def test_strangers_get_few_refusals_and_then_silence() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with UdpClient(STRANGER) as stranger, UdpClient() as client:
                packet = make_query("bet.example")
                for _ in range(3 * REFUSALS_PER_SECOND):
                    stranger.send(packet, served.port)
                stranger.send(b"\0\0\x80" + bytes(20), served.port)
                stranger.send(b"", served.port)
                await client.ask(packet, served.port)  # came last, and is answered: all before it were seen
                got = 0
                while True:
                    try:
                        reply = stranger.socket.recv(4096)
                    except BlockingIOError:
                        break
                    got += 1
                    assert reply[3] & 15 == dns.rcode.REFUSED
                    assert len(reply) == wire.HEADER_BYTES  # shorter than the query: nothing to amplify
                assert got == REFUSALS_PER_SECOND
                served.core.tick()
                assert (await stranger.ask(packet, served.port))[3] & 15 == dns.rcode.REFUSED
            assert served.core.refused == 3 * REFUSALS_PER_SECOND + 3
            assert len(served.core.clients.by_address) == 1

    run(scenario())


def test_a_client_beyond_its_rate_is_not_answered_and_others_are() -> None:
    async def scenario() -> None:
        async with Served() as served:
            hit, miss = make_query("bet.example"), make_query("www.example")
            with UdpClient() as client, UdpClient("127.0.0.3") as other:
                await client.ask(hit, served.port)
                served.core.clients.by_address[socket.inet_aton(CHILD)].allowance = 5
                for number in range(20):
                    client.send(number.to_bytes(2) + (hit, miss)[number % 2][2:], served.port)
                await other.ask(hit, served.port)
                await other.ask(miss, served.port)
                numbers = {int.from_bytes((await client.receive())[0][:2]) for _ in range(5)}
                assert numbers == set(range(5))
                with pytest.raises(BlockingIOError):
                    client.socket.recv(4096)
            assert served.core.limited == 15

    run(scenario())


def test_what_was_answered_is_counted_once_wherever_it_was_answered() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                for name in ("bet.example", "www.example"):
                    for _ in range(3):
                        await client.ask(make_query(name), served.port)
            served.core.flush()
            (asker,) = {id(client): client for client in served.drained}.values()
            assert isinstance(asker, Client)
            counts = {fact.action: n for fact, n in asker.counts.items() if fact is not None}
            assert counts == {"block": 3, "allow": 3}

    run(scenario())


def test_a_policy_that_changes_meanwhile_meets_the_late_answer() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                packet = make_query("late.example")
                client.send(packet, served.port)
                while not served.upstream.asked:
                    await asyncio.sleep(0.001)
                handler, before = served.core.handler, served.core.handler.lists

                class EverythingListed:
                    tags = before.tags

                    def lookup(self, name: bytes) -> int:
                        return 1 << before.tags.index("mandatory:test")

                    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
                        return []

                handler.lists = EverythingListed()
                served.upstream.open_late()
                reply, _ = await client.receive()
                assert texts(reply) == ["late.example. 10 IN A 192.168.1.1"]

    run(scenario())


def test_a_client_that_left_and_a_listener_that_closed_lose_their_late_answers() -> None:
    async def scenario() -> None:
        async with Served(("127.0.0.1", "127.0.0.3")) as served:
            with UdpClient() as client, UdpClient() as gone:
                gone.send(make_query("late-a.example"), served.port)
                client.send(make_query("late-b.example"), served.ports["127.0.0.3"], "127.0.0.3")
                while len(served.upstream.asked) < 2:
                    await asyncio.sleep(0.001)
                asyncio.get_running_loop().remove_reader(served.udp["127.0.0.3"].fileno())
                served.udp["127.0.0.3"].close()
                gone.socket.close()
                served.upstream.open_late()
                await client.ask(make_query("late-c.example"), served.port)
                served.udp["127.0.0.3"] = UdpListener(open_udp(Endpoint("127.0.0.3", 0)), served.core)

    run(scenario())


def test_a_defect_costs_one_batch_and_not_the_listener() -> None:
    """After an exception the slots used to keep the lengths of answers: longer datagrams were cut from then on."""

    async def scenario() -> None:
        async with Served() as served:
            with UdpClient() as client:
                hit = make_query("bet.example", edns=False)
                await client.ask(hit, served.port)
                fetch = served.core.fetcher

                class Broken:
                    def fetch(self, *_: object) -> None:
                        raise ZeroDivisionError("a defect")

                served.core.fetcher = Broken()
                for packet in (hit, hit, make_query("www.example")):  # one batch: what is read together
                    client.send(packet, served.port)
                while not served.unheard:
                    await asyncio.sleep(0.001)
                served.core.fetcher = fetch
                served.unheard.clear()
                long = make_query("b" * 60 + ".example", options=[])
                for number in range(3):
                    client.send(number.to_bytes(2) + long[2:], served.port)
                replies = [(await client.receive())[0] for _ in range(3)]
                assert [len(texts(reply)) for reply in replies] == [1, 1, 1]

    run(scenario())


def test_a_taken_port_is_an_error_and_not_a_theft() -> None:
    """With SO_REUSEADDR Linux gives a UDP port to a second server, and the first one starves in silence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as dnsmasq does
        first.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            open_udp(Endpoint("127.0.0.1", first.getsockname()[1]))


def test_both_families_share_a_port() -> None:
    first = open_udp(Endpoint("0.0.0.0", 0))
    open_udp(Endpoint("::", first.getsockname()[1])).close()
    first.close()


def test_dig_agrees() -> None:
    async def scenario() -> None:
        async with Served() as served:
            command = ["dig", "+noall", "+answer", "+tries=1", "-b", CHILD, "@127.0.0.1", "-p", str(served.port)]
            for words, expected in (
                (["3.example", "A"], "3.example.\t\t600\tIN\tA\t192.0.2.0"),
                (["200.example", "A"], "200.example.\t\t600\tIN\tA\t192.0.2.199"),  # by TCP after TC
                (["bet.example", "AAAA"], "bet.example.\t\t10\tIN\tAAAA\tfd00::1"),
            ):
                done = await asyncio.to_thread(
                    subprocess.run, [*command, *words], capture_output=True, text=True, check=True, timeout=20
                )
                assert expected in done.stdout, done.stdout

    try:
        run(scenario())
    except FileNotFoundError:
        pytest.skip("dig is not installed (bind9-dnsutils)")


FLOOD = 40_000


def test_a_flood_of_nonsense_leaves_memory_flat_and_the_server_answering() -> None:
    async def scenario() -> None:
        async with Served(max_bytes=1 << 20) as served:
            noise = random.Random(5)
            queries = [make_query("bet.example"), make_query("www.example", dnssec=True), make_query("a.local")]

            def junk(number: int) -> bytes:
                if number % 3 == 0:
                    return noise.randbytes(noise.randrange(80))
                packet = bytearray(queries[number % len(queries)])
                for _ in range(number % 4):
                    packet[noise.randrange(2, len(packet))] = noise.randrange(256)
                return bytes(packet)

            async def flood(count: int) -> None:
                for number in range(count):
                    client.send(junk(number), served.port)
                    if number % 50 == 49:
                        served.udp["127.0.0.1"].on_readable()
                        await asyncio.sleep(0)
                        drain()
                        if number % 5000 == 49:
                            tick()

            def drain() -> None:
                while True:
                    try:
                        client.socket.recv(4096)
                    except BlockingIOError:
                        return

            def tick() -> None:
                served.core.flush()
                for seen in served.drained:
                    seen.counts.clear()
                    seen.log = None if seen.log is None else []
                served.drained.clear()
                served.upstream.asked.clear()

            with UdpClient(ADULT) as client:
                await flood(FLOOD // 2)  # the tables fill up to their bounds
                gc.collect()
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
                bound = len(served.core.clients.budget)
                await flood(FLOOD // 2)
                tick()
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
                tracemalloc.stop()
                assert len(served.core.clients.budget) <= served.core.clients.budget.limit
                assert bound <= served.core.clients.budget.limit
                assert served.engine.cache.bytes <= served.engine.cache.limits.max_bytes
                grown -= served.engine.cache.bytes
                assert grown < 500_000, grown  # of 20,000 packets: less than any object for each
                drain()
                assert texts(await client.ask(b"\xab\xcd" + make_query("www.example")[2:], served.port))

    run(scenario())


def test_the_history_gets_its_share_under_load() -> None:
    async def scenario() -> None:
        async with Served() as served:
            packet = make_query("bet.example")
            with UdpClient() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
                for number in range(FLUSH_QUERIES + 2 * BATCH):
                    client.send(packet, served.port)
                    if number % BATCH == 0:
                        served.udp["127.0.0.1"].on_readable()
                await client.ask(packet, served.port)
            assert served.drained
            assert served.core.answered <= FLUSH_QUERIES + 8 * BATCH

    run(scenario())


def test_a_tcp_port_may_follow_the_udp_port() -> None:
    async def scenario() -> None:
        async with Served() as served:
            second = TcpListener(served.core)
            await second.start(Endpoint("127.0.0.5", served.port))
            assert second.port == served.port
            await second.close()

    run(scenario())
