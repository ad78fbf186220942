"""What children ask, what parents answer, the child's own page, reports to the hotline."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from guardian.web.shapes.activity import Allowance, Next, State
from guardian.web.shapes.common import Language, Moment, Note, Struct
from guardian.web.shapes.household import Text, Visibility, Window, YouTubeMode

RequestState = Literal["open", "granted", "refused", "expired"]


class Ask(Struct):
    """A child asks for more time, or for a site. The device tells whose request it is."""

    kind: Literal["time", "site"]
    minutes: Annotated[int, Meta(ge=5, le=240)] | None = None
    site: Annotated[str, Meta(max_length=2048)] = ""
    message: Note = ""


class Request(Struct):
    """`site` and `message` are hostile text. `minutes` is what was asked, `granted_minutes` what was given."""

    id: int
    profile: str
    profile_name: str
    device: str
    device_name: str
    kind: Literal["time", "site"]
    minutes: int | None
    site: str
    message: str
    asked: Moment
    state: RequestState
    answered: Moment | None
    answered_by: str
    granted_minutes: int | None
    granted_until: Moment | None  # of a site; None = for good
    note: str
    why: str  # why the site is blocked now: `category:games`, `rule:...`, "" when it is not


class Requests(Struct):
    requests: list[Request]  # open ones first, then the newest
    names: dict[str, Text] = {}  # of the categories and services in `why`, by tag: helpers may not read the catalogue


class Reply(Struct):
    """`minutes` for time; `for_good` for a site (else until the end of the day)."""

    answer: Literal["grant", "refuse"]
    minutes: Annotated[int, Meta(ge=1, le=240)] | None = None
    for_good: bool = False
    note: Note = ""


class HelplineInfo(Struct):
    id: str
    kind: Literal["child", "emergency", "report", "behaviour"]
    name: str
    about: str
    phone: str
    url: str


class ChildRules(Struct):
    """What holds for this child, and what parents see: said openly."""

    filtered: bool
    offline: list[Window]
    today: list[Window]  # the windows of today, exceptions applied, cut at midnight; `days` is empty
    categories: list[str]
    services: list[str]  # blocked at all hours
    service_hours: list[str]  # open at some hours only
    safe_search: bool
    youtube: YouTubeMode
    allow_list_only: bool
    visibility: Visibility


class ChildRequest(Struct):
    id: int
    kind: Literal["time", "site"]
    minutes: int | None
    site: str
    asked: Moment
    state: RequestState
    granted_minutes: int | None
    note: str
    answered_by: str


class Wish(Struct):
    """In which language the child's page speaks of helplines; else the profile's, or the household's."""

    language: Language | None = None


class ChildPage(Struct):
    """The child's own page. `known: false` = a device that nobody has named; then the rules of new devices are told."""

    known: bool
    name: str  # of the profile
    device: str
    language: Literal["", "ro", "ru", "en"]
    languages: list[Language]  # that the page offers
    home_language: Language  # for who has chosen none, and whose browser wishes none of them
    timezone: str
    now: Moment
    state: State
    of: str
    until: Moment | None
    next: Next | None
    allowances: list[Allowance]
    rules: ChildRules
    requests: list[ChildRequest]  # of this profile, the newest first
    can_ask: bool  # False when too many are open, or the device is nobody's
    helplines: list[HelplineInfo]
    names: dict[str, Text] = {}  # of all categories, services and groups that this page names, by tag


class NewReport(Struct):
    """A report to the hotline: an address and words, never an image. Nobody in the home sees it."""

    type: Literal["csam_suspected", "grooming", "sextortion", "other", "unblock_request"]
    language: Literal["ro", "ru", "en"]
    good_faith: bool  # must be true
    url: Annotated[str, Meta(max_length=2048)] = ""
    found_via: Annotated[str, Meta(max_length=200)] = ""
    note: Annotated[str, Meta(max_length=1000)] = ""
    contact: Annotated[str, Meta(max_length=200)] = ""  # "" = anonymous


class ReportReceipt(Struct):
    report_id: str
    state: Literal["sent", "queued", "kept"]  # kept: no hotline takes reports here yet


class ReportState(Struct):
    """What the console tells of reports: how many wait, never what is in them."""

    address: str  # where they go; "" = nowhere yet
    queued: int
    sent: int  # within 90 days
    lost: int = 0  # within 90 days: refused by the hotline, or nobody took them for 30 days
