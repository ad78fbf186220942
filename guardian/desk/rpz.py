"""A list as a Response Policy Zone for an ISP's own resolvers (draft-vixie-dnsop-dns-rpz-00; docs/rpz.md).

A zone is plain text, so the licence of each entry decides. `public` may go to anybody. `isp_only` goes to ISPs and
nowhere else. `hashed_ok` means that the entry may leave the hotline only as a hash: never here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple, Protocol

from guardian.errors import DeskError, TextError
from guardian.names import MAX_NAME_BYTES, format_name, parse_name

TTL_SECONDS = 300  # of the answers: a name that is taken off the list is reachable again soon
# SOA: how often secondaries look (seconds), when they look again, when they stop believing it, negative TTL.
REFRESH, RETRY, EXPIRE = 900, 300, 14 * 86400
MAX_SERIAL = 0xFFFFFFFF  # RFC 1035 section 3.3.13
FOR_EVERYBODY, FOR_ISPS = frozenset({"public"}), frozenset({"public", "isp_only"})


class Mode(Enum):
    """What a listed name is answered with; the value is the CNAME that says so."""

    NXDOMAIN = "."
    NODATA = "*."
    CNAME = ""  # a name of the ISP's own, with a page that explains


class ListedEntry(Protocol):
    """What an entry must have."""

    @property
    def scope(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def licence_class(self) -> str: ...


class ZoneHead(NamedTuple):
    """What a zone says of itself."""

    name: str  # of the zone, without the final dot
    list_id: str
    serial: int
    notes: tuple[str, ...] = ()  # comments at the top


class ZoneCount(NamedTuple):
    """What is in a zone, and what was left out and why."""

    domains: int = 0  # with everything below them
    hosts: int = 0  # alone
    pages: int = 0  # DNS knows no pages: never widened to their host
    hashed_only: int = 0  # licence `hashed_ok`
    isp_only: int = 0  # licence `isp_only`, and the zone is not for an ISP
    too_long: int = 0  # a name that has no room before the zone's own


class Zone(NamedTuple):
    """The text of a zone file, and what was counted."""

    text: str
    counted: ZoneCount


def read_mode(text: str, target: str = "") -> str:
    """Return the CNAME of a mode: `nxdomain`, `nodata`, or `cname` with a target. Raises DeskError."""
    try:
        mode = Mode[text.upper()]
    except KeyError:
        raise DeskError(f"'{text}' is no mode: nxdomain, nodata or cname") from None
    if (mode is Mode.CNAME) != bool(target):
        raise DeskError("mode cname, and it alone, needs a target: the name of the page that explains")
    if mode is not Mode.CNAME:
        return str(mode.value)
    return f"{format_name(read_zone_name(target))}."


def read_zone_name(text: str) -> bytes:
    """Return the wire name of a zone or a target. Raises DeskError for what is no name, or is none of two labels."""
    try:
        wire = parse_name(text)
    except TextError as error:
        raise DeskError(str(error)) from None
    name = format_name(wire)
    if "." not in name.strip(".") or "\\" in name:
        raise DeskError(f"'{text}' is no name like rpz.hotline.example")
    return wire


def write_zone(
    entries: Iterable[ListedEntry], head: ZoneHead, answer: str, licences: frozenset[str] = FOR_EVERYBODY
) -> Zone:
    """Return the zone file of a list's entries: name and `*.name` for a domain, the name for a host.

    `answer` is what `read_mode` returns. Entries come sorted, so that the same entries make the same text. Raises
    DeskError for an entry that is no name, and for a licence that this version does not know.
    """
    room = MAX_NAME_BYTES - len(read_zone_name(head.name))
    counted: dict[str, int] = dict.fromkeys(ZoneCount._fields, 0)
    owners: set[str] = set()
    for entry in entries:
        what = _sort_out(entry, licences)
        if what in ("domains", "hosts"):
            wire = _read_name(entry)
            needed = len(wire) - 1 + (2 if what == "domains" else 0)  # `*` and its length
            if needed > room:
                what = "too_long"
            else:
                name = format_name(wire)
                owners |= {name, f"*.{name}"} if what == "domains" else {name}
        counted[what] += 1
    lines = [*_write_head(head), *(f"{owner} CNAME {answer}" for owner in sorted(owners))]
    return Zone("\n".join(lines) + "\n", ZoneCount(**counted))


def _sort_out(entry: ListedEntry, licences: frozenset[str]) -> str:
    """Return under which field of ZoneCount an entry goes."""
    if entry.licence_class not in ("public", "hashed_ok", "isp_only"):
        raise DeskError(f"licence class '{entry.licence_class}' is not known here: nothing is exported")
    if entry.licence_class not in licences:
        return "hashed_only" if entry.licence_class == "hashed_ok" else "isp_only"
    match entry.scope:
        case "domain":
            return "domains"
        case "host":
            return "hosts"
        case "url" | "url_prefix":
            return "pages"
        case _:
            raise DeskError(f"scope '{entry.scope}' is not known here: nothing is exported")


def _read_name(entry: ListedEntry) -> bytes:
    try:
        return parse_name(entry.value)
    except TextError as error:
        raise DeskError(f"an entry of scope {entry.scope} is no name: {error}") from None


def _write_head(head: ZoneHead) -> Iterable[str]:
    if not 0 < head.serial <= MAX_SERIAL:
        raise DeskError(f"serial {head.serial} does not fit into a zone (1 to {MAX_SERIAL})")
    for note in head.notes:
        yield "; " + "".join(char if char.isprintable() and char.isascii() else "?" for char in note)
    yield f"$ORIGIN {format_name(read_zone_name(head.name))}."
    yield f"$TTL {TTL_SECONDS}"
    # The zone is loaded as a file or transferred; nobody asks its servers by name, so the name is one that has none.
    yield f"@ SOA localhost. hostmaster.localhost. {head.serial} {REFRESH} {RETRY} {EXPIRE} {TTL_SECONDS}"
    yield "@ NS localhost."


def next_serial(before: str, zone: Callable[[int], str], now: float) -> tuple[int, bool]:
    """Return the serial for a zone that replaces the file `before` ("" = none), and whether its records changed.

    `zone` writes the text for a serial. Entries end by the clock and `isp_only` ones are in no bundle, so the list's
    own serial may stay while the zone changes: this one is the time (epoch seconds), and always above the one before.
    """
    old = read_serial(before)
    if old and _records(zone(old)) == _records(before):
        return old, False
    return max(int(now), old + 1), True


def _records(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(";")]


def read_serial(text: str) -> int:
    """Return the serial of a zone file that `write_zone` has made, 0 for any other text."""
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["@", "SOA"] and len(words) > 4 and words[4].isascii() and words[4].isdigit():
            return int(words[4])
    return 0
