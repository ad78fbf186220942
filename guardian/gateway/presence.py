"""Which devices are here now: the last sign of life of each, kept in memory.

Signs are what the gateway sees anyway, looked at every few seconds: who asked DNS, and whose packets the flow counters
saw. The hot path does nothing for it, and the flash learns of it no more often than before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from guardian.devices import KnownDevices, Sighting
from guardian.gateway.live import Live
from guardian.neighbors import plain_address
from guardian.resolver.clients import Client

ONLINE_SECONDS = 300.0  # without a sign of life a device is away
LOOK_SECONDS = 5.0  # between two looks
MAX_SIGNS = 2048

Find = Callable[[bytes, bytes | None], str]  # (packed address, MAC) -> device id


class Sign(NamedTuple):
    """The last sign of life. Moments are seconds of the monotonic clock: nobody sets that."""

    address: bytes  # packed; b"" behind dnsmasq
    first: float
    last: float


class Presence:
    """The last signs of life of MACs, and of addresses without a known MAC."""

    def __init__(self) -> None:
        self._macs: dict[bytes, Sign] = {}
        self._addresses: dict[bytes, Sign] = {}
        self._unsaved: set[bytes] = set()  # MACs seen since `take_unsaved`
        self._here: dict[tuple[bytes, bytes], str] = {}  # (MAC, address of those without) online -> device id

    def note(self, address: bytes, mac: bytes | None, second: float) -> None:
        """Note a sign of life of a packed address with its MAC."""
        address = plain_address(address)
        signs, key = (self._addresses, address) if mac is None else (self._macs, mac)
        before = signs.pop(key, None)  # put back last: the longest silent goes first
        if before is None and len(signs) >= MAX_SIGNS:
            del signs[next(iter(signs))]
        first = second if before is None else before.first
        signs[key] = Sign(address or (before.address if before else b""), first, second)
        if mac is not None:
            self._unsaved.add(mac)

    def note_clients(self, clients: Iterable[Client], second: float) -> None:
        """Note those who asked DNS. A loopback address alone is no device: it forwards for others."""
        for client in clients:
            if client.mac is not None or client.device or not client.is_proxy:
                self.note(client.address, client.mac, second)

    def take_unsaved(self) -> list[tuple[bytes, Sign]]:
        """Return the MACs with a sign since the last call, for the history."""
        unsaved = [(mac, self._macs[mac]) for mac in self._unsaved if mac in self._macs]
        self._unsaved = set()
        return unsaved

    def forget(self) -> None:
        """Forget all: the history was erased."""
        self._macs.clear()
        self._addresses.clear()
        self._unsaved.clear()
        self._here.clear()

    def tell_changes(self, live: Live, find: Find, second: float) -> None:
        """Tell who came and who went since the last call."""
        oldest = second - ONLINE_SECONDS
        here = {(mac, b""): find(sign.address, mac) for mac, sign in self._macs.items() if sign.last > oldest}
        for address, sign in self._addresses.items():
            if sign.last > oldest and (device := find(address, None)):
                here[b"", address] = device
        for key in here.keys() - self._here.keys():
            live.publish("device", mac=key[0].hex(":"), device=here[key], online=True)
        for key in self._here.keys() - here.keys():
            live.publish("device", mac=key[0].hex(":"), device=find(key[1], key[0] or None), online=False)
        self._here = here

    def describe(self, known: KnownDevices, find: Find, now: float, second: float) -> list[dict[str, Any]]:
        """Return every device that was ever seen, as the verb `presence` tells it.

        `now` is epoch seconds, `second` the monotonic clock's. Those known by address only come last, with an empty
        MAC: named ones one entry each, then addresses that nobody has named.
        """
        told = [self._describe_known(sighting, find, now, second) for sighting in known]
        nameless: dict[str, list[tuple[bytes, Sign]]] = {}
        for address, sign in reversed(self._addresses.items()):
            device = find(address, None)
            nameless.setdefault(device or _format(address), []).append((address, sign))
        for signs in nameless.values():
            first = now - (second - min(sign.first for _, sign in signs))
            last = max(sign.last for _, sign in signs)
            addresses = tuple(address for address, _ in signs)
            sighting = Sighting(b"", first, now - (second - last), addresses, "")
            told.append(_describe(sighting, find(addresses[0], None), second - last < ONLINE_SECONDS))
        return told

    def _describe_known(self, sighting: Sighting, find: Find, now: float, second: float) -> dict[str, Any]:
        sign = self._macs.get(sighting.mac)
        addresses = sighting.addresses
        last = sighting.last_seen
        if sign is not None:
            last = max(last, now - (second - sign.last))
            addresses = tuple(dict.fromkeys((sign.address, *addresses) if sign.address else addresses))
        is_online = second - sign.last < ONLINE_SECONDS if sign is not None else 0 <= now - last < ONLINE_SECONDS
        # Its newest address of each family: the older ones may be somebody else's by now.
        newest = {len(address): address for address in reversed(addresses)}
        device = next((device for address in (*newest.values(), b"") if (device := find(address, sighting.mac))), "")
        return _describe(sighting._replace(last_seen=last, addresses=addresses), device, is_online)


def _describe(sighting: Sighting, device: str, is_online: bool) -> dict[str, Any]:
    return {
        "mac": sighting.mac.hex(":"),
        "hostname": sighting.hostname,
        "addresses": [_format(address) for address in sighting.addresses],
        "first_seen": sighting.first_seen,
        "last_seen": sighting.last_seen,
        "device": device,
        "online": is_online,
    }


def _format(address: bytes) -> str:
    return str(ipaddress.ip_address(address))
