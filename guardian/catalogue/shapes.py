"""How the files of `blocklists/` are written: their words and their shapes. Readers raise TextError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guardian.blocklist.addresses import Network, parse_network
from guardian.errors import TextError
from guardian.names import format_name, parse_name
from guardian.policy.model import HelpKind, Visibility, Window, YouTube
from guardian.store.words import read_days, read_end, read_start

TAG_KINDS = ("category", "service", "bypass", "allowed", "mandatory")


class Names(tuple[bytes, ...]):
    """Wire names, written separated by spaces."""


class Words(tuple[str, ...]):
    """Ids, written separated by spaces."""


class Networks(tuple[Network, ...]):
    """Addresses and prefixes, written separated by spaces."""


def read_names(text: str) -> Names:
    """Return the wire names of a text; a name given twice is a mistake. Raises TextError."""
    names = [parse_name(word) for word in text.split()]
    seen: set[bytes] = set()
    for name in names:
        if name in seen:
            raise TextError(f"'{format_name(name)}' is given twice")
        seen.add(name)
    return Names(names)


def read_networks(text: str) -> Networks:
    """Return the networks of a text; one given twice is a mistake. Raises TextError, also for what no list may hold."""
    networks = [parse_network(word) for word in text.split()]
    seen: set[Network] = set()
    for network in networks:
        if network in seen:
            raise TextError(f"'{network}' is given twice")
        seen.add(network)
    return Networks(networks)


def read_words(text: str) -> Words:
    """Return the words of a text. Raises TextError for anything but lower-case letters, digits, `_`, `-`, `:`."""
    for word in text.split():
        if not re.fullmatch(r"[a-z0-9][a-z0-9_:-]*", word):
            raise TextError(f"'{word[:80]}' is not an id: lower-case letters, digits and _ only")
    return Words(text.split())


def read_window(text: str) -> Window:
    """Return the hours of `sun-thu 21:30-07:00`. Raises TextError."""
    days, _, hours = text.strip().partition(" ")
    start, dash, end = hours.partition("-")
    if not dash:
        raise TextError(f"'{text[:80]}' is not a window like 'sun-thu 21:30-07:00'")
    return Window(frozenset(read_days(days)), read_start(start.strip()), read_end(end.strip()))


def read_bytes(text: str) -> int:
    """Return the bytes of `500K` or `16M`. Raises TextError."""
    found = re.fullmatch(r"(\d{1,6})([KM])", text, re.ASCII)
    if not found:
        raise TextError(f"'{text[:80]}' is not a size like 500K or 16M")
    return int(found[1]) * (1024 if found[2] == "K" else 1024 * 1024)


def read_tags(text: str) -> Words:
    """Return image tags such as `category:adult bypass:doh`. Raises TextError."""
    tags = read_words(text)
    for tag in tags:
        kind, colon, name = tag.partition(":")
        if not colon or not name or kind not in TAG_KINDS:
            raise TextError(f"'{tag}' is not a tag: {', '.join(f'{kind}:NAME' for kind in TAG_KINDS)}")
    return tags


def by_reader(reader: Callable[[str], Any]) -> dict[str, Any]:
    """Return the metadata of a dataclass field whose text `reader` reads."""
    return {"read": reader}


# What the files look like.


@dataclass(frozen=True, slots=True)
class ServiceText:
    name: str
    group: str
    domains: Names = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class ServicesFile:
    services: Mapping[str, ServiceText]


@dataclass(frozen=True, slots=True)
class CategoryText:
    names: Mapping[str, str]
    about: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CategoriesFile:
    categories: Mapping[str, CategoryText]


@dataclass(frozen=True, slots=True)
class PresetText:
    categories: Words = field(metadata=by_reader(read_words))
    visibility: Visibility
    services: Words = field(default=Words(), metadata=by_reader(read_words))
    bedtime: tuple[Window, ...] = field(default=(), metadata=by_reader(read_window))
    minutes: tuple[int, ...] = ()
    safe_search: bool = False
    youtube: YouTube = YouTube.OFF
    allow_list_only: bool = False
    bypass_protection: bool = True


@dataclass(frozen=True, slots=True)
class PresetsFile:
    presets: Mapping[str, PresetText]


@dataclass(frozen=True, slots=True)
class TwinText:
    to: bytes = field(metadata=by_reader(parse_name))
    names: Names = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class YouTubeText:
    names: Names = field(metadata=by_reader(read_names))
    moderate: bytes = field(metadata=by_reader(parse_name))
    strict: bytes = field(metadata=by_reader(parse_name))


@dataclass(frozen=True, slots=True)
class SafeSearchFile:
    search: Mapping[str, TwinText]
    youtube: YouTubeText


@dataclass(frozen=True, slots=True)
class HelplineText:
    id: str
    kind: HelpKind
    names: Mapping[str, str]
    country: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    phone: str = ""
    url: str = ""
    domains: Names = field(default=Names(), metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class _Reachable:
    domains: Names = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class HelplinesFile:
    helplines: tuple[HelplineText, ...]
    reachable: Mapping[str, _Reachable]


@dataclass(frozen=True, slots=True)
class BypassText:
    names: Names = field(default=Names(), metadata=by_reader(read_names))
    addresses: Networks = field(default=Networks(), metadata=by_reader(read_networks))
    category: str = ""


@dataclass(frozen=True, slots=True)
class BypassFile:
    bypass: Mapping[str, BypassText]
    shared: Mapping[str, Networks] = field(default_factory=dict, metadata=by_reader(read_networks))


@dataclass(frozen=True, slots=True)
class StarterFile:
    starter: Mapping[str, Names] = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class ProtectionText:
    device: Names = field(metadata=by_reader(read_names))
    names: Names = field(metadata=by_reader(read_names))
    exact: Names = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class ProtectedFile:
    protected: ProtectionText
