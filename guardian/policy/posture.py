"""Where a device stands at a moment, whatever it asks for: the part of a decision that is worth keeping.

A posture holds until `until`; then a new one is due. It keeps the decisions that it made, so that the second name of
a category costs nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from guardian.policy.compile import Policy, ProfilePolicy
from guardian.policy.minutes import earliest_end, take_allowances
from guardian.policy.model import FOREVER, Action, Decision, Device, Profile, Reason, Schedule, Visibility
from guardian.policy.rewrite import Rewrite
from guardian.policy.rules import RuleTable
from guardian.policy.schedule import active_window, local_date, next_change, next_midnight


class Edge(NamedTuple):
    """A moment at which decisions may change, and what happens then, as in "bedtime begins"."""

    moment: float
    cause: str


NEVER = Edge(FOREVER, "")


@dataclass(slots=True, eq=False)
class Posture:
    """What holds for a device from `now` until `until`. Masks are as in `NameLists`; 0 = the step is off."""

    profile: str  # id; "" = the default for devices without a profile
    device: str  # id; "" = not known, or asked by profile
    filtered: bool
    now: float
    until: float
    cause: str  # of `until`: "bedtime begins"; "" when it is FOREVER
    edge: Edge  # the next one that the clock brings, whoever uses how many minutes
    stop: Decision | None  # pause, schedule or minutes: everything but helplines is blocked
    default: Decision  # for a name that nobody speaks about
    unreadable: Decision  # for a flow whose name cannot be read: it may be a way around the filter
    tags: tuple[str, ...]
    helpline: int
    mandatory: int
    spent: int  # services whose own minutes are used up
    spent_by: tuple[tuple[str, int], ...]  # what used them up (`youtube`, `group:games`), and its part of `spent`
    bypass: int
    services_open: int
    services_shut: int
    categories: int
    allowed: int
    allow_list_only: bool
    bypass_protection: bool
    strict: bool  # DNS first: only addresses that our resolver gave to the device
    strip_ech: bool  # take `ech` out of HTTPS and SVCB answers
    visibility: Visibility
    rules: RuleTable | None
    rewrites: Mapping[bytes, Rewrite]
    heard: int  # all tags that can change a decision
    final: int  # tags that no rule can answer: helplines, mandatory lists, minutes used up
    by_name: bool  # rules or rewrites may speak, so the tags alone don't decide
    clock_unset: bool = False  # `spent` are services whose hours or minutes nobody can tell
    by_tags: dict[int, Decision] = field(default_factory=dict)
    by_rule: dict[int, Decision] = field(default_factory=dict)
    by_rewrite: dict[bytes, Decision] = field(default_factory=dict)
    by_way: dict[str, Decision] = field(default_factory=dict)


def posture_of(policy: Policy, device: str, now: float) -> Posture:
    """Return the posture of a device id at `now`.

    A device that the household does not know ("" or an id of nobody) gets the profile for new devices; where none is
    set, and where a device names a profile that is gone, `compile.strictest_profile` holds.
    """
    known = policy.devices.get(device)
    if known is None:
        return _take_posture(policy, policy.newcomer, None, now)
    return _take_posture(policy, policy.profiles.get(known.profile, policy.strictest), known, now)


def posture_of_profile(policy: Policy, profile: str, now: float) -> Posture:
    """Return the posture of a profile id at `now`, for no device in particular; unknown: `strictest_profile`."""
    return _take_posture(policy, policy.profiles.get(profile, policy.strictest), None, now)


def posture_of_box(policy: Policy, now: float) -> Posture:
    """Return what holds for the box itself at `now`: mandatory lists, and no hours."""
    return _take_posture(policy, policy.box, None, now)


def _take_posture(policy: Policy, compiled: ProfilePolicy, device: Device | None, now: float) -> Posture:
    profile = compiled.profile
    stop, edge = _look_at_clock(policy, compiled, device, now)
    minutes = _NO_LIMITS
    if stop is None and policy.clock_unset:
        minutes = _close_timed_services(compiled)
    elif stop is None and (profile.has_minutes or compiled.groups):
        minutes = _look_at_minutes(policy, compiled, now)
        stop, edge = minutes.stop, min(edge, minutes.midnight)
    services_open = services_shut = 0
    if stop is None:
        services_open, services_shut, service_edge = _look_at_services(policy, compiled, now)
        expiry = next(compiled.rules.expiries(now), FOREVER) if compiled.rules is not None else FOREVER
        edge = min(edge, service_edge, Edge(expiry, "a rule expires"))
    final = policy.helpline | policy.mandatory | minutes.spent
    listed = compiled.bypass | services_open | services_shut | compiled.categories | compiled.allowed
    until, cause = min(edge, minutes.end)
    default = Decision(Action.ALLOW, Reason.DEFAULT, "default", until)
    unreadable = Decision(Action.BLOCK, Reason.BYPASS, "bypass:unreadable", until)
    return Posture(
        profile=profile.id,
        device="" if device is None else device.id,
        filtered=profile.filtered,
        now=now,
        until=until,
        cause=cause if until < FOREVER else "",
        edge=edge,
        stop=None if stop is None else Decision(Action.BLOCK, stop[0], stop[1], until),
        default=default,
        unreadable=unreadable if profile.filtered and profile.bypass_protection else default,
        tags=policy.tags,
        helpline=policy.helpline,
        mandatory=policy.mandatory,
        spent=minutes.spent,
        spent_by=minutes.spent_by,
        bypass=compiled.bypass,
        services_open=services_open,
        services_shut=services_shut,
        categories=compiled.categories,
        allowed=compiled.allowed,
        allow_list_only=profile.filtered and profile.allow_list_only,
        bypass_protection=profile.filtered and profile.bypass_protection,
        strict=profile.filtered and (profile.strict or profile.allow_list_only),
        strip_ech=profile.filtered or bool(compiled.groups),  # an encrypted name counts for no service
        visibility=profile.visibility,
        rules=compiled.rules,
        rewrites=compiled.rewrites,
        heard=final if stop is not None else final | listed,
        final=final,
        by_name=stop is None and (compiled.rules is not None or bool(compiled.rewrites)),
        clock_unset=policy.clock_unset,
    )


def _look_at_clock(
    policy: Policy, compiled: ProfilePolicy, device: Device | None, now: float
) -> tuple[tuple[Reason, str] | None, Edge]:
    """Return what stops everything now (reason and rule), and when the clock next changes something."""
    profile, tz = compiled.profile, policy.household.tz
    device_pause = 0.0 if device is None else device.paused_until
    if max(device_pause, profile.paused_until) > now:
        if device_pause > profile.paused_until:
            return (Reason.PAUSE, "pause:device"), Edge(device_pause, "the pause ends")
        return (Reason.PAUSE, "pause:profile"), Edge(profile.paused_until, "the pause ends")
    if policy.clock_unset:
        return ((Reason.CLOCK, "clock:unset") if has_hours(profile) or profile.has_minutes else None), NEVER
    window = active_window(profile.schedule, tz, now)
    change = next_change(profile.schedule, tz, now)
    edge = NEVER
    if change < FOREVER:
        following = active_window(profile.schedule, tz, change)
        cause = f"{window.label} ends" if following is None and window is not None else ""
        edge = Edge(change, cause or f"{following.label if following is not None else ''} begins")
    if window is not None:
        return (Reason.SCHEDULE, f"schedule:{window.label}"), edge
    return None, edge


def has_hours(profile: Profile) -> bool:
    """Tell whether there are hours without internet at all, on whatever day."""
    schedule = profile.schedule
    return bool(schedule.windows) or any(exception.windows for exception in schedule.exceptions)


def _close_timed_services(compiled: ProfilePolicy) -> _Minutes:
    """What has hours or minutes of its own, while nobody knows the time; what is allowed at hours says nothing."""
    shut = [
        (service.rule.service, service.mask)
        for service in compiled.services
        if service.hours is not None and service.rule.action is Action.BLOCK
    ]
    spent_by = tuple((of, mask) for of, mask in (*compiled.groups, *shut) if mask)
    spent = 0
    for _, mask in spent_by:
        spent |= mask
    return _Minutes(None, spent, spent_by, NEVER, NEVER)


class _Minutes(NamedTuple):
    """What a profile's minutes come to at a moment."""

    stop: tuple[Reason, str] | None  # reason and rule: all is used up
    spent: int  # as in Posture
    spent_by: tuple[tuple[str, int], ...]
    midnight: Edge  # when other limits hold
    end: Edge  # before this nothing else can be used up, however much it is used


_NO_LIMITS = _Minutes(None, 0, (), NEVER, NEVER)


def _look_at_minutes(policy: Policy, compiled: ProfilePolicy, now: float) -> _Minutes:
    tz = policy.household.tz
    day = local_date(tz, now)
    everything, *others = take_allowances(policy, compiled.profile, day)
    has_week = any(found.limit_week is not None for found in (everything, *others))
    span = "week" if has_week and day.weekday() == 6 else "day"
    midnight = Edge(next_midnight(tz, now), f"a new {span} begins")
    if not everything.left_this_week:  # the week's first, for they are gone longer
        return _Minutes((Reason.MINUTES, f"minutes:week:{everything.limit_week}"), 0, (), midnight, NEVER)
    if not everything.left_today:
        end = _end_of(everything.left_this_week, now)
        return _Minutes((Reason.MINUTES, f"minutes:{everything.limit_today}"), 0, (), midnight, end)
    spent, spent_by = 0, []
    left = everything.left
    for (of, mask), allowance in zip(compiled.groups, others, strict=True):
        if not allowance.left:
            spent |= mask
            spent_by.append((of, mask))
        elif mask:
            left = min(left, allowance.left)
    return _Minutes(None, spent, tuple(spent_by), midnight, _end_of(left, now))


def _end_of(left: float, now: float) -> Edge:
    return Edge(earliest_end(left, now), "minutes may be used up") if left < FOREVER else NEVER


def _look_at_services(policy: Policy, compiled: ProfilePolicy, now: float) -> tuple[int, int, Edge]:
    """Return the masks of the services that are open and shut now, and the next edge of their hours."""
    services_open = services_shut = 0
    edge = NEVER
    for service in compiled.services:
        if service.hours is not None and policy.clock_unset:
            continue
        is_open = service.rule.action is Action.ALLOW
        if service.hours is not None:
            is_open, change = _look_at_hours(policy, service.hours, now)
            edge = min(edge, Edge(change, f"{service.rule.service} {'closes' if is_open else 'opens'}"))
        if is_open:
            services_open |= service.mask
        elif service.rule.action is Action.BLOCK:  # an allowed service says nothing outside its hours
            services_shut |= service.mask
    return services_open, services_shut, edge


def _look_at_hours(policy: Policy, hours: Schedule, now: float) -> tuple[bool, float]:
    tz = policy.household.tz
    return active_window(hours, tz, now) is not None, next_change(hours, tz, now)
