"""The household <-> its shapes.

`show_*` make shapes and never fail. `read_*` check what came in as a household file is checked, and raise ConfigError
with every problem; `where` of a problem is the part of the request: `offline[2].start`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import TypeVar

from guardian.errors import ConfigError, Problem, TextError
from guardian.home import is_open_household
from guardian.policy import model
from guardian.policy.model import FOREVER, Action, Catalogue, SafeSearch, Schedule, Visibility, YouTube
from guardian.policy.rules import parse_rule
from guardian.store.household import check_group
from guardian.store.household_form import read_label, read_name
from guardian.store.words import read_device_address, read_mac
from guardian.typed_yaml import suggest
from guardian.web.shapes import household as shapes

T = TypeVar("T")
LAST_MOMENT = 4102444800.0  # the largest moment that shapes carry; beyond it is "never"


def show_household(household: model.Household, revision: int) -> shapes.Household:
    """Return all that parents set."""
    return shapes.Household(
        revision=revision,
        set_up=not is_open_household(household),
        timezone=household.timezone,
        language=household.language,  # type: ignore[arg-type]  # one of ours: the readers see to it
        country=household.country,
        new_devices=household.new_device_profile,
        profiles=[show_profile(profile) for profile in household.profiles],
        devices=[show_device(device) for device in household.devices],
        rules=[_show_rule(rule) for rule in household.rules],
    )


def show_profile(profile: model.Profile) -> shapes.Profile:
    """Return the rules of a profile."""
    return shapes.Profile(
        id=profile.id,
        name=profile.name,
        age_band=profile.age_band,  # type: ignore[arg-type]
        filtered=profile.filtered,
        pause=_show_pause(profile.paused_until),
        offline=[_show_window(window) for window in profile.schedule.windows],
        exceptions=[
            shapes.DayException(each.day.isoformat(), [_show_window(window) for window in each.windows], each.note)
            for each in profile.schedule.exceptions
        ],
        minutes=shapes.Minutes(list(profile.minutes), profile.week_minutes),
        minutes_for=[
            shapes.GroupMinutes(limit.of, shapes.Minutes(list(limit.minutes), limit.week))
            for limit in profile.group_minutes
        ],
        bonuses=[shapes.Bonus(bonus.day.isoformat(), bonus.minutes, bonus.of) for bonus in profile.bonuses],
        rules=[_show_rule(rule) for rule in profile.rules],
        services=[
            shapes.ServiceRule(rule.service, _show_action(rule.action), [_show_window(each) for each in rule.hours])
            for rule in profile.services
        ],
        categories=sorted(profile.categories),
        allow_list_only=profile.allow_list_only,
        safe_search=profile.safe_search.enabled,
        youtube=profile.safe_search.youtube.value,
        bypass_protection=profile.bypass_protection,
        strict=profile.strict,
        visibility=profile.visibility.value,
        language=profile.language,  # type: ignore[arg-type]
    )


def show_device(device: model.Device) -> shapes.Device:
    """Return a device as parents named it."""
    return shapes.Device(
        device.id,
        device.name,
        device.profile,
        list(device.macs),
        list(device.addresses),
        _show_pause(device.paused_until),
    )


def _show_pause(until: float) -> shapes.Pause | None:
    return shapes.Pause(show_moment(until)) if until > 0 else None


def show_moment(moment: float) -> float | None:
    """Return a moment in epoch seconds as shapes carry it: None for FOREVER, and for what is beyond LAST_MOMENT."""
    return moment if moment <= LAST_MOMENT else None


def _show_window(window: model.Window) -> shapes.Window:
    return shapes.Window(sorted(window.days), window.start, window.end, window.label)


def _show_rule(rule: model.Rule) -> shapes.Rule:
    return shapes.Rule(_show_action(rule.action), rule.pattern, show_moment(rule.expires), rule.note)


def _show_action(action: Action) -> shapes.RuleAction:
    return "allow" if action is Action.ALLOW else "block"


class Problems:
    """What is wrong with a request, gathered; `prefix` stands before every `where`."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._found: list[Problem] = []

    def add(self, where: str, message: str) -> None:
        """Note one problem."""
        self._found.append(Problem(f"{self._prefix}{where}", message))

    def read(self, reader: Callable[[str], T], text: str, where: str, otherwise: T) -> T:
        """Return what `reader` makes of a text; where it raises TextError, note that and return `otherwise`."""
        try:
            return reader(text)
        except TextError as error:
            self.add(where, str(error))
            return otherwise

    def unknown(self, what: str, word: str, known: Collection[str], where: str) -> None:
        """Note that there is no such thing."""
        self.add(where, f"there is no {what} '{word[:80]}'{suggest(word, tuple(known))}")

    def finish(self) -> None:
        """Raise ConfigError if there are any."""
        if self._found:
            raise ConfigError(self._found)


def read_pause(pause: shapes.Pause | None) -> float:
    """Return the end of a pause in epoch seconds: 0 for none, FOREVER until a parent resumes."""
    if pause is None:
        return 0.0
    return FOREVER if pause.until is None else pause.until


def read_rules(given: Sequence[shapes.Rule], problems: Problems, where: str = "rules") -> tuple[model.Rule, ...]:
    """Return rules whose patterns are checked."""
    made = []
    for index, rule in enumerate(given):
        place = f"{where}[{index}]"
        note = problems.read(read_label, rule.note, f"{place}.note", "")
        expires = FOREVER if rule.expires is None else rule.expires
        try:
            made.append(parse_rule(rule.pattern, Action(rule.action), expires, note))
        except TextError as error:
            problems.add(f"{place}.pattern", str(error))
    return tuple(made)


def read_macs(
    given: Sequence[str], owners: Mapping[str, str], problems: Problems, where: str = "macs[{}]"
) -> tuple[str, ...]:
    """Return MACs in their usual form. `owners` is whose (a name) the MACs and addresses of other devices are; `{}` in
    `where` is the place in the list.
    """
    return _read_places(read_mac, given, owners, problems, where)


def read_addresses(
    given: Sequence[str], owners: Mapping[str, str], problems: Problems, where: str = "addresses[{}]"
) -> tuple[str, ...]:
    """Return addresses and prefixes in their shortest form; `owners` as for `read_macs`."""
    return _read_places(read_device_address, given, owners, problems, where)


def _read_places(
    reader: Callable[[str], str], given: Sequence[str], owners: Mapping[str, str], problems: Problems, where: str
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for index, text in enumerate(given):
        value = problems.read(reader, text.strip(), where.format(index), "")
        if value in owners:
            problems.add(where.format(index), f"'{value}' already belongs to the device '{owners[value]}'")
        elif value in found:
            problems.add(where.format(index), f"'{value}' is given twice")
        elif value:
            found[value] = None
    return tuple(found)


def read_profile(
    given: shapes.Profile, catalogue: Catalogue, saved: model.Profile | None = None, prefix: str = ""
) -> model.Profile:
    """Return the profile of a shape. Raises ConfigError; `prefix` stands before the `where` of its problems.

    Services and categories that the catalogue has lost stay allowed in a profile that `saved` them.
    """
    reader = _ProfileReader(given, catalogue, saved, prefix)
    profile = reader.read()
    reader.problems.finish()
    return profile


class _ProfileReader:
    """Checks one profile."""

    def __init__(self, given: shapes.Profile, catalogue: Catalogue, saved: model.Profile | None, prefix: str) -> None:
        self.given = given
        self.catalogue = catalogue
        self.services = (
            {*catalogue.services, *(rule.service for rule in saved.services)} if saved else catalogue.services
        )
        self.categories = {*catalogue.categories, *saved.categories} if saved else catalogue.categories
        self.groups = {limit.of for limit in saved.group_minutes} if saved else set()
        if saved:
            self.groups |= {bonus.of for bonus in saved.bonuses}
        self.problems = Problems(prefix)

    def read(self) -> model.Profile:
        given = self.given
        for index, category in enumerate(given.categories):
            if category not in self.categories:
                self.problems.unknown("category", category, self.categories, f"categories[{index}]")
        return model.Profile(
            id=given.id,
            name=self.problems.read(read_name, given.name, "name", given.id),
            age_band=given.age_band,
            filtered=given.filtered,
            paused_until=read_pause(given.pause),
            schedule=Schedule(self._windows(given.offline, "offline"), self._exceptions()),
            minutes=self._days(given.minutes, "minutes"),
            week_minutes=given.minutes.week,
            group_minutes=self._group_minutes(),
            bonuses=self._bonuses(),
            rules=read_rules(given.rules, self.problems),
            services=self._services(),
            categories=frozenset(given.categories),
            allow_list_only=given.allow_list_only,
            safe_search=SafeSearch(given.safe_search, YouTube(given.youtube)),
            bypass_protection=given.bypass_protection,
            strict=given.strict,
            visibility=Visibility(given.visibility),
            language=given.language,
        )

    def _windows(self, given: Sequence[shapes.Window], where: str, has_days: bool = True) -> tuple[model.Window, ...]:
        made = []
        for index, window in enumerate(given):
            place = f"{where}[{index}]"
            if has_days and not window.days:
                self.problems.add(f"{place}.days", "hours need at least one day of the week")
            if window.days and not has_days:
                self.problems.add(f"{place}.days", "the hours of one date have no days of the week")
            label = self.problems.read(read_name, window.label, f"{place}.label", "")
            made.append(model.Window(frozenset(window.days), window.start, window.end, label))
        return tuple(made)

    def _exceptions(self) -> tuple[model.DayException, ...]:
        found: dict[date, model.DayException] = {}
        for index, each in enumerate(self.given.exceptions):
            place = f"exceptions[{index}]"
            day: date | None = self.problems.read(_read_day, each.day, f"{place}.day", None)
            if day in found:
                self.problems.add(f"{place}.day", f"{day} is given twice")
            note = self.problems.read(read_label, each.note, f"{place}.note", "")
            windows = self._windows(each.windows, f"{place}.windows", False)
            if day is not None:
                found[day] = model.DayException(day, windows, note)
        return tuple(found.values())

    def _days(self, given: shapes.Minutes, where: str) -> tuple[int, ...]:
        if len(given.days) not in (0, 7):
            self.problems.add(f"{where}.days", f"{len(given.days)} numbers: give seven, Monday to Sunday, or none")
        return tuple(given.days)

    def _group_minutes(self) -> tuple[model.GroupMinutes, ...]:
        found: dict[str, model.GroupMinutes] = {}
        for index, limit in enumerate(self.given.minutes_for):
            place = f"minutes_for[{index}]"
            self._check_group(limit.of, f"{place}.of")
            if limit.of in found:
                self.problems.add(f"{place}.of", f"'{limit.of}' is given twice")
            days = self._days(limit.minutes, f"{place}.minutes")
            if days or limit.minutes.week is not None:  # else there is no limit
                found[limit.of] = model.GroupMinutes(limit.of, days, limit.minutes.week)
        return tuple(found.values())

    def _bonuses(self) -> tuple[model.Bonus, ...]:
        made = []
        for index, bonus in enumerate(self.given.bonuses):
            if bonus.of:
                self._check_group(bonus.of, f"bonuses[{index}].of")
            day = self.problems.read(_read_day, bonus.day, f"bonuses[{index}].day", date.min)
            made.append(model.Bonus(day, bonus.minutes, bonus.of))
        return tuple(made)

    def _check_group(self, of: str, where: str) -> None:
        if of in self.groups:
            return
        try:
            check_group(self.catalogue, of)
        except TextError as error:
            self.problems.add(where, str(error))

    def _services(self) -> tuple[model.ServiceRule, ...]:
        found: dict[str, model.ServiceRule] = {}
        for index, rule in enumerate(self.given.services):
            place = f"services[{index}]"
            if rule.service not in self.services:
                self.problems.unknown("service", rule.service, self.services, f"{place}.service")
            if rule.service in found:
                self.problems.add(f"{place}.service", f"'{rule.service[:80]}' is given twice")
            hours = self._windows(rule.hours, f"{place}.hours")
            found[rule.service] = model.ServiceRule(rule.service, Action(rule.action), hours)
        return tuple(found.values())


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TextError(f"'{text[:20]}' is not a date like 2026-12-24") from None
