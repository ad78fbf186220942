"""Findings about interfaces, forwarding and offloading: in a /proc and /sys of the test, and in a real namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.cli.doctor_network import (
    Places,
    check_forwarding,
    check_hardware,
    check_interfaces,
    find_addresses,
    read_openwrt_offloading,
    run_program,
)
from tests.netns.namespaces import run


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "sys/class/net").mkdir(parents=True)
    (tmp_path / "proc/net").mkdir(parents=True)
    return Places(str(tmp_path / "proc"), str(tmp_path / "sys"), str(tmp_path / "firewall"))


def write(root: str, path: str, text: str) -> None:
    file = Path(root) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def add_interface(places: Places, name: str, up: bool = True, address: str = "", below: str = "") -> Path:
    folder = Path(places.sys) / "class/net" / name
    write(places.sys, f"class/net/{name}/flags", f"{0x1002 | up:#x}\n")
    if below:
        (folder / f"lower_{below}").mkdir()
    if address:
        with open(f"{places.proc}/net/if_inet6", "a") as file:
            file.write(f"{address} 02 40 00 80 {name:>8}\n")
    return folder


GLOBAL = "fd000000000000000000000000000001"


def test_a_bridge_and_a_line(places: Places) -> None:
    add_interface(places, "gtestlan", address=GLOBAL)
    add_interface(places, "gtestwan", address=GLOBAL[:-1] + "2")
    findings = list(check_interfaces(["gtestlan"], ["gtestwan"], places))
    assert [finding.level for finding in findings] == [OK, OK]
    assert findings[0].message == "gtestlan is up: fd00::1"


def test_interfaces_that_are_not_there(places: Places) -> None:
    lan, wan = check_interfaces(["gtestlan"], ["gtestwan"], places)
    assert (lan.level, wan.level) == (FAIL, WARN)  # a line may come later
    assert "filter.lan" in lan.advice and "filter.wan" in wan.advice


def test_interfaces_that_are_down_or_without_an_address(places: Places) -> None:
    add_interface(places, "gtestlan", up=False)
    add_interface(places, "gtestwan")
    lan, wan = check_interfaces(["gtestlan"], ["gtestwan"], places)
    assert (lan.level, wan.level) == (WARN, WARN)
    assert "is down" in lan.message and "has no address" in wan.message


def test_a_port_of_a_bridge_is_the_wrong_name(places: Places) -> None:
    """What comes through it comes from the bridge: a filter on the port would see nothing."""
    add_interface(places, "br-lan", address=GLOBAL)
    port = add_interface(places, "gtestport")
    (port / "master").symlink_to("../br-lan")
    (finding,) = check_interfaces(["gtestport"], [], places)
    assert finding.level == FAIL
    assert finding.advice == "write 'br-lan' in 'filter.lan'"


def test_a_network_that_nobody_named(places: Places) -> None:
    """Guests' Wi-Fi over hardware is told; a container's bridge is not, nor an interface that is no network."""
    port = add_interface(places, "gtestwlan0")
    (port / "device").mkdir()
    (port / "master").symlink_to("../br-guest")
    add_interface(places, "br-guest", address=GLOBAL, below="gtestwlan0")
    add_interface(places, "docker0", address=GLOBAL, below="gtestveth0")
    add_interface(places, "gtestveth0")
    add_interface(places, "gtestdown", up=False, address=GLOBAL, below="gtestwlan0")
    add_interface(places, "gtestlan", address=GLOBAL)
    lan, guest = check_interfaces(["gtestlan"], [], places)
    assert lan.level == OK
    assert guest.level == WARN and guest.message.startswith("br-guest (fd00::1) is neither")


def test_forwarding_is_off(places: Places) -> None:
    write(places.proc, "sys/net/ipv4/ip_forward", "0\n")
    v4, v6 = check_forwarding(["a"], ["b"], places)
    assert v4.level == FAIL and "from a, b" in v4.message and "net.ipv4.ip_forward=1" in v4.advice
    assert v6.level == OK and "not forwarded" in v6.message


def test_forwarding_of_one_interface_is_off(places: Places) -> None:
    write(places.proc, "sys/net/ipv4/ip_forward", "1\n")
    write(places.proc, "sys/net/ipv4/conf/a/forwarding", "1\n")
    write(places.proc, "sys/net/ipv4/conf/b/forwarding", "0\n")
    v4, _ = check_forwarding(["a"], ["b"], places)
    assert v4.level == FAIL and "from b:" in v4.message


def test_a_router_with_all_that_there_can_be(places: Places) -> None:
    write(places.proc, "sys/net/ipv4/ip_forward", "1\n")
    write(places.proc, "sys/net/ipv6/conf/all/forwarding", "1\n")
    write(places.proc, "sys/net/ipv4/conf/a/rp_filter", "0\n")
    write(places.proc, "sys/net/bridge/bridge-nf-call-iptables", "1\n")
    write(places.proc, "sys/net/bridge/bridge-nf-call-ip6tables", "0\n")
    assert len(list(check_forwarding(["a"], ["b"], places))) == 3  # no bridge is there to look at
    (add_interface(places, "a") / "bridge").mkdir()
    v4, v6, source, bridge = check_forwarding(["a"], ["b"], places)
    assert (v4.level, v6.level, source.level, bridge.level) == (OK, OK, OK, WARN)
    assert "any source address is taken from a" in source.message
    assert "net.bridge.bridge-nf-call-iptables=0`" in bridge.advice and "ip6tables" not in bridge.advice


def test_strict_sources_and_bridges_without_netfilter_are_no_news(places: Places) -> None:
    write(places.proc, "sys/net/ipv4/ip_forward", "1\n")
    write(places.proc, "sys/net/ipv4/conf/all/rp_filter", "2\n")
    write(places.proc, "sys/net/bridge/bridge-nf-call-iptables", "0\n")
    assert [finding.level for finding in check_forwarding(["a"], ["b"], places)] == [OK, OK]


def test_a_makers_fast_path(places: Places) -> None:
    assert list(check_hardware([], places)) == []
    (Path(places.sys) / "module/shortcut_fe").mkdir(parents=True)
    (finding,) = check_hardware([], places)
    assert finding.level == FAIL and "rmmod shortcut_fe" in finding.advice


def test_hardware_of_an_interface(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of ethtool is what it prints on a card with the feature; the loopback has it fixed to off."""
    assert list(check_hardware(["lo"], places)) == []
    program = tmp_path / "bin/ethtool"
    write(str(tmp_path), "bin/ethtool", '#!/bin/sh\necho "Features for $2:"\necho "hw-tc-offload: on"\n')
    program.chmod(0o755)
    monkeypatch.setattr("guardian.cli.doctor_network.PROGRAM_PATH", str(program.parent))
    (finding,) = check_hardware(["eth0"], places)
    assert finding.level == WARN and finding.advice.startswith("`ethtool -K eth0 hw-tc-offload off`")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("config defaults\n\toption flow_offloading '1'\n\toption flow_offloading_hw '1'\n", 2),
        ("config defaults\n\toption 'flow_offloading' \"on\"\n", 1),
        ("config defaults\n\toption flow_offloading 1\n", 1),
        ("config defaults\n\toption flow_offloading '0'\n", 0),
        ("config defaults\n\t# option flow_offloading '1'\n", 0),
        ("config defaults\n\toption flow_offloading '10'\n", 0),
    ],
)
def test_openwrt_settings(places: Places, text: str, options: int) -> None:
    assert read_openwrt_offloading(places.firewall) == []
    Path(places.firewall).write_text(text)
    found = read_openwrt_offloading(places.firewall)
    assert found == ["flow_offloading", "flow_offloading_hw"][:options]


def test_a_program_that_is_not_there() -> None:
    assert run_program(["/nonexistent/program"]).returncode == 127
    assert run_program(["cat"], "text").stdout == "text"


@pytest.fixture
def namespace() -> Iterator[str]:
    """A router with a bridge of two ports towards the home and a line to the provider."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name = f"gdoctor{os.getpid()}"
    run(f"ip netns add {name}")
    for command in (
        "link add br-lan type bridge",
        "link add port0 type veth peer name far0",
        "link set port0 master br-lan up",
        "link set far0 up",
        "link add wan0 type veth peer name far1",
        "link set far1 up",
        "link set br-lan up",
        "address add 192.168.77.1/24 dev br-lan",
        "address add fd00:77::1/64 dev br-lan nodad",
        "link set wan0 up",
    ):
        run(f"ip -n {name} {command}")
    yield name
    run(f"ip netns delete {name}")


SCRIPT = """
import json
from guardian.cli.doctor_network import *
print(json.dumps([*check_interfaces(["br-lan", "port0"], ["wan0", "ppp0"]), *check_forwarding(["br-lan"], ["wan0"])]))
"""


def test_a_real_router(namespace: str) -> None:
    def look() -> list[Finding]:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [Finding(*fields) for fields in json.loads(done.stdout)]

    subprocess.run(
        ["ip", "netns", "exec", namespace, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"], check=True, timeout=20
    )
    findings = look()
    assert [finding.level for finding in findings[:5]] == [OK, FAIL, WARN, WARN, FAIL]
    assert findings[0].message == "br-lan is up: 192.168.77.1, fd00:77::1"
    assert findings[1].message.startswith("port0 is a part of br-lan")
    assert findings[2].message.startswith("wan0 has no address")
    run(f"ip -n {namespace} address add 203.0.113.2/24 dev wan0")
    switch = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
    subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", switch], check=True, timeout=20)
    findings = look()
    assert [finding.level for finding in findings[2:6]] == [OK, WARN, OK, OK]
    assert findings[5].message == "IPv6 is forwarded"


def test_the_loopback_has_its_address() -> None:
    assert find_addresses("lo")[0] == "127.0.0.1"
    assert find_addresses("gtestnone") == []
