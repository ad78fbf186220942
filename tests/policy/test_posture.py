"""What is kept per client: until when, why then, and what does not depend on the name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from guardian.names import parse_name
from guardian.policy.compile import Policy
from guardian.policy.decide import judge
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    DayException,
    Device,
    GroupMinutes,
    Kind,
    Profile,
    Reason,
    SafeSearch,
    Schedule,
    ServiceRule,
    Visibility,
    Window,
)
from guardian.policy.posture import posture_of, posture_of_box, posture_of_profile
from guardian.policy.rules import parse_rule
from guardian.policy.usage import Usage

DAILY = frozenset(range(7))
KID = Profile("kid", "Kid", visibility=Visibility.CATEGORIES)
BEDTIME = Schedule((Window(DAILY, 21 * 60, 7 * 60), Window(DAILY, 15 * 60, 16 * 60, "homework")))
EXPIRING = (parse_rule("a.example", Action.ALLOW, 1795440600.0),)  # 2026-11-23 15:30 in Chisinau
OPEN_HOURS = (ServiceRule("youtube", Action.BLOCK, (Window(DAILY, 17 * 60, 18 * 60),)),)


@pytest.mark.parametrize(
    ("profile", "now", "until", "cause"),
    [
        (KID, "15:10", None, ""),
        (replace(KID, schedule=BEDTIME), "12:00", "15:00", "homework begins"),
        (replace(KID, schedule=BEDTIME), "15:00", "16:00", "homework ends"),
        (replace(KID, schedule=BEDTIME), "06:59", "07:00", "bedtime ends"),
        (replace(KID, minutes=(60,) * 7), "23:10", "24:00", "a new day begins"),
        (replace(KID, week_minutes=60), "23:10", "24:00", "a new day begins"),
        (replace(KID, group_minutes=(GroupMinutes("group:none", week=0),)), "23:10", "24:00", "a new day begins"),
        (replace(KID, minutes=(0,) * 7), "15:10", "24:00", "a new day begins"),
        (replace(KID, minutes=(0,) * 7, schedule=BEDTIME), "15:10", "16:00", "homework ends"),
        (replace(KID, rules=EXPIRING), "15:10", "15:30", "a rule expires"),
        (replace(KID, rules=EXPIRING), "15:30", None, ""),
        (replace(KID, rules=EXPIRING, filtered=False), "15:10", None, ""),
        (replace(KID, services=OPEN_HOURS), "15:10", "17:00", "youtube opens"),
        (replace(KID, services=OPEN_HOURS), "17:00", "18:00", "youtube closes"),
        (replace(KID, paused_until=1795440600.0, schedule=BEDTIME), "15:10", "15:30", "the pause ends"),
        (replace(KID, paused_until=FOREVER, schedule=BEDTIME), "15:10", None, ""),
    ],
)
def test_until_and_why_then(
    home: Callable[..., Policy], at: Callable[..., float], profile: Profile, now: str, until: str | None, cause: str
) -> None:
    posture = posture_of(home(profile), "kid", at(f"2026-11-23 {now}"))
    moment = FOREVER
    if until is not None:
        moment = at("2026-11-24 00:00") if until == "24:00" else at(f"2026-11-23 {until}")
    assert (posture.until, posture.cause) == (moment, cause)


def test_minutes_end_early_rather_than_late(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    """However it is used: nobody uses more than a minute a minute, of the tightest limit that is not yet reached."""
    sunday, day = at("2026-11-29 15:00"), date(2026, 11, 29)
    limits = (
        GroupMinutes("youtube", (20,) * 7, 30),
        GroupMinutes("group:games", (5,) * 7),
        GroupMinutes("gone", (1,) * 7),
    )
    usage = Usage()
    policy = home(replace(KID, minutes=(60,) * 7, group_minutes=limits), usage=usage)

    def wait() -> float:
        posture = posture_of(policy, "kid", sunday)
        assert (posture.cause, posture.edge) == (
            "minutes may be used up",
            (at("2026-11-30 00:00"), "a new week begins"),
        )
        return posture.until - sunday

    assert 4 * 60 < wait() <= 5 * 60  # no list knows the third: it can block nothing
    usage.add("kid", "group:games", day, 5)
    assert 15 * 60 < wait() <= 20 * 60
    usage.add("kid", "youtube", date(2026, 11, 28), 15)
    assert 13 * 60 < wait() <= 15 * 60  # the week's
    usage.add("kid", "youtube", day, 15)
    assert 50 * 60 < wait() <= 60 * 60
    usage.add("kid", "", day, 59.99)
    assert wait() == 1  # 0.6 seconds are left: at least a second is given
    usage.add("kid", "", day, 0.01)
    posture = posture_of(policy, "kid", sunday)
    assert posture.stop is not None
    assert (posture.stop.rule, posture.until, posture.cause) == ("minutes:60", *posture.edge)
    assert posture.spent == 0  # who is stopped is not asked for services


def test_a_bonus_opens_again(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    now, usage = at("2026-11-25 15:00"), Usage()
    usage.add("kid", "", date(2026, 11, 25), 60)
    timed = replace(KID, minutes=(60,) * 7)
    given = replace(timed, bonuses=(Bonus(date(2026, 11, 25), 10),))
    assert posture_of(home(timed, usage=usage), "kid", now).stop is not None
    assert posture_of(home(given, usage=usage), "kid", now).stop is None
    assert posture_of(home(replace(timed, bonuses=(Bonus(date(2026, 11, 26), 10),)), usage=usage), "kid", now).stop
    usage.add("kid", "", date(2026, 11, 25), 10)
    stopped = posture_of(home(given, usage=usage), "kid", now).stop
    assert stopped is not None and stopped.rule == "minutes:70"


def test_labels_that_follow_each_other(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    both = Schedule((Window(DAILY, 15 * 60, 21 * 60, "homework"), Window(DAILY, 21 * 60, 7 * 60)))
    posture = posture_of(home(replace(KID, schedule=both)), "kid", at("2026-11-23 20:00"))
    assert (posture.until, posture.cause) == (at("2026-11-23 21:00"), "bedtime begins")


def test_a_pause_of_a_device_is_not_a_pause_of_the_profile(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    now = at("2026-11-23 15:10")
    tablets = (Device("one", "One", "kid", paused_until=now + 60), Device("two", "Two", "kid"))
    policy = home(KID, devices=tablets)
    one, two = posture_of(policy, "one", now), posture_of(policy, "two", now)
    assert one.stop is not None
    assert (one.device, one.profile, one.stop.rule, one.until) == ("one", "kid", "pause:device", now + 60)
    assert two.stop is None
    assert posture_of(policy, "one", now + 60).stop is None
    assert posture_of_profile(policy, "kid", now).stop is None


def test_what_does_not_depend_on_the_name(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    now = at("2026-11-23 15:10")
    child = posture_of(home(KID), "kid", now)
    adult = posture_of(home(replace(KID, filtered=False, allow_list_only=True)), "kid", now)
    assert (child.strip_ech, child.visibility, child.by_name, child.unreadable.action) == (
        True,
        Visibility.CATEGORIES,
        False,
        Action.BLOCK,
    )
    assert (adult.strip_ech, adult.by_name, adult.allow_list_only) == (False,) * 3
    assert adult.unreadable is adult.default
    assert adult.heard == adult.final == child.final != child.heard
    assert posture_of(home(replace(KID, safe_search=SafeSearch(True))), "kid", now).by_name
    assert posture_of(home(replace(KID, rules=EXPIRING)), "kid", now).by_name
    assert not posture_of(home(replace(KID, rules=EXPIRING, paused_until=FOREVER)), "kid", now).by_name


def test_while_nobody_knows_the_time_only_what_needs_it_is_closed(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    """The invariant over all kinds of profiles: closed exactly when it has hours or minutes, and until it is told."""
    always = Schedule((Window(frozenset(range(7)), 21 * 60, 7 * 60),))
    past = Schedule((), (DayException(date(2020, 1, 1), ()),))
    kinds = {
        "hours": (Profile("a", "", schedule=always), True),
        "minutes": (Profile("a", "", minutes=(60,) * 7), True),
        "week": (Profile("a", "", week_minutes=300), True),
        "unfiltered with hours": (Profile("a", "", filtered=False, schedule=always), True),
        "a date without windows": (Profile("a", "", schedule=past), False),
        "a service's minutes": (Profile("a", "", group_minutes=(GroupMinutes("youtube", (30,) * 7),)), False),
        "nothing": (Profile("a", ""), False),
    }
    for what, (profile, is_closed) in kinds.items():
        posture = posture_of(home(profile, clock_unset=True), "a", at("2026-11-23 12:00"))
        assert (posture.stop is not None) == is_closed, what
        assert posture.until == FOREVER
        if posture.stop is not None:
            assert posture.stop[:3] == (Action.BLOCK, Reason.CLOCK, "clock:unset")


def test_a_pause_that_ended_in_the_meantime_does_not_come_back(
    home: Callable[..., Policy], at: Callable[..., float]
) -> None:
    """The clock is no later than the truth: a pause may last longer, by as long as the box was off."""
    profile = Profile("a", "", paused_until=at("2026-11-23 12:00"))
    assert posture_of(home(profile, clock_unset=True), "a", at("2026-11-23 12:01")).stop is None
    stopped = posture_of(home(profile, clock_unset=True), "a", at("2026-11-23 11:59"))
    assert stopped.stop is not None
    assert stopped.until == at("2026-11-23 12:00")


def test_the_box_itself_has_no_hours(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    guests = Profile("guests", "", minutes=(0,) * 7, allow_list_only=True)
    for unset in (True, False):
        policy = home(guests, new_device_profile="guests", clock_unset=unset)
        now = at("2026-11-23 23:00")
        assert posture_of(policy, "", now).stop is not None
        posture = posture_of_box(policy, now)
        assert posture.stop is None
        assert judge(posture, Kind.DNS_QUERY, parse_name("0.pool.ntp.org"), 0).action is Action.ALLOW
        name = parse_name("forbidden.example")
        assert judge(posture, Kind.DNS_QUERY, name, policy.lists.lookup(name)).reason is Reason.MANDATORY
