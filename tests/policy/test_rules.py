"""The text of the parents' rules, and which rule of many wins for a name."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import TextError
from guardian.names import parse_name, suffixes
from guardian.policy.model import Action, Match, Rule
from guardian.policy.rules import RuleTable, format_rule, parse_pattern, parse_rule

ALLOW, BLOCK = Action.ALLOW, Action.BLOCK


@pytest.mark.parametrize(
    ("written", "match", "pattern"),
    [
        (" Example.COM. ", Match.SUBDOMAINS, "example.com"),
        ("=Example.com", Match.EXACT, "=example.com"),
        ("*.example.com", Match.WILDCARD, "*.example.com"),
        ("Ads*.example.com", Match.WILDCARD, "ads*.example.com"),
        ("*tracker*", Match.WILDCARD, "*tracker*"),
        ("*", Match.WILDCARD, "*"),
        ("xxx", Match.SUBDOMAINS, "xxx"),
        ("*.рф", Match.WILDCARD, "*.xn--p1ai"),
        ("bücher.example", Match.SUBDOMAINS, "xn--bcher-kva.example"),
        ("_dmarc.example.com", Match.SUBDOMAINS, "_dmarc.example.com"),
    ],
)
def test_reads_what_parents_write(written: str, match: Match, pattern: str) -> None:
    rule = parse_rule(written, BLOCK)
    assert (rule.match, rule.pattern) == (match, pattern)
    assert parse_rule(rule.pattern, BLOCK) == rule  # what is stored reads back the same
    assert format_rule(rule) == f"block {pattern}"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "needs the name"),
        ("=", "needs the name"),
        ("https://www.example.com/page", "only the site's name"),
        ("example.com/page", "only the site's name"),
        ("||example.com^", "not the name of a site"),
        ("exam ple.com", "not the name of a site"),
        ("example..com", "empty label"),
        (".example.com", "empty label"),
        ("192.168.1.1", "number or an address"),
        ("www.*.com", "only the first part"),
        ("*.ads*.com", "only the first part"),
        ("google.*", "only the first part"),
        ("=*.example.com", "not the name of a site"),
        ("ä*.example.com", "beside *"),
        ("*.", "needs the name"),
        ("a" * 64 + ".com", "63 bytes"),
        (".".join(["a" * 60] * 5), "255 bytes"),
        ("*" + "a" * 63 + ".com", "beside *"),
        ("evil\\.com", "not the name of a site"),
        ("evil\n.com", "not the name of a site"),
    ],
)
def test_refuses_with_a_reason(written: str, why: str) -> None:
    with pytest.raises(TextError, match=why):
        parse_rule(written, BLOCK)


LADDER = ["=ads1.example.com", "ads1.example.com", "ads*.example.com", "ad*.example.com", "*.example.com"]
LADDER += ["example.com", "*.com", "com", "*ads1*", "*ads*", "*"]


def test_the_more_specific_rule_wins() -> None:
    name = parse_name("ads1.example.com")
    for above, below in permutations(LADDER, 2):
        for actions in ((ALLOW, BLOCK), (BLOCK, ALLOW)):
            table = RuleTable([parse_rule(above, actions[0]), parse_rule(below, actions[1])])
            entry = table.find(name, 0.0)
            assert entry is not None
            assert entry.rule.pattern == min((above, below), key=LADDER.index)


@pytest.mark.parametrize("pattern", LADDER)
def test_allow_wins_a_tie_and_the_profile_before_it(pattern: str) -> None:
    name = parse_name("ads1.example.com")
    allow, block = parse_rule(pattern, ALLOW), parse_rule(pattern, BLOCK)

    def winner(table: RuleTable) -> Action:
        entry = table.find(name, 0.0)
        assert entry is not None
        return entry.rule.action

    assert winner(RuleTable([block, allow])) is ALLOW
    assert winner(RuleTable([], [block, allow])) is ALLOW
    assert winner(RuleTable([allow], [block])) is ALLOW
    assert winner(RuleTable([block], [allow])) is BLOCK


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("example.com", ["example.com", "a.b.example.com"], ["example.org", "notexample.com", "com"]),
        ("=example.com", ["example.com"], ["www.example.com", "com"]),
        ("*.example.com", ["www.example.com", "a.b.example.com"], ["example.com", "notexample.com"]),
        ("ads*.x.org", ["ads.x.org", "ads7.x.org", "x.ads7.x.org"], ["x.org", "bads.x.org"]),
        ("*ads*", ["x.myads.example", "ads", "roads.org"], ["a.ds.example", "example.org"]),
        ("ads*", ["ads1.org", "www.adsense.example"], ["bads.example"]),
        ("a*a.org", ["aa.org", "aba.org"], ["a.org"]),
        ("a*bc*bc*d.org", ["abcbcd.org", "axbcybczd.org"], ["abcd.org", "abcbd.org", "abccbd.org"]),
    ],
)
def test_what_a_pattern_covers(pattern: str, hits: list[str], misses: list[str]) -> None:
    table = RuleTable([parse_rule(pattern, BLOCK)])
    assert [name for name in hits if table.find(parse_name(name), 0.0) is None] == []
    assert [name for name in misses if table.find(parse_name(name), 0.0) is not None] == []


def test_expired_rules_do_not_count() -> None:
    table = RuleTable([parse_rule("=a.example", ALLOW, expires=100.0)], [parse_rule("example", BLOCK, expires=200.0)])
    name = parse_name("a.example")
    found = [table.find(name, now) for now in (99.9, 100.0, 199.9, 200.0)]
    assert [entry and entry.rule.action for entry in found] == [ALLOW, BLOCK, BLOCK, None]
    assert list(table.expiries(0.0)) == [100.0, 200.0]
    assert list(table.expiries(100.0)) == [200.0]
    assert list(RuleTable([parse_rule("a.example", ALLOW)]).expiries(0.0)) == []


def test_an_exact_rule_may_be_stored_with_or_without_its_sign() -> None:
    for pattern in ("=example.com", "example.com"):
        rule = Rule(BLOCK, pattern, Match.EXACT)
        assert format_rule(rule) == "block =example.com"
        table = RuleTable([rule])
        assert table.find(parse_name("example.com"), 0.0) is not None
        assert table.find(parse_name("www.example.com"), 0.0) is None


def test_a_hostile_name_and_pattern_cost_nothing() -> None:
    # A backtracking matcher needs more than 10^12 steps for this one; `find` needs a few hundred.
    pattern = "*" + "a*" * 30 + "b"
    table = RuleTable([parse_rule(pattern + ".example.com", BLOCK), parse_rule(pattern, BLOCK)])
    name = parse_name(".".join(["a" * 63] * 3) + ".example.com")
    assert table.find(name, 0.0) is None
    assert table.find(b"\x01a" * 127 + b"\x00", 0.0) is None
    dotted = b"\x0cads1.example\x03com\x00"  # a dot inside a label is no border of labels
    assert RuleTable([parse_rule("example.com", BLOCK)]).find(dotted, 0.0) is None


labels = st.text(alphabet="ab-", min_size=1, max_size=4)
names = st.lists(labels, min_size=1, max_size=4).map(lambda parts: parse_name(".".join(parts)))
written = st.one_of(
    st.lists(labels, min_size=1, max_size=3).map(".".join),
    st.lists(labels, min_size=1, max_size=3).map(lambda parts: "=" + ".".join(parts)),
    st.tuples(st.text(alphabet="ab*", max_size=4), st.lists(labels, max_size=2)).map(
        lambda pair: ".".join(["*" + pair[0], *pair[1]])
    ),
)


def covers(pattern_text: str, name: bytes) -> bool:
    """The naive meaning of a pattern, with regular expressions on the dotted name."""
    dotted = ".".join(suffix[1 : 1 + suffix[0]].decode() for suffix in suffixes(name))
    if pattern_text.startswith("="):
        return dotted == pattern_text[1:]
    first, dot, rest = pattern_text.partition(".")
    if "*" not in first:
        return dotted == pattern_text or dotted.endswith("." + pattern_text)
    label = "[^.]*".join(re.escape(part) for part in first.split("*"))
    if not dot:
        return any(re.fullmatch(label, part) for part in dotted.split("."))
    label = "[^.]+" if first == "*" else label
    return re.fullmatch(rf"(?:.*\.)?{label}\.{re.escape(rest)}", dotted) is not None


@given(st.lists(st.tuples(written, st.sampled_from([ALLOW, BLOCK])), max_size=6), names)
def test_a_rule_is_found_where_a_naive_reading_finds_one(rules: list[tuple[str, Action]], name: bytes) -> None:
    found = RuleTable([parse_rule(text, action) for text, action in rules]).find(name, 0.0)
    naive = [text for text, _ in rules if covers(parse_pattern(text).text, name)]
    assert (found is None) == (not naive)
    if found is not None:
        assert found.rule.pattern in [parse_pattern(text).text for text in naive]
