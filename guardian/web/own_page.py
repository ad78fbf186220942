"""The child's own page: what holds for the device that asks, said openly. Pure: facts in, shapes out.

It tells nothing of other children, of alerts, or of the parents but who answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from guardian.blockpage import country_of
from guardian.config import LANGUAGES
from guardian.policy.compile import Policy
from guardian.policy.model import Action, Device, HelpKind, Helpline, Household, Profile
from guardian.policy.schedule import local_date, windows_on
from guardian.store.requests import StoredRequest
from guardian.web.asking import show_to_child
from guardian.web.cards import find_standing, list_allowances
from guardian.web.convert import show_profile
from guardian.web.shapes.common import Language
from guardian.web.shapes.household import Window
from guardian.web.shapes.requests import ChildPage, ChildRules, HelplineInfo
from guardian.web.tags import name_tags, tag_of

_KINDS = (HelpKind.CHILD, HelpKind.EMERGENCY, HelpKind.REPORT)  # what is for adults stays on mandatory pages


def make_child_page(
    policy: Policy,
    device: Device | None,
    requests: Sequence[StoredRequest],
    can_ask: bool,
    language: str,
    now: float,
    offered: Sequence[str] = LANGUAGES,
) -> ChildPage:
    """Return the page for a device, None = one that nobody has named; `requests` are those of its profile.

    `language` is of the helplines' texts; "" = the profile's, else the household's. `offered` are those of the pages.
    """
    household = policy.household
    profile = policy.newcomer.profile
    if device is not None:
        profile = policy.profiles.get(device.profile, policy.strictest).profile
    standing = find_standing(policy, profile, True, now, device.paused_until if device is not None else 0.0)
    allowances = list_allowances(policy, profile.id, now)
    rules = list_rules(household, profile, now)
    named = [f"category:{category}" for category in rules.categories]
    named += [f"service:{service}" for service in (*rules.services, *rules.service_hours)]
    shown = show_profile(profile)
    return ChildPage(
        known=device is not None,
        name=profile.name if device is not None else "",
        device=device.name if device is not None else "",
        language=shown.language if shown.language in offered else "",
        languages=list(cast(Sequence[Language], offered)),
        home_language=cast(Language, household.language if household.language in offered else offered[0]),
        timezone=household.timezone,
        now=now,
        state=standing.state,
        of=standing.of,
        until=standing.until,
        next=standing.next,
        allowances=allowances,
        rules=rules,
        requests=[show_to_child(found) for found in requests] if device is not None else [],
        can_ask=can_ask and device is not None,
        helplines=list_helplines(household, policy.catalogue.helplines, language or profile.language),
        names=name_tags(policy.catalogue, (*named, *(tag_of(each.of) for each in allowances))),
    )


def list_rules(household: Household, profile: Profile, now: float) -> ChildRules:
    """Return what holds for a profile. Hours and minutes hold also where nothing is filtered."""
    shown = show_profile(profile)
    today = local_date(household.tz, now)
    filtered = profile.filtered
    return ChildRules(
        filtered=filtered,
        offline=shown.offline,
        today=[Window([], window.start, window.end, window.label) for window in windows_on(profile.schedule, today)],
        categories=shown.categories if filtered else [],
        services=[
            rule.service for rule in profile.services if filtered and rule.action is Action.BLOCK and not rule.hours
        ],
        service_hours=[rule.service for rule in profile.services if filtered and rule.hours],
        safe_search=filtered and shown.safe_search,
        youtube=shown.youtube if filtered else "off",
        allow_list_only=filtered and shown.allow_list_only,
        visibility=shown.visibility,
    )


def list_helplines(household: Household, helplines: Iterable[Helpline], language: str) -> list[HelplineInfo]:
    """Return who helps children, those of the country first; of all countries when it is not known."""
    country = household.country or country_of(household.timezone)
    language = language or household.language
    fitting = [line for line in helplines if line.kind in _KINDS and (not country or line.country in (country, ""))]
    return [
        HelplineInfo(
            id=line.id,
            kind=line.kind.value,
            name=line.names.get(language, line.names["en"]),
            about=line.about.get(language, line.about.get("en", "")),
            phone=line.phone,
            url=line.url,
        )
        for line in sorted(fitting, key=lambda line: not line.country)
    ]
