"""One client, one server, and a router for each peer between them: network namespaces, all removed at the end.

One more, `alone`, has only its loopback.

    client  16 cables, each a home's device with its own MAC   router-NAME   one cable   server

Only what the routers do differs. The cables are veth pairs with the kernel's own offloading: segments of one stream
travel in packets of up to 64 KB. `set_offload(False)` makes every packet one of MTU size, as from a wire.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType

DEVICES = 16  # one device may send 2,000 undecided packets a second; together that is more than any router does
SERVER_HOST = 2
LAN = "br-lan"
CONNTRACK_ONLY = """
table inet bench {
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established accept
    }
}
"""
_SYSCTLS = {
    # All its cables lead into one network, and each answers for itself only.
    "client": tuple(
        f"net.ipv4.conf.{where}.{key}"
        for where in ("all", "default")
        for key in ("rp_filter=0", "arp_ignore=1", "arp_announce=2")
    ),
    "router": ("net.ipv4.ip_forward=1",),
    # Thousands of new flows a second from one client are not an attack here.
    "server": ("net.ipv4.tcp_syncookies=0", "net.core.somaxconn=8192", "net.ipv4.tcp_max_syn_backlog=8192"),
}


class Router:
    """One way from the client to the server. `index` counts from 0."""

    def __init__(self, network: Network, name: str, index: int) -> None:
        self.network = network
        self.name = name
        self.index = index
        self.namespace = f"{network.prefix}-{name}"
        self.server = f"10.{70 + index}.0.{SERVER_HOST}"
        self.devices = f"r{index}d"  # interfaces of the client are this and a number
        self.gateway = self.address(-1)  # of the home, on the bridge

    def mac(self, device: int) -> str:
        """Return the MAC of a device of the client on this router's cables."""
        return f"02:00:5e:{self.index:02x}:00:{device:02x}"

    def address(self, device: int) -> str:
        """Return a device's address."""
        return f"10.{60 + self.index}.0.{2 + device}"

    def run(self, *words: str, text: str = "") -> str:
        """Return what a program prints that runs on the router. Raises CalledProcessError."""
        return self.network.run(self.name, *words, text=text)

    def make_cables(self) -> None:
        """Connect the router with both ends."""
        network, index = self.network, self.index
        router = [
            "link set lo up",
            f"link add {LAN} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"addr add {self.gateway}/24 dev {LAN}",
            f"link set {LAN} up",
        ]
        client, server = [], []
        for device in range(DEVICES):
            peer = f"{self.devices}{device}"
            end = f"name {peer} address {self.mac(device)} netns {network.namespace('client')}"
            router += [f"link add lan{device} type veth peer {end}", f"link set lan{device} master {LAN} up"]
            client += [
                f"addr add {self.address(device)}/24 dev {peer}",
                f"link set {peer} up",
                # Only a socket that is bound to the device finds its route: no policy routing is needed.
                f"route add 10.{70 + index}.0.0/24 via {self.gateway} dev {peer} metric {device + 1}",
            ]
        router += [
            f"link add wan type veth peer name r{index} netns {network.namespace('server')}",
            f"addr add 10.{70 + index}.0.1/24 dev wan",
            "link set wan up",
        ]
        server += [
            f"addr add {self.server}/24 dev r{index}",
            f"link set r{index} up",
            f"route add 10.{60 + index}.0.0/24 via 10.{70 + index}.0.1",
        ]
        for place, lines in ((self.name, router), ("client", client), ("server", server)):
            network.batch(place, lines)

    def set_offload(self, on: bool) -> None:
        """Let both ends hand big packets to the network (the default), or only such of MTU size."""
        state = "on" if on else "off"
        for place, interface in (("client", f"{self.devices}0"), ("server", f"r{self.index}")):
            self.network.run(place, "ethtool", "-K", interface, "tso", state, "gso", state)

    def describe_offload(self) -> str:
        """Return the settings of the first cable's ends, as `ethtool -k` names them."""
        wanted = ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload")
        lines = self.run("ethtool", "-k", "wan").splitlines()
        found = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
        return ", ".join(f"{key.replace('-', ' ')} {found.get(key, '?')}" for key in wanted)


class Network:
    """The namespaces of a run. A context manager: nothing is left at its end."""

    def __init__(self, names: Sequence[str]) -> None:
        self.prefix = f"bench-{os.getpid()}"
        self.routers = [Router(self, name, index) for index, name in enumerate(names)]

    def __enter__(self) -> Network:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def namespace(self, place: str) -> str:
        """Return the namespace of `client`, `server` or a router, for `ip netns exec`."""
        return f"{self.prefix}-{place}"

    def _places(self) -> list[str]:
        return ["client", "server", "alone", *(router.name for router in self.routers)]

    def _make(self) -> None:
        for place in self._places():
            _run("ip", "netns", "add", self.namespace(place))
            self.run(place, "sysctl", "-qw", *_SYSCTLS.get(place, _SYSCTLS["router"]))
            _run("ip", "-n", self.namespace(place), "link", "set", "lo", "up")
        for router in self.routers:
            router.make_cables()

    def close(self) -> None:
        """Remove everything."""
        for place in self._places():
            subprocess.run(["ip", "netns", "del", self.namespace(place)], check=False, capture_output=True)

    def run(self, place: str, *words: str, text: str = "") -> str:
        """Return what a program prints that runs in a place. Raises CalledProcessError."""
        return _run("ip", "netns", "exec", self.namespace(place), *words, text=text)

    def batch(self, place: str, lines: Sequence[str]) -> None:
        """Run commands of `ip` in a place."""
        _run("ip", "-n", self.namespace(place), "-batch", "-", text="\n".join(lines) + "\n")


def _run(*words: str, text: str = "") -> str:
    done = subprocess.run(words, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
