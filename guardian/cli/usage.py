"""Tell how long each profile has used the internet, in all and by service, and what its limits leave.

  guardian usage                       today
  guardian usage ana --day 2026-11-20
  guardian usage --json | jq '.profiles[].used'

Minutes are counted from what flows carry (docs/minutes.md), so the flow filter must run. A profile that shows parents
counts only is told in all, and for the services and groups that have a limit.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from typing import Any, NamedTuple

from guardian.cli import OK, paint
from guardian.config import Config, load_config
from guardian.errors import GuardianError, TextError
from guardian.policy.compile import GROUP, Policy, compile_policy
from guardian.policy.minutes import Allowance, take_allowances
from guardian.policy.model import FOREVER, Catalogue, Household, Profile, Visibility
from guardian.policy.schedule import local_date
from guardian.policy.usage import Usage
from guardian.store.history_read import DeviceMinutes, HistoryError, HistoryReader, UsedMinutes
from guardian.typed_yaml import suggest


class Used(NamedTuple):
    """Minutes of one profile, of all (""), a service id or `group:NAME`; None = no limit. Limits hold the bonus."""

    of: str
    minutes: float
    limit: int | None = None
    bonus: int = 0
    left: float | None = None
    week_minutes: float = 0.0
    week_limit: int | None = None


class _NoNames:
    """Lists without names: no limit depends on them."""

    tags: tuple[str, ...] = ()

    def lookup(self, name: bytes) -> int:
        return 0

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        return []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("profile", nargs="?", default="", metavar="PROFILE", help="its id or name (default: all)")
    parser.add_argument("--day", type=_day, metavar="DAY", help="2026-11-20, local time (default: today)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Print the minutes used; return the exit code."""
    from guardian.catalogue import load_catalogue
    from guardian.home import find_household

    config = load_config(args.config)
    catalogue = load_catalogue(names=False)
    household = find_household(config, catalogue)
    profiles = (_find_profile(household, args.profile),) if args.profile else household.profiles
    today = local_date(household.tz, time.time())
    day = args.day or today
    rows, devices = _read(config, day)
    usage = Usage()
    # Usage keeps eight days: those of the week that is asked for.
    week = day.isocalendar()[:2]
    usage.load(row for row in rows if date.fromisoformat(row.day).isocalendar()[:2] == week)
    policy = compile_policy(household, catalogue, _NoNames(), usage)
    used = {profile.id: list_used(policy, profile, day, rows) for profile in profiles}
    if args.json:
        tree = {"day": day.isoformat(), "profiles": [_as_json(p, used[p.id], household, devices) for p in profiles]}
        print(json.dumps(tree, ensure_ascii=False, indent=2))
        return OK
    print(f"{day:%A %Y-%m-%d}")
    for profile in profiles:
        _print(profile, used[profile.id], household, catalogue, devices, is_today=day == today)
    return OK


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a day like 2026-11-20") from None


def _find_profile(household: Household, wanted: str) -> Profile:
    for profile in household.profiles:
        if wanted.casefold() in (profile.id, profile.name.casefold()):
            return profile
    known = [text for profile in household.profiles for text in (profile.id, profile.name)]
    raise TextError(f"there is no profile '{wanted[:80]}'{suggest(wanted, known)}")


def _read(config: Config, day: date) -> tuple[list[UsedMinutes], list[DeviceMinutes]]:
    """The minutes of profiles from the week's Monday on, and those of devices on the day."""
    monday = date.fromordinal(day.toordinal() - day.weekday())
    try:
        with HistoryReader(config.history.path) as history:
            return history.used_minutes(monday.isoformat()), history.device_minutes(day.isoformat())
    except HistoryError as error:
        raise GuardianError(
            f"the minutes used cannot be read: {error}; the gateway writes them while it runs"
        ) from None


def list_used(policy: Policy, profile: Profile, day: date, rows: list[UsedMinutes]) -> list[Used]:
    """Return all use first, then groups, then services, each with the most used first."""
    allowances = {found.of: found for found in take_allowances(policy, profile, day)}
    minutes = {row.of: row.minutes for row in rows if (row.profile, row.day) == (profile.id, day.isoformat())}
    if profile.visibility is Visibility.COUNTS:
        minutes = {of: count for of, count in minutes.items() if of in allowances}
    found = []
    for of in {"", *minutes, *allowances}:
        bonus = sum(given.minutes for given in profile.bonuses if (given.of, given.day) == (of, day))
        week = policy.usage.week(profile.id, of, day)
        found.append(_describe(of, minutes.get(of, 0.0), allowances.get(of), bonus, week))
    return sorted(found, key=lambda used: (used.of != "", not used.of.startswith(GROUP), -used.minutes, used.of))


def _describe(of: str, minutes: float, allowance: Allowance | None, bonus: int, week: float) -> Used:
    if allowance is None:
        return Used(of, minutes, week_minutes=week)
    left = None if allowance.left == FOREVER else allowance.left
    return Used(of, minutes, allowance.limit_today, bonus, left, week, allowance.limit_week)


def _print(
    profile: Profile,
    used: list[Used],
    household: Household,
    catalogue: Catalogue,
    devices: list[DeviceMinutes],
    is_today: bool,
) -> None:
    print(f"\n{paint(profile.name, 'bold')} ({profile.id})")
    totals = {row.device: row.minutes for row in devices if not row.service}
    lines = [(_name(row.of, catalogue), _tell(row, is_today)) for row in used]
    lines += [
        (f"on {device.name}", format_minutes(totals[device.id]))
        for device in household.devices
        if device.profile == profile.id and device.id in totals
    ]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"  {name:{width}}  {text}")


def _name(of: str, catalogue: Catalogue) -> str:
    if of.startswith(GROUP):
        return f"group {of.removeprefix(GROUP)}"
    service = catalogue.services.get(of)
    return service.name if service else of or "all"


def _tell(used: Used, is_today: bool) -> str:
    text = format_minutes(used.minutes)
    if used.limit is not None:
        text += f" of {format_minutes(used.limit)}"
    if used.bonus:
        text += f" ({format_minutes(used.bonus)} bonus)"
    if used.week_limit is not None:
        text += f", this week {format_minutes(used.week_minutes)} of {format_minutes(used.week_limit)}"
    if is_today and used.left is not None:
        text += ", " + (f"{format_minutes(used.left)} left" if used.left else paint("used up", "yellow"))
    return text


def format_minutes(minutes: float) -> str:
    """Return `2 h 5 min`; a part of a minute is cut off."""
    if 0 < minutes < 1:
        return "under 1 min"
    hours, rest = divmod(int(minutes), 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{rest} min"] * bool(rest or not hours))


def _as_json(profile: Profile, used: list[Used], household: Household, devices: list[DeviceMinutes]) -> dict[str, Any]:
    return {
        "id": profile.id,
        "name": profile.name,
        "used": [row._asdict() for row in used],
        "devices": [
            {
                "id": device.id,
                "name": device.name,
                "minutes": sum(row.minutes for row in devices if (row.device, row.service) == (device.id, "")),
                "services": {row.service: row.minutes for row in devices if row.device == device.id and row.service},
            }
            for device in household.devices
            if device.profile == profile.id
        ],
    }
