"""The shape of a household file: what `typed_yaml` reads before names are looked up (`guardian.store.household`).

`None` stands for a key that nobody wrote, so that the profile's preset speaks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from guardian.config import LANGUAGES
from guardian.config.text import read_choice
from guardian.errors import TextError
from guardian.policy.model import Action, Visibility, YouTube
from guardian.store.words import Days, read_country, read_days, read_device_address, read_end, read_mac, read_start
from guardian.typed_yaml import suggest

AGE_BANDS = ("0-6", "7-9", "10-12", "13-15", "16-17")
NO_PRESET = "none"
NO_LIMIT = -1  # minutes: "unlimited"
WEEK = "week"  # beside days: the minutes of Monday to Sunday
DAY_MINUTES = 1440
WEEK_MINUTES = 7 * DAY_MINUTES
BEDTIME = "bedtime"  # the label of a window of `offline` that has none
HOURS = "hours"  # the same for the hours of a service
MOST_PROFILES = 64  # of a household, by file or by the console: far more than a family has
MOST_DEVICES = 512
_LONGEST_TEXT = 200


def read_label(text: str) -> str:
    """Return a name or note as people write it; control characters are refused, they garble pages and terminals."""
    if len(text) > _LONGEST_TEXT:
        raise TextError(f"'{text[:40]}...' is longer than {_LONGEST_TEXT} characters")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise TextError("a name cannot hold line breaks or control characters")
    return text


def read_name(text: str) -> str:
    """Return what people call a profile or a device, without spaces at its ends. Raises TextError for an empty one."""
    name = read_label(text).strip()
    if not name:
        raise TextError("a name needs at least one letter")
    return name


def read_action(text: str) -> Action:
    """Return ALLOW or BLOCK."""
    return Action(read_choice("allow", "block")(text))


def read_age(text: str) -> str:
    """Return an age band, "" for adults."""
    if text not in ("", *AGE_BANDS):
        raise TextError(f"'{text[:80]}' is no age band: {', '.join(AGE_BANDS)}{suggest(text, AGE_BANDS)}")
    return text


def read_preset(text: str) -> str:
    """Return an age band or NO_PRESET."""
    return text if text == NO_PRESET else read_age(text)


def read_minutes(text: str) -> int:
    """Return minutes, 0 to those of a week, or NO_LIMIT. Whether a day has so many is for the caller to check."""
    if text.lower() in ("unlimited", "none"):
        return NO_LIMIT
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > WEEK_MINUTES:
        raise TextError(
            f"'{text[:80]}' is not a number of minutes (of a day 0 to {DAY_MINUTES}, of a week to {WEEK_MINUTES}) "
            "or 'unlimited'"
        )
    return int(text)


def read_bonus(text: str) -> int:
    """Return minutes that are given on top, 1 to 1440."""
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 0 < int(text) <= DAY_MINUTES:
        raise TextError(f"'{text[:80]}' is not a number of minutes to give (1 to {DAY_MINUTES})")
    return int(text)


class WindowText(NamedTuple):
    """A window in its short form; no days = what its place says."""

    days: Days | None
    start: int
    end: int


def read_window(text: str) -> WindowText:
    """Return the window of `sun-thu 21:00-07:00` or `21:00-07:00`."""
    short = text.strip()[:80]  # the pattern takes quadratic time
    found = re.fullmatch(r"(?:(\S.*?) +)?(\d{1,2}:\d\d) ?- ?(\d{1,2}:\d\d)", short, re.ASCII)
    if not found:
        raise TextError(f"'{text[:80]}' is not a window like 'sun-thu 21:00-07:00'")
    return WindowText(read_days(found[1]) if found[1] else None, read_start(found[2]), read_end(found[3]))


@dataclass(frozen=True)
class WindowForm:
    start: int = field(metadata={"key": "from", "read": read_start})
    end: int = field(metadata={"key": "to", "read": read_end})
    days: tuple[Days, ...] | Days | None = field(default=None, metadata={"read": read_days})
    label: str = field(default="", metadata={"read": read_label})


Windows = tuple[WindowForm | WindowText, ...]
Minutes = Mapping[str, int] | tuple[int, ...] | int  # by days and WEEK; Monday to Sunday; the same every day


@dataclass(frozen=True)
class ExceptionForm:
    day: date = field(metadata={"key": "date"})
    offline: Windows = field(default=(), metadata={"read": read_window})
    note: str = field(default="", metadata={"read": read_label})


@dataclass(frozen=True)
class RuleForm:
    name: str
    until: str = "forever"
    note: str = field(default="", metadata={"read": read_label})


@dataclass(frozen=True)
class BonusForm:
    day: date = field(metadata={"key": "date"})
    minutes: int = field(metadata={"read": read_bonus})
    of: str = field(default="", metadata={"key": "for"})


@dataclass(frozen=True)
class ServiceForm:
    action: Action = field(default=Action.BLOCK, metadata={"read": read_action})
    hours: Windows = field(default=(), metadata={"read": read_window})


@dataclass(frozen=True)
class ProfileForm:
    name: str | None = field(default=None, metadata={"read": read_name})
    age: str | None = field(default=None, metadata={"read": read_age})
    preset: str | None = field(default=None, metadata={"read": read_preset})
    filtered: bool = True
    paused_until: str | None = None
    offline: Windows | None = field(default=None, metadata={"read": read_window})
    exceptions: tuple[ExceptionForm, ...] | None = None
    minutes: Minutes | None = field(default=None, metadata={"read": read_minutes})
    minutes_for: Mapping[str, Minutes] = field(default_factory=dict, metadata={"read": read_minutes})
    bonus: tuple[BonusForm, ...] = ()
    allow: tuple[RuleForm | str, ...] = ()
    block: tuple[RuleForm | str, ...] = ()
    services: Mapping[str, ServiceForm | Action] = field(default_factory=dict, metadata={"read": read_action})
    categories: tuple[str, ...] | None = None
    allow_list_only: bool | None = None
    safe_search: bool | None = None
    youtube: YouTube | None = None
    bypass_protection: bool | None = None
    strict: bool | None = None
    visibility: Visibility | None = None
    language: str = field(default="", metadata={"read": read_choice("", *LANGUAGES)})


@dataclass(frozen=True)
class DeviceForm:
    profile: str
    name: str | None = field(default=None, metadata={"read": read_name})
    macs: tuple[str, ...] | str = field(default=(), metadata={"read": read_mac})
    addresses: tuple[str, ...] | str = field(default=(), metadata={"read": read_device_address})
    paused_until: str | None = None


@dataclass(frozen=True)
class HouseholdForm:
    timezone: str
    language: str = field(default="ro", metadata={"read": read_choice(*LANGUAGES)})
    country: str = field(default="", metadata={"read": read_country})
    new_devices: str = ""  # a profile's id
    allow: tuple[RuleForm | str, ...] = ()
    block: tuple[RuleForm | str, ...] = ()
    profiles: Mapping[str, ProfileForm] = field(default_factory=dict)
    devices: Mapping[str, DeviceForm] = field(default_factory=dict)
