"""Changes of a household that several calls make. Pure: a household goes in, the changed one comes out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from guardian.policy.bedtime import stay_up
from guardian.policy.model import Bonus, Device, Household, Profile
from guardian.policy.schedule import local_date
from guardian.store.household_form import MOST_DEVICES, MOST_PROFILES
from guardian.store.settings import BONUS_DAYS
from guardian.web.routing import RefusalError

MOST_MINUTES = 1440  # of one day's bonus


def find_profile(household: Household, profile: str) -> Profile:
    """Return a profile by its id. Raises RefusalError 404."""
    for known in household.profiles:
        if known.id == profile:
            return known
    raise RefusalError(404, "not-found", "there is no such profile")


def find_device(household: Household, device: str) -> Device:
    """Return a device by its id. Raises RefusalError 404."""
    for known in household.devices:
        if known.id == device:
            return known
    raise RefusalError(404, "not-found", "there is no such device")


def check_room(household: Household) -> Household:
    """Return a household to which something was added. Raises RefusalError 409 when it is more than there may be."""
    for what, number, most in (
        ("profiles", len(household.profiles), MOST_PROFILES),
        ("devices", len(household.devices), MOST_DEVICES),
    ):
        if number > most:
            raise RefusalError(409, "too-many", f"a household has {most} {what} at most: remove one first")
    return household


def replace_profile(household: Household, profile: Profile) -> Household:
    """Return the household with a profile in place of the one with its id."""
    return replace(household, profiles=tuple(profile if p.id == profile.id else p for p in household.profiles))


def replace_device(household: Household, device: Device) -> Household:
    """Return the household with a device in place of the one with its id."""
    return replace(household, devices=tuple(device if d.id == device.id else d for d in household.devices))


def give_bonus(household: Household, profile: str, minutes: int, of: str, now: float) -> Household:
    """Return the household with minutes on top for the profile's today; `of` as in `Bonus`.

    Bonuses of one day add up to one, and those of more than a week ago go. Raises RefusalError 404.
    """
    known = find_profile(household, profile)
    today = local_date(household.tz, now)
    oldest = today - timedelta(days=BONUS_DAYS)
    same = sum(bonus.minutes for bonus in known.bonuses if (bonus.day, bonus.of) == (today, of))
    kept = [bonus for bonus in known.bonuses if bonus.day >= oldest and (bonus.day, bonus.of) != (today, of)]
    bonuses = (*kept, Bonus(today, min(same + minutes, MOST_MINUTES), of))
    return replace_profile(household, replace(known, bonuses=bonuses))


def let_stay_up(household: Household, profile: str, minutes: int, now: float) -> tuple[Household, float]:
    """Return the household in which a profile stays online some minutes longer, and until when (epoch seconds).

    0 = there are no hours without internet now or within these minutes, and nothing is changed. A pause stays. Raises
    RefusalError 404.
    """
    known = find_profile(household, profile)
    longer = stay_up(known.schedule, household.tz, now, minutes)
    if longer is None:
        return household, 0.0
    schedule, until = longer
    return replace_profile(household, replace(known, schedule=schedule)), until
