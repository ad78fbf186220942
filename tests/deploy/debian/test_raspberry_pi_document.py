"""`docs/raspberry-pi.md`, followed literally on a bare Debian machine: both modes that need no radio, from the
installation to the purge."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.debian.conftest import resolves, start
from tests.deploy.debian.container import Container, machine
from tests.deploy.debian.document import DOCUMENT, fits, mask, read_sections, type_section
from tests.deploy.debian.street import PI, PI_ADDRESS, ROUTER, SITE, TABLET, Street, inside, run, street

WAYS = ("See it work", "Living with it", "Take it off")
LEASE = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
echo "$dns" >"$0.dns"
"""
_LEFT = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /var/lib/dpkg -o -path /var/log \) -prune -o "
    "-iname '*guardian*' -print"
)
HOUSEHOLD = """\
timezone: Europe/Chisinau
language: en
profiles:
  ana: {name: Ana, age: 10-12, offline: [], minutes: unlimited, block: [blocked.example]}
devices:
  tablet: {name: Tablet, profile: ana, macs: ["MAC"]}
"""


def test_document_is_read_whole() -> None:
    sections = read_sections()
    assert set(sections) >= {"Install", "DNS only", "Gateway", *WAYS}
    assert sum(map(len, sections.values())) >= 10
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written.count("\n$ ") == sum(map(len, sections.values()))
    assert mask("3. code ABCDE-FGHJK") == mask("3. code 23456-789AB") != mask("3. code")
    assert fits(["a", "...", "b"], ["a", "x", "b"])
    assert not fits(["a", "...", "b"], ["a", "x"])


@pytest.fixture
def beside(base: Path, installed: Path, tmp_path: Path) -> Iterator[tuple[Container, Street]]:
    """The Pi beside the home's devices."""
    layers, disk = [installed, base], tmp_path / "machine"
    with street(tmp_path / "street") as road, machine("gd-beside", PI, layers, disk, boot=False) as made:
        start(made, road)
        yield made, road


@pytest.fixture
def between(base: Path, installed: Path, tmp_path: Path) -> Iterator[tuple[Container, Street]]:
    """The Pi between the router and the home's devices."""
    layers, disk = [installed, base], tmp_path / "machine"
    with street(tmp_path / "street", behind=True) as road, machine("gd-between", PI, layers, disk, boot=False) as made:
        start(made, road)
        yield made, road


def assert_gone(made: Container) -> None:
    """No file, no rule, no process of Guardian's is left, and the machine has its names."""
    assert made.run(_LEFT).stdout == ""
    assert "guardian" not in made.run("nft list tables").stdout
    assert not made.run("pgrep -af guardian | grep -v pgrep || true").stdout
    assert resolves(made)


def test_dns_only(beside: tuple[Container, Street]) -> None:
    made, road = beside
    sections = read_sections()
    before = made.run("cat /etc/resolv.conf; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward").stdout
    type_section(made, road, sections["DNS only"])
    assert resolves(made)
    assert made.run("cat /etc/resolv.conf; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward").stdout == before
    type_section(made, road, sections["See it work"])
    page = road.fetch(
        TABLET, "http://mandatory.guardian.test/", "--resolve", f"mandatory.guardian.test:80:{PI_ADDRESS}"
    )
    assert page.stdout.endswith("\n451"), page.stdout
    type_section(made, road, sections["Living with it"])
    type_section(made, road, sections["Take it off"])
    assert_gone(made)


def test_gateway(between: tuple[Container, Street], tmp_path: Path) -> None:
    made, road = between
    sections = read_sections()
    type_section(made, road, sections["Gateway"])
    assert resolves(made)
    script = tmp_path / "lease"
    script.write_text(LEASE)
    script.chmod(0o755)
    lease = inside(TABLET, "busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", str(script))
    done = subprocess.run(lease, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert script.with_suffix(".dns").read_text() == "192.168.77.1\n"
    type_section(made, road, sections["See it work"])
    through = road.fetch(TABLET, "http://allowed.example/", "--resolve", f"allowed.example:80:{SITE}")
    assert through.stdout == "a page of the internet\n\n200"
    # A child's device. Not only names: another DNS server answers as Guardian does, a connection is judged by its name.
    mac = inside(TABLET, "cat", "/sys/class/net/eth0/address")
    household = HOUSEHOLD.replace("MAC", run(*mac).strip())
    (made.root / "home/pi/home.yaml").write_text(household)
    made.run("sudo guardian household import home.yaml", user="pi")
    assert made.run("find /var/lib/guardian /run/guardian ! -user guardian").stdout == ""
    assert road.ask(TABLET, "192.168.77.1", "blocked.example") == ["192.168.77.1"]
    assert road.ask(TABLET, "9.9.9.9", "blocked.example") == ["192.168.77.1"]
    stopped = road.fetch(TABLET, "http://blocked.example/", "--resolve", f"blocked.example:80:{SITE}")
    assert not stopped.stdout.endswith("\n200")
    assert road.fetch(TABLET, "http://allowed.example/", "--resolve", f"allowed.example:80:{SITE}").stdout.endswith(
        "200"
    )
    # Whoever is on the other side gets nothing of what listens for the home.
    run("ip", "-n", ROUTER, "route", "add", "192.168.77.1/32", "via", PI_ADDRESS)
    assert road.ask(ROUTER, "192.168.77.1", "allowed.example") == []
    assert road.fetch(ROUTER, "http://192.168.77.1:8080/").stdout.endswith("\n000")
    # The adapter is pulled out and put in again.
    run("ip", "-n", PI, "link", "set", "eth1", "down")
    run("ip", "-n", PI, "address", "flush", "dev", "eth1")
    made.run(
        "for _ in $(seq 50); do ip -br address show dev eth1 | grep -q 192.168.77.1 && exit 0; sleep 0.1; done; exit 1"
    )
    type_section(made, road, sections["Living with it"])
    type_section(made, road, sections["Take it off"])
    assert_gone(made)
    assert made.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "0\n"
    assert "192.168.77.1" not in made.run("ip address").stdout
