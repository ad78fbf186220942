"""From entries to the files of a build."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist.feed_base import Base, Cost, SuffixRules, derive_key
from guardian.blocklist.tag_delta import apply_delta
from guardian.blocklist.tag_table import MAX_CLASSES, Scope, TagTable
from guardian.desk.builds import Epoch, make_bare_base, make_build
from guardian.desk.bundles import (
    Content,
    Plain,
    Previous,
    add_canaries,
    collect,
    digest_sources,
    find_base_need,
    is_unchanged,
    make_base,
    make_content,
    make_files,
    make_test_entry,
)
from guardian.desk.entries import Entry
from guardian.errors import DeskError
from guardian.feed import TagClass, Text
from guardian.names import parse_name

COST = Cost(12, 8, 1)
NOW = 1_800_000_000.0
RULES = SuffixRules(frozenset({parse_name("co.test")}), frozenset(), frozenset())
EPOCH = Epoch("2027q1-default", "ab" * 32, 1)
BARE = make_bare_base(EPOCH, COST, RULES)
WHO = Text(en="A court", ro="O instanță", ru="Суд")
KEYS = {
    name: derive_key(name, BARE.salt, COST) for name in (parse_name(f"listed-{number}.example") for number in range(4))
}


def make_class(order_ref: str = "Law 1/2024") -> TagClass:
    return TagClass(severity="national", legal_basis="court", authority=WHO, order_ref=order_ref)


def make_entry(scope: str, value: str) -> Entry:
    return Entry(
        id=7, list_id="csam-md", scope=scope, value=value, severity="national", legal_basis="court",  # type: ignore[arg-type]
        authority=WHO, verified=1, expires=2, listed=1, changed=1, reviewers=("ana", "ion"),
    )  # fmt: skip


def name_plain(number: int, order_ref: str = "Law 1/2024") -> Plain:
    name = parse_name(f"listed-{number}.example")
    return Plain(name, Scope.DOMAIN, name, make_class(order_ref))


def test_entries_get_their_key_domain_and_pages_their_path() -> None:
    entries = [
        make_entry("domain", "www.listed-1.co.test"),
        make_entry("host", "a.listed-2.example"),
        make_entry("url", "https://www.listed-3.example/a/b?c=d"),
        make_entry("url_prefix", "http://listed-4.example/a"),
    ]
    found, not_enforceable = collect(entries, BARE)
    assert not_enforceable == 1
    assert [(item.domain, item.scope, item.value) for item in found] == [
        (parse_name("listed-1.co.test"), Scope.DOMAIN, parse_name("www.listed-1.co.test")),
        (parse_name("listed-2.example"), Scope.HOST, parse_name("a.listed-2.example")),
        (parse_name("listed-3.example"), Scope.PAGE, parse_name("www.listed-3.example") + b"/a/b?c=d"),
        (parse_name("listed-4.example"), Scope.PAGES, parse_name("listed-4.example") + b"/a"),
    ]


def test_a_public_suffix_is_told_with_its_entry() -> None:
    with pytest.raises(DeskError, match="entry 7: its name is a public suffix"):
        collect([make_entry("domain", "co.test")], BARE)


def test_classes_keep_their_numbers_while_there_is_room() -> None:
    first = make_content("csam-md", [name_plain(1, "b"), name_plain(2, "c")], 0, (), None)
    second = make_content("csam-md", [name_plain(1, "a"), name_plain(2, "c")], 0, first.classes, None)
    assert second.classes[: len(first.classes)] == first.classes
    assert [entry.number for entry in second.listed] == [2, 1]
    assert second.classes[2]["order_ref"] == "a"


@given(st.integers(1, 600), st.integers(0, MAX_CLASSES))
@settings(max_examples=30)
def test_there_are_never_more_than_255_classes_and_only_references_are_lost(orders: int, before: int) -> None:
    old = make_content("csam-md", [name_plain(1, f"old {number}") for number in range(before)], 0, (), None).classes
    plain = [name_plain(1, f"order {number}") for number in range(orders)]
    content = make_content("csam-md", plain, 0, old, None)
    assert len(content.classes) <= MAX_CLASSES
    shown = [content.classes[entry.number]["order_ref"] for entry in content.listed]
    assert all(ref in ("", f"order {number}") for number, ref in enumerate(shown))
    assert content.merged_classes == shown.count("") == (0 if orders <= MAX_CLASSES else orders - MAX_CLASSES + 1)


def test_too_many_authorities_are_told() -> None:
    plain = [
        Plain(
            *name_plain(1)[:3],
            TagClass(severity="national", legal_basis="court", authority=Text(en=str(it), ro="", ru="")),
        )
        for it in range(256)
    ]
    with pytest.raises(DeskError, match="more than the 255"):
        make_content("csam-md", plain, 0, (), None)


def test_the_test_name_is_an_entry_that_says_so() -> None:
    entry = make_test_entry("guardian-test.example", "Hotline", BARE)
    assert entry
    assert entry.domain == entry.value == parse_name("guardian-test.example")
    assert entry.tag_class.legal_basis == "voluntary"
    assert make_test_entry("", "Hotline", BARE) is None
    for wrong in ("co.test", "a..b"):
        with pytest.raises(DeskError, match="test_name"):
            make_test_entry(wrong, "Hotline", BARE)


def test_canaries_look_like_the_commonest_entries() -> None:
    test = make_test_entry("guardian-test.example", "Hotline", BARE)
    content = make_content("csam-md", [name_plain(1, "a"), name_plain(2, "b"), name_plain(3, "b")], 0, (), test)
    listed = add_canaries(content, ["canary-1.example"], is_test=True)
    assert listed[:-1] == content.listed
    assert listed[-1].value == parse_name("canary-1.example")
    assert content.classes[listed[-1].number]["order_ref"] == "b"
    empty = make_content("csam-md", [], 0, (), test)
    assert add_canaries(empty, ["canary-1.example"], is_test=True) == empty.listed


def test_why_a_new_base_is_needed() -> None:
    sources = digest_sources(RULES, ["popular.example"])
    build = msgspec.structs.replace(make_build("default", NOW), sources=sources)
    base = Base(make_base(EPOCH, COST, RULES, ["www.popular.example", "co.test", "a..b"], set(), BARE, b""))
    popular, other = parse_name("popular.example"), parse_name("listed-1.example")
    assert base.is_known_good(popular)

    def need(domain: bytes = other, sources: str = sources, test_name: bytes = b"", current: Base | None = base) -> str:
        return find_base_need(build, current, sources, [domain], test_name) or ""

    assert need() == ""
    assert "none yet" in need(current=None)
    assert "passes the filter" in need(popular)
    assert "have changed" in need(sources=digest_sources(RULES, []))
    assert "test name" in need(test_name=other)
    again = Base(make_base(EPOCH, COST, RULES, ["popular.example"], {popular}, BARE, b""))
    assert not again.is_known_good(popular)


def test_files_of_a_list_lead_from_one_to_the_next() -> None:
    base = Base(make_base(EPOCH, COST, RULES, [], set(KEYS), BARE, b""))
    one = make_content("csam-md", [name_plain(1), name_plain(2)], 0, (), None)
    first = make_files(one, one.listed, 1, NOW, base, KEYS, None, "j")
    tags = first.targets["lists/csam-md/1.tags"]
    assert (first.added, first.removed, first.listing.deltas) == (2, 0, [])
    previous = Previous(first.listing, tags)
    assert is_unchanged(one, one.listed, base, KEYS, previous)
    two = make_content("csam-md", [name_plain(2), name_plain(3)], 0, one.classes, None)
    assert not is_unchanged(two, two.listed, base, KEYS, previous)
    second = make_files(two, two.listed, 2, NOW + 60, base, KEYS, previous, "j")
    assert (second.added, second.removed) == (1, 1)
    delta = second.targets["lists/csam-md/1-2.delta"]
    assert apply_delta(tags, delta) == second.targets["lists/csam-md/2.tags"]
    assert set(second.targets) == {"lists/csam-md/2.tags", "lists/csam-md/1-2.delta", "lists/csam-md/index.json"}


def test_thirty_deltas_are_kept() -> None:
    base = Base(make_base(EPOCH, COST, RULES, [], set(KEYS), BARE, b""))
    previous = None
    for serial in range(1, 34):
        plain = [name_plain(1), name_plain(2)] if serial % 2 else [name_plain(1), name_plain(3)]
        content: Content = make_content("csam-md", plain, 0, TagTable(previous.tags).classes if previous else (), None)
        files = make_files(content, content.listed, serial, NOW + serial, base, KEYS, previous, "j")
        previous = Previous(files.listing, files.targets[f"lists/csam-md/{serial}.tags"])
    assert previous
    assert [delta.start for delta in previous.listing.deltas] == list(range(3, 33))
