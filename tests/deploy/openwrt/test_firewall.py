"""Guardian's rules beside OpenWrt's firewall: fw4's commands on its own table, or on all of them, while flows run.

The rules of `fw4` here are ours, in the shape that firewall4 gives them (root/usr/share/firewall4/templates/ruleset.uc:
chains, hooks, priorities, policies); what its commands do to tables is read in root/sbin/fw4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.device import Download
from tests.netns.lab.fixtures import PROGRAMS, require
from tests.netns.lab.home import Lab, World, open_world

AT_BLOCKED = {"blocked.example": plan.SITES["blocked.example"].four}
URL, STREAM = "https://blocked.example/", "https://video.open.example/stream"
REPAIR_SECONDS = 15.0  # the aim is two; the machine of the tests is busy
ZONES = """
  chain input_ZONE {
    jump accept_from_ZONE
  }
  chain output_ZONE {
    jump accept_to_ZONE
  }
  chain forward_ZONE {
    FORWARD
  }
  chain accept_from_ZONE {
    iifname "DEVICE" counter accept
  }
  chain accept_to_ZONE {
    INVALIDoifname "DEVICE" counter accept
  }
"""
CHAINS = """
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "lo" accept
    ct state established,related accept
    tcp flags & (fin | syn | rst | ack) == syn jump syn_flood
    iifname "br-lan" jump input_lan
    iifname "wan0" jump input_wan
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "br-lan" jump forward_lan
    iifname "wan0" jump forward_wan
    jump handle_reject
  }
  chain output {
    type filter hook output priority filter; policy accept;
    oifname "lo" accept
    ct state established,related accept
    oifname "br-lan" jump output_lan
    oifname "wan0" jump output_wan
  }
  chain handle_reject {
    meta l4proto tcp reject with tcp reset
    reject with icmpx type port-unreachable
  }
  chain syn_flood {
    limit rate 25/second burst 50 packets return
    drop
  }
  chain dstnat {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "br-lan" jump dstnat_lan
  }
  chain srcnat {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan0" jump srcnat_wan
  }
  chain dstnat_lan {
    REDIRECT
  }
  chain srcnat_wan {
    meta nfproto ipv4 masquerade
    meta nfproto ipv6 masquerade
  }
  chain raw_prerouting { type filter hook prerouting priority raw; policy accept; }
  chain mangle_prerouting { type filter hook prerouting priority mangle; policy accept; }
  chain mangle_forward {
    type filter hook forward priority mangle; policy accept;
    oifname "wan0" tcp flags syn tcp option maxseg size set rt mtu
  }
"""
REDIRECT = """
    tcp dport 53 counter redirect to 53
    udp dport 53 counter redirect to 53
"""


def render(redirect: str = "") -> str:
    """The rules as `fw4 start` and `fw4 reload` load them: one transaction on a table that is emptied first."""
    home = ZONES.replace("FORWARD", "jump accept_to_wan").replace("INVALID", "")
    outside = ZONES.replace("FORWARD", "jump handle_reject").replace(
        "INVALID", "meta nfproto ipv4 ct state invalid counter drop\n    "
    )
    zones = home.replace("ZONE", "lan").replace("DEVICE", "br-lan") + outside.replace("ZONE", "wan").replace(
        "DEVICE", "wan0"
    )
    return f"table inet fw4\nflush table inet fw4\ntable inet fw4 {{{zones}{CHAINS.replace('REDIRECT', redirect)}}}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require(*PROGRAMS)
    with open_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def lab(world: World, tmp_path: Path) -> Iterator[Lab]:
    firewall(world, "start")
    try:
        with world.protected(tmp_path, filter=True) as made:
            yield made
    finally:
        world.on("router", "nft", "delete", "table", "inet", "fw4")


def load(world: World, redirect: str = "") -> None:
    done = world.on("router", "nft", "-f", "-", stdin=render(redirect))
    assert done.returncode == 0, done.stderr


def firewall(world: World, command: str) -> None:
    """What `fw4 COMMAND` and `/etc/init.d/firewall COMMAND` do to the packet filter."""
    if command == "restart":
        world.on("router", "nft", "delete", "table", "inet", "fw4")
    if command == "stop":
        for line in world.on("router", "nft", "list", "tables").stdout.splitlines():
            world.on("router", "nft", "delete", *line.split())
        return
    load(world)


def has_rules(lab: Lab) -> bool:
    table = lab.on("router", "nft", "list", "table", "inet", "guardian").stdout
    if "goto undecided_tcp" not in table or "0xff000000" not in table:
        return False
    jumps = [lab.on("router", program, "-t", "mangle", "-S").stdout for program in ("iptables", "ip6tables")]
    return "queue_undecided" in table or all("-j GUARDIAN" in told and "NFQUEUE" in told for told in jumps)


@pytest.mark.parametrize("command", ["reload", "restart", "stop"])
def test_the_firewalls_commands_while_flows_run(lab: Lab, command: str) -> None:
    with lab.tablet.download(STREAM, family=4) as four, lab.tablet.download(STREAM, family=6) as six:
        for download in (four, six):
            download.wait_for_more(1_000)
        firewall(lab.world, command)
        wait_for(lambda: has_rules(lab), REPAIR_SECONDS)
        if command == "stop":  # nothing new gets out then, for nobody translates addresses
            firewall(lab.world, "start")
        assert not lab.tablet.fetch(URL, resolve=AT_BLOCKED, timeout=2).ok
        assert lab.phone.fetch(URL, resolve=AT_BLOCKED).ok, "parents are not filtered"
        if command == "reload":
            stop_and_go_on(lab, four, six)
    if command != "reload":  # without NAT for a moment the router itself resets what comes for its own address
        with lab.tablet.download(STREAM, family=4) as four, lab.tablet.download(STREAM, family=6) as six:
            stop_and_go_on(lab, four, six)


def stop_and_go_on(lab: Lab, *downloads: Download) -> None:
    for download in downloads:
        download.wait_for_more(1_000)
    lab.guardian.control("pause", id="tablet", until=4_000_000_000)
    for download in downloads:
        download.wait_for_silence()
    lab.guardian.control("pause", id="tablet", until=0)


def test_again_and_again(lab: Lab) -> None:
    """An interface that flaps makes netifd reload the firewall each time."""
    for _ in range(5):
        firewall(lab.world, "reload")
        firewall(lab.world, "stop")
        firewall(lab.world, "start")
    wait_for(lambda: has_rules(lab), REPAIR_SECONDS)
    assert not lab.tablet.fetch(URL, resolve=AT_BLOCKED, timeout=2).ok


@pytest.mark.parametrize("server", plan.FAMOUS)
def test_dns_redirected_by_the_firewall(world: World, tmp_path: Path, server: str) -> None:
    """The redirect of the init script's service data, for a home without the flow filter."""
    load(world, REDIRECT)
    try:
        with world.protected(tmp_path, filter=False) as made:
            assert made.tablet.dig("guardian.home.arpa", server=server) == [plan.home4("router")]
            assert plan.SITES["blocked.example"].four not in made.tablet.dig("blocked.example", server=server)
    finally:
        world.on("router", "nft", "delete", "table", "inet", "fw4")
