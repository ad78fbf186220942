"""Device of an address and MAC against a naive search over the household; the book of devices ever seen."""

from __future__ import annotations

import ipaddress
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.devices import MAX_ADDRESSES_KEPT, MAX_KNOWN_DEVICES, DeviceMap, KnownDevices, Sighting
from guardian.errors import TextError
from guardian.policy.model import Device, Household


def household(*devices: Device) -> Household:
    return Household(timezone="UTC", tz=UTC, profiles=(), devices=devices)


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


HOME = household(
    Device("lan", "Everything else", "family", addresses=("192.168.1.0/24", "fd00::/48")),
    Device("guests", "Guests", "guests", addresses=("192.168.1.128/25", "fd00:0:0:5::/64")),
    Device("tv", "TV", "family", macs=("02:00:00:00:00:01",), addresses=("192.168.1.130", "fd00:0:0:5::7")),
    Device("tablet", "Tablet", "ana", macs=("02:00:00:00:00:02", "AA-BB-CC-DD-EE-FF")),
    Device("copy", "Claims the tablet's MAC", "family", macs=("02:00:00:00:00:02",), addresses=("192.168.1.130",)),
)


@pytest.mark.parametrize(
    ("address", "mac", "device"),
    [
        ("192.168.1.130", "020000000002", "tablet"),  # the MAC beats the address
        ("192.168.1.130", "020000000099", "guests"),  # a foreign MAC at the TV's address: only the prefix holds
        ("192.168.1.130", None, "tv"),  # the exact address beats the prefix, the first device beats the second
        ("192.168.1.200", None, "guests"),  # the longer prefix beats the shorter
        ("192.168.1.7", None, "lan"),
        ("::ffff:192.168.1.7", None, "lan"),
        ("fd00:0:0:5::7", None, "tv"),
        ("fd00:0:0:5::8", None, "guests"),
        ("fd00:0:0:6::8", None, "lan"),
        ("fd01::1", None, ""),
        ("10.0.0.1", "aabbccddeeff", "tablet"),
        ("10.0.0.1", "020000000099", ""),
    ],
)
def test_mac_then_address_then_longest_prefix(address: str, mac: str | None, device: str) -> None:
    assert DeviceMap(HOME).find(packed(address), bytes.fromhex(mac) if mac else None) == device


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_prefixes_agree_with_a_naive_search(networks: list[tuple[int, int]], asked: int) -> None:
    written = [ipaddress.ip_network((base, length), strict=False) for base, length in networks]
    devices = [Device(f"d{index}", "", "p", addresses=(str(network),)) for index, network in enumerate(written)]
    address = ipaddress.ip_address(asked)
    holding = [(-network.prefixlen, index) for index, network in enumerate(written) if address in network]
    expected = f"d{min(holding)[1]}" if holding else ""
    assert DeviceMap(household(*devices)).find(address.packed, None) == expected


@pytest.mark.parametrize("wrong", ["aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:zz", "", "aa:bb:cc:dd:ee:ff:00"])
def test_a_wrong_mac_is_told(wrong: str) -> None:
    with pytest.raises(TextError):
        DeviceMap(household(Device("d", "", "p", macs=(wrong,))))


def test_a_wrong_address_is_told() -> None:
    with pytest.raises(TextError, match="prefix"):
        DeviceMap(household(Device("d", "", "p", addresses=("192.168.1.0/33",))))


MAC = bytes.fromhex("020000000001")


def test_the_first_sight_is_told_once_and_later_sights_keep_it() -> None:
    known = KnownDevices()
    assert known.see(MAC, packed("192.168.1.7"), "", 100.0)
    assert not known.see(MAC, packed("fd00::7"), "phone", 200.0)
    assert not known.see(MAC, packed("::ffff:192.168.1.7"), "", 300.0)
    (sighting,) = known.take_changes()
    assert sighting == Sighting(MAC, 100.0, 300.0, (packed("192.168.1.7"), packed("fd00::7")), "phone")
    assert known.take_changes() == ()
    assert sighting.has_random_mac
    assert not sighting._replace(mac=bytes.fromhex("001122334455")).has_random_mac


def test_what_was_known_before_a_restart_is_not_new() -> None:
    known = KnownDevices([Sighting(MAC, 1.0, 2.0, (), "")])
    assert not known.see(MAC, packed("10.0.0.1"), "", 3.0)
    assert known.take_changes()[0].first_seen == 1.0


def test_the_known_devices_are_listed_and_found() -> None:
    known = KnownDevices()
    other = bytes.fromhex("0200000000aa")
    known.see(MAC, packed("10.0.0.1"), "tablet", 1.0)
    known.see(other, packed("10.0.0.2"), "", 2.0)
    known.see(MAC, packed("10.0.0.1"), "", 3.0)
    assert [sighting.mac for sighting in known] == [other, MAC]
    found = known.get(MAC)
    assert found is not None and (found.hostname, found.last_seen) == ("tablet", 3.0)
    assert known.get(bytes(6)) is None


def test_a_flood_of_macs_and_addresses_stays_bounded_and_keeps_the_newest() -> None:
    known = KnownDevices()
    for number in range(MAX_KNOWN_DEVICES + 50):
        known.see(number.to_bytes(6, "big"), packed("10.0.0.1"), "", float(number))
    assert len(known) == MAX_KNOWN_DEVICES
    assert len(known.take_changes()) == MAX_KNOWN_DEVICES
    assert known.see((3).to_bytes(6, "big"), packed("10.0.0.1"), "", 1e6)  # long forgotten, so new again
    for number in range(50):
        known.see(MAC, packed(f"10.0.1.{number}"), "", 1e6)
    (mine,) = [sighting for sighting in known.take_changes() if sighting.mac == MAC]
    assert len(mine.addresses) == MAX_ADDRESSES_KEPT
    assert mine.addresses[0] == packed("10.0.1.49")


def test_a_foreign_mac_at_a_known_devices_address_is_somebody_else() -> None:
    """A child's random MAC and the parents' address do not make a parent's laptop."""
    laptop = Device("laptop", "Laptop", "parents", macs=("02:00:00:00:00:09",), addresses=("192.168.1.7",))
    printer = Device("printer", "Printer", "parents", addresses=("192.168.1.8", "192.168.2.0/24"))
    devices = DeviceMap(Household("UTC", UTC, (), (laptop, printer)))
    foreign = bytes.fromhex("0200000000aa")
    assert devices.find(bytes((192, 168, 1, 7)), foreign) == ""
    assert devices.find(bytes((192, 168, 1, 7)), bytes.fromhex("020000000009")) == "laptop"
    assert devices.find(bytes((192, 168, 1, 7)), None) == "laptop"  # loopback, or no neighbour table
    assert devices.find(bytes((192, 168, 1, 8)), foreign) == "printer"
    assert devices.find(bytes((192, 168, 2, 3)), foreign) == "printer"
