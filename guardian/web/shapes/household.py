"""What parents set: the household as `guardian.policy.model` has it, in JSON."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from guardian.web.shapes.common import AgeBand, Day, Id, Language, Moment, Name, Note, Struct, Weekday

MinutesOfDay = Annotated[int, Meta(ge=0, le=1440)]
MinutesOfWeek = Annotated[int, Meta(ge=0, le=10080)]
Pattern = Annotated[str, Meta(min_length=1, max_length=255, description="example.com, =example.com, *.example.com")]
RuleAction = Literal["allow", "block"]
YouTubeMode = Literal["off", "moderate", "strict"]
Visibility = Literal["names", "categories", "counts"]
OfMinutes = Annotated[str, Meta(max_length=80, description="a service id, group:NAME, or empty for all use")]


class Window(Struct):
    """Hours without internet (of a service: open). `end <= start` runs past midnight, of the day it starts on."""

    days: Annotated[list[Weekday], Meta(max_length=7)]  # empty in an exception
    start: Annotated[int, Meta(ge=0, le=1439)]
    end: MinutesOfDay  # 1440 = midnight
    label: Annotated[str, Meta(max_length=200)] = "bedtime"


class DayException(Struct):
    """One date on which other hours hold; no windows = online all day."""

    day: Day
    windows: Annotated[list[Window], Meta(max_length=20)]
    note: Note = ""


class Minutes(Struct):
    """Allowed minutes: Monday to Sunday (seven, or none = no daily limit), and of the week (None = no limit)."""

    days: Annotated[list[MinutesOfDay], Meta(max_length=7)] = []
    week: MinutesOfWeek | None = None


class GroupMinutes(Struct):
    of: OfMinutes
    minutes: Minutes


class Bonus(Struct):
    day: Day
    minutes: Annotated[int, Meta(ge=1, le=1440)]
    of: OfMinutes = ""


class Rule(Struct):
    action: RuleAction
    pattern: Pattern
    expires: Moment | None = None  # None = never
    note: Note = ""


class ServiceRule(Struct):
    service: Annotated[str, Meta(max_length=80)]
    action: RuleAction
    hours: Annotated[list[Window], Meta(max_length=40)] = []  # when it is open; block with hours = open then only


class Pause(Struct):
    until: Moment | None  # None = until a parent resumes


class Profile(Struct):
    """The rules of a child or a group, whole. `filtered: false` keeps helplines, mandatory lists, pause and hours."""

    id: Id
    name: Name
    age_band: AgeBand = ""
    filtered: bool = True
    pause: Pause | None = None
    offline: Annotated[list[Window], Meta(max_length=60)] = []
    exceptions: Annotated[list[DayException], Meta(max_length=400)] = []
    minutes: Minutes = msgspec.field(default_factory=Minutes)
    minutes_for: Annotated[list[GroupMinutes], Meta(max_length=60)] = []
    bonuses: Annotated[list[Bonus], Meta(max_length=100)] = []
    rules: Annotated[list[Rule], Meta(max_length=1000)] = []
    services: Annotated[list[ServiceRule], Meta(max_length=400)] = []
    categories: Annotated[list[str], Meta(max_length=100)] = []  # blocked
    allow_list_only: bool = False
    safe_search: bool = False
    youtube: YouTubeMode = "off"
    bypass_protection: bool = True
    strict: bool = False  # DNS first
    visibility: Visibility = "names"
    language: Literal["", "ro", "ru", "en"] = ""  # of the child's pages; "" = the browser's wish


class Device(Struct):
    id: Id
    name: Name
    profile: Id
    macs: Annotated[list[str], Meta(max_length=32)] = []
    addresses: Annotated[list[str], Meta(max_length=32)] = []
    pause: Pause | None = None


class Household(Struct):
    """All that parents set. `revision` grows with every change: send it back with a change as the header If-Match."""

    revision: int
    set_up: bool  # False: nobody has made a profile yet, all devices are open but for mandatory lists
    timezone: str
    language: Language
    country: str  # ISO 3166 in lower case, whose helplines are shown; "" = by the time zone
    new_devices: str  # profile of devices that nobody has named; "" = protected as for children
    profiles: list[Profile]
    devices: list[Device]
    rules: list[Rule]  # for every filtered profile


class NewProfile(Struct):
    """A new profile with all that the age band sets; without a band it is for adults, unfiltered."""

    name: Name
    age_band: AgeBand
    language: Literal["", "ro", "ru", "en"] = ""


class HouseholdChange(Struct):
    """Parts that are not given stay."""

    timezone: Annotated[str, Meta(max_length=100)] | None = None
    language: Language | None = None
    country: Annotated[str, Meta(pattern=r"^([a-z]{2})?$(?!\n)")] | None = None
    new_devices: Annotated[str, Meta(max_length=63)] | None = None
    rules: Annotated[list[Rule], Meta(max_length=1000)] | None = None


class PauseCall(Struct):
    """Pause for some minutes, until a moment, until the next wake-up (`bedtime`), or until resumed; or resume."""

    action: Literal["pause", "bedtime", "resume"]
    minutes: Annotated[int, Meta(ge=1, le=10080)] | None = None
    until: Moment | None = None


class BonusCall(Struct):
    minutes: Annotated[int, Meta(ge=1, le=1440)]
    of: OfMinutes = ""


class AwakeCall(Struct):
    """So many minutes longer than the hours without internet allow, tonight only. A pause stays.

    `bonus`: where fewer minutes of use are left for today than that needs, those that are missing come on top.
    """

    minutes: Annotated[int, Meta(ge=5, le=240)]
    bonus: bool = False


class Question(Struct):
    """What would happen: to a name, under the rules as they are, or with `draft` in place of the profile's rules."""

    name: Annotated[str, Meta(min_length=1, max_length=2048)]  # a site, or an address copied from a browser
    at: Moment | None = None  # None = now
    draft: Profile | None = None


class Answer(Struct):
    """`reason` is one of `guardian.policy.model.Reason`, `of` what it is about: a category, service, label, pattern."""

    name: str  # as it was understood, in Unicode
    pattern: str  # as a rule would name it, in A-labels
    action: Literal["allow", "block", "rewrite"]
    reason: str
    of: str
    until: Moment | None  # when this may change; None = nothing planned
    sentence: str  # English
    services: list[str]  # ids of services that the name belongs to
    categories: list[str]


class ServiceInfo(Struct):
    id: str
    name: str
    group: str


class Text(Struct):
    """A text in every language of the console."""

    en: str
    ro: str
    ru: str


class GroupInfo(Struct):
    id: str
    names: Text


class CategoryInfo(Struct):
    id: str
    names: Text
    about: Text


class Catalogue(Struct):
    """What there is to choose from. `presets` are profiles as each age band would make them."""

    services: list[ServiceInfo]
    groups: list[GroupInfo]
    categories: list[CategoryInfo]
    presets: list[Profile]
    timezones: list[str]


class Change(Struct):
    """One line of the journal. `kind` and `details` are for translation, `text` is English."""

    id: int
    at: Moment
    who: str
    kind: str  # pause, resume, bedtime, awake, bonus, profile-made, profile-changed, profile-removed, device-named, ...
    details: dict[str, str | int]
    text: str


class Page(Struct):
    """Which lines of the journal: the last ones, or those before a line (its id)."""

    before: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Changes(Struct):
    changes: list[Change]  # the newest first
