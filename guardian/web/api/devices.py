"""Devices: those that parents named, those that the network shows, naming, merging, pausing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from guardian.errors import GuardianError
from guardian.policy import model
from guardian.store.household_form import read_name
from guardian.store.settings import Entry
from guardian.web.access import Whose
from guardian.web.api.profiles import describe_pause, end_of_pause
from guardian.web.changes import check_room, find_device, replace_device
from guardian.web.convert import Problems, read_addresses, read_macs, show_device
from guardian.web.naming import make_id
from guardian.web.routing import Call, Endpoint
from guardian.web.shapes.common import Done
from guardian.web.shapes.devices import DeviceChange, Devices, Merge, Namings, NewDevice
from guardian.web.shapes.household import Device, PauseCall
from guardian.web.sightings import list_seen, sort_devices

log = logging.getLogger(__name__)

MOST_PLACES = 32  # MACs, and addresses, of one device


def list_devices(call: Call[None]) -> Devices:
    """Return all devices, named or only seen."""
    console = call.console
    home, revision = console.home()
    try:
        caller = console.gateway.whose(call.caller.address)
    except GuardianError as error:
        log.warning("event=caller-unknown error=%r", str(error))
        caller = Whose()  # the address alone tells
    return sort_devices(home.household, revision, list_seen(console), caller, call.caller.address)


def make_device(call: Call[NewDevice]) -> Device:
    """Name a device. Raises ConfigError, ConflictError, RefusalError 409 when there is no room for another one."""
    made: list[model.Device] = []
    told: list[Entry] = []
    remembered = call.console.remembered_ids()

    def change(household: model.Household) -> model.Household:
        problems = Problems()
        changed = _add_device(household, call.body, remembered, problems, "")
        problems.finish()
        made[:] = changed.devices[-1:]
        told[:] = [_describe_naming(call, changed, made[0])]
        return changed

    call.console.edit(told, change, call.if_match)
    return show_device(made[0])


def name_devices(call: Call[Namings]) -> Devices:
    """Name several devices at once: all of them, or none. Raises ConfigError, ConflictError, RefusalError 409."""
    told: list[Entry] = []
    remembered = call.console.remembered_ids()

    def change(household: model.Household) -> model.Household:
        problems = Problems()
        told.clear()
        for index, naming in enumerate(call.body.devices):
            macs, addresses = [naming.mac] if naming.mac else [], [naming.address] if naming.address else []
            if not macs and not addresses:
                problems.add(f"devices[{index}].mac", "give the device's MAC or its address")
            new = NewDevice(naming.name, naming.profile, macs, addresses)
            household = _add_device(household, new, remembered, problems, f"devices[{index}].")
            told.append(_describe_naming(call, household, household.devices[-1]))
        problems.finish()
        return household

    call.console.edit(told, change, call.if_match)
    return list_devices(call)  # type: ignore[arg-type]  # it looks at the console and the caller only


def _add_device(
    household: model.Household, new: NewDevice, remembered: frozenset[str], problems: Problems, where: str
) -> model.Household:
    name = problems.read(read_name, new.name, f"{where}name", "")
    _check_profile(household, new.profile, problems, f"{where}profile")
    owners = _list_owners(household)
    device = model.Device(
        id=make_id(name, {*remembered, *(known.id for known in household.devices)}, "device"),
        name=name,
        profile=new.profile,
        macs=read_macs(new.macs, owners, problems, f"{where}mac" if where else "macs[{}]"),
        addresses=read_addresses(new.addresses, owners, problems, f"{where}address" if where else "addresses[{}]"),
    )
    return check_room(replace(household, devices=(*household.devices, device)))


def _check_profile(household: model.Household, profile: str, problems: Problems, where: str) -> None:
    known = [each.id for each in household.profiles]
    if profile not in known:
        problems.unknown("profile", profile, known, where)


def _list_owners(household: model.Household, but: Sequence[str] = ()) -> dict[str, str]:
    """Whose (a name) every MAC and address is, but those of some devices."""
    return {
        place: device.name
        for device in household.devices
        if device.id not in but
        for place in (*device.macs, *device.addresses)
    }


def _call_profile(household: model.Household, key: str) -> str:
    return next((profile.name for profile in household.profiles if profile.id == key), key)


def _describe_naming(call: Call[NewDevice] | Call[Namings], household: model.Household, device: model.Device) -> Entry:
    profile = _call_profile(household, device.profile)
    details = {"device": device.name, "profile": profile}
    return Entry(call.caller.who, f"device {device.name} named, for {profile}", "device-named", details)


def change_device(call: Call[DeviceChange]) -> Device:
    """Rename a device, give it another profile, or change how it is found.

    Raises ConfigError, ConflictError, RefusalError 404.
    """
    key, body = call.path["device"], call.body
    told: list[Entry] = []
    home, revision = call.console.home()
    saved = find_device(home.household, key)
    if _change_device(home.household, saved, body) == saved and call.if_match in (None, revision):
        return show_device(saved)

    def change(household: model.Household) -> model.Household:
        before = find_device(household, key)
        after = _change_device(household, before, body)
        told[:] = _describe_change(call.caller.who, household, before, after)
        return replace_device(household, after)

    call.console.edit(told, change, call.if_match)
    return show_device(find_device(call.console.household(), key))


def _change_device(household: model.Household, device: model.Device, body: DeviceChange) -> model.Device:
    problems = Problems()
    owners = _list_owners(household, but=(device.id,))
    changed = device
    if body.name is not None:
        changed = replace(changed, name=problems.read(read_name, body.name, "name", ""))
    if body.profile is not None:
        _check_profile(household, body.profile, problems, "profile")
        changed = replace(changed, profile=body.profile)
    if body.macs is not None:
        changed = replace(changed, macs=read_macs(body.macs, owners, problems))
    if body.addresses is not None:
        changed = replace(changed, addresses=read_addresses(body.addresses, owners, problems))
    problems.finish()
    return changed


def _describe_change(who: str, household: model.Household, before: model.Device, after: model.Device) -> list[Entry]:
    told = []
    if replace(after, profile=before.profile) != before or after == before:
        told.append(Entry(who, f"device {after.name} changed", "device-changed", {"device": after.name}))
    if after.profile != before.profile:
        profile = _call_profile(household, after.profile)
        details = {"device": after.name, "profile": profile}
        told.append(Entry(who, f"device {after.name} given to {profile}", "device-moved", details))
    return told


def remove_device(call: Call[None]) -> None:
    """Forget a device; when it comes again, nobody has named it. Raises ConflictError, RefusalError 404."""
    key = call.path["device"]
    name = find_device(call.console.household(), key).name

    def change(household: model.Household) -> model.Household:
        find_device(household, key)
        return replace(household, devices=tuple(device for device in household.devices if device.id != key))

    entry = Entry(call.caller.who, f"device {name} removed", "device-removed", {"device": name})
    call.console.edit(entry, change, call.if_match)


def merge_device(call: Call[Merge]) -> Device:
    """Let a device take over another one, or a MAC: two faces of one thing.

    Of more MACs than a device can have the oldest made-up ones go. Raises ConfigError, ConflictError, RefusalError 404.
    """
    key = call.path["device"]
    name = find_device(call.console.household(), key).name
    details: dict[str, str | int] = {"device": name}

    def change(household: model.Household) -> model.Household:
        changed, details["other"] = _merge(household, find_device(household, key), call.body)
        return changed

    entry = Entry(call.caller.who, f"device {name} merged with another one", "devices-merged", details)
    call.console.edit(entry, change, call.if_match)
    return show_device(find_device(call.console.household(), key))


def _merge(household: model.Household, device: model.Device, body: Merge) -> tuple[model.Household, str]:
    """The household after a merge, and what the other face was called."""
    problems = Problems()
    if (body.device is None) == (body.mac is None):
        problems.add("device", "give 'device' or 'mac'")
    elif body.device == device.id:
        problems.add("device", "this is the same device")
    problems.finish()
    if body.device is not None:
        other = find_device(household, body.device)
        household = replace(household, devices=tuple(each for each in household.devices if each != other))
    else:
        (mac,) = read_macs([str(body.mac)], _list_owners(household), problems, "mac") or ("",)
        other = model.Device("", mac, device.profile, (mac,))
    problems.finish()
    addresses = (*device.addresses, *other.addresses)
    if len(addresses) > MOST_PLACES:
        problems.add("device", f"together they have more than {MOST_PLACES} addresses")
    problems.finish()
    merged = replace(device, macs=_keep_newest((*device.macs, *other.macs)), addresses=addresses)
    return replace_device(household, merged), other.name


def _keep_newest(macs: tuple[str, ...]) -> tuple[str, ...]:
    """At most as many MACs as a device can have: the first made-up ones go, then the first of all."""
    surplus = max(0, len(macs) - MOST_PLACES)
    leaving = sorted(range(len(macs)), key=lambda place: (not int(macs[place][1], 16) & 2, place))[:surplus]
    return tuple(mac for place, mac in enumerate(macs) if place not in leaving)


def pause_device(call: Call[PauseCall]) -> Done:
    """Pause one device, until its profile's morning, or resume it. Raises ConfigError, ConflictError, RefusalError."""
    key = call.path["device"]
    household = call.console.household()
    device = find_device(household, key)
    rules = next((each for each in household.profiles if each.id == device.profile), model.Profile("", ""))
    until = end_of_pause(call.body, rules, household, call.now)

    def change(household: model.Household) -> model.Household:
        return replace_device(household, replace(find_device(household, key), paused_until=until))

    entry = describe_pause(call.caller.who, call.body.action, "device", device.name, until)
    return Done(call.console.edit(entry, change, call.if_match))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/devices", "read", "All devices, named or only seen", list_devices, Devices),
    Endpoint(
        "POST", "/devices", "manage", "Name a device", make_device, Device, body=NewDevice, status=201, errors=(409,)
    ),
    Endpoint(
        "POST", "/devices/naming", "manage", "Name several devices at once", name_devices, Devices,
        body=Namings, errors=(409,),
    ),
    Endpoint(
        "PATCH", "/devices/{device}", "manage", "Change a device", change_device, Device,
        body=DeviceChange, errors=(409,),
    ),
    Endpoint("DELETE", "/devices/{device}", "manage", "Forget a device", remove_device, errors=(409,)),
    Endpoint(
        "POST", "/devices/{device}/merge", "manage", "Let a device take over another one, or a MAC", merge_device,
        Device, body=Merge, errors=(409,),
    ),
    Endpoint(
        "POST", "/devices/{device}/pause", "control", "Pause or resume a device", pause_device, Done,
        body=PauseCall, errors=(409,),
    ),
)  # fmt: skip
