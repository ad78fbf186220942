"""Devices as the network shows them, and what parents do with them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from guardian.web.shapes.common import Id, Moment, Name, Struct
from guardian.web.shapes.household import Device


class Sighting(Struct):
    """One MAC on the network. Host names are what devices say of themselves: hostile text."""

    mac: str
    random: bool  # made up by the device, may change any day
    maker: str  # "" when not known
    hostname: str
    addresses: list[str]
    first_seen: Moment
    last_seen: Moment
    online: bool


class DeviceState(Struct):
    device: Device
    sightings: list[Sighting]
    online: bool
    last_seen: Moment | None
    this: bool  # the caller's own


class UnnamedDevice(Struct):
    sighting: Sighting
    this: bool
    twin: str  # id of a named device that this may be the other face of (a random MAC), or ""


class Devices(Struct):
    revision: int
    named: list[DeviceState]
    unnamed: list[UnnamedDevice]  # the last seen first
    new_devices: str  # profile of unnamed ones; "" = protected as for children


class NewDevice(Struct):
    name: Name
    profile: Id
    macs: Annotated[list[str], Meta(max_length=32)] = []
    addresses: Annotated[list[str], Meta(max_length=32)] = []


class DeviceChange(Struct):
    """Parts that are not given stay."""

    name: Name | None = None
    profile: Id | None = None
    macs: Annotated[list[str], Meta(max_length=32)] | None = None
    addresses: Annotated[list[str], Meta(max_length=32)] | None = None


class Merge(Struct):
    """Take over the MACs and addresses of another named device (which goes), or one MAC that nobody has named."""

    device: Id | None = None
    mac: Annotated[str, Meta(max_length=17)] | None = None


class Naming(Struct):
    """One device of the first visit: a MAC (or, where none is known, an address) and whose it is."""

    name: Name
    profile: Id
    mac: Annotated[str, Meta(max_length=17)] = ""
    address: Annotated[str, Meta(max_length=45)] = ""


class Namings(Struct):
    devices: Annotated[list[Naming], Meta(min_length=1, max_length=100)]
