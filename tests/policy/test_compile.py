"""What a household, a catalogue and lists come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import pytest

from guardian.errors import TextError
from guardian.names import parse_name
from guardian.policy.compile import Policy, compile_policy, group_of, service_of, strictest_profile
from guardian.policy.decide import decide
from guardian.policy.model import Action, GroupMinutes, Kind, Match, Profile, Reason, Rule, ServiceRule, Subject
from guardian.policy.usage import Usage

KID = Profile("kid", "Kid", categories=frozenset({"gambling"}), services=(ServiceRule("tiktok", Action.BLOCK),))


def test_a_tag_that_no_list_has_yet_never_matches(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    name, now = parse_name("bet365.com"), at("2026-11-23 15:00")
    for lists in ({}, {"category:other": ["bet365.com"]}, {"gambling": ["bet365.com"]}):
        policy = home(KID, lists=lists)
        assert decide(policy, Subject("kid", Kind.DNS_QUERY, name), now).reason is Reason.DEFAULT
    fetched = home(KID, lists={"category:gambling": ["bet365.com"]})
    assert decide(fetched, Subject("kid", Kind.DNS_QUERY, name), now).rule == "category:gambling"


def test_masks_follow_the_order_of_the_tags(home: Callable[..., Policy]) -> None:
    kid = replace(KID, allow_list_only=True)
    policy = home(kid, lists={tag: [] for tag in ("allowed:a", "mandatory:x", "bypass:vpn", "helpline", "mandatory:y",
                                                  "service:tiktok", "category:gambling", "bypass:doh")})  # fmt: skip
    masks = policy.profiles["kid"]
    assert (policy.helpline, policy.mandatory) == (0b1000, 0b10010)
    assert (masks.allowed, masks.bypass, masks.categories) == (0b1, 0b10000100, 0b1000000)
    assert [service.mask for service in masks.services] == [0b100000]


def test_services_and_groups_for_who_counts_minutes(home: Callable[..., Policy]) -> None:
    groups = tuple(GroupMinutes(of, week=60) for of in ("youtube", "group:video", "group:games", "group:none", "none"))
    for filtered in (True, False):
        policy = home(replace(KID, group_minutes=groups, filtered=filtered))
        masks = {of: {policy.tags[bit] for bit in range(20) if mask >> bit & 1} for of, mask in
                 policy.profiles["kid"].groups}  # fmt: skip
        assert masks == {
            "youtube": {"service:youtube"},
            "group:video": {"service:youtube", "service:tiktok"},
            "group:games": {"service:roblox"},
            "group:none": set(),
            "none": set(),
        }
    found = {
        name: service_of(policy, policy.lists.lookup(parse_name(name)))
        for name in ("m.youtube.com", "cdn.shared.example", "bet365.com", "plain.org")
    }
    assert found == {"m.youtube.com": "youtube", "cdn.shared.example": "tiktok", "bet365.com": "", "plain.org": ""}
    assert [group_of(policy, service) for service in ("tiktok", "roblox", "gone", "")] == [
        "group:video",
        "group:games",
        "",
        "",
    ]


def test_minutes_count_for_their_day_only(
    home: Callable[..., Policy], at: Callable[..., float], parts: SimpleNamespace
) -> None:
    usage = Usage()
    policy = compile_policy(
        home(replace(KID, minutes=(60,) * 7)).household, parts.catalogue, parts.DictLists({}), usage
    )
    usage.add("kid", "", date(2026, 11, 23), 60.0)  # after compiling: it is held by reference
    subject = Subject("kid", Kind.DNS_QUERY, parse_name("example.com"))
    decision = decide(policy, subject, at("2026-11-23 23:59"))
    assert (decision.reason, decision.until) == (Reason.MINUTES, at("2026-11-24 00:00"))
    assert decide(policy, subject, decision.until).reason is Reason.DEFAULT


def test_the_strictest_profile_is_for_the_open_web_and_needs_no_presets(parts: SimpleNamespace) -> None:
    assert strictest_profile(parts.catalogue).categories == {"gambling", "social"}  # of the presets
    tiny = replace(parts.catalogue.presets["10-12"], allow_list_only=True, categories=frozenset({"video"}))
    presets = {**parts.catalogue.presets, "0-6": tiny}
    assert strictest_profile(replace(parts.catalogue, presets=presets)).categories == {"gambling", "social"}
    assert strictest_profile(replace(parts.catalogue, presets={})).categories == set(parts.catalogue.categories)


def test_a_rule_that_nobody_checked_is_refused(home: Callable[..., Policy]) -> None:
    with pytest.raises(TextError):
        home(replace(KID, rules=(Rule(Action.BLOCK, "no name at all", Match.SUBDOMAINS),)))
