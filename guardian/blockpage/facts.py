"""What the pages tell: values that the gateway hands over. Nothing here is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from types import MappingProxyType
from typing import NamedTuple

from guardian import __version__
from guardian.config import Endpoint
from guardian.policy.model import Category, Helpline, Reason

NO_TEXT: Mapping[str, str] = MappingProxyType({})


class LegalNotice(NamedTuple):
    """Who closed a page by law (RFC 7725), as the signed list says it; empty parts get general words.

    Texts by language have `en` at least. Without a `basis` the page speaks of the law.
    """

    authority: Mapping[str, str] = NO_TEXT  # by language
    ground: str = ""  # the law or order, by its number
    appeal: str = ""  # an https URL or a mail address
    basis: str = ""  # law_order, court, voluntary
    message: Mapping[str, str] = NO_TEXT  # by language: what the authority wants to say

    @property
    def is_voluntary(self) -> bool:
        """Whether no law closes the page, but an agreement."""
        return self.basis == "voluntary"


class BlockInfo(NamedTuple):
    """Why a name is blocked for a device at `now`."""

    reason: Reason
    rule: str  # as in Decision: `category:gambling`, `schedule:bedtime`, `service:tiktok`
    until: float  # epoch seconds
    now: float  # epoch seconds
    tz: tzinfo  # the household's
    language: str = ""  # the profile's; "" = the browser's wish
    service: str = ""  # the service's name as people know it
    legal: LegalNotice = LegalNotice()  # for Reason.MANDATORY
    is_named: bool = True  # whether parents have named the device: what others ask, nobody could answer


class DeviceInfo(NamedTuple):
    """What holds for the device that asks."""

    filtered: bool
    profile: str = ""  # its name; "" = the rules for new devices
    language: str = ""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What is the same on every page until settings change."""

    names: frozenset[str] = frozenset({"guardian.home.arpa"})  # the gateway's own, lower case
    language: str = "en"  # the household's, when a browser wishes none of ours
    languages: tuple[str, ...] = ("en", "ro", "ru")  # that pages are offered in
    country: str = ""  # ISO 3166, lower case: whose helplines to show; "" = of every country
    helplines: tuple[Helpline, ...] = ()
    categories: Mapping[str, Category] = field(default_factory=dict)  # by id, as in `Catalogue.category_texts`
    support: str = ""  # an ISP's contact line
    console: tuple[Endpoint, ...] = ()  # where the parents' console should listen; () = there is none
    is_console_encrypted: bool = False
    version: str = __version__


_COUNTRIES = {
    "Europe/Chisinau": "md",
    "Europe/Tiraspol": "md",
    "Europe/Bucharest": "ro",
    "Europe/Kyiv": "ua",
    "Europe/Kiev": "ua",
    "Europe/Uzhgorod": "ua",
    "Europe/Zaporozhye": "ua",
}


def country_of(timezone: str) -> str:
    """Return the country of an IANA time zone name if we know helplines there, else ""."""
    return _COUNTRIES.get(timezone, "")
