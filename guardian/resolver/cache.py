"""The answer cache, shared by all profiles: what upstreams said, unfiltered. Pure state; `second` is passed in.

Seconds are whole seconds of a monotonic clock. An entry keeps its records rendered for a question at offset 12 and the
places of the TTLs, so that an answer costs one copy and a few numbers. Expired entries stay for a while (RFC 8767).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from guardian.errors import FormError
from guardian.names import ROOT, format_name, is_below, suffixes
from guardian.wire import dns
from guardian.wire.dns import Message, Record
from guardian.wire.svcb import KEY_ECH, parse_service_binding, read_hints, strip_ech

STALE_TTL = 30  # seconds, RFC 8767 section 4
FAILURE_TTL = 5  # seconds that a SERVFAIL is kept, RFC 9520 section 3.2
MAX_NEGATIVE_TTL = 3600  # RFC 2308 section 5 suggests one to three hours
MAX_CHAIN = 16  # CNAMEs in one answer
MAX_REVEALED = 64  # targets in one answer: each is judged at each query
NEVER_FAILED = -1 << 30
ENTRY_OVERHEAD = 600  # bytes of Python objects around an entry's own bytes, measured
NAME_HEADROOM = dns.HEADER_BYTES

_TTL = struct.Struct(">I")
_SERVICE_TYPES = (dns.TYPE_SVCB, dns.TYPE_HTTPS)
_NEGATIVE_TYPES = (dns.TYPE_SOA, dns.TYPE_NSEC, dns.TYPE_NSEC3, dns.TYPE_RRSIG)


class Limits(NamedTuple):
    """Bounds on what is kept. All in seconds, but `max_bytes`."""

    max_bytes: int = 16 * 1024 * 1024
    min_ttl: int = 0
    max_ttl: int = 86400
    stale: int = 86400  # how long past its expiry an entry may serve


class Entry:
    """One answer as upstream gave it. Made by `make_entry`."""

    __slots__ = (
        "answers",
        "authenticated",
        "authority",
        "error",
        "expires",
        "failed",
        "has_ech",
        "hits",
        "key",
        "name_bytes",
        "private",
        "rcode",
        "records",
        "revealed",
        "stored",
        "stripped",
        "ttl_places",
        "type",
    )

    def __init__(self, key: bytes, name: bytes, qtype: int, second: int) -> None:
        """`key` is made by `make_key` and begins with `name`."""
        self.key = key
        self.name_bytes = len(name)
        self.type = qtype
        self.stored = second
        self.rcode = dns.RCODE_NOERROR
        self.records = b""
        self.answers = 0
        self.authority = 0
        self.authenticated = False
        self.ttl_places: tuple[int, ...] = ()  # where the TTLs stand in `records`
        self.expires = second
        self.revealed: tuple[bytes, ...] = ()  # names that the answer leads to
        self.private = False  # holds an address of a home network
        self.has_ech = False
        self.stripped: Entry | None = None  # the same answer without ech
        self.error: tuple[int, bytes] | None = None  # an Extended DNS Error to pass on
        self.failed = NEVER_FAILED  # second of the last failed attempt to refresh it
        self.hits = 0

    @property
    def name(self) -> bytes:
        """The lower-case wire name."""
        return self.key[: self.name_bytes]

    @property
    def lifetime(self) -> int:
        """Seconds from `stored` to `expires`."""
        return self.expires - self.stored

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        size = ENTRY_OVERHEAD + len(self.records) + len(self.key) + 8 * len(self.ttl_places) + 80 * len(self.revealed)
        return 2 * size if self.has_ech else size  # its twin without ech

    @property
    def is_failure(self) -> bool:
        """Whether this is no answer but an error: kept for a moment, never served stale."""
        return self.rcode not in (dns.RCODE_NOERROR, dns.RCODE_NXDOMAIN)

    def render(self, second: int, cap: int) -> bytes:
        """Return the records with TTLs counted down to `second` and none above `cap` seconds."""
        if not self.ttl_places:
            return self.records
        out = bytearray(self.records)
        age = second - self.stored
        for place in self.ttl_places:
            left = _TTL.unpack_from(out, place)[0] - age
            if left > cap:
                left = cap
            _TTL.pack_into(out, place, left if left > 0 else 0)
        return bytes(out)

    def render_stale(self, cap: int) -> bytes:
        """Return the records with the TTL of stale data."""
        out = bytearray(self.records)
        for place in self.ttl_places:
            _TTL.pack_into(out, place, min(STALE_TTL, cap))
        return bytes(out)

    def without_ech(self) -> Entry:
        """Return the same answer with the `ech` SvcParam taken out of every HTTPS and SVCB record."""
        if not self.has_ech:
            return self
        if self.stripped is None:
            twin = Entry(self.key, self.name, self.type, self.stored)
            twin.rcode, twin.expires = self.rcode, self.expires
            twin.revealed, twin.private, twin.hits = self.revealed, self.private, self.hits
            answers = [
                record._replace(rdata=strip_ech(record.rdata)) if record.type in _SERVICE_TYPES else record
                for record in self.parse().answers
                if record.type != dns.TYPE_RRSIG  # the signature no longer fits
            ]
            _set_records(twin, answers, [])
            self.stripped = twin
        return self.stripped

    def addresses(self) -> tuple[bytes, ...]:
        """Return the packed addresses that the answer gives, hints of HTTPS and SVCB records included."""
        found: list[bytes] = []
        for record in self.parse().answers:
            if record.type in (dns.TYPE_A, dns.TYPE_AAAA):
                found.append(record.rdata)
            elif record.type in _SERVICE_TYPES:
                found += read_hints(record.rdata)
        return tuple(found)

    def parse(self) -> Message:
        """Return the entry as a message, for the few who need its records as values."""
        head = struct.pack(">6H", 0, dns.FLAG_QR | self.rcode, 1, self.answers, self.authority, 0)
        question = self.name + struct.pack(">2H", self.type, dns.CLASS_IN)
        return dns.parse_message(head + question + self.records)


def make_key(name: bytes, qtype: int, dnssec_ok: bool, checking_disabled: bool, target: bytes = b"") -> bytes:
    """Return the cache key of a lower-case wire name; `target` sets rewritten answers apart.

    Answers with CD set may be bogus: they are never found without it.
    """
    return name + qtype.to_bytes(2) + bytes((dnssec_ok | checking_disabled << 1,)) + target


def make_entry(
    key: bytes,
    name: bytes,
    qtype: int,
    message: Message,
    second: int,
    limits: Limits,
    is_private: Callable[[bytes], bool],
) -> Entry:
    """Return the entry for upstream's `message`. Raises FormError when its records make no sense.

    Only records on the way from `name` along CNAME and DNAME are kept, and for negative answers the SOA and the proof:
    an upstream that lies about other names is not heard.
    """
    entry = Entry(key, name, qtype, second)
    entry.rcode = message.rcode if message.rcode <= dns.RCODE_MASK else dns.RCODE_SERVFAIL
    entry.authenticated = bool(message.flags & dns.FLAG_AD)
    answers = _follow(name, message.answers)
    negative = entry.rcode != dns.RCODE_NOERROR or not any(record.type == qtype for record in answers)
    proof = negative or key[len(name) + 2] & 1
    authority = (
        [r for r in message.authority if r.class_ == dns.CLASS_IN and r.type in _NEGATIVE_TYPES] if proof else []
    )
    entry.revealed = tuple(dict.fromkeys(target for target in dns.names_in(answers) if target != name))
    if len(entry.revealed) > MAX_REVEALED:
        raise FormError("too many targets")
    entry.private = any(_holds_private(record, is_private) for record in answers)
    entry.has_ech = any(record.type in _SERVICE_TYPES and _has_ech(record.rdata) for record in answers)
    answers = [r._replace(ttl=min(max(r.ttl, limits.min_ttl), limits.max_ttl)) for r in answers]
    _set_records(entry, answers, authority)
    entry.expires = second + _lifetime(entry.rcode, negative, answers, authority, limits)
    return entry


def make_failure(key: bytes, name: bytes, qtype: int, second: int, code: int, text: str) -> Entry:
    """Return a SERVFAIL that is kept for a moment, with its Extended DNS Error."""
    entry = Entry(key, name, qtype, second)
    entry.rcode = dns.RCODE_SERVFAIL
    entry.error = dns.build_extended_error(code, text)
    entry.expires = second + FAILURE_TTL
    return entry


def make_rewrite(key: bytes, name: bytes, target: bytes, found: Entry, ttl: int) -> Entry:
    """Return the answer that leads `name` to `target` by a CNAME, with what `found` says of the target."""
    entry = Entry(key, name, found.type, found.stored)
    entry.rcode = found.rcode if found.rcode == dns.RCODE_SERVFAIL else dns.RCODE_NOERROR
    answers = [Record(name, dns.TYPE_CNAME, dns.CLASS_IN, ttl, target), *found.parse().answers]
    _set_records(entry, answers, [])
    entry.expires = found.expires
    entry.private, entry.error = found.private, found.error
    return entry


def _set_records(entry: Entry, answers: list[Record], authority: list[Record]) -> None:
    out = bytearray(NAME_HEADROOM) + entry.name + entry.type.to_bytes(2) + dns.CLASS_IN.to_bytes(2)
    start = len(out)
    offsets: dict[bytes, int] = {}
    position = NAME_HEADROOM
    while length := entry.name[position - NAME_HEADROOM]:
        offsets[entry.name[position - NAME_HEADROOM :]] = position
        position += 1 + length
    places = []
    for record in (*answers, *authority):
        before = len(out)
        dns.write_record(out, record, offsets)
        owner_end = _skip_name(out, before)
        places.append(owner_end + 4 - start)
    entry.records = bytes(out[start:])
    entry.answers, entry.authority = len(answers), len(authority)
    entry.ttl_places = tuple(places)


def _skip_name(data: bytearray, position: int) -> int:
    while length := data[position]:
        if length >= 0xC0:
            return position + 2
        position += 1 + length
    return position + 1


def _follow(name: bytes, records: tuple[Record, ...]) -> list[Record]:
    """The records owned by `name` or by what CNAME and DNAME records lead to, chains in the order clients expect."""
    names = {name}
    parents = set(suffixes(name))  # of all names, themselves included: kept as a set, or a long chain costs minutes
    kept: list[Record] = []
    left = [record for record in records if record.class_ == dns.CLASS_IN]
    while True:  # mostly once; again when an upstream gave a chain out of order
        others = []
        for record in left:
            owner = record.owner.lower()
            # A DNAME stands above the name that it leads away; nothing else that stands there is asked for.
            above = record.type in (dns.TYPE_DNAME, dns.TYPE_RRSIG) and (owner in parents or owner == ROOT)
            if owner not in names and not above:
                others.append(record)
                continue
            kept.append(record)
            if record.type == dns.TYPE_CNAME:
                target = record.rdata.lower()
                names.add(target)
                parents.update(suffixes(target))
                if len(names) > MAX_CHAIN:
                    raise FormError("CNAME chain too long")
        if not others or len(others) == len(left):
            return kept
        left = others


def _holds_private(record: Record, is_private: Callable[[bytes], bool]) -> bool:
    if record.type in (dns.TYPE_A, dns.TYPE_AAAA):
        if len(record.rdata) != (4 if record.type == dns.TYPE_A else 16):
            raise FormError("address record of the wrong size")
        return is_private(record.rdata)
    if record.type in _SERVICE_TYPES:
        return any(is_private(address) for address in read_hints(record.rdata))
    return False


def _has_ech(rdata: bytes) -> bool:
    return any(key == KEY_ECH for key, _ in parse_service_binding(rdata).params)


def _lifetime(rcode: int, negative: bool, answers: list[Record], authority: list[Record], limits: Limits) -> int:
    if rcode not in (dns.RCODE_NOERROR, dns.RCODE_NXDOMAIN):
        return FAILURE_TTL
    ttls = [record.ttl for record in answers]
    if negative:
        soa = next((record for record in authority if record.type == dns.TYPE_SOA), None)
        if soa is None:
            ttls.append(0)  # RFC 2308 section 5: no SOA, not cached
        else:
            ttls.append(min(soa.ttl, int.from_bytes(soa.rdata[-4:]), MAX_NEGATIVE_TTL))
    return min(ttls, default=0)


class Cache:
    """Entries by key, the least recently used first, bounded in bytes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self._entries: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: bytes, second: int) -> Entry | None:
        """Return the entry of `key`, fresh or stale (see its `expires`), or None."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        if second >= entry.expires + (0 if entry.is_failure else self.limits.stale):
            self.bytes -= entry.size
            return None
        self._entries[key] = entry  # now the most recently used
        return entry

    def put(self, entry: Entry) -> None:
        """Keep `entry`; the least recently used ones leave when the bytes are used up.

        A failure never takes the place of an answer that may still serve stale.
        """
        old = self._entries.get(entry.key)
        if old is not None:
            if entry.is_failure and not old.is_failure:
                old.failed = entry.stored
                return
            del self._entries[entry.key]
            self.bytes -= old.size
        self._entries[entry.key] = entry
        self.bytes += entry.size
        while self.bytes > self.limits.max_bytes and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            self.bytes -= self._entries.pop(oldest).size

    def flush(self, name: bytes | None = None) -> int:
        """Forget all entries, or those of a wire name and all below it; return how many."""
        doomed = [key for key, entry in self._entries.items() if name is None or is_below(entry.name, name)]
        for key in doomed:
            self.bytes -= self._entries.pop(key).size
        return len(doomed)

    def flush_leading(self, domain: bytes) -> None:
        """Forget what is below a wire name, and what leads there."""
        # Most entries are sorted out by one look into their bytes.
        suspects = [
            entry
            for entry in self._entries.values()
            if domain in entry.key or (entry.revealed and any(domain in name for name in entry.revealed))
        ]
        for entry in suspects:
            if any(is_below(name, domain) for name in (entry.name, *entry.revealed)):
                self.drop(entry)

    def drop(self, entry: Entry) -> None:
        """Forget an entry, if it is still there."""
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
            self.bytes -= entry.size

    def names(self) -> list[str]:
        """Return the presentation form of what is kept, for tests and `status`."""
        return [format_name(entry.name) for entry in self._entries.values()]
