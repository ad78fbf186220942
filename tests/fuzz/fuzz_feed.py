"""A hotline's base, list and delta, damaged, to `Base`, `TagTable` and `apply_delta`.

Invariant: nothing but ListError is raised, and that at opening only; every lookup answers, with a class that is there;
a delta leads to the state whose hash it names or is refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

from guardian.blocklist.feed_base import LEAST, MOST, Base, build_base, parse_suffix_rules
from guardian.blocklist.feed_file import open_file, pack_file
from guardian.blocklist.tag_delta import MAGIC as DELTA_MAGIC
from guardian.blocklist.tag_delta import apply_delta, count_growth, make_delta
from guardian.blocklist.tag_table import Scope, TagTable
from guardian.errors import ListError
from guardian.names import parse_name
from tests.blocklist.feeds import RULES, SALT, listed, small_tags
from tests.fuzz.driver import main, mutate_bytes

NAMES = [parse_name(name) for name in (".", "com", "a.ck", "x.www.ck", "www.listed-1.example", "c.b.app.host.test")]
OLD = small_tags([listed(f"listed-{number}.example") for number in range(20)])
NEW = small_tags([listed(f"listed-{number}.example", Scope.HOST, 1) for number in range(9, 30)], serial=2)
SEEDS = [
    build_base("2027q1", SALT, LEAST, parse_suffix_rules(RULES), [parse_name("good-1.com")], [], NAMES[4]),
    OLD,
    NEW,
    make_delta(OLD, NEW),
]
_VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 4, 7, 63, 64, 255, 1 << 16, 1 << 32, 1 << 63, 1 << 64, 1 << 200, 0.5, 1e300, "", "a",
    "x" * 64, "0" * 16, [], {}, ["a.b"], [[]], [{}], {"serial": 9},
]  # fmt: skip


def check(data: bytes) -> None:
    try:
        base = Base(data)
    except ListError:
        base = None
    if base is not None:
        check_base(base)
    try:
        table = TagTable(data)
    except ListError:
        table = None
    if table is not None:
        check_table(table)
    try:
        result = apply_delta(OLD, data)
    except ListError:
        return
    header, _ = open_file(data, DELTA_MAGIC, "it")
    assert hashlib.sha256(result).hexdigest() == header["result"]
    assert TagTable(result).serial == header["to"]


def check_base(base: Base) -> None:
    assert all(low <= found <= high for low, found, high in zip(LEAST, base.cost, MOST, strict=True))
    assert len(base.salt) == 32
    for name in NAMES:
        domain = base.key_domain(name)
        assert domain is None or (name.endswith(domain) and base.key_domain(domain) == domain)
        assert base.is_known_good(name) in (True, False)


def check_table(table: TagTable) -> None:
    answers = (None, *range(len(table.classes)))
    json.dumps(table.classes, ensure_ascii=False).encode()
    for number in range(3):
        key, name = bytes([number]) * 32, NAMES[4]
        assert table.is_silent(key, name) in (True, False)
        assert table.match_name(key, b"\x08listed-1\7example\0", name) in answers
        assert table.match_page(key, name, b"/a/../b?c") in answers
    assert 0 <= count_growth(TagTable(OLD), table) <= table.entries == len(table.values())


def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Damage the bytes, or what the frame holds: a frame that does not add up would hide all behind it."""
    data = random.choice(seeds)
    if random.random() < 0.3:
        return mutate_bytes(random, [data, *seeds])
    header, sections = open_file(data, data[:8], "it")
    body = bytes(sections)
    for _ in range(random.choice((0, 1, 1, 2))):
        field = random.choice(sorted(header))
        if isinstance(header[field], int) and random.random() < 0.5:
            header[field] += random.choice((-1, 1, 8, 100))
        elif random.random() < 0.1:
            del header[field]
            break
        else:
            header[field] = random.choice(_VALUES)
    if random.random() < 0.6:
        body = mutate_bytes(random, [body])
    if random.random() < 0.2:
        head = mutate_bytes(random, [json.dumps(header).encode()])
        start = -(-(20 + len(head)) // 8) * 8
        return (struct.pack("<8sQI", data[:8], start + len(body), len(head)) + head).ljust(start, b"\0") + body
    return pack_file(data[:8], header, body, "it")


if __name__ == "__main__":
    main(check, SEEDS, mutate)
