"""A list of tags answers as a plain set of the same entries does, and tells nothing to whoever lacks the names."""

from __future__ import annotations

import hmac
import mmap
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian import feed
from guardian.blocklist.feed_file import open_file, pack_file
from guardian.blocklist.tag_table import MAGIC, Listed, Scope, TagTable, build_tags, pack_tags
from guardian.blocklist.urls import normalize_path, prefixes
from guardian.errors import ListError
from guardian.names import is_below, parse_name
from tests.blocklist.feeds import AUTHORITY, CLASSES, cheap_key, listed, small_base, small_tags

NAME_SCOPES = (Scope.DOMAIN, Scope.HOST)
_NAMES = st.lists(st.sampled_from(["a", "b", "www", "m"]), max_size=3).map(
    lambda labels: ".".join([*labels, "listed-1.example"])
)
_PATHS = st.lists(st.sampled_from(["a", "b", "c.html"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
_ENTRIES = st.lists(
    st.builds(listed, _NAMES, st.sampled_from(NAME_SCOPES), st.integers(0, 2))
    | st.builds(listed, _NAMES, st.sampled_from([Scope.PAGE, Scope.PAGES]), st.integers(0, 2), _PATHS),
    max_size=8,
)


def oracle_name(entries: list[Listed], name: bytes) -> set[int]:
    return {
        entry.number
        for entry in entries
        if (entry.scope is Scope.DOMAIN and is_below(name, entry.value))
        or (entry.scope is Scope.HOST and name == entry.value)
    }


def oracle_page(entries: list[Listed], host: bytes, path: bytes) -> set[int]:
    found = set()
    for entry in entries:
        if entry.scope is Scope.PAGE and entry.value == host + path:
            found.add(entry.number)
        if entry.scope is Scope.PAGES and entry.value.startswith(host) and entry.value[len(host) :] in prefixes(path):
            found.add(entry.number)
    return found


@settings(max_examples=150, deadline=None)
@given(_ENTRIES, st.lists(st.tuples(_NAMES, _PATHS), max_size=6))
def test_the_table_is_the_set(entries: list[Listed], asked: list[tuple[str, str]]) -> None:
    table = TagTable(small_tags(entries))
    domain = parse_name("listed-1.example")
    key = cheap_key(domain)
    assert table.is_silent(key, domain) == (not entries)
    for text, path in asked:
        name = parse_name(text)
        found = table.match_name(key, domain, name)
        expected = oracle_name(entries, name)
        assert (found is None) == (not expected)
        assert found is None or found in expected
        page = table.match_page(key, name, path.encode())
        expected = oracle_page(entries, name, path.encode())
        assert (page is None) == (not expected)
        assert page is None or page in expected


def test_a_digest_is_what_the_document_says() -> None:
    domain = parse_name("listed-1.example")
    table = TagTable(small_tags([listed("listed-1.example", number=2)]))
    digest = hmac.digest(cheap_key(domain), b"list-1\0d" + domain, "sha256")
    assert list(table.values()) == [int.from_bytes(digest[:7]) << 8 | (digest[7] ^ 2)]


def test_each_scope_holds_for_what_it_should() -> None:
    entries = [
        listed("listed-1.example", Scope.DOMAIN, 0),
        listed("www.listed-2.example", Scope.HOST, 1),
        listed("sub.listed-3.co.uk", Scope.DOMAIN, 2),
        listed("listed-4.example", Scope.PAGE, 1, "/a/b?q=1"),
        listed("listed-4.example", Scope.PAGES, 2, "/c"),
        listed("listed-4.example", Scope.PAGE, 0, "/"),
    ]
    table = TagTable(small_tags(entries))
    assert table.entries == 6 + 3  # three domains are not listed whole

    def name(text: str) -> int | None:
        wire = parse_name(text)
        domain = small_base().key_domain(wire)
        assert domain is not None
        return table.match_name(cheap_key(domain), domain, wire)

    def page(path: bytes, host: str = "listed-4.example") -> int | None:
        return table.match_page(cheap_key(parse_name("listed-4.example")), parse_name(host), path)

    assert [name(f"{sub}listed-1.example") for sub in ("", "a.", "b.a.")] == [0, 0, 0]
    assert [name(f"{sub}listed-2.example") for sub in ("", "www.", "a.www.")] == [None, 1, None]
    assert [name(f"{sub}listed-3.co.uk") for sub in ("", "a.", "sub.", "a.sub.")] == [None, None, 2, 2]
    assert name("listed-4.example") is None
    assert [page(path) for path in (b"/a/b?q=1", b"/a/./b?q=1", b"/a/b", b"/a/b?q=2")] == [1, 1, None, None]
    assert [page(path) for path in (b"/c", b"/c/d", b"/c?x", b"/cd", b"/%63/", b"/x/../c")] == [2, 2, 2, None, 2, 2]
    assert [page(path) for path in (b"/", b"", b"/index")] == [0, 0, None]
    assert page(b"/c", "www.listed-4.example") is None
    for number, silent in ((1, False), (2, False), (4, False), (5, True)):
        domain = parse_name(f"listed-{number}.example")
        assert table.is_silent(cheap_key(domain), domain) is silent


def test_a_name_that_is_not_below_the_domain_matches_nothing() -> None:
    domain = parse_name("listed-1.example")
    table = TagTable(small_tags([listed("listed-1.example")]))
    key = cheap_key(domain)
    for name in (b"\0", b"\7example\0", parse_name("xlisted-1.example"), parse_name("listed-2.example")):
        assert table.match_name(key, domain, name) is None
    assert table.match_name(key, domain, b"\1a" + domain) == 0
    assert table.match_name(key, b"\1a" + domain, b"\1b\1a" + domain) is None  # starts below the entry


def test_another_key_list_or_scope_finds_nothing() -> None:
    domain = parse_name("listed-1.example")
    data = small_tags([listed("listed-1.example", Scope.HOST)])
    table = TagTable(data)
    assert table.match_name(cheap_key(domain), domain, domain) == 0
    assert table.match_name(cheap_key(parse_name("other.example")), domain, domain) is None
    assert table.match_name(cheap_key(domain), domain, b"\1a" + domain) is None
    header, sections = open_file(data, MAGIC, "it")
    other = TagTable(pack_file(MAGIC, header | {"list": "list-2"}, bytes(sections), "it"))
    assert other.match_name(cheap_key(domain), domain, domain) is None


def test_a_foreign_tag_with_a_class_that_is_not_there_is_no_match() -> None:
    domain = parse_name("listed-1.example")
    key = cheap_key(domain)
    data = small_tags([listed("listed-1.example", number=2)])
    header, _ = open_file(data, MAGIC, "it")
    (value,) = TagTable(data).values()
    hidden = value & 0xFF ^ 2
    foreign = value & ~0xFF | hidden ^ 200
    assert TagTable(pack_tags(header, array("Q", [foreign]))).match_name(key, domain, domain) is None
    # Two entries of one tag: the one whose class is there is found, wherever it stands.
    for other in (3, 77, 200, 255):
        values = array("Q", sorted([value, value & ~0xFF | hidden ^ other]))
        assert TagTable(pack_tags(header, values)).match_name(key, domain, domain) == 2


def test_values_come_back_and_many_entries_are_found(tmp_path: Path) -> None:
    rng = random.Random(3)
    header, _ = open_file(small_tags([]), MAGIC, "it")
    values = array("Q", sorted({rng.getrandbits(64) for _ in range(20_000)} | {0, (1 << 64) - 1}))
    path = tmp_path / "x.tags"
    path.write_bytes(pack_tags(header, values))
    assert path.stat().st_size < 7.1 * len(values)
    with path.open("rb") as file:
        table = TagTable(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert table.values() == values
    assert table.entries == len(values)


def test_what_was_given_is_read_again() -> None:
    table = TagTable(small_tags([listed("listed-1.example")], serial=7))
    assert (table.list_id, table.serial, table.created, table.epoch) == ("list-1", 7, 1.8e9, "2027q1")
    assert table.salt_digest == small_base().salt_digest
    assert [found["severity"] for found in table.classes] == ["national", "baseline", "national"]
    assert table.classes[1] == CLASSES[1] | {"order_ref": "", "message": None, "appeal": ""}
    assert small_tags([listed("listed-1.example")], serial=7) == small_tags([listed("listed-1.example")], serial=7)


def test_the_classes_are_those_of_the_feed() -> None:
    for given_class, found in zip(CLASSES, TagTable(small_tags([])).classes, strict=True):
        shape = feed.msgspec.convert(given_class, feed.TagClass)
        assert feed.msgspec.to_builtins(shape) == found


def test_the_same_entry_twice_counts_once_with_the_lower_class() -> None:
    entries = [listed("listed-1.example", number=2), listed("listed-1.example", number=1)]
    table = TagTable(small_tags(entries))
    domain = parse_name("listed-1.example")
    assert table.entries == 1
    assert table.match_name(cheap_key(domain), domain, domain) == 1


def test_no_name_is_in_the_file() -> None:
    data = small_tags([listed("listed-1.example"), listed("www.listed-2.example", Scope.PAGES, path="/hidden")])
    for text in (b"listed", b"example", b"hidden", b"www"):
        assert text not in data


def test_an_empty_list_is_silent() -> None:
    table = TagTable(small_tags([]))
    assert table.entries == 0
    assert table.is_silent(bytes(32), b"\1a\1b\0")


GOOD_KEY = {parse_name("good-1.com"): bytes(32)}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Listed(parse_name("www.listed-1.example"), Scope.HOST, parse_name("listed-1.example"), 0), "no registrable"),
        (Listed(parse_name("co.uk"), Scope.DOMAIN, parse_name("co.uk"), 0), "co.uk is no registrable domain"),
        (Listed(parse_name("good-1.com"), Scope.DOMAIN, parse_name("good-1.com"), 0), "good-1.com passes"),
        (Listed(parse_name("unknown.example"), Scope.DOMAIN, parse_name("unknown.example"), 0), "has no key"),
        (listed("listed-1.example", number=3), "there is no class 3"),
        (listed("listed-1.example", number=-1), "there is no class -1"),
        (listed("listed-1.example", Scope.ANY), "does not belong"),
        (listed("listed-1.example")._replace(value=parse_name("listed-2.example")), "does not belong"),
        (listed("listed-1.example")._replace(value=parse_name("example")), "does not belong"),
        (listed("listed-1.example", Scope.DOMAIN, path="/x"), "scope 'd' has a path"),
        (listed("listed-1.example", Scope.HOST, path="/x"), "scope 'h' has a path"),
        (listed("listed-1.example", Scope.PAGE), "scope 'u' has a path"),
        (listed("listed-1.example", Scope.PAGE, path="/a/../b"), "scope 'u' has a path"),
        (listed("listed-1.example", Scope.PAGE, path="/" + "a" * 2048), "scope 'u' has a path"),
        (listed("listed-1.example", Scope.PAGES, path="/"), "scope 'p' has a path"),
        (listed("listed-1.example", Scope.PAGES, path="/a?b"), "scope 'p' has a path"),
        (listed("listed-1.example", Scope.PAGES, path="/a" * 65), "scope 'p' has a path"),
        (listed("listed-1.example")._replace(value=parse_name("listed-1.example").upper()), "lower-case wire name"),
        (listed("listed-1.example")._replace(value=b""), "lower-case wire name"),
        (listed("listed-1.example")._replace(value=b"\x08listed"), "lower-case wire name"),
        (listed("listed-1.example")._replace(value=b"\1a" * 127 + parse_name("a.example")), "lower-case wire name"),
    ],
)  # fmt: skip
def test_an_entry_that_no_router_would_enforce_is_refused(entry: Listed, message: str) -> None:
    keys = {parse_name(name): bytes(32) for name in ("listed-1.example", "good-1.com", "co.uk", "www.listed-1.example")}
    with pytest.raises(ListError, match=message):
        build_tags("list-1", 1, 0.0, small_base(), CLASSES, [entry], keys)


def test_the_deepest_page_that_is_accepted_is_found() -> None:
    entry = listed("listed-1.example", Scope.PAGES, path="/a" * 64)
    table = TagTable(small_tags([entry]))
    host = parse_name("listed-1.example")
    assert table.match_page(cheap_key(host), host, b"/a" * 70) == 0
    assert normalize_path(b"/a" * 64) == b"/a" * 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"list": "A list"}, "'list'"),
        ({"serial": -1}, "'serial'"),
        ({"created": "now"}, "'created'"),
        ({"epoch": ""}, "'epoch'"),
        ({"salt_digest": "0123"}, "'salt_digest'"),
        ({"entries": 2}, "2 entries do not fill it"),
        ({"entries": 1 << 40}, "'entries'"),
        ({"classes": []}, "has entries and no class"),
        ({"classes": [CLASSES[0]] * 256}, "'classes' must be an array of at most 255"),
        ({"classes": ["a"]}, "a class is no object"),
        ({"classes": [CLASSES[0] | {"severity": "high"}]}, "'severity' must be baseline or national"),
        ({"classes": [CLASSES[0] | {"legal_basis": "none"}]}, "'legal_basis' must be law_order, court or voluntary"),
        ({"classes": [CLASSES[0] | {"authority": "x"}]}, "'authority' must be an object"),
        ({"classes": [CLASSES[0] | {"authority": {"en": "x"}}]}, "'ro' must be a text"),
        ({"classes": [CLASSES[0] | {"authority": AUTHORITY | {"ru": "x" * 301}}]}, "'ru' must be a text"),
        ({"classes": [CLASSES[0] | {"message": "x"}]}, "'message' must be an object"),
        ({"classes": [CLASSES[0] | {"appeal": None}]}, "'appeal' must be a text"),
    ],
)
def test_a_damaged_header_is_refused(changes: dict[str, Any], message: str) -> None:
    header, sections = open_file(small_tags([listed("listed-1.example")]), MAGIC, "it")
    with pytest.raises(ListError, match=message):
        TagTable(pack_file(MAGIC, header | changes, bytes(sections), "it"))


def test_buckets_that_do_not_add_up_are_refused() -> None:
    header, sections = open_file(small_tags([listed("listed-1.example")]), MAGIC, "it")
    for bucket, number in ((0, 1), (256, 0), (256, 2), (128, 0xFFFFFFFF), (3, 2)):
        broken = bytearray(sections)
        broken[4 * bucket : 4 * bucket + 4] = number.to_bytes(4, "little")
        with pytest.raises(ListError, match="buckets do not add up"):
            TagTable(pack_file(MAGIC, header, bytes(broken), "it"))


def test_whatever_the_entries_are_lookups_answer() -> None:
    entries = [listed(f"listed-{number}.example") for number in range(40)]
    header, sections = open_file(small_tags(entries), MAGIC, "it")
    rng = random.Random(1)
    for _ in range(100):
        table = TagTable(pack_file(MAGIC, header, bytes(sections[:1032]) + rng.randbytes(len(sections) - 1032), "it"))
        for entry in entries:
            key = cheap_key(entry.domain)
            assert table.match_name(key, entry.domain, entry.value) in (None, 0, 1, 2)
            assert table.match_page(key, entry.value, rng.randbytes(9)) in (None, 0, 1, 2)


def test_too_many_entries_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.blocklist.tag_table.MAX_ENTRIES", 1)
    with pytest.raises(ListError, match="2 entries are more"):
        pack_tags({}, array("Q", [1, 2]))
