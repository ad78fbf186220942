"""Who is here: by the last sign of life, whatever the clock on the wall says."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC
from typing import Any

import pytest

from guardian.devices import DeviceMap, KnownDevices
from guardian.gateway.live import Live
from guardian.gateway.presence import MAX_SIGNS, ONLINE_SECONDS, Presence
from guardian.policy.model import Device, Household
from guardian.resolver.clients import Client
from guardian.store.history_record import Recorder

MAC, OTHER = bytes.fromhex("02005e770010"), bytes.fromhex("02005e770020")
NOW = 1_795_000_000.0
DEVICES = DeviceMap(
    Household(
        "UTC",
        UTC,
        (),
        (
            Device("tablet", "Tablet", "ana", macs=("02:00:5e:77:00:10",)),
            Device("console", "Console", "ion", addresses=("10.77.0.30", "fd77::30")),
        ),
    )
)


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def describe(presence: Presence, known: KnownDevices, second: float) -> list[dict[str, Any]]:
    """What is told at `second`; NOW is second 0."""
    return presence.describe(known, DEVICES.find, NOW + second, second)


def test_a_device_is_online_for_some_minutes_after_its_last_sign() -> None:
    presence, known = Presence(), KnownDevices()
    known.see(MAC, packed("10.77.0.10"), "tablet", NOW)
    presence.note(packed("10.77.0.10"), MAC, 0.0)
    presence.note(packed("fd77::10"), MAC, 100.0)
    (told,) = describe(presence, known, 100.0 + ONLINE_SECONDS - 1)
    assert told == {
        "mac": "02:00:5e:77:00:10", "hostname": "tablet", "addresses": ["fd77::10", "10.77.0.10"],
        "first_seen": NOW, "last_seen": NOW + 100.0, "device": "tablet", "online": True,
    }  # fmt: skip
    (told,) = describe(presence, known, 100.0 + ONLINE_SECONDS)
    assert (told["last_seen"], told["online"]) == (NOW + 100.0, False)


@pytest.mark.parametrize(("ago", "is_online"), [(10.0, True), (ONLINE_SECONDS + 1, False), (-3600.0, False)])
def test_after_a_restart_the_history_tells(ago: float, is_online: bool) -> None:
    """A last sight in the future, from before the clock was right, is none."""
    known = KnownDevices()
    known.see(OTHER, packed("10.77.0.20"), "", NOW - ago)
    (told,) = describe(Presence(), known, 0.0)
    assert told["online"] is is_online and told["device"] == ""


def test_devices_known_by_address_only() -> None:
    presence = Presence()
    presence.note(packed("10.77.0.30"), None, 10.0)
    presence.note(b"\0" * 10 + b"\xff\xff" + packed("10.77.0.30"), None, 20.0)  # the same, IPv4 inside IPv6
    presence.note(packed("fd77::30"), None, 30.0)
    presence.note(packed("10.77.0.99"), None, 40.0)
    unnamed, named = describe(presence, KnownDevices(), 50.0)
    assert named == {
        "mac": "", "hostname": "", "addresses": ["fd77::30", "10.77.0.30"], "first_seen": NOW + 10.0,
        "last_seen": NOW + 30.0, "device": "console", "online": True,
    }  # fmt: skip
    assert (unnamed["mac"], unnamed["device"], unnamed["addresses"]) == ("", "", ["10.77.0.99"])


def test_an_old_address_does_not_give_a_mac_to_another_device() -> None:
    """The address belonged to this MAC last week; the newest of each family count."""
    known = KnownDevices()
    known.see(OTHER, packed("10.77.0.30"), "", NOW)
    (told,) = describe(Presence(), known, 0.0)
    assert told["device"] == "console"
    known.see(OTHER, packed("10.77.0.31"), "", NOW)
    (told,) = describe(Presence(), known, 0.0)
    assert told["device"] == "" and told["addresses"] == ["10.77.0.31", "10.77.0.30"]
    known.see(OTHER, packed("fd77::30"), "", NOW)
    assert describe(Presence(), known, 0.0)[0]["device"] == "console"


def test_who_asks_dns_is_here_and_a_forwarder_is_nobody() -> None:
    presence, known = Presence(), KnownDevices()
    loopback = packed("127.0.0.1")
    clients = [
        Client(packed("10.77.0.10"), MAC, "tablet", False, 1),
        Client(b"", OTHER, "", False, 1),  # behind dnsmasq
        Client(packed("10.77.0.30"), None, "console", False, 1),
        Client(packed("10.77.0.99"), None, "", False, 1),
        Client(loopback, None, "", True, 1),
    ]
    presence.note_clients(clients, 5.0)
    for mac, address in ((MAC, packed("10.77.0.10")), (OTHER, b"")):
        known.see(mac, address, "", NOW)
    told = describe(presence, known, 6.0)
    assert [(entry["mac"][-2:], entry["device"], entry["addresses"]) for entry in told] == [
        ("10", "tablet", ["10.77.0.10"]),
        ("20", "", []),
        ("", "", ["10.77.0.99"]),
        ("", "console", ["10.77.0.30"]),
    ]
    assert sorted(mac for mac, _ in presence.take_unsaved()) == [MAC, OTHER]
    assert presence.take_unsaved() == []


def test_coming_and_going_is_told_once() -> None:
    with asyncio.Runner() as runner:
        live = Live(Recorder(UTC))
        reader = live.listen()
        presence = Presence()

        def told(second: float) -> list[tuple[str, str, bool]]:
            presence.tell_changes(live, DEVICES.find, second)
            events = runner.run(reader.take(0.01)) or []
            assert {event["event"] for event in events} <= {"device"}
            return sorted((event["mac"], event["device"], event["online"]) for event in events)

        assert told(0.0) == []
        presence.note(packed("10.77.0.10"), MAC, 1.0)
        presence.note(packed("10.77.0.30"), None, 1.0)
        presence.note(packed("10.77.0.99"), None, 1.0)  # nobody's address: there is nothing to tell of
        assert told(2.0) == [("", "console", True), ("02:00:5e:77:00:10", "tablet", True)]
        presence.note(packed("10.77.0.10"), MAC, 200.0)
        assert told(201.0) == []
        assert told(1.0 + ONLINE_SECONDS) == [("", "console", False)]
        assert told(200.0 + ONLINE_SECONDS) == [("02:00:5e:77:00:10", "tablet", False)]
        presence.note(packed("10.77.0.10"), MAC, 900.0)
        assert told(901.0) == [("02:00:5e:77:00:10", "tablet", True)]


def test_made_up_addresses_and_macs_are_bounded_and_the_longest_silent_go() -> None:
    presence = Presence()
    presence.note(packed("10.77.0.10"), MAC, 0.0)
    for number in range(MAX_SIGNS):
        presence.note(bytes([10]) + number.to_bytes(3), None, float(number))
        presence.note(b"", b"\x06\0" + number.to_bytes(4), float(number))
    assert len(describe(presence, KnownDevices(), 1e6)) == MAX_SIGNS
    assert len(presence.take_unsaved()) == MAX_SIGNS
    known = KnownDevices()
    known.see(MAC, packed("10.77.0.10"), "", NOW - 1e6)
    assert describe(presence, known, 1.0)[0]["online"] is False


def test_all_is_forgotten() -> None:
    presence = Presence()
    presence.note(packed("10.77.0.10"), MAC, 0.0)
    presence.note(packed("10.77.0.30"), None, 0.0)
    presence.forget()
    assert presence.take_unsaved() == [] and describe(presence, KnownDevices(), 1.0) == []
