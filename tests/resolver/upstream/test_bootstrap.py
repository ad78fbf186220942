"""Host names of upstreams: found through bootstrap servers only, in bounded time."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Transport, Upstream
from guardian.errors import UpstreamError
from guardian.resolver.upstream.bootstrap import Addresses, is_literal, make_address
from guardian.wire.dns import parse_message


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.HTTPS])
def test_a_name_is_found_through_bootstrap_and_never_through_the_system(
    transport: Transport, unbound: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    async def main() -> None:
        before = len(net.lookups)
        port = unbound.tls if transport is Transport.TLS else unbound.https
        path = "" if transport is Transport.TLS else "/dns-query"
        upstream = Upstream(transport, unbound.name, port, path, ca_file=ca_file)
        bootstrap = (Upstream(Transport.UDP, unbound.host, unbound.plain),)
        async with opened(upstream, bootstrap=bootstrap, timeout=3) as upstreams:
            answers = await asyncio.gather(*(upstreams.resolve(net.make_question("www.test")) for _ in range(20)))
            assert {answer.source for answer in answers} == {upstream.label}
            assert upstreams.status()[0].queries == 2  # A and AAAA, once for all
        assert net.lookups[before:] == []

    run(main())


def test_the_watch_on_system_lookups_sees_them(run: Any, net: Any) -> None:
    async def main() -> None:
        before = len(net.lookups)
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 53)
        assert net.lookups[before:] == ["127.0.0.1"]
        await asyncio.get_running_loop().shutdown_default_executor()

    run(main())


@pytest.mark.parametrize("manner", ["silent", "NXDOMAIN", "none configured", "names only"])
def test_a_name_that_is_not_found_ends_in_an_error(manner: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        rcode = 3 if manner == "NXDOMAIN" else 0
        server = net.UdpServer(lambda query, _: [] if manner == "silent" else [net.make_answer(query, rcode=rcode)])
        async with server:
            bootstrap = {
                "none configured": (),
                "names only": (Upstream(Transport.TLS, "other.test", 853),),
            }.get(manner, (server.upstream,))
            upstream = Upstream(Transport.TLS, "dns.test", 853)
            async with opened(upstream, bootstrap=bootstrap, timeout=0.3) as upstreams:
                for _ in range(2):
                    with pytest.raises(UpstreamError):
                        await upstreams.resolve(net.make_question("www.test"))
            assert all(b"\x03dns\x04test" in query for query in server.queries)

    run(main())


def test_the_next_address_is_tried_when_one_does_not_answer(
    make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    async def main() -> None:
        context = make_server_context("dns.test")
        async with net.StreamServer(net.serve_honestly, context, host="127.0.0.3") as server:
            addresses = ("127.0.0.2", "::1", "127.0.0.3")
            upstream = Upstream(Transport.TLS, "dns.test", server.port, addresses=addresses, ca_file=ca_file)
            async with opened(upstream, timeout=3) as upstreams:
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert net.read_address(answer.message) == "192.0.2.1"

    run(main())


def make_records(net: Any, question: bytes, ttl: int, *addresses: str) -> Any:
    kind = int.from_bytes(question[-4:-2])
    family = socket.AF_INET if kind == 1 else socket.AF_INET6
    packed = [socket.inet_pton(family, text) for text in addresses if (":" in text) == (kind == 28)]
    records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(rdata)) + rdata for rdata in packed)
    return parse_message(struct.pack(">6H", 1, 0x8180, 1, len(packed), 0, 0) + question + records)


def test_found_addresses_are_kept_for_their_time_and_beyond_when_bootstrap_fails(run: Any, net: Any) -> None:
    asked: list[bytes] = []
    answers: list[Any] = [("192.0.2.1", "2001:db8::1"), UpstreamError("gone")]

    async def ask(question: bytes) -> Any:
        asked.append(question)
        addresses = answers[0]
        if isinstance(addresses, UpstreamError):
            raise addresses
        return make_records(net, question, 0, *addresses)

    async def main() -> None:
        addresses = Addresses(Upstream(Transport.TLS, "dns.test", 853), ask)
        found = await addresses.get()
        assert [address.sockaddr[0] for address in found] == ["192.0.2.1", "2001:db8::1"]
        assert await addresses.get() is found
        assert len(asked) == 2
        addresses.avoid(found[0])
        assert [address.sockaddr[0] for address in await addresses.get()] == ["2001:db8::1", "192.0.2.1"]
        addresses._expires = 0.0
        del answers[0]
        assert len(await addresses.get()) == 2
        assert len(asked) == 4

    run(main())


def test_who_gives_up_waiting_does_not_end_the_lookup(run: Any, net: Any) -> None:
    release = asyncio.Event()

    async def ask(question: bytes) -> Any:
        await release.wait()
        return make_records(net, question, 300, "192.0.2.1")

    async def main() -> None:
        addresses = Addresses(Upstream(Transport.TLS, "dns.test", 853), ask)
        first, second = asyncio.create_task(addresses.get()), asyncio.create_task(addresses.get())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait((first,))
        release.set()
        assert [address.sockaddr for address in await second] == [("192.0.2.1", 853)]
        await addresses.close()

    run(main())


@given(st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z0-9.:%-]{1,20}", fullmatch=True)))
def test_literals_are_what_connect_takes_without_a_lookup(host: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except OSError:
        assert not is_literal(host)
    else:
        assert is_literal(host)


def test_a_scope_names_an_interface() -> None:
    assert make_address("fe80::1%lo", 53).sockaddr == ("fe80::1", 53, 0, socket.if_nametoindex("lo"))
    assert make_address("fe80::1%7", 53).sockaddr == ("fe80::1", 53, 0, 7)
    with pytest.raises(OSError, match=r"No such device|no interface"):
        make_address("fe80::1%nothing", 53)
