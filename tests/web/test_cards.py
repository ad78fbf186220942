"""A profile as it is now, at moments that a family knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from guardian.policy.minutes import minutes_left
from guardian.policy.model import FOREVER, Bonus, DayException, Device, GroupMinutes, Profile, Schedule, Window
from guardian.policy.usage import Usage
from guardian.web.cards import (
    AWAY,
    Presence,
    find_new_minutes,
    find_next,
    find_standing,
    finite,
    list_allowances,
    list_cards,
    make_card,
    read_age_band,
)
from guardian.web.shapes.activity import Allowance, CardDevice, Next
from tests.web.homes import at, make_household, make_policy

DAILY = frozenset(range(7))
NIGHT = Window(DAILY, 21 * 60, 7 * 60)
HOMEWORK = Window(frozenset(range(5)), 15 * 60, 16 * 60, "homework")
ANA = Profile("ana", "Ana", "10-12", schedule=Schedule((NIGHT, HOMEWORK)), minutes=(60,) * 7)
MONDAY, TODAY = "2026-11-23", date(2026, 11, 23)


def used(minutes: float, of: str = "", day: date = TODAY) -> Usage:
    usage = Usage()
    usage.add("ana", of, day, minutes)
    return usage


def test_online_and_away_by_the_devices() -> None:
    policy = make_policy(make_household(ANA))
    now = at(f"{MONDAY} 12:00")
    assert find_standing(policy, ANA, True, now).state == "online"
    assert find_standing(policy, ANA, False, now).state == "away"
    assert find_standing(policy, ANA, True, now).next == Next("offline", at(f"{MONDAY} 15:00"), "homework")


def test_asleep_until_the_morning_and_offline_for_homework() -> None:
    policy = make_policy(make_household(ANA))
    night = find_standing(policy, ANA, True, at(f"{MONDAY} 22:00"))
    assert (night.state, night.of, night.until) == ("asleep", "bedtime", at("2026-11-24 07:00"))
    assert night.next == Next("online", at("2026-11-24 07:00"))
    homework = find_standing(policy, ANA, True, at(f"{MONDAY} 15:30"))
    assert (homework.state, homework.of, homework.until) == ("offline", "homework", at(f"{MONDAY} 16:00"))


def test_what_has_hours_or_minutes_waits_for_the_time() -> None:
    now = at(f"{MONDAY} 12:00")
    policy = replace(make_policy(make_household(ANA)), clock_unset=True)
    assert find_standing(policy, ANA, True, now) == ("no-clock", "", None, None)
    free = Profile("ana", "Ana")
    assert find_standing(policy, free, True, now).state == "online"
    paused = replace(ANA, paused_until=FOREVER)
    assert find_standing(policy, paused, True, now).state == "paused"


def test_from_one_window_into_the_next() -> None:
    child = replace(ANA, schedule=Schedule((HOMEWORK, Window(DAILY, 16 * 60, 18 * 60, "sport"))))
    found = find_standing(make_policy(make_household(child)), child, True, at(f"{MONDAY} 15:30"))
    assert (found.until, found.next) == (at(f"{MONDAY} 16:00"), Next("offline", at(f"{MONDAY} 16:00"), "sport"))


def test_a_holiday_without_bedtime() -> None:
    child = replace(ANA, schedule=Schedule((NIGHT,), (DayException(TODAY, ()),)))
    policy = make_policy(make_household(child))
    assert find_standing(policy, child, True, at(f"{MONDAY} 22:00")).state == "online"
    assert find_next(policy, child.schedule, at(f"{MONDAY} 22:00")) == Next(
        "offline", at("2026-11-24 21:00"), "bedtime"
    )


def test_a_pause_comes_before_all_and_may_have_no_end() -> None:
    now = at(f"{MONDAY} 22:00")
    for until, shown in ((now + 900, now + 900), (FOREVER, None)):
        child = replace(ANA, paused_until=until)
        found = find_standing(make_policy(make_household(child)), child, True, now)
        assert (found.state, found.of, found.until) == ("paused", "", shown)
    over = replace(ANA, paused_until=now - 1)
    assert find_standing(make_policy(make_household(over)), over, True, now).state == "asleep"
    device = find_standing(make_policy(make_household(ANA)), ANA, True, at(f"{MONDAY} 12:00"), FOREVER)
    assert (device.state, device.until) == ("paused", None)


def test_used_up_until_midnight_or_monday_and_a_bonus_ends_it() -> None:
    now = at(f"{MONDAY} 12:00")
    policy = make_policy(make_household(ANA), used(60))
    found = find_standing(policy, ANA, True, now)
    assert (found.state, found.until) == ("used-up", at("2026-11-24 00:00"))
    given = replace(ANA, bonuses=(Bonus(TODAY, 30),))
    assert find_standing(make_policy(make_household(given), used(60)), given, True, now).state == "online"
    week = replace(ANA, minutes=(), week_minutes=60)
    policy = make_policy(make_household(week), used(60))
    assert find_standing(policy, week, True, now).until == at("2026-11-30 00:00")


def test_minutes_of_the_week_come_back_on_monday_also_from_a_sunday() -> None:
    week = replace(ANA, minutes=(), week_minutes=60)
    policy = make_policy(make_household(week), used(60, day=date(2026, 11, 29)))
    everything, *_ = minutes_left(policy, "ana", at("2026-11-29 12:00"))
    assert find_new_minutes(policy, everything, at("2026-11-29 12:00")) == at("2026-11-30 00:00")


def test_allowances_of_all_use_and_of_what_has_a_limit() -> None:
    child = replace(ANA, group_minutes=(GroupMinutes("youtube", (30,) * 7), GroupMinutes("group:games", (), 100)))
    usage = used(48.125)
    usage.add("ana", "youtube", TODAY, 40)
    policy = make_policy(make_household(child), usage)
    assert list_allowances(policy, "ana", at(f"{MONDAY} 12:00")) == [
        Allowance("", 48.12, 60, 48.12, None, 11.88),
        Allowance("youtube", 40, 30, 40, None, 0),
        Allowance("group:games", 0, None, 0, 100, 100),
    ]
    free = replace(ANA, minutes=())
    assert list_allowances(make_policy(make_household(free)), "ana", 0.0) == [Allowance("", 0, None, 0, None, None)]


def test_a_card_is_of_this_profile_only() -> None:
    ion = Profile("ion", "Ion", "13-15")
    devices = (
        Device("tablet", "Tablet", "ana"), Device("phone", "Phone", "ana"), Device("box", "Box", "ion"),
    )  # fmt: skip
    policy = make_policy(make_household(ANA, ion, devices=devices))
    now = at(f"{MONDAY} 12:00")
    presence = {"tablet": Presence(True, now - 5), "phone": Presence(False, now - 90), "box": Presence(True, now)}
    card = make_card(policy, ANA, presence, {"tablet": 3, "phone": 4, "box": 100, "": 50}, now)
    assert (card.state, card.blocked_today, card.last_seen) == ("online", 7, now - 5)
    assert card.devices == [CardDevice("tablet", "Tablet", True), CardDevice("phone", "Phone", False)]
    nobody = make_card(policy, ANA, {}, {}, now)
    assert (nobody.state, nobody.last_seen, nobody.blocked_today) == ("away", None, 0)
    assert Presence(False, 0.0) == AWAY


def test_children_come_first_in_the_household_s_order() -> None:
    adults = Profile("parents", "Parents", filtered=False)
    guests = Profile("guests", "Guests")
    ion = Profile("ion", "Ion", "13-15")
    policy = make_policy(make_household(adults, ion, guests, ANA))
    assert [card.profile for card in list_cards(policy, {}, {}, 0.0)] == ["ion", "ana", "guests", "parents"]


@pytest.mark.parametrize("band", ["", "0-6", "7-9", "10-12", "13-15", "16-17"])
def test_age_bands(band: str) -> None:
    assert read_age_band(replace(ANA, age_band=band)) == band
    assert read_age_band(replace(ANA, age_band="18-20")) == ""


def test_forever_is_none_in_json() -> None:
    assert finite(FOREVER) is None
    assert finite(5.0) == 5.0
