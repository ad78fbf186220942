"""The line to the provider is down at boot, gets another address, or is dialled anew.

Invariant: the gateway starts without it; names of the home, the block page and what is blocked never depend on it; and
when it is there, the home is online within seconds, however long it was away.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.home import Lab, World, household
from tests.netns.lab.network import FIREWALL

ONLINE_SECONDS = 3.0
LONG = 25.0  # seconds without a line: every back-off has grown by then
BLOCKED = plan.SITES["blocked.example"]
_numbers = itertools.count(1)
Record = Callable[[str, object], None]


@contextlib.contextmanager
def protected(world: World, folder: Path, servers: list[str]) -> Iterator[Lab]:
    """Guardian with these upstreams, and the flow filter."""
    (folder / "box").mkdir()
    more: dict[str, Any] = {"upstreams": {"servers": servers}}
    with world.protected(folder / "box", filter=True, household=household(), more=more) as lab:
        yield lab


def upstreams(world: World, kind: str) -> list[str]:
    """Two servers of one kind."""
    hosts = (plan.UPSTREAM, plan.FOREIGN)
    if kind == "tls":
        return [f"tls://dns.google@{plan.wan4(host)}?ca={world.ca}" for host in hosts]
    return [plan.wan4(host) for host in hosts]


def ask(lab: Lab, name: str, seconds: float = 1.0) -> dns.message.Message | None:
    """The answer that the tablet gets, None when none came in time."""

    def exchange() -> dns.message.Message | None:
        try:
            return dns.query.udp(dns.message.make_query(name, "A"), plan.home4("router"), seconds)
        except (OSError, dns.exception.Timeout):
            return None

    return lab.tablet.inside(exchange)


def is_online(lab: Lab) -> bool:
    """Whether a name that nobody has asked for yet resolves."""
    answer = ask(lab, f"n{next(_numbers)}.any.example")
    return answer is not None and answer.rcode() == dns.rcode.NOERROR


def is_filtered(lab: Lab) -> bool:
    """Whether the blocked name leads to this box, and its page tells so."""
    answer = ask(lab, BLOCKED.name)
    told = answer is not None and plan.home4("router") in answer.to_text()
    return told and "Guardian" in lab.tablet.fetch(f"http://{BLOCKED.name}/").body


def hold_flows(lab: Lab) -> bool:
    """Whether the flow filter stops the blocked site where no DNS is asked, and carries an open one."""
    to_blocked = lab.tablet.fetch(f"https://{BLOCKED.name}/", resolve={BLOCKED.name: BLOCKED.four}, timeout=2)
    return not to_blocked.ok and lab.tablet.fetch("https://www.open.example/", timeout=4).ok


def router(world: World, *lines: str) -> None:
    """Run lines of `ip` on the router."""
    done = world.on("router", "ip", "-batch", "-", stdin="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr


def begin(device: str, host: int) -> list[str]:
    """What a provider's DHCP or PPP sets on a line that has come up: addresses and ways out."""
    return [
        f"addr add {plan.wan4(host)}/24 dev {device}",
        f"addr add {plan.wan6(host)}/64 dev {device} nodad",
        f"route replace default via {plan.wan4(plan.INTERNET_HOST)}",
        f"route replace default via {plan.wan6(plan.INTERNET_HOST)}",
    ]


def route_back(world: World, host: int) -> None:
    """The provider knows where the home's IPv6 network is now."""
    done = world.on("internet", "ip", "-6", "route", "replace", f"{plan.HOME6}/64", "via", plan.wan6(host))
    assert done.returncode == 0, done.stderr


def measure(lab: Lab, what: str, record: Record) -> None:
    """Wait until the home is online again and see that it took seconds."""
    started = time.monotonic()
    wait_for(lambda: is_online(lab), ONLINE_SECONDS + 10)
    seconds = time.monotonic() - started
    print(f"{what}: online after {seconds:.2f} s")
    record("online_seconds", round(seconds, 2))
    assert seconds <= ONLINE_SECONDS


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_down_at_boot(world: World, tmp_path: Path, kind: str, record_property: Record) -> None:
    router(world, "link set wan0 down", "addr flush dev wan0")
    with protected(world, tmp_path, upstreams(world, kind)) as lab:
        assert is_filtered(lab)
        own = ask(lab, "guardian.home.arpa")
        assert own is not None and plan.home4("router") in own.to_text()
        until = time.monotonic() + LONG
        told = 0
        while time.monotonic() < until:  # as the devices of a home go on asking
            answer = ask(lab, f"n{next(_numbers)}.any.example", 6.0)
            assert answer is not None and answer.rcode() == dns.rcode.SERVFAIL, "devices are told, not left waiting"
            told += 1
            time.sleep(0.3)
        assert told > 5 and is_filtered(lab)
        router(world, "link set wan0 up", *begin("wan0", 1))
        measure(lab, f"line comes up after {LONG:.0f} s, {kind}", record_property)
        assert is_filtered(lab) and hold_flows(lab)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_another_address(world: World, tmp_path: Path, kind: str, record_property: Record) -> None:
    """A new lease: connections of the old address hear nothing more, and are not waited for."""
    with protected(world, tmp_path, upstreams(world, kind)) as lab:
        wait_for(lambda: is_online(lab))
        for host in (77, 78):
            router(world, "addr flush dev wan0 scope global", *begin("wan0", host))
            route_back(world, host)
            measure(lab, f"the line has another address, {kind}", record_property)
            assert is_filtered(lab) and hold_flows(lab)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_dialled_anew(world: World, tmp_path: Path, kind: str, record_property: Record) -> None:
    """`ppp0` goes and comes back with another address, as at the provider's nightly break."""

    def dial(host: int) -> None:
        router(world, "link add ppp0 type bridge forward_delay 0", "link set wan0 master ppp0", "link set ppp0 up")
        router(world, *begin("ppp0", host))
        route_back(world, host)

    router(world, "addr flush dev wan0")
    rules = f"delete table inet fw\n{FIREWALL.replace('wan0', 'ppp0')}"
    assert world.on("router", "nft", "-f", "-", stdin=rules).returncode == 0
    dial(1)
    with protected(world, tmp_path, upstreams(world, kind)) as lab:
        wait_for(lambda: is_online(lab))
        assert hold_flows(lab)
        router(world, "link del ppp0")
        until = time.monotonic() + 5
        while time.monotonic() < until:
            assert not is_online(lab)
        assert is_filtered(lab)
        dial(79)
        measure(lab, f"ppp0 is dialled anew, {kind}", record_property)
        assert is_filtered(lab) and hold_flows(lab)
    assert "event=interface-missing" not in lab.guardian.log(), "the home's own interface was there all the time"


def test_another_prefix(world: World, tmp_path: Path) -> None:
    """The provider gives the home another IPv6 network: devices with new addresses are the same ones, and filtered."""
    with protected(world, tmp_path, upstreams(world, "plain")) as lab:
        assert is_filtered(lab)
        old, new = plan.HOME6, "2001:db8:1078::"
        router(world, f"addr add {new}1/64 dev br-lan nodad", f"addr del {old}1/64 dev br-lan")
        done = world.on("internet", "ip", "-6", "route", "replace", f"{new}/64", "via", plan.wan6(1))
        assert done.returncode == 0
        tablet = plan.HOSTS["tablet"]
        lines = [
            f"addr add {new}{tablet}/64 dev eth0 nodad",
            f"addr change {old}{tablet}/64 dev eth0 preferred_lft 0",  # as the router's advertisement says
            f"route replace default via {new}1",
        ]
        assert lab.tablet.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n").returncode == 0
        six = {BLOCKED.name: BLOCKED.six}
        wait_for(lambda: lab.tablet.fetch("https://www.open.example/", family=6, timeout=3).ok)
        assert not lab.tablet.fetch(f"https://{BLOCKED.name}/", resolve=six, family=6, timeout=2).ok
        assert lab.phone.fetch(f"https://{BLOCKED.name}/", resolve={BLOCKED.name: BLOCKED.four}).ok, "a parent's phone"
        assert is_filtered(lab)
