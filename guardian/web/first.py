"""The first profile: how the open box becomes a home."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from guardian.errors import TextError
from guardian.home import EVERYONE, is_open_household
from guardian.policy.model import Household, Profile
from guardian.store.console import ConsoleStore
from guardian.store.words import read_timezone
from guardian.web.naming import make_id

ADULTS = {"en": "Adults", "ro": "Adulți", "ru": "Взрослые"}


def make_first_household(before: Household, first: Profile, timezone: str) -> Household:
    """Return the household of an open box after its first profile was made.

    `before` tells language and country, and its devices stay: they were open, so they become the adults'. A profile
    for adults is made beside a child's, so that the parents' devices have a place. Devices that nobody names are
    protected as for children. Raises TextError for a time zone that is none.
    """
    profiles = [first]
    if first.age_band:
        name = ADULTS.get(before.language, ADULTS["en"])
        key = make_id(name, {first.id, EVERYONE}, "adults")
        profiles.append(Profile(key, name, filtered=False, bypass_protection=False))
    return replace(
        before,
        timezone=timezone,
        tz=read_timezone(timezone),
        profiles=tuple(profiles),
        devices=tuple(replace(device, profile=profiles[-1].id) for device in before.devices),
        new_device_profile="",
    )


def first_language(household: Household, store: ConsoleStore, offered: Sequence[str]) -> str:
    """Return the language of the home: while the box is open, the one that the first parent chose.

    One that is not `offered` (any more) gives way to the first that is.
    """
    chosen = store.option("first_language") if is_open_household(household) else ""
    wanted = chosen or household.language
    return wanted if wanted in offered else offered[0]


def find_timezone(root: str = "/") -> str:
    """Return the time zone of this machine: an IANA name, or a POSIX string where a router has no other; else UTC."""
    link = os.path.join(root, "etc/localtime")
    if os.path.islink(link):
        _, found, name = os.readlink(link).partition("zoneinfo/")
        if found and is_timezone(name):
            return name
    for path in ("etc/timezone", "etc/TZ"):
        try:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                text = file.read(200).strip()
        except OSError:
            continue  # most machines have one of the three
        if is_timezone(text):
            return text
    return "UTC"


def is_timezone(text: str) -> bool:
    """Tell whether a text names a time zone."""
    if not re.fullmatch(r"[!-~]+", text):
        return False
    try:
        read_timezone(text)
    except TextError:
        return False
    return True
