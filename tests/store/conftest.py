"""Random households in their normal form: allow rules before block rules, moments in whole seconds."""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import strategies as st

from guardian.catalogue import load_catalogue
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    Catalogue,
    DayException,
    Device,
    GroupMinutes,
    Household,
    Profile,
    Rule,
    SafeSearch,
    Schedule,
    ServiceRule,
    Visibility,
    Window,
    YouTube,
)
from guardian.policy.rules import parse_rule
from guardian.store import history_file
from guardian.store.household_form import AGE_BANDS
from guardian.store.words import read_timezone

ZONES = ("Europe/Chisinau", "America/St_Johns", "UTC", "EET-2EEST,M3.5.0/3,M10.5.0/4", "<+0545>-5:45")

ids = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)
moments = st.integers(1, 4_000_000_000).map(float) | st.just(FOREVER)
some_days = st.frozensets(st.integers(0, 6), min_size=1)
labels = texts.filter(str.strip)
names = texts.map(str.strip).filter(bool)
day_minutes = st.just(()) | st.lists(st.integers(0, 1440), min_size=7, max_size=7).map(tuple)
week_minutes = st.none() | st.integers(0, 10080)
hosts = st.from_regex(r"[a-z0-9_]{1,8}(\.[a-z0-9-]{1,8}){0,2}\.[a-z]{2,5}", fullmatch=True)
patterns = st.tuples(st.sampled_from(["", "=", "*.", "a*b.", "*ad*."]), hosts).map("".join) | st.just("*ads*")


def make_windows(days: st.SearchStrategy[frozenset[int]]) -> st.SearchStrategy[tuple[Window, ...]]:
    window = st.builds(Window, days, st.integers(0, 1439), st.integers(0, 1440), st.just("bedtime") | labels)
    return st.lists(window, max_size=3).map(tuple)


@st.composite
def make_rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    rules = []
    for action in (Action.ALLOW, Action.BLOCK):
        for text in draw(st.lists(patterns, max_size=10 if draw(st.booleans()) else 2)):
            rules.append(parse_rule(text, action, draw(moments), draw(texts)))
    return tuple(rules)


@st.composite
def make_profile(draw: st.DrawFn, key: str, catalogue: Catalogue) -> Profile:
    exceptions = st.builds(
        DayException, st.dates(date(2020, 1, 1), date(2040, 1, 1)), make_windows(st.just(frozenset())), texts
    )
    service = st.builds(
        ServiceRule,
        st.sampled_from(sorted(catalogue.services)),
        st.sampled_from([Action.ALLOW, Action.BLOCK]),
        make_windows(some_days),
    )
    services = sorted(catalogue.services)
    groups = sorted({f"group:{service.group}" for service in catalogue.services.values()})
    of = st.sampled_from(services) | st.sampled_from(groups)
    limit = st.builds(GroupMinutes, of, day_minutes, week_minutes).filter(
        lambda made: made.minutes or made.week is not None
    )
    bonus = st.builds(Bonus, st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(1, 1440), st.just("") | of)
    return Profile(
        id=key,
        name=draw(names),
        age_band=draw(st.sampled_from(["", *AGE_BANDS])),
        filtered=draw(st.booleans()),
        paused_until=draw(st.just(0.0) | moments),
        schedule=Schedule(
            draw(make_windows(some_days)),
            tuple(draw(st.lists(exceptions, max_size=2, unique_by=lambda found: found.day))),
        ),
        minutes=draw(day_minutes),
        week_minutes=draw(week_minutes),
        group_minutes=tuple(draw(st.lists(limit, max_size=3, unique_by=lambda made: made.of))),
        bonuses=tuple(draw(st.lists(bonus, max_size=3))),
        rules=draw(make_rules()),
        services=tuple(draw(st.lists(service, max_size=3, unique_by=lambda rule: rule.service))),
        categories=frozenset(draw(st.sets(st.sampled_from(sorted(catalogue.categories)), max_size=5))),
        allow_list_only=draw(st.booleans()),
        safe_search=SafeSearch(draw(st.booleans()), draw(st.sampled_from(YouTube))),
        bypass_protection=draw(st.booleans()),
        strict=draw(st.booleans()),
        visibility=draw(st.sampled_from(Visibility)),
        language=draw(st.sampled_from(["", "ro", "ru", "en"])),
    )


@st.composite
def make_household(draw: st.DrawFn, catalogue: Catalogue) -> Household:
    profiles = tuple(
        draw(make_profile(key, catalogue)) for key in draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    )
    known = [profile.id for profile in profiles]
    mac = st.binary(min_size=6, max_size=6).filter(lambda raw: not raw[0] & 1).map(lambda raw: raw.hex(":"))
    address = st.ip_addresses().map(str) | st.tuples(st.ip_addresses(v=6), st.integers(0, 127)).map(
        lambda pair: str(ipaddress.ip_network(pair, strict=False))
    )
    macs = draw(st.lists(mac, max_size=4, unique=True))
    addresses = draw(st.lists(address, max_size=4, unique=True))
    devices = []
    for key in draw(st.lists(ids, max_size=3, unique=True)):
        cut, split = draw(st.integers(0, len(macs))), draw(st.integers(0, len(addresses)))
        mine, macs = tuple(macs[:cut]), macs[cut:]
        places, addresses = tuple(addresses[:split]), addresses[split:]
        profile, until = draw(st.sampled_from(known)), draw(st.just(0.0) | moments)
        devices.append(Device(key, draw(names), profile, mine, places, until))
    zone = draw(st.sampled_from(ZONES))
    return Household(
        timezone=zone,
        tz=read_timezone(zone),
        profiles=profiles,
        devices=tuple(devices),
        new_device_profile=draw(st.sampled_from(["", *known])),
        rules=draw(make_rules()),
        language=draw(st.sampled_from(["ro", "ru", "en"])),
        country=draw(st.sampled_from(["", "md", "ro"])),
    )


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load_catalogue(names=False)


@pytest.fixture(scope="session")
def households(catalogue: Catalogue) -> st.SearchStrategy[Household]:
    return make_household(catalogue)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a history may lie."""
    return str(tmp_path / "history.db")


@pytest.fixture
def connection(path: str) -> Iterator[sqlite3.Connection]:
    """An empty history database, as its writer opens it."""
    made = history_file.open_file(path, "", history_file.MIN_SIZE_CAP)
    yield made
    made.close()
