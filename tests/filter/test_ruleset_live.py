"""The rules at work: three namespaces, real TCP, a real queue, and a client that lies about what the server said."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from guardian.errors import GuardianError
from guardian.filter import marks, nftables
from guardian.filter.marks import ALLOWED, PASS, REFUSED
from guardian.filter.nftables import QueueForm
from guardian.filter.queue import Queue
from guardian.filter.ruleset import Plan, render_table, render_xtables
from guardian.filter.sysctls import apply_sysctls
from guardian.wire import ip
from tests.filter.packets import ACK, PSH, SYN, Ends, build_tcp
from tests.netns.namespaces import inside, run

CLIENT, ROUTER, SERVER = (f"guardian-live-{os.getpid()}-{role}" for role in ("client", "router", "server"))
PLAN = Plan(("lan0",), 41, False)
ADDRESSES = {False: ("10.0.0.2", "192.0.2.1"), True: ("fd00::2", "2001:db8::1")}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "conntrack"))),
    reason="needs root, `ip`, `nft` and `conntrack`",
)


class Router:
    """The router's queue in a thread of its own. `judge` decides; `seen` holds what was asked for."""

    def __init__(self) -> None:
        self.judge: Callable[[ip.Segment, int], int] = lambda segment, size: PASS
        self.seen: list[tuple[int, int, int]] = []  # source port, flags, bytes of data
        self._stop = threading.Event()
        self._ready = threading.Event()
        self.problem = ""
        self._thread = threading.Thread(target=lambda: inside(ROUTER, self._work), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _work(self) -> None:
        try:
            form = nftables.find_queue_form()
            if form is QueueForm.NONE:
                self.problem = "this kernel has no NFQUEUE"
                return
            queue = Queue.open(PLAN.queue, self._judge)
            nftables.load(render_table(PLAN, form is QueueForm.NFT))
            if form is QueueForm.XTABLES:
                nftables.load_xtables(render_xtables(PLAN), render_xtables(PLAN))
            apply_sysctls()
        except (GuardianError, OSError) as error:
            self.problem = str(error)
            return
        finally:
            self._ready.set()
        while not self._stop.is_set():
            if select.select([queue], [], [], 0.05)[0]:
                queue.on_readable()
        queue.close()

    def _judge(self, data: bytes, mac: bytes | None, mark: int) -> int:
        packet = ip.read_packet(data)
        if packet.protocol != ip.TCP:
            return PASS
        segment = ip.read_segment(data, packet.start, packet.end)
        size = packet.end - segment.payload
        self.seen.append((segment.source_port, segment.flags, size))
        return self.judge(segment, size)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)

    def states(self, v6: bool) -> list[int]:
        """The states of the flows to the server's port 443."""
        command = f"ip netns exec {ROUTER} conntrack -L -f {'ipv6' if v6 else 'ipv4'} -p tcp --orig-port-dst 443"
        lines = subprocess.run(
            command.split(), capture_output=True, text=True, check=True, timeout=20
        ).stdout.splitlines()
        words = [word for line in lines for word in line.split() if word.startswith("mark=")]
        return [int(word.removeprefix("mark=")) & marks.STATE_MASK for word in words]

    def waits_for(self, v6: bool, state: int) -> bool:
        deadline = time.monotonic() + 10
        while state not in self.states(v6) and time.monotonic() < deadline:
            time.sleep(0.02)
        return state in self.states(v6)


@pytest.fixture(scope="module")
def wires() -> Iterator[None]:
    try:
        for name in (CLIENT, ROUTER, SERVER):
            run(f"ip netns add {name}")
            run(f"ip netns exec {name} ip link set lo up")
        run(f"ip link add lan0 netns {ROUTER} type veth peer name eth0 netns {CLIENT}")
        run(f"ip link add wan0 netns {ROUTER} type veth peer name eth0 netns {SERVER}")
        for name, link, addresses in (
            (ROUTER, "lan0", ("10.0.0.1/24", "fd00::1/64")),
            (ROUTER, "wan0", ("192.0.2.254/24", "2001:db8::fe/64")),
            (CLIENT, "eth0", ("10.0.0.2/24", "fd00::2/64")),
            (SERVER, "eth0", ("192.0.2.1/24", "2001:db8::1/64")),
        ):
            run(f"ip netns exec {name} ip link set {link} up")
            for address in addresses:
                run(f"ip netns exec {name} ip address add {address} dev {link}" + " nodad" * (":" in address))
        for name, v4, v6 in ((CLIENT, "10.0.0.1", "fd00::1"), (SERVER, "192.0.2.254", "2001:db8::fe")):
            run(f"ip netns exec {name} ip route add default via {v4}")
            run(f"ip netns exec {name} ip -6 route add default via {v6}")
        run(f"ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        yield
    finally:
        for name in (CLIENT, ROUTER, SERVER):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def router(wires: None) -> Iterator[Router]:
    made = Router()
    if made.problem:
        pytest.skip(made.problem)
    yield made
    made.close()


class Pair:
    """A client's connection to the server, and the server's end of it."""

    def __init__(self, v6: bool) -> None:
        source, destination = ADDRESSES[v6]
        family = socket.AF_INET6 if v6 else socket.AF_INET
        self.listener = inside(SERVER, lambda: socket.create_server((destination, 443), family=family))
        self.client = inside(CLIENT, lambda: socket.socket(family))
        self.client.settimeout(10)
        self.client.connect((destination, 443))
        self.server, _ = self.listener.accept()
        self.server.settimeout(10)
        port = self.client.getsockname()[1]
        pack = socket.inet_pton
        self.ends = Ends(pack(family, source), port, pack(family, destination), 443)
        self.v6 = v6

    def say(self, data: bytes) -> None:
        self.client.sendall(data)
        assert self.server.recv(100) == data

    def answer(self, data: bytes) -> None:
        self.server.sendall(data)
        assert self.client.recv(100) == data

    def inject(self, packet: bytes) -> None:
        """Put a packet on the client's wire to the router, whatever the client's own kernel thinks of it."""
        with open_wire(self.v6) as (wire, mac):
            wire.sendto(packet, ("eth0", 0x86DD if self.v6 else 0x0800, 0, 0, mac))

    def close(self) -> None:
        for each in (self.client, self.server, self.listener):
            each.close()


class open_wire:  # noqa: N801 - used as a function
    def __init__(self, v6: bool) -> None:
        self._v6 = v6

    def __enter__(self) -> tuple[socket.socket, bytes]:
        command = f"ip netns exec {ROUTER} cat /sys/class/net/lan0/address"
        text = subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=20).stdout
        self._wire = inside(CLIENT, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
        return self._wire, bytes.fromhex(text.strip().replace(":", ""))

    def __exit__(self, *_: object) -> None:
        self._wire.close()


@pytest.fixture(params=[False, True], ids=["IPv4", "IPv6"])
def pair(router: Router, request: pytest.FixtureRequest) -> Iterator[Pair]:
    subprocess.run(["ip", "netns", "exec", ROUTER, "conntrack", "-F"], check=True, capture_output=True, timeout=20)
    router.seen.clear()
    router.judge = lambda segment, size: PASS
    made = Pair(request.param)
    yield made
    made.close()


def test_the_queue_sees_both_beginnings_and_data_but_no_empty_ack(router: Router, pair: Pair) -> None:
    pair.say(b"hello")
    pair.answer(b"world")
    pair.say(b"again")
    port = pair.ends.source_port
    seen = [(source, flags & (SYN | ACK), size) for source, flags, size in router.seen]
    # Once each: a slow machine sends again what was not lost.
    assert list(dict.fromkeys(seen)) == [(port, SYN, 0), (443, SYN | ACK, 0), (port, ACK, 5)]
    assert seen.count((port, ACK, 5)) >= 2


def test_what_is_allowed_is_seen_no_more(router: Router, pair: Pair) -> None:
    router.judge = lambda segment, size: ALLOWED if size else PASS
    pair.say(b"hello")
    assert router.waits_for(pair.v6, ALLOWED)
    router.seen.clear()
    for _ in range(5):
        pair.answer(b"world")
        pair.say(b"again")
    assert router.seen == []


def test_a_syn_in_an_allowed_flow_begins_anew(router: Router, pair: Pair) -> None:
    router.judge = lambda segment, size: ALLOWED if size else PASS
    pair.say(b"hello")
    assert router.waits_for(pair.v6, ALLOWED)
    router.seen.clear()
    pair.inject(build_tcp(pair.ends, 77_777, 0, SYN))
    assert router.waits_for(pair.v6, marks.UNDECIDED)
    assert (pair.ends.source_port, SYN, 0) in router.seen


@pytest.mark.parametrize("ttl", [64, 1], ids=["far", "near"])
def test_who_answers_himself_in_the_servers_name_is_refused(router: Router, pair: Pair, ttl: int) -> None:
    """Else connection tracking would believe that the server has sent data, and ACKs of them would pass.

    With one hop left the packet never comes to the forward hook.
    """
    numbers: list[tuple[int, int]] = []

    def note(segment: ip.Segment, size: int) -> int:
        if size:
            numbers.append((segment.sequence + size, segment.acknowledgement))
        return PASS

    router.judge = note
    pair.say(b"hello")
    end, origin = numbers[-1]
    pair.inject(build_tcp(pair.ends.turned(), origin, end, PSH | ACK, bytes(1000), ttl=ttl))
    assert router.waits_for(pair.v6, REFUSED)
    with pytest.raises((ConnectionResetError, TimeoutError, BrokenPipeError)):
        for _ in range(20):
            pair.client.sendall(b"more")
            time.sleep(0.05)
        pair.client.recv(1)


def test_a_connection_from_outside_is_not_judged(router: Router, pair: Pair) -> None:
    source, destination = ADDRESSES[pair.v6]
    family = socket.AF_INET6 if pair.v6 else socket.AF_INET
    with inside(CLIENT, lambda: socket.create_server((source, 443), family=family)) as listener:
        router.seen.clear()
        guest = inside(SERVER, lambda: socket.socket(family))
        with guest:
            guest.settimeout(10)
            guest.connect((source, 443))
            home, _ = listener.accept()
            with home:
                home.settimeout(10)
                guest.sendall(b"hello")
                assert home.recv(100) == b"hello"
                home.sendall(b"world")
                assert guest.recv(100) == b"world"
    assert router.seen == []
    assert destination
