"""A home for the console's pure parts: the policy's own small lists and catalogue, and times in Chisinau."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from guardian.policy.compile import Policy, compile_policy
from guardian.policy.model import Device, Household, Profile
from guardian.policy.usage import Usage
from tests.policy.conftest import CATALOGUE, LISTED, DictLists

CHISINAU = ZoneInfo("Europe/Chisinau")


def at(text: str, fold: int = 0) -> float:
    """at("2026-11-23 21:05") -> epoch seconds, by the clock in Chisinau."""
    return datetime.fromisoformat(text).replace(tzinfo=CHISINAU, fold=fold).timestamp()


def make_household(*profiles: Profile, devices: tuple[Device, ...] | None = None, **more: object) -> Household:
    """Profiles with a device each, of the same id, unless `devices` are given."""
    if devices is None:
        devices = tuple(Device(profile.id, f"Device of {profile.name}", profile.id) for profile in profiles)
    return Household("Europe/Chisinau", CHISINAU, profiles, devices, **more)  # type: ignore[arg-type]


def make_policy(household: Household, usage: Usage | None = None) -> Policy:
    return compile_policy(household, CATALOGUE, DictLists(LISTED), usage)
