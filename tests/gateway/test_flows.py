"""The flow filter in a namespace of its own: a real kernel and a clock of ours, without the rest of the gateway."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guardian.blocklist.addresses import build_table, parse_network
from guardian.blocklist.feed_base import Base
from guardian.blocklist.image import Image
from guardian.blocklist.tag_table import TagTable
from guardian.catalogue import load_catalogue
from guardian.catalogue.starter import compile_starter
from guardian.config import Config, DnsConfig, Endpoint, FilterConfig, UpstreamConfig
from guardian.devices import DeviceMap
from guardian.errors import GuardianError
from guardian.filter import marks
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey, JudgedFlow
from guardian.filter.queue import Queue
from guardian.filter.ruleset import Listener, Plan
from guardian.filter.tcp import Answer
from guardian.gateway import flows
from guardian.gateway.flows import FlowFilter, Surroundings, find_listener, is_interface, is_other, says_else
from guardian.hotline.listed import GuardedNames, JoinedLists, Keys, ListedNames
from guardian.names import parse_name
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import Action, Device, Household, Kind, Profile, Rule, Schedule, Window
from guardian.policy.rules import parse_rule
from guardian.policy.usage import Usage
from guardian.store.history_record import Recorder
from guardian.store.slots import load_slots
from guardian.supervisor.watchdog import Watchdog
from tests.gateway.product import compile_starter_image
from tests.hotline.listed_feed import make_base, make_tags
from tests.netns.namespaces import add_namespace, inside, run

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
TABLET, PHONE = "02:00:5e:77:00:10", "02:00:5e:77:00:20"
SERVER = "198.51.100.80"
LISTS = Image(compile_starter_image())

Act = Callable[[FlowFilter], Awaitable[None]]


def household(*rules: Rule, **ana: Any) -> Household:
    profiles = (Profile("ana", "Ana", rules=rules, **ana), Profile("parents", "Parents", filtered=False))
    devices = (Device("tablet", "Tablet", "ana", (TABLET,)), Device("phone", "Phone", "parents", (PHONE,)))
    return Household("UTC", UTC, profiles, devices, "ana")


def policy_of(home: Household, usage: Usage | None = None, lists: Image = LISTS, addresses: Any = None) -> Policy:
    return compile_policy(home, load_catalogue(names=False), lists, usage, addresses)


def block(name: str) -> Rule:
    return parse_rule(name, Action.BLOCK)


# What is news to running flows


def test_stops_and_minutes_are_no_news_to_flows_whose_names_are_unknown() -> None:
    before = policy_of(household())
    bedtime = Schedule((Window(frozenset(range(7)), 1200, 1260, "bedtime"),))
    for home in (
        household(),
        household(paused_until=NOON),
        household(schedule=bedtime, minutes=(60,) * 7, week_minutes=300),
        replace(household(), devices=tuple(replace(d, paused_until=NOON) for d in household().devices)),
    ):
        assert not says_else(before, policy_of(home, Usage()))


def test_all_else_is_news() -> None:
    before = policy_of(household())
    for home in (
        household(block("example.com")),
        household(strict=True),
        household(filtered=False),
        household(categories=frozenset({"gambling"})),
        replace(household(), rules=(block("example.com"),)),
        replace(household(), new_device_profile="parents"),
        replace(household(), devices=household().devices[:1]),
    ):
        assert says_else(before, policy_of(home))
    addresses = build_table([("bypass:doh", parse_network("192.0.2.1"))])
    assert says_else(before, policy_of(household(), addresses=addresses))
    assert not says_else(policy_of(household(), addresses=addresses), policy_of(household(), addresses=addresses))


def test_lists_are_others_when_they_were_compiled_anew() -> None:
    again = Image(compile_starter_image())  # the same file, mapped by a reload
    assert not is_other(LISTS, again)
    later = Image(compile_starter(load_catalogue(), bytes(range(16)), LISTS.created + 1).to_bytes())
    assert is_other(LISTS, later)


def test_a_feed_of_another_serial_is_another_list() -> None:
    """Running flows that an earlier gateway let through are judged anew after it."""

    def make(serial: int) -> JoinedLists:
        base = Base(make_base(listed=["listed-1.example"]))
        tags = TagTable(make_tags(base, [("d", "listed-1.example", 0)], serial=serial))
        return JoinedLists(LISTS, ListedNames(base, [tags], GuardedNames((), ()), Keys()))

    first, same = make(1), make(1)
    same.listed.tables[0].created = first.listed.tables[0].created
    assert not is_other(first, same)
    assert is_other(first, make(2)) and is_other(LISTS, first)


def test_where_redirected_dns_goes() -> None:
    four, six = Endpoint("10.0.0.1", 53), Endpoint("fd00::1", 53)
    own = Endpoint("127.0.0.1", 53)
    assert find_listener((own, four, six), is_v6=False) == Listener("10.0.0.1", 53)
    assert find_listener((own, four, six), is_v6=True) == Listener("fd00::1", 53)
    assert find_listener((Endpoint("10.0.0.1", 5353), four), is_v6=False) == Listener("10.0.0.1", 53)
    assert find_listener((Endpoint("0.0.0.0", 5353),), is_v6=False) == Listener("", 5353)
    assert find_listener((Endpoint("::", 53),), is_v6=True) == Listener("", 53)
    assert find_listener((own, Endpoint("::1", 53)), is_v6=True) == Listener("", 53)  # behind dnsmasq
    assert find_listener((Endpoint("fe80::1%lan0", 53), six), is_v6=True) == find_listener((six,), is_v6=True)
    assert find_listener((Endpoint("fe80::1%lan0", 53),), is_v6=True) == Listener("", 53)


def test_an_interface_with_a_wild_name_stands_in_no_rule() -> None:
    assert is_interface("br-lan") and is_interface("eth0.10")
    assert not is_interface('a"; drop') and not is_interface("lo")


# A namespace


@pytest.fixture
def router() -> Iterator[str]:
    missing = [program for program in ("nft", "iptables-nft", "conntrack") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    name = f"gflows{os.getpid()}"
    add_namespace(name)
    try:
        run(f"ip -n {name} link set lo up")
        run(f"ip -n {name} link add lan0 type bridge")
        run(f"ip -n {name} link set lan0 up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Clock:
    """time.time() of the module under test; it stands until we set it."""

    def __init__(self) -> None:
        self.now = NOON

    def time(self) -> float:
        return self.now


class Router:
    """A flow filter in its namespace."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self.config = Config(
            UpstreamConfig(()),
            state=str(folder),
            dns=DnsConfig(listen=(Endpoint("10.0.0.1", 53),)),
            filter=FilterConfig(enabled=True, lan=("lan0",), wan=("wan0",)),
        )
        self.home = household()
        self.recorder = Recorder(UTC)
        self.moved: set[bytes] = set()

    def make(self) -> FlowFilter:
        devices = DeviceMap(self.home)
        around = Surroundings(devices.find, self.recorder, self._compose_page, lambda: None, self.moved.update)
        return FlowFilter(self.config, policy_of(self.home), LISTS, around)

    async def _compose_page(self, answer: Answer) -> bytes:
        raise AssertionError("nobody asks for a page here")

    def use(self, act: Act) -> None:
        """Start the filter, act, close it."""

        async def live() -> None:
            async with self.started() as filter_:
                await act(filter_)

        inside(self.namespace, lambda: asyncio.run(live()))

    @asynccontextmanager
    async def started(self) -> Any:
        filter_ = self.make()
        await filter_.start()
        try:
            yield filter_
        finally:
            await filter_.close()

    def on(self, *words: str, stdin: str = "") -> str:
        command = ["ip", "netns", "exec", self.namespace, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rules(self) -> str:
        return self.on("nft", "list", "ruleset")

    def xtables(self) -> str:
        return self.on("iptables", "-t", "mangle", "-S") + self.on("ip6tables", "-t", "mangle", "-S")

    def add_flow(self, slot: int, state: int, port: int = 40000, protocol: str = "tcp") -> FlowKey:
        """Put a flow into the kernel's table, as if it ran since long."""
        mark = f"{marks.mark_of_slot(slot) | state:#x}"
        words = ["conntrack", "-I", "-p", protocol, "-s", "10.0.0.10", "-d", SERVER, "-t", "600", "-m", mark]
        words += ["--sport", str(port), "--dport", "443"]
        self.on(*words, *(["--state", "ESTABLISHED"] if protocol == "tcp" else []))
        number = 6 if protocol == "tcp" else 17
        return FlowKey(number, socket.inet_aton("10.0.0.10"), port, socket.inet_aton(SERVER), 443)

    def add_ping(self) -> None:
        words = ["conntrack", "-I", "-p", "icmp", "-s", "10.0.0.10", "-d", SERVER, "-t", "600", "-m", "0x1000001"]
        self.on(*words, "--icmp-type", "8", "--icmp-code", "0", "--icmp-id", "77")

    def mark_of(self, port: int = 40000) -> int:
        (line,) = [line for line in self.on("conntrack", "-L").splitlines() if f"sport={port} " in line]
        return int(line.partition(" mark=")[2].split()[0])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(flows, "tell_time", clock.time)
    return clock


@pytest.fixture
def lone(router: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Router:
    """The watchdog is off: it would end the tests' own process. tests/netns/test_filter_failures.py has it."""
    monkeypatch.setattr(Watchdog, "start", lambda self, seconds=0.0: None)
    return Router(router, tmp_path)


async def until(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait, with the event loop running, until something is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


# Beginning and end


@pytest.mark.parametrize("before", ["0", "1"])
def test_settings_of_the_kernel_are_put_back(lone: Router, before: str) -> None:
    """Also the one that the kernel sets by itself, for rules that count packets."""
    names = ("nf_conntrack_acct", "nf_conntrack_checksum", "nf_conntrack_tcp_be_liberal", "nf_conntrack_tcp_loose")

    def read() -> list[str]:
        return [Path("/proc/sys/net/netfilter", name).read_text().strip() for name in names]

    for name in names:
        inside(lone.namespace, lambda name=name: Path("/proc/sys/net/netfilter", name).write_text(before))  # type: ignore[misc]

    async def act(filter_: FlowFilter) -> None:
        assert read() == ["1", "1", "0", "0"]

    lone.use(act)
    assert inside(lone.namespace, read) == [before] * 4


def test_start_and_close(lone: Router) -> None:
    lone.on("nft", "-f", "-", stdin="table inet theirs { chain input { type filter hook input priority 0; }; }")
    before = lone.rules()

    async def act(filter_: FlowFilter) -> None:
        assert "table inet guardian" in lone.rules() and "table inet theirs" in lone.rules()
        assert ("NFQUEUE" in lone.xtables()) == (filter_.status()["form"] == "xtables")
        assert load_slots(f"{lone.config.state}/slots.json") == {"tablet": 1, "phone": 2}
        assert (filter_.status()["problem"], filter_.status()["repairs"], filter_.status()["stopped"]) == ("", 0, 0)

    lone.use(act)
    assert "guardian" not in lone.rules().lower() and "GUARDIAN" not in lone.xtables()
    assert "table inet theirs" in lone.rules() and "table inet theirs" in before


def test_a_start_that_fails_leaves_nothing(lone: Router) -> None:
    queue = inside(lone.namespace, lambda: Queue.open(lone.config.filter.queue, lambda *_: 0))
    try:
        with pytest.raises(GuardianError, match="the flow filter cannot start: NFQUEUE 53 is held by another program"):
            inside(lone.namespace, lambda: asyncio.run(lone.make().start()))
    finally:
        queue.close()
    assert "guardian" not in lone.rules().lower()


@pytest.mark.parametrize("hands", ["nft flush ruleset", "iptables -t mangle -F FORWARD"])
def test_close_right_after_another_hand(lone: Router, hands: str) -> None:
    async def act(filter_: FlowFilter) -> None:
        if "tables" in hands and filter_.status()["form"] != "xtables":
            pytest.skip("this kernel queues by nft")
        lone.on(*hands.split())

    lone.use(act)
    assert "guardian" not in lone.rules().lower() and "GUARDIAN" not in lone.xtables()


def test_close_while_rules_are_being_loaded(lone: Router) -> None:
    async def act(filter_: FlowFilter) -> None:
        lone.on("nft", "delete", "table", "inet", "guardian")
        await until(lambda: filter_.status()["repairs"])
        await asyncio.sleep(0)  # the keeper has begun

    for _ in range(3):
        lone.use(act)
        assert "guardian" not in lone.rules().lower() and "GUARDIAN" not in lone.xtables()


def test_rules_are_repaired(lone: Router) -> None:
    async def act(filter_: FlowFilter) -> None:
        for number in range(1, 4):
            lone.on("nft", "flush", "ruleset")
            await until(lambda number=number: filter_.status()["repairs"] >= number)  # type: ignore[misc]
            await until(lambda: "chain head" in lone.rules())
            if filter_.status()["form"] == "xtables":
                await until(lambda: lone.xtables().count("-j GUARDIAN") == 2)

    lone.use(act)


def test_a_touch_while_rules_are_being_loaded_is_not_lost(lone: Router) -> None:
    """The notice comes before the keeper hears that its own load is done."""

    async def act(filter_: FlowFilter) -> None:
        load = filter_._rules.load

        def load_then_touch(plan: Plan, is_repair: bool) -> None:
            load(plan, is_repair)
            filter_._rules.load = load  # type: ignore[method-assign]
            lone.on("nft", "delete", "table", "inet", "guardian")
            time.sleep(0.3)  # the event loop reads the notice meanwhile

        filter_._rules.load = load_then_touch  # type: ignore[method-assign]
        filter_.replace_policy(policy_of(household(paused_until=NOON + 60)), LISTS)
        await until(lambda: "chain head" in lone.rules() and filter_.status()["stopped"])

    lone.use(act)


def test_a_task_that_fails_does_not_leave_the_filter_to_itself(
    lone: Router, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fed: list[float] = []
    monkeypatch.setattr(Watchdog, "feed", lambda self: fed.append(time.monotonic()))

    async def act(filter_: FlowFilter) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        await until(lambda: fed)
        filter_.engine.review = fail  # type: ignore[assignment]
        filter_.set_clock()
        await until(lambda: "event=filter-task-failed" in caplog.text)
        await asyncio.sleep(0)
        count = len(fed)
        await asyncio.sleep(1.2)
        assert len(fed) == count, "the watchdog is still fed"

    lone.use(act)


# The clock


def test_bedtime_comes_when_the_clock_says_so(lone: Router, clock: Clock) -> None:
    """Set back, set ahead, and running."""
    lone.home = household(schedule=Schedule((Window(frozenset(range(7)), 21 * 60, 22 * 60, "bedtime"),)))

    async def act(filter_: FlowFilter) -> None:
        async def set_to(hour: float, stopped: int) -> None:
            clock.now = NOON + (hour - 12) * 3600
            filter_.set_clock()
            await until(lambda: filter_.status()["stopped"] == stopped)
            elements = lone.on("nft", "list", "set", "inet", "guardian", "stopped")
            assert ("0x01000000" in elements) == bool(stopped), elements

        await set_to(21.5, 2)  # the tablet's slot, and that of all unnamed devices
        await set_to(20.0, 0)
        await set_to(24 * 400 + 21.5, 2)
        await set_to(-24 * 20000, 0)  # before the epoch's end of 32 bits, and of 1970
        await set_to(20.9999, 0)
        clock.now = NOON + 9 * 3600  # nobody says anything: the keeper's own alarm
        await until(lambda: filter_.status()["stopped"] == 2, seconds=15)

    lone.use(act)


# Policies, slots and flows


def test_flows_of_a_gateway_before_are_taken_over(lone: Router) -> None:
    (Path(lone.config.state) / "slots.json").write_text('{"tablet": 7}')
    kept = lone.add_flow(7, marks.ALLOWED)
    watched = lone.add_flow(7, marks.WATCHED, 40001)
    refused = lone.add_flow(7, marks.REFUSED, 40002)
    strange = lone.add_flow(9, marks.ALLOWED, 40003)

    async def act(filter_: FlowFilter) -> None:
        judged = filter_.engine.judged
        assert [judged.get(key) is not None for key in (kept, watched, refused, strange)] == [True, True, False, False]
        filter_.replace_policy(policy_of(household(paused_until=NOON + 60)), LISTS)
        await until(lambda: filter_.status()["stopped"])
        filter_.replace_policy(policy_of(household()), LISTS)
        await until(lambda: not filter_.status()["stopped"])
        assert [lone.mark_of(port) & 3 for port in range(40000, 40004)] == [1, 3, 2, 1]
        filter_.replace_policy(policy_of(household(block("example.com"))), LISTS)
        await until(lambda: lone.mark_of() & 3 == marks.REFUSED and lone.mark_of(40001) & 3 == marks.REFUSED)
        assert lone.mark_of() >> marks.SLOT_SHIFT == 7
        assert lone.mark_of(40003) & 3 == marks.ALLOWED  # nobody's that we know

    lone.use(act)


def test_a_rule_ends_the_flows_that_showed_the_name(lone: Router) -> None:
    """Those without ports, and those that the kernel no longer has, are not in the way of the others."""

    async def act(filter_: FlowFilter) -> None:
        name = parse_name("www.example.com")
        assert name is not None
        tablet = Who("tablet", bytes.fromhex(TABLET.replace(":", "")))
        ping = FlowKey(1, socket.inet_aton("10.0.0.10"), 0, socket.inet_aton(SERVER), 0)
        ping6 = FlowKey(58, bytes(15) + b"\1", 0, bytes(15) + b"\2", 0)
        lone.add_ping()
        gone = FlowKey(17, socket.inet_aton("10.0.0.10"), 1, socket.inet_aton(SERVER), 1)
        keys = [ping, ping6, gone, lone.add_flow(1, 1), lone.add_flow(1, 3, 40001, "udp")]
        other = lone.add_flow(1, 1, 40002)
        for key in keys:
            filter_.engine.judged.add(key, JudgedFlow(tablet, Kind.TLS, name, "", 1, NOON))
        filter_.engine.judged.add(other, JudgedFlow(tablet, Kind.TLS, name[4:], "", 1, NOON))
        filter_.replace_policy(policy_of(household(block("www.example.com"))), LISTS)
        await until(lambda: lone.mark_of() & 3 == 2 and lone.mark_of(40001) & 3 == 2)
        assert lone.mark_of(40002) & 3 == 1
        (line,) = lone.on("conntrack", "-L", "-p", "icmp").splitlines()
        assert int(line.partition(" mark=")[2].split()[0]) == 1 << 24 | marks.REFUSED
        assert filter_.status()["problem"] == "" and filter_.status()["running"] == 1

    lone.use(act)


def test_slots_that_cannot_be_saved_do_not_keep_a_policy_back(lone: Router, caplog: pytest.LogCaptureFixture) -> None:
    async def act(filter_: FlowFilter) -> None:
        (Path(lone.config.state) / "slots.json").unlink()
        (Path(lone.config.state) / "slots.json").mkdir()
        home = household(paused_until=NOON + 60)
        home = replace(home, devices=(*home.devices, Device("new", "New", "ana", ("02:00:5e:77:00:99",))))
        filter_.replace_policy(policy_of(home), LISTS)
        await until(lambda: filter_.status()["stopped"] == 3)  # two devices, and the unnamed ones
        assert "event=slots-not-saved" in caplog.text

    lone.use(act)


def test_more_devices_than_slots(lone: Router, caplog: pytest.LogCaptureFixture) -> None:
    home = lone.home
    crowd = tuple(Device(f"d{n}", f"D{n}", "ana", (f"02:00:5e:78:{n >> 8:02x}:{n & 255:02x}",)) for n in range(300))
    lone.home = replace(home, devices=(*home.devices, *crowd))

    async def act(filter_: FlowFilter) -> None:
        assert "event=too-many-devices without_slot=48" in caplog.text
        assert filter_.status()["problem"] == ""

    with caplog.at_level(logging.WARNING):
        lone.use(act)


# Interfaces


def test_interfaces_are_followed(lone: Router, caplog: pytest.LogCaptureFixture) -> None:
    def ip(words: str) -> None:
        lone.on("ip", *words.split())

    async def act(filter_: FlowFilter) -> None:
        def lan() -> str:
            return lone.on("nft", "list", "chain", "inet", "guardian", "redirect_dns")

        ip("link set lan0 down")
        ip("link set lan0 name lan9")
        await until(lambda: '"lan9"' in lan())
        ip("link add lan0 type bridge")
        await until(lambda: "event=interface-renamed before=lan0 now=lan9" in caplog.text)
        assert '"lan0"' in lan() and '"lan9"' in lan()
        ip("link del lan9")
        await until(lambda: '"lan9"' not in lan())
        ip("link del lan0")
        await until(lambda: "event=interface-missing name=lan0" in caplog.text)
        assert '"lan0"' in lan()  # it may come back

    lone.use(act)
