"""What `guardian doctor` looks at for the flow filter on the network side: interfaces, forwarding, bridges, offloading.

Everything is read from the kernel's own files; `Places` says where they are. Nothing is changed.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding, list_folder, read_lines

PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # not on the path of an ordinary user
PROGRAM_SECONDS = 20

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_INTERFACE_REQUEST = struct.Struct("16s24x")  # struct ifreq: a name, then a union of 24 bytes
_IFF_UP = 1
_SCOPE_GLOBAL = "00"
# Kernel modules of makers that carry established connections past netfilter.
_FAST_PATHS = ("shortcut_fe", "shortcut_fe_cm", "fast_classifier", "ecm", "mtkhnat")


class Places(NamedTuple):
    """Where the files are; tests have their own."""

    proc: str = "/proc"
    sys: str = "/sys"
    firewall: str = "/etc/config/firewall"  # OpenWrt's


PLACES = Places()


def check_interfaces(lan: Iterable[str], wan: Iterable[str], places: Places = PLACES) -> Iterator[Finding]:
    """Look at the interfaces that the filter stands between, and for others that it does not know."""
    for name in lan:
        yield _check_interface(name, "filter.lan", places)
    for name in wan:
        yield _check_interface(name, "filter.wan", places)
    named = {*lan, *wan}
    for name in sorted(set(list_folder(f"{places.sys}/class/net")) - named - {"lo"}):
        addresses = find_addresses(name, places.proc)
        if addresses and _is_up(name, places.sys) and not _master(name, places.sys) and _has_hardware(name, places.sys):
            yield Finding(
                "interface",
                WARN,
                f"{name} ({', '.join(addresses)}) is neither in 'filter.lan' nor in 'filter.wan': "
                "what is behind it is not filtered",
                "add it to 'filter.lan' if devices of the home are behind it, to 'filter.wan' if it leads out",
            )


def _check_interface(name: str, key: str, places: Places) -> Finding:
    is_lan = key == "filter.lan"
    if not os.path.isdir(f"{places.sys}/class/net/{name}"):
        advice = f"see `ip link`, and correct '{key}'"
        if is_lan:
            return Finding("interface", FAIL, f"there is no interface {name}: nothing behind it is filtered", advice)
        return Finding("interface", WARN, f"there is no interface {name} now", f"is the line up? if so: {advice}")
    if master := _master(name, places.sys):
        message = f"{name} is a part of {master}: its packets come as those of {master}"
        return Finding("interface", FAIL, message, f"write '{master}' in '{key}'")
    if not _is_up(name, places.sys):
        return Finding("interface", WARN, f"{name} is down", f"`ip link set {name} up`, or correct '{key}'")
    addresses = find_addresses(name, places.proc)
    if not addresses:
        if is_lan:
            message, advice = f"{name} has no address: no device can use this machine as its router", "give it one"
        else:
            message, advice = f"{name} has no address: nothing leads out", "is the line up?"
        return Finding("interface", WARN, message, f"{advice}; if it is another interface, correct '{key}'")
    return Finding("interface", OK, f"{name} is up: {', '.join(addresses)}")


def find_addresses(name: str, proc: str = "/proc") -> list[str]:
    """Return the addresses of an interface, link-local ones left out: the first IPv4 one, and every IPv6 one."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            reply = fcntl.ioctl(probe, _SIOCGIFADDR, _INTERFACE_REQUEST.pack(name.encode()))
        except OSError:
            pass  # none
        else:
            found.append(socket.inet_ntoa(reply[20:24]))  # the name, family and port stand before it
    for line in read_lines(f"{proc}/net/if_inet6"):
        fields = line.split()
        if len(fields) == 6 and fields[5] == name and fields[3] == _SCOPE_GLOBAL:
            found.append(str(ipaddress.ip_address(bytes.fromhex(fields[0]))))
    return found


def _is_up(name: str, sys: str) -> bool:
    return bool(int("".join(read_lines(f"{sys}/class/net/{name}/flags")) or "0", 16) & _IFF_UP)


def _master(name: str, sys: str) -> str:
    """The bridge, bond or VRF that an interface is a part of; "" for none."""
    try:
        return os.path.basename(os.readlink(f"{sys}/class/net/{name}/master"))
    except OSError:
        return ""


def _has_hardware(name: str, sys: str, depth: int = 4) -> bool:
    """Tell whether a device of hardware is below: a container's bridge or a tunnel has none."""
    folder = f"{sys}/class/net/{name}"
    if os.path.exists(f"{folder}/device"):
        return True
    lower = [entry[6:] for entry in list_folder(folder) if entry.startswith("lower_")]
    return depth > 0 and any(_has_hardware(below, sys, depth - 1) for below in lower)


def check_forwarding(lan: Iterable[str], wan: Iterable[str], places: Places = PLACES) -> Iterator[Finding]:
    """Tell whether this machine is a router, and what of the kernel's settings beside that touches the filter."""
    settings = f"{places.proc}/sys/net"
    general = _read_flag(f"{settings}/ipv4/ip_forward")
    off = [name for name in (*lan, *wan) if not _read_flag(f"{settings}/ipv4/conf/{name}/forwarding", general)]
    if off:
        yield Finding(
            "forwarding",
            FAIL,
            f"IPv4 is not forwarded from {', '.join(off)}: devices cannot reach the internet through this machine",
            "`sysctl -w net.ipv4.ip_forward=1`, and a file with that line in /etc/sysctl.d",
        )
    else:
        yield Finding("forwarding", OK, "IPv4 is forwarded")
    if _read_flag(f"{settings}/ipv6/conf/all/forwarding"):
        yield Finding("forwarding", OK, "IPv6 is forwarded")
    else:
        yield Finding("forwarding", OK, "IPv6 is not forwarded: through this machine the home has only IPv4")
    general = _read_flag(f"{settings}/ipv4/conf/all/rp_filter")
    loose = [name for name in lan if not general and not _read_flag(f"{settings}/ipv4/conf/{name}/rp_filter", True)]
    if loose:
        yield Finding("forwarding", OK, f"any source address is taken from {', '.join(loose)} (rp_filter is 0)")
    calls = [key for key in ("iptables", "ip6tables") if _read_flag(f"{settings}/bridge/bridge-nf-call-{key}")]
    bridges = [name for name in lan if os.path.isdir(f"{places.sys}/class/net/{name}/bridge")]
    if calls and bridges:
        yield Finding(
            "bridges",
            WARN,
            f"what devices on {', '.join(bridges)} send each other comes through the packet filter too (br_netfilter)",
            " ".join(["`sysctl -w", *(f"net.bridge.bridge-nf-call-{key}=0" for key in calls)])
            + "`, unless containers need it",
        )


def _read_flag(path: str, default: bool = False) -> bool:
    text = "".join(read_lines(path)).strip()
    return text != "0" if text else default


def check_hardware(names: Iterable[str], places: Places = PLACES) -> Iterator[Finding]:
    """Tell about parts of the machine that may carry connections without showing them to the kernel's filter."""
    for module in _FAST_PATHS:
        if os.path.isdir(f"{places.sys}/module/{module}"):
            yield Finding(
                "offloading",
                FAIL,
                f"the maker's fast path '{module}' carries connections past the filter, before they say where they go",
                f"switch it off: hardware acceleration in the router's pages, or `rmmod {module}`",
            )
    program = shutil.which("ethtool", path=PROGRAM_PATH)
    for name in names if program else ():
        done = run_program([str(program), "-k", name])
        if re.search(r"^\s*hw-tc-offload: on\b", done.stdout, re.MULTILINE):
            yield Finding(
                "offloading",
                WARN,
                f"{name} may carry connections in its own hardware (hw-tc-offload), where nothing is filtered",
                f"`ethtool -K {name} hw-tc-offload off`; it harms only where rules of tc or a flowtable use it",
            )


def read_openwrt_offloading(path: str) -> list[str]:
    """Return the options of OpenWrt's firewall settings that switch flow offloading on."""
    pattern = re.compile(r"""\s*option\s+['"]?(flow_offloading(?:_hw)?)['"]?\s+['"]?(1|on|true|yes|enabled)\b""")
    return [match[1] for line in read_lines(path) if (match := pattern.match(line))]


def run_program(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the system in plain English; one that hangs or is not there ends with code 127."""
    try:
        return subprocess.run(  # noqa: S603 - fixed commands, names from checked settings
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
