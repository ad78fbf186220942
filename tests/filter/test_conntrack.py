"""The flows of a real kernel, with the `conntrack` program and pyroute2's words as oracles."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import FormError, GuardianError
from guardian.filter import marks
from guardian.filter.conntrack import Conntrack, Flow, explain, pack_tuple, parse_flow
from guardian.wire.netlink import NETFILTER, pack_attribute
from tests.fuzz.driver import fuzz, mutate_bytes
from tests.netns.namespaces import add_namespace, inside, run

T = TypeVar("T")
HOME4, HOME6 = socket.inet_aton("127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")
RULES = """table inet watch {
    chain output { type filter hook output priority 0; ct state new udp sport 23000-26000 ct mark set 0x7ff13; }
    chain translate { type nat hook output priority -100; ip daddr 127.0.0.5 udp dport 9 redirect to :10; }
}"""


def encode(flow: Flow, *, is_flat: bool = False) -> bytes:
    """A flow as the kernel writes it; `is_flat` without the bit that says "nested"."""
    key = pack_tuple(*flow[:5])
    if is_flat:
        key = key.replace(b"\x01\x80", b"\x01\0").replace(b"\x02\x80", b"\x02\0")

    def counters(packets: int, octets: int) -> bytes:
        return pack_attribute(1, packets.to_bytes(8, "big")) + pack_attribute(2, octets.to_bytes(8, "big"))

    return (
        key
        + pack_attribute(0x8002, key[8:])
        + pack_attribute(3, b"\0\0\1\x88")
        + pack_attribute(0x8009, counters(flow.out_packets, flow.out_bytes))
        + pack_attribute(0x800A, counters(flow.in_packets, flow.in_bytes) + pack_attribute(4, b""))
        + pack_attribute(8, flow.mark.to_bytes(4, "big"))
        + pack_attribute(12, b"\0\0\0\7")
    )


PORTS = st.integers(0, 0xFFFF)
COUNTERS = st.integers(0, 2**64 - 1)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    size = draw(st.sampled_from([4, 16]))
    addresses = st.binary(min_size=size, max_size=size)
    protocol = draw(st.sampled_from([1, 6, 17, 47, 58, 132, 255]))
    key = (protocol, draw(addresses), draw(PORTS), draw(addresses), draw(PORTS))
    return Flow(*key, draw(st.integers(0, 2**32 - 1)), *(draw(COUNTERS) for _ in range(4)))


@given(flows())
def test_flows_come_back(flow: Flow) -> None:
    data = encode(flow)
    assert parse_flow(data) == parse_flow(memoryview(data)) == flow


def test_both_ways_of_reading_agree() -> None:
    for size in (4, 16):
        flow = Flow(6, bytes(range(size)), 1000, bytes(range(1, size + 1)), 443, 7, 1, 2, 3, 4)
        assert parse_flow(encode(flow, is_flat=True)) == parse_flow(encode(flow)) == flow


def test_what_is_missing_is_zero() -> None:
    key = pack_tuple(50, HOME4, 0, HOME4, 0)
    assert parse_flow(key) == Flow(50, HOME4, 0, HOME4, 0, 0, 0, 0, 0, 0)
    assert parse_flow(NETFILTER.pack(2, 0, 0)) is None
    assert parse_flow(NETFILTER.pack(2, 0, 0) + pack_attribute(0x8001, b"")) is None


def test_damaged_flows_are_form_errors_or_flows() -> None:
    def check(data: bytes) -> None:
        with contextlib.suppress(FormError):
            flow = parse_flow(data)
            if flow is not None:
                assert len(flow.source) == len(flow.destination) in (4, 16)
                assert 0 <= flow.mark < 2**32
                assert 0 <= flow.source_port < 2**16 > flow.destination_port >= 0
                pack_tuple(*flow[:5])

    seeds = [
        encode(Flow(17, HOME4, 1000, HOME4, 53, 7, 1, 2, 3, 4)),
        encode(Flow(58, HOME6, 1000, HOME6, 0x8000, 7, 1, 2, 3, 4)),
        encode(Flow(6, HOME6, 1000, HOME6, 443, 7, 1, 2, 3, 4)),
    ]
    fuzz(check, seeds, mutate_bytes, seed=1, count=10_000)


@pytest.fixture
def namespace() -> Iterator[str]:
    if shutil.which("conntrack") is None or shutil.which("nft") is None:
        pytest.skip("needs the programs conntrack and nft")
    name = f"gct{os.getpid()}"
    add_namespace(name)
    try:
        run(f"ip -n {name} link set lo up")
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=RULES, text=True, check=True, timeout=20)
        run(f"ip netns exec {name} sysctl -qw net.netfilter.nf_conntrack_acct=1")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def within(namespace: str, action: Callable[[Conntrack], T]) -> T:
    """Act on the table of a namespace."""

    def enter() -> T:
        with contextlib.closing(Conntrack.open()) as conntrack:
            return action(conntrack)

    return inside(namespace, enter)


def collect(namespace: str, mark: int = 0, mask: int = 0) -> list[Flow]:
    return within(namespace, lambda conntrack: [flow for flows in conntrack.dump(mark, mask) for flow in flows])


def send(namespace: str, destination: str, *ports: int, target: int = 9) -> None:
    """One datagram of three bytes from each port."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET

    def act() -> None:
        for port in ports:
            with socket.socket(family, socket.SOCK_DGRAM) as endpoint:
                endpoint.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
                endpoint.sendto(b"abc", (destination, target))

    inside(namespace, act)


def conntrack_program(namespace: str, *words: str) -> str:
    command = ["ip", "netns", "exec", namespace, "conntrack", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def oracle(namespace: str, family: str) -> list[Flow]:
    """The flows as the `conntrack` program prints them."""
    found = []
    for line in conntrack_program(namespace, "-L", "-f", family).splitlines():
        values: dict[str, list[str]] = {}
        for name, value in re.findall(r"(\w+)=(\S+)", line):
            values.setdefault(name, []).append(value)
        kind = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
        source, destination = (socket.inet_pton(kind, values[name][0]) for name in ("src", "dst"))
        if "type" in values:
            ports = (int(values["id"][0]), int(values["type"][0]) << 8 | int(values["code"][0]))
        else:
            ports = (int(values["sport"][0]), int(values["dport"][0]))
        numbers = [int(values[name][way]) for way in (0, 1) for name in ("bytes", "packets")]
        found.append(
            Flow(int(line.split()[1]), source, ports[0], destination, ports[1], int(values["mark"][0]), *numbers)
        )
    return found


ECHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
    raw.sendto(bytes.fromhex("080064fe93000001"), ("127.0.0.1", 0))
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
    raw.sendto(bytes.fromhex("8000000093000001"), ("::1", 0))
listener = socket.create_server(("127.0.0.1", 4430))
with socket.create_connection(("127.0.0.1", 4430)) as client:
    client.sendall(bytes(5000))
    listener.accept()[0].recv(5000)
"""


def test_we_list_what_the_conntrack_program_lists(namespace: str) -> None:
    send(namespace, "127.0.0.1", *range(20000, 20300))
    send(namespace, "::1", *range(20000, 20300))
    send(namespace, "127.0.0.5", 21000)  # redirected to another port
    run_code(namespace, ECHO)
    listed = collect(namespace)
    expected = oracle(namespace, "ipv4") + oracle(namespace, "ipv6")
    assert sorted(listed) == sorted(expected)
    assert {flow.protocol for flow in listed} == {1, 6, 17, 58}
    assert (17, HOME4, 21000, socket.inet_aton("127.0.0.5"), 9) in {flow[:5] for flow in listed}
    assert all(
        flow.out_bytes == 31 and flow.out_packets == 1
        for flow in listed
        if flow.protocol == 17 and flow.source == HOME4
    )


def run_code(namespace: str, code: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-c", code], check=True, timeout=20)


def test_marks_are_set_under_a_mask_and_filtered_by_the_kernel(namespace: str) -> None:
    send(namespace, "127.0.0.1", 23001, 23002)
    send(namespace, "::1", 23001)

    def act(conntrack: Conntrack) -> None:
        assert conntrack.set_mark(17, HOME4, 23001, HOME4, 9, marks.mark_of_slot(5) | marks.ALLOWED, marks.OWN_MASK)
        assert conntrack.set_mark(17, HOME6, 23001, HOME6, 9, marks.ALLOWED | 0xFF00F0, marks.FLOW_MASK)
        assert not conntrack.set_mark(17, HOME4, 23003, HOME4, 9, marks.ALLOWED, marks.FLOW_MASK)
        assert not conntrack.set_mark(6, HOME4, 23001, HOME4, 9, marks.ALLOWED, marks.FLOW_MASK)

    within(namespace, act)
    assert {flow.mark for flow in oracle(namespace, "ipv4")} == {0x0507FF11, 0x7FF13}
    assert [flow.mark for flow in oracle(namespace, "ipv6")] == [0x7FF11]
    assert {flow[:3] for flow in collect(namespace, marks.ALLOWED, marks.STATE_MASK)} == {
        (17, HOME4, 23001),
        (17, HOME6, 23001),
    }
    assert [flow[:3] for flow in collect(namespace, marks.WATCHED, marks.STATE_MASK)] == [(17, HOME4, 23002)]
    assert [flow[:3] for flow in collect(namespace, marks.mark_of_slot(5), marks.SLOT_MASK)] == [(17, HOME4, 23001)]


def test_every_kind_of_flow_can_be_marked_and_deleted(namespace: str) -> None:
    run_code(namespace, ECHO)
    send(namespace, "127.0.0.5", 21000)
    keys = [flow[:5] for flow in collect(namespace)]
    assert {key[0] for key in keys} == {1, 6, 17, 58}

    def act(conntrack: Conntrack) -> None:
        for key in keys:
            assert conntrack.set_mark(*key, marks.REFUSED, marks.FLOW_MASK), key
        assert {flow.mark for flows in conntrack.dump(0, 0) for flow in flows} == {marks.REFUSED}
        for key in keys:
            assert conntrack.delete(*key)
            assert not conntrack.delete(*key)
            assert not conntrack.set_mark(*key, marks.REFUSED, marks.FLOW_MASK)

    within(namespace, act)
    assert collect(namespace) == []


def test_changes_while_a_dump_runs(namespace: str) -> None:
    send(namespace, "127.0.0.1", *range(20000, 20500))

    def act(conntrack: Conntrack) -> list[int]:
        pieces = []
        for flows in conntrack.dump(0, marks.STATE_MASK):
            pieces.append(len(flows))
            for flow in flows:
                assert conntrack.set_mark(*flow[:5], marks.ALLOWED, marks.STATE_MASK)
            with pytest.raises(GuardianError, match="running already"):
                next(conntrack.dump(0, 0))
        return pieces

    pieces = within(namespace, act)
    assert sum(pieces) == 500
    assert len(pieces) > 1
    assert {flow.mark for flow in collect(namespace)} == {marks.ALLOWED}


def test_a_dump_that_is_given_up_leaves_nothing_behind(namespace: str) -> None:
    send(namespace, "127.0.0.1", *range(20000, 20500))

    def act(conntrack: Conntrack) -> None:
        dump = conntrack.dump(0, 0)
        next(dump)
        dump.close()  # type: ignore[attr-defined]
        assert sum(len(flows) for flows in conntrack.dump(0, 0)) == 500

    within(namespace, act)


def test_an_empty_table_and_a_closed_one(namespace: str) -> None:
    assert collect(namespace) == []
    conntrack = Conntrack.open()
    conntrack.close()
    conntrack.close()
    with pytest.raises(OSError, match="closed"):
        conntrack.delete(17, HOME4, 1, HOME4, 2)


def test_without_the_capability() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give up its rights")
    code = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "from guardian.filter.conntrack import Conntrack; Conntrack.open()"
    )
    root = Path(__file__).parents[2]
    failed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=root
    )
    assert "CAP_NET_ADMIN" in failed.stderr.splitlines()[-1]


def test_what_to_do_without_the_module() -> None:
    for code in (22, 93, 97):
        assert "nf_conntrack_netlink" in explain(code)
    assert "No buffer space" in explain(105)
