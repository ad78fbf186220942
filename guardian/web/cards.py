"""A profile as it is now: its state, what the timetable changes next, its minutes. Pure: facts in, shapes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from guardian.policy import minutes
from guardian.policy.bedtime import BEDTIME
from guardian.policy.compile import Policy
from guardian.policy.minutes import minutes_left
from guardian.policy.model import FOREVER, Profile, Schedule
from guardian.policy.posture import has_hours
from guardian.policy.schedule import active_window, local_date, next_change, next_midnight, start_of_day
from guardian.web.shapes.activity import Allowance, Card, CardDevice, Next, State
from guardian.web.shapes.common import AgeBand


class Presence(NamedTuple):
    """Whether a device is on the network, and when it was last seen (epoch seconds, 0 = never)."""

    online: bool
    last_seen: float


AWAY = Presence(False, 0.0)


class Standing(NamedTuple):
    """What holds now; `of` and `until` as in Card."""

    state: State
    of: str
    until: float | None
    next: Next | None


def list_cards(policy: Policy, presence: Mapping[str, Presence], blocked: Mapping[str, int], now: float) -> list[Card]:
    """Return a card for each profile: children first, then other filtered profiles, then the rest; each in order.

    `presence` and `blocked` (tries that were stopped today) are by device id.
    """
    ranked = sorted(policy.household.profiles, key=lambda profile: (not profile.filtered, not profile.age_band))
    return [make_card(policy, profile, presence, blocked, now) for profile in ranked]


def make_card(
    policy: Policy, profile: Profile, presence: Mapping[str, Presence], blocked: Mapping[str, int], now: float
) -> Card:
    """Return one profile's card."""
    devices = [device for device in policy.household.devices if device.profile == profile.id]
    seen = {device.id: presence.get(device.id, AWAY) for device in devices}
    standing = find_standing(policy, profile, any(found.online for found in seen.values()), now)
    return Card(
        profile=profile.id,
        name=profile.name,
        age_band=read_age_band(profile),
        filtered=profile.filtered,
        state=standing.state,
        of=standing.of,
        until=standing.until,
        next=standing.next,
        allowances=list_allowances(policy, profile.id, now),
        devices=[CardDevice(device.id, device.name, seen[device.id].online) for device in devices],
        blocked_today=sum(blocked.get(device.id, 0) for device in devices),
        last_seen=max((found.last_seen for found in seen.values()), default=0.0) or None,
    )


def read_age_band(profile: Profile) -> AgeBand:
    """Return the age band of a profile; "" also for one that this version does not know."""
    bands: tuple[AgeBand, ...] = ("0-6", "7-9", "10-12", "13-15", "16-17")
    return next((band for band in bands if band == profile.age_band), "")


def find_standing(
    policy: Policy, profile: Profile, online: bool, now: float, device_paused_until: float = 0.0
) -> Standing:
    """Return what holds for a profile now, or for one of its devices that may be paused by itself."""
    tz, schedule = policy.household.tz, profile.schedule
    following = find_next(policy, schedule, now)
    paused_until = max(profile.paused_until, device_paused_until)
    if paused_until > now:
        return Standing("paused", "", finite(paused_until), following)
    if policy.clock_unset and (has_hours(profile) or profile.has_minutes):
        return Standing("no-clock", "", None, None)
    window = active_window(schedule, tz, now)
    if window is not None:
        state: State = "asleep" if window.label == BEDTIME else "offline"
        return Standing(state, window.label, finite(next_change(schedule, tz, now)), following)
    everything, *_ = minutes_left(policy, profile.id, now)
    if not everything.left:
        return Standing("used-up", "", find_new_minutes(policy, everything, now), following)
    return Standing("online" if online else "away", "", None, following)


def find_next(policy: Policy, schedule: Schedule, now: float) -> Next | None:
    """Return what the timetable changes next, or None when it never does."""
    tz = policy.household.tz
    change = next_change(schedule, tz, now)
    if change == FOREVER:
        return None
    window = active_window(schedule, tz, change)
    return Next("online", change) if window is None else Next("offline", change, window.label)


def find_new_minutes(policy: Policy, everything: minutes.Allowance, now: float) -> float | None:
    """Return when a profile whose minutes are used up gets new ones: at midnight, or on Monday."""
    tz = policy.household.tz
    if everything.left_this_week:
        return next_midnight(tz, now)
    today = local_date(tz, now)
    return start_of_day(tz, today + timedelta(days=7 - today.weekday()))


def list_allowances(policy: Policy, profile: str, now: float) -> list[Allowance]:
    """Return the minutes of a profile (by id): all use first, then services and groups that have a limit."""
    return [
        Allowance(
            of=found.of,
            used_today=round(found.used_today, 2),
            limit_today=found.limit_today,
            used_week=round(found.used_week, 2),
            limit_week=found.limit_week,
            left=None if found.left == FOREVER else round(found.left, 2),
        )
        for found in minutes_left(policy, profile, now)
    ]


def finite(moment: float) -> float | None:
    """Return a moment as JSON has it: None stands for "until a parent says otherwise"."""
    return None if moment == FOREVER else moment
