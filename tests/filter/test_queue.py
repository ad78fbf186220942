"""A real NFQUEUE: a router between two namespaces, real packets, the kernel's own words for what became of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError, GuardianError
from guardian.filter import marks
from guardian.filter.queue import (
    PACKETS_PER_WAKE,
    Packet,
    Queue,
    Verdicts,
    explain,
    parse_packet,
    read_forwarded,
)
from guardian.wire.netlink import NETFILTER, pack_attribute, pack_message, split_attributes, split_messages
from tests.fuzz.driver import fuzz, mutate_bytes
from tests.netns.namespaces import inside, run

CLIENT_MAC = bytes.fromhex("02005e100107")
NUMBER = 7
MARK = 0x5008  # a stranger's bit and our own "please queue"
MINUTE = 60.0
SO_TIMESTAMP = 29  # asm-generic/socket.h


def encode(*attributes: tuple[int, bytes], number: int = NUMBER) -> bytes:
    """A packet as the kernel writes it."""
    body = NETFILTER.pack(2, 0, number) + b"".join(pack_attribute(kind, value) for kind, value in attributes)
    return pack_message(0x300, 0, 0, body)


def usual(
    payload: bytes, *, mark: int = MARK, mac: bytes = CLIENT_MAC, info: bool = False, timed: bool = False
) -> bytes:
    return encode(
        (1, b"\0\0\0\x09\x08\0\x02"),
        (5, b"\0\0\0\2"),
        (6, b"\0\0\0\3"),
        (3, mark.to_bytes(4, "big")),
        (9, b"\0\x06\0\0" + mac + b"\0\0"),
        *([(4, bytes(range(16)))] if timed else []),
        *([(14, b"\0\0\0\1")] if info else []),
        (10, payload),
    )


def read_general(data: bytes) -> Packet:
    (message,) = split_messages(data)
    return parse_packet(message.payload)


@given(
    st.binary(max_size=100), st.integers(0, 2**32 - 1), st.binary(min_size=6, max_size=6), st.booleans(), st.booleans()
)
def test_both_ways_of_reading_agree(payload: bytes, mark: int, mac: bytes, info: bool, timed: bool) -> None:
    data = usual(payload, mark=mark, mac=mac, info=info, timed=timed)
    expected = Packet(b"\0\0\0\x09", payload, mac, mark)
    assert read_general(data) == expected
    buffer = data + b"what the datagram before left"
    assert read_forwarded(memoryview(buffer), len(data)) == expected


def test_what_the_quick_way_leaves_to_the_general_one() -> None:
    plain = encode((1, b"\0\0\0\x09\x08\0\x02"), (10, b"payload"))
    odd_mac = encode((1, b"\0\0\0\x09\x08\0\x02"), (9, b"\0\x08\0\0" + bytes(8)), (10, b"payload"))
    for data in (plain, odd_mac):
        assert read_forwarded(memoryview(data), len(data)) is None
        assert read_general(data) == Packet(b"\0\0\0\x09", b"payload", None, 0)
    with pytest.raises(FormError):
        read_general(encode((10, b"payload")))


def test_damaged_packets_are_form_errors_or_packets() -> None:
    def check(data: bytes) -> None:
        quick = read_forwarded(memoryview(data), len(data))
        assert quick is None or len(quick.payload) <= len(data)
        try:
            for message in split_messages(data):
                packet = parse_packet(message.payload)
                assert len(packet.id) == 4
                assert packet.mac is None or len(packet.mac) == 6
                assert 0 <= packet.mark < 2**32
        except FormError:
            pass

    fuzz(
        check,
        [usual(b"payload"), usual(bytes(80), info=True), usual(b"payload", timed=True, info=True)],
        mutate_bytes,
        seed=1,
        count=10_000,
    )


@given(st.binary(min_size=4, max_size=4), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_verdicts(packet_id: bytes, mark: int, number: int) -> None:
    verdicts = Verdicts(number)
    both = verdicts.accept(packet_id, mark) + verdicts.drop(packet_id)
    accepted, dropped = split_messages(both)
    assert accepted.type == dropped.type == 0x301
    assert accepted.payload[:4] == dropped.payload[:4] == b"\0\0" + number.to_bytes(2, "big")
    assert list(split_attributes(accepted.payload, 4)) == [(2, b"\0\0\0\1" + packet_id), (3, mark.to_bytes(4, "big"))]
    assert list(split_attributes(dropped.payload, 4)) == [(2, bytes(4) + packet_id)]


class Net(NamedTuple):
    """The names of the namespaces."""

    router: str
    client: str
    server: str


def connect(net: Net, name: str, host: str, network: str) -> None:
    run(f"ip -n {net.router} link add {name} type veth peer name eth0 netns {host}")
    for namespace, interface, number in ((net.router, name, 1), (host, "eth0", 7)):
        run(f"ip -n {namespace} addr add {network}.{number}/24 dev {interface}")
        run(f"ip -n {namespace} link set {interface} up")
    run(f"ip -n {host} route add default via {network}.1")


def iptables(namespace: str, rule: str) -> None:
    run(f"ip netns exec {namespace} iptables-nft -t mangle {rule}")


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    net = Net(*(f"gq{letter}{os.getpid()}" for letter in "rcs"))
    try:
        for name in net:
            run(f"ip netns add {name}")
            run(f"ip -n {name} link set lo up")
        connect(net, "lan0", net.client, "10.93.1")
        run(f"ip -n {net.client} link set eth0 address {CLIENT_MAC.hex(':')}")
        connect(net, "wan0", net.server, "10.93.2")
        run(f"ip netns exec {net.router} sysctl -qw net.ipv4.ip_forward=1")
        iptables(net.router, f"-A FORWARD -i lan0 -j MARK --set-mark {MARK:#x}")
        try:
            iptables(net.router, f"-A FORWARD -m mark --mark 0x8/0x8 -j NFQUEUE --queue-num {NUMBER}")
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no NFQUEUE for iptables-nft")
        # A verdict goes on at the next hook, not at the next rule.
        iptables(net.router, "-A POSTROUTING -m mark ! --mark 0 -j CONNMARK --save-mark")
        yield net
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot make a router of network namespaces: {error}")
    finally:
        for name in net:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def udp(namespace: str, address: tuple[str, int] | None = None) -> socket.socket:
    """A UDP socket in a namespace, bound to an address or not."""

    def make() -> socket.socket:
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        endpoint.settimeout(20)
        endpoint.bind(address or ("0.0.0.0", 0))
        return endpoint

    return inside(namespace, make)


SERVER = ("10.93.2.7", 9000)


@pytest.fixture
def client(net: Net) -> Iterator[socket.socket]:
    with udp(net.client) as endpoint:
        yield endpoint


@pytest.fixture
def server(net: Net) -> Iterator[socket.socket]:
    with udp(net.server, SERVER) as endpoint:
        yield endpoint


def serve(queue: Queue, done: Callable[[], bool]) -> None:
    """Be the event loop until `done`."""
    deadline = time.monotonic() + MINUTE
    with selectors.DefaultSelector() as selector:
        selector.register(queue.fileno(), selectors.EVENT_READ)
        while not done():
            assert time.monotonic() < deadline, queue.status()
            if selector.select(0.1):
                queue.on_readable()


class Judge:
    """Answers what it is told, by the data in the datagram, and remembers what it was asked."""

    def __init__(self, **verdicts: int) -> None:
        self.verdicts = verdicts
        self.asked: list[tuple[bytes, bytes | None, int]] = []

    def __call__(self, payload: bytes, mac: bytes | None, mark: int) -> int:
        self.asked.append((payload, mac, mark))
        return self.verdicts.get(payload[28:].decode("latin-1"), marks.PASS)


def opened(net: Net, judge: Callable[[bytes, bytes | None, int], int], length: int = 1024) -> Queue:
    return inside(net.router, lambda: Queue.open(NUMBER, judge, length=length))


def flows(net: Net) -> str:
    command = ["ip", "netns", "exec", net.router, "conntrack", "-L", "-p", "udp"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def test_pass_drop_and_marks(net: Net, client: socket.socket, server: socket.socket) -> None:
    judge = Judge(allow=marks.ALLOWED, drop=marks.DROP, refuse=marks.ANSWERED)
    with closing(opened(net, judge)) as queue:
        for word in (b"allow", b"drop", b"refuse", b"pass"):
            judge.asked.clear()
            client.sendto(word, SERVER)
            serve(queue, lambda: len(judge.asked) == 1)
            if word != b"drop":
                assert server.recv(100) == word
                mark = judge.verdicts.get(word.decode(), 0) | MARK & ~marks.PACKET_MASK
                assert f"mark={mark} " in flows(net)
        payload, mac, mark = judge.asked[0]
        assert (payload[28:], mac, mark) == (b"pass", CLIENT_MAC, MARK)
        assert payload[0] == 0x45
        assert int.from_bytes(payload[2:4], "big") == len(payload)
        status = inside(net.router, queue.status)
        assert status == (4, 1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("timed", [False, True])
def test_real_packets_go_the_quick_way(
    net: Net, client: socket.socket, server: socket.socket, monkeypatch: pytest.MonkeyPatch, timed: bool
) -> None:
    """Also while some program of the machine, of NTP for one, lets the kernel note when each packet came."""
    judge = Judge()
    with closing(opened(net, judge)) as queue, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as clock:
        clock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, int(timed))
        monkeypatch.delattr(Queue, "_read_other")
        client.sendto(b"hello", SERVER)
        serve(queue, lambda: len(judge.asked) == 1)
        assert server.recv(100) == b"hello"


def test_a_burst_comes_through_whole_and_in_order(net: Net, client: socket.socket, server: socket.socket) -> None:
    judge = Judge()
    with closing(opened(net, judge)) as queue:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        count = 3 * PACKETS_PER_WAKE + 5
        for number in range(count):
            client.sendto(b"%d" % number, SERVER)
        queue.on_readable()
        assert len(judge.asked) == PACKETS_PER_WAKE  # the rest waits: the event loop has its turn
        serve(queue, lambda: len(judge.asked) == count)
        assert [int(server.recv(100)) for _ in range(count)] == list(range(count))
        assert queue.status().packets == count


@pytest.mark.parametrize("answer", [ValueError("no"), "not a number", 1 << 40])
def test_a_broken_judge_drops_and_goes_on(
    net: Net, client: socket.socket, server: socket.socket, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    broken = [answer] * 3

    def judge(_payload: bytes, _mac: bytes | None, _mark: int) -> int:
        if not broken:
            return marks.PASS
        answer = broken.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    with closing(opened(net, judge)) as queue:
        for _ in range(4):
            client.sendto(b"hello", SERVER)
        serve(queue, lambda: queue.status().packets == 4)
        wrong = 0 if isinstance(answer, int) else 3  # of a number that is too large only our bits count
        status = inside(net.router, queue.status)
        assert status == (4, wrong, wrong, 0, 0, 0, 0)
        assert caplog.text.count("judge-failed") == (1 if wrong else 0)
        assert server.recv(100) == b"hello"


def test_a_full_queue_drops_in_the_kernel(net: Net, client: socket.socket) -> None:
    judge = Judge()
    with closing(opened(net, judge, length=5)) as queue:
        for _ in range(8):
            client.sendto(b"hello", SERVER)
        status = inside(net.router, queue.status)
        assert (status.waiting, status.kernel_dropped) == (5, 3)
        serve(queue, lambda: len(judge.asked) == 5)
        assert inside(net.router, queue.status).waiting == 0


def test_fail_open_lets_pass_what_finds_no_room(net: Net, client: socket.socket, server: socket.socket) -> None:
    queue = inside(net.router, lambda: Queue.open(NUMBER, Judge(), length=1, fail_open=True))
    with closing(queue):
        client.sendto(b"waits", SERVER)
        client.sendto(b"passes", SERVER)
        assert server.recv(100) == b"passes"
        serve(queue, lambda: queue.status().packets == 1)
        assert server.recv(100) == b"waits"


def test_large_segments_come_whole(net: Net) -> None:
    judge = Judge()
    address = ("10.93.2.7", 9001)
    code = (
        "import random, socket, sys\n"
        f"socket.create_connection({address}, 60).sendall(random.Random(1).randbytes(400_000))"
    )
    received = bytearray()
    with closing(opened(net, judge)) as queue, inside(net.server, lambda: socket.create_server(address)) as listener:
        listener.setblocking(False)
        with subprocess.Popen(["ip", "netns", "exec", net.client, sys.executable, "-c", code]) as child:
            serve(queue, lambda: len(judge.asked) >= 1)
            with accept(queue, listener) as connection:
                connection.setblocking(False)

                def is_done() -> bool:
                    with contextlib.suppress(BlockingIOError):
                        received.extend(connection.recv(1 << 20))
                    return len(received) == 400_000

                serve(queue, is_done)
        assert child.returncode == 0
    assert received == Random(1).randbytes(400_000)
    assert max(len(payload) for payload, _mac, _mark in judge.asked) > 3000  # more than the MTU: not cut into segments
    assert all(int.from_bytes(payload[2:4], "big") == len(payload) for payload, _mac, _mark in judge.asked)


def accept(queue: Queue, listener: socket.socket) -> socket.socket:
    accepted: list[socket.socket] = []

    def is_done() -> bool:
        with contextlib.suppress(BlockingIOError):
            accepted.append(listener.accept()[0])
        return bool(accepted)

    serve(queue, is_done)
    return accepted[0]


def test_packets_without_a_mac(net: Net, client: socket.socket, server: socket.socket) -> None:
    """What the router itself sends has no source MAC."""
    judge = Judge()
    iptables(net.router, f"-A OUTPUT -p udp --dport 9000 -j NFQUEUE --queue-num {NUMBER}")
    try:
        with closing(opened(net, judge)) as queue, udp(net.router) as own:
            own.sendto(b"hello", SERVER)
            serve(queue, lambda: len(judge.asked) == 1)
            assert judge.asked[0][1:] == (None, 0)
            assert server.recv(100) == b"hello"
    finally:
        iptables(net.router, f"-D OUTPUT -p udp --dport 9000 -j NFQUEUE --queue-num {NUMBER}")


def test_a_verdict_for_a_packet_that_is_gone(net: Net, client: socket.socket, server: socket.socket) -> None:
    with closing(opened(net, Judge())) as queue:
        queue._unsent.append(queue._verdicts.accept(b"\0\0\x99\x99", 1))
        queue._unsent.append(queue._verdicts.drop(b"\0\0\x99\x98"))
        client.sendto(b"hello", SERVER)
        serve(queue, lambda: queue.status().packets == 1)
        assert server.recv(100) == b"hello"
        client.sendto(b"again", SERVER)
        serve(queue, lambda: queue.status().packets == 2)
        assert queue.status().errors == 0


def test_a_queue_that_another_program_holds(net: Net) -> None:
    with closing(opened(net, Judge())):
        with pytest.raises(GuardianError, match=f"NFQUEUE {NUMBER} is held by another program"):
            opened(net, Judge())
        inside(net.router, lambda: Queue.open(NUMBER + 1, Judge())).close()
    opened(net, Judge()).close()


def test_without_the_capability(net: Net) -> None:
    code = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "from guardian.filter.queue import Queue\n"
        f"Queue.open({NUMBER}, lambda payload, mac, mark: 0)"
    )
    command = ["ip", "netns", "exec", net.router, sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=root)
    assert "CAP_NET_ADMIN" in failed.stderr.splitlines()[-1]


def test_what_to_do_without_the_module() -> None:
    for code in (22, 93, 97):
        assert "nfnetlink_queue" in explain(65000, code)
    assert "No buffer space" in explain(65000, 105)


def test_the_judge_may_close_the_queue(net: Net, client: socket.socket) -> None:
    queues: list[Queue] = []

    def judge(_payload: bytes, _mac: bytes | None, _mark: int) -> int:
        queues[0].close()
        return marks.PASS

    queues.append(opened(net, judge))
    client.sendto(b"hello", SERVER)
    client.sendto(b"hello", SERVER)
    serve_once = selectors.DefaultSelector()
    with serve_once:
        serve_once.register(queues[0].fileno(), selectors.EVENT_READ)
        assert serve_once.select(20)
        queues[0].on_readable()
    assert queues[0].status().packets == 1
    queues[0].close()
    with pytest.raises(OSError, match="closed"):
        queues[0].on_readable()
    with pytest.raises(OSError, match="closed"):
        queues[0].fileno()
