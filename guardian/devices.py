"""Which device of the household asks, and which devices were ever seen on the network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardian.errors import TextError
from guardian.policy.model import Device, Household

MAX_KNOWN_DEVICES = 1024
MAX_ADDRESSES_KEPT = 8
_MAPPED = bytes(10) + b"\xff\xff"


class DeviceMap:
    """(address, MAC) -> device id: the exact MAC counts first, then the exact address, then the longest prefix.

    A device that has MACs is known by them: when a foreign MAC shows up at its address, it is somebody else, perhaps a
    child who took the parents' address. Immutable; a reload makes a new one. When two devices claim the same, the
    first in the household has it.
    """

    __slots__ = ("_any_address", "_macs", "_without_mac")

    def __init__(self, household: Household) -> None:
        """Raises TextError for a MAC, address or prefix that is not one."""
        self._macs: dict[bytes, str] = {}
        for device in household.devices:
            for mac in device.macs:
                self._macs.setdefault(_parse_mac(mac), device.id)
        self._any_address = _AddressMap(household.devices)
        self._without_mac = _AddressMap(device for device in household.devices if not device.macs)

    def find(self, address: bytes, mac: bytes | None) -> str:
        """Return the id of the device with this packed address (IPv4-mapped too) and MAC, or ""."""
        if len(address) == 16 and address.startswith(_MAPPED):
            address = address[12:]
        if mac is None:
            return self._any_address.find(address)
        return self._macs.get(mac) or self._without_mac.find(address)


class _AddressMap:
    """Address -> device id: the exact address, then the longest prefix."""

    __slots__ = ("_addresses", "_prefixes")

    def __init__(self, devices: Iterable[Device]) -> None:
        self._addresses: dict[bytes, str] = {}
        prefixes: dict[tuple[int, int], dict[int, str]] = {}
        for device in devices:
            for text in device.addresses:
                network = _parse_network(text)
                packed = network.network_address.packed
                if network.prefixlen == network.max_prefixlen:
                    self._addresses.setdefault(packed, device.id)
                    continue
                shift = network.max_prefixlen - network.prefixlen
                bits = int.from_bytes(packed, "big") >> shift
                prefixes.setdefault((len(packed), shift), {}).setdefault(bits, device.id)
        # The smallest shift is the longest prefix.
        self._prefixes = tuple((size, shift, prefixes[size, shift]) for size, shift in sorted(prefixes))

    def find(self, address: bytes) -> str:
        found = self._addresses.get(address)
        if found is not None:
            return found
        bits = int.from_bytes(address, "big")
        for size, shift, networks in self._prefixes:
            if size == len(address):
                found = networks.get(bits >> shift)
                if found is not None:
                    return found
        return ""


class Owner(NamedTuple):
    """Whose a device is, by the household. Empty parts are not known."""

    device: str  # its id
    profile: str  # the id of the profile whose rules hold for it
    name: str  # of the device
    is_child: bool  # a named device whose profile is filtered and has an age band


def find_owner(household: Household, device: str) -> Owner:
    """Return whose the device with an id is; for "" and ids that are gone the profile for new devices holds."""
    known = next((each for each in household.devices if each.id == device), None)
    wanted = household.new_device_profile if known is None else known.profile
    profile = next((profile for profile in household.profiles if profile.id == wanted), None)
    return Owner(
        device=device if known is not None else "",
        profile=profile.id if profile is not None else "",
        name=known.name if known is not None else "",
        is_child=known is not None and profile is not None and profile.filtered and bool(profile.age_band),
    )


class Sighting(NamedTuple):
    """A device as the network shows it, named by parents or not."""

    mac: bytes
    first_seen: float  # epoch seconds
    last_seen: float
    addresses: tuple[bytes, ...]  # packed, the newest first, at most MAX_ADDRESSES_KEPT
    hostname: str  # an LDH label or ""

    @property
    def has_random_mac(self) -> bool:
        """Whether the MAC is of the device's own making (locally administered), so that it may change any day."""
        return bool(self.mac[0] & 2)


class KnownDevices:
    """Every MAC seen on the network, bounded; what changed since the last `take_changes` goes to the history."""

    def __init__(self, known: Iterable[Sighting] = ()) -> None:
        self._sightings = {sighting.mac: sighting for sighting in known}
        self._changed: set[bytes] = set()

    def __len__(self) -> int:
        """Return the number of devices kept."""
        return len(self._sightings)

    def __iter__(self) -> Iterator[Sighting]:
        """Yield every device kept, the longest unseen first."""
        return iter(self._sightings.values())

    def get(self, mac: bytes) -> Sighting | None:
        """Return the device with this MAC."""
        return self._sightings.get(mac)

    def remember(self, known: Iterable[Sighting]) -> None:
        """Add what was seen in earlier days; a sighting of today keeps its last sight, and gets the first one back."""
        merged = {sighting.mac: sighting for sighting in known}
        for mac, today in self._sightings.items():
            before = merged.pop(mac, None)
            merged[mac] = today if before is None else today._replace(first_seen=before.first_seen)
        self._sightings = dict(list(merged.items())[-MAX_KNOWN_DEVICES:])
        self._changed &= set(self._sightings)

    def see(self, mac: bytes, address: bytes, hostname: str, now: float) -> bool:
        """Note that a device is here and return whether it was never seen before. `address` is empty where only the
        MAC is known (behind dnsmasq).
        """
        if len(address) == 16 and address.startswith(_MAPPED):
            address = address[12:]
        # Taken out and put back: the dict is in order of the last sight, and the longest unseen goes first.
        before = self._sightings.pop(mac, None)
        if before is None:
            sighting = Sighting(mac, now, now, (address,) if address else (), hostname)
            if len(self._sightings) >= MAX_KNOWN_DEVICES:
                oldest = next(iter(self._sightings))
                del self._sightings[oldest]
                self._changed.discard(oldest)
        else:
            others = [other for other in before.addresses if other != address]
            addresses = (address, *others[: MAX_ADDRESSES_KEPT - 1]) if address else before.addresses
            sighting = Sighting(mac, before.first_seen, now, addresses, hostname or before.hostname)
        self._sightings[mac] = sighting
        self._changed.add(mac)
        return before is None

    def take_changes(self) -> tuple[Sighting, ...]:
        """Return the devices whose sighting changed since the last call."""
        changed = tuple(self._sightings[mac] for mac in self._changed)
        self._changed = set()
        return changed


def _parse_mac(text: str) -> bytes:
    digits = text.replace(":", "").replace("-", "")
    try:
        mac = bytes.fromhex(digits)
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise TextError(f"{text!r} is not a MAC like aa:bb:cc:dd:ee:ff")
    return mac


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise TextError(f"{text!r} is neither an address nor a prefix like fd00::/64") from None
