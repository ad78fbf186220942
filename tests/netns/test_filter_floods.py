"""What happens when there is too much: a flood of new flows, a full queue, a full connection table."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.device import Device
from tests.netns.lab.home import Lab, World
from tests.netns.namespaces import inside

BLOCKED = plan.SITES["blocked.example"]
STREAM = "https://video.open.example/stream"


@pytest.fixture
def lab(world: World, tmp_path: Path) -> Iterator[Lab]:
    with world.protected(tmp_path, filter=True) as lab:
        yield lab


def is_filtered(device: Device) -> bool:
    """Whether a blocked site is out of reach, by an address that was written down."""
    return not device.fetch("https://blocked.example/", resolve={BLOCKED.name: BLOCKED.four}, timeout=1.5).ok


_FLOOD = """
import os, socket, struct, sys, time
kind, gateway_mac, source, target, seconds = sys.argv[1], sys.argv[2], *sys.argv[3:5], float(sys.argv[5])
mac = open("/sys/class/net/eth0/address").read().strip()
pack = lambda text: bytes.fromhex(text.replace(":", ""))
ethernet = pack(gateway_mac) + pack(mac) + b"\\x08\\x00"
four = lambda text: socket.inet_aton(text)

def sum16(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~((total >> 16) + total) & 0xFFFF

def frame(number):
    port, target_port = 1024 + number % 60000, 1024 + number // 60000
    if kind == "syn":
        protocol, body = 6, struct.pack(">HHIIBBHHH", port, target_port, number, 0, 0x50, 2, 1024, 0, 0)
    else:
        protocol, body = 17, struct.pack(">HHHH", port, target_port, 16, 0) + b"flooding"
    if kind == "syn":
        pseudo = four(source) + four(target) + struct.pack(">BBH", 0, protocol, len(body))
        body = body[:16] + struct.pack(">H", sum16(pseudo + body)) + body[18:]
    size, ends = 20 + len(body), four(source) + four(target)
    head = struct.pack(">BBHHHBBH8s", 0x45, 0, size, number & 0xFFFF, 0, 64, protocol, 0, ends)
    return ethernet + head[:10] + struct.pack(">H", sum16(head)) + head[12:] + body

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
    out.bind(("eth0", 0))
    print("floods", flush=True)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(100):
            try:
                out.send(frame(number))
            except OSError:
                pass
            number += 1
    print(number)
"""


@contextlib.contextmanager
def flood(device: Device, kind: str, seconds: float, target: str = "") -> Iterator[subprocess.Popen[str]]:
    """New flows from one device, as many as it can send."""
    words = [sys.executable, "-c", _FLOOD, kind, plan.MACS["router"], device.four]
    words += [target or plan.SITES["www.open.example"].four, str(seconds)]
    with subprocess.Popen(device.command(*words), stdout=subprocess.PIPE, text=True) as sender:
        try:
            assert sender.stdout is not None and sender.stdout.readline() == "floods\n"
            yield sender
        finally:
            sender.kill()


@pytest.mark.parametrize("kind", ["syn", "udp"])
def test_a_flood_from_one_device_is_its_own_trouble(lab: Lab, kind: str) -> None:
    lab.on("router", "conntrack", "-F")
    before = lab.guardian.status()["filter"]["packets"]
    with lab.phone.download(STREAM) as running:
        running.wait_for_more(1_000)
        with flood(lab.stranger, kind, 8.0) as sender:
            for _ in range(5):
                fetched = lab.tablet.fetch("https://www.open.example/")
                assert fetched.ok, fetched
                assert is_filtered(lab.tablet)
            running.wait_for_more(1_000)
            told, _ = sender.communicate(timeout=30)
    status = lab.guardian.status()["filter"]
    print(f"{kind}: {told.strip()} packets sent, {status['packets'] - before} judged, {status}")
    assert 0 < status["packets"] - before < int(told)
    assert status["queue"]["errors"] == 0
    lab.on("router", "conntrack", "-F")
    assert lab.stranger.fetch("https://www.open.example/", timeout=20).ok
    assert lab.tablet.fetch("https://www.open.example/").ok and is_filtered(lab.tablet)


def test_a_full_queue(lab: Lab) -> None:
    """The gateway gets no processor for a second, while one device floods: packets are lost, no decision is."""
    with lab.phone.download(STREAM) as running:
        running.wait_for_more(1_000)
        os.kill(lab.guardian.pid, signal.SIGSTOP)
        try:
            with flood(lab.stranger, "syn", 1.0) as sender:
                sender.wait(20)
        finally:
            os.kill(lab.guardian.pid, signal.SIGCONT)
        running.wait_for_more(1_000)
        wait_for(lambda: lab.guardian.status()["filter"]["queue"]["waiting"] == 0)
        status = lab.guardian.status()["filter"]
        print(status)
        assert status["queue"]["kernel_dropped"] + status["queue"]["user_dropped"] > 0
        assert lab.tablet.fetch("https://www.open.example/").ok and is_filtered(lab.tablet)
        assert "the gateway listens on queue" in lab.command("doctor").stdout


def test_a_full_connection_table(lab: Lab) -> None:
    """One device fills it, by datagrams to the router itself: those are no business of the filter."""
    router = lab.network.name("router")
    folder = Path("/proc/sys/net/netfilter")
    size, before = (folder / "nf_conntrack_max").read_text(), inside(router, (folder / "nf_conntrack_max").read_text)
    with contextlib.suppress(PermissionError):  # this kernel has one size for all namespaces
        inside(router, lambda: (folder / "nf_conntrack_max").write_text("2048"))
    most = int(inside(router, (folder / "nf_conntrack_max").read_text))
    if most > 600_000:
        pytest.skip(f"the kernel's connection table has {most:,} places, the same for all namespaces: too many to fill")
    try:
        with lab.tablet.download(STREAM) as running:
            running.wait_for_more(1_000)
            with flood(lab.stranger, "udp", 30.0, plan.home4("router")) as sender:
                wait_for(lambda: count_flows(lab) >= most * 0.95, seconds=30)
                running.wait_for_more(1_000)  # its place is taken already
                told = lab.command("doctor").stdout
                sender.kill()
            print(re.findall(r".*places for connections.*", told), lab.guardian.status()["filter"])
            assert re.search(rf"of {most:,} places for connections are taken \((8[1-9]|9\d|100) %\)", told)
            assert lab.guardian.status()["filter"]["problem"] == ""
            running.wait_for_more(1_000)
    finally:
        if most != int(size):
            inside(router, lambda: (folder / "nf_conntrack_max").write_text(before))
        lab.on("router", "conntrack", "-F")
    assert (folder / "nf_conntrack_max").read_text() == size
    assert lab.tablet.fetch("https://www.open.example/").ok and is_filtered(lab.tablet)


def count_flows(lab: Lab) -> int:
    return int(inside(lab.network.name("router"), Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text))
