"""Other programs of DNS on the same machine: none loses its port to Guardian, and the machine keeps its names.

One machine for all, in the order of this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.debian.conftest import resolves, start
from tests.deploy.debian.container import Container, machine
from tests.deploy.debian.street import PI, PI_ADDRESS, ROUTER, ROUTER_ADDRESS, SITE, Street, street

pytestmark = pytest.mark.vm

_APT = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"


@pytest.fixture(scope="module")
def made_road(
    base: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Container, Street]]:
    folder = tmp_path_factory.mktemp("coexistence")
    layers = [installed, base]
    # A second interface for the modes that need one; the tablet is asked from the router's place.
    with (
        street(folder / "street", behind=True) as road,
        machine("gd-others", PI, layers, folder / "disk", boot=False) as made,
    ):
        start(made, road)
        yield made, road


@pytest.fixture
def made(made_road: tuple[Container, Street]) -> Container:
    return made_road[0]


@pytest.fixture
def road(made_road: tuple[Container, Street]) -> Street:
    return made_road[1]


_LOOK = (
    "cat /etc/resolv.conf",
    "ls -R /etc/guardian /etc/systemd/system",
    "sha256sum /etc/guardian/guardian.yaml",
    "nft list ruleset",
    "ip -br address | sort",
    "cat /proc/sys/net/ipv4/ip_forward",
    "systemctl list-units --no-pager --plain --no-legend 'guardian*'",
)


def look(made: Container) -> str:
    """Return what a setup that changes nothing must leave as it is."""
    return made.run("; ".join(_LOOK)).stdout


def test_dnsmasq_on_all_addresses_is_named_and_left_alone(made: Container) -> None:
    made.run(f"{_APT} dnsmasq && systemctl restart dnsmasq")
    before = look(made)
    refused = made.run("guardian-setup dns-only --yes", check=False)
    assert refused.returncode == 1
    assert f"in the way: {PI_ADDRESS} port 53 belongs to dnsmasq (process " in refused.stderr
    assert "do: sudo systemctl disable --now dnsmasq" in refused.stderr
    assert refused.stderr.endswith("nothing was changed\n")
    assert look(made) == before
    assert made.run("systemctl is-active dnsmasq").stdout == "active\n"
    assert resolves(made)
    made.run("systemctl disable --now dnsmasq; apt-get purge -y dnsmasq")
    (made.root / "etc/resolv.conf").write_text(f"nameserver {ROUTER_ADDRESS}\n")


def test_unbound_on_loopback_goes_on(made: Container, road: Street) -> None:
    made.run(f"{_APT} unbound")
    made.run("systemctl restart unbound")
    made.run("guardian-setup dns-only --yes")
    holders = made.run("ss -Hlntup 'sport = :53'").stdout
    assert "127.0.0.1:53" in holders
    assert "unbound" in holders
    assert "guardian" in holders or "python3" in holders
    assert road.ask(ROUTER, PI_ADDRESS, "allowed.example") == [SITE]
    made.run("guardian-setup undo; apt-get purge -y unbound")
    assert road.ask(ROUTER, PI_ADDRESS, "allowed.example") == []
    assert resolves(made)


def test_web_server_on_port_80_costs_the_page_only(made: Container, road: Street) -> None:
    made.run("systemd-run --unit=pages python3 -m http.server --directory /srv 80")
    made.run("for _ in $(seq 50); do ss -Hlnt 'sport = :80' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    told = made.run("guardian-setup dns-only --yes").stdout
    assert "note: port 80 belongs to python3 (process " in told
    assert road.ask(ROUTER, PI_ADDRESS, "mandatory.guardian.test") == []
    assert road.ask(ROUTER, PI_ADDRESS, "allowed.example") == [SITE]
    made.run("guardian-setup undo; systemctl stop pages")


def test_access_point_without_a_radio_is_taken_back_whole(made: Container) -> None:
    """hostapd reads the file, and fails at the interface that is none: everything must be as before."""
    (made.root / "root/password").write_text("mere verzi acre 7\n")
    words = "guardian-setup access-point --lan eth1 --ssid 'Casa noastră' --password-file password --yes"
    refused = made.run(words, check=False)
    assert refused.returncode == 1
    assert "sudo apt install hostapd" in refused.stderr
    made.run(f"{_APT} hostapd")
    before = look(made)
    failed = made.run(words, check=False)
    assert failed.returncode == 1
    assert "guardian-wifi.service" in failed.stderr
    assert "Everything is as before." in failed.stderr
    assert look(made) == before
    log = made.log("guardian-wifi.service")
    assert "eth1" in log
    assert "errors found in configuration file" not in log
    made.run("apt-get purge -y hostapd")


def test_setup_asks_the_internet_first(made: Container) -> None:
    before = look(made)
    refused = made.run("guardian-setup dns-only --yes --upstream 203.0.113.99", check=False)
    assert refused.returncode == 1
    assert "in the way: " in refused.stderr
    assert "203.0.113.99" in refused.stderr
    wrong = made.run("guardian-setup dns-only --yes --upstream tls://quad9", check=False)
    assert wrong.returncode == 1
    assert "/etc/guardian/guardian.yaml:" in wrong.stderr
    assert look(made) == before


def test_gateway_becomes_dns_only_and_back(made: Container) -> None:
    made.run("guardian-setup gateway --yes")
    assert "table ip guardian_nat" in made.run("nft list tables").stdout
    made.run("guardian-setup dns-only --yes")
    tables = made.run("nft list tables").stdout
    assert "guardian" not in tables
    assert made.run("systemctl is-enabled guardian-lan guardian-dhcp", check=False).stdout == "disabled\ndisabled\n"
    assert made.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "0\n"
    assert not made.run("ls /etc/systemd/system/guardian-gateway.service.d", check=False).stdout
    made.run("guardian-setup undo")


def test_systemd_resolved_keeps_its_place(made: Container, road: Street) -> None:
    made.run(f"{_APT} systemd-resolved && systemctl restart systemd-resolved && resolvectl dns eth0 {ROUTER_ADDRESS}")
    assert "127.0.0.53" in made.run("cat /etc/resolv.conf").stdout
    assert resolves(made)
    made.run("guardian-setup dns-only --yes")
    assert resolves(made)
    assert road.ask(ROUTER, PI_ADDRESS, "allowed.example") == [SITE]
    assert "127.0.0.53%lo:53" in made.run("ss -Hlnu 'sport = :53'").stdout
    # The router now tells everybody to ask the Pi, and Guardian goes.
    made.run(f"resolvectl dns eth0 {PI_ADDRESS}; resolvectl flush-caches")
    assert resolves(made)
    told = made.run("apt-get purge -y guardian 2>&1", seconds=300).stdout
    assert "until its next lease it asks 9.9.9.9" in told
    made.run("resolvectl flush-caches")
    assert resolves(made)
