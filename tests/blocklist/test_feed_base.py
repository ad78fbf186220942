"""The base: its table of public suffixes agrees with publicsuffixlist, its filter spares the listed, nothing raises."""

from __future__ import annotations

import hashlib
import json
import mmap
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import publicsuffixlist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.blocklist import feed_base
from guardian.blocklist.feed_base import (
    MAGIC,
    STANDARD,
    Base,
    Cost,
    SuffixRules,
    build_base,
    derive_key,
    digest_salt,
    parse_suffix_rules,
)
from guardian.blocklist.feed_file import open_file, pack_file
from guardian.errors import ListError
from guardian.names import format_name, parse_name
from tests.blocklist.feeds import EMPTY_RULES, RULES, SALT, public_suffixes, small_base


def build(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "epoch": "2027q1", "salt": SALT, "cost": STANDARD, "rules": parse_suffix_rules(RULES), "good": [], "listed": [],
    }  # fmt: skip
    return build_base(**(arguments | changes))


@pytest.fixture(scope="module")
def real_base() -> Base:
    return Base(build(rules=parse_suffix_rules(public_suffixes())))


def names_of_all_rules() -> Iterator[str]:
    """Each rule, what is above it, and names below it: some that rules speak of, some that none does."""
    rng = random.Random(5)
    rules = parse_suffix_rules(public_suffixes())
    for rule in sorted(rules.suffixes | rules.wildcards | rules.exceptions):
        name = format_name(rule)
        yield name
        while "." in (name := name.partition(".")[2]):
            yield name
        name = format_name(rule)
        for _ in range(3):
            name = f"{rng.choice(['www', 'city', 'a', 'com', f'x{rng.getrandbits(20):x}'])}.{name}"
            yield name


def test_key_domains_are_those_of_publicsuffixlist(real_base: Base) -> None:
    oracle = publicsuffixlist.PublicSuffixList(public_suffixes())
    seen = 0
    for name in names_of_all_rules():
        found = real_base.key_domain(parse_name(name))
        assert (found and format_name(found)) == oracle.privatesuffix(name), name
        seen += 1
    assert seen > 40_000


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("com ck www uk co app host test deep a b".split()), min_size=1, max_size=7))  # noqa: SIM905
def test_random_names_have_the_key_domain_of_the_oracle(labels: list[str]) -> None:
    oracle = publicsuffixlist.PublicSuffixList(RULES)
    name = ".".join(labels)
    found = small_base().key_domain(parse_name(name))
    assert (found and format_name(found)) == oracle.privatesuffix(name)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("com", None), ("example.com", "example.com"), ("www.example.com", "example.com"),
        ("co.uk", None), ("a.b.co.uk", "b.co.uk"), ("uk", None), ("x.uk", "x.uk"),
        ("ck", None), ("a.ck", None), ("b.a.ck", "b.a.ck"), ("www.ck", "www.ck"), ("x.www.ck", "www.ck"),
        ("host.test", None), ("a.host.test", "a.host.test"), ("app.host.test", None), ("x.app.host.test", None),
        ("y.x.app.host.test", "y.x.app.host.test"),
        ("a.b.test", "b.test"), ("deep.a.b.test", None), ("z.deep.a.b.test", "z.deep.a.b.test"),
        ("unknown", None), ("a.unknown", "a.unknown"), ("c.b.a.unknown", "a.unknown"), (".", None),
    ],
)  # fmt: skip
def test_key_domains(name: str, domain: str | None) -> None:
    found = small_base().key_domain(parse_name(name))
    assert (found and format_name(found)) == domain


def test_a_name_of_the_most_labels_has_a_key_domain() -> None:
    assert small_base().key_domain(parse_name(".".join(["a"] * 127))) == b"\1a\1a\0"


def test_rules_are_read_as_publicsuffix_org_writes_them() -> None:
    text = "// words\n\n  \ncom\nco.uk // after a space\n*.ck\n!www.ck\nxn--p1ai\nрф\n*\nCO.JP\n"
    rules = parse_suffix_rules(text)
    assert rules.suffixes == {parse_name(name) for name in ("com", "co.uk", "xn--p1ai", "co.jp")}
    assert rules.wildcards == {parse_name("ck")}
    assert rules.exceptions == {parse_name("www.ck")}


@pytest.mark.parametrize("rule", ["a.*.b", "*.*.b", "!", "*.", "a..b", "!!a.b", "x" * 64, "!*.a"])
def test_a_rule_that_is_none_is_told_with_its_line(rule: str) -> None:
    with pytest.raises(ListError, match="public suffix list, line 2"):
        parse_suffix_rules(f"com\n{rule}\n")


def test_good_names_pass_and_listed_ones_never() -> None:
    good = [parse_name(f"good-{number}.com") for number in range(3000)]
    listed = [parse_name(f"listed-{number}.com") for number in range(3000)] + good[:10]
    base = Base(build(good=iter(good + good), listed=listed, test_name=parse_name("www.good-11.com")))
    assert all(base.is_known_good(name) for name in good[10:11] + good[12:])
    assert not any(base.is_known_good(name) for name in listed)
    assert base.test_name == parse_name("www.good-11.com")
    assert not base.is_known_good(good[11])  # the domain of the test name counts as listed


def test_what_was_given_is_read_again(tmp_path: Path) -> None:
    data = build(cost=Cost(12, 8, 1), epoch="2027q3-b", good=[parse_name("a.com")])
    path = tmp_path / "x.base"
    path.write_bytes(data)
    with path.open("rb") as file:
        base = Base(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert (base.epoch, base.salt, base.cost, base.test_name) == ("2027q3-b", SALT, Cost(12, 8, 1), b"")
    assert base.salt_digest == digest_salt(SALT) == hashlib.sha256(SALT).hexdigest()[:16]
    assert base.is_known_good(parse_name("a.com"))
    assert base.key_domain(parse_name("x.a.com")) == parse_name("a.com")
    assert build(cost=Cost(12, 8, 1), epoch="2027q3-b", good=[parse_name("a.com")]) == data


def test_the_table_depends_on_the_salt() -> None:
    # Else a name whose hash is that of a public suffix could be sought once, and be safe from every list for ever.
    one, two = (open_file(build(salt=bytes([n]) * 32), MAGIC, "it")[1] for n in (1, 2))
    assert bytes(one) != bytes(two)


def test_an_empty_base_works() -> None:
    base = Base(build(rules=EMPTY_RULES))
    assert base.key_domain(parse_name("a.b.co.uk")) == parse_name("co.uk")
    assert not base.is_known_good(parse_name("co.uk"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": "2027 Q1"}, "'epoch'"),
        ({"salt": b"short"}, "'salt'"),
        ({"cost": Cost(11, 8, 1)}, "'log2_n' must be a whole number from 12 to 15"),
        ({"cost": Cost(16, 8, 1)}, "'log2_n' must be a whole number from 12 to 15"),
        ({"cost": Cost(14, 9, 1)}, "'r'"),
        ({"cost": Cost(14, 8, 2)}, "'p'"),
        ({"listed": [b"\3www\7example\3com\0"]}, "www.example.com is no registrable domain"),
        ({"listed": [b"\2co\2uk\0"]}, "co.uk is no registrable domain"),
        ({"test_name": b"\2co\2uk\0"}, "test name co.uk is a public suffix"),
        ({"rules": SuffixRules(frozenset(), frozenset(), frozenset([b"\1a\1b\0"]))}, "a.b has no wildcard"),
    ],
)
def test_a_base_that_no_router_would_take_is_not_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ListError, match=message):
        build(**changes)


def test_two_suffixes_of_one_hash_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_base, "_hash", lambda name, salt: 5 - len(name) % 2)
    with pytest.raises(ListError, match="take another salt"):
        build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suffixes": 1}, "do not fill it"),
        ({"suffixes": 1 << 30}, "'suffixes'"),
        ({"good": 0}, "do not fill it"),
        ({"good": -1}, "'good'"),
        ({"seed": 1 << 64}, "'seed'"),
        ({"segment_length": 3}, "filter"),
        ({"segment_count": 0}, "filter"),
        ({"segment_count": 2}, "do not fill it"),
        ({"wildcards": "ck"}, "'wildcards'"),
        ({"wildcards": ["a..b"]}, "'wildcards'"),
        ({"wildcards": ["bücher.example"]}, "'wildcards' holds something that is no name"),
        ({"exceptions": [5]}, "'exceptions' holds something that is no name"),
        ({"exceptions": [""]}, "'exceptions'"),
        ({"test_name": "x" * 70}, "'test_name'"),
        ({"test_name": None}, "'test_name'"),
    ],
)
def test_a_base_with_a_damaged_header_is_refused(changes: dict[str, Any], message: str) -> None:
    header, sections = open_file(build(good=[parse_name("a.com")]), MAGIC, "it")
    Base(pack_file(MAGIC, header, bytes(sections), "it"))
    with pytest.raises(ListError, match=message):
        Base(pack_file(MAGIC, header | changes, bytes(sections), "it"))


def test_whatever_the_sections_are_lookups_answer() -> None:
    header, sections = open_file(build(good=[parse_name(f"n{n}.com") for n in range(50)]), MAGIC, "it")
    rng = random.Random(1)
    for _ in range(200):
        base = Base(pack_file(MAGIC, header, rng.randbytes(len(sections)), "it"))
        for name in (b"\0", b"\3com\0", b"\1a\3com\0", b"\1a" * 126 + b"\0"):
            domain = base.key_domain(name)
            assert domain is None or name.endswith(domain)
            assert base.is_known_good(name) in (True, False)


def test_derive_key_is_scrypt() -> None:
    name = parse_name("listed-1.example")
    expected = hashlib.scrypt(name, salt=SALT, n=1 << 14, r=8, p=1, maxmem=1 << 26, dklen=32)
    assert derive_key(name, SALT, STANDARD) == expected
    assert derive_key(name, SALT, Cost(15, 8, 1)) not in (expected, derive_key(name, SALT, Cost(1, 8, 1)))
    with pytest.raises(ListError, match=r"scrypt does not take the cost \(0, 8, 1\)"):
        derive_key(name, SALT, Cost(0, 8, 1))


def test_scrypt_of_rfc_7914() -> None:
    found = derive_key(b"pleaseletmein", b"SodiumChloride", Cost(14, 8, 1))
    assert found.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_the_header_is_for_people() -> None:
    header, _ = open_file(build(), MAGIC, "it")
    assert json.loads(json.dumps(header))["wildcards"] == ["app.host.test", "ck"]
    assert header["exceptions"] == ["www.ck"]
