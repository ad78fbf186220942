"""A home for the policy's tests: lists in a dict, a catalogue of a few names, and times in Chisinau."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from guardian.names import parse_name, suffixes
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import (
    AddressLists,
    Catalogue,
    Device,
    Household,
    Preset,
    Profile,
    SafeSearch,
    Schedule,
    Service,
    Visibility,
    YouTube,
)
from guardian.policy.usage import Usage

CHISINAU = ZoneInfo("Europe/Chisinau")
LISTED = {
    "helpline": ["telefonulcopilului.md", "help.example"],
    "mandatory:hotline": ["forbidden.example", "both.help.example"],
    "bypass:doh": ["dns.google", "cloudflare-dns.com"],
    "bypass:relay": ["mask.icloud.com"],
    "service:youtube": ["youtube.com", "googlevideo.com"],
    "service:tiktok": ["tiktok.com", "cdn.shared.example"],
    "service:roblox": ["roblox.com", "cdn.shared.example"],
    "category:gambling": ["bet365.com", "casino.example"],
    "category:social": ["tiktok.com", "facebook.com"],
    "category:video": ["youtube.com"],
    "category:ads": ["doubleclick.net", "cdn.ads.example", "a248.akamai.example"],
    "allowed:kids": ["pbskids.org", "gutenberg.org"],
}


class DictLists:
    """NameLists in the plainest way: an entry holds for its name and all below."""

    def __init__(self, listed: Mapping[str, Iterable[str]]) -> None:
        self._tags = tuple(listed)
        self._entries = [{parse_name(name) for name in names} for names in listed.values()]

    @property
    def tags(self) -> tuple[str, ...]:
        return self._tags

    def lookup(self, name: bytes) -> int:
        return sum(
            1 << bit for bit, names in enumerate(self._entries) if any(suffix in names for suffix in suffixes(name))
        )

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        return [
            (tag, next(suffix for suffix in suffixes(name) if suffix in names))
            for tag, names in zip(self._tags, self._entries, strict=True)
            if any(suffix in names for suffix in suffixes(name))
        ]


CATALOGUE = Catalogue(
    services={
        "youtube": Service("youtube", "YouTube", "video", (parse_name("youtube.com"),)),
        "tiktok": Service("tiktok", "TikTok", "video", (parse_name("tiktok.com"),)),
        "roblox": Service("roblox", "Roblox", "games", (parse_name("roblox.com"),)),
    },
    categories={"gambling": "bets", "social": "social networks", "video": "video", "ads": "adverts"},
    safe_search={
        parse_name("www.google.com"): parse_name("forcesafesearch.google.com"),
        parse_name("duckduckgo.com"): parse_name("safe.duckduckgo.com"),
    },
    youtube={
        parse_name("www.youtube.com"): {
            YouTube.MODERATE: parse_name("restrictmoderate.youtube.com"),
            YouTube.STRICT: parse_name("restrict.youtube.com"),
        }
    },
    presets={
        "10-12": Preset(
            age_band="10-12",
            categories=frozenset({"gambling", "social"}),
            services=(),
            schedule=Schedule(),
            minutes=(120,) * 5 + (180,) * 2,
            safe_search=SafeSearch(True, YouTube.STRICT),
            allow_list_only=False,
            bypass_protection=True,
            visibility=Visibility.NAMES,
        )
    },
)


def _make_home(
    *profiles: Profile,
    lists: Mapping[str, Iterable[str]] | None = None,
    usage: Usage | None = None,
    addresses: AddressLists | None = None,
    clock_unset: bool = False,
    **household: object,
) -> Policy:
    """Return the policy of a home with one device per profile, of the same id."""
    values: dict[str, object] = {"devices": tuple(Device(profile.id, profile.id, profile.id) for profile in profiles)}
    values.update(household)
    home = Household("Europe/Chisinau", CHISINAU, profiles, **values)  # type: ignore[arg-type]
    known = DictLists(LISTED if lists is None else lists)
    return compile_policy(home, CATALOGUE, known, usage, addresses, clock_unset)


def _at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=CHISINAU, fold=fold).timestamp()


@pytest.fixture(scope="session")
def home() -> Callable[..., Policy]:
    """home(profile, ..., rules=(...)) -> the policy of a home with a device per profile."""
    return _make_home


@pytest.fixture(scope="session")
def at() -> Callable[..., float]:
    """at("2026-11-23 21:05") -> epoch seconds, by the clock in Chisinau."""
    return _at


@pytest.fixture(scope="session")
def listed() -> Mapping[str, list[str]]:
    """The tags and names of the home's lists."""
    return LISTED


@pytest.fixture(scope="session")
def parts() -> SimpleNamespace:
    """The lists class and the catalogue that `home` uses."""
    return SimpleNamespace(DictLists=DictLists, catalogue=CATALOGUE, tz=CHISINAU)
