"""Use and tries of a profile over some local days. Pure: what the history says in, shapes out.

What a profile shows is decided here a second time: the history may still hold what an earlier, wider choice kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from guardian.policy.compile import GROUP, Policy
from guardian.policy.model import Action, Profile, Visibility
from guardian.store.history_read import KindCount, NameCount, Tries, UsedMinutes
from guardian.web.shapes.activity import Activity, BlockedKind, BlockedSite, DayOfUse, HourOfTries, Use

_BLOCK = Action.BLOCK.value


def make_activity(
    policy: Policy,
    profile: Profile,
    days: Sequence[date],
    tries: Tries,
    sites: Sequence[NameCount],
    used: Sequence[UsedMinutes],
    counted: bool,
) -> Activity:
    """Return the activity of a profile on `days` (in order); `tries` and `sites` are those of its devices."""
    names = {device.id: device.name for device in policy.household.devices}
    shown = profile.visibility is Visibility.NAMES
    return Activity(
        profile=profile.id,
        visibility=profile.visibility.value,
        days=list(_list_days(policy, profile, days, used)),
        hours=[HourOfTries(float(hour * 3600), allowed, blocked) for hour, allowed, blocked in tries.hours],
        allowed=sum(found.allowed for found in tries.hours),
        blocked=sum(found.blocked for found in tries.hours),
        kinds=list_kinds(profile.visibility, tries.kinds),
        sites=[
            BlockedSite(site.name, site.tag, site.reason, site.queries, site.last_seen, names.get(site.device, ""))
            for site in sites
        ]
        if shown
        else None,
        counted=counted or bool(used),
    )


def list_kinds(visibility: Visibility, kinds: Iterable[KindCount]) -> list[BlockedKind]:
    """Return what was blocked by kind, the most frequent first; one sum where only counts are shown."""
    counts: dict[tuple[str, str], int] = {}
    for kind in kinds:
        if kind.action == _BLOCK:
            key = ("", "") if visibility is Visibility.COUNTS else (kind.tag, kind.reason)
            counts[key] = counts.get(key, 0) + kind.queries
    return [BlockedKind(*key, times) for key, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def last_days(today: date, count: int) -> list[date]:
    """Return `count` dates up to today, the oldest first."""
    return [today - timedelta(days=back) for back in range(count - 1, -1, -1)]


def _list_days(
    policy: Policy, profile: Profile, days: Sequence[date], used: Iterable[UsedMinutes]
) -> Iterable[DayOfUse]:
    parts = _parts_shown(policy, profile)
    by_day: dict[str, dict[str, float]] = {}
    for row in used:
        by_day.setdefault(row.day, {})[row.of] = row.minutes
    for day in days:
        minutes = by_day.get(day.isoformat(), {})
        named = [
            Use(of, round(spent, 2))
            for of, spent in sorted(minutes.items(), key=lambda item: (-item[1], item[0]))
            if of and (not of.startswith(GROUP) if parts is None else of in parts)
        ]
        yield DayOfUse(day.isoformat(), round(minutes.get("", 0.0), 2), named)


def _parts_shown(policy: Policy, profile: Profile) -> frozenset[str] | None:
    """What is named of a day's use; None = all services. Where only counts are shown: what has a limit of its own.

    Of a group and a service in it only the group is named: parts of a day must not add up to more than the day.
    """
    if profile.visibility is not Visibility.COUNTS:
        return None
    limited = {limit.of for limit in profile.group_minutes}
    services = policy.catalogue.services
    return frozenset(of for of in limited if of not in services or f"{GROUP}{services[of].group}" not in limited)
