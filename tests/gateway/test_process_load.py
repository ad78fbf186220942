"""Load and hostility: packets of every broken kind, strangers, and memory that stays where it was."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import pytest

from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    NEWCOMER,
    Running,
    Upstream,
    addresses,
    option,
    rcode,
    running,
)

UDP_PACKETS, TCP_PACKETS = 160_000, 40_000
WARM_PACKETS = 40_000
BATCH = 128
MARK = 0xBEEF  # the id of the query that tells that all before it were seen


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Upstream]]:
    """A gateway with small bounds, so that growth beyond them shows."""
    upstream = Upstream("www.open.example A 192.0.2.10")
    upstream.echo = True
    settings = {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"], "timeout": "0.5s"},
        "dns": {"table_entries": 1000, "cache_bytes": "1MB"},
        "history": {"size_mb": 4},
    }
    try:
        with running(tmp_path_factory.mktemp("siege"), settings) as gateway:
            yield gateway, upstream
    finally:
        upstream.close()


def make_seeds() -> list[bytes]:
    """Well-formed packets of many kinds, without their ids; mutation starts from these."""
    names = ["a.test", "category-adult.guardian.test", "www.blocked.example", "guardian.home.arpa", "x" * 63 + ".onion"]
    options = [
        dns.edns.ECSOption("203.0.113.0", 24),
        option(65001, bytes.fromhex("02005e100001")),
        option(10, b"12345678"),
        option(12, bytes(100)),
    ]
    seeds = []
    for name in names:
        for kind in ("A", "AAAA", "HTTPS", "PTR", "ANY", "AXFR"):
            seeds.append(dns.message.make_query(name, kind).to_wire())
            seeds.append(dns.message.make_query(name, kind, want_dnssec=True, options=options).to_wire())
    answer = dns.message.make_response(dns.message.make_query("a.test", "A"))
    return [*seeds, answer.to_wire(), bytes(12), b"\xff" * 40]


def mutate(seed: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut, doubled, or all of them random; not the flag that says "response" too often."""
    packet = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(packet)) if packet else 0
        match rng.randrange(7):
            case 0 | 1 | 2:
                packet[place : place + 1] = rng.randbytes(1)
            case 3:
                del packet[place:]
            case 4:
                packet[place:place] = packet[place : place + rng.randrange(40)]
            case 5:
                packet[place : place + 2] = b"\xc0" + rng.randbytes(1)  # a compression pointer
            case 6:
                packet[place:] = rng.randbytes(rng.randrange(60))
    return bytes(packet[:1500])


def siege_by_udp(gateway: Running, count: int, rng: random.Random) -> int:
    """Send `count` packets, keeping pace with the gateway; return how many answers came."""
    seeds = make_seeds()
    mark = MARK.to_bytes(2) + dns.message.make_query("guardian.home.arpa", "A").to_wire()[2:]
    answers = 0
    clients = []
    for source in (NEWCOMER, NEWCOMER, GROUNDED, CHILD, ADULT):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(5)
        client.bind((source, 0))
        client.connect(("127.0.0.1", gateway.port))
        clients.append(client)
    try:
        for number in range(count // BATCH + 1):
            client = clients[number % len(clients)]
            for _ in range(BATCH - 1):
                packet = mutate(rng.choice(seeds), rng)
                client.send(packet if packet[:2] != mark[:2] else b"")
            client.send(mark)
            if number:  # while the gateway works on this batch, the answers to the one before are read
                before = clients[(number - 1) % len(clients)]
                while before.recv(4096)[:2] != mark[:2]:
                    answers += 1
        while client.recv(4096)[:2] != mark[:2]:
            answers += 1
    finally:
        for client in clients:
            client.close()
    return answers


def siege_by_tcp(gateway: Running, count: int, rng: random.Random) -> int:
    """The same in streams; also frames that lie about their length, and streams that end in the middle."""
    seeds = make_seeds()
    connections = 0
    while count > 0:
        connections += 1
        with socket.create_connection(("127.0.0.1", gateway.port), 5, (rng.choice((NEWCOMER, GROUNDED)), 0)) as client:
            client.settimeout(0.5)
            frames = bytearray()
            for _ in range(400):
                packet = mutate(rng.choice(seeds), rng)
                size = len(packet) if rng.randrange(300) else rng.randrange(65536)
                frames += size.to_bytes(2) + packet
            count -= 400
            try:
                client.sendall(frames)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except OSError:
                pass  # it was cut off: that is an answer too
    return connections


def test_two_hundred_thousand_broken_packets(besieged: tuple[Running, Upstream]) -> None:
    gateway, _ = besieged
    rng = random.Random(20261121)
    siege_by_udp(gateway, WARM_PACKETS, rng)
    siege_by_tcp(gateway, WARM_PACKETS // 8, rng)
    before = gateway.memory()
    answers = siege_by_udp(gateway, UDP_PACKETS - WARM_PACKETS, rng)
    assert answers > 10_000  # it did not just fall silent
    assert siege_by_tcp(gateway, TCP_PACKETS - WARM_PACKETS // 8, rng) > 50
    grown = gateway.memory() - before
    assert grown < 8 << 20, f"{grown:,} bytes more"
    for tcp in (False, True):
        assert addresses(gateway.ask("www.open.example", source=ADULT, tcp=tcp)) == ["192.0.2.10"]
        assert addresses(gateway.ask("mandatory.guardian.test", source=ADULT, tcp=tcp)) == ["127.0.0.1"]
    status = gateway.status()
    assert status["cache"]["bytes"] <= 1_100_000 and status["cache"]["ready"] <= 1000
    for secret in ("guardian.test", "onion"):
        assert secret not in gateway.log()


def test_many_open_connections_leave_room_for_others(besieged: tuple[Running, Upstream]) -> None:
    """One device that holds connections and says nothing shuts nobody else out."""
    gateway, _ = besieged
    held = [socket.create_connection(("127.0.0.1", gateway.port), 5, (CHILD, 0)) for _ in range(60)]
    try:
        answer = gateway.ask("mandatory.guardian.test", source=ADULT, tcp=True)
        assert addresses(answer) == ["127.0.0.1"]
    finally:
        for connection in held:
            connection.close()


def test_strangers_are_refused_and_then_not_heard(tmp_path: Path) -> None:
    settings = {"upstreams": {"servers": ["127.0.0.1:1"]}, "dns": {"clients": ["127.0.0.0/30", "::1"]}}
    stranger = "127.0.0.5"
    packet = dns.message.make_query("mandatory.guardian.test", "A").to_wire()
    with running(tmp_path, settings) as gateway:
        for tcp in (False, True):
            answer = gateway.ask("mandatory.guardian.test", source=stranger, tcp=tcp)
            assert rcode(answer) == "REFUSED" and not answer.answer
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((stranger, 0))
            client.connect(("127.0.0.1", gateway.port))
            started = time.monotonic()
            for _ in range(500):
                client.send(packet)
            assert addresses(gateway.ask("mandatory.guardian.test", source=CHILD)) == ["127.0.0.1"]
            refused = count_answers(client)
            seconds = time.monotonic() - started
        assert 0 < refused <= 20 * (seconds + 2)
        assert gateway.status()["queries"]["refused"] >= 400
        assert gateway.status()["queries"]["total"] == 1


def count_answers(client: socket.socket) -> int:
    client.settimeout(0.3)
    count = 0
    try:
        while client.recv(4096):
            count += 1
    except TimeoutError:
        return count
    return count


def test_a_flood_of_new_names_stays_in_its_bounds(besieged: tuple[Running, Upstream]) -> None:
    """A device that asks for thousands of names that are not there: it is served, and others are too."""
    gateway, upstream = besieged
    upstream.echo = False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((CHILD, 0))
        client.connect(("127.0.0.1", gateway.port))
        client.settimeout(5)
        for number in range(0, 2000, 50):
            for index in range(number, number + 50):
                client.send(dns.message.make_query(f"n{index}.any.example", "A", id=index).to_wire())
            ids = {int.from_bytes(client.recv(4096)[:2]) for _ in range(50)}
            assert ids == set(range(number, number + 50))
        assert addresses(gateway.ask("www.open.example", source=ADULT)) == ["192.0.2.10"]
    cache = gateway.status()["cache"]
    assert 900_000 < cache["bytes"] <= 1_050_000 and cache["entries"] < 2000
