"""The values of the policy. Settings are frozen dataclasses; what travels per query is a NamedTuple.

Times: `now` and `until` are seconds since the epoch (UTC, float); minutes of a day are 0..1440 local wall-clock time;
days are 0 = Monday .. 6 = Sunday. Names are wire names (see `guardian.names`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from typing import Final, NamedTuple, Protocol

FOREVER = float("inf")
UNSETTLED: Final = 1 << 8192  # in a mask of tags, behind all of them: a slow list has not spoken yet, ask it first


class Action(enum.Enum):
    ALLOW = "allow"
    BLOCK = "block"
    REWRITE = "rewrite"


class Reason(enum.Enum):
    """Which step of the policy spoke, in the order of the steps."""

    HELPLINE = "helpline"  # always reachable, leaves no trace
    MANDATORY = "mandatory"  # illegal content, every device of the home
    PAUSE = "pause"
    CLOCK = "clock"  # the box does not know the time yet: what hours and minutes limit is closed
    SCHEDULE = "schedule"  # bedtime, homework: a window without internet
    MINUTES = "minutes"  # the minutes of the day or week, or those of a service or group, are used up
    RULE = "rule"  # a parent's own allow or block rule
    BYPASS = "bypass"  # ways around the filter: DoH, VPN, proxies, private relay
    SERVICE = "service"
    CATEGORY = "category"
    ALLOW_LIST_ONLY = "allow-list-only"
    SAFE_SEARCH = "safe-search"
    REBINDING = "rebinding"  # a public name that answers with an address of the home
    DEFAULT = "default"  # nothing objected


class Kind(enum.Enum):
    """Where a subject was seen."""

    DNS_QUERY = "query"
    DNS_ANSWER = "answer"  # a CNAME, HTTPS or SVCB target that the answer revealed
    TLS = "tls"
    QUIC = "quic"
    HTTP = "http"
    ADDRESS = "address"
    UNREADABLE = "unreadable"


class Subject(NamedTuple):
    """Who asks for what. `device` is a device id, or "" for a device that nobody has named yet."""

    device: str
    kind: Kind
    value: bytes  # a wire name; a packed address for Kind.ADDRESS; b"" for Kind.UNREADABLE


class Decision(NamedTuple):
    """The one answer of the policy.

    `rule` names the entry that spoke (`category:gambling`, `rule:block example.com`, `schedule:bedtime`). `until` is
    the moment at which the decision may change; it caps every TTL and flow mark. `target` is set for REWRITE only.
    """

    action: Action
    reason: Reason
    rule: str
    until: float
    target: bytes = b""


class NameLists(Protocol):
    """What the policy needs from the compiled lists; `guardian.blocklist.image.Image` satisfies it.

    Bit i of a mask stands for `tags[i]`. Tags: `category:NAME`, `service:NAME`, `bypass:NAME` (doh, vpn, proxy, relay,
    canary), `mandatory:NAME`, `helpline` (always reachable), `allowed:NAME` (known good for small children). With the
    hotline's feed `mandatory:LIST:CLASS`, and UNSETTLED for a name whose slow hash is not made yet.
    """

    @property
    def tags(self) -> tuple[str, ...]: ...

    def lookup(self, name: bytes) -> int:
        """Return the mask of the tags that hold for a wire name: itself or a parent listed; allow entries applied."""

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        """Return (tag, listed wire name) for each tag that `lookup` sets: for explanations, not for the hot path."""


class AddressLists(Protocol):
    """What the policy needs from the lists of addresses: known ways around the filter, and mandatory lists."""

    def lookup(self, address: bytes) -> str:
        """Return the tag (`bypass:doh`, `mandatory:NAME`) of a packed address of 4 or 16 bytes, "" when none holds."""


class NoAddresses:
    """Address lists of which there are none."""

    __slots__ = ()

    def lookup(self, address: bytes) -> str:
        """Return ""."""
        return ""


class Visibility(enum.Enum):
    """What parents see of a profile's history."""

    NAMES = "names"
    CATEGORIES = "categories"
    COUNTS = "counts"


class Match(enum.Enum):
    SUBDOMAINS = "subdomains"  # example.com: the name and all below it
    EXACT = "exact"  # =example.com: this name only
    WILDCARD = "wildcard"  # *.example.com: all below, not itself; ads*.example.com: one label with a pattern


@dataclass(frozen=True, slots=True)
class Rule:
    """A parent's own rule. `pattern` is as written, in A-labels, lower case; `expires` in epoch seconds."""

    action: Action  # ALLOW or BLOCK
    pattern: str
    match: Match
    expires: float = FOREVER
    note: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days. `end <= start` runs past midnight and belongs to the day on which it starts."""

    days: frozenset[int]
    start: int  # minutes after midnight, 0..1439
    end: int  # 0..1440; 1440 is midnight at the day's end
    label: str = "bedtime"


@dataclass(frozen=True, slots=True)
class DayException:
    """One date on which other windows hold: they replace all windows that would start on that date."""

    day: date
    windows: tuple[Window, ...]  # `days` is not looked at; no windows = online all day
    note: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The hours without internet."""

    windows: tuple[Window, ...] = ()
    exceptions: tuple[DayException, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceRule:
    """What a profile says of one service.

    ALLOW beats a category. BLOCK with `hours` is open in those hours, which means the same as ALLOW, and blocked else.
    ALLOW with `hours` says nothing outside them.
    """

    service: str
    action: Action
    hours: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupMinutes:
    """The minutes of a service or of a group of services, within those of the profile."""

    of: str  # a service id (`youtube`), or a group of the catalogue (`group:games`)
    minutes: tuple[int, ...] = ()  # a day, Monday..Sunday, seven of them; () = no daily limit
    week: int | None = None  # Monday to Sunday; None = no weekly limit


@dataclass(frozen=True, slots=True)
class Bonus:
    """Minutes that a parent gives on top: added to the limit of that day and, from that day on, of its week."""

    day: date
    minutes: int
    of: str = ""  # as in GroupMinutes; "" = the minutes of the profile


class YouTube(enum.Enum):
    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class SafeSearch:
    """Search engines in their safe mode, and YouTube's Restricted Mode."""

    enabled: bool = False
    youtube: YouTube = YouTube.OFF


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of a child or a group.

    `filtered=False` takes rules, services, categories, bypass protection, DNS first and safe search out of force.
    Helplines and mandatory lists stay, and so do a pause, the schedule and minutes, as set: a parent can pause the
    television.
    """

    id: str
    name: str
    age_band: str = ""  # "0-6", "7-9", "10-12", "13-15", "16-17", or "" for adults
    filtered: bool = True
    paused_until: float = 0.0  # epoch seconds; FOREVER = until a parent resumes
    schedule: Schedule = Schedule()
    minutes: tuple[int, ...] = ()  # allowed minutes Monday..Sunday, seven of them; () = no limit
    week_minutes: int | None = None  # allowed minutes Monday to Sunday; None = no limit
    group_minutes: tuple[GroupMinutes, ...] = ()  # of single services and groups
    bonuses: tuple[Bonus, ...] = ()
    rules: tuple[Rule, ...] = ()
    services: tuple[ServiceRule, ...] = ()
    categories: frozenset[str] = frozenset()  # blocked
    allow_list_only: bool = False
    safe_search: SafeSearch = SafeSearch()
    bypass_protection: bool = True
    strict: bool = False  # DNS first: only addresses that our resolver gave to the device are reachable
    visibility: Visibility = Visibility.NAMES
    language: str = ""  # of the block page; "" = the browser's wish

    @property
    def has_minutes(self) -> bool:
        """Tell whether all use has a limit, of the day or the week."""
        return bool(self.minutes) or self.week_minutes is not None


@dataclass(frozen=True, slots=True)
class Device:
    """A thing in the home, found by MAC (`aa:bb:cc:dd:ee:ff`) or by address or prefix (`192.168.1.7`, `fd00::/64`)."""

    id: str
    name: str
    profile: str
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    paused_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Household:
    """All that parents set. `timezone` is an IANA name or a POSIX TZ string; `tz` is what it comes to."""

    timezone: str
    tz: tzinfo
    profiles: tuple[Profile, ...]
    devices: tuple[Device, ...] = ()
    new_device_profile: str = ""  # id of the profile of devices that nobody has named
    rules: tuple[Rule, ...] = ()  # for every filtered profile; a profile's own rule of the same name wins
    language: str = "ro"
    country: str = ""  # ISO 3166 in lower case, whose helplines are shown; "" = by the time zone


@dataclass(frozen=True, slots=True)
class Service:
    """An app or site as parents know it."""

    id: str
    name: str
    group: str  # video, games, social, messaging, ...
    domains: tuple[bytes, ...]  # wire names, each with all below it


@dataclass(frozen=True, slots=True)
class Preset:
    """What an age band sets for a new profile."""

    age_band: str
    categories: frozenset[str]
    services: tuple[ServiceRule, ...]
    schedule: Schedule
    minutes: tuple[int, ...]
    safe_search: SafeSearch
    allow_list_only: bool
    bypass_protection: bool
    visibility: Visibility


class HelpKind(enum.Enum):
    CHILD = "child"  # somebody to talk to
    EMERGENCY = "emergency"
    REPORT = "report"  # where illegal or harmful content is reported
    BEHAVIOUR = "behaviour"  # anonymous help for people who worry about what they do; on mandatory pages only


@dataclass(frozen=True, slots=True)
class Helpline:
    """Somebody who helps. `names` and `about` are by language (en, ro, ru; `names` always has en)."""

    id: str
    kind: HelpKind
    country: str  # ISO 3166 code in lower case; "" = everywhere
    names: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)  # one short line: free, day and night
    phone: str = ""  # as people write it: 116 111
    url: str = ""  # https


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of sites in the words that parents read, by language (en, ro, ru)."""

    id: str
    names: Mapping[str, str]
    about: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The starter data of `blocklists/`: what Guardian knows without any fetched list."""

    services: Mapping[str, Service]
    categories: Mapping[str, str]  # id -> plain English description
    safe_search: Mapping[bytes, bytes]  # exact wire name -> wire name of its safe twin
    youtube: Mapping[bytes, Mapping[YouTube, bytes]]  # exact wire name -> mode -> restricted twin
    presets: Mapping[str, Preset]
    tagged: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)  # image tag -> wire names, with all below
    helplines: tuple[Helpline, ...] = ()  # in the order in which pages show them
    category_texts: Mapping[str, Category] = field(default_factory=dict)
    protected: frozenset[bytes] = frozenset()  # wire names that no list may block, with all below and above
    protected_exact: frozenset[bytes] = frozenset()  # the name and all above it, but not what is below
