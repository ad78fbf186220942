"""What may be used a day and a week, what was used of it, and how long that surely lasts."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from guardian.policy.compile import Policy
from guardian.policy.model import FOREVER, GroupMinutes, Profile
from guardian.policy.schedule import local_date

_ROUNDING = 1e-9  # minutes: sums of parts of a minute are not exact
_EARLY_SECONDS = 0.001
_SHARES = 8  # a moment is rounded down by at most this part of the wait


class Allowance(NamedTuple):
    """Minutes used and allowed, of all (`of` is ""), of a service (`youtube`) or of a group (`group:games`).

    The limits hold their bonuses; None = no limit.
    """

    of: str
    used_today: float
    limit_today: int | None
    used_week: float
    limit_week: int | None

    @property
    def left_today(self) -> float:
        """Minutes until the day's limit; 0 when it is reached, FOREVER when there is none."""
        return FOREVER if self.limit_today is None else _left(self.limit_today - self.used_today)

    @property
    def left_this_week(self) -> float:
        """The same of the week's limit."""
        return FOREVER if self.limit_week is None else _left(self.limit_week - self.used_week)

    @property
    def left(self) -> float:
        """Minutes until the first of both."""
        return min(self.left_today, self.left_this_week)


def _left(minutes: float) -> float:
    return minutes if minutes > _ROUNDING else 0.0


def minutes_left(policy: Policy, profile: str, now: float) -> tuple[Allowance, ...]:
    """Return what a profile (by id; unknown: the strictest) has used and may use on the local date of `now`.

    First all use, also where it has no limit, then each service and group that has one.
    """
    compiled = policy.profiles.get(profile, policy.strictest)
    return take_allowances(policy, compiled.profile, local_date(policy.household.tz, now))


def take_allowances(policy: Policy, profile: Profile, day: date) -> tuple[Allowance, ...]:
    """Return the allowances of a profile on a local date, in the order of `minutes_left`."""
    everything = GroupMinutes("", profile.minutes, profile.week_minutes)
    return tuple(_take_allowance(policy, profile, limit, day) for limit in (everything, *profile.group_minutes))


def _take_allowance(policy: Policy, profile: Profile, limit: GroupMinutes, day: date) -> Allowance:
    today = week = 0  # bonuses; one for a later day of the week is not there to be used yet
    for bonus in profile.bonuses:
        if bonus.of == limit.of:
            today += bonus.minutes if bonus.day == day else 0
            week += bonus.minutes if bonus.day <= day and bonus.day.isocalendar()[:2] == day.isocalendar()[:2] else 0
    return Allowance(
        limit.of,
        policy.usage.today(profile.id, limit.of, day),
        limit.minutes[day.weekday()] + today if limit.minutes else None,
        policy.usage.week(profile.id, limit.of, day),
        None if limit.week is None else limit.week + week,
    )


def earliest_end(left: float, now: float) -> float:
    """Return a moment before which `left` minutes cannot be used up, in epoch seconds; at least a second from `now`.

    It is rounded down, the more the farther it is, so that the devices of a profile get the same one.
    """
    seconds = left * 60
    step = 1 << max(0, int(seconds / _SHARES).bit_length() - 1)
    return max(now + 1.0, (now + seconds - _EARLY_SECONDS) // step * step)
