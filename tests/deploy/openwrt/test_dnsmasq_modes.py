"""dnsmasq before and behind Guardian, with the real dnsmasq, real DHCP and the real gateway.

What must hold: who asks through the router is told by his MAC and nobody can say another's; while Guardian is down
names resolve; /etc/config/dhcp never changes, and what was laid over it goes again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.deploy.openwrt.home import LAPTOP_MAC, ROUTER, WEB, Home, home
from tests.deploy.openwrt.router import DHCP
from tests.gateway.product import wait_for

BEHIND, FRONT, STOCK, OPEN = "mode behind", "mode front", "by its own settings", "DNS is open"
CONFIG = "var/etc/dnsmasq.conf.main"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def family(place: Home) -> Iterator[Home]:
    box = place.box
    stock, settings = box.read(CONFIG), box.read("etc/config/guardian")
    yield place
    assert box.read("etc/config/dhcp") == DHCP
    place.init("stop")
    assert box.read(CONFIG) == stock and box.read("var/state/dhcp") == ""
    box.put("etc/config/guardian", settings)
    for name in ("tmp/syslog", "tmp/dnsmasq.reloads"):
        box.put(name, "")
    for name in ("tmp/.uci/guardian", "tmp/.uci/dhcp", "tmp/old-dnsmasq-init"):
        box.path(name).unlink(missing_ok=True)


def start(family: Home, word: str = BEHIND) -> None:
    family.init("start")
    family.wait_for_mode(word)
    lease = family.tablet.join()
    assert lease.dns == ROUTER and lease.domain == "lan"
    family.laptop.join()


def is_filtered(family: Home) -> bool:
    return (
        family.tablet.ask("blocked.example") == "NXDOMAIN"
        and family.tablet.ask("www.open.example") == [WEB]
        and family.laptop.ask("blocked.example") == [WEB]
    )


def is_open(family: Home) -> bool:
    return family.tablet.ask("blocked.example") == [WEB] and family.laptop.ask("blocked.example") == [WEB]


def test_behind(family: Home) -> None:
    start(family)
    for _ in range(2):  # nothing is answered from a cache that knows no devices
        assert is_filtered(family)
    assert family.tablet.ask("tablet.lan") == [family.tablet.join().address]
    assert family.laptop.ask("private.open.example") == []  # Guardian's rebinding protection
    assert family.laptop.ask("guardian.home.arpa") == [ROUTER]  # which dnsmasq's would have dropped
    assert os.readlink(family.box.path("tmp/resolv.conf")) == "/tmp/resolv.conf.d/resolv.conf.auto"
    whose = family.box.run("/usr/bin/guardian", "status", "--json").stdout
    assert '"running"' in whose or '"queries"' in whose


def test_nobody_can_say_anothers_mac(family: Home) -> None:
    start(family)
    spoofed = "+ednsopt=65001:" + LAPTOP_MAC.replace(":", "")
    assert family.tablet.ask("blocked.example", spoofed) == "NXDOMAIN"


def test_nor_with_an_init_script_that_does_not_know_strip_mac(family: Home) -> None:
    family.box.put("tmp/old-dnsmasq-init", "")
    start(family)
    spoofed = "+ednsopt=65001:" + LAPTOP_MAC.replace(":", "")
    wait_for(lambda: family.tablet.ask("blocked.example", spoofed) == "NXDOMAIN", 20)
    assert "strip-mac" not in family.box.read(CONFIG)
    assert family.box.read("tmp/dnsmasq.main.d/guardian.conf") == "strip-mac\n"
    family.init("stop")
    assert not family.box.path("tmp/dnsmasq.main.d/guardian.conf").exists()


def test_names_resolve_while_guardian_is_dead_and_are_filtered_when_it_is_back(family: Home) -> None:
    start(family)
    assert is_filtered(family)
    family.kill("gateway")
    assert family.tablet.ask("www.open.example") in ("REFUSED", "SERVFAIL", "SILENCE")
    wait_for(lambda: is_open(family), 20, 0.5)
    assert OPEN in family.mode()
    assert "daemon.err event=dns-open reason='Guardian does not answer'" in family.box.syslog()
    family.init("start")
    wait_for(lambda: is_filtered(family), 20, 0.5)
    assert BEHIND in family.mode()
    assert "event=dns-closed seconds=" in family.box.syslog()


def test_a_gateway_that_hangs_is_down_as_well(family: Home) -> None:
    start(family)
    process = family.running["gateway"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: is_open(family), 25, 0.5)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: is_filtered(family), 20, 0.5)


def test_who_wants_it_closed_gets_it_closed(family: Home) -> None:
    family.box.uci("set", "guardian.filter.on_failure=closed")
    family.box.uci("commit", "guardian")
    start(family)
    family.kill("gateway")
    time.sleep(10)
    assert BEHIND in family.mode() and family.tablet.ask("www.open.example") in ("REFUSED", "SERVFAIL", "SILENCE")
    family.init("start")
    wait_for(lambda: is_filtered(family), 20, 0.5)


def test_dnsmasq_is_started_again_by_somebody(family: Home) -> None:
    start(family)
    address = family.tablet.join().address
    family.box.run("/etc/init.d/dnsmasq", "restart")
    assert is_filtered(family)
    assert family.tablet.ask("tablet.lan") == [address]


def test_an_edit_in_luci_takes_the_ground_away_and_it_is_laid_over_again(family: Home) -> None:
    """The name of a section without one comes from what is in it: what lay over it does not fit any more."""
    start(family)
    box = family.box
    before = box.read("etc/config/dhcp")
    box.uci("set", "dhcp.@dnsmasq[0].cachesize=500")
    box.uci("commit", "dhcp")
    box.run("/etc/init.d/dnsmasq", "reload")
    assert "no-resolv" not in box.read(CONFIG)
    box.mode("ensure")  # procd's trigger on the settings of dnsmasq
    assert is_filtered(family)
    assert box.uci("get", "dhcp.@dnsmasq[0].cachesize") == "500"  # the owner's stays what it is
    box.put("etc/config/dhcp", before)
    box.run("/etc/init.d/dnsmasq", "reload")
    box.mode("ensure")


def test_killed_in_the_middle(family: Home) -> None:
    """The invariant: after a kill at any moment one more call ends where an undisturbed one does."""
    box, chance = family.box, random.Random(6)
    stock = box.read(CONFIG)
    box.mode("apply")
    wanted = box.read(CONFIG)
    for verb in ("restore", "apply") * 6:
        process = box.start("/usr/lib/guardian/dnsmasq-mode", verb)
        time.sleep(chance.uniform(0, 1.2))
        process.kill()
        process.wait(10)
        box.mode(verb)
        assert box.read(CONFIG) == (wanted if verb == "apply" else stock)
        assert sorted(set(box.read("var/state/dhcp").splitlines())) == sorted(box.read("var/state/dhcp").splitlines())
        assert (box.read("var/state/dhcp") == "") == (verb == "restore")


def test_again_and_again_is_once(family: Home) -> None:
    box = family.box
    box.mode("apply")
    reloads, over = box.read("tmp/dnsmasq.reloads"), box.read("var/state/dhcp")
    for _ in range(3):
        box.mode("apply")
    assert (box.read("tmp/dnsmasq.reloads"), box.read("var/state/dhcp")) == (reloads, over)
    box.mode("restore")
    reloads = box.read("tmp/dnsmasq.reloads")
    box.mode("restore")
    assert box.read("tmp/dnsmasq.reloads") == reloads


def test_the_owners_own_servers(family: Home) -> None:
    """A domain's own servers stay in use; those for all names do not, and come back."""
    box = family.box
    for server in ("9.9.9.9", "/work.example/198.18.5.53", "/#/9.9.9.9"):
        box.uci("add_list", f"dhcp.@dnsmasq[0].server={server}")
    box.uci("commit", "dhcp")
    box.run("/etc/init.d/dnsmasq", "reload")
    owners = box.read(CONFIG)
    box.mode("apply")
    servers = [line for line in box.read(CONFIG).splitlines() if line.startswith("server=")]
    assert servers == ["server=/work.example/198.18.5.53", "server=127.0.0.1#5353"]
    box.mode("restore")
    assert box.read(CONFIG) == owners
    box.put("etc/config/dhcp", DHCP)
    box.run("/etc/init.d/dnsmasq", "reload")


def test_a_mode_without_its_listener_leaves_dnsmasq_alone(family: Home) -> None:
    box = family.box
    box.uci("delete", "guardian.dns.listen")
    box.uci("add_list", "guardian.dns.listen=br-lan:53")
    assert box.mode("apply", check=False).returncode == 1
    assert "event=mode-impossible mode=behind" in box.syslog() and box.read("var/state/dhcp") == ""


def test_front(family: Home) -> None:
    box = family.box
    for words in (("set", "guardian.main.mode=front"), ("delete", "guardian.dns.listen"),
                  ("add_list", "guardian.dns.listen=br-lan:53"), ("commit", "guardian")):  # fmt: skip
        box.uci(*words)
    start_front(family)
    assert is_filtered(family)
    address = family.tablet.join().address
    assert "port=54\n" in box.read(CONFIG) and f"dhcp-option=lan,6,{ROUTER}" in box.read(CONFIG)
    family.kill("gateway")
    wait_for(lambda: is_open(family), 20, 0.5)
    # Whatever server a device asks.
    assert family.tablet.ask("www.open.example", server="203.0.113.9") == [WEB]
    assert OPEN in family.mode()
    family.init("start")
    wait_for(lambda: is_filtered(family), 20, 0.5)
    assert (
        "guardian_open"
        not in subprocess.run(
            ["ip", "netns", "exec", box.namespace, "nft", "list", "ruleset"], capture_output=True, text=True, check=True
        ).stdout
    )
    family.init("stop")
    assert is_open(family) and family.tablet.ask("tablet.lan") == [address]


def start_front(family: Home) -> None:
    """At boot, so that port 53 is free before Guardian comes."""
    family.init("boot")
    family.box.run("/etc/init.d/dnsmasq", "restart")  # at boot it comes after Guardian
    family.wait_for_mode(FRONT)
    assert family.tablet.join().dns == ROUTER
    family.laptop.join()
    wait_for(lambda: is_filtered(family), 20, 0.5)


def test_stop_restores(family: Home) -> None:
    start(family)
    assert is_filtered(family)
    family.init("stop")
    assert STOCK in family.mode() and is_open(family)
    assert "nameserver 127.0.0.1" in family.box.read("tmp/resolv.conf")


def test_a_restart_leaves_no_gap_without_filter(family: Home) -> None:
    start(family)
    family.init("restart")
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        assert family.tablet.ask("blocked.example") != [WEB]
    assert is_filtered(family)
