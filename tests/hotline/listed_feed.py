"""A feed on a router's disk for tests, made of made-up names: what `guardian sync` would have put there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from guardian.blocklist.feed_base import Base, Cost, SuffixRules, build_base, derive_key
from guardian.blocklist.tag_table import Listed, Scope, build_tags
from guardian.blocklist.urls import normalize_path
from guardian.hotline.feed_state import CURRENT_FILE, write_current
from guardian.names import parse_name

CHEAP = Cost(12, 8, 1)  # the least that a router takes: 18 ms here
SALT = bytes(range(32))
RULES = SuffixRules(frozenset({parse_name("hosted.example")}), frozenset(), frozenset())
TEST_NAME = "blocked.test"
AUTHORITY = {"en": "Hotline of Tests", "ro": "Linia de teste", "ru": "Линия тестов"}
LAW: dict[str, Any] = {
    "severity": "national",
    "legal_basis": "law_order",
    "authority": AUTHORITY,
    "order_ref": "Order 7/2026",
    "message": {"en": "Ask us.", "ro": "Întrebați-ne.", "ru": "Спросите нас."},
    "appeal": "https://appeal.example/",
}
AGREED: dict[str, Any] = {
    "severity": "baseline", "legal_basis": "voluntary", "authority": AUTHORITY, "order_ref": "", "message": None,
    "appeal": "desk@hotline.example",
}  # fmt: skip
CLASSES = (LAW, AGREED)

Entry = tuple[str, str, int]  # scope's letter, `name` or `name/path`, number of the class


@cache
def key_of(domain: bytes, salt: bytes, cost: Cost) -> bytes:
    """K of a domain; kept over tests, for it is slow."""
    return derive_key(domain, salt, cost)


def make_base(
    good: Iterable[str] = (),
    listed: Iterable[str] = (),
    salt: bytes = SALT,
    cost: Cost = CHEAP,
    epoch: str = "2026q4",
    test_name: str = TEST_NAME,
) -> bytes:
    """The bytes of a base; `good` and `listed` are key domains."""
    names = [[parse_name(name) for name in part] for part in (good, listed)]
    return build_base(epoch, salt, cost, RULES, names[0], names[1], parse_name(test_name) if test_name else b"")


def make_tags(
    base: Base,
    entries: Iterable[Entry],
    list_id: str = "csam-md",
    serial: int = 1,
    classes: Sequence[dict[str, Any]] = CLASSES,
) -> bytes:
    """The bytes of a list."""
    listed = []
    for letter, text, number in entries:
        host, slash, path = text.partition("/")
        name = parse_name(host)
        domain = base.key_domain(name)
        assert domain is not None
        value = name + normalize_path((slash + path).encode()) if slash else name
        listed.append(Listed(domain, Scope(letter.encode()), value, number))
    keys = {entry.domain: key_of(entry.domain, base.salt, base.cost) for entry in listed}
    return build_tags(list_id, serial, time.time(), base, classes, listed, keys)


def install(
    folder: Path, entries: Iterable[Entry], good: Iterable[str] = (), serial: int = 1, **more: Any
) -> tuple[Base, Path]:
    """Put a feed of one list in force in a feed's folder, as an update does: current.json last."""
    entries = [*entries, ("d", TEST_NAME, 0)]
    bare = Base(make_base(good, **more))
    domains = {bare.key_domain(parse_name(text.partition("/")[0])) for _, text, _ in entries}
    data = build_base(
        bare.epoch, bare.salt, bare.cost, RULES, map(parse_name, good), {d for d in domains if d}, bare.test_name
    )
    base = Base(data)
    tags = make_tags(base, entries, serial=serial)
    folder.mkdir(parents=True, exist_ok=True)
    base_file = f"{base.epoch}-1.{hashlib.sha256(data).hexdigest()[:8]}.base"
    tags_file = f"csam-md-{serial}.{hashlib.sha256(tags).hexdigest()[:8]}.tags"
    (folder / base_file).write_bytes(data)
    (folder / tags_file).write_bytes(tags)
    write_current(folder, base_file, {"csam-md": tags_file})
    return base, folder / CURRENT_FILE
