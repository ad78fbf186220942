"""A home behind a router of `router.py`: namespaces for router, devices and internet, DHCP by busybox's udhcpc."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.openwrt.router import Router, router
from tests.gateway.product import Upstream, require, run_tool, wait_for
from tests.netns.namespaces import add_namespace, inside, run

TABLET_MAC, LAPTOP_MAC = "02:00:5e:10:0a:01", "02:00:5e:10:0a:0f"
LAN, WORLD = "192.168.1", "198.18.5"  # for dnsmasq the networks of documentation are private ones
ROUTER, DNS, WEB = f"{LAN}.1", f"{WORLD}.53", f"{WORLD}.80"
RECORDS = f"www.open.example A {WEB}\nblocked.example A {WEB}\nprivate.open.example A 192.168.1.77\n"
HOUSEHOLD = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "guests",
    "profiles": {
        "ana": {"name": "Ana", "age": "10-12", "offline": [], "minutes": "unlimited", "block": ["blocked.example"]},
        "guests": {"name": "Guests", "age": "0-6", "offline": [], "minutes": "unlimited"},
        "parents": {"name": "Parents", "filtered": False},
    },
    "devices": {
        "tablet": {"name": "Tablet", "profile": "ana", "macs": [TABLET_MAC]},
        "laptop": {"name": "Laptop", "profile": "parents", "macs": [LAPTOP_MAC]},
    },
}
_ON_LEASE = """#!/bin/sh
case "$1" in
bound | renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/$mask" dev "$interface"
	ip route replace default via "${router%% *}"
	echo "$ip|$dns|$domain" >"$LEASE"
	;;
esac
"""


class Lease(NamedTuple):
    """What a device got by DHCP."""

    address: str
    dns: str  # "" when no server was named
    domain: str


class Device:
    """A device of the home."""

    def __init__(self, namespace: str, hostname: str, folder: Path) -> None:
        self.namespace, self.hostname = namespace, hostname
        self._folder = folder

    def join(self) -> Lease:
        """Ask for an address, as a device that comes home."""
        script, told = self._folder / "on-lease", self._folder / f"lease-{self.hostname}"
        script.write_text(_ON_LEASE)
        script.chmod(0o755)
        subprocess.run(
            ["ip", "netns", "exec", self.namespace, "busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "10",
             "-T", "1", "-x", f"hostname:{self.hostname}", "-s", str(script)],
            env={**os.environ, "LEASE": str(told)}, capture_output=True, check=True, timeout=40,
        )  # fmt: skip
        return Lease(*told.read_text().strip().split("|"))

    def ask(self, name: str, *words: str, server: str = ROUTER) -> list[str] | str:
        """Return the addresses of a name, or the word of the answer's code: NXDOMAIN, SERVFAIL, SILENCE."""
        told = run_tool("ip", "netns", "exec", self.namespace, "dig", f"@{server}", "+tries=1", "+time=2", *words, name)
        found = told.partition("status: ")[2].partition(",")[0]
        if found != "NOERROR":
            return found or "SILENCE"
        answers = told.partition("ANSWER SECTION:")[2].partition(";;")[0].split("\n")
        return [line.split()[-1] for line in answers if " A\t" in line or "\tA\t" in line]


class Home:
    """The router with its devices. `procd` starts what the init script told procd."""

    def __init__(self, box: Router, tablet: Device, laptop: Device, upstream: Upstream) -> None:
        self.box, self.tablet, self.laptop, self.upstream = box, tablet, laptop, upstream
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def init(self, *words: str) -> None:
        """Run the init script, and do what procd is told by it. Instances that ended are not started again."""
        self.box.init(*words)
        self.obey()

    def obey(self, skipped: tuple[str, ...] = ("web",)) -> None:
        """Do what procd was told since the last time."""
        for method, message in self.box.told():
            if method == "delete":
                for name in [message["instance"]] if message["instance"] else list(self.running):
                    self.end(name)
            elif method == "set":
                for name in set(self.running) - set(message["instances"]):
                    self.end(name)
                for name, instance in message["instances"].items():
                    if name not in skipped and (name not in self.running or self.running[name].poll() is not None):
                        self.launch(name, instance)

    def launch(self, name: str, instance: dict[str, Any]) -> None:
        """Start an instance, without its jail; without procd there is nobody to wind up a watchdog at."""
        environ = {key: value for key, value in instance.get("env", {}).items() if key != "GUARDIAN_PROCD_INSTANCE"}
        self.running[name] = self.box.start(*instance["command"], env=environ)
        self.box.put(f"tmp/procd/running/{name}", f"{self.running[name].pid}\n")

    def end(self, name: str) -> None:
        """End an instance as procd does."""
        process = self.running.pop(name, None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:  # procd's next step
                process.kill()
                process.wait(10)
        self.box.path(f"tmp/procd/running/{name}").unlink(missing_ok=True)

    def kill(self, name: str) -> None:
        """Let an instance die."""
        self.running[name].kill()
        self.running[name].wait(10)

    def mode(self) -> str:
        """Return the line on what is in force."""
        return self.box.mode("show").stdout.strip()

    def wait_for_mode(self, word: str, seconds: float = 30) -> None:
        """Wait until the line on what is in force has a word."""
        wait_for(lambda: word in self.mode(), seconds, 0.2)


def _connect(names: list[str]) -> None:
    router_, tablet, laptop, world = names
    run(f"ip -n {router_} link add br-lan type bridge")
    for name, mac in ((tablet, TABLET_MAC), (laptop, LAPTOP_MAC)):
        port = f"lan{names.index(name)}"
        run(f"ip -n {router_} link add {port} type veth peer name eth0 netns {name}")
        run(f"ip -n {name} link set eth0 address {mac}")
        run(f"ip -n {router_} link set {port} master br-lan up")
        run(f"ip -n {name} link set eth0 up")
        run(f"ip -n {name} link set lo up")
    run(f"ip -n {router_} addr add {ROUTER}/24 dev br-lan")
    run(f"ip -n {router_} link add wan type veth peer name eth0 netns {world}")
    for name, device, address in (
        (router_, "wan", f"{WORLD}.1"), (world, "eth0", DNS), (world, "eth0", WEB),
    ):  # fmt: skip
        run(f"ip -n {name} addr add {address}/24 dev {device}")
        run(f"ip -n {name} link set {device} up")
        run(f"ip -n {name} link set lo up")
    run(f"ip -n {router_} link set br-lan up")
    run(f"ip -n {router_} link set lo up")
    run(f"ip -n {world} route add default via {WORLD}.1")


@contextlib.contextmanager
def home(folder: Path) -> Iterator[Home]:
    """A home while the context lasts: stock dnsmasq runs, Guardian is installed and not started."""
    require("ip", "dig", "dnsmasq", "nft")
    if shutil.which("busybox") is None:
        pytest.skip("needs busybox")
    names = [f"ow{letter}{os.getpid()}" for letter in "rtlw"]
    for name in names:
        add_namespace(name)
    try:
        _connect(names)
        upstream = inside(names[3], lambda: Upstream(RECORDS, port=53, host=DNS))
        try:
            with router(folder / "box", names[0]) as box:
                _settle(box)
                made = Home(box, Device(names[1], "tablet", folder), Device(names[2], "laptop", folder), upstream)
                try:
                    yield made
                finally:
                    for name in list(made.running):
                        made.end(name)
        finally:
            upstream.close()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _settle(box: Router) -> None:
    box.put("tmp/netifd/lan", f"device br-lan\nipaddr {ROUTER}\nsubnet {ROUTER}/24\n")
    box.put("tmp/netifd/wan", f"device wan\nipaddr {WORLD}.1\n")
    box.put("tmp/resolv.conf.d/resolv.conf.auto", f"nameserver {DNS}\n")
    box.put("etc/guardian/home.yaml", yaml.safe_dump(HOUSEHOLD))
    # The product waits longer; what it does when it has waited is the same.
    watch = box.read("usr/lib/guardian/dns-watch")
    for before, after in (("EVERY=5", "EVERY=1"), ("PATIENCE=20", "PATIENCE=4"), ("ENSURE=60", "ENSURE=5")):
        assert before in watch
        watch = watch.replace(before, after)
    box.put("usr/lib/guardian/dns-watch", watch, 0o755)
    for line in ("main.household=/etc/guardian/home.yaml", "filter.enabled=0", "upstreams.strategy=failover"):
        box.uci("set", f"guardian.{line}")
    box.uci("delete", "guardian.upstreams.servers")
    box.uci("add_list", f"guardian.upstreams.servers={DNS}")
    box.uci("commit", "guardian")
    box.run("/usr/lib/guardian/find-interfaces", "update")
    box.told()
    box.run("/etc/init.d/dnsmasq", "start")
