"""Guardian with its flow filter on one of the bench's routers: children, the starter lists, history on."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.ends import placed
from bench.load import WORK, cores
from bench.peers import MEGABYTE
from bench.routers import DEVICES, LAN, Router
from guardian.catalogue import load_catalogue
from guardian.catalogue.starter import compile_starter
from guardian.control import send
from guardian.errors import GuardianError

QUEUE = 53
START_LIMIT = 30.0  # seconds
STRICT_ADDRESS = "10.99.0.2"  # of a device that only asks for names
PLAIN_ADDRESS = "10.99.0.3"  # the same, of a child that is not strict


class Cpu(NamedTuple):
    """Processor time of a process, in seconds: `total` is exact, `user` of it as the kernel samples it."""

    user: float
    system: float
    total: float

    def since(self, before: Cpu) -> Cpu:
        """Return what was used after `before`; the exact sum, in the proportion of the samples."""
        user, system = self.user - before.user, self.system - before.system
        total = self.total - before.total
        share = user / (user + system) if user + system else 0.0
        return Cpu(total * share, total * (1 - share), total)


class FilteringGateway:
    """`guardian gateway` on a router, on a core of its own. A context manager."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.folder = WORK / "filtering"
        self.config = self.folder / "guardian.yaml"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        """Write configuration, household and the image of the starter lists, anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        lists = self.folder / "state" / "lists"
        lists.mkdir(parents=True)
        image = compile_starter(load_catalogue(), secrets.token_bytes(16), time.time()).to_bytes()
        (lists / "guardian.image").write_bytes(image)
        household = self.folder / "household.yaml"
        household.write_text(make_household(self.router))
        self.config.write_text(
            f"""\
state: {self.folder / "state"}
household: {household}
dns:
  listen: ["{self.router.gateway}:53"]
  clients: [10.0.0.0/8]
  rate_limit: 0
upstreams:
  servers: ["udp://{self.router.server}:53"]
block:
  page: ["{self.router.gateway}:80"]
filter:
  enabled: yes
  lan: [{LAN}]
  wan: [wan]
  quic: inspect
  queue: {QUEUE}
"""
        )

    def __enter__(self) -> FilteringGateway:
        self.write()
        command = ["ip", "netns", "exec", self.router.namespace]
        command += [sys.executable, "-m", "guardian", "gateway", "--config", str(self.config)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(placed(cores()[1], command), stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                self.status()
            except GuardianError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    raise SystemExit(f"the gateway does not start:\n{self.log()}") from None
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process id: `nice`, `taskset` and `ip netns exec` become what they run."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the gateway has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """Return what `guardian status` tells. Raises GuardianError."""
        return send(str(self.folder / "state" / "control.sock"), "status")

    def cpu(self) -> Cpu:
        """Return the processor time so far."""
        total = time.clock_gettime((~self.pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK in the kernel's posix-timers.h
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        tick = os.sysconf("SC_CLK_TCK")
        return Cpu(int(fields[11]) / tick, int(fields[12]) / tick, total)

    def private_mb(self) -> float:
        """Return the memory that no other process could share, in MB of 10^6 bytes."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_")) / MEGABYTE

    def queued(self) -> int:
        """Return how many packets the kernel has handed to user space: the queue's own counter of ids."""
        for line in self.router.run("cat", "/proc/net/netfilter/nfnetlink_queue").splitlines():
            fields = [int(word) for word in line.split()]
            if fields[0] == QUEUE:
                return fields[7]
        raise SystemExit(f"the kernel has no queue {QUEUE}: does the gateway run?\n{self.log()}")


def make_household(router: Router) -> str:
    """Return a household: all devices of the client belong to a child, and so do two that only ask for names.

    Bedtime is half a day away from now, so that `until` is at work and no run falls into it.
    """
    hour = (time.gmtime().tm_hour + 12) % 24
    macs = ", ".join(f'"{router.mac(device)}"' for device in range(DEVICES))
    return f"""\
timezone: UTC
new_devices: child
profiles:
  child:
    age: 7-9
    offline: ["daily {hour:02}:00-{hour:02}:59"]
    minutes: unlimited
    allow_list_only: no
    strict: no
    block: [blocked.example, "*.rule.example"]
    services: {{tiktok: block, youtube: allow}}
    safe_search: yes
    youtube: strict
    bypass_protection: yes
    visibility: names
  careful:
    age: 7-9
    offline: ["daily {hour:02}:00-{hour:02}:59"]
    minutes: unlimited
    allow_list_only: no
    strict: yes
    bypass_protection: yes
    visibility: names
devices:
  childs: {{profile: child, macs: [{macs}]}}
  asks: {{profile: child, addresses: [{PLAIN_ADDRESS}]}}
  asks-strictly: {{profile: careful, addresses: [{STRICT_ADDRESS}]}}
"""
