"""Export, import, show and pause what parents set, and give bonus minutes.

  guardian household export home.yaml            write all of it as a file that people read and edit
  guardian household import home.yaml            check the file, put it in force, tell the running gateway
  guardian household import --check home.yaml    check the file only
  guardian household show                        profiles and devices at a glance
  guardian household pause --profile ana --minutes 30
  guardian household pause --device ana-tablet   until somebody resumes it
  guardian household resume --profile ana
  guardian household bonus --profile ana --minutes 30 --for group:games

Export, import and export again give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import date, datetime
from typing import Any

from guardian.cli import FAILED, OK, paint
from guardian.config import Config, load_config
from guardian.errors import GuardianError, TextError
from guardian.policy.model import FOREVER, Bonus, Device, Household, Profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    export = actions.add_parser("export", help="write the household as YAML")
    export.add_argument("file", nargs="?", default="-", metavar="FILE.yaml", help="where to (default: the terminal)")
    bring = actions.add_parser("import", help="replace the household by a file")
    bring.add_argument("file", metavar="FILE.yaml", help="what to read; '-' is standard input")
    bring.add_argument("--check", action="store_true", help="only say what is wrong with the file")
    show = actions.add_parser("show", help="profiles and devices at a glance")
    show.add_argument("--json", action="store_true", help="for programs")
    pause = actions.add_parser("pause", help="no internet for a profile or a device, from now on")
    pause.add_argument("--minutes", type=_minutes, help="for so long (default: until somebody resumes)")
    resume = actions.add_parser("resume", help="end a pause")
    bonus = actions.add_parser("bonus", help="minutes on top of a profile's limit, for one day and its week")
    bonus.add_argument("--profile", required=True, metavar="ID")
    bonus.add_argument("--minutes", type=_bonus, required=True, help="how many")
    bonus.add_argument(
        "--for", default="", dest="of", metavar="SERVICE", help="youtube, group:games (default: all use)"
    )
    bonus.add_argument("--date", type=_date, help="2026-12-24 (default: today)")
    for action in (pause, resume):
        which = action.add_mutually_exclusive_group(required=True)
        which.add_argument("--profile", default="", metavar="ID")
        which.add_argument("--device", default="", metavar="ID")


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` says; return the exit code."""
    config = load_config(args.config)
    match args.action:
        case "export":
            return _export(config, args.file)
        case "import":
            return _import(config, args.file, args.check)
        case "show":
            return _show(config, args.json)
        case "pause":
            until = time.time() + args.minutes * 60 if args.minutes else FOREVER
            return _pause(config, args.profile, args.device, float(round(until)) if until < FOREVER else until)
        case "bonus":
            return _give(config, args.profile, args.minutes, args.of, args.date)
        case _:
            return _pause(config, args.profile, args.device, 0.0)


def _minutes(text: str) -> int:
    if not text.isdigit() or not 0 < int(text[:6]) <= 7 * 1440:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes (1 to 10080)")
    return int(text)


def _bonus(text: str) -> int:
    from guardian.store.household_form import read_bonus

    try:
        return read_bonus(text)
    except TextError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date like 2026-12-24") from None


def _current(config: Config) -> Household:
    from guardian.catalogue import load_catalogue
    from guardian.home import find_household

    return find_household(config, load_catalogue(names=False))


def _export(config: Config, file: str) -> int:
    from guardian.store.household import encode_household

    text = encode_household(_current(config))
    if file == "-":
        sys.stdout.write(text)
        return OK
    aside = f"{file}.new"
    try:
        with open(aside, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    except OSError as error:
        raise GuardianError(f"{file} cannot be written: {error.strerror}") from None
    return OK


def _import(config: Config, file: str, check_only: bool) -> int:
    from guardian.catalogue import load_catalogue
    from guardian.store.household import decode_household
    from guardian.store.settings import save_household
    from guardian.typed_yaml import read_text

    text = sys.stdin.read() if file == "-" else read_text(file)
    household = decode_household(text, file, load_catalogue(names=False))
    counts = f"{_count(household.profiles, 'profile')}, {_count(household.devices, 'device')}"
    if check_only:
        print(f"{file}: {counts}, no problems")
        return OK
    save_household(config.settings, household, who=_who(), what=f"imported {os.path.basename(file)}", kind="restored")
    print(f"{file}: {counts}, in force")
    return _tell_gateway(config)


def _count(things: tuple[Any, ...], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _who() -> str:
    import getpass

    try:
        return f"command line, {getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name
        return f"command line, user {os.getuid()}"


def _tell_gateway(config: Config) -> int:
    """Let the running gateway read the settings again."""
    from guardian.control import NotRunningError, send

    try:
        send(config.control.socket, "reload")
    except NotRunningError:
        print("The gateway is not running; it reads the household when it starts.")
        return OK
    except GuardianError as error:
        print(f"guardian: saved, but the gateway did not take it: {error}", file=sys.stderr)
        return FAILED
    print("The running gateway has taken it.")
    return OK


def _saved(config: Config) -> Household:
    """The household of the database, which is made when it never was: the household is still a file then."""
    from guardian.store.settings import load_household, save_household

    household = load_household(config.settings)
    if household is None:
        household = _current(config)
        save_household(config.settings, household, who=_who(), what="first household")
    return household


def _give(config: Config, profile: str, minutes: int, of: str, day: date | None) -> int:
    from guardian.catalogue import load_catalogue
    from guardian.store.household import check_group
    from guardian.store.settings import add_bonus

    if of:
        check_group(load_catalogue(names=False), of)
    household = _saved(config)
    day = day or datetime.now(household.tz).date()
    add_bonus(config.settings, profile, Bonus(day, minutes, of), who=_who())
    print(f"{profile}: {minutes} minutes more{f' for {of}' if of else ''} on {day}")
    known = next(found for found in household.profiles if found.id == profile)
    if not (any(limit.of == of for limit in known.group_minutes) if of else known.has_minutes):
        print("There is no limit that they could be added to.")
    return _tell_gateway(config)


def _pause(config: Config, profile: str, device: str, until: float) -> int:
    from guardian.store.settings import set_pause

    household = _saved(config)
    set_pause(config.settings, profile=profile, device=device, until=until, who=_who())
    name = profile or device
    if not until:
        print(f"{name}: resumed")
    elif until == FOREVER:
        print(f"{name}: paused until somebody resumes it")
    else:
        print(f"{name}: paused until {datetime.fromtimestamp(until, household.tz):%Y-%m-%d %H:%M}")
    return _tell_gateway(config)


def _show(config: Config, as_json: bool) -> int:
    household = _current(config)
    now = time.time()
    if as_json:
        print(json.dumps(_describe(household, now), ensure_ascii=False, indent=2))
        return OK
    country = f", helplines of {household.country}" if household.country else ""
    print(f"time zone {household.timezone}, language {household.language}{country}")
    for profile in household.profiles:
        print(f"\n{paint(profile.name, 'bold')} ({profile.id}){_state(profile, now)}")
        print(f"  {_summary(profile)}")
        for device in household.devices:
            if device.profile == profile.id:
                found_by = ", ".join((*device.macs, *device.addresses)) or "nothing yet finds it"
                print(f"  - {device.name} ({device.id}): {found_by}{_state(device, now)}")
    newcomers = household.new_device_profile
    print(f"\nnew devices: {newcomers or 'the strictest rules'}")
    return OK


def _state(thing: Profile | Device, now: float) -> str:
    return paint("  paused", "yellow") if thing.paused_until > now else ""


def _summary(profile: Profile) -> str:
    limits = ["minutes"] if profile.has_minutes or profile.group_minutes else []
    if not profile.filtered:
        return ", ".join(["not filtered", *limits])
    facts = [f"age {profile.age_band}"] if profile.age_band else []
    facts.append(_count(tuple(profile.categories), "blocked category").replace("categorys", "categories"))
    facts += [_count(profile.rules, "rule")] if profile.rules else []
    facts += [_count(profile.schedule.windows, "offline window")] if profile.schedule.windows else []
    facts += limits
    facts += ["safe search"] if profile.safe_search.enabled else []
    facts += ["allowed sites only"] if profile.allow_list_only else []
    facts += ["DNS first"] if profile.strict else []
    return ", ".join(facts)


def _describe(household: Household, now: float) -> dict[str, Any]:
    return {
        "timezone": household.timezone,
        "language": household.language,
        "country": household.country,
        "new_devices": household.new_device_profile,
        "profiles": [
            {
                "id": profile.id,
                "name": profile.name,
                "age": profile.age_band,
                "filtered": profile.filtered,
                "paused": profile.paused_until > now,
                "categories": sorted(profile.categories),
                "rules": len(profile.rules),
                "safe_search": profile.safe_search.enabled,
                "strict": profile.strict,
                "minutes": list(profile.minutes),
                "week_minutes": profile.week_minutes,
                "group_minutes": [
                    {"of": limit.of, "minutes": list(limit.minutes), "week": limit.week}
                    for limit in profile.group_minutes
                ],
                "visibility": profile.visibility.value,
            }
            for profile in household.profiles
        ],
        "devices": [
            {
                "id": device.id,
                "name": device.name,
                "profile": device.profile,
                "macs": list(device.macs),
                "addresses": list(device.addresses),
                "paused": device.paused_until > now,
            }
            for device in household.devices
        ],
    }
