"""What happened: cards of the home page, use and tries of a profile, alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from guardian.web.shapes.common import AgeBand, Day, Moment, Struct
from guardian.web.shapes.household import Text, Visibility

MOST_ALERTS = 200  # that are shown, or put away, at once
AlertKind = Literal[
    "bypass",
    "new-device",
    "burst",
    "lists-stale",
    "feed-stale",
    "gateway-down",
    "history-off",
    "helpline-blocked",
    "storage",
    "software-old",
]
State = Literal["online", "away", "asleep", "offline", "paused", "used-up", "no-clock"]


class Allowance(Struct):
    """Minutes used and allowed; `of` is "" for all use, a service id, or group:NAME. None = no limit."""

    of: str
    used_today: float
    limit_today: int | None
    used_week: float
    limit_week: int | None
    left: float | None


class Next(Struct):
    """What the timetable changes next: `offline` begins (its label in `of`), or `online` again."""

    kind: Literal["offline", "online"]
    at: Moment
    of: str = ""


class CardDevice(Struct):
    id: str
    name: str
    online: bool


class Card(Struct):
    """A profile now. `asleep` is a window labelled bedtime, `offline` any other; `until` is the end of the state."""

    profile: str
    name: str
    age_band: AgeBand
    filtered: bool
    state: State
    of: str  # the label of the window, when the state is asleep or offline
    until: Moment | None
    next: Next | None
    allowances: list[Allowance]  # all use first, then services and groups that have a limit
    devices: list[CardDevice]
    blocked_today: int
    last_seen: Moment | None


class AlertAction(Struct):
    """The one thing to do: `name-device` (a MAC), `open-profile`, `be-strict`, `ask`, `update-lists`, `check`."""

    kind: str
    target: str = ""


class Alert(Struct):
    """Grouped: one line for all that one device tried in one way on one day. `of` is a category, service or kind.

    Of `feed-stale`, `of` is why: `refused`, `offline`, `clock` or `behind`; of `software-old` the version asked for.
    """

    id: str
    kind: AlertKind
    priority: Literal["high", "normal", "low"]
    day: Day
    profile: str
    device: str
    device_name: str
    mac: str
    of: str
    times: int
    first: Moment
    last: Moment
    action: AlertAction


class Alerts(Struct):
    """By priority, then the newest first; `more` are left out: older ones, of no higher priority."""

    alerts: Annotated[list[Alert], Meta(max_length=MOST_ALERTS)]
    more: int


class DismissCall(Struct):
    """Put alerts away, or take that back; one comes back when it happens on another day, or much more often."""

    ids: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(min_length=1, max_length=MOST_ALERTS)]
    undo: bool = False


class ListInForce(Struct):
    """A list of the hotline: when it was made, and how much is on it. No name of it is known to the box."""

    id: str
    entries: int
    created: Moment


class HotlineFeed(Struct):
    """The hotline's feed. Whatever `state` is, the lists here are in force.

    `stale`: for days nobody could say that they are the newest. `refused`: what came was not believed. `never`: there
    is none yet. `problem` is a code (docs/api.md), "" when nothing is wrong; one that passes by itself leaves `ok`.
    """

    state: Literal["ok", "stale", "never", "refused"]
    name: str  # whose feed it says it is: text of strangers until it was verified once, "" then
    checked: Moment | None  # the last look, whatever came of it
    succeeded: Moment | None  # the last look at which all of it was verified
    age: float | None  # seconds since then
    expires: Moment | None  # until when what is in force is vouched for
    problem: str
    needs_update: bool  # the hotline asks for a newer Guardian
    lists: list[ListInForce]


class GatewayState(Struct):
    """Whether the home is protected, in a few facts."""

    now: Moment  # by the box
    running: bool
    version: str
    started: Moment | None
    flow_filter: bool
    names: int  # on the lists in force
    lists_created: Moment | None
    lists_error: str
    mandatory_today: int  # blocked by law today, in the whole home: no name, no device, no person
    feed: HotlineFeed | None = None  # None where the provider has set none
    provider_lists: list[str] = []  # of names that the provider blocks in every home; parents cannot switch them off
    # waiting: the box does not know the time yet; by-memory: it never came, docs/adr/0022
    clock: Literal["set", "waiting", "by-memory"] = "set"


class Home(Struct):
    now: Moment
    timezone: str
    revision: int
    set_up: bool
    gateway: GatewayState
    cards: list[Card]  # filtered profiles first, in the household's order
    alerts: list[Alert]  # the first few
    more_alerts: int
    open_requests: int
    unnamed_devices: int
    names: dict[str, Text] = {}  # of the categories, services and groups in cards and alerts, by tag


class Use(Struct):
    of: str  # "" for all, a service id, or group:NAME
    minutes: float


class DayOfUse(Struct):
    day: Day
    minutes: float
    by: list[Use]  # services, the most used first; the rest is not named


class HourOfTries(Struct):
    hour: Moment  # when it began
    allowed: int
    blocked: int


class BlockedKind(Struct):
    """`tag` is category:NAME, service:NAME or "" ; `reason` one of `Reason`. Both empty where only counts are kept."""

    tag: str
    reason: str
    times: int


class BlockedSite(Struct):
    name: str  # hostile text
    tag: str
    reason: str
    times: int
    last: Moment
    device: str


class Activity(Struct):
    """Use and blocked tries of a profile over some local days. `sites` is None where the profile shows no names."""

    profile: str
    visibility: Visibility
    days: list[DayOfUse]  # one a day, the oldest first, days without use too
    hours: list[HourOfTries]  # those that have any, in order
    allowed: int
    blocked: int
    kinds: list[BlockedKind]  # the most frequent first
    sites: list[BlockedSite] | None
    counted: bool  # False: no flow filter, so minutes are not known


class Span(Struct):
    """Today and the days before."""

    days: Annotated[int, Meta(ge=1, le=90)] = 7
