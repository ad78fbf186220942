"""Household + catalogue + lists -> Policy: all that does not depend on the moment or the name, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guardian.policy.model import (
    Action,
    AddressLists,
    Catalogue,
    Device,
    Household,
    NameLists,
    NoAddresses,
    Profile,
    SafeSearch,
    Schedule,
    ServiceRule,
    Visibility,
    YouTube,
)
from guardian.policy.rewrite import Rewrite, rewrites_of
from guardian.policy.rules import RuleTable
from guardian.policy.usage import Usage

GROUP = "group:"  # begins the name of a group where a service id may stand as well
_SERVICE = "service:"
_BOX = Profile("", "", filtered=False, bypass_protection=False, visibility=Visibility.COUNTS)


class ServiceMask(NamedTuple):
    """What a profile says of one service, with the mask of its tag (0 while no list knows it)."""

    rule: ServiceRule
    mask: int
    hours: Schedule | None  # None = at all hours


@dataclass(frozen=True, slots=True)
class ProfilePolicy:
    """A profile, ready to be asked: masks as in `NameLists`; `rules` is None when there are none."""

    profile: Profile
    rules: RuleTable | None
    services: tuple[ServiceMask, ...]
    categories: int
    bypass: int
    allowed: int
    rewrites: Mapping[bytes, Rewrite]
    groups: tuple[tuple[str, int], ...]  # what has minutes of its own, and the mask of its services


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a home. Make a new one when settings or lists change; `usage` may grow meanwhile."""

    household: Household
    catalogue: Catalogue
    lists: NameLists
    tags: tuple[str, ...]
    helpline: int  # masks
    mandatory: int
    services: int
    profiles: Mapping[str, ProfilePolicy]
    devices: Mapping[str, Device]
    strictest: ProfilePolicy  # where settings name no profile, or one that does not exist
    newcomer: ProfilePolicy  # for devices that nobody has named
    box: ProfilePolicy  # for the box itself: no family's rules
    usage: Usage
    addresses: AddressLists
    clock_unset: bool = False  # nobody knows the time yet: what depends on it is closed


def compile_policy(
    household: Household,
    catalogue: Catalogue,
    lists: NameLists,
    usage: Usage | None = None,
    addresses: AddressLists | None = None,
    clock_unset: bool = False,
) -> Policy:
    """Return the policy of a home. `usage` is held by reference: minutes added to it later count (default: none used).

    With `clock_unset` a profile that has hours or minutes is closed, and so is a service that has: `now` is no later
    than the true time then, and may be much earlier.

    Names in the settings that the lists do not know are no error: a list may not have been fetched yet. Raises
    TextError for a rule whose pattern does not come from `rules.parse_rule`.
    """
    tags = lists.tags
    profiles = {profile.id: _compile_profile(profile, household, catalogue, tags) for profile in household.profiles}
    strictest = _compile_profile(strictest_profile(catalogue), household, catalogue, tags)
    return Policy(
        household=household,
        catalogue=catalogue,
        lists=lists,
        tags=tags,
        helpline=_mask(tags, ["helpline"]),
        mandatory=_mask_of_kind(tags, "mandatory"),
        services=_mask_of_kind(tags, "service"),
        profiles=profiles,
        devices={device.id: device for device in household.devices},
        strictest=strictest,
        newcomer=profiles.get(household.new_device_profile, strictest),
        box=_compile_profile(_BOX, household, catalogue, tags),
        usage=Usage() if usage is None else usage,
        addresses=NoAddresses() if addresses is None else addresses,
        clock_unset=clock_unset,
    )


def service_of(policy: Policy, tags: int) -> str:
    """Return the id of the first service among the tags of a name (`youtube`), "" for none."""
    found = tags & policy.services
    return policy.tags[(found & -found).bit_length() - 1].removeprefix(_SERVICE) if found else ""


def group_of(policy: Policy, service: str) -> str:
    """Return the group of a service id as `Usage` and `GroupMinutes` name it (`group:games`), "" for an unknown one."""
    known = policy.catalogue.services.get(service)
    return "" if known is None else f"{GROUP}{known.group}"


def strictest_profile(catalogue: Catalogue) -> Profile:
    """Return the profile of a device without one: what any child on the open web is spared, safe search, no bypass.

    Its categories are those of all age presets but the ones that are a list of allowed sites (without such presets: all
    categories). It has no schedule, so that a box out of the carton does not cut the home off; its history keeps
    counts only, because nobody knows yet whose device it is.
    """
    open_web = [preset for preset in catalogue.presets.values() if not preset.allow_list_only]
    blocked: Iterable[frozenset[str]] = [preset.categories for preset in open_web]
    return Profile(
        id="",
        name="",
        categories=frozenset().union(*blocked) or frozenset(catalogue.categories),
        safe_search=SafeSearch(enabled=True, youtube=YouTube.STRICT),
        visibility=Visibility.COUNTS,
    )


def _compile_profile(
    profile: Profile, household: Household, catalogue: Catalogue, tags: tuple[str, ...]
) -> ProfilePolicy:
    groups = tuple((limit.of, _mask_of_group(catalogue, tags, limit.of)) for limit in profile.group_minutes)
    if not profile.filtered:
        return ProfilePolicy(profile, None, (), 0, 0, 0, {}, groups)
    return ProfilePolicy(
        profile=profile,
        rules=RuleTable(profile.rules, household.rules) if profile.rules or household.rules else None,
        services=tuple(
            ServiceMask(rule, _mask(tags, [f"{_SERVICE}{rule.service}"]), Schedule(rule.hours) if rule.hours else None)
            for rule in profile.services
            if rule.action in (Action.ALLOW, Action.BLOCK)
        ),
        categories=_mask(tags, [f"category:{category}" for category in profile.categories]),
        bypass=_mask_of_kind(tags, "bypass") if profile.bypass_protection else 0,
        allowed=_mask_of_kind(tags, "allowed") if profile.allow_list_only else 0,
        rewrites=rewrites_of(catalogue, profile.safe_search),
        groups=groups,
    )


def _mask_of_group(catalogue: Catalogue, tags: tuple[str, ...], of: str) -> int:
    group = of.removeprefix(GROUP)
    if group == of:
        return _mask(tags, [f"{_SERVICE}{of}"])
    return _mask(tags, [f"{_SERVICE}{service.id}" for service in catalogue.services.values() if service.group == group])


def _mask(tags: tuple[str, ...], wanted: Iterable[str]) -> int:
    names = frozenset(wanted)
    return sum(1 << bit for bit, tag in enumerate(tags) if tag in names)


def _mask_of_kind(tags: tuple[str, ...], kind: str) -> int:
    return sum(1 << bit for bit, tag in enumerate(tags) if tag.partition(":")[0] == kind)
