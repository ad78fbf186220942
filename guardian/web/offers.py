"""What there is to choose from, as the API shows it."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from guardian.messages import Messages
from guardian.policy import model
from guardian.policy.presets import profile_from_preset
from guardian.web.convert import show_profile
from guardian.web.shapes.household import Catalogue, CategoryInfo, GroupInfo, ServiceInfo, Text

# The groups of blocklists/services.yaml, in the order in which pages show them.
GROUPS = (
    "video", "social", "games", "messaging", "music", "live", "ai", "school", "meetings", "shopping", "strangers",
    "dating", "gambling",
)  # fmt: skip


@functools.cache
def name_groups() -> Mapping[str, Text]:
    """Return what groups are called, by id, in the words of the block page. Takes tens of milliseconds once."""
    messages = Messages.load()
    return {key: Text(*(messages.get(language, f"group.{key}") for language in ("en", "ro", "ru"))) for key in GROUPS}


def show_catalogue(catalogue: model.Catalogue) -> Catalogue:
    """Return services, groups and categories with their names, the presets, and the time zones of this machine."""
    groups = {service.group for service in catalogue.services.values()}
    return Catalogue(
        services=[ServiceInfo(service.id, service.name, service.group) for service in catalogue.services.values()],
        groups=[
            *(GroupInfo(key, names) for key, names in name_groups().items() if key in groups),
            *(GroupInfo(key, Text(key, key, key)) for key in sorted(groups - set(GROUPS))),
        ],
        categories=[
            CategoryInfo(each.id, _show_text(each.names), _show_text(each.about))
            for each in catalogue.category_texts.values()
        ],
        presets=[show_profile(profile_from_preset(each, band, band)) for band, each in catalogue.presets.items()],
        timezones=list(list_timezones()),
    )


def _show_text(texts: Mapping[str, str]) -> Text:
    return Text(texts["en"], texts["ro"], texts["ru"])


@functools.cache
def list_timezones() -> tuple[str, ...]:
    """Return the names of this machine's time zones, without old and nautical ones; few routers have more than UTC."""
    import zoneinfo

    places = {name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/")}
    return (*sorted(places), "UTC")
