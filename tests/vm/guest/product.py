"""Guardian in the emulated machine: gateway and console as processes, what they cost, and what the kernel says."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = "/srv/guardian/guardian.yaml"
SOCKET = "/run/guardian/control.sock"
_running: dict[str, subprocess.Popen[bytes]] = {}
_cpu_of_start: list[float] = []


def set_clock(now: float) -> None:
    """Set the wall clock, epoch seconds: not every kernel reads the emulated one."""
    time.clock_settime(time.CLOCK_REALTIME, now)


def start(name: str, *words: str, namespace: str = "") -> None:
    """Start a program; its log is /tmp/NAME.log."""
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    with open(f"/tmp/{name}.log", "ab") as log:
        _running[name] = subprocess.Popen(
            [*prefix, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/srv"
        )


def start_internet() -> None:
    """Start the servers of the namespace `internet`, and wait for them."""
    start("internet", sys.executable, "-m", "tests.vm.guest.servers", namespace="internet")
    _wait(lambda: os.path.exists("/tmp/internet"), 60)


def start_gateway(config: str = CONFIG, seconds: float = 240.0) -> float:
    """Start the gateway; return the seconds until it says that it runs."""
    os.makedirs("/run/guardian", exist_ok=True)
    began = time.monotonic()
    start("gateway", sys.executable, "-m", "guardian", "gateway", "--config", config)
    wait_for_gateway(seconds)
    return time.monotonic() - began


def wait_for_gateway(seconds: float = 240.0) -> None:
    """Wait until the gateway answers on its control socket. Raises RuntimeError."""
    from guardian.control import send
    from guardian.errors import GuardianError

    def is_up() -> bool:
        if (code := _running["gateway"].poll()) is not None:
            raise RuntimeError(f"the gateway ended with {code}: {log_of('gateway')[-2000:]}")
        try:
            return bool(send(SOCKET, "status"))
        except GuardianError:
            return False

    _wait(is_up, seconds)


def start_to_first_answer(device: str, name: str, config: str = CONFIG) -> float:
    """Start the gateway; return the seconds until it refuses a listed name (NXDOMAIN or another address)."""
    from tests.vm.guest.clients import ask

    os.makedirs("/run/guardian", exist_ok=True)
    began = time.monotonic()
    start("gateway", sys.executable, "-m", "guardian", "gateway", "--config", config)
    while time.monotonic() - began < 240:
        if _running["gateway"].poll() is not None:
            raise RuntimeError(f"the gateway ended: {log_of('gateway')[-2000:]}")
        answer = ask(device, name, seconds=0.2)
        if answer["code"] in (0, 3):
            seconds = time.monotonic() - began
            _cpu_of_start.append(cpu_seconds("gateway"))
            wait_for_gateway()
            return seconds
    raise RuntimeError("no answer in 240 s")


def cpu_seconds(name: str) -> float:
    """Return the processor time of a process so far, user and system: its own clock (see posix-timers.h)."""
    return time.clock_gettime((~_running[name].pid << 3) | 2)


def cpu_of_start() -> float:
    """Return the processor time that the gateway had used when it gave its first answer, at its last start."""
    return _cpu_of_start[-1]


def start_console(config: str = CONFIG, seconds: float = 240.0) -> float:
    """Start the console; return the seconds until its port takes connections."""
    import socket

    began = time.monotonic()
    start("web", sys.executable, "-m", "guardian", "web", "--config", config)

    def is_up() -> bool:
        if (code := _running["web"].poll()) is not None:
            raise RuntimeError(f"the console ended with {code}: {log_of('web')[-2000:]}")
        try:
            with socket.create_connection(("10.9.0.1", 8080), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 10.9.0.1\r\nConnection: close\r\n\r\n")
                return connection.recv(100).startswith(b"HTTP/1.1 ")
        except OSError:
            return False

    _wait(is_up, seconds)
    return time.monotonic() - began


def stop(name: str, seconds: float = 60.0) -> int:
    """End a program as a service manager does; return its exit code."""
    process = _running.pop(name)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return process.wait(seconds)


def kill(name: str) -> None:
    """End a program as a power cut does."""
    process = _running.pop(name)
    process.kill()
    process.wait(10)


def log_of(name: str) -> str:
    """Return what a program has logged."""
    path = Path(f"/tmp/{name}.log")
    return path.read_text(errors="replace") if path.exists() else ""


def control(verb: str, **arguments: Any) -> dict[str, Any]:
    """Use the gateway's control socket."""
    from guardian.control import send

    return send(SOCKET, verb, **arguments)


def timed_control(verb: str, **arguments: Any) -> float:
    """Use it; return the moment before (CLOCK_MONOTONIC)."""
    began = time.monotonic()
    control(verb, **arguments)
    return began


def command(words: list[str], given: str = "", timeout: float = 120.0) -> dict[str, Any]:
    """Run `guardian ...` to its end."""
    from tests.vm.guest.agent import run

    return run([sys.executable, "-m", "guardian", *words, "--config", CONFIG], timeout, given)


def timed_import(text: str) -> float:
    """Put another household in force; return the moment when the command was done (CLOCK_MONOTONIC)."""
    path = Path("/tmp/household.yaml")
    path.write_text(text)
    done = command(["household", "import", str(path)])
    if done["code"] != 0:
        raise RuntimeError(f"not imported: {done}")
    return time.monotonic()


def restart_gateway(config: str) -> None:
    """End the gateway if one runs, and start it with these settings; "" = none runs after that."""
    if "gateway" in _running and (code := stop("gateway")) != 0:
        raise RuntimeError(f"the gateway ended with {code}: {log_of('gateway')[-2000:]}")
    if config:
        start_gateway(config)


def memory_of(name: str) -> dict[str, float]:
    """Return what a process has, in MB of 10^6 bytes; `private` leaves out the mapped images."""
    process = _running[name].pid
    sums = dict.fromkeys(("Rss", "Pss", "Private", "Swap"), 0)
    mapped = 0
    is_image = False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_image = line.endswith((".image", ".table"))
            continue
        kind = "Private" if words[0] in ("Private_Clean:", "Private_Dirty:") else words[0][:-1]
        if kind in sums and len(words) > 1:
            sums[kind] += int(words[1]) * 1024
            if kind == "Private" and is_image:
                mapped += int(words[1]) * 1024
    return {
        "rss": sums["Rss"] / 1e6,
        "pss": sums["Pss"] / 1e6,
        "private": (sums["Private"] - mapped) / 1e6,
        "mapped": mapped / 1e6,
        "swap": sums["Swap"] / 1e6,
    }


def machine_facts() -> dict[str, Any]:
    """Return memory of the machine in MB, swap devices, and the kernel's words about memory that ran out."""
    info = dict(re.findall(r"^(\w+):\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE))
    kernel = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return {
        "total": int(info["MemTotal"]) * 1024 / 1e6,
        "available": int(info["MemAvailable"]) * 1024 / 1e6,
        "swap_total": int(info["SwapTotal"]),
        "oom_kills": int(counters["oom_kill"]),
        "out_of_memory": [line for line in kernel.splitlines() if "ut of memory" in line or "oom-kill" in line],
        "model": os.uname().release,
    }


def flows(port: int = 443) -> list[dict[str, Any]]:
    """Return the flows to a port as connection tracking shows them: source port, mark, offloaded or not, packets."""
    found = []
    for family in ("ipv4", "ipv6"):
        words = ["conntrack", "-L", "-f", family, "-p", "tcp", "--orig-port-dst", str(port)]
        listed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
        for line in listed.splitlines():
            fields = re.findall(r"(\w+)=(\S+)", line)
            first = dict(reversed(fields))
            mark = int(first["mark"]) if "mark" in first else 0
            found.append(
                {
                    "family": 6 if family == "ipv6" else 4,
                    "port": int(next(value for key, value in fields if key == "sport")),
                    "state": mark & 3,
                    "slot": mark >> 24,
                    "offloaded": "[OFFLOAD]" in line,
                    "bytes": sum(int(value) for key, value in fields if key == "bytes"),
                    "packets": sum(int(value) for key, value in fields if key == "packets"),
                }
            )
    return found


def ruleset() -> str:
    """Return Guardian's table as nft lists it."""
    return subprocess.run(["nft", "list", "table", "inet", "guardian"], capture_output=True, text=True).stdout


def time_slow_hash(rounds: int = 3) -> list[float]:
    """Return seconds that the hotline's slow hash took, each of `rounds` times, at the cost of real feeds."""
    from guardian.blocklist.feed_base import STANDARD, derive_key

    taken = []
    for number in range(rounds):
        salt = hashlib.sha256(bytes([number])).digest()
        began = time.perf_counter()
        derive_key(b"\x07example\x03com", salt, STANDARD)
        taken.append(time.perf_counter() - began)
    return taken


def _wait(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not come true in {seconds} s")
        time.sleep(0.05)
