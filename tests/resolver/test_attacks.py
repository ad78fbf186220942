"""Named attacks on the resolver: what a child, a website or an upstream may try, and what must not leak meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
import sys
from types import FrameType

import dns.flags
import dns.rcode
import pytest

from guardian.names import parse_name
from guardian.resolver.answer import Ready
from guardian.resolver.cache import Entry, Limits, make_entry, make_key
from guardian.resolver.handle import Miss
from guardian.resolver.local import is_private_address
from guardian.resolver.resolve import MAX_SHARE, Resolver
from guardian.resolver.tcp import MAX_PER_CLIENT
from guardian.wire import dns as wire
from guardian.wire.dns import Message, Question, Record
from tests.resolver.engine import CHILD_MAC, Engine, make_query
from tests.resolver.served import Reply, Served, TcpClient, UdpClient, run

HELPLINE = "help.example"


# A hostile upstream


def test_a_chain_told_backwards_among_thousands_of_signatures_costs_little() -> None:
    """Each of 4,000 records used to be held against every parent of every name of the chain, sixteen times over."""
    deep = b"".join(b"\x01" + bytes((97 + n % 26,)) for n in range(120))
    chain = [deep + b"\x02" + b"%02d" % n + b"\x00" for n in range(16)]
    cnames = [Record(a, wire.TYPE_CNAME, 1, 60, b) for a, b in itertools.pairwise(chain)]
    noise = [Record(b"\x05other\x00", wire.TYPE_RRSIG, 1, 60, b"")] * 4000
    message = Message(1, wire.FLAG_QR, Question(chain[0], 1, 1), (*noise, *reversed(cnames)))
    key = make_key(chain[0], 1, False, False)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        entry = make_entry(key, chain[0], 1, message, 0, Limits(), is_private_address)
    finally:
        sys.setprofile(None)
    assert entry.revealed == tuple(chain[1:])
    assert calls < 1_000_000  # 7 million before


def test_signatures_and_dnames_above_the_chain_stay() -> None:
    name, target = parse_name("www.a.example"), parse_name("www.b.example")
    kept = (
        Record(parse_name("a.example"), wire.TYPE_DNAME, 1, 60, parse_name("b.example")),
        Record(parse_name("example"), wire.TYPE_RRSIG, 1, 60, b"signature"),
        Record(b"\x00", wire.TYPE_RRSIG, 1, 60, b"of the root"),
        Record(name, wire.TYPE_CNAME, 1, 60, target),
        Record(target, wire.TYPE_A, 1, 60, b"\xc0\0\2\1"),
    )
    other = Record(parse_name("c.example"), wire.TYPE_DNAME, 1, 60, parse_name("d.example"))
    message = Message(1, wire.FLAG_QR, Question(name, 1, 1), (other, *kept))
    entry = make_entry(make_key(name, 1, False, False), name, 1, message, 0, Limits(), is_private_address)
    assert entry.answers == len(kept)


# Helplines leave no trace and are never lost


def test_a_helpline_is_not_lost_to_rebinding_protection_nor_written_down(engine: Engine) -> None:
    """A provider's own resolver may answer with an address inside its network."""
    packet = make_query(HELPLINE)
    engine.feed(packet, f"{HELPLINE}. 60 A 192.168.1.5")
    outcome = engine.handle(packet)
    assert isinstance(outcome, Ready)
    assert outcome.fact is None
    assert [str(item) for item in engine.ask(packet).answer[0]] == ["192.168.1.5"]


class Garbled:
    """An upstream whose answers make no sense."""

    async def resolve(self, question: bytes, *, dnssec_ok: bool = False, checking_disabled: bool = False) -> Reply:
        name = question[:-4]
        return Reply(Message(1, wire.FLAG_QR, Question(name, 1, 1), (Record(name, 1, 1, 60, b"short"),)))


def test_no_level_of_logging_names_what_was_asked(caplog: pytest.LogCaptureFixture, engine: Engine) -> None:
    caplog.set_level(logging.DEBUG)
    got: list[Entry] = []

    async def scenario() -> None:
        resolver = Resolver(Garbled(), engine.cache, lambda name, address: False, lambda: engine.second)
        name = parse_name(HELPLINE)
        resolver.fetch(Miss(make_key(name, 1, False, False), name, 1, False, False, None), got.append)
        while not got:
            await asyncio.sleep(0)
        await resolver.close()

    run(scenario())
    assert got[0].is_failure
    assert "bad-answer" in caplog.text
    assert "help" not in caplog.text


# A child with a laptop


@pytest.mark.parametrize("kind", ["A", "AAAA", "HTTPS", "SVCB", "TXT", "MX", "NS", "SRV", "CNAME", "ANY", "TYPE65280"])
@pytest.mark.parametrize(
    "name", ["bet.example", "BET.eXample", "x.bet.example", "\\000.bet.example", "a\\.b.bet.example"]
)
def test_no_type_and_no_spelling_gets_a_blocked_name_through(engine: Engine, kind: str, name: str) -> None:
    for flags in (dns.flags.RD, 0, dns.flags.RD | dns.flags.CD, dns.flags.RD | dns.flags.AD):
        for dnssec in (False, True):
            for limit in (None, 65535):
                outcome = engine.handle(make_query(name, kind, dnssec=dnssec, flags=flags), limit=limit)
                assert isinstance(outcome, Ready)
                assert outcome.fact is not None
                assert (outcome.fact.action, outcome.fact.tag) == ("block", "category:gambling")


def test_an_escaped_dot_is_no_dot(engine: Engine) -> None:
    """`bet\\.example` is one label: neither blocked as bet.example, nor a way to it."""
    outcome = engine.handle(make_query("bet\\.example.org"))
    assert isinstance(outcome, Miss)
    assert outcome.name == b"\x0bbet.example\x03org\x00"


@pytest.mark.parametrize(
    "damage",
    [
        lambda packet: packet + b"\0",  # something behind the message
        lambda packet: packet[:12] + b"\xc0\x0c" + packet[-4:],  # a name that points to itself
        lambda packet: packet[:4] + b"\0\2" + packet[6:] + packet[12:],  # a second question
        lambda packet: packet[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0" + packet[-4:],  # 257 bytes of name
        lambda packet: packet[:12] + b"\x41" + packet[13:],  # an extended label
    ],
)
def test_questions_that_two_readers_may_read_differently_are_refused(engine: Engine, damage: object) -> None:
    assert callable(damage)
    packet = make_query("www.example.org", edns=False)
    outcome = engine.handle(damage(packet))
    assert isinstance(outcome, Ready)
    assert outcome.head[1] & 15 == dns.rcode.FORMERR
    assert outcome.fact is None


@pytest.mark.parametrize("class_", [0, 3, 4, 254, 255, 0x8001])
def test_other_classes_get_nothing(engine: Engine, class_: int) -> None:
    packet = make_query("www.example.org", edns=False)[:-2] + struct.pack(">H", class_)
    outcome = engine.handle(packet)
    assert isinstance(outcome, Ready)
    assert outcome.head[1] & 15 == dns.rcode.REFUSED


def test_many_addresses_of_one_device_share_its_tcp_connections() -> None:
    """A tablet may have thousands of IPv6 addresses; with sixteen connections each it used to take all 128."""

    async def scenario() -> None:
        async with Served() as served:
            served.engine.clients._mac_of = lambda address: None if address[-1] == 6 else CHILD_MAC
            clients = [
                await TcpClient.open(served.port, source=f"127.0.0.{2 + n % 4}") for n in range(2 * MAX_PER_CLIENT)
            ]
            for client in clients:
                client.send(make_query("bet.example"))
            replies = [await client.receive() for client in clients]
            assert sum(reply is not None for reply in replies) == MAX_PER_CLIENT
            other = await TcpClient.open(served.port, source="127.0.0.6")
            other.send(make_query("bet.example"))
            assert await other.receive() is not None
            for client in (*clients, other):
                await client.close()

    run(scenario())


def test_one_device_does_not_use_up_the_questions_of_all() -> None:
    """A thousand names whose servers are silent used to leave the whole home without DNS for seconds."""

    async def scenario() -> None:
        async with Served() as served:
            served.engine.clients._mac_of = lambda address: CHILD_MAC if address[-1] < 5 else None
            with UdpClient("127.0.0.2") as greedy, UdpClient("127.0.0.3") as again, UdpClient("127.0.0.6") as other:
                # Loopback speaks for others: these are devices for the while.
                for address in (b"\x7f\0\0\2", b"\x7f\0\0\3", b"\x7f\0\0\6"):
                    client = served.engine.clients.find(address, served.engine.now)
                    assert client is not None
                    client.is_proxy = False
                for number in range(2 * MAX_SHARE):
                    greedy.send(make_query(f"late{number}.example.org"), served.port)
                    if number % 50 == 0:
                        await asyncio.sleep(0.001)
                for number in range(20):
                    again.send(make_query(f"late-again{number}.example.org"), served.port)
                reply = await other.ask(make_query("plain.example.org"), served.port)
                assert reply[3] & 15 == dns.rcode.NOERROR
                assert len(served.upstream.asked) == MAX_SHARE + 1
                served.upstream.open_late()
                while served.resolver._shares:
                    await asyncio.sleep(0.001)
                reply = await again.ask(make_query("other.example.org"), served.port)

    run(scenario())
