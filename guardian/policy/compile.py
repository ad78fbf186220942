"""Household + catalogue + lists -> Policy: all that does not depend on the moment or the name, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from guardian.policy.model import (
    Action,
    Catalogue,
    Device,
    Household,
    NameLists,
    Profile,
    SafeSearch,
    Schedule,
    ServiceRule,
    Visibility,
    YouTube,
)
from guardian.policy.rewrite import Rewrite, rewrites_of
from guardian.policy.rules import RuleTable


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


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a home. Make a new one when settings, lists or counted minutes change."""

    household: Household
    catalogue: Catalogue
    lists: NameLists
    tags: tuple[str, ...]
    helpline: int  # masks
    mandatory: int
    profiles: Mapping[str, ProfilePolicy]
    devices: Mapping[str, Device]
    strictest: ProfilePolicy  # where settings name no profile, or one that does not exist
    newcomer: ProfilePolicy  # for devices that nobody has named
    usage: Mapping[str, float] = field(default_factory=dict)  # minutes used, by profile id
    usage_day: date | None = None  # the local date that `usage` counts; None = whatever the date is


def compile_policy(
    household: Household,
    catalogue: Catalogue,
    lists: NameLists,
    usage: Mapping[str, float] | None = None,
    usage_day: date | None = None,
) -> Policy:
    """Return the policy of a home. `usage` is minutes used on the local date `usage_day`, by profile id.

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
        profiles=profiles,
        devices={device.id: device for device in household.devices},
        strictest=strictest,
        newcomer=profiles.get(household.new_device_profile, strictest),
        usage=dict(usage or {}),
        usage_day=usage_day,
    )


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
    if not profile.filtered:
        return ProfilePolicy(profile, None, (), 0, 0, 0, {})
    return ProfilePolicy(
        profile=profile,
        rules=RuleTable(profile.rules, household.rules) if profile.rules or household.rules else None,
        services=tuple(
            ServiceMask(rule, _mask(tags, [f"service:{rule.service}"]), Schedule(rule.hours) if rule.hours else None)
            for rule in profile.services
            if rule.action in (Action.ALLOW, Action.BLOCK)
        ),
        categories=_mask(tags, [f"category:{category}" for category in profile.categories]),
        bypass=_mask_of_kind(tags, "bypass") if profile.bypass_protection else 0,
        allowed=_mask_of_kind(tags, "allowed") if profile.allow_list_only else 0,
        rewrites=rewrites_of(catalogue, profile.safe_search),
    )


def _mask(tags: tuple[str, ...], wanted: Iterable[str]) -> int:
    names = frozenset(wanted)
    return sum(1 << bit for bit, tag in enumerate(tags) if tag in names)


def _mask_of_kind(tags: tuple[str, ...], kind: str) -> int:
    return sum(1 << bit for bit, tag in enumerate(tags) if tag.partition(":")[0] == kind)
