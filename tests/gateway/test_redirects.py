"""Queries to foreign DNS servers are counted once each, by device, from real connection tracking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from guardian.filter.conntrack import Conntrack
from guardian.gateway.redirects import RedirectCounter
from tests.netns.namespaces import inside, run

DEVICES = {1: "tablet", 2: "phone"}
RULES = """table inet watch {
    chain output {
        type filter hook output priority 0;
        udp sport 24001-24009 ct mark set 0x01000008
        udp sport 24011-24019 ct mark set 0x02000008
        udp sport 24021-24029 ct mark set 0x02000001
        udp sport 24031-24039 ct mark set 0x09000008
    }
}"""


@pytest.fixture
def namespace() -> Iterator[str]:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        pytest.skip("needs root and nft to make a network namespace with rules")
    name = f"grd{os.getpid()}"
    run(f"ip netns add {name}")
    try:
        run(f"ip -n {name} link set lo up")
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=RULES, text=True, check=True, timeout=20)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def send(*ports: int) -> None:
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            endpoint.bind(("127.0.0.1", port))
            endpoint.sendto(b"query", ("127.0.0.1", 53))


def test_each_flow_counts_once_for_its_device(namespace: str) -> None:
    def act() -> list[Counter[str]]:
        with contextlib.closing(Conntrack.open()) as conntrack:
            counter = RedirectCounter(conntrack)
            counts = [asyncio.run(counter.sample(DEVICES))]
            send(24001, 24002, 24011, 24021, 24031)
            counts.append(asyncio.run(counter.sample(DEVICES)))
            counts.append(asyncio.run(counter.sample(DEVICES)))
            send(24002, 24003)
            counts.append(asyncio.run(counter.sample(DEVICES)))
            return counts

    counts = inside(namespace, act)
    assert counts == [Counter(), Counter(tablet=2, phone=1), Counter(), Counter(tablet=1)]
