"""What there is to choose from has its words in every language."""

from __future__ import annotations

import dataclasses

import msgspec
import yaml

from guardian.catalogue import load_catalogue
from guardian.messages import LANGUAGES, LOCALE_DIRECTORY
from guardian.policy.model import Service
from guardian.store.household_form import AGE_BANDS
from guardian.store.words import read_timezone
from guardian.web.offers import GROUPS, list_timezones, name_groups, show_catalogue
from guardian.web.shapes.household import Catalogue

CATALOGUE = load_catalogue(names=False)


def test_everything_has_its_words() -> None:
    shown = show_catalogue(CATALOGUE)
    assert msgspec.json.decode(msgspec.json.encode(shown), type=Catalogue) == shown
    assert {service.id for service in shown.services} == set(CATALOGUE.services)
    groups = {service.group for service in shown.services}
    assert groups == {group.id for group in shown.groups} == set(GROUPS)
    assert {category.id for category in shown.categories} == set(CATALOGUE.categories)
    texts = [group.names for group in shown.groups] + [
        text for each in shown.categories for text in (each.names, each.about)
    ]
    for text in texts:
        assert text.en and text.ro and text.ru
        assert text.ru != text.en or text.en == "VPN"
    assert [profile.age_band for profile in shown.presets] == list(AGE_BANDS)
    assert all(profile.categories for profile in shown.presets)


def test_groups_have_the_same_words_everywhere() -> None:
    """On the block page, in what parents choose from, and where a category is about the same."""
    named = name_groups()
    for language in LANGUAGES:
        texts = yaml.safe_load((LOCALE_DIRECTORY / f"{language}.yaml").read_text(encoding="utf-8"))
        told = {key.removeprefix("group."): text for key, text in texts.items() if key.startswith("group.")}
        assert told == {key: getattr(text, language) for key, text in named.items()}
    shown = {category.id: category.names for category in show_catalogue(CATALOGUE).categories}
    alike = {"social": "social_networks"} | {key: key for key in ("games", "ai", "shopping", "dating", "gambling")}
    assert {group: named[group] for group in alike} == {group: shown[category] for group, category in alike.items()}


def test_a_group_that_is_new_is_not_lost() -> None:
    more = dict(CATALOGUE.services) | {"new": Service("new", "New", "holograms", ())}
    shown = show_catalogue(dataclasses.replace(CATALOGUE, services=more))
    assert (shown.groups[-1].id, shown.groups[-1].names.ro) == ("holograms", "holograms")


def test_time_zones() -> None:
    zones = list_timezones()
    assert zones[-1] == "UTC"
    assert {"Europe/Chisinau", "Europe/Bucharest", "Europe/Kyiv"} <= set(zones)
    assert not any(zone.startswith(("Etc/", "posix/", "right/")) for zone in zones)
    for zone in zones[:: len(zones) // 20]:
        read_timezone(zone)
