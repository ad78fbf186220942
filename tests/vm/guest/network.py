"""The home in the emulated machine: the machine itself is the router; devices and the internet are network namespaces.

child, adult --(veth)-- br-lan [router] wan0 --(veth)-- internet. IPv4 is masqueraded by a table of its own, as a
router's firewall does it.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
LAN4, LAN6 = "10.9.0.1", "fd00:9::1"
DEVICES = {"child": 2, "adult": 3}  # last part of addresses and MAC
DNS4 = "192.0.2.53"
SITES = {  # name -> last part of its addresses
    "www.open.example": 10,
    "video.open.example": 11,
    "www.blocked.example": 12,
    "www.youtube.com": 13,
    "plain.open.example": 14,
}
FIREWALL = """
table inet home_firewall {
  chain forward { type filter hook forward priority 0; policy accept; }
  chain out { type nat hook postrouting priority 100; policy accept; oifname "wan0" meta nfproto ipv4 masquerade; }
}
"""

T = TypeVar("T")


def mac_of(device: str) -> str:
    """Return a device's MAC."""
    return f"02:00:5e:00:00:{DEVICES[device]:02x}"


def address_of(name: str, family: int) -> str:
    """Return the address of a site."""
    return f"192.0.2.{SITES[name]}" if family == 4 else f"2001:db8::{SITES[name]}"


def run(command: str, given: str = "") -> None:
    """Run a command. Raises RuntimeError with what it complained about."""
    done = subprocess.run(command.split(), input=given, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


def make() -> None:
    """Make namespaces, cables, addresses and routes."""
    run("ip link add br-lan type bridge stp_state 0 forward_delay 0")
    run("ip link set br-lan address 02:00:5e:00:00:01")
    run("ip link set br-lan up")
    for device, number in DEVICES.items():
        run(f"ip netns add {device}")
        run(f"ip link add port{number} type veth peer name eth0 netns {device}")
        run(f"ip link set port{number} master br-lan up")
        run(f"ip -n {device} link set eth0 address {mac_of(device)}")
        _set_up(device, f"10.9.0.{number}/24", f"fd00:9::{number}/64", LAN4, LAN6)
    run("ip netns add internet")
    _make_wan()
    for address in (f"{LAN4}/24", f"{LAN6}/64"):
        run(f"ip address add {address} dev br-lan" + " nodad" * (":" in address))
    for name, value in (("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")):
        Path(f"/proc/sys/net/{name}").write_text(value)
    run("nft -f -", FIREWALL)


def make_wan_anew() -> None:
    """Take the interface to the internet away and make it again, as a modem that is pulled and put back."""
    run("ip link delete wan0")
    _make_wan()


def _make_wan() -> None:
    run("ip link add wan0 type veth peer name eth0 netns internet")
    _set_up("internet", "192.0.2.1/24", "2001:db8::1/64", "", "")
    for number in (53, *SITES.values()):
        run(f"ip -n internet address add 192.0.2.{number}/24 dev eth0")
        run(f"ip -n internet address add 2001:db8::{number}/64 dev eth0 nodad")
    run("ip link set wan0 up")
    for address in ("192.0.2.254/24", "2001:db8::fe/64"):
        run(f"ip address add {address} dev wan0" + " nodad" * (":" in address))
    run("ip -n internet -6 route replace fd00:9::/64 via 2001:db8::fe")  # a real home has addresses of its own


def _set_up(namespace: str, four: str, six: str, via4: str, via6: str) -> None:
    run(f"ip -n {namespace} link set lo up")
    run(f"ip -n {namespace} link set eth0 up")
    run(f"ip -n {namespace} address add {four} dev eth0")
    run(f"ip -n {namespace} address add {six} dev eth0 nodad")
    if via4:
        run(f"ip -n {namespace} route add default via {via4}")
        run(f"ip -n {namespace} -6 route add default via {via6}")


def make_small_packets() -> None:
    """Let every packet be of 1,500 bytes at most on all cables, as on real ones: veth hands on 64 KB at once."""
    for namespace in (*DEVICES, "internet"):
        run(f"ip netns exec {namespace} ethtool -K eth0 tso off gso off gro off")
    for link in ("wan0", *(f"port{number}" for number in DEVICES.values())):
        run(f"ethtool -K {link} tso off gso off gro off")


def inside(namespace: str, action: Callable[[], T], timeout: float = 120.0) -> T:
    """Run an action in a thread that has entered the namespace; sockets made there stay there."""

    def enter() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}") as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return action()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result(timeout)
