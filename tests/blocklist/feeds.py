"""Made-up bases and lists for tests: cheap keys, names that say what they are."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from guardian.blocklist.feed_base import STANDARD, Base, Cost, SuffixRules, build_base, derive_key, parse_suffix_rules
from guardian.blocklist.tag_table import Listed, Scope, build_tags
from guardian.names import parse_name

SALT = bytes(range(32))
CHEAP = Cost(1, 8, 1)
AUTHORITY = {"en": "The hotline", "ro": "Linia de sesizare", "ru": "Горячая линия"}
CLASSES: list[dict[str, Any]] = [
    {"severity": "national", "legal_basis": "court", "authority": AUTHORITY, "order_ref": "1/2027"},
    {"severity": "baseline", "legal_basis": "voluntary", "authority": AUTHORITY},
    {"severity": "national", "legal_basis": "law_order", "authority": AUTHORITY, "message": AUTHORITY, "appeal": "a@b"},
]
RULES = "// ===BEGIN ICANN DOMAINS===\ncom\nuk\nco.uk\n*.ck\n!www.ck\n*.app.host.test\nhost.test\ndeep.a.b.test\n"


@functools.cache
def public_suffixes() -> str:
    """The real list, as the package publicsuffixlist brings it; not imported, because it is read for its data."""
    found = importlib.util.find_spec("publicsuffixlist")
    assert found is not None and found.origin is not None
    return (Path(found.origin).parent / "public_suffix_list.dat").read_text(encoding="utf-8")


@functools.cache
def small_base(good: int = 20, test_name: str = "") -> Base:
    rules = parse_suffix_rules(RULES)
    names = [parse_name(f"good-{number}.com") for number in range(good)]
    wire = parse_name(test_name) if test_name else b""
    return Base(build_base("2027q1", SALT, STANDARD, rules, names, [], wire))


@functools.cache
def cheap_key(domain: bytes) -> bytes:
    return derive_key(domain, SALT, CHEAP)


def listed(
    text: str, scope: Scope = Scope.DOMAIN, number: int = 0, path: str = "", rules: Base | None = None
) -> Listed:
    """An entry from a name in text; its key domain comes from the base."""
    name = parse_name(text)
    domain = (rules or small_base()).key_domain(name)
    assert domain is not None
    return Listed(domain, scope, name + path.encode(), number)


def small_tags(entries: Iterable[Listed], serial: int = 1, classes: list[dict[str, Any]] | None = None) -> bytes:
    entries = list(entries)
    keys = {entry.domain: cheap_key(entry.domain) for entry in entries}
    return build_tags("list-1", serial, 1.8e9, small_base(), classes or CLASSES, entries, keys)


EMPTY_RULES = SuffixRules(frozenset(), frozenset(), frozenset())
