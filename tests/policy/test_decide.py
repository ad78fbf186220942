"""The order of the policy, and what must hold for every home, device, name and moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.names import parse_name
from guardian.policy.compile import Policy
from guardian.policy.decide import (
    decide,
    is_rewritten,
    judge,
    judge_address,
    judge_answer,
    judge_bypass,
    posture_of,
    posture_of_profile,
)
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    Decision,
    Device,
    GroupMinutes,
    Kind,
    Profile,
    Reason,
    SafeSearch,
    Schedule,
    ServiceRule,
    Subject,
    Visibility,
    Window,
    YouTube,
)
from guardian.policy.rules import parse_rule
from guardian.policy.schedule import local_date
from guardian.policy.usage import Usage

CHISINAU = ZoneInfo("Europe/Chisinau")
ALLOW, BLOCK = Action.ALLOW, Action.BLOCK
DAILY = frozenset(range(7))
BEDTIME = Schedule((Window(DAILY, 21 * 60, 7 * 60),))
ANA = Profile(
    "ana",
    "Ana",
    schedule=BEDTIME,
    categories=frozenset({"gambling", "social", "ads"}),
    safe_search=SafeSearch(True, YouTube.STRICT),
    rules=(parse_rule("blocked.example", BLOCK), parse_rule("good.casino.example", ALLOW)),
    services=(
        ServiceRule("tiktok", BLOCK, (Window(DAILY, 17 * 60, 18 * 60),)),
        ServiceRule("roblox", ALLOW),
    ),
)


def used_by_ana(minutes: Mapping[str, float], now: float) -> Usage:
    """Minutes by service or group, "" for all, on the local date of `now`."""
    usage = Usage()
    for of, each in minutes.items():
        usage.add("ana", of, local_date(CHISINAU, now), each)
    return usage


def make(home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], now: float) -> Policy:
    """The policy of a home as `settings_of_a_home` draws it, with its minutes used on the day of `now`."""
    others = {key: value for key, value in settings.items() if key != "used"}
    return home(profile, usage=used_by_ana(settings["used"], now), **others)


def ask(policy: Policy, device: str, name: str, now: float, kind: Kind = Kind.DNS_QUERY) -> Decision:
    return decide(policy, Subject(device, kind, parse_name(name)), now)


@pytest.mark.parametrize(
    ("name", "action", "rule", "until"),
    [
        ("www.example.com", ALLOW, "default", "2026-11-23 17:00"),
        ("help.example", ALLOW, "helpline", None),
        ("forbidden.example", BLOCK, "mandatory:hotline", None),
        ("both.help.example", ALLOW, "helpline", None),
        ("x.blocked.example", BLOCK, "rule:block blocked.example", "2026-11-23 17:00"),
        ("good.casino.example", ALLOW, "rule:allow good.casino.example", "2026-11-23 17:00"),
        ("casino.example", BLOCK, "category:gambling", "2026-11-23 17:00"),
        ("dns.google", BLOCK, "bypass:doh", "2026-11-23 17:00"),
        ("mask.icloud.com", BLOCK, "bypass:relay", "2026-11-23 17:00"),
        ("www.tiktok.com", BLOCK, "service:tiktok", "2026-11-23 17:00"),
        ("cdn.shared.example", ALLOW, "service:roblox", "2026-11-23 17:00"),  # shared by an open and a shut service
        ("youtube.com", ALLOW, "default", "2026-11-23 17:00"),  # `video` is not blocked for Ana
        ("facebook.com", BLOCK, "category:social", "2026-11-23 17:00"),
        ("www.google.com", Action.REWRITE, "safe-search", "2026-11-23 17:00"),
        ("www.youtube.com", Action.REWRITE, "youtube:strict", "2026-11-23 17:00"),
    ],
)
def test_an_afternoon(
    home: Callable[..., Policy], at: Callable[..., float], name: str, action: Action, rule: str, until: str | None
) -> None:
    decision = ask(home(ANA), "ana", name, at("2026-11-23 15:00"))
    assert (decision.action, decision.rule) == (action, rule)
    assert decision.until == (FOREVER if until is None else at(until))


def test_an_open_hour_beats_the_category_and_ends(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    decision = ask(home(ANA), "ana", "www.tiktok.com", at("2026-11-23 17:30"))
    assert decision == (ALLOW, Reason.SERVICE, "service:tiktok", at("2026-11-23 18:00"), b"")
    limited = replace(ANA, services=(ServiceRule("tiktok", ALLOW, (Window(DAILY, 17 * 60, 18 * 60),)),))
    assert ask(home(limited), "ana", "tiktok.com", at("2026-11-23 17:30")).action is ALLOW
    assert ask(home(limited), "ana", "tiktok.com", at("2026-11-23 18:00")).rule == "category:social"


def test_what_stops_everything_but_helplines(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    night, evening = at("2026-11-23 22:00"), at("2026-11-23 20:00")
    policy = home(ANA)
    for name in ("www.example.com", "good.casino.example", "roblox.com", "www.google.com", "casino.example"):
        assert ask(policy, "ana", name, night)[:4] == (
            BLOCK,
            Reason.SCHEDULE,
            "schedule:bedtime",
            at("2026-11-24 07:00"),
        )
    assert ask(policy, "ana", "help.example", night).reason is Reason.HELPLINE
    assert ask(policy, "ana", "forbidden.example", night).reason is Reason.MANDATORY
    pause = replace(ANA, paused_until=night)
    assert ask(home(pause), "ana", "x.example", evening)[1:4] == (Reason.PAUSE, "pause:profile", night)
    assert ask(home(pause), "ana", "x.example", night).reason is Reason.SCHEDULE
    longer = (Device("ana", "tablet", "ana", paused_until=FOREVER),)
    assert ask(home(pause, devices=longer), "ana", "x.example", evening)[1:4] == (
        Reason.PAUSE,
        "pause:device",
        FOREVER,
    )


def test_minutes_end_at_midnight(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    timed = replace(ANA, schedule=Schedule(), minutes=(120,) * 5 + (180,) * 2)
    monday = at("2026-11-23 19:00")
    used = home(timed, usage=used_by_ana({"": 120.0}, monday))
    assert ask(used, "ana", "x.example", monday)[:4] == (BLOCK, Reason.MINUTES, "minutes:120", at("2026-11-24 00:00"))
    assert ask(used, "ana", "x.example", at("2026-11-28 19:00")).action is ALLOW  # Saturdays have more
    nearly = home(timed, usage=used_by_ana({"": 119.9}, monday))
    assert ask(nearly, "ana", "x.example", monday)[1::2] == (Reason.DEFAULT, monday + 5)  # six seconds at most
    assert ask(home(replace(timed, minutes=(0,) * 7)), "ana", "x.example", monday).reason is Reason.MINUTES
    bed = home(replace(timed, schedule=BEDTIME), usage=used_by_ana({"": 500.0}, monday))
    assert ask(bed, "ana", "x.example", monday)[1::2] == (Reason.MINUTES, at("2026-11-23 21:00"))


def test_allow_list_only(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    rules = (parse_rule("zoo.example", ALLOW),)
    small = Profile("mia", "Mia", allow_list_only=True, rules=rules, services=(ServiceRule("youtube", ALLOW),))
    policy, now = home(small), at("2026-11-23 15:00")
    answers = {
        name: ask(policy, "mia", name, now).rule
        for name in ("zoo.example", "pbskids.org", "youtube.com", "help.example", "x.org", "tiktok.com")
    }
    assert answers == {
        "zoo.example": "rule:allow zoo.example",
        "pbskids.org": "allowed:kids",
        "youtube.com": "service:youtube",
        "help.example": "helpline",
        "x.org": "allow-list-only",
        "tiktok.com": "allow-list-only",
    }
    assert ask(policy, "mia", "x.org", now, Kind.TLS).action is BLOCK
    assert ask(policy, "mia", "x.org", now, Kind.DNS_ANSWER).action is ALLOW


def test_an_adults_laptop(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    adult = Profile("dad", "Dad", filtered=False, categories=frozenset({"gambling"}), rules=(parse_rule("*", BLOCK),))
    policy, now = home(adult, rules=(parse_rule("x.example", BLOCK),)), at("2026-11-23 22:00")
    for name in ("bet365.com", "dns.google", "x.example", "www.google.com"):
        assert ask(policy, "dad", name, now) == (ALLOW, Reason.DEFAULT, "default", FOREVER, b"")
    assert ask(policy, "dad", "forbidden.example", now).reason is Reason.MANDATORY
    assert not posture_of(policy, "dad", now).strip_ech
    paused = home(replace(adult, paused_until=FOREVER))
    assert ask(paused, "dad", "bet365.com", now).reason is Reason.PAUSE  # the television can be paused


def test_kinds_without_a_name(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    adult, day, night = Profile("dad", "Dad", filtered=False), at("2026-11-23 15:00"), at("2026-11-23 22:00")
    lenient = replace(ANA, id="leo", bypass_protection=False, schedule=Schedule())
    policy = home(ANA, adult, lenient)
    unreadable, address = (Kind.UNREADABLE, b""), (Kind.ADDRESS, bytes(16))

    def seen(device: str, what: tuple[Kind, bytes], now: float) -> str:
        return decide(policy, Subject(device, *what), now).rule

    assert seen("ana", unreadable, day) == "bypass:unreadable"
    assert seen("ana", unreadable, night) == seen("ana", address, night) == "schedule:bedtime"
    assert [seen(device, unreadable, day) for device in ("leo", "dad")] == ["default", "default"]
    assert seen("ana", address, day) == "default"


def test_ways_around_that_are_no_names(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    day, night = at("2026-11-23 15:00"), at("2026-11-23 22:00")
    profiles = (
        replace(ANA, strict=True),
        replace(ANA, id="mia", allow_list_only=True, bypass_protection=False),  # a list of allowed sites is strict
        replace(ANA, id="leo", schedule=Schedule()),
        replace(ANA, id="dad", filtered=False, strict=True, allow_list_only=True),
    )
    policy = home(*profiles)

    def seen(tag: str, now: float) -> list[str]:
        postures = [posture_of(policy, profile.id, now) for profile in profiles]
        decisions = [judge_bypass(posture, tag) for posture in postures]
        for posture, decision in zip(postures, decisions, strict=True):
            assert judge_bypass(posture, tag) is decision
            assert decision.until == posture.until
            assert (decision.reason is Reason.BYPASS) == (decision.rule == tag) == decision.rule.startswith("bypass")
        return [decision.rule for decision in decisions]

    assert seen("bypass:vpn", day) == ["bypass:vpn", "default", "bypass:vpn", "default"]
    assert seen("bypass:dns-first", day) == ["bypass:dns-first", "bypass:dns-first", "default", "default"]
    assert seen("bypass:dot", night) == ["schedule:bedtime", "schedule:bedtime", "bypass:dot", "schedule:bedtime"]
    assert [posture_of(policy, who, day).bypass_protection for who in ("ana", "mia", "dad")] == [True, False, False]
    assert [posture_of(policy, who, day).strict for who in ("ana", "mia", "leo", "dad")] == [True, True, False, False]


class DictAddresses(dict[bytes, str]):
    """Address lists in the plainest way."""

    def lookup(self, address: bytes) -> str:
        return self.get(address, "")


def test_addresses(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    doh, law, free, odd = bytes([9] * 4), bytes([7] * 16), bytes([5] * 4), bytes([3] * 4)
    listed = DictAddresses({doh: "bypass:doh", law: "mandatory:hotline", odd: "category:ads"})
    policy = home(ANA, replace(ANA, id="dad", filtered=False, schedule=Schedule()), addresses=listed)
    day, night = at("2026-11-23 15:00"), at("2026-11-23 22:00")

    def seen(device: str, now: float) -> list[str]:
        return [decide(policy, Subject(device, Kind.ADDRESS, value), now).rule for value in (doh, law, free, odd)]

    assert seen("ana", day) == ["bypass:doh", "mandatory:hotline", "default", "default"]
    assert seen("ana", night) == ["schedule:bedtime", "mandatory:hotline", "schedule:bedtime", "schedule:bedtime"]
    assert seen("dad", day) == ["default", "mandatory:hotline", "default", "default"]
    posture = posture_of(policy, "ana", day)
    for tag in ("", "bypass:doh", "mandatory:hotline"):
        assert judge_address(posture, tag) is judge_address(posture, tag)
    assert judge_address(posture, "mandatory:hotline").until == FOREVER


def test_names_with_a_safe_twin_are_known_to_who_sees_flows(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    policy = home(ANA, replace(ANA, id="dad", filtered=False))
    ana, dad = (posture_of(policy, who, at("2026-11-23 15:00")) for who in ("ana", "dad"))
    google, plain = parse_name("www.google.com"), parse_name("plain.org")
    assert [is_rewritten(ana, google), is_rewritten(ana, plain), is_rewritten(dad, google)] == [True, False, False]
    assert ana.rewrites[google].target == parse_name("forcesafesearch.google.com")


def test_minutes_of_a_service_and_of_a_group(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    now = at("2026-11-25 19:00")  # a Wednesday
    limits = (GroupMinutes("youtube", (30,) * 7), GroupMinutes("group:games", week=60))
    rules = (parse_rule("roblox.com", ALLOW), parse_rule("m.youtube.com", ALLOW))
    timed = Profile("ana", "Ana", rules=rules, group_minutes=limits, safe_search=SafeSearch(True, YouTube.STRICT))
    usage = used_by_ana({"": 500.0, "youtube": 30.0}, now)
    policy = home(timed, replace(timed, id="tv", filtered=False), usage=usage)
    over = (BLOCK, Reason.MINUTES, "minutes:youtube", posture_of(policy, "ana", now).until, b"")
    for name in ("m.youtube.com", "www.youtube.com", "googlevideo.com"):  # whatever rules and safe search say
        assert ask(policy, "ana", name, now) == ask(policy, "ana", name, now, Kind.TLS) == over
    assert ask(policy, "ana", "roblox.com", now).reason is Reason.RULE
    assert ask(policy, "ana", "tiktok.com", now).reason is Reason.DEFAULT
    usage.add("ana", "group:games", date(2026, 11, 23), 60.0)  # Monday's count for the week
    assert ask(policy, "ana", "roblox.com", now).rule == "minutes:group:games"
    assert ask(policy, "ana", "roblox.com", at("2026-11-29 23:59")).rule == "minutes:group:games"
    assert ask(policy, "ana", "roblox.com", at("2026-11-30 00:00")).reason is Reason.RULE
    assert ask(policy, "ana", "youtube.com", at("2026-11-26 00:00")).action is ALLOW
    # What merely nobody objected to may not lead there.
    posture, plain, video = posture_of(policy, "ana", now), parse_name("plain.org"), parse_name("youtube.com")
    query = judge(posture, Kind.DNS_QUERY, plain, 0)
    assert judge_answer(posture, query, video, policy.lists.lookup(video)).rule == "minutes:youtube"
    # Minutes hold for the television too, which is not filtered; so does the look at encrypted names.
    usage.add("tv", "youtube", date(2026, 11, 25), 30.0)
    assert ask(policy, "tv", "youtube.com", now).rule == "minutes:youtube"
    assert posture_of(policy, "tv", now).strip_ech
    both = home(timed, usage=usage, lists={"helpline": ["youtube.com"], "service:youtube": ["youtube.com"]})
    assert ask(both, "ana", "youtube.com", now).reason is Reason.HELPLINE


def test_minutes_of_the_week(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    wednesday = at("2026-11-25 19:00")
    timed = Profile("ana", "Ana", minutes=(60,) * 7, week_minutes=100)
    usage = used_by_ana({"": 55.0}, at("2026-11-24 12:00"))
    policy = home(timed, usage=usage)
    assert ask(policy, "ana", "x.example", wednesday).until <= wednesday + 45 * 60  # of the week; the day has 60
    usage.add("ana", "", date(2026, 11, 25), 45.0)
    assert ask(policy, "ana", "x.example", wednesday)[:4] == (
        BLOCK,
        Reason.MINUTES,
        "minutes:week:100",
        at("2026-11-26 00:00"),
    )
    assert ask(policy, "ana", "x.example", at("2026-11-29 23:59")).rule == "minutes:week:100"
    assert ask(policy, "ana", "x.example", at("2026-11-30 00:00")).reason is Reason.DEFAULT
    given = (Bonus(date(2026, 11, 24), 10), Bonus(date(2026, 11, 27), 30), Bonus(date(2026, 11, 20), 60))
    more = home(replace(timed, bonuses=given), usage=usage)
    rules = [ask(more, "ana", "x.example", at(f"2026-11-{day} 19:00")).rule for day in (25, 26, 27)]
    assert rules == ["default", "default", "default"]  # Tuesday's bonus was not used
    usage.add("ana", "", date(2026, 11, 26), 10.0)
    rules = [ask(more, "ana", "x.example", at(f"2026-11-{day} 19:00")).rule for day in (26, 27)]
    assert rules == ["minutes:week:110", "default"]  # Friday's is not there to be used on Thursday


def test_a_flow_is_not_rewritten(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    for kind in (Kind.TLS, Kind.QUIC, Kind.HTTP, Kind.DNS_ANSWER):
        assert ask(home(ANA), "ana", "www.google.com", at("2026-11-23 15:00"), kind).rule == "default"


@pytest.mark.parametrize(
    ("query", "target", "rule"),
    [
        ("www.example.com", "cdn.ads.example", "category:ads"),  # a cloaked tracker
        ("www.example.com", "x.blocked.example", "rule:block blocked.example"),
        ("www.example.com", "www.tiktok.com", "service:tiktok"),
        ("www.example.com", "dns.google", "bypass:doh"),
        ("www.example.com", "www.google.com", "default"),  # targets are not rewritten
        ("www.example.com", "cdn.example", "default"),
        ("www.example.com", "forbidden.example", "mandatory:hotline"),
        ("www.example.com", "both.help.example", "default"),  # a helpline by its own name, whatever the list says
        ("good.casino.example", "a248.akamai.example", "rule:allow good.casino.example"),
        ("good.casino.example", "x.blocked.example", "rule:allow good.casino.example"),
        ("good.casino.example", "forbidden.example", "mandatory:hotline"),
        ("roblox.com", "cdn.ads.example", "service:roblox"),
        ("help.example", "a248.akamai.example", "helpline"),
        ("help.example", "forbidden.example", "mandatory:hotline"),
        ("www.google.com", "cdn.ads.example", "safe-search"),
        ("www.google.com", "forbidden.example", "mandatory:hotline"),
        ("casino.example", "cdn.example", "category:gambling"),
        ("casino.example", "help.example", "category:gambling"),
    ],
)
def test_targets_of_an_answer(
    home: Callable[..., Policy], at: Callable[..., float], query: str, target: str, rule: str
) -> None:
    policy, now = home(ANA), at("2026-11-23 15:00")
    posture, asked, revealed = posture_of(policy, "ana", now), parse_name(query), parse_name(target)
    first = judge(posture, Kind.DNS_QUERY, asked, policy.lists.lookup(asked))
    final = judge_answer(posture, first, revealed, policy.lists.lookup(revealed))
    assert final.rule == rule
    assert final is first or final.action is BLOCK


def test_targets_for_a_small_child_and_for_a_stop_that_began_meanwhile(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    small = Profile("mia", "Mia", allow_list_only=True, rules=(parse_rule("zoo.example", ALLOW),), schedule=BEDTIME)
    policy, cdn = home(small), parse_name("cdn.example")
    day, night = (posture_of(policy, "mia", at(f"2026-11-23 {hour}")) for hour in ("20:59", "21:00"))
    for name in ("zoo.example", "pbskids.org"):
        query = judge(day, Kind.DNS_QUERY, parse_name(name), policy.lists.lookup(parse_name(name)))
        assert judge_answer(day, query, cdn, 0) is query
        assert judge_answer(night, query, cdn, 0).reason is Reason.SCHEDULE
    helpline = judge(night, Kind.DNS_QUERY, parse_name("help.example"), policy.lists.lookup(parse_name("help.example")))
    assert judge_answer(night, helpline, cdn, 0) is helpline


# Properties over homes of every kind.

NAMES = [
    *("help.example", "forbidden.example", "sub.forbidden.example", "both.help.example", "dns.google", "tiktok.com"),
    *("cdn.shared.example", "bet365.com", "doubleclick.net", "pbskids.org", "www.google.com", "www.youtube.com"),
    *("plain.org", "x.plain.org", "ads1.plain.org"),
]
names = st.sampled_from(NAMES)
moments = st.integers(0, 21 * 1440).map(lambda minute: 1791496800.0 + 60 * minute)  # around 25 October 2026
later = st.one_of(st.just(FOREVER), st.just(0.0), moments)
windows = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.integers(0, 1439),
    end=st.integers(0, 1440),
    label=st.sampled_from(["bedtime", "homework"]),
)
patterns = st.one_of(
    names,
    names.map(lambda name: "=" + name),
    names.map(lambda name: "*." + name),
    st.sampled_from(["*", "*ads*", "com", "example", "ads*.plain.org", "*.org"]),
)
rules = st.builds(parse_rule, patterns, st.sampled_from([ALLOW, BLOCK]), later)
rule_sets = st.lists(rules, max_size=4).map(tuple)
services = st.builds(
    ServiceRule,
    st.sampled_from(["youtube", "tiktok", "roblox", "unknown"]),
    st.sampled_from([ALLOW, BLOCK]),
    st.lists(windows, max_size=2).map(tuple),
)
GROUPS = ("youtube", "tiktok", "group:video", "group:games", "group:unknown")
day_minutes = st.one_of(st.just(()), st.tuples(*[st.sampled_from([0, 30, 60])] * 7))
week_minutes = st.sampled_from([None, None, 0, 45, 90])
group_minutes = st.builds(GroupMinutes, st.sampled_from(GROUPS), day_minutes, week_minutes)
bonuses = st.builds(
    Bonus, st.dates(date(2026, 10, 8), date(2026, 10, 31)), st.sampled_from([10, 30]), st.sampled_from(["", *GROUPS])
)
profiles = st.builds(
    Profile,
    id=st.just("ana"),
    name=st.just("Ana"),
    filtered=st.sampled_from([True, True, True, False]),
    paused_until=later,
    schedule=st.builds(Schedule, st.lists(windows, max_size=2).map(tuple)),
    minutes=day_minutes,
    week_minutes=week_minutes,
    group_minutes=st.lists(group_minutes, max_size=3, unique_by=lambda limit: limit.of).map(tuple),
    bonuses=st.lists(bonuses, max_size=3).map(tuple),
    rules=rule_sets,
    services=st.lists(services, max_size=3).map(tuple),
    categories=st.frozensets(st.sampled_from(["gambling", "social", "video", "ads", "unknown"])),
    allow_list_only=st.booleans(),
    safe_search=st.builds(SafeSearch, st.booleans(), st.sampled_from(YouTube)),
    bypass_protection=st.booleans(),
    strict=st.booleans(),
)


@st.composite
def settings_of_a_home(draw: st.DrawFn) -> dict[str, Any]:
    device = Device("ana", "tablet", draw(st.sampled_from(["ana", "ana", "gone"])), paused_until=draw(later))
    return {
        "devices": (device,),
        "rules": draw(rule_sets),
        "new_device_profile": draw(st.sampled_from(["", "ana", "gone"])),
        "used": {of: draw(st.sampled_from([0.0, 29.0, 45.0, 60.0])) for of in ("", *GROUPS)},
    }


homes = settings_of_a_home()
devices = st.sampled_from(["ana", "", "stranger"])
kinds = st.sampled_from(Kind)


@settings(deadline=None, max_examples=150)
@given(profiles, homes, devices, kinds, names, moments, st.data())
def test_decisions_are_total_and_hold_until_they_say(
    home: Callable[..., Policy],
    profile: Profile,
    settings: dict[str, Any],
    device: str,
    kind: Kind,
    name: str,
    now: float,
    data: st.DataObject,
) -> None:
    policy = make(home, profile, settings, now)
    value = {Kind.ADDRESS: bytes(4), Kind.UNREADABLE: b""}.get(kind, parse_name(name))
    subject = Subject(device, kind, value)
    decision = decide(policy, subject, now)
    assert decision.until > now
    assert (decision.action is Action.REWRITE) == (decision.target != b"") == (decision.reason is Reason.SAFE_SEARCH)
    # The same at any moment before `until`: the last second, and one between; within a year, FOREVER is long.
    end = min(decision.until, now + 366 * 86400.0)
    between = data.draw(st.floats(now, end, exclude_max=True))
    counts = data.draw(st.sets(st.sampled_from(["", *GROUPS])))
    lived = now
    for moment in sorted({between, end - 0.01, end - 1.0 if end - 1.0 >= now else now}):
        for of in counts:  # whoever uses minutes uses at most one a minute
            policy.usage.add("ana", of, local_date(CHISINAU, moment), (moment - lived) / 60)
        lived = moment
        assert decide(policy, subject, moment)[:3] == decision[:3], moment


@settings(deadline=None, max_examples=100)
@given(profiles, homes, names, moments, st.randoms(use_true_random=False))
def test_case_does_not_matter(
    home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], name: str, now: float, random: Any
) -> None:
    policy = make(home, profile, settings, now)
    mixed = "".join(random.choice((char.upper(), char)) for char in name).encode()
    wire = b"".join(bytes([len(label)]) + label for label in mixed.split(b".")) + b"\x00"
    assert decide(policy, Subject("ana", Kind.DNS_QUERY, wire), now) == ask(policy, "ana", name, now)


@settings(deadline=None, max_examples=150)
@given(profiles, homes, patterns, st.booleans(), moments)
def test_a_new_block_rule_unblocks_nothing(
    home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], pattern: str, shared: bool, now: float
) -> None:
    before = make(home, profile, settings, now)
    rule = parse_rule(pattern, BLOCK)
    if shared:
        after = make(home, profile, {**settings, "rules": (*settings["rules"], rule)}, now)
    else:
        after = make(home, replace(profile, rules=(*profile.rules, rule)), settings, now)
    for name in NAMES:
        if ask(before, "ana", name, now).action is BLOCK:
            assert ask(after, "ana", name, now).action is BLOCK


@settings(deadline=None, max_examples=100)
@given(profiles, homes, devices, moments)
def test_nothing_unblocks_mandatory_and_nothing_blocks_a_helpline(
    home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], device: str, now: float
) -> None:
    policy = make(home, profile, settings, now)
    for name in ("forbidden.example", "sub.forbidden.example"):
        decision = ask(policy, device, name, now)
        assert decision[:3] == (BLOCK, Reason.MANDATORY, "mandatory:hotline")
        assert "forbidden" not in str(decision)
    for name in ("help.example", "both.help.example"):
        assert ask(policy, device, name, now) == (ALLOW, Reason.HELPLINE, "helpline", FOREVER, b"")


@settings(deadline=None, max_examples=100)
@given(profiles, homes, names, moments)
def test_an_allow_rule_of_the_same_name_wins(
    home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], name: str, now: float
) -> None:
    both = (parse_rule("=" + name, BLOCK), parse_rule("=" + name, ALLOW))
    policy = make(home, replace(profile, rules=(*profile.rules, *both)), settings, now)
    decision = ask(policy, "ana", name, now)
    if posture_of(policy, "ana", now).profile == "ana" and profile.filtered:
        firmer = (Reason.HELPLINE, Reason.MANDATORY, Reason.PAUSE, Reason.SCHEDULE, Reason.MINUTES)
        assert decision.reason in (*firmer, Reason.RULE, Reason.SAFE_SEARCH)
        assert decision.action is not BLOCK or decision.reason in firmer


@settings(deadline=None, max_examples=100)
@given(profiles, homes, names, names, moments)
def test_a_kept_posture_answers_like_a_fresh_one(
    home: Callable[..., Policy], profile: Profile, settings: dict[str, Any], name: str, other: str, now: float
) -> None:
    policy = make(home, profile, settings, now)
    posture = posture_of(policy, "ana", now)
    for kind in (*Kind, *Kind):
        for wire in (parse_name(name), parse_name(other)):
            kept = judge(posture, kind, wire, policy.lists.lookup(wire))
            assert kept == judge(posture_of(policy, "ana", now), kind, wire, policy.lists.lookup(wire))
            # Nothing is made anew for a name met before: the hot path only looks up.
            assert kept is judge(posture, kind, wire, policy.lists.lookup(wire))


def test_devices_nobody_named(
    home: Callable[..., Policy], at: Callable[..., float], parts: SimpleNamespace, listed: Mapping[str, list[str]]
) -> None:
    now = at("2026-11-23 22:00")
    guest = Profile("guest", "Guest", categories=frozenset({"ads"}), visibility=Visibility.NAMES)
    named = home(guest, new_device_profile="guest")
    for device in ("", "stranger"):
        assert posture_of(named, device, now).profile == "guest"
        assert ask(named, device, "doubleclick.net", now).rule == "category:ads"
    # Without a profile for new devices: what any age preset blocks, no bypass, safe search; but online.
    for policy in (home(guest), home(guest, new_device_profile="gone"), home()):
        posture = posture_of(policy, "stranger", now)
        assert (posture.profile, posture.filtered, posture.strip_ech) == ("", True, True)
        assert posture.visibility is Visibility.COUNTS
        rules = [ask(policy, "", name, now).rule for name in ("bet365.com", "dns.google", "www.google.com", "a.org")]
        assert rules == ["category:gambling", "bypass:doh", "safe-search", "default"]
    # A device whose profile is gone falls back on the same, not on the profile for guests.
    orphan = home(replace(guest, filtered=False), devices=(Device("tv", "TV", "gone"),), new_device_profile="guest")
    assert ask(orphan, "tv", "bet365.com", now).action is BLOCK
    assert posture_of_profile(orphan, "gone", now).profile == ""
    assert posture_of_profile(orphan, "guest", now).filtered is False
