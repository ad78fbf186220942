"""Whose flow it is: known by the MAC, whatever the address; by the household that holds now; and strangers are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from guardian.store.history_read import Attempt, HistoryReader
from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.device import Device
from tests.netns.lab.home import Lab, World, child, household

BLOCKED = plan.SITES["blocked.example"]
STREAM = "https://video.open.example/stream"
PRIVACY = ("2001:db8:1077::1:a1", "2001:db8:1077::1:a2")
OTHER4 = "10.77.0.111"


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with world.protected(tmp_path_factory.mktemp("router"), filter=True) as lab:
        yield lab


@pytest.fixture(autouse=True)
def as_before(lab: Lab) -> Iterator[None]:
    """Every test finds the lab's own household and addresses."""
    lab.seen.forget()
    yield
    lab.set_household(household())
    for name in ("ana", "tablet", "guests"):
        lab.guardian.control("pause", id=name, until=0)
    for device in lab.devices:
        for address in PRIVACY:
            device.run("ip", "address", "del", f"{address}/64", "dev", "eth0")


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def is_filtered(device: Device, family: int = 4) -> bool:
    """Whether a blocked site is out of reach, by an address that was written down."""
    address = BLOCKED.four if family == 4 else BLOCKED.six
    return not device.fetch("https://blocked.example/", resolve={BLOCKED.name: address}, timeout=2).ok


def take_address(device: Device, address: str) -> None:
    """As privacy extensions do: a new address, and the ones before are no longer for new connections."""
    others = device.run("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global").stdout.splitlines()
    done = device.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
    assert done.returncode == 0, done.stderr
    for line in others:
        device.run("ip", "address", "change", line.split()[3], "dev", "eth0", "preferred_lft", "0")


@pytest.fixture
def old_address_again(lab: Lab) -> Iterator[None]:
    yield
    for device in lab.devices:
        device.run("ip", "address", "change", f"{device.six}/64", "dev", "eth0", "preferred_lft", "forever")


def attempts(lab: Lab, kind: str) -> list[Attempt]:
    with HistoryReader(str(lab.guardian.folder / "state" / "history.db")) as history:
        return [attempt for attempt in history.attempts() if attempt.kind == kind]


def test_a_new_ipv6_address_in_mid_life(lab: Lab, old_address_again: None) -> None:
    tablet = lab.tablet
    with tablet.download(STREAM, family=6) as old:
        old.wait_for_more(1_000)
        take_address(tablet, PRIVACY[0])
        fetched = tablet.fetch("https://www.open.example/", family=6)
        assert fetched.ok
        assert lab.seen("https", "www.open.example")[0].client == PRIVACY[0]
        assert is_filtered(tablet, 6)
        old.wait_for_more(1_000)
        with tablet.download(STREAM, family=6) as new:
            new.wait_for_more(1_000)
            take_address(tablet, PRIVACY[1])
            lab.guardian.control("pause", id="tablet", until=time.time() + 3600)
            new.wait_for_silence()
            old.wait_for_silence()
            assert not tablet.fetch("https://www.open.example/", family=6, timeout=1.5).ok
            lab.guardian.control("pause", id="tablet", until=0)
            new.wait_for_more(1_000, seconds=30)
            old.wait_for_more(1_000, seconds=30)


def test_the_same_mac_with_another_ipv4_address(lab: Lab) -> None:
    tablet = lab.tablet
    words = ("ip", "address", "add", f"{OTHER4}/24", "dev", "eth0")
    assert tablet.run(*words).returncode == 0
    try:
        source = ("--interface", OTHER4)
        assert tablet.fetch("https://www.open.example/", *source, family=4).ok
        there = {BLOCKED.name: BLOCKED.four}
        assert not tablet.fetch("https://blocked.example/", *source, resolve=there, timeout=2).ok
        lab.guardian.control("pause", id="tablet", until=time.time() + 3600)
        open4 = {"www.open.example": plan.SITES["www.open.example"].four}
        assert not tablet.fetch("https://www.open.example/", *source, resolve=open4, timeout=1.5).ok
    finally:
        tablet.run("ip", "address", "del", f"{OTHER4}/24", "dev", "eth0")


def test_the_address_of_the_parents_phone_on_another_mac(lab: Lab) -> None:
    """A child takes the parents' address while their phone is away."""
    phone, stranger = lab.phone, lab.stranger
    assert not is_filtered(phone)
    phone.run("ip", "address", "del", f"{phone.four}/24", "dev", "eth0")
    stranger.run("ip", "address", "add", f"{phone.four}/24", "dev", "eth0")
    lab.on("router", "ip", "neighbor", "flush", "dev", "br-lan")  # else it goes on sending to the phone for a while
    try:
        source = ("--interface", phone.four)
        there = {BLOCKED.name: BLOCKED.four}
        assert not stranger.fetch("https://blocked.example/", *source, resolve=there, timeout=2).ok
        assert stranger.fetch("https://www.open.example/", *source, family=4, timeout=10).ok
    finally:
        stranger.run("ip", "address", "del", f"{phone.four}/24", "dev", "eth0")
        phone.run("ip", "address", "add", f"{phone.four}/24", "dev", "eth0")
        phone.run("ip", "route", "replace", "default", "via", plan.home4("router"))
        stranger.run("ip", "route", "replace", "default", "via", plan.home4("router"))
        lab.on("router", "ip", "neighbor", "flush", "dev", "br-lan")
    wait_for(lambda: not is_filtered(phone), seconds=15)


def test_the_parents_phone_is_not_filtered(lab: Lab, family: int) -> None:
    assert not is_filtered(lab.phone, family)
    site = plan.SITES["quic.open.example"]
    assert lab.phone.fetch_h3(site.name, site.four if family == 4 else site.six).ok
    lab.guardian.control("pause", id="ana", until=time.time() + 3600)
    assert lab.phone.fetch("https://www.open.example/", family=family).ok


def test_a_stranger_has_the_rules_of_new_devices_and_is_told_once(lab: Lab, family: int) -> None:
    assert is_filtered(lab.stranger, family)
    assert lab.stranger.fetch("https://www.open.example/", family=family).ok
    (row,) = wait_for(lambda: attempts(lab, "unknown-device"))
    assert (row.device, row.mac, row.times) == ("", plan.MACS["stranger"], 1)
    told = json.loads(lab.command("alerts", "--json").stdout)
    (alert,) = [alert for alert in told if alert["kind"] == "unknown-device"]
    assert plan.MACS["stranger"] in alert["name"] and "nobody has named it" in alert["words"]
    with lab.stranger.download(STREAM, family=family) as download:
        download.wait_for_more(1_000)
        lab.guardian.control("pause", id="guests", until=time.time() + 3600)
        download.wait_for_silence()
        lab.guardian.control("pause", id="guests", until=0)
        download.wait_for_more(1_000, seconds=30)


def test_a_stranger_by_its_flows_alone(lab: Lab) -> None:
    """Who asks no DNS is noticed all the same: another MAC, only flows to an address."""
    mac = "02:00:5e:77:00:66"
    stranger = lab.stranger
    try:
        assert stranger.run("ip", "link", "set", "eth0", "address", mac).returncode == 0
        wait_for(lambda: is_filtered(stranger))
        rows = wait_for(lambda: [row for row in attempts(lab, "unknown-device") if row.mac == mac])
        assert len(rows) == 1 and rows[0].times == 1
    finally:
        stranger.run("ip", "link", "set", "eth0", "address", plan.MACS["stranger"])
        stranger.run("ip", "-6", "route", "replace", "default", "via", plan.home6("router"))
        stranger.run("ip", "route", "replace", "default", "via", plan.home4("router"))
    wait_for(lambda: stranger.fetch("https://www.open.example/", timeout=2).ok, seconds=20)


def moved(device: str, profile: str) -> dict[str, Any]:
    home = household()
    home["devices"][device]["profile"] = profile
    return home


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_running_flows_of_a_device_that_moves_to_another_profile(lab: Lab, family: int, scheme: str) -> None:
    rules = {"block": ["video.open.example"], "strict": False}
    lab.set_household(household(strict=rules))
    with (
        lab.tablet.download(f"{scheme}://video.open.example/stream", family=family) as shut,
        lab.tablet.download(f"{scheme}://news.open.example/stream", family=family) as open_,
    ):
        shut.wait_for_more(1_000)
        open_.wait_for_more(1_000)
        lab.set_household(household(tablet="strict", strict=rules))
        shut.wait_for_silence()
        open_.wait_for_more(50_000)
        lab.guardian.control("pause", id="strict", until=time.time() + 3600)
        open_.wait_for_silence()
        lab.guardian.control("pause", id="strict", until=0)


def test_the_phone_becomes_a_childs(lab: Lab, family: int) -> None:
    with (
        lab.phone.download("https://blocked.example/stream", family=family) as shut,
        lab.phone.download(STREAM, family=family) as open_,
    ):
        shut.wait_for_more(1_000)
        open_.wait_for_more(1_000)
        lab.set_household(moved("phone", "ana"))
        shut.wait_for_silence()
        open_.wait_for_more(1_000)
        assert is_filtered(lab.phone, family)


def test_the_tablet_becomes_a_parents(lab: Lab, family: int) -> None:
    assert is_filtered(lab.tablet, family)
    with lab.tablet.download(STREAM, family=family) as download:
        download.wait_for_more(1_000)
        lab.set_household(moved("tablet", "parents"))
        assert not is_filtered(lab.tablet, family)
        download.wait_for_more(1_000)
    lab.set_household(household())
    assert is_filtered(lab.tablet, family)


def test_a_stranger_gets_a_name(lab: Lab, family: int) -> None:
    """From then on it is somebody: what ran as nobody's ends, and what begins is the new owner's."""
    home = household(strict={"strict": False, "block": ["news.open.example"]})
    home["devices"]["laptop"] = {"name": "Laptop", "profile": "strict", "macs": [plan.MACS["stranger"]]}
    lab.stranger.ping(plan.SITES["www.open.example"].six)  # its flow has no ports, and must not be in the way
    with lab.stranger.download(STREAM, family=family) as old:
        old.wait_for_more(1_000)
        lab.set_household(home)
        old.wait_for_silence()
    site = plan.SITES["news.open.example"]
    written = {site.name: site.four if family == 4 else site.six}
    assert not lab.stranger.fetch(f"https://{site.name}/", resolve=written, timeout=2).ok
    with lab.stranger.download(STREAM, family=family) as new:
        new.wait_for_more(1_000)
        lab.guardian.control("pause", id="laptop", until=time.time() + 3600)
        new.wait_for_silence()
        assert lab.guardian.control("pause", id="laptop", until=0)["ok"]
        new.wait_for_more(1_000, seconds=30)


def test_a_device_loses_its_name(lab: Lab) -> None:
    home = household(guests={"block": ["news.open.example"]})
    del home["devices"]["tablet"]
    with lab.tablet.download("https://news.open.example/stream") as download:
        download.wait_for_more(1_000)
        lab.set_household(home)
        download.wait_for_silence()
    site = plan.SITES["news.open.example"]
    assert not lab.tablet.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=2).ok
    assert not lab.stranger.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=2).ok


def test_a_device_known_by_its_address(lab: Lab, family: int) -> None:
    """Some households write addresses, not MACs: a television with a fixed lease."""
    home = household(strict={"strict": False, "block": ["news.open.example"]})
    addresses = [plan.home4("stranger"), plan.home6("stranger")]
    home["devices"]["tv"] = {"name": "TV", "profile": "strict", "addresses": addresses}
    lab.set_household(home)
    site = plan.SITES["news.open.example"]
    written = {site.name: site.four if family == 4 else site.six}
    assert not lab.stranger.fetch(f"https://{site.name}/", resolve=written, timeout=2).ok
    with lab.stranger.download(STREAM, family=family) as download:
        download.wait_for_more(1_000)
        lab.guardian.control("pause", id="tv", until=time.time() + 3600)
        download.wait_for_silence()
        lab.guardian.control("pause", id="tv", until=0)
        download.wait_for_more(1_000, seconds=30)


def test_a_mac_out_of_the_guest_profile_is_a_child_at_once(lab: Lab) -> None:
    """A new profile and a new device in one import: nothing waits for a restart."""
    home = household()
    home["profiles"]["ion"] = child("Ion", block=["www.open.example"])
    home["devices"]["laptop"] = {"name": "Laptop", "profile": "ion", "macs": [plan.MACS["stranger"]]}
    lab.set_household(home)
    site = plan.SITES["www.open.example"]
    assert not lab.stranger.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=2).ok
    assert lab.stranger.fetch("https://news.open.example/").ok
