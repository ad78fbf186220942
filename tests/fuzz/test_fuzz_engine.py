"""Sequences of packets against the flow engine.

* What a server accepts was judged: a reference receiver, written after Linux, never takes a blocked name from packets
  that the engine let through. The same packets without the engine do reach their end, most of them.
* An honest client on a bad network is never refused, and its flow ends in the kernel's hands.
* Any bytes get a verdict, and memory has a bound.

By hand, for hours: `python -m tests.fuzz.test_fuzz_engine --seconds 3600`.
"""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.filter import marks, tcp, udp
from guardian.filter.stream import MAX_STREAM_BYTES, MERGED_BYTES
from tests.filter.home import NOON, Home
from tests.filter.packets import Connection, build_udp, make_ends
from tests.fuzz import quic_attacks
from tests.fuzz.attacks import GOOD, Script, make_attack, request
from tests.fuzz.driver import main, mutate_bytes
from tests.fuzz.honest import HonestClient
from tests.fuzz.lenient_servers import FLIGHT_BYTES, HttpServer, RetryingServer, TlsServer
from tests.fuzz.linux_receiver import Application, LinuxReceiver
from tests.fuzz.path import VERDICTS, Path
from tests.wire.hellos import build_hello, frame, record
from tests.wire.initials import build_datagrams

SCRIPTS = 2500
MANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
RANDOMS = st.randoms(use_true_random=False)


def run(script: Script, home: Home | None) -> Path:
    path = Path(home, script.receiver, script.connection.ends)
    for sent in script.packets:
        path.send(sent)
    return path


def check_attack(random: Random) -> None:
    path = run(make_attack(random), Home())
    assert not path.accepted_blocked()


def check_quic_attack(random: Random) -> None:
    assert not quic_attacks.run(quic_attacks.make_attack(random), Home()).accepted_blocked()


def check_seed(seed: bytes) -> None:
    check_attack(Random(seed))
    check_quic_attack(Random(seed))


def test_no_blocked_name_is_accepted() -> None:
    for seed in range(SCRIPTS):
        check_attack(Random(seed))


def test_no_blocked_name_is_accepted_over_quic() -> None:
    for seed in range(SCRIPTS // 5):
        check_quic_attack(Random(seed))


@MANY
@given(RANDOMS)
def test_no_blocked_name_is_accepted_however_hard_one_looks(random: Random) -> None:
    check_attack(random)


@settings(MANY, max_examples=50)
@given(RANDOMS)
def test_no_blocked_name_is_accepted_over_quic_however_hard_one_looks(random: Random) -> None:
    check_quic_attack(random)


@pytest.mark.parametrize("server", [TlsServer, RetryingServer, HttpServer])
def test_without_the_engine_most_attacks_succeed(server: type[Application]) -> None:
    scripts = [script for seed in range(400) if issubclass((script := make_attack(Random(seed))).server, server)]
    won = sum(bool(run(script, None).accepted_blocked()) for script in scripts)
    assert won > len(scripts) * 0.4


def test_without_the_engine_most_attacks_over_quic_succeed() -> None:
    runs = [quic_attacks.run(quic_attacks.make_attack(Random(seed)), None) for seed in range(200)]
    assert sum(bool(path.accepted_blocked()) for path in runs) > 80


# An honest client


def make_path(random: Random, server: type[Application], connection: Connection) -> Path:
    receiver = LinuxReceiver(
        server,
        origin=connection.origin,
        window=random.choice((65_535, 29_200, 400_000)),
        offers_stamps=random.random() < 0.8,
    )
    return Path(Home(), receiver, connection.ends)


def check_honest_tls(random: Random) -> None:
    server = random.choice((TlsServer, TlsServer, RetryingServer))
    initial, origin = random.choice((1000, 0xFFFFFFFE, random.getrandbits(32))), random.choice((7, 0xFFFFFFF0))
    connection = Connection(
        random.choice((443, 8443)),
        initial=initial,
        origin=origin,
        stamps=random.random() < 0.7,
        v6=random.random() < 0.5,
    )
    path = make_path(random, server, connection)
    client = HonestClient(random, path, connection, random.choice((0.0, 0.05, 0.3)))
    client.segment = max(client.segment, 60)  # 400 segments are the limit
    client.connect()
    hello = build_hello(GOOD, post_quantum=random.random() < 0.4, grease=random.random() < 0.5)
    stream = frame(hello, [random.randrange(1, 80) for _ in range(random.choice((0, 0, 3)))])
    if server is RetryingServer:
        client.say(stream, lambda: client.heard == 105)
        stream += random.choice((b"", record(b"\1", 20))) + frame(hello)
    client.say(stream, lambda: client.heard >= FLIGHT_BYTES)
    stream += record(b"\1", 20) + record(bytes(53), 23)
    client.say(stream, lambda: client.heard > FLIGHT_BYTES)
    assert not path.has_refused
    assert path.mark == marks.ALLOWED
    assert len(path.home.engine.tcp) == 0  # type: ignore[union-attr]
    assert path.receiver.names[-1] == GOOD.encode()


def check_honest_http(random: Random) -> None:
    connection = Connection(80, initial=random.choice((1000, 0xFFFFFF00)), stamps=random.random() < 0.7)
    path = make_path(random, HttpServer, connection)
    client = HonestClient(random, path, connection, random.choice((0.0, 0.05, 0.3)))
    client.segment = max(client.segment, 7)
    client.connect()
    stream, count = b"", 0
    for _ in range(random.randrange(1, 6)):
        body = bytes(random.choice((0, 0, 10, 3000, 90_000 if client.segment > 500 else 0)))
        chunks = random.random() < 0.2
        stream += request(GOOD, body=b"5\r\nhello\r\n" * 20 + b"0\r\n\r\n" if chunks else body, chunked=chunks)
        count += 1
        client.say(stream, lambda count=count: client.heard == 500 * count)  # type: ignore[misc]
    assert not path.has_refused
    assert path.mark == marks.WATCHED
    assert path.receiver.names == [GOOD.encode()] * count


def test_an_honest_client_is_never_refused() -> None:
    for seed in range(250):
        check_honest_tls(Random(seed))
        check_honest_http(Random(seed))


@settings(MANY, max_examples=40)
@given(RANDOMS)
def test_an_honest_client_is_never_refused_however_hard_one_looks(random: Random) -> None:
    check_honest_tls(random)
    check_honest_http(random)


# Totality and bounds


def make_seeds() -> list[bytes]:
    seeds = []
    for v6 in (False, True):
        for port in (80, 443, 5000):
            connection = Connection(port, v6=v6)
            hello = frame(build_hello(GOOD))
            seeds += [
                connection.syn(),
                connection.syn_ack(),
                connection.data(0, hello),
                connection.data(len(hello), b"\x17"),
            ]
            seeds += [connection.data(0, request(GOOD, body=b"x" * 40)), connection.data(0, b"", 900)]
            seeds += [
                build_udp(make_ends(port, v6=v6), datagram)
                for datagram in build_datagrams(build_hello(GOOD), b"identity")
            ]
            seeds.append(build_udp(make_ends(port, v6=v6), b"\1\0\0\0" + bytes(144)))
    return seeds


def test_any_bytes_get_a_verdict_and_memory_has_a_bound() -> None:
    home, random = Home(), Random(1)
    seeds = make_seeds()
    for number in range(100_000):
        packet = bytearray(random.choice(seeds))
        if number % 3:
            packet[20:22] = random.randbytes(2)  # many flows
        data = mutate_bytes(random, [bytes(packet)]) if number % 2 else bytes(packet)
        assert home.handle(data, NOON + number / 1000) in VERDICTS
        if number % 5000 == 0:
            home.engine.age(NOON + number / 1000)
    engine = home.engine
    assert sum(engine.verdicts.values()) == 100_000
    assert len(engine.tcp) <= tcp.MAX_FLOWS
    assert len(engine.udp) <= udp.MAX_FLOWS
    assert engine.tcp.held_bytes <= tcp.MAX_HELD_BYTES
    engine.age(NOON + 100_000)
    assert len(engine.tcp) == len(engine.udp) == engine.tcp.held_bytes == 0


def test_ten_thousand_undecided_flows_are_small_and_age_out() -> None:
    hello = frame(build_hello(GOOD, post_quantum=True))[:1400]
    packets = []
    for number in range(10_000):
        connection = Connection(443, source_port=1024 + number)
        packets.append([connection.syn(), connection.syn_ack(), connection.data(0, hello)])
    home = Home()
    tracemalloc.start()
    try:
        for flow in packets:
            assert home.handle_all(flow) == [marks.PASS] * 3
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    home.engine.age(NOON + 1)
    assert len(home.engine.tcp) == 10_000
    assert home.engine.tcp.held_bytes == 10_000 * len(hello)
    assert size < 40 << 20
    home.engine.age(NOON + tcp.UNDECIDED_SECONDS + 1)
    assert len(home.engine.tcp) == home.engine.tcp.held_bytes == 0


def test_streams_together_have_a_bound() -> None:
    home, body = Home(), bytes(60_000)
    head = request(GOOD, fields="Content-Length: 99999999\r\n").replace(b"GET", b"POST", 1)
    for number in range(100):
        connection = Connection(80, source_port=1024 + number)
        home.handle_all([connection.syn(), connection.syn_ack(), connection.data(0, head)])
        for index in range(8):
            home.handle(connection.data(len(head) + index * len(body), body))
        assert home.engine.tcp.held_bytes <= tcp.MAX_HELD_BYTES
    assert len(home.engine.tcp) < 100


def test_one_byte_an_hour_holds_nothing_for_long() -> None:
    home, connection = Home(), Connection()
    home.handle_all([connection.syn(), connection.syn_ack()])
    hello = frame(build_hello(GOOD, extra=[(99, bytes(2000))]))
    verdicts = [home.handle(connection.data(at, hello[at : at + 1]), NOON + at * 10.0) for at in range(500)]
    assert verdicts[0] == marks.PASS
    assert verdicts[-1] == marks.REFUSED


def test_bytes_behind_a_gap_have_a_bound() -> None:
    home, connection = Home(), Connection()
    home.handle_all([connection.syn(), connection.syn_ack()])
    for at in range(10, 200_000, 1000):
        home.handle(connection.data(at, bytes(900)))
    home.engine.age(NOON)
    assert home.engine.tcp.held_bytes <= MAX_STREAM_BYTES + MERGED_BYTES


if __name__ == "__main__":
    main(check_seed, [b""], lambda random, _: random.randbytes(16))
