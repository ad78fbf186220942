"""DHCP leases -> names of the home's devices: dnsmasq, odhcpd and Kea lease files, told apart by content.

Host names come from the devices themselves and are hostile until cleaned: what leaves this module is an LDH label
(RFC 952, RFC 1123) or nothing.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from guardian.names import MAX_LABEL_BYTES
from guardian.policy.model import FOREVER

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_LEASES = 10_000
_MAX_LINE = 2048
_CHECK_SECONDS = 1.0
# A lease that "ends" before this is a duration (dnsmasq on clockless boxes) or a mark for "never".
_FIRST_PLAUSIBLE = 1_000_000_000

# Names with a meaning of their own: a device that calls itself so would catch its neighbours' traffic.
_RESERVED_LABELS = frozenset({"localhost", "broadcasthost", "wpad", "isatap", "local", "localdomain"})
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f<>&\"`;\\/|$%{}]")
_LDH = re.compile(r"[^a-z0-9-]+")
_HYPHENS = re.compile(r"-{2,}")
_KEA_ESCAPE = re.compile(r"&#x([0-9a-fA-F]{2})")
_HEX = re.compile(r"[0-9a-f]+\Z")


class Lease(NamedTuple):
    """One address that a DHCP server gave away."""

    address: bytes  # packed, 4 or 16 bytes
    mac: bytes | None  # 6 bytes; from the DUID where DHCPv6 has nothing better
    hostname: str  # an LDH label, lower case, or ""
    expires: float  # epoch seconds, FOREVER when the file does not say


def parse_leases(text: str) -> tuple[Lease, ...]:
    """Return the leases of a dnsmasq, odhcpd (state or hosts) or Kea memfile text, in file order, one per address.

    Lines that are no leases are skipped; nothing is raised. At most MAX_LEASES are returned.
    """
    # Not splitlines(): a vertical tab or U+2028 inside a host name must not begin a line.
    lines = [line for line in text.split("\n") if line.strip() and len(line) <= _MAX_LINE]
    if not lines:
        return ()
    leases: dict[bytes, Lease] = {}
    if lines[0].lstrip("\ufeff").startswith("address,"):
        for address, ended_or_new in _parse_kea(lines):
            if ended_or_new is None:
                leases.pop(address, None)
            elif address in leases or len(leases) < MAX_LEASES:
                leases[address] = ended_or_new
    else:
        for address, lease in _parse_lines(lines):
            if address in leases or len(leases) < MAX_LEASES:
                leases[address] = _join(leases.get(address), lease)
    return tuple(leases.values())


def clean_hostname(text: str) -> str:
    """Return what a device calls itself as an LDH label of at most 63 characters, or "" when it is not safe to use.

    The first label counts. Spaces and underscores become hyphens, apostrophes and letters beyond ASCII are dropped;
    control characters, markup and reserved names make the whole name "".
    """
    label = text.partition(".")[0].strip().lower()
    if len(text) > 255 or _NOT_IN_NAMES.search(text):
        return ""
    label = _LDH.sub("", label.replace(" ", "-").replace("_", "-"))
    label = _HYPHENS.sub("-", label) if not label.startswith("xn--") else label
    label = label[:MAX_LABEL_BYTES].strip("-")
    return "" if label in _RESERVED_LABELS else label


def parse_mac(text: str) -> bytes | None:
    """Return the 6 bytes of `aa:bb:cc:dd:ee:ff`, `aa-bb-...` or `aabbccddeeff`, or None."""
    digits = text.lower().replace(":", "").replace("-", "")
    return bytes.fromhex(digits) if len(digits) == 12 and _HEX.match(digits) else None


def _join(before: Lease | None, lease: Lease) -> Lease:
    """A hosts line adds a name to the lease that its state line told, whichever comes first."""
    if before is None or lease.mac is not None:
        name = lease.hostname or (before.hostname if before and before.mac in (None, lease.mac) else "")
        return lease._replace(hostname=name)
    return before._replace(hostname=lease.hostname or before.hostname)


def _parse_lines(lines: list[str]) -> Iterator[tuple[bytes, Lease]]:
    """Tell dnsmasq and odhcpd lines apart one by one, so that a mixed or cut file still gives what it can."""
    for line in lines:
        fields = line.split()
        if fields[0] == "#":
            yield from _parse_odhcpd(fields)
        elif len(fields) >= 4 and fields[0].isascii() and fields[0].isdigit():
            yield from _parse_dnsmasq(fields)
        elif len(fields) >= 2:
            address = _parse_address(fields[0])
            if address is not None:
                yield address, Lease(address, None, clean_hostname(fields[-1]), FOREVER)


def _parse_dnsmasq(fields: list[str]) -> Iterator[tuple[bytes, Lease]]:
    """`expiry mac address name client-id`, or for DHCPv6 `expiry iaid address name duid`."""
    address = _parse_address(fields[2])
    if address is None:
        return
    if len(address) == 4:
        mac = parse_mac(fields[1])
    else:
        mac = _mac_of_duid(fields[4].replace(":", "")) if len(fields) > 4 else None
    name = "" if fields[3] == "*" else clean_hostname(fields[3])
    yield address, Lease(address, mac, name, _parse_expiry(fields[0]))


def _parse_odhcpd(fields: list[str]) -> Iterator[tuple[bytes, Lease]]:
    """`# interface duid iaid name expiry assigned length address/prefix...`; for DHCPv4 the duid is the MAC."""
    if len(fields) < 9:
        return
    duid, iaid, name, expiry = fields[2:6]
    mac = parse_mac(duid) if iaid == "ipv4" else _mac_of_duid(duid)
    hostname = "" if name == "-" else clean_hostname(name)  # a "broken\x20" mark has a backslash and is dropped
    for text in fields[8:]:
        literal, _, prefix = text.partition("/")
        address = _parse_address(literal)
        if address is not None and prefix in ("", "32" if len(address) == 4 else "128"):
            yield address, Lease(address, mac, hostname, _parse_expiry(expiry))


def _parse_kea(lines: list[str]) -> Iterator[tuple[bytes, Lease | None]]:
    """A memfile is a journal: the last line of an address counts, and lifetime 0 or a state other than 0 ends it."""
    columns = {name.strip(): index for index, name in enumerate(lines[0].lstrip("\ufeff").split(","))}

    for line in lines[1:]:
        cells = line.split(",")

        def cell(name: str, cells: list[str] = cells) -> str:
            index = columns.get(name, -1)
            return cells[index].strip() if 0 <= index < len(cells) else ""

        address = _parse_address(cells[0])
        if address is None or cell("lease_type") not in ("", "0"):  # 2 is a delegated prefix
            continue
        if cell("state") not in ("", "0") or cell("valid_lifetime") == "0":
            yield address, None
            continue
        mac = parse_mac(cell("hwaddr")) or _mac_of_duid(cell("duid").replace(":", ""))
        name = _KEA_ESCAPE.sub(lambda found: chr(int(found[1], 16)), cell("hostname"))
        expires = FOREVER if cell("valid_lifetime") == "4294967295" else _parse_expiry(cell("expire"))
        yield address, Lease(address, mac, clean_hostname(name), expires)


def _parse_expiry(text: str) -> float:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < _FIRST_PLAUSIBLE:
        return FOREVER
    return float(text)


def _parse_address(text: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL or a letter beyond ASCII inside
        return None


def _mac_of_duid(digits: str) -> bytes | None:
    """Return the Ethernet address inside a DUID-LLT or DUID-LL in hexadecimal (RFC 8415 sections 11.2, 11.4)."""
    digits = digits.lower()
    if digits.startswith("00010001") and len(digits) == 28:
        return parse_mac(digits[16:])
    if digits.startswith("00030001") and len(digits) == 20:
        return parse_mac(digits[8:])
    return None


class LeaseFiles:
    """The lease files of this machine, read again when they change. A missing or unreadable file has no leases."""

    def __init__(
        self,
        paths: Iterable[str],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._marks: dict[str, tuple[int, ...] | None] = dict.fromkeys(paths)
        self._leases: dict[str, tuple[Lease, ...]] = {}
        self._clock = clock
        self._monotonic = monotonic
        self._checked = float("-inf")
        self._by_address: dict[bytes, Lease] = {}
        self._by_mac: dict[bytes, Lease] = {}
        self._by_name: dict[str, list[Lease]] = {}

    def refresh(self) -> bool:
        """Look at the files, at most once a second, and read what changed. Returns whether anything did."""
        now = self._monotonic()
        if now - self._checked < _CHECK_SECONDS:
            return False
        self._checked = now
        changed = False
        for path, before in self._marks.items():
            mark = _mark_of(path)
            if mark != before:
                self._marks[path] = mark
                self._leases[path] = parse_leases(_read(path)) if mark else ()
                changed = True
        if changed:
            self._index()
        return changed

    def hostname_of(self, mac: bytes) -> str:
        """Return the label by which a device called itself, or ""."""
        self.refresh()
        lease = self._by_mac.get(mac)
        return lease.hostname if lease else ""

    def name_of(self, address: bytes) -> str:
        """Return the label of a packed address's device, or ""."""
        self.refresh()
        lease = self._by_address.get(address)
        return lease.hostname if lease and lease.expires > self._clock() else ""

    def addresses_of(self, label: str) -> tuple[bytes, ...]:
        """Return the packed addresses of a device by its label (any case), IPv4 first; () when nobody has that name.

        When two devices claim one name, all addresses belong to the device whose lease was listed first.
        """
        self.refresh()
        now = self._clock()
        leases = [lease for lease in self._by_name.get(label.lower(), ()) if lease.expires > now]
        owner = next((lease.mac for lease in leases if lease.mac is not None), None)
        found = {lease.address for lease in leases if lease.mac in (None, owner)}
        return tuple(sorted(found, key=lambda address: (len(address), address)))

    def _index(self) -> None:
        self._by_address, self._by_mac, self._by_name = {}, {}, {}
        for path in self._marks:
            for lease in self._leases.get(path, ()):
                self._by_address.setdefault(lease.address, lease)
                if lease.hostname:
                    self._by_name.setdefault(lease.hostname, []).append(lease)
                    if lease.mac is not None:
                        self._by_mac.setdefault(lease.mac, lease)


def _mark_of(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns


def _read(path: str) -> str:
    try:
        # Not blocking: a FIFO with the name of a lease file must not stop the resolver.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return (file.read(MAX_FILE_BYTES) or b"").decode("utf-8", "replace")
    except OSError:
        return ""
