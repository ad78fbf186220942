"""A router that listens on `br-lan`: its LAN gets another network, loses its interface, gets it back.

The invariant: whatever addresses the interface has, DNS, block page and console are there within seconds, without a
restart, and name them; where it has none, nobody listens and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import httpx
import pytest

from tests.gateway.product import Running, Upstream, addresses, assert_clean, environment, require, running, wait_for
from tests.netns.namespaces import add_namespace, inside, run

OLD, NEW, ULA = "192.168.1.1", "192.168.7.1", "fd07::1"
BLOCKED = "blocked.example"
HOUSEHOLD = {
    "timezone": "UTC",
    "new_devices": "ana",
    "profiles": {"ana": {"name": "Ana", "age": "10-12", "offline": [], "minutes": "unlimited", "block": [BLOCKED]}},
}


@pytest.fixture
def router() -> Iterator[str]:
    require("ip")
    name = f"gif{os.getpid()}"
    add_namespace(name)
    try:
        run(f"ip -n {name} link set lo up")
        make_bridge(name, OLD)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def make_bridge(router: str, *hosts: str) -> None:
    """A bridge with a port that is up, as a LAN is."""
    run(f"ip -n {router} link add br-lan type bridge")
    run(f"ip -n {router} link add lan1 type veth peer name device")
    run(f"ip -n {router} link set lan1 master br-lan")
    for host in hosts:
        run(f"ip -n {router} addr add {host}/{64 if ':' in host else 24} dev br-lan")
    for link in ("br-lan", "lan1", "device"):
        run(f"ip -n {router} link set {link} up")


def drop_bridge(router: str) -> None:
    run(f"ip -n {router} link del lan1")
    run(f"ip -n {router} link del br-lan")


@pytest.fixture
def gateway(router: str, tmp_path: Path) -> Iterator[Running]:
    settings = {
        "dns": {"listen": ["br-lan:53"], "rate_limit": 0},
        "block": {"page": ["br-lan:80"]},
        "web": {"listen": ["br-lan:8080"]},
        "local": {"addresses": []},
        "upstreams": {"servers": ["192.0.2.1"]},
    }
    with running(tmp_path, settings, HOUSEHOLD, ("ip", "netns", "exec", router)) as gateway:
        yield gateway


@pytest.fixture
def console(router: str, gateway: Running) -> Iterator[Path]:
    log = gateway.folder / "web.log"
    command = [sys.executable, "-m", "guardian", "web", "--config", str(gateway.config)]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            ["ip", "netns", "exec", router, *command], stdout=file, stderr=file, env=environment(), cwd=gateway.folder
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, log.read_text()
    assert_clean(log.read_text())


def asks(router: str, server: str, tcp: bool = False) -> list[str]:
    """The addresses that a blocked name gets from `server`, [] when nobody answers there."""
    query = dns.message.make_query(BLOCKED, "AAAA" if ":" in server else "A")

    def ask() -> list[str]:
        try:
            return addresses((dns.query.tcp if tcp else dns.query.udp)(query, server, 1.0, 53))
        except (OSError, dns.exception.Timeout):
            return []

    return inside(router, ask)


def opens(router: str, server: str, port: int) -> bool:
    def connect() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((server, port), 1.0):
            return True
        return False

    return inside(router, connect)


def is_served(router: str, server: str, pages: tuple[int, ...] = (80,)) -> bool:
    """DNS over UDP and TCP that names this address as the block page's, and the pages."""
    return (
        server in asks(router, server)
        and server in asks(router, server, tcp=True)
        and all(opens(router, server, port) for port in pages)
    )


def test_the_lan_is_renumbered(router: str, gateway: Running, console: Path) -> None:
    wait_for(lambda: is_served(router, OLD, (80, 8080)), 20)
    run(f"ip -n {router} addr add {NEW}/24 dev br-lan")
    run(f"ip -n {router} addr del {OLD}/24 dev br-lan")
    wait_for(lambda: is_served(router, NEW, (80, 8080)), 10)
    assert asks(router, NEW) == [NEW]
    assert not asks(router, OLD)
    run(f"ip -n {router} addr add {ULA}/64 dev br-lan")
    wait_for(lambda: is_served(router, ULA, (80, 8080)), 10)  # once nobody else claims it (RFC 4862)
    assert "event=addresses-changed" in gateway.log() and "event=addresses-changed" in console.read_text()


def test_devices_with_public_addresses_are_at_home_too(router: str, gateway: Running, console: Path) -> None:
    """A provider gives each home a public IPv6 network, and another one a while after: devices ask from there."""
    wait_for(lambda: is_served(router, OLD, (80, 8080)), 20)
    device, first, second = f"{router}d", "2001:db8:1:10", "2001:db8:2:20"
    add_namespace(device)
    try:
        run(f"ip -n {router} link set device netns {device}")
        for line in ("addr add 192.168.1.7/24 dev device", f"addr add {first}::7/64 dev device nodad"):
            run(f"ip -n {device} {line}")
        run(f"ip -n {device} link set device up")
        run(f"ip -n {router} addr add {first}::1/64 dev br-lan nodad")
        wait_for(lambda: asks(device, f"{first}::1") != [], 10)
        assert f"{first}::1" in asks(device, f"{first}::1", tcp=True)
        wait_for(lambda: page_status(device, f"{first}::1") == 200, 10)
        run(f"ip -n {router} addr add {second}::1/64 dev br-lan nodad")
        run(f"ip -n {router} addr del {first}::1/64 dev br-lan")
        run(f"ip -n {device} addr add {second}::7/64 dev device nodad")
        wait_for(lambda: asks(device, f"{second}::1") != [], 10)
        wait_for(lambda: page_status(device, f"{second}::1") == 200, 10)
        # The network of before is somebody else's by now.
        run(f"ip -n {router} route add {first}::/64 dev br-lan")
        run(f"ip -n {device} addr del {second}::7/64 dev device")
        run(f"ip -n {device} route add {second}::/64 dev device src {first}::7")
        assert asks(device, f"{second}::1") == []
        assert page_status(device, f"{second}::1") == 403
    finally:
        subprocess.run(["ip", "netns", "del", device], capture_output=True, check=False)


def page_status(device: str, server: str) -> int:
    """What the console answers, 0 when nobody is there."""

    def fetch() -> int:
        try:
            return httpx.get(f"http://[{server}]:8080/api/v1/start", timeout=2, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    return inside(device, fetch)


def test_the_interface_goes_and_comes_back(router: str, gateway: Running, console: Path) -> None:
    wait_for(lambda: is_served(router, OLD, (80, 8080)), 20)
    drop_bridge(router)
    wait_for(lambda: gateway.status()["listen"] == [], 10)
    assert "event=no-address interfaces=br-lan action=wait" in gateway.log()
    make_bridge(router, OLD, ULA)
    wait_for(lambda: is_served(router, OLD, (80, 8080)) and is_served(router, ULA, (80, 8080)), 15)
    # Made anew before anybody looked: its link-local address is that of another interface.
    drop_bridge(router)
    make_bridge(router, OLD)
    wait_for(lambda: is_served(router, OLD, (80, 8080)), 10)
    wait_for(lambda: any(where.startswith("[fe80") for where in gateway.status()["listen"]), 10)


def test_it_starts_before_the_interface_is_there(router: str, tmp_path: Path) -> None:
    drop_bridge(router)
    settings = {
        "dns": {"listen": ["br-lan:53", "127.0.0.1:53"]},
        "block": {"page": ["br-lan"]},
        "local": {"addresses": []},
        "upstreams": {"servers": ["192.0.2.1"]},
    }
    with running(tmp_path, settings, HOUSEHOLD, ("ip", "netns", "exec", router)) as gateway:
        assert gateway.status()["listen"] == ["127.0.0.1:53"]
        assert "interfaces=br-lan action=wait" in gateway.log()
        make_bridge(router, NEW)
        wait_for(lambda: is_served(router, NEW), 10)
        settings["dns"]["listen"] = ["br-lan:53"]
        gateway.settings["dns"] = settings["dns"]
        gateway.write()
        gateway.control("reload")
        assert is_served(router, NEW)
        assert not asks(router, "127.0.0.1")


def test_an_address_that_is_taken_is_tried_again(router: str, gateway: Running, tmp_path: Path) -> None:
    """Another program has the port on the new address: the others go on, and when it leaves, we have it."""

    def take() -> socket.socket:
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taken.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: before the address is there
        taken.bind((NEW, 53))
        return taken

    wait_for(lambda: is_served(router, OLD), 20)
    with inside(router, take):
        run(f"ip -n {router} addr add {NEW}/24 dev br-lan")
        wait_for(lambda: "event=address-not-used" in gateway.log(), 15)
        assert is_served(router, OLD)
    wait_for(lambda: is_served(router, NEW), 20)


def test_an_upstream_is_still_there_for_others(router: str, gateway: Running) -> None:
    """Queries that wait while the addresses change are answered: sockets that stay are not touched."""
    upstream = inside(router, lambda: Upstream("slow.open.example A 198.51.100.7\n", host="127.0.0.1"))
    try:
        gateway.settings["upstreams"] = {"servers": [f"127.0.0.1:{upstream.port}"]}
        gateway.write()
        gateway.control("reload")
        before = gateway.status()["listen"]
        run(f"ip -n {router} addr add {NEW}/24 dev br-lan")
        wait_for(lambda: is_served(router, NEW), 10)
        assert set(before) <= set(gateway.status()["listen"])
    finally:
        upstream.close()


def test_redirected_dns_follows_as_well(router: str, tmp_path: Path) -> None:
    """Queries to foreign servers are sent to the gateway: to the address that it has by now, also after a reload."""
    require("nft")
    settings = {
        "dns": {"listen": ["br-lan:53"], "rate_limit": 0},
        "block": {"page": ["br-lan:80"]},
        "local": {"addresses": []},
        "upstreams": {"servers": ["192.0.2.1"]},
        "filter": {"enabled": True, "lan": ["br-lan"], "wan": ["wan0"]},
    }
    prefix = ("ip", "netns", "exec", router)

    def rules() -> str:
        command = [*prefix, "nft", "list", "table", "inet", "guardian"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    with running(tmp_path, settings, HOUSEHOLD, prefix) as gateway:
        wait_for(lambda: OLD in rules(), 10)
        run(f"ip -n {router} addr add {NEW}/24 dev br-lan")
        run(f"ip -n {router} addr del {OLD}/24 dev br-lan")
        wait_for(lambda: NEW in rules() and OLD not in rules(), 10)
        gateway.settings["dns"] = {"listen": [f"{NEW}:5300"]}
        gateway.write()
        gateway.control("reload")
        wait_for(lambda: "5300" in rules(), 10)
