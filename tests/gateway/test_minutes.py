"""Minutes from the counters of a real kernel: flows of a namespace's loopback, marked as the filter marks them.

The meter's own thresholds are tested in tests/filter/test_meter.py; here a quarter of a minute passes when we say so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from guardian.blocklist.image import Image
from guardian.catalogue import load_catalogue
from guardian.errors import GuardianError
from guardian.filter import marks
from guardian.filter.conntrack import Conntrack
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.filter.meter import HEAVY_OUT_PACKETS
from guardian.gateway import minutes
from guardian.gateway.minutes import MinutesCounter
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import Device, Household, Kind, Profile, Visibility
from guardian.policy.usage import Usage
from guardian.store.history_record import Batch, Recorder
from tests.gateway.product import compile_starter_image
from tests.netns.namespaces import add_namespace, inside, run

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
DAY = "2026-11-23"
SLOTS = {1: "tablet", 2: "console", 3: "quiet", marks.UNKNOWN_SLOT: ""}
HERE = socket.inet_aton("127.0.0.1")
# Ports of the opener -> conntrack mark
PORTS = {20001: 1 << 24 | 1, 20002: 2 << 24 | 3, 20003: 3 << 24 | 1, 20004: 1 << 24 | 5, 20005: 0xFF000001, 20006: 1}
PORTS |= {20007: 1 << 24 | 2, 20008: 1 << 24}
MARKS = ", ".join(f"{port} : {mark:#x}" for port, mark in PORTS.items())
HOOK = "type filter hook output priority 0"
RULES = f"table inet tag {{ chain output {{ {HOOK}; ct mark set udp sport map {{ {MARKS} }}; }}; }}"


def make_policy(*profiles: Profile, owners: dict[str, str], usage: Usage | None = None) -> Policy:
    """A home in which `owners` says whose profile a device has."""
    devices = tuple(Device(device, device, profile) for device, profile in owners.items())
    household = Household("UTC", UTC, profiles, devices, "guests")
    lists = Image(compile_starter_image())
    return compile_policy(household, load_catalogue(names=False), lists, usage)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    if shutil.which("nft") is None:
        pytest.skip("needs the program nft")
    name = f"gminutes{os.getpid()}"
    add_namespace(name)
    try:
        run(f"ip -n {name} link set lo up")
        command = ["ip", "netns", "exec", name, "nft", "-f", "-"]
        subprocess.run(command, input=RULES, text=True, check=True, timeout=20)
        inside(name, lambda: Path("/proc/sys/net/netfilter/nf_conntrack_acct").write_text("1"))
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Clocks:
    """The clocks of the module under test: they go when we say so."""

    def __init__(self) -> None:
        self.passed = 0.0

    def time(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Home:
    """A household's flows, counted."""

    def __init__(self, namespace: str, policy: Policy, clocks: Clocks) -> None:
        self.policy, self.clocks = policy, clocks
        self.judged, self.recorder = JudgedFlows(), Recorder(UTC)
        self.conntrack = inside(namespace, Conntrack.open)
        self.namespace = namespace
        self.sockets = inside(namespace, lambda: {port: self._open(port) for port in PORTS})
        self.counter = MinutesCounter(self.conntrack, self.judged, self.recorder)
        self.counter.use(policy)

    def _open(self, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("127.0.0.1", port))
        opened.connect(("127.0.0.1", 9))
        return opened

    def judge(self, port: int, service: str) -> FlowKey:
        key = FlowKey(17, HERE, port, HERE, 9)
        self.judged.add(key, JudgedFlow(Who("", None), Kind.TLS, b"", service, 1, self.clocks.time()))
        return key

    def send(self, port: int, packets: int) -> None:
        for _ in range(packets):
            try:
                self.sockets[port].send(bytes(100))
            except ConnectionRefusedError:  # nobody listens there; the kernel says so now and then
                continue

    def sample(self) -> set[str]:
        self.clocks.passed += 15.0

        async def sample() -> set[str]:
            return await self.counter.sample(SLOTS, self.policy)

        return inside(self.namespace, lambda: asyncio.run(sample()))

    def go_on(self, slices: int, *ports: int) -> set[str]:
        """So many slices with heavy use of some flows; return the profiles that were counted."""
        grown = set()
        for _ in range(slices):
            for port in ports:
                self.send(port, 2 * HEAVY_OUT_PACKETS)
            grown |= self.sample()
        return grown

    def written(self) -> Batch:
        batch = self.recorder.take()
        assert batch is not None
        return batch

    def close(self) -> None:
        self.conntrack.close()
        for opened in self.sockets.values():
            opened.close()


@pytest.fixture
def flows(namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    clocks = Clocks()
    monkeypatch.setattr(minutes, "tell_time", clocks.time)
    monkeypatch.setattr(minutes, "time", SimpleNamespace(monotonic=clocks.monotonic))
    profiles = (
        Profile("ana", "Ana"),
        Profile("ion", "Ion", visibility=Visibility.CATEGORIES),
        Profile("shy", "Shy", visibility=Visibility.COUNTS),
        Profile("guests", "Guests"),
    )
    owners = {"tablet": "ana", "console": "ion", "quiet": "shy"}
    policy = make_policy(*profiles, owners=owners)
    subprocess.run(["ip", "netns", "exec", namespace, "conntrack", "-F"], capture_output=True, check=False)
    flows = Home(namespace, policy, clocks)
    try:
        yield flows
    finally:
        flows.close()


def used(flows: Home, profile: str, of: str = "") -> float:
    return flows.policy.usage.today(profile, of, date(2026, 11, 23))


def test_what_a_flow_carries_becomes_minutes_of_its_service(flows: Home) -> None:
    flows.judge(20001, "youtube")
    assert flows.go_on(4, 20001) == set()  # not certain yet
    assert flows.go_on(4, 20001) == {"ana"}
    for of in ("", "youtube", "group:video"):
        assert 1.0 <= used(flows, "ana", of) <= 2.0, of
    assert used(flows, "ana", "group:games") == 0.0
    batch = flows.written()
    assert {key[1:] for key in batch.minutes} == {("ana", ""), ("ana", "youtube"), ("ana", "group:video")}
    assert batch.minutes[DAY, "ana", "youtube"] == pytest.approx(used(flows, "ana", "youtube"))
    assert {key[1:] for key in batch.device_minutes} == {("tablet", ""), ("tablet", "youtube")}


def test_watched_flows_count_and_refused_or_undecided_ones_do_not(flows: Home) -> None:
    assert flows.go_on(14, 20002, 20007, 20008) == {"ion"}
    assert used(flows, "ion") > 1.0 and used(flows, "ana") == 0.0


def test_whose_packets_were_carried_is_told_once(flows: Home) -> None:
    flows.judge(20001, "youtube")
    flows.sample()
    flows.counter.take_moved()
    flows.sample()
    assert flows.counter.take_moved() == set()  # the flow is there, and nothing moved
    flows.send(20001, 3)
    flows.sample()
    assert flows.counter.take_moved() == {HERE}
    assert flows.counter.take_moved() == set()
    flows.send(20004, 3)  # with a helpline
    flows.sample()
    assert flows.counter.take_moved() == set()


def test_time_with_a_helpline_is_nobodys_business(flows: Home) -> None:
    flows.judge(20004, "youtube")
    assert flows.go_on(14, 20004) == set()
    assert flows.recorder.take() is None


def test_unnamed_devices_count_for_their_profile_and_flows_of_nobody_do_not(flows: Home) -> None:
    flows.judge(20005, "roblox")
    flows.judge(20006, "youtube")
    assert flows.go_on(8, 20005, 20006) == {"guests"}
    assert used(flows, "guests", "group:games") > 1.0
    assert {key[1] for key in flows.written().device_minutes} == {""}


def test_a_profile_that_shows_counts_keeps_no_services(flows: Home) -> None:
    flows.judge(20003, "youtube")
    assert flows.go_on(8, 20003) == {"shy"}
    batch = flows.written()
    assert {key[1:] for key in batch.device_minutes} == {("quiet", "")}
    assert (DAY, "shy", "youtube") in batch.minutes  # limits need it


def test_what_was_carried_before_the_first_sample_is_one_slice(flows: Home) -> None:
    """A gateway that comes back finds flows that have carried gigabytes."""
    flows.judge(20001, "youtube")
    flows.send(20001, 5000)
    for _ in range(12):
        assert flows.sample() == set()


def test_an_idle_flow_counts_nothing(flows: Home) -> None:
    flows.judge(20001, "youtube")
    for _ in range(12):
        flows.send(20001, 1)
        assert flows.sample() == set()


def test_flows_that_are_gone_are_forgotten_and_new_ones_get_their_time(flows: Home) -> None:
    flows.send(20001, 1)
    running, fresh = flows.judge(20001, ""), FlowKey(17, HERE, 1, HERE, 9)
    gone = FlowKey(17, HERE, 2, HERE, 9)
    flows.judged.add(gone, JudgedFlow(Who("tablet", None), Kind.TLS, b"", "", 1, NOW))
    flows.clocks.passed = 2.0
    flows.judged.add(fresh, JudgedFlow(Who("tablet", None), Kind.TLS, b"", "", 1, NOW + 16.0))
    flows.sample()
    assert [flows.judged.get(key) is not None for key in (running, gone, fresh)] == [True, False, True]
    flows.sample()
    assert flows.judged.get(fresh) is None


def test_ports_that_are_used_again_are_another_flow(flows: Home) -> None:
    flows.judge(20001, "youtube")
    flows.go_on(4, 20001)
    for more in range(6):  # each slice the kernel begins to count anew, and comes less far
        subprocess.run(["ip", "netns", "exec", flows.namespace, "conntrack", "-F"], capture_output=True, check=True)
        flows.send(20001, 2 * HEAVY_OUT_PACKETS - 10 * more)
        flows.sample()
    assert 1.5 <= used(flows, "ana", "youtube") <= 2.5


def test_another_household_counts_from_now_on(flows: Home) -> None:
    flows.judge(20001, "youtube")
    flows.go_on(8, 20001)
    before = used(flows, "ana")
    profiles = (Profile("ana", "Ana"), Profile("ion", "Ion"))
    flows.policy = make_policy(*profiles, owners={"tablet": "ion"}, usage=flows.policy.usage)
    flows.counter.use(flows.policy)
    assert flows.go_on(8, 20001) == {"ion"}
    assert used(flows, "ana") == before and used(flows, "ion") >= 1.0


def test_a_kernel_that_does_not_tell_is_an_error(flows: Home) -> None:
    flows.send(20001, 1)
    half_read = flows.conntrack.dump(0, 0)
    inside(flows.namespace, lambda: next(half_read))
    with pytest.raises(GuardianError, match="dump"):
        flows.sample()
    assert list(half_read) == []
    flows.sample()
