"""Changes that several calls make."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from guardian.policy.model import Bonus, DayException, Device, Household, Profile, Schedule, Window
from guardian.store.household_form import MOST_DEVICES, MOST_PROFILES
from guardian.web.changes import (
    check_room,
    find_device,
    find_profile,
    give_bonus,
    let_stay_up,
    replace_device,
    replace_profile,
)
from guardian.web.routing import RefusalError

OLD, RECENT = Bonus(date(2026, 11, 14), 10), Bonus(date(2026, 11, 15), 10, "youtube")
HOME = Household(
    "UTC",
    UTC,
    (Profile("ana", "Ana", bonuses=(OLD, RECENT)), Profile("ion", "Ion")),
    (Device("tv", "TV", "ana"), Device("pc", "PC", "ion")),
)
NOW = datetime(2026, 11, 23, 20, 14, tzinfo=UTC).timestamp()


def test_find() -> None:
    assert find_profile(HOME, "ion").name == "Ion"
    assert find_device(HOME, "pc").name == "PC"
    for find in (find_profile, find_device):
        with pytest.raises(RefusalError) as refused:
            find(HOME, "nobody")
        assert (refused.value.status, refused.value.code) == (404, "not-found")


def test_replace() -> None:
    changed = replace_profile(HOME, Profile("ion", "Ioan"))
    assert [profile.name for profile in changed.profiles] == ["Ana", "Ioan"]
    moved = replace_device(HOME, Device("tv", "TV", "ion"))
    assert [device.profile for device in moved.devices] == ["ion", "ion"]


def test_a_household_has_an_end() -> None:
    profiles = tuple(Profile(f"p{number}", f"P{number}") for number in range(MOST_PROFILES + 1))
    devices = tuple(Device(f"d{number}", f"D{number}", "p1") for number in range(MOST_DEVICES + 1))
    full = replace(HOME, profiles=profiles[1:], devices=devices[1:])
    assert check_room(full) is full
    for one_more in (replace(full, profiles=profiles), replace(full, devices=devices)):
        with pytest.raises(RefusalError) as refused:
            check_room(one_more)
        assert (refused.value.status, refused.value.code) == (409, "too-many")


def test_give_bonus() -> None:
    home = give_bonus(HOME, "ana", 30, "", NOW)
    assert home.profiles[0].bonuses == (RECENT, Bonus(date(2026, 11, 23), 30))
    home = give_bonus(give_bonus(home, "ana", 15, "", NOW), "ana", 5, "youtube", NOW)
    assert home.profiles[0].bonuses[1:] == (Bonus(date(2026, 11, 23), 45), Bonus(date(2026, 11, 23), 5, "youtube"))
    assert give_bonus(home, "ana", 1440, "", NOW).profiles[0].bonuses[-1] == Bonus(date(2026, 11, 23), 1440)
    assert home.profiles[1] == HOME.profiles[1]
    with pytest.raises(RefusalError):
        give_bonus(HOME, "nobody", 5, "", NOW)


def test_let_stay_up() -> None:
    assert let_stay_up(HOME, "ana", 30, NOW) == (HOME, 0.0)
    evening = Schedule((Window(frozenset(range(7)), 20 * 60, 7 * 60),))
    asleep = replace_profile(HOME, Profile("ana", "Ana", paused_until=NOW + 60, schedule=evening))
    home, until = let_stay_up(asleep, "ana", 30, NOW)
    assert until == NOW + 1800
    longer = DayException(
        date(2026, 11, 23), (Window(frozenset(), 1200, 1214), Window(frozenset(), 20 * 60 + 44, 7 * 60))
    )
    assert home.profiles[0] == Profile(
        "ana", "Ana", paused_until=NOW + 60, schedule=Schedule(evening.windows, (longer,))
    )
    assert home.profiles[1] == HOME.profiles[1]
    with pytest.raises(RefusalError):
        let_stay_up(HOME, "nobody", 30, NOW)
