"""`blocklists/*.yaml` -> Catalogue."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from guardian.blocklist.addresses import Network
from guardian.catalogue.place import MANDATORY_TEST, find_data, make_test_name
from guardian.catalogue.shapes import (
    BypassFile,
    BypassText,
    CategoriesFile,
    HelplinesFile,
    Names,
    PresetsFile,
    PresetText,
    ProtectedFile,
    ProtectionText,
    SafeSearchFile,
    ServicesFile,
    StarterFile,
)
from guardian.errors import Problem
from guardian.names import format_name, parse_name
from guardian.policy.model import (
    Action,
    Catalogue,
    Category,
    Helpline,
    Preset,
    SafeSearch,
    Schedule,
    Service,
    ServiceRule,
    YouTube,
)
from guardian.typed_yaml import Locate, decode, read_text, suggest

T = TypeVar("T")
DEVICE_NEEDS = "allowed:device"


class KnownAddresses(NamedTuple):
    """The addresses of `bypass.yaml`: those of each kind, by tag, and by owner those that no fetched list may hold."""

    tagged: Mapping[str, tuple[Network, ...]]
    shared: Mapping[str, tuple[Network, ...]]


def load_catalogue(directory: str | None = None, *, names: bool = True) -> Catalogue:
    """Return the starter data in `directory` (default: the packaged one). Raises ConfigError with file and line.

    `names=False` leaves out what only compiling an image needs (`tagged`, `protected`): faster, for the gateway.
    """
    directory = directory or find_data()

    def load(file: str, cls: type[T], check: Any = None) -> T:
        path = os.path.join(directory, file)
        return decode(read_text(path), path, cls, check)

    services = {
        service_id: Service(service_id, item.name, item.group, tuple(item.domains))
        for service_id, item in load("services.yaml", ServicesFile).services.items()
    }
    texts = {
        category_id: Category(category_id, item.names, item.about)
        for category_id, item in load("categories.yaml", CategoriesFile, _check_categories).categories.items()
    }

    def check_presets(file: PresetsFile, locate: Locate) -> list[Problem]:
        return list(_check_presets(file, locate, services, texts))

    presets = load("presets.yaml", PresetsFile, check_presets).presets
    rewrites = load("safe_search.yaml", SafeSearchFile, _check_safe_search)
    helplines = load("helplines.yaml", HelplinesFile)
    tagged: Mapping[str, tuple[bytes, ...]] = {}
    protected = exact = frozenset[bytes]()
    if names:

        def check_bypass(file: BypassFile, locate: Locate) -> list[Problem]:
            places = {name: ("bypass", name, "category") for name in file.bypass}
            wanted = {name: item.category for name, item in file.bypass.items() if item.category}
            return [_unknown(locate(*places[name]), word, texts) for name, word in wanted.items() if word not in texts]

        def check_starter(file: StarterFile, locate: Locate) -> list[Problem]:
            known = [*(f"category:{name}" for name in texts), "allowed:kids"]
            return [_unknown(locate("starter", tag), tag, known) for tag in file.starter if tag not in known]

        bypasses = load("bypass.yaml", BypassFile, check_bypass).bypass
        starter = load("starter.yaml", StarterFile, check_starter).starter
        protection = load("protected.yaml", ProtectedFile).protected
        tagged = _collect_tags(services, texts, helplines, bypasses, starter, protection)
        protected = frozenset((*protection.device, *protection.names, *tagged["helpline"]))
        exact = frozenset(protection.exact)
    return Catalogue(
        services=services,
        categories={category_id: text.about["en"] for category_id, text in texts.items()},
        safe_search={name: twin.to for twin in rewrites.search.values() for name in twin.names},
        youtube={
            name: {YouTube.MODERATE: rewrites.youtube.moderate, YouTube.STRICT: rewrites.youtube.strict}
            for name in rewrites.youtube.names
        },
        presets={age_band: _make_preset(age_band, item) for age_band, item in presets.items()},
        tagged=tagged,
        helplines=tuple(
            Helpline(item.id, item.kind, item.country, item.names, item.about, item.phone, item.url)
            for item in helplines.helplines
        ),
        category_texts=texts,
        protected=protected,
        protected_exact=exact,
    )


def load_protected(directory: str | None = None) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the wire names that no list may block: those with all below and above, and those with all above.

    The same as `load_catalogue` has in `protected` and `protected_exact`, without all the rest. Raises ConfigError.
    """
    directory = directory or find_data()
    path, helplines_path = os.path.join(directory, "protected.yaml"), os.path.join(directory, "helplines.yaml")
    protection = decode(read_text(path), path, ProtectedFile).protected
    helplines = decode(read_text(helplines_path), helplines_path, HelplinesFile)
    lines = [
        *(name for item in helplines.helplines for name in item.domains),
        *(name for item in helplines.reachable.values() for name in item.domains),
        parse_name(make_test_name("helpline")),
    ]
    return frozenset((*protection.device, *protection.names, *lines)), frozenset(protection.exact)


def load_addresses(directory: str | None = None) -> KnownAddresses:
    """Return the addresses of the starter data in `directory` (default: the packaged one). Raises ConfigError."""
    path = os.path.join(directory or find_data(), "bypass.yaml")
    file = decode(read_text(path), path, BypassFile)
    tagged = {f"bypass:{name}": tuple(item.addresses) for name, item in file.bypass.items() if item.addresses}
    return KnownAddresses(tagged, file.shared)


def _collect_tags(
    services: Mapping[str, Service],
    texts: Mapping[str, Category],
    helplines: HelplinesFile,
    bypasses: Mapping[str, BypassText],
    starter: Mapping[str, Names],
    protection: ProtectionText,
) -> dict[str, tuple[bytes, ...]]:
    groups: dict[str, list[bytes]] = {f"category:{name}": [] for name in texts}
    for name, item in bypasses.items():
        groups[f"bypass:{name}"] = list(item.names)
        if item.category:
            groups[f"category:{item.category}"] += item.names
    for tag, names in starter.items():
        groups.setdefault(tag, []).extend(names)
    groups[DEVICE_NEEDS] = list(protection.device)
    groups[MANDATORY_TEST] = []
    groups["helpline"] = [
        *(name for item in helplines.helplines for name in item.domains),
        *(name for item in helplines.reachable.values() for name in item.domains),
    ]
    for tag, listed in groups.items():
        listed.append(parse_name(make_test_name(tag)))
    for service_id, service in services.items():
        groups[f"service:{service_id}"] = [*service.domains, parse_name(make_test_name(f"service:{service_id}"))]
    return {tag: tuple(dict.fromkeys(listed)) for tag, listed in groups.items()}


def _make_preset(age_band: str, item: PresetText) -> Preset:
    return Preset(
        age_band=age_band,
        categories=frozenset(item.categories),
        services=tuple(ServiceRule(service, Action.BLOCK) for service in item.services),
        schedule=Schedule(item.bedtime),
        minutes=item.minutes,
        safe_search=SafeSearch(item.safe_search, item.youtube),
        allow_list_only=item.allow_list_only,
        bypass_protection=item.bypass_protection,
        visibility=item.visibility,
    )


def _unknown(where: str, word: str, known: Collection[str]) -> Problem:
    return Problem(where, f"'{word}' is not known{suggest(word, known)}")


def _check_categories(file: CategoriesFile, locate: Locate) -> list[Problem]:
    problems = []
    for category_id, item in file.categories.items():
        for key, texts in (("names", item.names), ("about", item.about)):
            missing = [language for language in ("en", "ro", "ru") if not texts.get(language)]
            if missing:
                problems.append(Problem(locate("categories", category_id, key), f"no text in {', '.join(missing)}"))
    return problems


def _check_presets(
    file: PresetsFile, locate: Locate, services: Mapping[str, Service], texts: Mapping[str, Category]
) -> Iterator[Problem]:
    for age_band, item in file.presets.items():
        for word in item.categories:
            if word not in texts:
                yield _unknown(locate("presets", age_band, "categories"), word, texts)
        for word in item.services:
            if word not in services:
                yield _unknown(locate("presets", age_band, "services"), word, services)
        if len(item.minutes) not in (0, 7):
            yield Problem(locate("presets", age_band, "minutes"), "'minutes' are seven numbers, Monday to Sunday")


def _check_safe_search(file: SafeSearchFile, locate: Locate) -> list[Problem]:
    """A name has one twin, and a twin is never rewritten again."""
    problems = []
    seen: set[bytes] = set(file.youtube.names)
    twins = {twin.to for twin in file.search.values()} | {file.youtube.moderate, file.youtube.strict}
    for engine, twin in file.search.items():
        for name in twin.names:
            if name in seen or name in twins:
                problems.append(Problem(locate("search", engine), f"'{format_name(name)}' is rewritten twice"))
            seen.add(name)
    return problems
