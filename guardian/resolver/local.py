"""Names that are answered at home and never sent to an upstream.

These are the gateway's own name, the home's zone and reverse zones (from leases), the special-use names of RFC 6761 and
its followers, the locally served zones of RFC 6303, and names of one label. No I/O: leases come through `Hosts`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from guardian.errors import TextError
from guardian.names import MAX_NAME_BYTES, ROOT, format_name, is_below, parse_name, suffixes
from guardian.wire.dns import (
    CLASS_IN,
    RCODE_NOERROR,
    RCODE_NXDOMAIN,
    TYPE_A,
    TYPE_AAAA,
    TYPE_ANY,
    TYPE_DNSKEY,
    TYPE_DS,
    TYPE_NS,
    TYPE_PTR,
    TYPE_SOA,
    Record,
)

HOST_TTL = 60  # seconds: a lease moves, and a child profile must not wait for a phone's cache
SPECIAL_TTL = 10800  # seconds: what is never there stays so (RFC 6303 section 3)

LOOPBACK_4, LOOPBACK_6 = b"\x7f\0\0\1", bytes(15) + b"\1"
_NOBODY = parse_name("nobody.invalid")

# Nothing exists here, the name itself included: RFC 6761 (invalid, test), 6762 section 22.1 (local), 7686 (onion), 9476
# (alt), 9031 (6tisch.arpa), ICANN's `internal`, and what home routers made up (RFC 6762 appendix G).
_NEVER = ["invalid", "test", "local", "onion", "alt", "internal", "6tisch.arpa"]
_NEVER += ["intranet", "private", "corp", "home", "lan", "localdomain"]
# Zones that are there but empty: RFC 8375, 9462, 9665.
_EMPTY = ["home.arpa", "resolver.arpa", "service.arpa"]
# RFC 6303 section 4, RFC 7793; fc00::/8 and fec0::/10 besides, because nothing that is private may leave.
_EMPTY_REVERSE = ["10", "168.192", "0", "127", "254.169", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255"]
_EMPTY_REVERSE += [f"{octet}.172" for octet in range(16, 32)] + [f"{octet}.100" for octet in range(64, 128)]
_EMPTY_REVERSE_6 = ["c.f", "d.f", *(f"{nibble}.e.f" for nibble in "89abcdef"), "8.b.d.0.1.0.0.2"]
_EMPTY_REVERSE_6 += [".".join("0" * 32), ".".join("1" + "0" * 31)]
# IPv4-compatible and v4-mapped addresses and the local NAT64 prefix (RFC 8215): nobody serves these.
_EMBEDDED_6 = [".".join("0" * 24), ".".join("ffff" + "0" * 20), ".".join("1000b9ff4600")]
# A device that calls itself so would be asked for everybody's proxy (WPAD) or tunnel.
_REFUSED_LABELS = frozenset({"wpad", "isatap", "localhost", "_dns"})
# What a validating client asks of every top-level domain on its way down; a home's own name is not among them.
_VALIDATOR_TYPES = frozenset({TYPE_DS, TYPE_DNSKEY, TYPE_NS, TYPE_SOA})

_LOCALHOST = parse_name("localhost")
_RESOLVER = parse_name("resolver.arpa")
_IN_ADDR, _IP6 = parse_name("in-addr.arpa"), parse_name("ip6.arpa")


class Hosts(Protocol):
    """Who is in the home, by DHCP leases."""

    def addresses_of(self, label: str) -> tuple[bytes, ...]:
        """Return the packed addresses of the host with this one-label name, lower case."""

    def name_of(self, address: bytes) -> str | None:
        """Return the one-label name of the host with this packed address; empty or None when nobody has it."""


class LocalAnswer(NamedTuple):
    """An answer from home. `authority` has the SOA of a negative answer (RFC 2308)."""

    rcode: int
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    authoritative: bool = True


class _Cut(NamedTuple):
    """Where a locally answered piece of the tree begins."""

    apex: bytes
    forward: bool = False  # its own servers know it
    exists: bool = True  # the apex has SOA and NS; otherwise nothing is there at all
    public: bool = False  # the world's DNS has a cut here too and proves it insecure: its DS is asked there
    ttl: int = SPECIAL_TTL


class LocalNames:
    """Answers for the home. Immutable but for what `hosts` says."""

    def __init__(
        self,
        name: bytes,
        addresses: Iterable[bytes] = (),
        zone: bytes = b"\x04home\x04arpa\x00",
        hosts: Hosts | None = None,
        forwards: Iterable[bytes] = (),
    ) -> None:
        """`name` is the gateway's wire name, `addresses` its packed addresses (none: the one that was asked), `zone`
        the home's own zone, `forwards` the domains that have their own servers. Of two that cover a name the longer
        one wins, and of two equal ones the forward.
        """
        self._name = name
        self._addresses = tuple(addresses)
        self._zone = zone
        self._hosts = hosts
        self._refused_labels = _REFUSED_LABELS | {format_name(name).partition(".")[0]}
        self._cuts = _special_cuts()
        self._cuts[zone] = _Cut(zone, public=zone in self._cuts and self._cuts[zone].public, ttl=HOST_TTL)
        self._cuts.update((domain, _Cut(domain, forward=True)) for domain in forwards if domain != ROOT)
        self._cuts.pop(ROOT, None)

    def answer(self, qname: bytes, qtype: int, asked_address: bytes | None) -> LocalAnswer | None:
        """Return what the home says of a lower-case wire name, or None when it is not the home's to say.

        `asked_address` is the packed address of ours that the query came to. None for a name that `forwards` covers as
        well: its servers are the caller's choice.
        """
        if qname == self._name:
            return self._own_answer(qname, qtype, asked_address)
        cut = next((self._cuts[suffix] for suffix in suffixes(qname) if suffix in self._cuts), None)
        if cut is not None:
            if cut.forward:
                return None
            if cut.apex == self._zone:
                return self._zone_answer(cut, qname, qtype)
            if cut.apex == _LOCALHOST:
                return _addresses_answer(cut, qname, qtype, (LOOPBACK_4, LOOPBACK_6))
        if qname.endswith((_IN_ADDR, _IP6)):
            return self._reverse_answer(cut, qname, qtype, asked_address)
        if cut is not None:
            return _empty_answer(cut, qname, qtype)
        if qname != ROOT and qname[1 + qname[0]] == 0:
            return self._single_label_answer(qname, qtype, asked_address)
        return None

    def own_addresses(self, asked_address: bytes | None) -> tuple[bytes, ...]:
        """Return the packed addresses of the gateway: the configured ones, else the one that was asked."""
        if self._addresses or asked_address is None:
            return self._addresses
        return (unmap(asked_address),)

    def _own_answer(self, qname: bytes, qtype: int, asked_address: bytes | None) -> LocalAnswer:
        apex = self._zone if is_below(qname, self._zone) else qname
        return _addresses_answer(_Cut(apex, ttl=HOST_TTL), qname, qtype, self.own_addresses(asked_address))

    def _zone_answer(self, cut: _Cut, qname: bytes, qtype: int) -> LocalAnswer | None:
        if qname == cut.apex:
            if qtype == TYPE_DS:
                # The parent's business: public for home.arpa (RFC 8375 section 4), a secret of the home otherwise.
                return None if cut.public else _negative(cut, RCODE_NOERROR, self._name)
            return _apex_answer(cut, qtype, self._name)
        below = qname[: -len(cut.apex)]
        addresses = self._addresses_of(below[1:]) if len(below) == 1 + below[0] else ()
        if addresses:
            return _addresses_answer(cut, qname, qtype, addresses, self._name)
        exists = is_below(self._name, qname)  # a name between the zone and the gateway's own
        return _negative(cut, RCODE_NOERROR if exists else RCODE_NXDOMAIN, self._name)

    def _addresses_of(self, label: bytes) -> tuple[bytes, ...]:
        text = label.decode("ascii", "replace")
        if self._hosts is None or text in self._refused_labels or not label.isascii():
            return ()
        return self._hosts.addresses_of(text)

    def _single_label_answer(self, qname: bytes, qtype: int, asked_address: bytes | None) -> LocalAnswer | None:
        """A name of one label is a thing in the home or a mistake; NODATA, never NXDOMAIN, because `com` is one as well
        and RFC 8020 would then deny all below it.
        """
        cut = _Cut(qname, ttl=HOST_TTL)
        if qname[:-1] == self._name[: len(qname) - 1]:
            return _addresses_answer(cut, qname, qtype, self.own_addresses(asked_address))
        label = qname[1:-1]
        addresses = self._addresses_of(label)
        if addresses:
            return _addresses_answer(cut, qname, qtype, addresses)
        if qtype in _VALIDATOR_TYPES and (label.isalpha() or label.startswith(b"xn--")):
            return None
        return _negative(cut, RCODE_NOERROR)

    def _reverse_answer(
        self, cut: _Cut | None, qname: bytes, qtype: int, asked_address: bytes | None
    ) -> LocalAnswer | None:
        address = parse_reverse_name(qname)
        if address is not None:
            target = self._reverse_target(address, asked_address)
            if target is not None:
                owner_cut = cut or _Cut(qname, ttl=HOST_TTL)
                if qtype in (TYPE_PTR, TYPE_ANY):
                    return LocalAnswer(RCODE_NOERROR, (Record(qname, TYPE_PTR, CLASS_IN, HOST_TTL, target),))
                return _negative(owner_cut, RCODE_NOERROR)
            if cut is None and is_private_address(address):  # ::ffff:192.168.1.1 and its like
                cut = _Cut(qname, exists=False)
        if cut is None:
            return None
        if qname != cut.apex and address is None and _is_part_of_address(qname):
            return _negative(cut, RCODE_NOERROR)  # there may be hosts below it
        return _empty_answer(cut, qname, qtype)

    def _reverse_target(self, address: bytes, asked_address: bytes | None) -> bytes | None:
        if address in (LOOPBACK_4, LOOPBACK_6):
            return _LOCALHOST
        if address in self.own_addresses(asked_address):
            return self._name
        label = self._hosts.name_of(address) if self._hosts is not None else None
        if not label or label.lower() in self._refused_labels or "." in label:
            return None
        try:
            target = parse_name(label)[:-1] + self._zone
        except TextError:
            return None  # what a device calls itself need not be a name
        return target if len(target) <= MAX_NAME_BYTES else None


def unmap(address: bytes) -> bytes:
    """Return the IPv4 address inside a v4-mapped one (RFC 4291 section 2.5.5.2), any other as it is."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


_MAPPED = bytes(10) + b"\xff\xff"
_LOCAL_NAT64 = bytes.fromhex("0064ff9b0001")
# Prefixes of 96 bits with an IPv4 address behind: mapped, compatible (deprecated), NAT64 (RFC 6052).
_EMBEDDING = frozenset({_MAPPED, bytes(12), bytes.fromhex("0064ff9b") + bytes(8)})


def is_private_address(packed: bytes) -> bool:
    """Tell whether a packed IPv4 or IPv6 address is one of a home: no public name should answer with it.

    RFC 1918, loopback, link-local, this-network (0/8), shared (RFC 6598), unique and site-local IPv6, local NAT64
    (RFC 8215), and IPv6 forms with such an IPv4 address inside.
    """
    first = packed[0]
    if len(packed) == 4:
        return (
            first in (0, 10, 127)
            or (first == 192 and packed[1] == 168)
            or (first == 172 and 16 <= packed[1] < 32)
            or (first == 169 and packed[1] == 254)
            or (first == 100 and 64 <= packed[1] < 128)
        )
    if first == 0:
        return packed.startswith(_LOCAL_NAT64) or (packed[:12] in _EMBEDDING and is_private_address(packed[12:]))
    return first in (0xFC, 0xFD) or (first == 0xFE and packed[1] >= 0x80)


def parse_reverse_name(name: bytes) -> bytes | None:
    """Return the packed address of a whole reverse name (four octets under in-addr.arpa, 32 nibbles under ip6.arpa) or
    None.
    """
    labels = _reverse_labels(name)
    if labels is None:
        return None
    if name.endswith(_IN_ADDR):
        return bytes(int(label) for label in reversed(labels)) if len(labels) == 4 else None
    return bytes.fromhex(b"".join(reversed(labels)).decode()) if len(labels) == 32 else None


def _is_part_of_address(name: bytes) -> bool:
    return _reverse_labels(name) is not None


def _reverse_labels(name: bytes) -> list[bytes] | None:
    """The labels before in-addr.arpa or ip6.arpa, when each is an octet or a nibble."""
    parent = _IN_ADDR if name.endswith(_IN_ADDR) else _IP6
    labels = [suffix[1 : 1 + suffix[0]] for suffix in suffixes(name) if len(suffix) > len(parent)]
    if parent == _IN_ADDR:
        fits = all(label.isdigit() and str(int(label)).encode() == label and int(label) < 256 for label in labels[:5])
        return labels if fits and len(labels) <= 4 else None
    fits = all(len(label) == 1 and label in b"0123456789abcdef" for label in labels)
    return labels if fits and len(labels) <= 32 else None


def _special_cuts() -> dict[bytes, _Cut]:
    cuts = [_Cut(parse_name(name), exists=False) for name in _NEVER]
    cuts += [_Cut(parse_name(name), public=True) for name in _EMPTY]
    cuts += [_Cut(parse_name(f"{name}.in-addr.arpa"), public=True) for name in _EMPTY_REVERSE]
    cuts += [_Cut(parse_name(f"{name}.ip6.arpa"), public=True) for name in _EMPTY_REVERSE_6]
    cuts += [_Cut(parse_name(f"{name}.ip6.arpa")) for name in _EMBEDDED_6]
    cuts.append(_Cut(_LOCALHOST))
    return {cut.apex: cut for cut in cuts}


def _addresses_answer(
    cut: _Cut, qname: bytes, qtype: int, addresses: Iterable[bytes], primary: bytes = b""
) -> LocalAnswer:
    """The addresses of the type asked for; NODATA when there is none of that type."""
    records = []
    for address in addresses:
        type_ = TYPE_A if len(address) == 4 else TYPE_AAAA
        if qtype in (type_, TYPE_ANY):
            records.append(Record(qname, type_, CLASS_IN, cut.ttl, address))
    if records:
        return LocalAnswer(RCODE_NOERROR, tuple(records))
    return _negative(cut, RCODE_NOERROR, primary)


def _empty_answer(cut: _Cut, qname: bytes, qtype: int) -> LocalAnswer | None:
    if not cut.exists:
        return _negative(cut, RCODE_NXDOMAIN)
    if qname == cut.apex:
        if qtype == TYPE_DS and cut.public:
            return None
        return _apex_answer(cut, qtype)
    if cut.apex == _RESOLVER:
        return _negative(cut, RCODE_NOERROR)  # no designated resolvers (RFC 9462 section 6.4)
    return _negative(cut, RCODE_NXDOMAIN)


def _apex_answer(cut: _Cut, qtype: int, primary: bytes = b"") -> LocalAnswer:
    if qtype == TYPE_SOA:
        return LocalAnswer(RCODE_NOERROR, (_soa(cut, primary),))
    if qtype == TYPE_NS:
        return LocalAnswer(RCODE_NOERROR, (Record(cut.apex, TYPE_NS, CLASS_IN, cut.ttl, primary or cut.apex),))
    return _negative(cut, RCODE_NOERROR, primary)


def _negative(cut: _Cut, rcode: int, primary: bytes = b"") -> LocalAnswer:
    return LocalAnswer(rcode, (), (_soa(cut, primary),))


def _soa(cut: _Cut, primary: bytes) -> Record:
    """The SOA of RFC 6303 section 3: serial 1, nobody answers for it; the last number is the negative TTL."""
    times = struct.pack(">5I", 1, 3600, 1200, 604800, cut.ttl)
    return Record(cut.apex, TYPE_SOA, CLASS_IN, cut.ttl, (primary or cut.apex) + _NOBODY + times)
