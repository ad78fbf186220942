"""The queue's consumer alone: ours (`guardian/filter/queue.py`) and the netfilterqueue package, with trivial verdicts.

Each consumer is a process of its own on the router's core; datagrams are sent through the loopback of a namespace from
the other core, faster than either can take them. `python -m bench.queues NAME COUNT` is such a process.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from bench.ends import on_first_core, placed
from bench.load import HERE, WORK, cores
from bench.routers import Network
from guardian.filter.queue import Queue
from tests.netns.namespaces import inside

NUMBER = 7
PORT = 9
PAYLOAD = bytes(600)
LENGTH = 1024  # packets that may wait in the kernel
PEER = WORK / "netfilterqueue"
CONSUMERS = ("ours", "netfilterqueue")


def install_peer() -> bool:
    """Put the netfilterqueue package into `.bench/`, built here; False when that cannot be done."""
    if not (PEER / "netfilterqueue").exists():
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        done = subprocess.run([*command, "--target", PEER, "NetfilterQueue"], check=False, stdout=sys.stderr)
        return done.returncode == 0
    return True


def measure_queues(network: Network, count: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return (user, all) microseconds of processor time a packet, by consumer, one pair a round, interleaved."""
    place = network.namespace("alone")
    names = CONSUMERS if install_peer() else CONSUMERS[:1]
    rule = ["OUTPUT", "-o", "lo", "-p", "udp", "--dport", str(PORT), "-j", "NFQUEUE", "--queue-num", str(NUMBER)]
    network.run("alone", "iptables", "-t", "mangle", "-I", *rule)
    sender = inside(place, lambda: socket.socket(type=socket.SOCK_DGRAM))
    sink = inside(place, _open_sink)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with sender, sink:
        sender.connect(("127.0.0.1", PORT))
        for _ in range(rounds):
            for name in names:
                found[name].append(_run_consumer(place, name, count, sender))
    return found


def _open_sink() -> socket.socket:
    sink = socket.socket(type=socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", PORT))
    return sink


def _run_consumer(place: str, name: str, count: int, sender: socket.socket) -> tuple[float, float]:
    command = ["ip", "netns", "exec", place, sys.executable, "-m", "bench.queues", name, str(count)]
    process = subprocess.Popen(placed(cores()[1], command), stdout=subprocess.PIPE, cwd=HERE.parent)
    assert process.stdout is not None
    with process, on_first_core():
        if process.stdout.readline() != b"ready\n":
            raise SystemExit(f"the consumer {name!r} does not start")
        while process.poll() is None:
            for _ in range(64):
                try:
                    sender.send(PAYLOAD)
                except OSError:  # the queue is full: that packet is lost, as is meant here
                    continue
        user, total = json.loads(process.stdout.read())
    return user, total


# The consumer's process


def consume(name: str, count: int) -> tuple[float, float]:
    """Accept `count` packets with a mark and return (user, all) microseconds a packet."""
    seen = 0

    def judge(data: bytes, mac: bytes | None, mark: int) -> int:
        nonlocal seen
        seen += 1
        return data[0] & 1

    def accept(packet: Any) -> None:
        nonlocal seen
        seen += 1
        packet.set_mark(packet.get_payload()[0] & 1)
        packet.accept()

    descriptor, work = _open_ours(judge) if name == "ours" else _open_theirs(accept)
    print("ready", flush=True)
    while not seen:
        select.select([descriptor], [], [])
        work()
    before, seen = os.times(), 0
    while seen < count:
        select.select([descriptor], [], [])
        work()
    after = os.times()
    user, system = after.user - before.user, after.system - before.system
    return user / seen * 1e6, (user + system) / seen * 1e6


def _open_ours(judge: Callable[[bytes, bytes | None, int], int]) -> tuple[int, Callable[[], object]]:
    queue = Queue.open(NUMBER, judge, length=LENGTH)
    return queue.fileno(), queue.on_readable


def _open_theirs(accept: Callable[[Any], None]) -> tuple[int, Callable[[], object]]:
    sys.path.insert(0, str(PEER))
    import netfilterqueue  # type: ignore[import-not-found]

    queue = netfilterqueue.NetfilterQueue()
    queue.bind(NUMBER, accept, max_len=LENGTH, sock_len=8 * 1024 * 1024)
    return queue.get_fd(), lambda: queue.run(block=False)


if __name__ == "__main__":
    print(json.dumps(consume(sys.argv[1], int(sys.argv[2]))))
