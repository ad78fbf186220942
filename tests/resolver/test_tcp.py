"""The TCP side over real connections: many queries on one, and clients that are slow, silent, many or rude."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest

from guardian.config import Endpoint
from guardian.resolver import tcp
from guardian.resolver.tcp import MAX_PENDING, MAX_PER_CLIENT, MAX_QUERY_BYTES, TcpListener
from tests.resolver.engine import make_query
from tests.resolver.served import CHILD, STRANGER, Served, TcpClient, run


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def shrink_send_buffers(served: Served) -> None:
    """Let connections accepted from now on have a small buffer in the kernel, so that little is much."""
    server = served.tcp["127.0.0.1"]._server
    assert server is not None
    for sock in server.sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


async def wait_for_no_connection(served: Served) -> None:
    while served.tcp["127.0.0.1"]._connections:
        await asyncio.sleep(0.005)


async def asked(served: Served, count: int) -> None:
    while len(served.upstream.asked) < count:
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", CHILD), ("::1", "::1")])
def test_one_after_the_other_on_one_connection(host: str, source: str) -> None:
    async def scenario() -> None:
        async with Served((host,)) as served:
            client = await TcpClient.open(served.port, host, source)
            for name in ("www.example", "bet.example", "www.example"):
                packet = make_query(name)
                client.send(packet)
                reply = await client.reply()
                assert reply[:2] == packet[:2]
                assert dns.message.from_wire(reply).answer
            await client.close()

    run(scenario())


def test_a_long_answer_comes_whole() -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            client.send(make_query("900.example", edns=False))
            reply = await client.reply()
            message = dns.message.from_wire(reply)
            assert not message.flags & dns.flags.TC
            assert len(message.answer[0]) == 900
            await client.close()

    run(scenario())


def test_many_queries_at_once_are_answered_as_they_come_ready() -> None:
    """RFC 7766 section 7: a slow question does not hold up the others, and all are answered in the end."""

    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            late = make_query("late.example")
            others = [number.to_bytes(2) + make_query(f"n{number}.example")[2:] for number in range(3 * MAX_PENDING)]
            client.send(late, *others)
            got = []
            for _ in others:
                got.append((await client.reply())[:2])
            assert sorted(got) == [packet[:2] for packet in others]
            served.upstream.open_late()
            assert (await client.reply())[:2] == late[:2]
            await client.close()

    run(scenario())


def test_more_slow_queries_than_may_wait_are_held_back_and_not_lost() -> None:
    """It used to close the connection, and all the answers that it owed were lost."""

    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            packets = [n.to_bytes(2) + make_query(f"late{n}.example")[2:] for n in range(2 * MAX_PENDING)]
            client.send(*packets)
            await asked(served, MAX_PENDING)
            await asyncio.sleep(0.02)
            assert len(served.upstream.asked) == MAX_PENDING
            served.upstream.open_late()
            got = set()
            for _ in packets:
                got.add((await client.reply())[:2])
            assert got == {packet[:2] for packet in packets}
            await client.close()

    run(scenario())


def test_a_client_that_has_sent_its_last_query_still_gets_its_answers() -> None:
    """RFC 1035 section 4.2.2: the server delays its end until all outstanding requests have been satisfied."""

    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            names = ["late.example", "bet.example", "lately.example", "900.example"]
            client.send(*map(make_query, names))
            client.writer.write_eof()
            await asked(served, 3)
            served.upstream.open_late()
            got = set()
            while (reply := await client.receive()) is not None:
                message = dns.message.from_wire(reply)
                got.add(str(message.question[0].name).rstrip("."))
            assert got == set(names)
            await wait_for_no_connection(served)
            await client.close()

    run(scenario())


def test_queries_in_pieces_of_one_byte() -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            packet = make_query("bet.example")
            for byte in struct.pack(">H", len(packet)) + packet:
                client.writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            await client.reply()
            await client.close()

    run(scenario())


def test_a_slow_drip_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MESSAGE_SECONDS", 0.05)

    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            for byte in (b"\0", b"\x20", b"x"):
                client.writer.write(byte)
                await asyncio.sleep(0.01)
            assert await client.receive() is None
            await wait_for_no_connection(served)
            await client.close()

    run(scenario())


@pytest.mark.parametrize("before", [0, 1])
def test_idle_connections_end(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "IDLE_SECONDS", 0.1)

    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            for _ in range(before):
                client.send(make_query("bet.example"))
                await client.reply()
            assert await client.receive() is None
            await wait_for_no_connection(served)
            await client.close()

    run(scenario())


@pytest.mark.parametrize(
    "junk",
    [
        struct.pack(">H", MAX_QUERY_BYTES + 1),
        b"\xff\xff" + bytes(100),
        b"GET / HTTP/1.1\r\nHost: guardian.home.arpa\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
)
def test_what_is_no_dns_ends_the_connection(junk: bytes) -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            client.writer.write(junk)
            assert await client.receive() is None
            await wait_for_no_connection(served)
            await client.close()

    run(scenario())


def test_broken_messages_get_formerr_and_the_connection_goes_on() -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            good = make_query("bet.example")
            client.send(good[:20], good + b"x", good)
            codes = []
            for _ in range(3):
                codes.append((await client.reply())[3] & 15)
            assert codes == [dns.rcode.FORMERR, dns.rcode.FORMERR, dns.rcode.NOERROR]
            client.send(b"", b"\0", good[:2] + b"\x80" + good[3:], good)  # no answer to these, and no harm
            assert (await client.reply())[:2] == good[:2]
            await client.close()

    run(scenario())


def test_one_client_cannot_take_all_connections() -> None:
    async def scenario() -> None:
        async with Served() as served:
            clients = [await TcpClient.open(served.port) for _ in range(MAX_PER_CLIENT + 3)]
            for client in clients:
                client.send(make_query("bet.example"))
            replies = [await client.receive() for client in clients]
            assert sum(reply is not None for reply in replies) == MAX_PER_CLIENT
            other = await TcpClient.open(served.port, source="127.0.0.3")
            other.send(make_query("bet.example"))
            await other.reply()
            for client in (*clients, other):
                await client.close()
            await wait_for_no_connection(served)

    run(scenario())


def test_strangers_are_refused_and_take_no_room_from_the_home() -> None:
    """All of them together count as one client; each of many addresses used to have 16 connections of 128."""

    async def scenario() -> None:
        async with Served() as served:
            strangers = []
            for number in range(3 * MAX_PER_CLIENT):
                strangers.append(await TcpClient.open(served.port, source=f"127.0.1.{1 + number}"))
            await asyncio.sleep(0.01)
            assert len(served.tcp["127.0.0.1"]._connections) <= MAX_PER_CLIENT
            for stranger in strangers:
                await stranger.close()
            await wait_for_no_connection(served)
            client = await TcpClient.open(served.port, source=STRANGER)
            client.send(make_query("bet.example"))
            reply = await client.reply()
            assert reply[3] & 15 == dns.rcode.REFUSED
            await client.close()

    run(scenario())


def test_all_connections_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 4)

    async def scenario() -> None:
        async with Served() as served:
            clients = [await TcpClient.open(served.port, source=f"127.0.0.{2 + n}") for n in range(6)]
            for client in clients:
                client.send(make_query("bet.example"))
            replies = [await client.receive() for client in clients]
            assert sum(reply is not None for reply in replies) == 4
            for client in clients:
                await client.close()
            await wait_for_no_connection(served)

    run(scenario())


def test_a_client_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection and 256 kB of answers used to stay for ever, in no table that bounded them."""
    monkeypatch.setattr(tcp, "IDLE_SECONDS", 0.2)

    async def scenario() -> None:
        async with Served() as served:
            before = count_descriptors()
            rude = []
            for _ in range(5):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                sock.bind((CHILD, 0))
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, ("127.0.0.1", served.port))
                packet = make_query("900.example")
                try:
                    async with asyncio.timeout(10):
                        for _ in range(2000):
                            await loop.sock_sendall(sock, struct.pack(">H", len(packet)) + packet)
                except ConnectionError:
                    pass
                await wait_for_no_connection(served)
                rude.append(sock)
            async with asyncio.timeout(5):
                while count_descriptors() > before + len(rude):
                    await asyncio.sleep(0.005)
            for sock in rude:
                sock.close()

    run(scenario())


def test_late_answers_to_a_client_that_never_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_UNSENT_BYTES", 20_000)

    async def scenario() -> None:
        async with Served() as served:
            shrink_send_buffers(served)
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            sock.bind((CHILD, 0))
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", served.port))
            served.upstream.count_of_late = 999
            packets = [make_query(f"late{number}.example") for number in range(MAX_PENDING)]
            await loop.sock_sendall(sock, b"".join(struct.pack(">H", len(p)) + p for p in packets))
            await asked(served, MAX_PENDING)
            for connection in served.tcp["127.0.0.1"]._connections:
                assert not connection.done()
            served.upstream.open_late()
            await wait_for_no_connection(served)
            sock.close()

    run(scenario())


def test_a_client_that_resets_leaves_nothing() -> None:
    async def scenario() -> None:
        async with Served() as served:
            for _ in range(5):
                client = await TcpClient.open(served.port)
                client.send(make_query("late.example"))
                await asked(served, 1)
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await client.close()
            await wait_for_no_connection(served)
            served.upstream.open_late()
            other = await TcpClient.open(served.port)
            other.send(make_query("late.example"))
            await other.reply()
            await other.close()

    run(scenario())


def test_closing_the_listener_ends_what_is_under_way() -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            client.send(make_query("late.example"))
            await asked(served, 1)
            await served.tcp["127.0.0.1"].close()
            assert await client.receive() is None
            with pytest.raises(ConnectionRefusedError):
                await TcpClient.open(served.port)
            served.upstream.open_late()  # its answer finds nobody
            await client.close()

    run(scenario())


def test_a_taken_port_is_an_error() -> None:
    async def scenario() -> None:
        async with Served() as served:
            with pytest.raises(OSError, match="in use"):
                await TcpListener(served.core).start(Endpoint("127.0.0.1", served.port))

    run(scenario())


def test_the_rate_limit_holds_on_tcp_too() -> None:
    async def scenario() -> None:
        async with Served() as served:
            client = await TcpClient.open(served.port)
            packet = make_query("bet.example")
            client.send(packet)
            await client.receive()
            served.core.clients.by_address[socket.inet_aton(CHILD)].allowance = 2
            client.send(packet, packet, packet, packet)
            await client.reply()
            await client.reply()
            while served.core.limited < 2:
                await asyncio.sleep(0.002)
            await client.close()

    run(scenario())
