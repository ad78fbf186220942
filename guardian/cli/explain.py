"""Tell which step of the policy decides about a name, by which list or rule, and until when.

  guardian explain --device ana-tablet youtube.com
  guardian explain --device 192.168.1.23 example.com --at 2026-11-23T21:05
  guardian explain --profile ana --household home.yaml tiktok.com roblox.com

Works offline and without root, from the settings, lists and counted minutes on this machine. The time is the
household's local time.
A device is named by its id, its name, a MAC or an address.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from guardian.cli import OK, paint
from guardian.config import Config, load_config
from guardian.errors import TextError
from guardian.names import format_name, parse_name
from guardian.policy.model import FOREVER, Action, Catalogue, Household, NameLists
from guardian.store.words import read_mac, read_moment
from guardian.typed_yaml import suggest

if TYPE_CHECKING:
    from guardian.hotline.listed import PageLists
    from guardian.policy.compile import Policy
    from guardian.policy.explain import Explanation
    from guardian.policy.posture import Posture
    from guardian.policy.usage import Usage

_COLOURS = {Action.ALLOW: "green", Action.BLOCK: "red", Action.REWRITE: "yellow"}


class Asker(NamedTuple):
    """For whom it is explained: a device id or a profile id, and the words for it."""

    device: str | None
    profile: str
    words: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--device", "-d", metavar="D", help="a device: its id, name, MAC or address")
    who.add_argument("--profile", "-p", metavar="P", help="a profile: its id or name")
    parser.add_argument("names", nargs="+", metavar="NAME", help="a site: example.com, or a whole address to it")
    parser.add_argument("--at", metavar="TIME", help="2026-11-23T21:05, or 21:05 for today (default: now)")
    parser.add_argument("--household", metavar="FILE.yaml", help="a household file instead of the one in force")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Explain each name; return the exit code."""
    from guardian.catalogue import load_catalogue
    from guardian.policy.compile import compile_policy
    from guardian.policy.explain import explain
    from guardian.policy.minutes import minutes_left
    from guardian.policy.posture import posture_of, posture_of_profile

    names = [_read_site(text) for text in args.names]
    # With a household file at hand, a machine without Guardian's settings can explain too.
    without_settings = args.household and not args.config_given and not os.path.exists(args.config)
    config = None if without_settings else load_config(args.config)
    catalogue = load_catalogue()
    household = _find_household(config, args.household, catalogue)
    image, lists_from = _open_lists(config, catalogue)
    now = _read_time(args.at, household)
    clock_unset = False
    if config is not None and args.at is None:
        now, clock_unset = _ask_clock(config, now)
    usage, usage_error = _load_usage(config)
    lists, authorities = _add_feed(config, catalogue, image, names)
    policy = compile_policy(household, catalogue, lists, usage, clock_unset=clock_unset)
    asker = _find_profile(household, args.profile) if args.profile else _find_device(household, args.device)
    posture = (
        posture_of_profile(policy, asker.profile, now)
        if asker.device is None
        else posture_of(policy, asker.device, now)
    )
    results = [(name, explain(policy, posture, name, now, authorities)) for name in names]
    if args.json:
        tree = _as_json(asker, posture, policy, now, lists_from, results)
        print(json.dumps(tree | {"minutes_error": usage_error}, ensure_ascii=False, indent=2))
        return OK
    _print(policy, asker, posture, now, lists_from, results)
    if usage_error and any(found.left < FOREVER for found in minutes_left(policy, posture.profile, now)):
        print(f"\nMinutes used are not known, so none are counted: {usage_error}")
    return OK


def _read_site(text: str) -> bytes:
    if "://" in text:
        from urllib.parse import urlsplit

        try:
            text = urlsplit(text).hostname or text
        except ValueError:
            raise TextError(f"'{text[:80]}' is not the address of a site") from None
    return parse_name(text.strip())


def _find_household(config: Config | None, file: str | None, catalogue: Catalogue) -> Household:
    from guardian.home import find_household
    from guardian.store.household import load_household_file

    if file:
        return load_household_file(file, catalogue)
    assert config is not None  # `run` reads it where no file is named
    return find_household(config, catalogue)


def _add_feed(
    config: Config | None, catalogue: Catalogue, image: PageLists, names: list[bytes]
) -> tuple[NameLists, dict[str, str]]:
    """The lists with those of the hotline, settled for `names`, and who answers for each class; works offline.

    Raises ListError for a feed on disk that cannot be used.
    """
    from guardian.hotline.feed_state import feed_folder, read_current
    from guardian.hotline.listed import GuardedNames, JoinedLists, Keys, open_listed

    current = read_current(feed_folder(config.state)) if config is not None and config.hotline.url else None
    if config is None or current is None:
        return image, {}
    guarded = GuardedNames(catalogue.protected, catalogue.protected_exact)
    listed = open_listed(current, config.hotline.lists, guarded, Keys())
    for name in names:
        listed.settle_now(name)
    return JoinedLists(image, listed), {tag: str(facts["authority"]["en"]) for tag, facts in listed.classes.items()}


def _open_lists(config: Config | None, catalogue: Catalogue) -> tuple[PageLists, str]:
    """The compiled lists, else the starter lists that need no internet; and where they come from."""
    from guardian.home import build_starter_lists
    from guardian.store.images import map_image

    if config is not None and os.path.exists(config.lists.image):
        return map_image(config.lists.image), config.lists.image
    return build_starter_lists(catalogue), "starter lists"


def _load_usage(config: Config | None) -> tuple[Usage, str]:
    """The minutes that were counted, and why there are none to be had."""
    from guardian.policy.usage import Usage
    from guardian.store.history_read import HistoryError, HistoryReader

    usage = Usage()
    if config is None:
        return usage, "no settings name a history"
    try:
        with HistoryReader(config.history.path) as history:
            usage.load(history.used_minutes())
    except HistoryError as error:
        return usage, str(error)
    return usage, ""


def _ask_clock(config: Config, now: float) -> tuple[float, bool]:
    """What time it is for the running gateway, and whether it waits for the time; without one, `now`."""
    from guardian.clock import State
    from guardian.control import send
    from guardian.errors import GuardianError

    try:
        told = send(config.control.socket, "clock", reply_seconds=2.0)
        state = State(told["state"])
        return (now if state is State.SET else float(told["now"])), state is State.WAITING
    except (GuardianError, KeyError, ValueError):  # none runs, or an older one
        return now, False


def _read_time(text: str | None, household: Household) -> float:
    if text is None:
        return time.time()
    if len(text) <= 5 and ":" in text:
        text = f"{datetime.now(household.tz).date().isoformat()}T{text:0>5}"
    moment = read_moment(text, household.tz)
    if moment == FOREVER:
        raise TextError("'--at' needs a moment like 2026-11-23T21:05")
    return moment


def _find_profile(household: Household, wanted: str) -> Asker:
    for profile in household.profiles:
        if wanted.casefold() in (profile.id, profile.name.casefold()):
            return Asker(None, profile.id, f"profile {profile.name}")
    known = [text for profile in household.profiles for text in (profile.id, profile.name)]
    raise TextError(f"there is no profile '{wanted}'{suggest(wanted, known)}")


def _find_device(household: Household, wanted: str) -> Asker:
    from guardian.devices import DeviceMap

    for device in household.devices:
        if wanted.casefold() in (device.id, device.name.casefold()):
            return Asker(device.id, device.profile, device.name)
    packed, mac = b"", None
    try:
        mac = bytes.fromhex(read_mac(wanted).replace(":", ""))
    except TextError:
        try:
            packed = ipaddress.ip_address(wanted).packed
        except ValueError:
            known = [text for device in household.devices for text in (device.id, device.name)]
            raise TextError(f"there is no device '{wanted}'{suggest(wanted, known)}") from None
    found = DeviceMap(household).find(packed or bytes(4), mac)
    for device in household.devices:
        if device.id == found:
            return Asker(device.id, device.profile, device.name)
    return Asker("", household.new_device_profile, f"{wanted}, a device that nobody has named")


def _print(
    policy: Policy,
    asker: Asker,
    posture: Posture,
    now: float,
    lists_from: str,
    results: list[tuple[bytes, Explanation]],
) -> None:
    from guardian.policy.explain import Outcome

    moment = datetime.fromtimestamp(now, policy.household.tz)
    profile = policy.profiles.get(posture.profile)
    rules = f"profile {profile.profile.name}" if profile is not None else "the strictest rules"
    who = asker.words if asker.device is None else f"{asker.words} ({rules})"
    print(f"{who}, {moment:%A %Y-%m-%d %H:%M}, {lists_from}")
    for name, found in results:
        print(f"\n{paint(format_name(name), 'bold')}")
        print(f"{paint(found.sentence, _COLOURS[found.decision.action])}\n")
        for number, step in enumerate(found.steps, 1):
            if step.outcome is Outcome.NOT_REACHED:
                continue
            line = f"  {number:2} {step.reason.value:16} {step.says}"
            print(paint(line, "bold" if step.outcome is Outcome.DECIDED else "dim"))


def _as_json(
    asker: Asker,
    posture: Posture,
    policy: Policy,
    now: float,
    lists_from: str,
    results: list[tuple[bytes, Explanation]],
) -> dict[str, Any]:
    from guardian.policy.minutes import minutes_left

    def local(moment: float) -> str | None:
        return None if moment == FOREVER else datetime.fromtimestamp(moment, policy.household.tz).isoformat()

    return {
        "device": asker.device,
        "profile": posture.profile,
        "at": local(now),
        "lists": lists_from,
        "strict": posture.strict,
        "minutes": [found._asdict() for found in minutes_left(policy, posture.profile, now)],
        "names": [
            {
                "name": format_name(name),
                "action": found.decision.action.value,
                "reason": found.decision.reason.value,
                "rule": found.decision.rule,
                "until": local(found.decision.until),
                "target": format_name(found.decision.target) if found.decision.target else None,
                "sentence": found.sentence,
                "matches": [entry._asdict() for entry in found.matches],
                "steps": [
                    {"step": step.reason.value, "outcome": step.outcome.value, "says": step.says}
                    for step in found.steps
                ],
            }
            for name, found in results
        ],
    }
