"""Plain DNS against servers that lie."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
from types import SimpleNamespace
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from guardian.config import Transport, Upstream
from guardian.errors import UpstreamError
from guardian.resolver.upstream.plain import MOST_STRAYS


def test_an_answer_from_unbound_is_what_kdig_sees(unbound: Any, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        for transport in (Transport.UDP, Transport.TCP):
            async with opened(Upstream(transport, unbound.host, unbound.plain)) as upstreams:
                answer = await upstreams.resolve(net.make_question("www.test", dns.rdatatype.AAAA))
                texts = [str(record) for rrset in dns.message.from_wire(answer.message).answer for record in rrset]
                assert texts == ["2001:db8::80"]
                assert answer.source == f"{transport.value}://127.0.0.1:{unbound.plain}"
                assert answer.parsed.question is not None

    run(main())
    seen = subprocess.run(
        ["kdig", "+short", "+retry=0", "@127.0.0.1", "-p", str(unbound.plain), "www.test", "AAAA"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == "2001:db8::80"


def test_a_long_answer_comes_over_tcp(unbound: Any, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with opened(Upstream(Transport.UDP, unbound.host, unbound.plain)) as upstreams:
            answer = await upstreams.resolve(net.make_question("big.test", dns.rdatatype.TXT))
            assert len(answer.parsed.answers) == 40
            assert len(answer.message) > 4096

    run(main())


def test_ids_and_ports_are_random_and_only_the_question_leaves(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer(lambda query, _: [net.make_answer(query)]) as server, opened(server.upstream) as ups:
            count = 300
            for number in range(count):
                await ups.resolve(net.make_question(f"n{number % 3}.test"), dnssec_ok=bool(number % 2))
            ids = [query[:2] for query in server.queries]
            assert len(set(ids)) > count * 0.97
            assert len(set(server.ports)) > count * 0.9
            for sequence in (server.ports, [int.from_bytes(ident) for ident in ids]):
                steps = {after - before for before, after in itertools.pairwise(sequence)}
                assert len(steps) > count * 0.8  # no counting up
            for number, query in enumerate(server.queries):
                message = dns.message.from_wire(query)
                assert query == (
                    query[:2] + b"\1\x20\0\1\0\0\0\0\0\1" + net.make_question(f"n{number % 3}.test")
                    + b"\0\0\x29\x04\xd0\0\0" + (b"\x80\0" if number % 2 else b"\0\0") + b"\0\0"
                )  # fmt: skip
                assert message.options == ()

    run(main())


def lie(net: SimpleNamespace, kind: str, query: bytes) -> list[bytes]:
    true = net.make_answer(query)
    wrong_id = bytes((query[0] ^ 1, query[1]))
    other = net.read_question(net.make_answer(query)).replace(b"\x04test", b"\x04tesu")
    return {
        "wrong id": [wrong_id + net.make_answer(query, address="6.6.6.6")[2:], true],
        "wrong question": [net.make_answer(query, address="6.6.6.6", question=other), true],
        "a query": [query, true],
        "wrong opcode": [net.make_answer(query, address="6.6.6.6", flags=0xA980), true],
        "short": [b"", b"\0", query[:2], query[:11], true],
        "noise": [b"\xff" * 500, bytes(500), true],
        "too big": [true + bytes(5000)],
        "spoof flood": [
            bytes((query[0] ^ number & 0xFF or 1, query[1])) + net.make_answer(query, address="6.6.6.6")[2:]
            for number in range(1, 60)
        ]
        + [true],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["wrong id", "wrong question", "a query", "wrong opcode", "short", "noise", "spoof flood"]
)
def test_a_true_answer_behind_lies_is_found(kind: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        server = net.UdpServer(lambda query, _: lie(net, kind, query))
        async with server, opened(server.upstream) as upstreams:
            answer = await upstreams.resolve(net.make_question("www.test"))
            assert net.read_address(answer.message) == "192.0.2.1"
            assert len(server.queries) == 1

    run(main())


@pytest.mark.parametrize("kind", ["flood", "truncated", "too big"])
def test_udp_that_cannot_be_trusted_moves_to_tcp(kind: str, run: Any, opened: Any, net: Any) -> None:
    def behave(query: bytes, _: int) -> list[bytes]:
        if kind == "flood":
            return [net.make_answer(b"\xff\xff" + query[2:], address="6.6.6.6")] * MOST_STRAYS
        return lie(net, "too big", query) if kind == "too big" else [net.make_answer(query, flags=0x8380)]

    async def main() -> None:
        async with (
            net.UdpServer(behave) as server,
            net.StreamServer(net.serve_honestly, port=server.port),
            opened(server.upstream) as upstreams,
        ):
            answer = await upstreams.resolve(net.make_question("www.test"))
            assert net.read_address(answer.message) == "192.0.2.1"

    run(main())


@pytest.mark.parametrize(
    ("packets", "text"),
    [
        (lambda net, query: [net.make_answer(query, rcode=5)], "REFUSED"),
        (lambda net, query: [net.make_answer(query)[:-3]], "broken answer"),
        (lambda net, query: [net.make_answer(query) + b"more"], "broken answer"),
        (lambda net, query: [], "no answer in time"),
        (lambda net, query: [query], "no answer in time"),
        (lambda net, query: [net.make_answer(query, flags=0x8380)], "Connection refused"),  # TC, and TCP is closed
    ],
)
def test_useless_servers_end_in_an_error(packets: Any, text: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        server = net.UdpServer(lambda query, _: packets(net, query))
        async with server, opened(server.upstream, timeout=0.3) as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await upstreams.resolve(net.make_question("www.test"))
            assert text in str(caught.value)
            assert caught.value.code in (22, 23)
            assert upstreams.status()[0].failures >= 1

    run(main())


def test_a_lost_packet_is_sent_again_with_another_id_and_port(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        server = net.UdpServer(lambda query, number: [net.make_answer(query)] if number else [])
        async with server, opened(server.upstream) as upstreams:
            await upstreams.resolve(net.make_question("www.test"))
            assert len(server.queries) == 2
            assert server.queries[0][:2] != server.queries[1][:2]
            assert server.ports[0] != server.ports[1]

    run(main())


def test_nobody_there_is_known_at_once(run: Any, opened: Any, net: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]

    async def main() -> None:
        for transport in (Transport.UDP, Transport.TCP):
            async with opened(Upstream(transport, "127.0.0.1", port), timeout=15) as upstreams:
                with pytest.raises(UpstreamError, match="refused") as caught:
                    await asyncio.wait_for(upstreams.resolve(net.make_question("www.test")), 5)
                assert caught.value.code == 23

    run(main())


@pytest.mark.parametrize("shape", ["formerr", "notimp", "badvers", "header only"])
def test_a_server_without_edns_is_asked_without_and_remembered(shape: str, run: Any, opened: Any, net: Any) -> None:
    def behave(query: bytes, _: int) -> list[bytes]:
        if query[10:12] == b"\0\0":
            return [net.make_answer(query)]
        if shape == "header only":
            return [query[:2] + b"\x81\x81" + bytes(8)]
        if shape == "badvers":
            head = query[:2] + b"\x81\x80\0\1\0\0\0\0\0\1" + net.read_question(query)
            return [head + b"\0\0\x29\x04\xd0\1\0\0\0\0\0"]
        return [net.make_answer(query, rcode=1 if shape == "formerr" else 4)]

    async def main() -> None:
        async with net.UdpServer(behave) as server, opened(server.upstream) as upstreams:
            for _ in range(3):
                answer = await upstreams.resolve(net.make_question("www.test"), dnssec_ok=True)
                assert net.read_address(answer.message) == "192.0.2.1"
            assert [query[11] for query in server.queries] == [1, 0, 0, 0]

    run(main())


def test_formerr_to_everything_is_not_remembered_as_missing_edns(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        server = net.UdpServer(lambda query, _: [net.make_answer(query, rcode=1)])
        async with server, opened(server.upstream) as upstreams:
            for _ in range(2):
                with pytest.raises(UpstreamError, match="FORMERR"):
                    await upstreams.resolve(net.make_question("www.test"))
            assert [query[11] for query in server.queries] == [1, 0, 1, 0]

    run(main())


def test_cd_and_the_case_of_the_name_reach_the_server(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        question = b"\x03wWw\x04TEst\0\0\1\0\1"
        async with net.UdpServer(lambda query, _: [net.make_answer(query)]) as server, opened(server.upstream) as ups:
            await ups.resolve(question, checking_disabled=True)
            assert server.queries[0][2:4] == b"\1\x30"
            assert net.read_question(server.queries[0]) == question

    run(main())
