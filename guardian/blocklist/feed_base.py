"""The base of a feed: salt and cost of the slow hash, the table of public suffixes, the known-good filter.

Desk and router find the registrable domain of a name with the same table, the base's own, so they always agree. The
lookups work on the bytes of a mapped file; whatever these are, no lookup raises.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from guardian.blocklist import known_good
from guardian.blocklist.feed_file import (
    open_file,
    pack_file,
    pack_numbers,
    read_numbers,
    take_array,
    take_digest,
    take_int,
    take_line,
    take_word,
)
from guardian.blocklist.layout import ImageBuffer
from guardian.errors import ListError, TextError
from guardian.names import format_name, parse_name, suffixes

MAGIC = b"GKBASE01"
SALT_BYTES = 32
KEY_BYTES = 32
MAX_RULES = 100_000
_WHAT = "the feed's base"
_RULE = 1  # lowest bit of a hash in the table: 1 = a public suffix, 0 = only on the way to a longer one


class Cost(NamedTuple):
    """What one key costs (RFC 7914): N as a power of two, r, p. Memory is 128 * r * N bytes."""

    log2_n: int
    r: int
    p: int


STANDARD = Cost(14, 8, 1)
LEAST = Cost(12, 8, 1)
MOST = Cost(15, 8, 1)  # 32 MB: what a router can spare


class SuffixRules(NamedTuple):
    """Rules of a public suffix list as wire names: `*.ck` is `ck` in wildcards, `!www.ck` is `www.ck` in exceptions."""

    suffixes: frozenset[bytes]
    wildcards: frozenset[bytes]
    exceptions: frozenset[bytes]


class Base:
    """A base over `bytes` or a read-only `mmap`. Opening checks all that lookups rely on. Raises ListError.

    `epoch` such as `2027q1`; `salt` of the slow hash, 32 bytes, and the `salt_digest` by which a list says that it
    belongs to it; `cost` of the slow hash; `test_name`, a listed wire name that everybody may look up, or b"".
    """

    __slots__ = (
        "_buffer", "_exceptions", "_rules", "_salt16", "_shape", "_slots", "_wildcards",
        "cost", "epoch", "salt", "salt_digest", "test_name",
    )  # fmt: skip

    def __init__(self, buffer: ImageBuffer) -> None:
        self._buffer = buffer
        header, sections = open_file(buffer, MAGIC, _WHAT)
        self.epoch = take_word(header, "epoch", _WHAT)
        self.salt = bytes.fromhex(take_digest(header, "salt", 2 * SALT_BYTES, _WHAT))
        self.salt_digest = digest_salt(self.salt)
        self.test_name = _read_name(take_line(header, "test_name", 1024, _WHAT, ""), "test_name")
        self.cost = Cost(*(take_int(header, field, low, high, _WHAT) for field, low, high in _bounds()))
        self._wildcards = _read_names(header, "wildcards")
        self._exceptions = _read_names(header, "exceptions")
        count = take_int(header, "suffixes", 0, MAX_RULES, _WHAT)
        good = take_int(header, "good", 0, known_good.MAX_GOOD, _WHAT)
        self._shape = known_good.Shape(
            take_int(header, "seed", 0, (1 << 64) - 1, _WHAT),
            take_int(header, "segment_length", 0, known_good.MAX_SEGMENT, _WHAT),
            take_int(header, "segment_count", 0, 1 << 32, _WHAT),
        )
        known_good.check_shape(self._shape)
        if bool(good) != bool(self._shape.slots) or len(sections) != 8 * count + 2 * self._shape.slots:
            raise ListError(f"{_WHAT}: its sections do not fill it")
        self._rules = read_numbers(sections, 0, count, "Q", _WHAT)
        self._slots = read_numbers(sections, 8 * count, self._shape.slots, "H", _WHAT)
        self._salt16 = self.salt[:16]

    def key_domain(self, name: bytes) -> bytes | None:
        """Return the registrable domain of a lower-case wire name; None for a public suffix or a single label."""
        starts = []
        position = 0
        while length := name[position]:
            starts.append(position)
            position += 1 + length
        rules, salt = self._rules, self._salt16
        labels = 1  # of the public suffix so far; a name without a rule: its last label is the suffix
        for depth in range(2, len(starts) + 1):
            candidate = name[starts[-depth] :]
            number = _hash(candidate, salt)
            place = bisect_left(rules, number & ~_RULE)
            known = place < len(rules) and rules[place] ^ number <= _RULE
            if known and rules[place] & _RULE:
                labels = depth
            if name[starts[1 - depth] :] in self._wildcards:
                if candidate in self._exceptions:
                    return candidate
                labels = depth
            if not known:
                break
        return name[starts[-labels - 1] :] if labels < len(starts) else None

    def is_known_good(self, domain: bytes) -> bool:
        """Tell whether a key domain is known not to be listed: no further look is needed."""
        return known_good.passes(self._slots, self._shape, _hash(domain, self._salt16))


def derive_key(domain: bytes, salt: bytes, cost: Cost) -> bytes:
    """Return K of a key domain, 32 bytes. Slow by intent (about 70 ms at STANDARD); it releases the GIL.

    Raises ListError for a cost that scrypt does not take.
    """
    n = 1 << cost.log2_n
    room = 128 * cost.r * (n + cost.p + 2) + (1 << 20)
    try:
        return hashlib.scrypt(domain, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=room, dklen=KEY_BYTES)
    except ValueError as error:
        raise ListError(f"scrypt does not take the cost {tuple(cost)}: {error}") from None


def digest_salt(salt: bytes) -> str:
    """Return the 16 hex digits that stand for a salt."""
    return hashlib.sha256(salt).hexdigest()[:16]


def build_base(
    epoch: str,
    salt: bytes,
    cost: Cost,
    rules: SuffixRules,
    good: Iterable[bytes],
    listed: Collection[bytes],
    test_name: bytes = b"",
) -> bytes:
    """Return the bytes of a base. `good` and `listed` are key domains; no listed one passes the filter of good ones.

    The same arguments give the same bytes. Raises ListError for what the reader would refuse.
    """
    short = salt[:16]
    table = _build_rules(rules, short)
    header: dict[str, Any] = {
        "epoch": epoch,
        "salt": salt.hex(),
        "log2_n": cost.log2_n,
        "r": cost.r,
        "p": cost.p,
        "suffixes": len(table),
        "wildcards": sorted(map(format_name, rules.wildcards)),
        "exceptions": sorted(map(format_name, rules.exceptions)),
        "good": 0,
        "seed": 0,
        "segment_length": 0,
        "segment_count": 0,
        "test_name": format_name(test_name) if test_name else "",
    }
    bare = Base(pack_file(MAGIC, header, pack_numbers(table), _WHAT))  # checks all but the filter
    refused = set(listed)
    if test_name:
        domain = bare.key_domain(test_name)
        if domain is None:
            raise ListError(f"{_WHAT}: the test name {format_name(test_name)} is a public suffix: it can't be listed")
        refused.add(domain)
    for domain in refused:
        if bare.key_domain(domain) != domain:
            raise ListError(f"{_WHAT}: {format_name(domain)} is no registrable domain of its table of public suffixes")
    hashes = {_hash(domain, short) for domain in good}
    shape, slots = known_good.build_filter(hashes, [_hash(domain, short) for domain in refused], salt)
    header |= shape._asdict() | {"good": len(hashes) if shape.slots else 0}
    data = pack_file(MAGIC, header, pack_numbers(table) + pack_numbers(slots), _WHAT)
    Base(data)
    return data


def parse_suffix_rules(text: str) -> SuffixRules:
    """Return the rules of a public suffix list as publicsuffix.org writes it, ICANN and private section alike.

    Raises ListError with the line's number for a rule that is no name or has a `*` elsewhere than in front.
    """
    found: dict[str, set[bytes]] = {"": set(), "*.": set(), "!": set()}
    for number, line in enumerate(text.splitlines(), 1):
        rule = line.split(maxsplit=1)[0] if line.strip() else ""
        if not rule or rule.startswith("//"):
            continue
        kind = "!" if rule[0] == "!" else "*." if rule[:2] == "*." else ""
        bare = rule[len(kind) :].removeprefix(".")
        if bare == "*" and not kind:
            continue  # the rule for names without a rule, which always holds
        try:
            if "*" in bare or "!" in bare:
                raise TextError("a '*' may stand in front only")
            found[kind].add(parse_name(bare))
        except TextError as error:
            raise ListError(f"public suffix list, line {number}: {rule[:80]!r}: {error}") from None
    return SuffixRules(frozenset(found[""]), frozenset(found["*."]), frozenset(found["!"]))


def _hash(name: bytes, salt: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8, salt=salt).digest(), "little")


def _bounds() -> Iterable[tuple[str, int, int]]:
    return zip(Cost._fields, LEAST, MOST, strict=True)


def _build_rules(rules: SuffixRules, salt: bytes) -> array[int]:
    # Every name on the way to a rule is in the table, so that a lookup may stop at the first one that is not.
    for name in rules.exceptions:
        if name[1 + name[0] :] not in rules.wildcards:
            raise ListError(f"{_WHAT}: the exception {format_name(name)} has no wildcard above it")
    # The parent of a wildcard is a suffix too: publicsuffix.org's own test data have it so (`kobe.jp`).
    ends = {name for name in rules.suffixes | rules.wildcards if name[1 + name[0]]}
    ways = {parent for name in (*ends, *rules.exceptions) for parent in suffixes(name)} - ends
    numbers = {_hash(name, salt) | _RULE for name in ends}
    numbers |= {_hash(name, salt) & ~_RULE for name in ways if name[1 + name[0]]}
    if len({number | _RULE for number in numbers}) != len(numbers):
        raise ListError(f"{_WHAT}: two public suffixes have one hash: take another salt")
    return array("Q", sorted(numbers))


def _read_names(header: dict[str, Any], field: str) -> frozenset[bytes]:
    names = take_array(header, field, MAX_RULES, _WHAT)
    return frozenset(_read_name(name, field) for name in names)


def _read_name(text: object, field: str) -> bytes:
    if text == "" and field == "test_name":
        return b""
    if not isinstance(text, str) or not text.isascii():
        raise ListError(f"{_WHAT}: '{field}' holds something that is no name")
    try:
        return parse_name(text)
    except TextError as error:
        raise ListError(f"{_WHAT}: '{field}': {error}") from None
