"""A router in namespaces: two home networks, the internet, devices told by their MAC, curl that sees the block page."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import dns.message
import pytest

from tests.gateway.product import Running, Upstream, environment, require, run_tool, running, wait_for
from tests.netns.namespaces import add_namespace, inside, run

TABLET_MAC, PARENT_MAC, STRANGER_MAC = "02:00:5e:10:01:01", "02:00:5e:10:01:0f", "02:00:5e:10:01:aa"
TABLET_LAN, OTHER_LAN, WORLD = "10.91.1", "10.91.2", "198.51.100"  # the last is no home's, so it is not rebinding
WEB, DNS = f"{WORLD}.80", f"{WORLD}.53"
OWN = {f"{TABLET_LAN}.1", f"{OTHER_LAN}.1"}
RECORDS = f"www.open.example A {WEB}\nprivate.open.example A 10.91.1.7\n"
HOUSEHOLD = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "guests",
    "profiles": {
        "ana": {
            "name": "Ana", "age": "10-12", "offline": [], "minutes": "unlimited", "block": ["blocked.example"],
        },
        "guests": {"name": "Guests", "age": "10-12", "offline": [], "minutes": "unlimited", "block": ["open.example"]},
        "parents": {"name": "Parents", "filtered": False},
    },
    "devices": {
        "tablet": {"name": "Tablet", "profile": "ana", "macs": [TABLET_MAC]},
        "laptop": {"name": "Laptop", "profile": "parents", "macs": [PARENT_MAC]},
    },
}  # fmt: skip


class Net(NamedTuple):
    """The names of the namespaces."""

    router: str
    tablet: str
    other: str
    world: str


def connect(net: Net, name: str, device: str, mac: str, network: str, six: str, host: int) -> None:
    """A cable from the router to a device: the router is host 1."""
    run(f"ip -n {net.router} link add {name} type veth peer name eth0 netns {device}")
    run(f"ip -n {device} link set eth0 address {mac}")
    for namespace, interface, number in ((net.router, name, 1), (device, "eth0", host)):
        run(f"ip -n {namespace} addr add {network}.{number}/24 dev {interface}")
        run(f"ip -n {namespace} addr add {six}::{number}/64 dev {interface} nodad")
        run(f"ip -n {namespace} link set {interface} up")
        run(f"ip -n {namespace} link set lo up")
    run(f"ip -n {device} route add default via {network}.1")


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    require("ip", "dig", "curl", "dnsmasq")
    net = Net(*(f"gg{letter}{os.getpid()}" for letter in "rtow"))
    add_namespace(net.router)
    folders = []
    try:
        for name in net[1:]:
            run(f"ip netns add {name}")
        connect(net, "lan1", net.tablet, TABLET_MAC, TABLET_LAN, "fd91:1", 7)
        connect(net, "lan2", net.other, STRANGER_MAC, OTHER_LAN, "fd91:2", 9)
        connect(net, "wan", net.world, "02:00:5e:10:01:ff", WORLD, "2001:db8:9", 80)
        run(f"ip -n {net.world} addr add {DNS}/24 dev eth0")
        run(f"ip netns exec {net.router} sysctl -qw net.ipv4.ip_forward=1")
        for name, network in ((net.tablet, TABLET_LAN), (net.other, OTHER_LAN)):
            folder = Path("/etc/netns") / name
            folder.mkdir(parents=True)
            folders.append(folder)
            (folder / "resolv.conf").write_text(f"nameserver {network}.1\noptions timeout:3 attempts:1\n")
        yield net
    finally:
        for folder in folders:
            shutil.rmtree(folder)
        if folders and not any(Path("/etc/netns").iterdir()):
            Path("/etc/netns").rmdir()
        for name in net:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def website(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A site in the internet."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("the open internet")
    command = ["ip", "netns", "exec", net.world, sys.executable, "-m", "http.server", "--bind", WEB, "80"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "open internet" in on(net.world, "curl", "-s", f"http://{WEB}/"))
        yield
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def gateway(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    upstream = inside(net.world, lambda: Upstream(RECORDS, port=53, host=DNS))
    hosts = [f"{TABLET_LAN}.1", f"{OTHER_LAN}.1", "[fd91:1::1]", "[fd91:2::1]", "127.0.0.1"]
    settings = {
        "dns": {"listen": [f"{host}:53" for host in hosts], "rate_limit": 200},
        "block": {"page": [f"{host}:80" for host in hosts[:2]]},
        "local": {"addresses": []},
        "upstreams": {"servers": [DNS]},
    }
    try:
        prefix = ("ip", "netns", "exec", net.router)
        with running(tmp_path_factory.mktemp("router"), settings, HOUSEHOLD, prefix) as gateway:
            yield gateway
    finally:
        upstream.close()


def on(namespace: str, *words: str) -> str:
    """What a program prints that runs on a device."""
    return run_tool("ip", "netns", "exec", namespace, *words)


def dig(namespace: str, server: str, *words: str) -> list[str]:
    """The addresses that a device gets."""
    return on(namespace, "dig", f"@{server}", "+short", "+tries=2", "+time=3", *words).split()


def test_the_tablet_is_told_by_its_mac(net: Net, gateway: Running) -> None:
    for server in (f"{TABLET_LAN}.1", "fd91:1::1"):
        for transport in ("+notcp", "+tcp"):
            assert set(dig(net.tablet, server, transport, "blocked.example")) == OWN
            assert dig(net.tablet, server, transport, "www.open.example") == [WEB]
            assert dig(net.tablet, server, transport, "private.open.example") == []


@pytest.fixture
def privacy_address(net: Net) -> Iterator[str]:
    """A new address of the tablet, which the router has never met."""
    address = f"fd91:1::{random.getrandbits(16):x}:{random.getrandbits(16):x}"
    run(f"ip -n {net.tablet} addr add {address}/64 dev eth0 nodad")
    yield address
    run(f"ip -n {net.tablet} addr del {address}/64 dev eth0")


@pytest.mark.parametrize("turn", range(2))
def test_a_privacy_address_hides_nobody(net: Net, gateway: Running, privacy_address: str, turn: int) -> None:
    source = ("-b", privacy_address)
    wait_for(lambda: set(dig(net.tablet, "fd91:1::1", *source, "blocked.example")) == OWN)
    for name, expected in (("blocked.example", OWN), ("www.open.example", {WEB}), ("mandatory.guardian.test", OWN)):
        assert set(dig(net.tablet, "fd91:1::1", *source, name)) == expected


def test_the_first_query_from_a_privacy_address(net: Net, gateway: Running, privacy_address: str) -> None:
    assert dig(net.tablet, "fd91:1::1", "-b", privacy_address, "www.open.example") == [WEB]


def test_a_new_device_gets_the_profile_for_new_devices_and_is_recorded(net: Net, gateway: Running) -> None:
    assert set(dig(net.other, f"{OTHER_LAN}.1", "www.open.example")) == OWN
    assert dig(net.other, f"{OTHER_LAN}.1", "blocked.example") == []
    assert f"event=new-device mac={STRANGER_MAC}" in gateway.log()

    def recorded() -> bool:
        path = gateway.folder / "state" / "history.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT addresses FROM sighting WHERE mac = ?", (STRANGER_MAC,)).fetchall()
        return rows == [(f"{OTHER_LAN}.9",)]

    wait_for(recorded)


def test_an_address_that_another_device_takes(net: Net, gateway: Running) -> None:
    """The parent's laptop comes to the address that the stranger had: its own rules hold at once, and back again."""
    server = f"{OTHER_LAN}.1"
    assert set(dig(net.other, server, "www.open.example")) == OWN
    for mac, expected in ((PARENT_MAC, {WEB}), (TABLET_MAC, {WEB}), (STRANGER_MAC, OWN)):
        run(f"ip -n {net.other} link set eth0 down")
        run(f"ip -n {net.other} link set eth0 address {mac}")
        run(f"ip -n {net.other} link set eth0 up")
        run(f"ip -n {net.other} route replace default via {server}")
        # A real device announces itself when it joins (RFC 5227); the kernel then tells the gateway.
        wait_for(lambda: set(dig(net.other, server, "www.open.example")) == expected)  # noqa: B023


def test_nobody_on_the_lan_can_name_another_device(net: Net, gateway: Running) -> None:
    spoofed = "+ednsopt=65001:" + PARENT_MAC.replace(":", "")
    assert dig(net.tablet, f"{TABLET_LAN}.1", spoofed, "blocked.example") != []
    assert set(dig(net.other, f"{OTHER_LAN}.1", spoofed, "www.open.example")) == OWN


def test_curl_behind_the_gateway(net: Net, gateway: Running, website: None) -> None:
    """A device with an ordinary resolv.conf: the open site opens, the blocked one shows the page, in its language."""
    assert on(net.tablet, "curl", "-s", "-m", "10", "http://www.open.example/") == "the open internet"
    blocked = on(net.tablet, "curl", "-s", "-i", "-m", "10", "http://blocked.example/some/page?q=1")
    assert blocked.startswith("HTTP/1.1 403 ") and "blocked.example" in blocked and "some/page" not in blocked
    russian = on(net.tablet, "curl", "-s", "-m", "10", "-H", "Accept-Language: ru", "http://blocked.example/")
    assert re.search("[а-я]{4}", russian)
    illegal = on(net.tablet, "curl", "-s", "-i", "-m", "10", "http://mandatory.guardian.test/")
    assert illegal.startswith("HTTP/1.1 451 ") and "guardian.test" not in illegal
    own = on(net.tablet, "curl", "-s", "-i", "-m", "10", "http://guardian.home.arpa/")
    assert own.startswith("HTTP/1.1 200 ") and "116 111" in own
    stranger = on(net.other, "curl", "-s", "-i", "-m", "10", "http://www.open.example/")
    assert stranger.startswith("HTTP/1.1 403 ")


@pytest.fixture
def dnsmasq(net: Net, gateway: Running) -> Iterator[Callable[..., int]]:
    """Start Debian's dnsmasq in front of the gateway on a port, with these options."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        port = 5353 + len(processes)
        command = ["ip", "netns", "exec", net.router, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"]
        command += ["--no-hosts", "--no-resolv", "--bind-interfaces", "--user=root", "--pid-file=", f"--port={port}"]
        command += [f"--listen-address={TABLET_LAN}.1,{OTHER_LAN}.1", "--server=127.0.0.1#53", "--cache-size=0"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.append(process)
        place = (f"{TABLET_LAN}.1", "-p", str(port))
        wait_for(lambda: process.poll() is None and "127.0.0.1" in dig(net.tablet, *place, "localhost"))
        return port

    yield start
    for process in processes:
        process.terminate()
        process.wait(10)


def test_dnsmasq_in_front_hands_on_who_asks(net: Net, gateway: Running, dnsmasq: Callable[..., int]) -> None:
    port = ("-p", str(dnsmasq("--add-mac", "--strip-mac")))
    for _ in range(2):
        assert set(dig(net.tablet, f"{TABLET_LAN}.1", *port, "blocked.example")) == OWN
        assert dig(net.tablet, f"{TABLET_LAN}.1", *port, "www.open.example") == [WEB]
        assert dig(net.other, f"{OTHER_LAN}.1", *port, "blocked.example") == []
        assert set(dig(net.other, f"{OTHER_LAN}.1", *port, "www.open.example")) == OWN
    spoofed = "+ednsopt=65001:" + PARENT_MAC.replace(":", "")
    assert set(dig(net.other, f"{OTHER_LAN}.1", *port, spoofed, "www.open.example")) == OWN


def test_one_device_over_the_rate_limit_is_silenced_alone(net: Net, gateway: Running) -> None:
    packet = dns.message.make_query("mandatory.guardian.test", "A").to_wire()
    client = inside(net.other, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    before = gateway.status()["queries"]["rate_limited"]
    with client:
        client.connect((f"{OTHER_LAN}.1", 53))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        started = time.monotonic()
        for number in range(3000):
            client.send(packet)
            if number % 100 == 0:
                time.sleep(0.005)  # so that nothing is lost before it arrives
        assert set(dig(net.tablet, f"{TABLET_LAN}.1", "mandatory.guardian.test")) == OWN
        client.settimeout(0.3)
        answers = 0
        try:
            while client.recv(4096):
                answers += 1
        except TimeoutError:
            seconds = time.monotonic() - started
    assert 0 < answers <= 200 * (seconds + 3)
    assert gateway.status()["queries"]["rate_limited"] - before >= 3000 - answers - 50
    # A second later it is heard again.
    wait_for(lambda: set(dig(net.other, f"{OTHER_LAN}.1", "mandatory.guardian.test")) == OWN)


def test_doctor_and_status_run_beside_it(net: Net, gateway: Running) -> None:
    words = ["ip", "netns", "exec", net.router, sys.executable, "-m", "guardian", "status", "--config"]
    done = subprocess.run(
        [*words, str(gateway.config)], capture_output=True, text=True, check=False, timeout=20, env=environment()
    )
    assert done.returncode == 0 and "seen on the network" in done.stdout
