"""The child's own page: what holds is told openly, what is others' business is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import msgspec
import pytest

from guardian.catalogue import load_catalogue
from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import (
    FOREVER,
    Action,
    DayException,
    Device,
    Profile,
    SafeSearch,
    Schedule,
    ServiceRule,
    Window,
    YouTube,
)
from guardian.policy.rules import parse_rule
from guardian.store.requests import StoredRequest
from guardian.web.own_page import list_helplines, list_rules, make_child_page
from guardian.web.shapes.household import Window as ShownWindow
from guardian.web.shapes.requests import ChildPage
from tests.policy.conftest import LISTED, DictLists
from tests.web.homes import at, make_household

CATALOGUE = load_catalogue(names=False)
NIGHT = Window(frozenset(range(7)), 21 * 60, 7 * 60)
AFTERNOON = Window(frozenset(range(7)), 14 * 60, 15 * 60, "hours")
SECRET = "parents' secret note"
ANA = Profile(
    "ana",
    "Ana",
    "10-12",
    schedule=Schedule((NIGHT,)),
    minutes=(90,) * 7,
    services=(ServiceRule("tiktok", Action.BLOCK), ServiceRule("roblox", Action.BLOCK, (AFTERNOON,))),
    categories=frozenset({"gambling"}),
    safe_search=SafeSearch(True, YouTube.STRICT),
    rules=(parse_rule("private.example", Action.BLOCK, note=SECRET),),
    language="ru",
)
ION = Profile("ion", "Ion", "13-15", rules=(parse_rule("ions.example", Action.ALLOW, note=SECRET),))
TABLET = Device("tablet", "Tablet", "ana")
NOON = at("2026-11-23 12:00")
ASKED = StoredRequest(
    4, "ana", "tablet", "site", None, "a.example", "please", NOON - 60, "granted", NOON, "Mama", None, None, "ok"
)


def policy(*profiles: Profile, **more: object) -> Policy:
    household = make_household(*(profiles or (ANA, ION)), devices=(TABLET, Device("box", "Box", "ion")), **more)
    return compile_policy(household, CATALOGUE, DictLists(LISTED))


def page(device: Device | None = TABLET, now: float = NOON, language: str = "", **more: object) -> ChildPage:
    return make_child_page(policy(**more), device, [ASKED], True, language, now)


def test_the_rules_of_this_child() -> None:
    found = page()
    assert (found.known, found.name, found.device, found.language, found.state) == (
        True,
        "Ana",
        "Tablet",
        "ru",
        "online",
    )
    assert (found.allowances[0].limit_today, found.allowances[0].left) == (90, 90)
    assert found.rules.services == ["tiktok"] and found.rules.service_hours == ["roblox"]
    assert (found.rules.categories, found.rules.safe_search, found.rules.youtube) == (["gambling"], True, "strict")
    assert found.rules.visibility == "names"
    assert found.can_ask
    assert {"category:gambling", "service:tiktok", "service:roblox"} <= set(found.names)
    (request,) = found.requests
    assert (request.site, request.answered_by, request.note) == ("a.example", "Mama", "ok")


def test_a_page_always_has_a_language_that_is_offered() -> None:
    assert (page().home_language, page().languages) == ("ro", ["ro", "ru", "en"])
    found = make_child_page(policy(), TABLET, [], True, "", NOON, ("en", "ru"))
    assert (found.language, found.home_language) == ("ru", "en")
    assert make_child_page(policy(), TABLET, [], True, "", NOON, ("en",)).language == ""


def test_today_is_cut_at_midnight_and_knows_the_exceptions() -> None:
    assert page().rules.today == [ShownWindow([], 0, 420), ShownWindow([], 1260, 1440)]
    free = replace(ANA, schedule=Schedule((NIGHT,), (DayException(date(2026, 11, 23), ()),)))
    household = make_household(free)
    assert list_rules(household, free, NOON).today == [ShownWindow([], 0, 420)]


def test_nothing_of_others_and_no_notes() -> None:
    text = msgspec.json.encode(page()).decode()
    for word in (SECRET, "Ion", "ions.example", "private.example", "Box"):
        assert word not in text


def test_a_device_that_is_paused_by_itself() -> None:
    found = page(replace(TABLET, paused_until=FOREVER))
    assert (found.state, found.until) == ("paused", None)
    assert page(replace(TABLET, paused_until=NOON - 1)).state == "online"


def test_a_device_that_nobody_has_named_learns_the_rules_of_new_devices_and_no_more() -> None:
    found = page(None, new_device_profile="ana")
    assert (found.known, found.name, found.device, found.can_ask, found.requests) == (False, "", "", False, [])
    assert found.rules.categories == ["gambling"] and found.state == "online"
    assert "Ana" not in msgspec.json.encode(found).decode()
    strictest = page(None)
    assert strictest.rules.safe_search and "adult" in strictest.rules.categories
    assert strictest.rules.visibility == "counts"


def test_an_unfiltered_profile_has_hours_but_no_closed_kinds() -> None:
    grown = replace(ANA, filtered=False)
    rules = list_rules(make_household(grown), grown, NOON)
    assert (rules.filtered, rules.categories, rules.services, rules.service_hours) == (False, [], [], [])
    assert (rules.safe_search, rules.youtube, rules.allow_list_only) == (False, "off", False)
    assert len(rules.offline) == 1


@pytest.mark.parametrize("language", ["ro", "ru", "en"])
def test_helplines_of_the_country_in_the_language_that_is_wished(language: str) -> None:
    found = page(language=language).helplines
    assert found[0].id == "md-telefonul-copilului" and found[0].phone == "116 111"
    wanted = next(line for line in CATALOGUE.helplines if line.id == found[0].id)
    assert (found[0].name, found[0].about) == (wanted.names[language], wanted.about[language])
    assert {line.kind for line in found} <= {"child", "emergency", "report"}  # none for adults who worry
    assert not any(line.id.startswith(("ro-", "ua-")) for line in found)


def test_helplines_by_the_profile_s_language_and_the_household_s_country() -> None:
    assert page().helplines[0].name == "Детский телефон доверия"
    romanian = make_household(ANA, country="ro", language="ro")
    assert list_helplines(romanian, CATALOGUE.helplines, "")[0].id == "ro-telefonul-copilului"
    nowhere = replace(make_household(ANA), timezone="Pacific/Apia")
    kinds = {line.id.partition("-")[0] for line in list_helplines(nowhere, CATALOGUE.helplines, "en")}
    assert {"md", "ro", "ua"} <= kinds  # the country is not known: all of them
