"""A household file -> Household: names looked up, presets filled in, every problem at its line.

`encode_household` (in `household_encode`) is the exact inverse for a household in its normal form: allow rules before
block rules, moments in whole seconds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from datetime import tzinfo
from typing import Any

from guardian.errors import ConfigError, Problem, TextError
from guardian.policy.compile import GROUP
from guardian.policy.model import (
    FOREVER,
    Action,
    Bonus,
    Catalogue,
    DayException,
    Device,
    GroupMinutes,
    Household,
    Profile,
    Rule,
    SafeSearch,
    Schedule,
    ServiceRule,
    Window,
)
from guardian.policy.presets import profile_from_preset
from guardian.policy.rules import parse_rule
from guardian.store.household_encode import encode_household
from guardian.store.household_form import (
    BEDTIME,
    DAY_MINUTES,
    HOURS,
    MOST_DEVICES,
    MOST_PROFILES,
    NO_LIMIT,
    NO_PRESET,
    WEEK,
    DeviceForm,
    HouseholdForm,
    Minutes,
    ProfileForm,
    RuleForm,
    ServiceForm,
    WindowForm,
    Windows,
)
from guardian.store.words import (
    EVERY_DAY,
    Days,
    format_days,
    read_days,
    read_moment,
    read_timezone,
)
from guardian.typed_yaml import MOST_PROBLEMS, Locate, decode, read_text, suggest

__all__ = ["check_group", "decode_household", "encode_household", "load_household_file"]


def load_household_file(path: str, catalogue: Catalogue) -> Household:
    """Return the household in the YAML file at `path`. Raises ConfigError with every problem."""
    return decode_household(read_text(path), path, catalogue)


def decode_household(text: str, file: str, catalogue: Catalogue) -> Household:
    """Return the household that the YAML `text` says. Raises ConfigError; every problem names its line of `file`."""
    builder = _Builder(catalogue)
    decode(text, file, HouseholdForm, builder.build)
    assert builder.household is not None  # `build` ran without a problem
    return builder.household


def check_group(catalogue: Catalogue, of: str) -> None:
    """Raise TextError unless `of` is a service id (`youtube`) or a group of services (`group:games`)."""
    groups = {f"{GROUP}{service.group}" for service in catalogue.services.values()}
    if of not in catalogue.services and of not in groups:
        if of.startswith(GROUP) or of in {group.removeprefix(GROUP) for group in groups}:
            near = suggest(f"{GROUP}{of.removeprefix(GROUP)}", groups)
            raise TextError(f"there is no service group '{of[:80]}'{near}")
        raise TextError(f"there is no service '{of[:80]}'{suggest(of, (*catalogue.services, *groups))}")


class _Builder:
    """Turns the file's form into a Household and collects what is wrong with it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.household: Household | None = None
        self.problems: list[Problem] = []

    def build(self, form: HouseholdForm, locate: Locate) -> list[Problem]:
        self.locate = locate
        self._check_number("profiles", tuple(form.profiles), MOST_PROFILES)
        self._check_number("devices", tuple(form.devices), MOST_DEVICES)
        zone = self._read(read_timezone, form.timezone, "timezone") or read_timezone("UTC0")
        profiles = tuple(self._profile(key, profile, zone) for key, profile in form.profiles.items())
        if form.new_devices and form.new_devices not in form.profiles:
            self._unknown("profile", form.new_devices, form.profiles, "new_devices")
        devices = self._devices(form, zone)
        rules = self._rules(form.allow, form.block, zone, form)
        if not form.profiles and not locate.is_given("profiles"):
            self._problem("the key 'profiles' is missing", "profiles")
        self.household = Household(
            timezone=form.timezone,
            tz=zone,
            profiles=profiles,
            devices=devices,
            new_device_profile=form.new_devices,
            rules=rules,
            language=form.language,
            country=form.country,
        )
        return self.problems

    def _problem(self, message: str, *path: object) -> None:
        self.problems.append(Problem(self.locate(*path), message))
        if len(self.problems) >= MOST_PROBLEMS:
            raise ConfigError(self.problems)

    def _unknown(self, what: str, word: str, known: Iterable[str], *path: object) -> None:
        self._problem(f"there is no {what} '{word[:80]}'{suggest(word, tuple(known))}", *path)

    def _read(self, read: Any, text: str, *path: object) -> Any:
        try:
            return read(text)
        except TextError as error:
            self._problem(str(error), *path)
            return None

    def _check_number(self, what: str, keys: tuple[str, ...], most: int) -> None:
        if len(keys) > most:
            self._problem(f"these are {len(keys)} {what}, and a household has {most} at most", what, keys[most])

    def _check_id(self, key: str, *path: object) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", key):
            self._problem(f"'{key[:80]}' cannot be an id: small letters, digits, '-' and '_' only", *path)

    def _moment(self, text: str | None, zone: tzinfo, *path: object) -> float:
        return 0.0 if text is None else self._read(lambda text: read_moment(text, zone), text, *path) or 0.0

    def _profile(self, key: str, form: ProfileForm, zone: tzinfo) -> Profile:
        self._check_id(key, "profiles", key)
        preset = form.age or "" if form.preset is None else form.preset
        base = Profile(id=key, name=key, bypass_protection=True)
        if preset and preset != NO_PRESET:
            if preset in self.catalogue.presets:
                base = profile_from_preset(self.catalogue.presets[preset], key, key)
            else:
                self._unknown("preset", preset, self.catalogue.presets, form, "preset" if form.preset else "age")
        offline, exceptions = base.schedule.windows, base.schedule.exceptions
        if form.offline is not None:
            offline = self._windows(form.offline, EVERY_DAY, BEDTIME, form, "offline")
        if form.exceptions is not None:
            exceptions = self._exceptions(form)
        safe_search = base.safe_search.enabled if form.safe_search is None else form.safe_search
        youtube = base.safe_search.youtube if form.youtube is None else form.youtube
        minutes, week_minutes = base.minutes, base.week_minutes
        if form.minutes is not None:
            minutes, week_minutes = self._minutes(form.minutes, base.minutes, form, "minutes")
        return dataclasses.replace(
            base,
            name=key if form.name is None else form.name,
            age_band=base.age_band if form.age is None else form.age,
            filtered=form.filtered,
            paused_until=self._moment(form.paused_until, zone, form, "paused_until"),
            schedule=Schedule(offline, exceptions),
            minutes=minutes,
            week_minutes=week_minutes,
            group_minutes=self._group_minutes(form),
            bonuses=self._bonuses(form),
            rules=self._rules(form.allow, form.block, zone, form),
            services=self._services(form, base.services),
            categories=base.categories if form.categories is None else self._categories(form),
            allow_list_only=_given(form.allow_list_only, base.allow_list_only),
            safe_search=SafeSearch(safe_search, youtube),
            bypass_protection=_given(form.bypass_protection, base.bypass_protection),
            strict=_given(form.strict, base.strict),
            visibility=_given(form.visibility, base.visibility),
            language=form.language,
        )

    def _windows(self, forms: Windows, days: frozenset[int], label: str, *path: object) -> tuple[Window, ...]:
        windows = []
        for index, form in enumerate(forms):
            chosen = form.days
            if isinstance(chosen, tuple):
                chosen = Days(day for part in chosen for day in part)
            if chosen is not None and not chosen:
                self._problem("'days' is empty: name days, or leave it out", *path, index)
            name = form.label if isinstance(form, WindowForm) and form.label.strip() else label
            windows.append(Window(days if chosen is None else frozenset(chosen), form.start, form.end, name))
        return tuple(windows)

    def _exceptions(self, form: ProfileForm) -> tuple[DayException, ...]:
        found: dict[Any, DayException] = {}
        for index, exception in enumerate(form.exceptions or ()):
            if exception.day in found:
                self._problem(f"the exception for {exception.day} is given twice", form, "exceptions", index)
            windows = self._windows(exception.offline, frozenset(), BEDTIME, exception, "offline")
            found[exception.day] = DayException(exception.day, windows, exception.note)
        return tuple(found.values())

    def _minutes(self, written: Minutes, base: tuple[int, ...], *path: object) -> tuple[tuple[int, ...], int | None]:
        """Return the minutes of the days and of the week; where only the week is told, the days stay as in `base`."""
        if isinstance(written, int):
            return () if written == NO_LIMIT else (self._day(written, *path),) * 7, None
        if isinstance(written, tuple):
            if len(written) not in (0, 7):
                self._problem(f"'{path[-1]}' has {len(written)} numbers: write seven, Monday to Sunday", *path)
            return tuple(self._day(each, *path, index) for index, each in enumerate(written)), None
        week = written.get(WEEK, NO_LIMIT)
        minutes: dict[int, int] = {}
        for text, each in written.items():
            if text == WEEK:
                continue
            amount = self._day(each, *path, text)
            for day in self._read(read_days, text, *path, text) or ():
                if day in minutes:
                    self._problem(f"'{text}' names a day that has its minutes already", *path, text)
                    break
                minutes[day] = amount
        if minutes and (missing := EVERY_DAY - minutes.keys()):
            self._problem(
                f"'{path[-1]}' says nothing of {format_days(frozenset(missing))}: give a number or 'unlimited'", *path
            )
        days = tuple(minutes.get(day, 0) for day in range(7)) if minutes else base if WEEK in written else ()
        return days, None if week == NO_LIMIT else week

    def _day(self, minutes: int, *path: object) -> int:
        if minutes > DAY_MINUTES:
            place = next(step for step in reversed(path) if isinstance(step, str))
            self._problem(
                f"'{place}': '{minutes}' is not a number of minutes of a day (0 to {DAY_MINUTES}) or 'unlimited'", *path
            )
        return DAY_MINUTES if minutes == NO_LIMIT else minutes

    def _group_minutes(self, form: ProfileForm) -> tuple[GroupMinutes, ...]:
        limits = []
        for of, written in form.minutes_for.items():
            self._check_group(of, form, "minutes_for", of)
            minutes, week = self._minutes(written, (), form, "minutes_for", of)
            if minutes or week is not None:
                limits.append(GroupMinutes(of, minutes, week))
        return tuple(limits)

    def _bonuses(self, form: ProfileForm) -> tuple[Bonus, ...]:
        for bonus in form.bonus:
            if bonus.of:
                self._check_group(bonus.of, bonus, "for")
        return tuple(Bonus(bonus.day, bonus.minutes, bonus.of) for bonus in form.bonus)

    def _check_group(self, of: str, *path: object) -> None:
        try:
            check_group(self.catalogue, of)
        except TextError as error:
            self._problem(str(error), *path)

    def _rules(
        self,
        allow: tuple[RuleForm | str, ...],
        block: tuple[RuleForm | str, ...],
        zone: tzinfo,
        owner: ProfileForm | HouseholdForm,
    ) -> tuple[Rule, ...]:
        rules = []
        for key, action, forms in (("allow", Action.ALLOW, allow), ("block", Action.BLOCK, block)):
            for index, form in enumerate(forms):
                text, note, expires = (form, "", FOREVER) if isinstance(form, str) else (form.name, form.note, None)
                try:
                    if not isinstance(form, str):
                        expires = read_moment(form.until, zone)
                    rules.append(parse_rule(text, action, FOREVER if expires is None else expires, note))
                except TextError as error:
                    self._problem(str(error), owner, key, index)
        return tuple(rules)

    def _services(self, form: ProfileForm, preset: tuple[ServiceRule, ...]) -> tuple[ServiceRule, ...]:
        services = {rule.service: rule for rule in preset}
        for name, said in form.services.items():
            if name not in self.catalogue.services:
                self._unknown("service", name, self.catalogue.services, form, "services", name)
            if isinstance(said, ServiceForm):
                hours = self._windows(said.hours, EVERY_DAY, HOURS, said, "hours")
                services[name] = ServiceRule(name, said.action, hours)
            else:
                services[name] = ServiceRule(name, said)
        return tuple(services.values())

    def _categories(self, form: ProfileForm) -> frozenset[str]:
        for index, name in enumerate(form.categories or ()):
            if name not in self.catalogue.categories:
                self._unknown("category", name, self.catalogue.categories, form, "categories", index)
        return frozenset(form.categories or ())

    def _devices(self, form: HouseholdForm, zone: tzinfo) -> tuple[Device, ...]:
        owners: dict[str, str] = {}
        return tuple(self._device(key, device, form, zone, owners) for key, device in form.devices.items())

    def _device(
        self, key: str, form: DeviceForm, household: HouseholdForm, zone: tzinfo, owners: dict[str, str]
    ) -> Device:
        self._check_id(key, "devices", key)
        if form.profile not in household.profiles:
            self._unknown("profile", form.profile, household.profiles, form, "profile")
        for name, values in (("macs", form.macs), ("addresses", form.addresses)):
            for index, value in enumerate(_as_tuple(values)):
                if value in owners:
                    owner = "this device" if owners[value] == key else f"the device '{owners[value]}'"
                    self._problem(f"'{value}' already belongs to {owner}", form, name, index)
                owners.setdefault(value, key)
        return Device(
            id=key,
            name=key if form.name is None else form.name,
            profile=form.profile,
            macs=_as_tuple(form.macs),
            addresses=_as_tuple(form.addresses),
            paused_until=self._moment(form.paused_until, zone, form, "paused_until"),
        )


def _given(written: Any, default: Any) -> Any:
    return default if written is None else written


def _as_tuple(values: tuple[str, ...] | str) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else values
