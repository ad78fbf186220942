"""The namespaces of the lab: made in a fraction of a second, always removed, also those of a lab that was killed."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.netns.lab import plan
from tests.netns.namespaces import inside

RESOLV_FOLDER = Path("/etc/netns")
_NAME = re.compile(r"lab-(\d+)(?:\.\d+)?-(?:" + "|".join(plan.ROLES) + ")")
_numbers = itertools.count()

# What a router has of its own; Guardian must leave it alone, and it Guardian's.
FIREWALL = """
table inet fw {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "br-lan" oifname "wan0" accept
    }
    chain srcnat {
        type nat hook postrouting priority srcnat;
        oifname "wan0" meta nfproto ipv4 masquerade
    }
}
"""
_SYSCTLS = {
    "router": ("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1"),
    # Many new flows a second from one client are not an attack here.
    "internet": ("ipv4/tcp_syncookies=0", "core/somaxconn=4096", "ipv4/tcp_max_syn_backlog=4096"),
}
_EVERYWHERE = (
    "ipv6/conf/all/disable_ipv6=0",
    "ipv6/conf/default/accept_dad=0",
    "ipv6/conf/default/dad_transmits=0",
    "ipv6/conf/default/accept_ra=0",
    "ipv4/ping_group_range=0 2147483647",
)


class Network:
    """The five namespaces by role, with cables, addresses and routes.

    `offload=False` switches off checksum and segmentation offload at all cables: then every packet has a true checksum
    and MTU size, as if it came from a wire. `offload=True` leaves the kernel's defaults: fast, for measurements.
    `gro=True` lets the router join packets (GRO) as drivers of real network cards do.
    """

    def __init__(self, *, offload: bool = False, gro: bool = False) -> None:
        remove_stale()
        number = next(_numbers)
        self.prefix = f"lab-{os.getpid()}" + (f".{number}" if number else "")
        try:
            self._make(offload, gro)
        except BaseException:
            self.close()
            raise

    def name(self, role: str) -> str:
        """The namespace of a role, for `ip netns exec`."""
        return f"{self.prefix}-{role}"

    def close(self) -> None:
        """End what still runs inside and remove everything."""
        for role in plan.ROLES:
            remove_namespace(self.name(role))

    def _make(self, offload: bool, gro: bool) -> None:
        for role in plan.ROLES:
            _run("ip", "netns", "add", self.name(role))
        for role in plan.ROLES:
            settings = _EVERYWHERE + _SYSCTLS.get(role, ())
            inside(self.name(role), lambda settings=settings: _write_sysctls(settings))  # type: ignore[misc]
        self._batch("router", self._router())
        self._batch("internet", self._internet())
        for device in plan.DEVICES:
            self._batch(device, self._device(device))
            folder = RESOLV_FOLDER / self.name(device)
            folder.mkdir(parents=True)
            (folder / "resolv.conf").write_text(f"nameserver {plan.home4('router')}\noptions timeout:3 attempts:1\n")
        _run("ip", "netns", "exec", self.name("router"), "nft", "-f", "-", text=FIREWALL)
        if not offload:
            for role, interface in self._cables():
                _run("ip", "netns", "exec", self.name(role), "ethtool", "-K", interface, "tx", "off")
        if gro:
            for interface in (*(f"{device}0" for device in plan.DEVICES), "wan0"):
                _run("ip", "netns", "exec", self.name("router"), "ethtool", "-K", interface, "gro", "on")

    def _cables(self) -> list[tuple[str, str]]:
        ends = [(device, "eth0") for device in plan.DEVICES] + [("internet", "eth0"), ("router", "wan0")]
        return ends + [("router", f"{device}0") for device in plan.DEVICES]

    def _router(self) -> list[str]:
        mac = plan.MACS["router"]
        lines = [
            f"link add br-lan address {mac} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link add wan0 type veth peer name eth0 netns {self.name('internet')}",
        ]
        for device in plan.DEVICES:
            peer = f"name eth0 address {plan.MACS[device]} netns {self.name(device)}"
            lines += [f"link add {device}0 type veth peer {peer}", f"link set {device}0 master br-lan up"]
        return [
            *lines,
            "link set lo up",
            "link set br-lan up",
            "link set wan0 up",
            f"addr add {plan.home4('router')}/24 dev br-lan",
            f"addr add {plan.home6('router')}/64 dev br-lan nodad",
            f"addr add {plan.wan4(1)}/24 dev wan0",
            f"addr add {plan.wan6(1)}/64 dev wan0 nodad",
            f"route add default via {plan.wan4(plan.INTERNET_HOST)}",
            f"route add default via {plan.wan6(plan.INTERNET_HOST)}",
        ]

    def _internet(self) -> list[str]:
        hosts = [plan.INTERNET_HOST, *plan.server_hosts()]
        return [
            "link set lo up",
            "link set eth0 up",
            *(f"addr add {plan.wan4(host)}/24 dev eth0" for host in hosts),
            *(f"addr add {plan.wan6(host)}/64 dev eth0 nodad" for host in hosts),
            f"addr add {plan.FAMOUS[0]}/32 dev lo",
            f"addr add {plan.FAMOUS[1]}/128 dev lo nodad",
            f"route add {plan.HOME6}/64 via {plan.wan6(1)}",  # homes have their own IPv6 network, no NAT
        ]

    def _device(self, device: str) -> list[str]:
        return [
            "link set lo up",
            "link set eth0 up",
            f"addr add {plan.home4(device)}/24 dev eth0",
            f"addr add {plan.home6(device)}/64 dev eth0 nodad",
            f"route add default via {plan.home4('router')}",
            f"route add default via {plan.home6('router')}",
        ]

    def _batch(self, role: str, lines: list[str]) -> None:
        _run("ip", "-n", self.name(role), "-batch", "-", text="\n".join(lines) + "\n")


def remove_stale() -> list[str]:
    """Remove the namespaces of labs whose process is gone, and return their names."""
    stale = [name for name in list_namespaces() if (match := _NAME.fullmatch(name)) and not _is_alive(int(match[1]))]
    for name in stale:
        remove_namespace(name)
    return stale


def list_namespaces() -> list[str]:
    """The names of all namespaces that `ip netns` knows, and of those whose resolv.conf was left behind."""
    folders = (Path("/run/netns"), RESOLV_FOLDER)
    return sorted({entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()})


def remove_namespace(name: str) -> None:
    """End the processes in a namespace of a lab and remove it with its folder; nothing happens when it is not there."""
    assert _NAME.fullmatch(name), name
    if (Path("/run/netns") / name).exists():
        end_processes(name)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)
    shutil.rmtree(RESOLV_FOLDER / name, ignore_errors=True)
    if RESOLV_FOLDER.is_dir() and not any(RESOLV_FOLDER.iterdir()):
        RESOLV_FOLDER.rmdir()


def end_processes(name: str) -> None:
    """Kill what runs in a namespace, and wait until it is gone: a namespace lives as long as its last process."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True, timeout=20)
        pids = [int(word) for word in done.stdout.split() if int(word) != os.getpid()]
        if not any(_is_running(pid) for pid in pids):
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    """Tell whether a process still holds anything; a zombie waits for its parent only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    """Tell whether the process that a lab is named after runs: a Python, or else the number is another's by now."""
    try:
        return "python" in os.readlink(f"/proc/{pid}/exe") and _is_running(pid)
    except OSError:
        return False


def _write_sysctls(settings: tuple[str, ...]) -> None:
    for setting in settings:
        name, _, value = setting.partition("=")
        Path("/proc/sys/net", name).write_text(value)


def _run(*words: str, text: str = "") -> None:
    done = subprocess.run(words, input=text, text=True, capture_output=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
