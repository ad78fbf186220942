"""Household -> the text of a household file, such that `decode_household` gives the same household back."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import yaml

from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    DayException,
    Device,
    Household,
    Profile,
    Rule,
    ServiceRule,
    Window,
    YouTube,
)
from guardian.store.household_form import BEDTIME, HOURS, NO_PRESET, WEEK
from guardian.store.words import EVERY_DAY, format_days, format_moment, format_time

HEADER = """\
# The household of Guardian: profiles, devices, rules and hours. Keys are explained in docs/configuration.md
# Put it in force: guardian household import FILE
"""
_LINE_WIDTH = 110
_MOST_IN_A_LINE = 8  # longer lists of rules get a line each


def encode_household(household: Household) -> str:
    """Return the YAML text of a household: every value as it is in force, no preset, stable order."""
    zone = household.tz
    tree: dict[str, Any] = {"timezone": household.timezone, "language": household.language}
    if household.country:
        tree["country"] = household.country
    if household.new_device_profile:
        tree["new_devices"] = household.new_device_profile
    tree.update(_encode_rules(household.rules, zone))
    tree["profiles"] = _Keys({profile.id: _encode_profile(profile, zone) for profile in household.profiles})
    tree["devices"] = _Keys({device.id: _encode_device(device, zone) for device in household.devices})
    text: str = yaml.dump(
        _Keys(tree), Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=_LINE_WIDTH
    )
    return f"{HEADER}\n{text}"


class _Lines(list[Any]):
    """A list with a line for each entry."""


class _Keys(dict[str, Any]):
    """A mapping with a line for each key."""


class _Dumper(yaml.SafeDumper):
    """Small collections in one line, those that hold others over several."""


_Dumper.add_representer(
    _Lines, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=False)
)
_Dumper.add_representer(
    _Keys, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=False)
)


def _encode_profile(profile: Profile, zone: tzinfo) -> dict[str, Any]:
    tree = _Keys(name=profile.name)
    if profile.age_band:
        tree.update(age=profile.age_band, preset=NO_PRESET)
    if not profile.filtered:
        tree["filtered"] = False
    if profile.paused_until:
        tree["paused_until"] = format_moment(profile.paused_until, zone)
    if profile.schedule.windows:
        tree["offline"] = _Lines(_encode_window(window, BEDTIME, EVERY_DAY) for window in profile.schedule.windows)
    if profile.schedule.exceptions:
        tree["exceptions"] = [_encode_exception(exception) for exception in profile.schedule.exceptions]
    if profile.minutes or profile.week_minutes is not None:
        tree["minutes"] = _encode_minutes(profile.minutes, profile.week_minutes)
    if profile.group_minutes:
        tree["minutes_for"] = {limit.of: _encode_minutes(limit.minutes, limit.week) for limit in profile.group_minutes}
    if profile.bonuses:
        tree["bonus"] = _Lines(_encode_bonus(bonus) for bonus in profile.bonuses)
    tree.update(_encode_rules(profile.rules, zone))
    if profile.services:
        tree["services"] = {rule.service: _encode_service(rule) for rule in profile.services}
    if profile.categories:
        tree["categories"] = sorted(profile.categories)
    default = Profile(id="", name="")
    for key in ("allow_list_only", "bypass_protection", "strict"):
        if getattr(profile, key) != getattr(default, key):
            tree[key] = getattr(profile, key)
    if profile.safe_search.enabled:
        tree["safe_search"] = True
    if profile.safe_search.youtube is not YouTube.OFF:
        tree["youtube"] = profile.safe_search.youtube.value
    tree["visibility"] = profile.visibility.value
    if profile.language:
        tree["language"] = profile.language
    return tree


def _encode_device(device: Device, zone: tzinfo) -> dict[str, Any]:
    tree = _Keys(name=device.name, profile=device.profile)
    if device.macs:
        tree["macs"] = list(device.macs)
    if device.addresses:
        tree["addresses"] = list(device.addresses)
    if device.paused_until:
        tree["paused_until"] = format_moment(device.paused_until, zone)
    return tree


def _encode_rules(rules: tuple[Rule, ...], zone: tzinfo) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for action in (Action.ALLOW, Action.BLOCK):
        chosen = [_encode_rule(rule, zone) for rule in rules if rule.action is action]
        if chosen:
            tree[action.value] = _Lines(chosen) if len(chosen) > _MOST_IN_A_LINE else chosen
    return tree


def _encode_rule(rule: Rule, zone: tzinfo) -> Any:
    if rule.expires == FOREVER and not rule.note:
        return rule.pattern
    tree = {"name": rule.pattern}
    if rule.expires != FOREVER:
        tree["until"] = format_moment(rule.expires, zone)
    if rule.note:
        tree["note"] = rule.note
    return tree


def _encode_window(window: Window, label: str, days: frozenset[int]) -> Any:
    hours = f"{format_time(window.start)}-{format_time(window.end)}"
    if window.label == label:
        return hours if window.days == days else f"{format_days(window.days)} {hours}"
    tree = {"label": window.label}
    if window.days != days:
        tree["days"] = format_days(window.days)
    return tree | {"from": format_time(window.start), "to": format_time(window.end)}


def _encode_exception(exception: DayException) -> dict[str, Any]:
    tree: dict[str, Any] = {"date": exception.day}
    tree["offline"] = [_encode_window(window, BEDTIME, frozenset()) for window in exception.windows]
    if exception.note:
        tree["note"] = exception.note
    return tree


def _encode_service(rule: ServiceRule) -> Any:
    if not rule.hours:
        return rule.action.value
    tree: dict[str, Any] = {} if rule.action is Action.BLOCK else {"action": rule.action.value}
    return tree | {"hours": [_encode_window(window, HOURS, EVERY_DAY) for window in rule.hours]}


def _encode_minutes(minutes: tuple[int, ...], week: int | None) -> Any:
    days: dict[int, set[int]] = {}
    for day, each in enumerate(minutes):
        days.setdefault(each, set()).add(day)
    if len(days) == 1 and week is None:
        return minutes[0]
    tree = {format_days(frozenset(chosen)): each for each, chosen in days.items()}
    return tree if week is None else tree | {WEEK: week}


def _encode_bonus(bonus: Bonus) -> dict[str, Any]:
    tree: dict[str, Any] = {"date": bonus.day, "minutes": bonus.minutes}
    return tree | {"for": bonus.of} if bonus.of else tree
