"""Whose an address is: the kernel's neighbours, the leases, the household's devices, and who was ever seen."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from guardian.clock import tell_time
from guardian.devices import DeviceMap, find_owner
from guardian.errors import GuardianError
from guardian.gateway.memory import Memory
from guardian.gateway.presence import Presence
from guardian.leases import LeaseFiles
from guardian.neighbors import Neighbors, plain_address
from guardian.policy.model import Household

log = logging.getLogger(__name__)

DISCARD_PORT = 9  # RFC 863


class Identity:
    """Finds the device behind an address, and notes that it was here."""

    def __init__(self, household: Household, leases: tuple[str, ...], memory: Memory, presence: Presence) -> None:
        """`leases` are paths of lease files. Raises TextError for a device whose MAC or address is not one."""
        self._memory = memory
        self._presence = presence
        self._neighbors: Neighbors | None = None
        self._lease_files, self.leases = leases, LeaseFiles(leases)
        self.use(household, leases)

    def use(self, household: Household, leases: tuple[str, ...]) -> None:
        """Find devices by another household and other lease files from now on. Raises TextError."""
        self._devices = DeviceMap(household)
        self._household = household
        if leases != self._lease_files:
            self._lease_files, self.leases = leases, LeaseFiles(leases)

    def open(self, on_neighbor: Callable[[bytes, bytes], None]) -> None:
        """Follow the kernel's neighbour table; `on_neighbor(address, mac)` is called when an address moves."""
        try:
            self._neighbors = Neighbors.open(on_neighbor)
        except OSError as error:
            log.warning("event=no-neighbour-table error=%r devices=by-address-only", str(error))
            return
        asyncio.get_running_loop().add_reader(self._neighbors.fileno(), self._neighbors.on_readable)

    def close(self) -> None:
        """Follow it no more."""
        if self._neighbors is not None:
            asyncio.get_running_loop().remove_reader(self._neighbors.fileno())
            self._neighbors.close()
            self._neighbors = None

    def identify(self, address: bytes, mac: bytes | None) -> str:
        """Return the id of the device at a packed address with a MAC, "" for one without a name; note it as seen."""
        if mac is not None:
            now = tell_time()
            self._presence.note(address, mac, time.monotonic())
            if self._memory.known.see(mac, address, self.leases.hostname_of(mac), now):
                log.info("event=new-device mac=%s", mac.hex(":"))
                if not self._devices.find(address, mac):
                    self._memory.recorder.note_attempt("", mac, "unknown-device", 1, now)
        return self._devices.find(address, mac)

    def find(self, address: bytes, mac: bytes | None) -> str:
        """Return the id of the device at a packed address with a MAC, or "". Nothing is noted."""
        return self._devices.find(address, mac)

    def mac_of(self, address: bytes) -> bytes | None:
        """Return the MAC of a packed address, or None; the kernel is asked for one that is not known yet."""
        if self._neighbors is None:
            return None
        return self._neighbors.mac_of(address) or self._neighbors.query(address)

    def provoke(self, address: bytes) -> bool:
        """Make the kernel look for an IPv6 neighbour, by a datagram to the discard port; False where that is no use.

        A privacy address that asks for the first time is unknown to the kernel until somebody writes to it.
        """
        host = ipaddress.ip_address(address)
        if self._neighbors is None or host.version == 4 or host.is_loopback or host.is_link_local:
            return False
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.sendto(b"", (str(host), DISCARD_PORT))
            except OSError:  # no way there: then nobody will answer either
                return False
        return True

    def note_traffic(self, addresses: set[bytes]) -> None:
        """Note that packets of these packed addresses were carried."""
        second = time.monotonic()
        for address in addresses:
            mac = None if self._neighbors is None else self._neighbors.mac_of(address)
            if mac is not None or self._devices.find(address, None):
                self._presence.note(address, mac, second)

    def describe(self, text: str) -> dict[str, Any]:
        """Return whose a text address is, with the keys of the verb `whose`. Raises GuardianError for no address."""
        try:
            address = plain_address(ipaddress.ip_address(text.partition("%")[0]).packed)
        except ValueError:
            raise GuardianError(f"{text[:64]!r} is no address") from None
        mac = self.mac_of(address)
        owner = find_owner(self._household, self._devices.find(address, mac))
        told: dict[str, Any] = owner._asdict() | {"mac": "", "hostname": ""}
        if mac is not None:
            seen = self._memory.known.get(mac)
            told["mac"] = mac.hex(":")
            told["hostname"] = self.leases.hostname_of(mac) or (seen.hostname if seen else "")
        return told
