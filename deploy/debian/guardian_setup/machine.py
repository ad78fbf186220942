"""What this machine is: interfaces, addresses, who holds ports, who gives it names. Read by `ip` and /proc."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from typing import Any, NamedTuple

from guardian.cli.doctor_machine import find_holder, read_sockets
from guardian.config import Endpoint
from guardian.errors import GuardianError

_IGNORED = ("lo", "docker", "veth", "virbr", "br-", "tun", "tap", "wg", "tailscale")
_SECONDS = 30


class Interface(NamedTuple):
    """A network interface with its IPv4 addresses (with prefixes)."""

    name: str
    addresses: tuple[ipaddress.IPv4Interface, ...]
    is_wireless: bool = False


def run(*command: str, check: bool = True) -> str:
    """Run a program of the system and return what it prints. Raises GuardianError with its complaint."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, timeout=_SECONDS * 3, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise GuardianError(f"the program '{command[0]}' is not installed") from None
    except subprocess.TimeoutExpired:
        raise GuardianError(f"`{' '.join(command)}` does not end") from None
    if check and done.returncode:
        raise GuardianError(f"`{' '.join(command)}`: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def read_interfaces(system: str = "/sys/class/net") -> list[Interface]:
    """Return the interfaces that may lead into a home or out of it."""
    return parse_interfaces(json.loads(run("ip", "-json", "address", "show")), system)


def parse_interfaces(rows: list[dict[str, Any]], system: str = "/sys/class/net") -> list[Interface]:
    """Return the interfaces of `ip -json address`, without loopback, tunnels and those of containers."""
    found = []
    for row in rows:
        name = row.get("ifname", "")
        if not name or name.startswith(_IGNORED):
            continue
        addresses = tuple(
            ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}")
            for info in row.get("addr_info", [])
            if info.get("family") == "inet" and info.get("scope") != "link"
        )
        found.append(Interface(name, addresses, os.path.isdir(f"{system}/{name}/wireless")))
    return found


def find_way_out() -> str:
    """Return the interface of the default route, "" without one."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "default") or "[]")
    return min(routes, key=lambda route: route.get("metric", 0)).get("dev", "") if routes else ""


def find_holders(host: str, port: int, own: set[int]) -> list[str]:
    """Return who holds a port on an address (`dnsmasq (process 812)`), but for processes of `own`.

    A program that holds all addresses counts. One on another address of this machine, as systemd-resolved is on
    127.0.0.53, does not: it disturbs nobody.
    """
    wanted = ipaddress.ip_address(host)
    holders: list[str] = []
    for protocol in ("udp", "tcp") if port == 53 else ("tcp",):
        if not any(
            entry.protocol == protocol and entry.port == port and _covers(entry.address, wanted)
            for entry in read_sockets()
        ):
            continue
        holder = find_holder(Endpoint(host, port), protocol) or "another program"
        if not any(f"(process {process})" in holder for process in own) and holder not in holders:
            holders.append(holder)
    return holders


def _covers(
    held: ipaddress.IPv4Address | ipaddress.IPv6Address, wanted: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> bool:
    return held == wanted or held.is_unspecified


def find_own_processes() -> set[int]:
    """Return the main processes of Guardian's services that run."""
    processes = set()
    for unit in ("guardian-gateway.service", "guardian-web.service"):
        text = run("systemctl", "show", "--property=MainPID", "--value", unit, check=False).strip()
        if text.isdigit() and int(text):
            processes.add(int(text))
    return processes


def is_in_ifupdown(name: str, folder: str = "/etc/network") -> str:
    """Return the file of ifupdown that configures an interface, "" when none does."""
    files = [f"{folder}/interfaces"]
    if os.path.isdir(f"{folder}/interfaces.d"):
        files += sorted(f"{folder}/interfaces.d/{entry}" for entry in os.listdir(f"{folder}/interfaces.d"))
    for path in files:
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if words[:1] == ["iface"] and words[1:2] == [name]:
                    return path
    return ""
