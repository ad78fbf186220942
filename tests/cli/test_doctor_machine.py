"""Findings about the machine: on the real one where that can be, on the kernel's own lines where it can not."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from guardian.cli.doctor_machine import (
    FAIL,
    LAST_CLOCK,
    OK,
    WARN,
    check_clock,
    check_gateway_clock,
    check_memory,
    check_port,
    check_resolved,
    check_routers,
    find_holder,
    read_sockets,
)
from guardian.config import Endpoint

LAN = Endpoint("192.168.1.1", 53)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_taken_port_names_its_holder(host: str, protocol: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as holder:
        holder.bind((host, 0))
        if protocol == "tcp":
            holder.listen()
        endpoint = Endpoint(host, holder.getsockname()[1])
        finding = check_port(endpoint, protocol, "dns.listen")
        assert finding.level == FAIL
        assert f"(process {os.getpid()})" in finding.message
        assert "dns.listen" in finding.advice
        wildcard = Endpoint("::" if ":" in host else "0.0.0.0", endpoint.port)
        assert str(os.getpid()) in find_holder(wildcard, protocol)
        assert any(entry.port == endpoint.port and str(entry.address) == host for entry in read_sockets())
    free = check_port(endpoint, protocol, "dns.listen")
    assert (free.level, free.advice) == (OK, "")


def test_an_address_of_another_machine() -> None:
    finding = check_port(Endpoint("192.0.2.1", 5353), "udp", "dns.listen")
    assert finding.level == FAIL
    assert "192.0.2.1 is no address of this machine" in finding.message


def test_a_small_port_without_the_permission() -> None:
    if os.geteuid() != 0:
        finding = check_port(Endpoint("127.0.0.1", 1), "tcp", "block.page")
    else:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # drop to nobody in a process of its own
            os.setgid(65534)
            os.setuid(65534)
            finding = check_port(Endpoint("127.0.0.1", 1), "tcp", "block.page")
            os.write(write_end, f"{finding.level} {finding.advice}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        level, _, advice = os.read(read_end, 1000).decode().partition(" ")
        os.close(read_end)
        os.close(write_end)
        finding = check_port(Endpoint("127.0.0.1", 0), "tcp", "block.page")._replace(level=level, advice=advice)
    if finding.level == OK:
        pytest.skip("this system lets everybody bind small ports")
    assert finding.level == FAIL
    assert "CAP_NET_BIND_SERVICE" in finding.advice


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc to write into."""
    (tmp_path / "net").mkdir()
    return tmp_path


def test_systemd_resolved(proc: Path) -> None:
    assert list(check_resolved([LAN], str(proc))) == []
    # 127.0.0.53 as a little-endian machine prints it; turned round on a big-endian one.
    address = "3500007F" if sys.byteorder == "little" else "7F000035"
    (proc / "net/udp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        f"  12: {address}:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 4242 2 0 0\n"
    )
    assert [finding.level for finding in check_resolved([LAN], str(proc))] == [OK]
    (broken,) = check_resolved([Endpoint("0.0.0.0", 53)], str(proc))
    assert broken.level == FAIL
    assert "one by one" in broken.advice


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("MemTotal:  247000 kB\nMemAvailable:   180000 kB\n", OK),
        ("MemAvailable:    50000 kB\n", WARN),
        ("MemAvailable:    10000 kB\n", FAIL),
        ("MemTotal: 1 kB\n", WARN),
    ],
)
def test_memory(proc: Path, text: str, level: str) -> None:
    (proc / "meminfo").write_text(text)
    assert check_memory(str(proc)).level == level


def test_memory_of_this_machine_is_known() -> None:
    assert "MB of memory are available" in check_memory().message


@pytest.mark.parametrize(("now", "level"), [(0.0, FAIL), (999.0, FAIL), (1000.0, OK), (LAST_CLOCK + 1, FAIL)])
def test_clock(now: float, level: str) -> None:
    assert check_clock(now, 1000.0, "yesterday").level == level


ROUTES = (
    # fe80::1 announces itself on wlan0; a static default on eth1; a route that is no default; the loopback's
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 00000001 00000000 00450003    wlan0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000002 00000400 00000001 00000000 00000003     eth1\n"
    "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00400001    wlan0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)


def test_another_router_that_announces_ipv6(proc: Path) -> None:
    (proc / "net/ipv6_route").write_text(ROUTES)
    (finding,) = check_routers([LAN], (), str(proc))
    assert finding.level == WARN
    assert "fe80::1 announces IPv6 on wlan0" in finding.message
    assert list(check_routers([LAN], ("wlan0",), str(proc))) == []
    assert list(check_routers([Endpoint("127.0.0.1", 53)], (), str(proc))) == []


def test_the_routes_of_this_machine_can_be_read() -> None:
    assert all(finding.level == WARN for finding in check_routers([LAN], ()))


def test_a_gateway_that_does_not_know_the_time() -> None:
    assert list(check_gateway_clock(None)) == []
    assert list(check_gateway_clock({"state": "set", "doubt": "", "now": 0.0})) == []
    (waiting,) = check_gateway_clock({"state": "waiting", "doubt": "not-set", "now": 0.0})
    assert (waiting.check, waiting.level) == ("time", WARN)
    assert "hours or minutes are closed" in waiting.message
    (lost,) = check_gateway_clock({"state": "by-memory", "doubt": "not-set", "now": 1_795_440_600.0})
    assert lost.level == FAIL
    assert "2026-11-23 13:30 UTC" in lost.message
    assert "port 123" in lost.advice
