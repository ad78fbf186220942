"""The neighbour table of a real kernel: two namespaces, a veth pair, real ARP and NDP, a MAC that changes."""

from __future__ import annotations

import ipaddress
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from pyroute2 import IPRoute

from guardian.neighbors import Neighbors, is_device_mac
from tests.netns.namespaces import add_namespace, inside, run

DEVICE_MAC = "02:00:00:00:00:d1"
OTHER_MAC = "02:00:00:00:00:d2"


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def unhex(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Home(NamedTuple):
    """The names of the two namespaces: ours, and that of a device on the other end of the cable."""

    gateway: str
    device: str


@pytest.fixture
def home() -> Iterator[Home]:
    names = Home(f"gng{os.getpid()}", f"gnd{os.getpid()}")
    add_namespace(names.gateway)
    try:
        run(f"ip netns add {names.device}")
        run(f"ip -n {names.gateway} link add lan0 type veth peer name wire0 netns {names.device}")
        run(f"ip -n {names.device} link set wire0 address {DEVICE_MAC}")
        for namespace, interface, host in ((names.gateway, "lan0", 1), (names.device, "wire0", 7)):
            run(f"ip -n {namespace} addr add 10.77.0.{host}/24 dev {interface}")
            run(f"ip -n {namespace} addr add fd77::{host}/64 dev {interface} nodad")
            run(f"ip -n {namespace} link set {interface} up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Followed:
    """A table that lives in a namespace, and the changes it told."""

    def __init__(self, namespace: str) -> None:
        self.changes: list[tuple[bytes, bytes]] = []
        self.neighbors = inside(namespace, lambda: Neighbors.open(lambda *change: self.changes.append(change)))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.neighbors, selectors.EVENT_READ)
            while not condition():
                assert selector.select(10), "the kernel told nothing in ten seconds"
                self.neighbors.on_readable()


@pytest.fixture
def follow() -> Iterator[Callable[[str], Followed]]:
    made: list[Followed] = []

    def make(namespace: str) -> Followed:
        made.append(Followed(namespace))
        return made[-1]

    yield make
    for followed in made:
        followed.neighbors.close()


SPEAK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.sendto(b"x", (sys.argv[1], 9))
"""


def speak(namespace: str, address: str) -> None:
    """Send a packet from a namespace: the kernels resolve each other by ARP or NDP."""
    subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-c", SPEAK, address], check=True, timeout=20)


def dump_by_pyroute2(namespace: str) -> dict[bytes, str]:
    def ask() -> dict[bytes, str]:
        with IPRoute() as route:
            told = [(message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")) for message in route.get_neighbours()]
        return {
            packed(address): mac for address, mac in told if mac and is_device_mac(bytes.fromhex(mac.replace(":", "")))
        }

    return inside(namespace, ask)


@pytest.mark.parametrize(("spoken_to", "device"), [("10.77.0.1", "10.77.0.7"), ("fd77::1", "fd77::7")])
def test_a_device_that_speaks_becomes_known(
    home: Home, follow: Callable[[str], Followed], spoken_to: str, device: str
) -> None:
    table = follow(home.gateway)
    assert table.neighbors.mac_of(packed(device)) is None
    assert table.neighbors.query(packed(device)) is None
    speak(home.device, spoken_to)
    table.wait_for(lambda: table.neighbors.mac_of(packed(device)) == unhex(DEVICE_MAC))
    assert (packed(device), unhex(DEVICE_MAC)) in table.changes
    assert dump_by_pyroute2(home.gateway)[packed(device)] == DEVICE_MAC


def test_a_device_that_changes_its_mac_is_told(home: Home, follow: Callable[[str], Followed]) -> None:
    table = follow(home.gateway)
    speak(home.device, "10.77.0.1")
    table.wait_for(lambda: bool(table.neighbors.mac_of(packed("10.77.0.7"))))
    run(f"ip -n {home.device} link set wire0 down")
    run(f"ip -n {home.device} link set wire0 address {OTHER_MAC}")
    run(f"ip -n {home.device} link set wire0 up")
    speak(home.device, "10.77.0.1")
    table.wait_for(lambda: (packed("10.77.0.7"), bytes.fromhex("0200000000d2")) in table.changes)
    assert table.neighbors.mac_of(packed("::ffff:10.77.0.7")) == bytes.fromhex("0200000000d2")


def test_what_was_there_before_and_what_is_asked_for(home: Home, follow: Callable[[str], Followed]) -> None:
    for number in range(2, 202):
        run(f"ip -n {home.gateway} neigh add 10.77.0.{number} lladdr 02:00:00:00:01:{number:02x} dev lan0")
    run(f"ip -n {home.gateway} neigh add fd77::99 lladdr 02:00:00:00:00:99 dev lan0")
    table = follow(home.gateway)
    listed = {address: macs.popitem()[1].hex(":") for address, macs in table.neighbors.table._present.items()}
    assert listed == dump_by_pyroute2(home.gateway)
    assert len(listed) >= 201

    run(f"ip -n {home.gateway} neigh add 10.77.0.250 lladdr 02:00:00:00:00:fa dev lan0")
    late = follow(home.gateway)
    run(f"ip -n {home.gateway} neigh replace 10.77.0.250 lladdr 02:00:00:00:00:fb dev lan0")
    # The notices are not read yet; the kernel knows already.
    assert late.neighbors.mac_of(packed("10.77.0.250")) == bytes.fromhex("0200000000fa")
    late.neighbors.dump()
    assert late.neighbors.mac_of(packed("10.77.0.250")) == bytes.fromhex("0200000000fb")
    run(f"ip -n {home.gateway} neigh replace 10.77.0.250 lladdr 02:00:00:00:00:fc dev lan0")
    asked = inside(home.gateway, lambda: late.neighbors.query(packed("10.77.0.250")))
    assert asked == bytes.fromhex("0200000000fc")
    run(f"ip -n {home.gateway} neigh del 10.77.0.250 dev lan0")
    late.wait_for(lambda: packed("10.77.0.250") not in late.neighbors.table._present)
    assert late.neighbors.mac_of(packed("10.77.0.250")) == bytes.fromhex("0200000000fc")  # remembered


def test_lost_notices_lead_to_a_new_dump(home: Home, follow: Callable[[str], Followed], caplog) -> None:  # type: ignore[no-untyped-def]
    table = follow(home.gateway)
    table.neighbors._notices._endpoint.setsockopt(1, 8, 1)  # SO_RCVBUF: the smallest that the kernel gives
    batch = "".join(
        f"neigh replace 10.77.0.{number} lladdr 02:00:00:00:02:{number:02x} dev lan0\n" for number in range(2, 252)
    )
    subprocess.run(["ip", "-n", home.gateway, "-batch", "-"], input=batch, text=True, check=True, timeout=20)
    table.neighbors.on_readable()
    assert "neighbour-notices-lost" in caplog.text
    for number in range(2, 252):
        assert table.neighbors.mac_of(packed(f"10.77.0.{number}")) == bytes.fromhex(f"0200000002{number:02x}")


def test_no_privilege_is_needed(home: Home) -> None:
    run(f"ip -n {home.gateway} neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev lan0")
    code = "from guardian.neighbors import Neighbors; print(Neighbors.open().mac_of(bytes([10, 77, 0, 9])).hex())"
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    found = subprocess.run(
        ["ip", "netns", "exec", home.gateway, *drop, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert found.stdout.strip() == "020000000009", found.stderr
