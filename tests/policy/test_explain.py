"""Explanations: every step, the entry that matched, one sentence, and no name of a mandatory list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.names import parse_name
from guardian.policy.compile import Policy
from guardian.policy.decide import posture_of
from guardian.policy.explain import HIDDEN, Explanation, Outcome, explain
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    GroupMinutes,
    Profile,
    Reason,
    SafeSearch,
    Schedule,
    ServiceRule,
    Window,
    YouTube,
)
from guardian.policy.rules import parse_rule
from guardian.policy.usage import Usage

DAILY = frozenset(range(7))
MONDAY = date(2026, 11, 23)
KID = Profile(
    "kid",
    "Kid",
    schedule=Schedule((Window(DAILY, 21 * 60, 7 * 60),)),
    categories=frozenset({"gambling"}),
    safe_search=SafeSearch(True, YouTube.STRICT),
    services=(ServiceRule("youtube", Action.BLOCK),),
    rules=(parse_rule("www.google.com", Action.ALLOW), parse_rule("*ads*", Action.BLOCK)),
)


def tell(policy: Policy, name: str, now: float) -> Explanation:
    return explain(policy, posture_of(policy, "kid", now), parse_name(name), now)


@pytest.mark.parametrize(
    ("profile", "time", "name", "sentence"),
    [
        (KID, "15:00", "www.bet365.com",
         "Blocked: category gambling (list entry bet365.com), until 2026-11-23 21:00 when bedtime begins."),
        (KID, "22:00", "plain.org", "Blocked: it is bedtime, until 2026-11-24 07:00 when bedtime ends."),
        (KID, "22:00", "help.example", "Allowed: a helpline is always reachable and leaves no trace."),
        (KID, "15:00", "forbidden.example",
         "Blocked: it is on a list of illegal content, which holds for every device of the home."),
        (KID, "15:00", "ads.plain.org",
         "Blocked: the parents' rule 'block *ads*', until 2026-11-23 21:00 when bedtime begins."),
        (KID, "15:00", "shop.example",
         "Blocked: the parents' rule 'block shop.example' for the whole home, "
         "until 2026-11-23 21:00 when bedtime begins."),
        (KID, "15:00", "dns.google",
         "Blocked: a way around the filter, doh (list entry dns.google), until 2026-11-23 21:00 when bedtime begins."),
        (KID, "15:00", "m.youtube.com",
         "Blocked: service YouTube (list entry youtube.com), until 2026-11-23 21:00 when bedtime begins."),
        (KID, "15:00", "www.google.com",
         "Allowed in its safe mode: safe-search answers with forcesafesearch.google.com, "
         "until 2026-11-23 21:00 when bedtime begins."),
        (KID, "15:00", "plain.org", "Allowed: nothing objects, until 2026-11-23 21:00 when bedtime begins."),
        (replace(KID, paused_until=FOREVER), "15:00", "plain.org",
         "Blocked: the internet is paused for this profile, until a parent resumes it."),
        (replace(KID, minutes=(0,) * 7), "15:00", "plain.org",
         "Blocked: the 0 minutes of today are used up, until 2026-11-23 21:00 when bedtime begins."),
        (Profile("kid", "Kid", allow_list_only=True), "15:00", "plain.org",
         "Blocked: this profile reaches only the sites that are allowed."),
        (Profile("kid", "Kid", allow_list_only=True), "15:00", "pbskids.org",
         "Allowed: on the list of good sites, kids (list entry pbskids.org)."),
    ],
)  # fmt: skip
def test_one_sentence(
    home: Callable[..., Policy], at: Callable[..., float], profile: Profile, time: str, name: str, sentence: str
) -> None:
    policy = home(profile, rules=(parse_rule("shop.example", Action.BLOCK),))
    assert tell(policy, name, at(f"2026-11-23 {time}")).sentence == sentence


def test_the_edge_is_the_one_that_changes_this_name(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    """YouTube closes at 19:00: that is no news for a gambling site, and all there is to say of YouTube."""
    hours = (Window(DAILY, 17 * 60, 19 * 60),)
    policy = home(replace(KID, services=(ServiceRule("youtube", Action.BLOCK, hours),), rules=()))
    now = at("2026-11-23 18:00")
    assert posture_of(policy, "kid", now).until == at("2026-11-23 19:00")
    assert tell(policy, "www.bet365.com", now).sentence.endswith("until 2026-11-23 21:00 when bedtime begins.")
    assert tell(policy, "youtube.com", now).sentence.endswith("until 2026-11-23 19:00 when youtube closes.")
    always = home(
        Profile("kid", "Kid", categories=frozenset({"gambling"}), services=policy.household.profiles[0].services)
    )
    assert tell(always, "www.bet365.com", now).sentence == "Blocked: category gambling (list entry bet365.com)."
    assert tell(always, "www.bet365.com", now).change == FOREVER


LIMITS = (GroupMinutes("youtube", (30,) * 7), GroupMinutes("group:games", (), 100), GroupMinutes("other", (), 0))


@pytest.mark.parametrize(
    ("profile", "used", "name", "sentence"),
    [
        (replace(KID, schedule=Schedule(), week_minutes=90), {"": 90}, "plain.org",
         "Blocked: the 90 minutes of this week are used up, until 2026-11-30 00:00 when a new week begins."),
        (replace(KID, schedule=Schedule(), minutes=(60,) * 7, bonuses=(Bonus(MONDAY, 30),)), {"": 90}, "plain.org",
         "Blocked: the 90 minutes of today are used up, until 2026-11-24 00:00 when a new day begins."),
        (replace(KID, group_minutes=LIMITS), {"youtube": 30}, "youtube.com",
         "Blocked: the 30 minutes of today for YouTube are used up, until 2026-11-23 21:00 when bedtime begins."),
        (replace(KID, schedule=Schedule(), group_minutes=LIMITS), {"group:games": 100}, "roblox.com",
         "Blocked: the 100 minutes of this week for group games are used up, "
         "until 2026-11-30 00:00 when a new week begins."),
        # Minutes that nobody uses change nothing: what the clock brings is told.
        (replace(KID, minutes=(60,) * 7, group_minutes=LIMITS), {"": 59}, "plain.org",
         "Allowed: nothing objects, until 2026-11-23 21:00 when bedtime begins."),
    ],
)  # fmt: skip
def test_minutes_in_one_sentence(
    home: Callable[..., Policy],
    at: Callable[..., float],
    profile: Profile,
    used: dict[str, float],
    name: str,
    sentence: str,
) -> None:
    usage = Usage()
    for of, minutes in used.items():
        usage.add("kid", of, MONDAY, minutes)
    assert tell(home(profile, usage=usage), name, at("2026-11-23 15:00")).sentence == sentence


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        (KID, "no limit"),
        (replace(KID, minutes=(60,) * 7), "48 of 60 minutes used"),  # 48.9 are not 49 yet
        (replace(KID, week_minutes=300), "148 of 300 minutes used this week"),
        (replace(KID, minutes=(60,) * 7, week_minutes=300, bonuses=(Bonus(MONDAY, 20), Bonus(MONDAY, 10))),
         "48 of 90 minutes used, 148 of 330 this week, 30 bonus minutes today"),
        (replace(KID, group_minutes=LIMITS[:2], bonuses=(Bonus(MONDAY, 5, "youtube"),)),
         "YouTube: 7 of 35 minutes used, 5 bonus minutes today; group games: 0 of 100 minutes used this week"),
    ],
)  # fmt: skip
def test_the_step_of_minutes(
    home: Callable[..., Policy], at: Callable[..., float], profile: Profile, says: str
) -> None:
    usage = Usage()
    usage.add("kid", "", MONDAY, 48.9)
    usage.add("kid", "", date(2026, 11, 24), 100)
    usage.add("kid", "youtube", MONDAY, 7)
    for filtered in (True, False):
        told = tell(home(replace(profile, filtered=filtered), usage=usage), "plain.org", at("2026-11-23 15:00"))
        assert told.steps[4] == (Reason.MINUTES, Outcome.PASSED, says)


def test_dns_first_is_told(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    says = "; DNS first: only addresses that Guardian's DNS gave are reachable"
    for profile, said in (
        (replace(KID, strict=True), f"not a way around the filter{says}"),
        (replace(KID, strict=True, bypass_protection=False), f"bypass protection is off{says}"),
        (replace(KID, allow_list_only=True), f"not a way around the filter{says}"),
        (replace(KID, strict=True, filtered=False), "the profile is not filtered"),
    ):
        assert tell(home(profile), "plain.org", at("2026-11-23 15:00")).steps[6].says == said


def test_every_step_in_order(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    told = tell(home(replace(KID, minutes=(60,) * 7)), "www.bet365.com", at("2026-11-23 15:00"))
    assert [(step.reason.value, step.outcome.value, step.says) for step in told.steps] == [
        ("helpline", "passed", "not a helpline"),
        ("mandatory", "passed", "not on a mandatory list"),
        ("pause", "passed", "not paused"),
        ("schedule", "passed", "online at this hour"),
        ("minutes", "passed", "0 of 60 minutes used"),
        ("rule", "passed", "no rule for it"),
        ("bypass", "passed", "not a way around the filter"),
        ("service", "passed", "no service with a rule now"),
        ("category", "decided", "block: category gambling (list entry bet365.com)"),
        ("allow-list-only", "not reached", ""),
        ("safe-search", "not reached", ""),
        ("default", "not reached", ""),
    ]
    assert told.matches == (("category:gambling", "bet365.com"),)


def test_a_rewrite_tells_what_it_stands_upon(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    told = tell(home(KID), "www.google.com", at("2026-11-23 15:00"))
    decided = {step.reason: step.says for step in told.steps if step.outcome is Outcome.DECIDED}
    assert decided == {
        Reason.RULE: "allow: the parents' rule 'allow www.google.com'",
        Reason.SAFE_SEARCH: "rewrite: safe-search answers with forcesafesearch.google.com",
    }
    told = tell(home(replace(KID, rules=())), "www.google.com", at("2026-11-23 15:00"))
    assert [step.reason for step in told.steps if step.outcome is Outcome.DECIDED] == [Reason.SAFE_SEARCH]


def test_the_names_of_a_mandatory_list_are_never_shown(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    lists = {"mandatory:hotline": ["forbidden.example"], "category:adult": ["forbidden.example"]}
    told = tell(home(KID, lists=lists), "www.forbidden.example", at("2026-11-23 15:00"))
    assert told.decision.reason is Reason.MANDATORY
    assert {match.entry for match in told.matches} == {HIDDEN}
    assert "forbidden" not in repr(told)


def test_who_answers_for_a_list_is_said_where_the_list_tells_it(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    now = at("2026-11-23 15:00")
    policy = home(KID, lists={"mandatory:csam-md:0": ["forbidden.example"]})
    authorities = {"mandatory:csam-md:0": "Hotline of Tests"}
    told = explain(policy, posture_of(policy, "kid", now), parse_name("forbidden.example"), now, authorities)
    assert told.sentence == "Blocked: on the hotline's list, by Hotline of Tests, for every device of the home."


NAMES = [
    *("help.example", "both.help.example", "forbidden.example", "bet365.com", "tiktok.com", "facebook.com"),
    *("www.google.com", "www.youtube.com", "dns.google", "plain.org", "ads.plain.org", "pbskids.org"),
]
names = st.sampled_from(NAMES)
profiles = st.builds(
    Profile,
    id=st.just("kid"),
    name=st.just("Kid"),
    filtered=st.booleans(),
    paused_until=st.sampled_from([0.0, FOREVER]),
    schedule=st.sampled_from([Schedule(), KID.schedule]),
    minutes=st.sampled_from([(), (0,) * 7, (60,) * 7]),
    week_minutes=st.sampled_from([None, 0, 60]),
    group_minutes=st.sampled_from([(), (GroupMinutes("tiktok", (0,) * 7), GroupMinutes("group:video", week=0))]),
    rules=st.sampled_from([(), KID.rules, (parse_rule("*", Action.ALLOW),)]),
    services=st.sampled_from([(), KID.services, (ServiceRule("tiktok", Action.ALLOW),)]),
    categories=st.sampled_from([frozenset(), frozenset({"gambling", "social"})]),
    allow_list_only=st.booleans(),
    safe_search=st.sampled_from([SafeSearch(), KID.safe_search]),
    bypass_protection=st.booleans(),
)


@settings(deadline=None)
@given(profiles, names, st.sampled_from(["2026-11-23 15:00", "2026-11-23 22:00"]))
def test_the_story_fits_the_decision(
    home: Callable[..., Policy], at: Callable[..., float], profile: Profile, name: str, time: str
) -> None:
    told = tell(home(profile), name, at(time))
    outcomes = [step.outcome for step in told.steps]
    decided = [step.reason for step in told.steps if step.outcome is Outcome.DECIDED]
    assert decided[-1] is told.decision.reason
    first = outcomes.index(Outcome.DECIDED)
    assert set(outcomes[:first]) <= {Outcome.PASSED}
    assert Outcome.PASSED not in outcomes[first:]
    assert all(bool(step.says) == (step.outcome is not Outcome.NOT_REACHED) for step in told.steps)
    assert name not in told.sentence or told.decision.reason not in (Reason.HELPLINE, Reason.MANDATORY)
