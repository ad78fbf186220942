"""What `flows.py` measures through the routers: interleaved rounds (A B C A B C), medians, ratios within a round."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.comparison import Figures, say
from bench.ends import Bulk, FlowsResult, hold_flows, make_segments, on_first_core, run_flows, write_messages
from bench.engine import make_quic_datagrams
from bench.filtering import Cpu, FilteringGateway
from bench.routers import DEVICES, Router
from tests.netns.namespaces import inside

GUARDIAN, CONNTRACK, NONE = "guardian", "conntrack", "none"
PACES = (100, 500)  # new flows a second
HELD = 10_000
HELD_RATE = 2000
AGE_LIMIT = 90.0  # seconds in which undecided flows must be forgotten
WINDOW = 32  # flows at once in a closed loop


class Effort(NamedTuple):
    """How long things take: rounds, and seconds of each part of one."""

    rounds: int
    flows: float  # closed loop
    paced: float
    slots: int  # of a stream
    slot: float
    quic: int  # flows
    in_process: int  # flows or answers
    queue: int  # packets


class Bench:
    """The routers, the gateway on one of them, and what was seen so far."""

    def __init__(self, routers: Sequence[Router], gateway: FilteringGateway, effort: Effort) -> None:
        self.routers = {router.name: router for router in routers}
        self.gateway = gateway
        self.effort = effort
        self.figures: Figures = {}
        self.bad = 0.0  # the worst share of flows that did not go through
        self._hello = write_messages("hello", make_segments())
        self._pq_hello = write_messages("hello-pq", make_segments(post_quantum=True))

    def warm_up(self) -> None:
        """Let every cable learn its addresses and the gateway its devices."""
        for router in self.routers.values():
            self._run(router, self._hello, seconds=0.5, window=WINDOW)
        self._forget_flows()

    def _run(self, router: Router, messages: Path | None, *, seconds: float, rate: float = 0, window: int = WINDOW
             ) -> FlowsResult:  # fmt: skip
        result = run_flows(router, messages, seconds=seconds, rate=rate, window=window)
        self.bad = max(self.bad, result.bad)
        return result

    def _forget_flows(self) -> None:
        """Empty the tables of flows: reading the counters of what is over would disturb."""
        for name in (CONNTRACK, GUARDIAN):
            self.routers[name].run("conntrack", "-F")

    def _note_cpu(self, key: str, before: Cpu, flows: int) -> Cpu:
        """Note the gateway's processor time per flow since `before`, user and all; return what was used."""
        used = self.gateway.cpu().since(before)
        self._add(key, used.user / flows * 1e6)
        self._add(f"{key}_all", used.total / flows * 1e6)
        return used

    _samples: dict[str, list[float]]

    def _add(self, key: str, value: float) -> None:
        self._samples.setdefault(key, []).append(value)

    def _begin(self, what: str) -> None:
        say(what)
        self._samples = {}
        self._forget_flows()

    def _settle(self, digits: int = 1) -> None:
        """Turn the samples into figures: their medians."""
        self.figures |= {key: round(median(values), digits) for key, values in self._samples.items()}

    # Streams

    def measure_streams(self) -> None:
        """One flow that was handed over, up and down, in big packets and in such of MTU size."""
        queued = 0
        for suffix, has_offload in (("", True), ("_mtu", False)):
            for router in self.routers.values():
                router.set_offload(has_offload)
            for direction in ("down", "up"):
                self._begin(f"one stream {direction}, packets {'of up to 64 KB' if has_offload else 'of MTU size'}")
                queued += self._measure_stream(direction, suffix)
                self._settle(3)
        for router in self.routers.values():
            router.set_offload(True)
        figures = self.figures
        figures["queued_after_handover"] = queued
        for peer in (CONNTRACK, NONE):
            for suffix in ("", "_mtu"):
                both = (figures[f"ratio_stream_{direction}{suffix}_vs_{peer}"] for direction in ("down", "up"))
                figures[f"ratio_stream{suffix}_vs_{peer}"] = min(both)

    def _measure_stream(self, direction: str, suffix: str) -> int:
        """Return how many packets of the streams came to user space after the hand-over."""
        effort = self.effort
        with ExitStack() as stack:
            streams = {
                name: stack.enter_context(Bulk(router, self._hello, direction, effort.slot))
                for name, router in self.routers.items()
            }
            before = self.gateway.queued()
            for _ in range(effort.slots):
                gbps = {name: stream.run() for name, stream in streams.items()}
                for name, value in gbps.items():
                    self._add(f"{name}_stream_{direction}{suffix}_gbps", value)
                for peer in (CONNTRACK, NONE):
                    self._add(f"ratio_stream_{direction}{suffix}_vs_{peer}", gbps[GUARDIAN] / gbps[peer])
            return self.gateway.queued() - before

    # New flows

    def measure_paced(self) -> None:
        """Latency, and the gateway's processor time, at some new flows a second."""
        for pace in PACES:
            self._begin(f"{pace} new flows a second")
            for _ in range(self.effort.rounds):
                self._note_latency({name: self._run_paced(name, pace) for name in self.routers}, pace)
            self._settle()
        self._begin("500 new flows a second, post-quantum hellos")
        for _ in range(self.effort.rounds):
            before = self.gateway.cpu()
            self._note_cpu("cpu_us_per_pq_flow_at_500", before, self._run_guarded(self._pq_hello, rate=500))
        self._settle()

    def _run_paced(self, name: str, pace: int) -> FlowsResult:
        before = self.gateway.cpu()
        result = self._run(self.routers[name], self._hello, seconds=self.effort.paced, rate=pace)
        if name == GUARDIAN:
            self._note_cpu(f"cpu_us_per_flow_at_{pace}", before, result.done)
        return result

    def _run_guarded(self, messages: Path, rate: float = 0) -> int:
        seconds = self.effort.paced if rate else self.effort.flows
        return self._run(self.routers[GUARDIAN], messages, seconds=seconds, rate=rate).done

    def _note_latency(self, seen: dict[str, FlowsResult], pace: int) -> None:
        for part in ("connect", "hello", "answer"):
            for share in ("p50", "p99"):
                values = {name: float(getattr(result, f"{part}_{share}_us")) for name, result in seen.items()}
                for name, value in values.items():
                    self._add(f"{name}_{part}_{share}_us_at_{pace}", value)
                self._add(f"added_{part}_{share}_us_at_{pace}", values[GUARDIAN] - values[NONE])

    def measure_new_flows(self) -> None:
        """New flows a second, as many as go: canned ones and real TLS 1.3 handshakes."""
        for what, messages in (("flow", self._hello), ("handshake", None)):
            self._begin(f"as many new {what}s as go")
            for _ in range(self.effort.rounds):
                rates = {name: self._run_full(name, what, messages) for name in self.routers}
                for peer in (CONNTRACK, NONE):
                    self._add(f"{what}s_per_second_ratio_vs_{peer}", rates[GUARDIAN] / rates[peer])
            self._settle(3)
        self.figures["handshakes_per_second_ratio"] = self.figures["handshakes_per_second_ratio_vs_none"]
        self.figures["flows_per_second"] = self.figures["guardian_flows_per_second"]
        self._begin("as many new flows as go, post-quantum hellos")
        for _ in range(self.effort.rounds):
            before = self.gateway.cpu()
            self._note_cpu("cpu_us_per_pq_flow", before, self._run_guarded(self._pq_hello))
        self._settle()

    def _run_full(self, name: str, what: str, messages: Path | None) -> float:
        """Return flows a second through one router; without `messages` they are real TLS."""
        before = self.gateway.cpu()
        result = self._run(self.routers[name], messages, seconds=self.effort.flows)
        if name == GUARDIAN:
            used = self._note_cpu(f"cpu_us_per_{what}", before, result.done)
            self._add(f"{what}s_core", used.total / result.seconds)
        self._add(f"{name}_{what}s_per_second", result.per_second)
        return result.per_second

    # QUIC

    def measure_quic(self) -> None:
        """Processor time of the gateway per QUIC connection at 500 a second, through the real queue."""
        for key, is_long in (("quic_queue_us_per_flow", False), ("quic_queue_us_per_pq_flow", True)):
            self._begin(f"500 new QUIC flows a second, {'two datagrams' if is_long else 'one datagram'}")
            count = self.effort.quic
            flows = [make_quic_datagrams(number, is_long=is_long) for number in range(count)]
            allowed_before = self.gateway.status()["filter"]["allowed"]
            before = self.gateway.cpu()
            self._note_cpu(key, before, self._send_quic(flows))
            allowed = self.gateway.status()["filter"]["allowed"] - allowed_before
            self.bad = max(self.bad, 1 - allowed / count)
            self._settle()

    def _send_quic(self, flows: Sequence[Sequence[bytes]]) -> int:
        router = self.routers[GUARDIAN]
        network = router.network
        with ExitStack() as stack:
            sink = inside(network.namespace("server"), lambda: _bind_udp((router.server, 443)))
            stack.enter_context(sink)
            sources = inside(network.namespace("client"), lambda: _connect_all(router, len(flows)))
            for source in sources:
                stack.enter_context(source)
            stack.enter_context(on_first_core())
            due = time.perf_counter()
            for source, datagrams in zip(sources, flows, strict=True):
                while time.perf_counter() < due:
                    pass
                with suppress(ConnectionRefusedError):  # told by the count of what was allowed
                    for datagram in datagrams:
                        source.send(datagram)
                due += 1 / 500
            time.sleep(0.2)
        return len(flows)

    # Many at once

    def measure_undecided(self) -> None:
        """Memory of many flows that nobody has decided, and whether they are forgotten in time."""
        self._begin(f"{HELD} undecided flows")
        before = self.gateway.private_mb()
        already = self._count_undecided()
        head = write_messages("hello-head", make_segments(post_quantum=True)[:1])
        with hold_flows(self.routers[GUARDIAN], head, HELD, HELD_RATE, is_whole=False) as held:
            time.sleep(6)  # the engine sums up what it holds every five seconds
            status = self.gateway.status()["filter"]
            self.figures["undecided_flows"] = min(held, status["undecided"] - already)
            self.figures["undecided_held_mb"] = round(status["held_bytes"] / 1e6, 1)
            self.figures["undecided_growth_mb"] = round(self.gateway.private_mb() - before, 1)
            began = time.monotonic()
            say("waiting until they are forgotten")
            while self._count_undecided() > already and time.monotonic() < began + AGE_LIMIT:
                time.sleep(1)
            self.figures["undecided_left"] = max(self._count_undecided() - already, 0)
            self.figures["undecided_forgotten_mb"] = round(self.gateway.private_mb() - before, 1)

    def _count_undecided(self) -> int:
        return int(self.gateway.status()["filter"]["undecided"])


def _bind_udp(address: tuple[str, int]) -> socket.socket:
    sink = socket.socket(type=socket.SOCK_DGRAM)
    sink.bind(address)
    return sink


def _connect_all(router: Router, count: int) -> list[socket.socket]:
    """UDP sockets, each with a port of its own, over all the devices."""
    sources = []
    for number in range(count):
        source = socket.socket(type=socket.SOCK_DGRAM)
        device = f"{router.devices}{number % DEVICES}"
        source.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        source.connect((router.server, 443))
        sources.append(source)
    return sources
