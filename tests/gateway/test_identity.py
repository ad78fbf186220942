"""Whose an address is, without the kernel: what the household and the leases say. Its neighbours are in tests/netns."""

from __future__ import annotations

import socket
from datetime import UTC
from pathlib import Path

import pytest

from guardian.config import HistoryConfig
from guardian.errors import GuardianError, TextError
from guardian.gateway.identity import Identity
from guardian.gateway.memory import Memory
from guardian.gateway.presence import Presence
from guardian.policy.model import Device, Household, Profile

MAC, OTHER = bytes.fromhex("02005e770010"), bytes.fromhex("02005e770020")
ADDRESS = socket.inet_pton(socket.AF_INET, "10.77.0.10")


def household(*devices: Device) -> Household:
    profiles = (
        Profile("ana", "Ana", age_band="7-9"),
        Profile("tv", "Television", age_band="7-9", filtered=False),
        Profile("guests", "Guests"),
    )
    return Household("UTC", UTC, profiles, devices, "guests")


TABLET = Device("tablet", "Tablet", "ana", macs=("02:00:5e:77:00:10",))
CONSOLE = Device("console", "Console", "ana", addresses=("10.77.0.30",))


class Place:
    def __init__(self, folder: Path) -> None:
        self.leases = folder / "leases"
        self.leases.write_text("0 02:00:5e:77:00:20 10.77.0.20 Phone *\n")
        self.memory = Memory(HistoryConfig(str(folder / "history.db")), household())
        self.presence = Presence()
        self.identity = Identity(household(TABLET, CONSOLE), (str(self.leases),), self.memory, self.presence)

    def attempts(self) -> list[tuple[str, str, str]]:
        batch = self.memory.recorder.take()
        return [(key.device, key.mac, key.kind) for key in batch.attempts] if batch else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_named_device_is_found_by_its_mac_and_seen(place: Place) -> None:
    assert place.identity.identify(ADDRESS, MAC) == "tablet"
    assert place.attempts() == []
    (sighting,) = place.memory.known
    assert (sighting.mac, sighting.addresses) == (MAC, (ADDRESS,))
    assert [mac for mac, _ in place.presence.take_unsaved()] == [MAC]


def test_a_new_device_is_told_once(place: Place) -> None:
    for _ in range(2):
        assert place.identity.identify(ADDRESS, OTHER) == ""
    assert place.attempts() == [("", "02:00:5e:77:00:20", "unknown-device")]
    (sighting,) = place.memory.known
    assert sighting.hostname == "phone"


def test_finding_notes_nothing(place: Place) -> None:
    assert place.identity.find(ADDRESS, MAC) == "tablet"
    assert place.identity.describe("10.77.0.30")["device"] == "console"
    assert len(place.memory.known) == 0 and place.presence.take_unsaved() == [] and place.attempts() == []


@pytest.mark.parametrize(
    ("device", "is_child"),
    [
        (Device("x", "X", "ana", addresses=("10.77.0.10",)), True),
        (Device("x", "X", "tv", addresses=("10.77.0.10",)), False),
        (Device("x", "X", "guests", addresses=("10.77.0.10",)), False),
        (Device("x", "X", "gone", addresses=("10.77.0.10",)), False),
        (Device("x", "X", "ana", addresses=("10.77.0.11",)), False),
    ],
)
def test_a_childs_device_is_named_filtered_and_of_an_age(place: Place, device: Device, is_child: bool) -> None:
    place.identity.use(household(device), ())
    assert place.identity.describe("10.77.0.10")["is_child"] is is_child


def test_another_household_that_cannot_be_used_changes_nothing(place: Place) -> None:
    with pytest.raises(TextError):
        place.identity.use(household(Device("x", "X", "ana", macs=("no mac",))), ())
    assert place.identity.find(ADDRESS, MAC) == "tablet"
    assert place.identity.leases.hostname_of(OTHER) == "phone"


def test_other_lease_files_are_read(place: Place, tmp_path: Path) -> None:
    before = place.identity.leases
    place.identity.use(household(), (str(place.leases),))
    assert place.identity.leases is before
    other = tmp_path / "other"
    other.write_text("0 02:00:5e:77:00:20 10.77.0.20 Telephone *\n")
    place.identity.use(household(), (str(other),))
    assert place.identity.leases.hostname_of(OTHER) == "telephone"


def test_traffic_is_a_sign_of_life_of_devices_that_can_be_told(place: Place) -> None:
    """Without the kernel's neighbours only named addresses can be."""
    place.identity.note_traffic({bytes([10, 77, 0, 30]), bytes([10, 77, 0, 99])})
    told = place.presence.describe(place.memory.known, place.identity.find, 0.0, 0.0)
    assert [(entry["device"], entry["addresses"]) for entry in told] == [("console", ["10.77.0.30"])]


def test_without_a_neighbour_table_nothing_is_known_and_nobody_provoked(place: Place) -> None:
    assert place.identity.mac_of(ADDRESS) is None
    assert place.identity.provoke(socket.inet_pton(socket.AF_INET6, "fd77::1")) is False
    place.identity.close()


@pytest.mark.parametrize("text", ["", "tablet", "10.77.0", "10.77.0.10/24", "1.2.3.4.5", "\0"])
def test_what_is_no_address(place: Place, text: str) -> None:
    with pytest.raises(GuardianError, match="is no address"):
        place.identity.describe(text)
