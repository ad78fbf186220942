"""Which names are listed: by scope, never what is guarded, and no name kept anywhere."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.blocklist.compile import Source, compile_image
from guardian.blocklist.feed_base import Base
from guardian.blocklist.image import Image
from guardian.blocklist.tag_table import TagTable
from guardian.errors import ListError
from guardian.hotline.feed_state import read_current
from guardian.hotline.listed import GuardedNames, JoinedLists, Keys, ListedNames, open_listed
from guardian.names import parse_name, suffixes
from guardian.policy.model import UNSETTLED
from tests.hotline.listed_feed import install, key_of, make_base, make_tags

ENTRIES = [
    ("d", "listed-1.example", 0),
    ("h", "host.mixed.example", 1),
    ("d", "deep.mixed.example", 0),
    ("u", "paper.example/page", 0),
    ("p", "paper.example/folder", 1),
    ("d", "site.hosted.example", 0),
]
NOBODY = GuardedNames((), ())


def make_listed(guarded: GuardedNames = NOBODY, keys: Keys | None = None, **more: object) -> ListedNames:
    bare = Base(make_base(**more))  # type: ignore[arg-type]
    domains = {bare.key_domain(parse_name(text.partition("/")[0])) for _, text, _ in ENTRIES}
    base = Base(make_base(["good.example", "paper.example"], [name_of(d) for d in domains if d], **more))  # type: ignore[arg-type]
    listed = ListedNames(base, [TagTable(make_tags(base, ENTRIES))], guarded, Keys() if keys is None else keys)
    listed.hold()
    return listed


def name_of(wire: bytes) -> str:
    return ".".join(suffix[1 : 1 + suffix[0]].decode() for suffix in suffixes(wire))


def settle(listed: ListedNames, name: str) -> int | None:
    wire = parse_name(name)
    domain = listed.missing(wire)
    if domain is not None:
        assert listed.look(wire) is None, "nothing is said before the key is there"
        listed.learn(domain, listed.base.salt, key_of(domain, listed.base.salt, listed.base.cost))
    return listed.look(wire)


FUZZED = make_listed()


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("listed-1.example", 1), ("www.listed-1.example", 1), ("a.b.listed-1.example", 1),
        ("host.mixed.example", 2), ("www.host.mixed.example", 0), ("mixed.example", 0), ("www.mixed.example", 0),
        ("deep.mixed.example", 1), ("x.deep.mixed.example", 1),
        ("paper.example", 0), ("www.paper.example", 0),
        ("site.hosted.example", 1), ("www.site.hosted.example", 1), ("other.hosted.example", 0),
        ("hosted.example", 0), ("example", 0), ("good.example", 0), ("xlisted-1.example", 0),
    ],
)  # fmt: skip
def test_an_entry_holds_for_its_scope_and_nothing_else(name: str, mask: int) -> None:
    assert settle(make_listed(), name) == mask


def test_a_page_is_blocked_without_its_host() -> None:
    listed = make_listed()
    assert settle(listed, "paper.example") == 0
    host = parse_name("paper.example")
    pages = {b"/page": 1, b"/page?x": 0, b"/folder/x": 2, b"/folder": 2, b"/folders": 0, b"/": 0, b"/%70age": 1}
    assert {path: listed.look_page(host, path) for path in pages} == pages
    assert listed.look_page(parse_name("www.paper.example"), b"/page") == 0


def test_a_known_good_name_needs_no_key() -> None:
    listed = make_listed()
    assert listed.look(parse_name("www.good.example")) == 0
    assert listed.missing(parse_name("www.good.example")) is None
    assert listed.look(b"\0") == 0 and listed.look(parse_name("example")) == 0


GUARDED = GuardedNames([parse_name("update.listed-1.example")], [parse_name("deep.mixed.example")])


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("listed-1.example", 0),  # above a guarded name
        ("update.listed-1.example", 0), ("a.update.listed-1.example", 0),
        ("www.listed-1.example", 0),  # listed only by what is guarded
        ("deep.mixed.example", 0), ("mixed.example", 0), ("x.deep.mixed.example", 0),
        ("host.mixed.example", 2),  # an entry of its own, below nothing that is guarded below
        ("site.hosted.example", 1),
    ],
)  # fmt: skip
def test_a_guarded_name_is_never_listed_whoever_signed_it(name: str, mask: int) -> None:
    assert settle(make_listed(GUARDED), name) == mask


def test_a_guarded_page_is_never_listed() -> None:
    listed = make_listed(GuardedNames([], [parse_name("paper.example")]))
    settle(listed, "www.paper.example")
    assert listed.look_page(parse_name("paper.example"), b"/page") == 0


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5), st.data())
def test_the_free_part_is_the_shortest_unguarded_one(labels: list[str], data: st.DataObject) -> None:
    name = parse_name(".".join([*labels, "x", "example"]))
    chosen = data.draw(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), max_size=4))
    guarded = GuardedNames([], [parse_name(".".join([*c, "x", "example"])) for c in chosen])
    if guarded.holds(name):
        return
    part = guarded.free_part(parse_name("x.example"), name)
    assert not guarded.holds(part) and name.endswith(part)
    assert all(guarded.holds(above) for above in suffixes(part) if above != part and len(above) >= 11)


LABELS = st.lists(st.binary(min_size=1, max_size=20).map(bytes.lower), max_size=8)
ENDS = st.sampled_from([b"\0", *(parse_name(text.partition("/")[0]) for _, text, _ in ENTRIES)])


@given(LABELS, ENDS, st.binary(max_size=40))
def test_any_name_can_be_looked_at(labels: list[bytes], end: bytes, path: bytes) -> None:
    """Whatever bytes its labels hold: None or a mask, never an error, and after the key is there a mask."""
    name = b"".join(bytes((len(label),)) + label for label in labels) + end
    listed = FUZZED
    found = listed.look(name)
    domain = listed.missing(name)
    assert (found is None) == (domain is not None)
    if domain is not None:
        assert name.endswith(domain)
        listed.learn(domain, listed.base.salt, key_of(domain, listed.base.salt, listed.base.cost))
        found = listed.look(name)
    assert found is not None and found >> len(listed.tags) == 0
    assert listed.look_page(name, b"/" + path) >> len(listed.tags) == 0


# Keys


def test_keys_outlive_an_update_and_not_a_new_salt() -> None:
    keys = Keys()
    settle(make_listed(keys=keys), "www.listed-1.example")
    assert make_listed(keys=keys).look(parse_name("listed-1.example")) == 1
    other = make_listed(keys=keys, salt=bytes(32))
    assert len(keys) == 0 and other.look(parse_name("listed-1.example")) is None


def test_a_key_of_the_salt_before_is_not_kept() -> None:
    keys = Keys()
    listed = make_listed(keys=keys)
    domain = parse_name("listed-1.example")
    assert not listed.learn(domain, bytes(32), bytes(32)) and listed.look(domain) is None
    assert listed.learn(domain, listed.base.salt, key_of(domain, listed.base.salt, listed.base.cost))


def test_the_keys_longest_unused_leave_first() -> None:
    keys = Keys(most=3)
    keys.use(b"s")
    for name in (b"a", b"b", b"c"):
        assert keys.put(name, b"s", name)
    assert keys.find(b"a") == b"a"
    keys.put(b"d", b"s", b"d")
    assert [keys.find(name) for name in (b"a", b"b", b"c", b"d")] == [b"a", None, b"c", b"d"] and len(keys) == 3


def test_no_name_is_kept() -> None:
    listed = make_listed()
    settle(listed, "www.listed-1.example")
    seen: set[int] = set()
    todo: list[object] = [listed]
    held = []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes | str | bytearray):
            held.append(thing if isinstance(thing, bytes) else str(thing).encode())
        elif (not callable(thing) and type(thing).__module__ != "builtins") or isinstance(thing, dict | tuple | list):
            todo += gc.get_referents(thing)
    assert len(held) > 10 and not any(b"listed-1" in text for text in held)


# Joined


def make_image() -> Image:
    sources = [
        Source(tag=tag, name=tag, names=tuple(map(parse_name, names)))
        for tag, names in {
            "category:adult": ["listed-1.example", "adult.example"],
            "helpline": ["help.listed-1.example"],
            "mandatory:local": ["local.example"],
        }.items()
    ]
    return Image(compile_image(sources, bytes(16), 1.0).to_bytes())


def tags_of(lists: JoinedLists, mask: int) -> set[str]:
    return {tag for bit, tag in enumerate(lists.tags) if mask >> bit & 1}


def test_image_and_feed_are_asked_as_one() -> None:
    listed = make_listed()
    lists = JoinedLists(make_image(), listed)
    assert lists.tags[-2:] == ("mandatory:csam-md:0", "mandatory:csam-md:1")
    mask = lists.lookup(parse_name("www.listed-1.example"))
    assert mask & UNSETTLED and tags_of(lists, mask & ~UNSETTLED) == {"category:adult"}
    settle(listed, "www.listed-1.example")
    mask = lists.lookup(parse_name("www.listed-1.example"))
    assert tags_of(lists, mask) == {"category:adult", "mandatory:csam-md:0"} and mask < 1 << len(lists.tags)
    assert ("mandatory:csam-md:0", b"\0") in lists.matches(parse_name("www.listed-1.example"))
    assert lists.is_listed(parse_name("www.listed-1.example")) and not lists.is_listed(parse_name("adult.example"))
    settle(listed, "paper.example")
    assert tags_of(lists, lists.lookup_url(parse_name("paper.example"), b"/page")) == {"mandatory:csam-md:0"}


def test_a_helpline_is_not_even_looked_for() -> None:
    lists = JoinedLists(make_image(), make_listed())
    mask = lists.lookup(parse_name("help.listed-1.example"))
    assert tags_of(lists, mask) == {"category:adult", "helpline"} and not mask & UNSETTLED


def test_another_serial_is_another_edition() -> None:
    listed = make_listed()
    base = listed.base
    newer = ListedNames(base, [TagTable(make_tags(base, ENTRIES, serial=2))], NOBODY, Keys())
    assert listed.edition != newer.edition


# Files


def test_what_an_update_has_put_in_force_is_opened(tmp_path: Path) -> None:
    install(tmp_path, ENTRIES)
    current = read_current(tmp_path)
    assert current is not None
    listed = open_listed(current, (), NOBODY, Keys())
    listed.settle_now(parse_name("listed-1.example"))
    assert listed.look(parse_name("listed-1.example")) == 1
    assert open_listed(current, ["other"], NOBODY, Keys()).tags == ()


def test_a_list_of_another_base_is_refused(tmp_path: Path) -> None:
    install(tmp_path, ENTRIES)
    mine = read_current(tmp_path)
    install(tmp_path / "other", ENTRIES, salt=bytes(32))
    other = read_current(tmp_path / "other")
    assert mine is not None and other is not None
    with pytest.raises(ListError, match="belongs to another base"):
        open_listed(mine._replace(base=other.base), (), NOBODY, Keys())


@pytest.mark.parametrize("damage", [b"", b"GKTAGS01", b"x" * 100])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    install(tmp_path, ENTRIES)
    current = read_current(tmp_path)
    assert current is not None
    current.lists["csam-md"].write_bytes(damage)
    with pytest.raises(ListError, match=r"csam-md-1\.[0-9a-f]{8}\.tags: "):
        open_listed(current, (), NOBODY, Keys())
    current.base.unlink()
    with pytest.raises(ListError, match=r"\.base: No such file"):
        open_listed(current, (), NOBODY, Keys())
