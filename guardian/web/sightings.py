"""What the network shows of devices, sorted into those that parents named and the rest."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from guardian.control import NotRunningError
from guardian.devices import DeviceMap
from guardian.errors import GuardianError
from guardian.makers import find_maker
from guardian.policy.model import Household
from guardian.store.history_read import HistoryError
from guardian.web.access import Whose
from guardian.web.console import Console
from guardian.web.convert import show_device
from guardian.web.shapes.devices import Devices, DeviceState, Sighting, UnnamedDevice

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """A sighting, and the device that the gateway took it for ("" = not known, or nobody's)."""

    sighting: Sighting
    device: str


def list_seen(console: Console) -> list[Seen]:
    """Return all that was ever seen: from the gateway, or from the history while it is down (nobody is online then)."""
    try:
        return [_read_presence(entry) for entry in console.gateway.presence()]
    except NotRunningError:
        pass  # `GET /status` tells that it is down; here the history speaks for it
    except GuardianError as error:
        log.warning("event=presence-unknown error=%r", str(error))
    try:
        with console.history() as history:
            return [
                Seen(
                    _make_sighting(
                        known.mac.hex(":"),
                        known.hostname,
                        [ipaddress.ip_address(address).compressed for address in known.addresses],
                        (known.first_seen, known.last_seen),
                        False,
                    ),
                    "",
                )
                for known in history.known_devices()
            ]
    except HistoryError as error:
        log.info("event=no-sightings error=%r", str(error))
        return []


def _read_presence(entry: dict[str, Any]) -> Seen:
    spans = (entry["first_seen"], entry["last_seen"])
    sighting = _make_sighting(entry["mac"], entry["hostname"], entry["addresses"], spans, entry["online"])
    return Seen(sighting, entry["device"])


def _make_sighting(mac: str, hostname: str, addresses: list[str], span: tuple[float, float], online: bool) -> Sighting:
    return Sighting(
        mac=mac,
        random=bool(mac) and bool(int(mac[1], 16) & 2),
        maker=find_maker(mac),
        hostname=hostname,
        addresses=addresses,
        first_seen=span[0],
        last_seen=span[1],
        online=online,
    )


def sort_devices(household: Household, revision: int, seen: Iterable[Seen], caller: Whose, address: str) -> Devices:
    """Return named devices with what was seen of them, and the unnamed ones, the last seen first.

    `caller` is whose device asks, from the text `address`.
    """
    owners = DeviceMap(household)
    known = {device.id for device in household.devices}
    mine: dict[str, list[Sighting]] = {}
    strangers = []
    for sighting, device in seen:
        owner = _find_owner(owners, sighting) if sighting.mac else device
        if owner in known:
            mine.setdefault(owner, []).append(sighting)
        else:
            strangers.append(sighting)
    with_mac = {address for sighting in strangers if sighting.mac for address in sighting.addresses}
    strangers = [each for each in strangers if each.mac or with_mac.isdisjoint(each.addresses)]
    named = [
        DeviceState(
            device=show_device(device),
            sightings=(shown := _newest_first(mine.get(device.id, ()))),
            online=any(sighting.online for sighting in shown),
            last_seen=shown[0].last_seen if shown else None,
            this=caller.device == device.id if caller.device else _has_address(shown, address),
        )
        for device in household.devices
    ]
    unnamed = [
        UnnamedDevice(sighting, _is_caller(sighting, caller, address), _find_twin(sighting, named))
        for sighting in _newest_first(strangers)
    ]
    return Devices(revision, named, unnamed, household.new_device_profile)


def _find_owner(owners: DeviceMap, sighting: Sighting) -> str:
    mac = bytes.fromhex(sighting.mac.replace(":", ""))
    addresses = [ipaddress.ip_address(address).packed for address in sighting.addresses]
    # The newest of each family: an older one may be somebody else's by now.
    newest = {len(address): address for address in reversed(addresses)}
    return next((owner for place in (*newest.values(), bytes(4)) if (owner := owners.find(place, mac))), "")


def _newest_first(sightings: Sequence[Sighting]) -> list[Sighting]:
    return sorted(sightings, key=lambda sighting: (-sighting.last_seen, sighting.mac, sighting.addresses))


def _is_caller(sighting: Sighting, caller: Whose, address: str) -> bool:
    if caller.device:
        return False
    return sighting.mac == caller.mac if caller.mac else address in sighting.addresses


def _has_address(sightings: Sequence[Sighting], address: str) -> bool:
    return any(address in sighting.addresses for sighting in sightings)


def _find_twin(stranger: Sighting, named: Sequence[DeviceState]) -> str:
    """The one named device that calls itself the same and is not here beside the stranger, or ""."""
    if not stranger.random or not stranger.hostname:
        return ""
    wanted = stranger.hostname.casefold()
    alike = {
        state.device.id: any(each.online for each in state.sightings if each.hostname.casefold() == wanted)
        for state in named
        if any(each.hostname.casefold() == wanted for each in state.sightings)
    }
    if len(alike) != 1:
        return ""
    ((twin, is_here),) = alike.items()
    return "" if stranger.online and is_here else twin
