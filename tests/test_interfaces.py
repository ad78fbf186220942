"""The machine's own addresses, with `ip` as the oracle."""

from __future__ import annotations

import ipaddress
import json
import subprocess

from guardian.interfaces import list_addresses


def test_the_addresses_are_those_that_ip_shows() -> None:
    shown = subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
    every, first = set(), set()
    for interface in json.loads(shown.stdout):
        addresses = [ipaddress.ip_address(entry["local"]) for entry in interface["addr_info"]]
        every |= {address.packed for address in addresses}
        first |= {address.packed for address in addresses if address.version == 6}
        first |= {address.packed for address in addresses[:1] if address.version == 4}
    found = list_addresses()
    assert set(found) <= every
    assert set(found) >= first
    assert len(found) == len(set(found))
    assert b"\x7f\0\0\1" in found
