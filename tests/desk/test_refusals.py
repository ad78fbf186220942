"""Refusals: each rule with what it refuses and what it lets pass, and the packaged data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardian.catalogue.shapes import read_names
from guardian.desk.entries import DAY, Scope, Target, read_target
from guardian.desk.refusals import (
    Refusal,
    Rules,
    SharedKind,
    Tenants,
    _load_names,
    ask_popular,
    judge_classes,
    judge_facts,
    load_rules,
    make_printable,
    read_suffix_list,
)
from guardian.desk.settings import write_settings
from guardian.errors import DeskError
from guardian.feed import Text
from guardian.names import parse_name
from tests.desk.desks import LIST, make_desk, make_facts, put_on_list

NOW = 1_800_000_000.0
SUFFIXES = """// ===BEGIN ICANN DOMAINS===
example
co.example
*.wild.example
!free.wild.example
// ===END ICANN DOMAINS===
// ===BEGIN PRIVATE DOMAINS===
pages.example
// ===END PRIVATE DOMAINS===
"""
SHARED = {
    "files": SharedKind("a file host", Tenants.PATH, read_names("files.example")),
    "cdn": SharedKind("a network", Tenants.NAME, read_names("cdn.example")),
}
POPULAR = {"popular.example", "above.example"}
RULES = Rules(
    SUFFIXES, SHARED, ["update.vendor.example", "help.example"], ["exact.vendor2.example"], ["help.example"],
    lambda name: name in POPULAR,
)  # fmt: skip


def judge(scope: Scope, value: str) -> list[str]:
    return [it.rule for it in RULES.judge(Target(scope, value), 7)]


@pytest.mark.parametrize(
    ("scope", "value", "rules"),
    [
        ("domain", "listed-1.example", []),
        ("host", "www.listed-1.example", []),
        ("url", "https://listed-1.example/a", []),
        # Public suffixes: no scope can be carried out there.
        ("domain", "co.example", ["public-suffix"]),
        ("host", "pages.example", ["public-suffix"]),
        ("domain", "x.wild.example", ["public-suffix"]),
        ("domain", "free.wild.example", []),
        ("url", "https://pages.example/a", ["public-suffix"]),
        ("domain", "unknown", ["public-suffix"]),
        # Below a private suffix each name has another owner.
        ("domain", "someone.pages.example", ["shared-host"]),
        ("domain", "deep.someone.pages.example", ["shared-host"]),
        ("host", "someone.pages.example", []),
        ("url_prefix", "https://someone.pages.example/a", []),
        # People differ by the path: only pages.
        ("domain", "files.example", ["shared-host"]),
        ("host", "files.example", ["shared-host"]),
        ("host", "www.files.example", ["shared-host"]),
        ("host", "any.files.example", ["shared-host"]),
        ("domain", "any.files.example", ["shared-host"]),
        ("url", "https://files.example/a", []),
        # People differ by the name: the name alone.
        ("domain", "cdn.example", ["shared-host"]),
        ("host", "cdn.example", ["shared-host"]),
        ("host", "www.cdn.example", ["shared-host"]),
        ("domain", "one.cdn.example", ["shared-host"]),
        ("host", "one.cdn.example", []),
        # Protected: the name, all below, and all above.
        ("domain", "update.vendor.example", ["protected"]),
        ("host", "x.update.vendor.example", ["protected"]),
        ("domain", "vendor.example", ["protected"]),
        ("host", "vendor.example", []),
        ("domain", "other.vendor.example", []),
        ("domain", "exact.vendor2.example", ["protected"]),
        ("domain", "vendor2.example", ["protected"]),
        ("domain", "below.exact.vendor2.example", []),
        # Pages are not looked at where devices and people in need go.
        ("url", "https://help.example/a", ["protected"]),
        ("url", "https://www.help.example/a", ["protected"]),
        ("url", "https://update.vendor.example/a", []),
        # Popular.
        ("domain", "popular.example", ["popular"]),
        ("host", "popular.example", ["popular"]),
        ("host", "www.popular.example", ["popular"]),
        ("domain", "forum.popular.example", []),
        ("url", "https://popular.example/a", []),
    ],
)
def test_each_rule_refuses_what_it_says(scope: Scope, value: str, rules: list[str]) -> None:
    assert judge(scope, value) == rules
    for refusal in RULES.judge(Target(scope, value), 7):
        assert refusal.line == 7 and refusal.value == value and refusal.why and refusal.advice
        assert refusal.can_override == (refusal.rule in ("popular", "shared-host"))
        assert str(refusal).startswith(f"line 7: {value}: ") and f"[{refusal.rule}]" in str(refusal)


def test_shared_hosts_are_marked_as_such() -> None:
    shared = ["someone.pages.example", "files.example", "a.cdn.example"]
    assert all(RULES.is_shared(Target("host", name)) for name in shared)
    assert RULES.is_shared(Target("url", "https://www.files.example/a"))
    assert not RULES.is_shared(Target("domain", "listed-1.example"))
    assert not RULES.is_shared(Target("url", "https://popular.example/a"))


@pytest.mark.parametrize("name", ["files.example", "cdn.example", "popular.example", "x.pages.example", "help.example"])
@pytest.mark.parametrize("scope", ["domain", "host"])
def test_a_refused_name_is_not_let_in_by_www_in_front(scope: Scope, name: str) -> None:
    assert judge("domain", name)
    if not (scope == "host" and name == "x.pages.example"):  # there it is somebody's own host
        assert judge(scope, f"www.{name}")


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, []),
        ({"expires": int(NOW)}, ["expired"]),
        ({"expires": 0}, ["expired"]),
        ({"expires": int(NOW) + 91 * DAY}, ["too-long"]),
        ({"verified": int(NOW) + 2 * DAY}, ["verified-later"]),
        ({"order_ref": " "}, ["no-legal-basis"]),
        ({"order_ref": "", "legal_basis": "court"}, ["no-legal-basis"]),
        ({"order_ref": "", "legal_basis": "voluntary"}, []),
        ({"authority": Text("a", "", "c")}, ["no-authority"]),
        ({"authority": Text("", "", ""), "expires": 0, "order_ref": ""}, ["expired", "no-legal-basis", "no-authority"]),
    ],
)
def test_what_is_said_of_an_entry_is_judged(changes: dict[str, Any], rules: list[str]) -> None:
    found = judge_facts(make_facts(NOW, **changes), NOW, 3, "listed-1.example")
    assert [it.rule for it in found] == rules
    assert not any(it.can_override for it in found) and all(it.line == 3 for it in found)


def test_a_list_has_no_more_classes_than_the_format_holds(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path, NOW)
    put_on_list(desk, who, "listed-1.example", now=NOW, order_ref="Law 0")
    with desk.reading() as connection:
        facts = [make_facts(NOW, order_ref=f"Law {number}") for number in range(255)]
        assert judge_classes(connection, LIST, facts) == []
        (refusal,) = judge_classes(connection, LIST, [*facts, make_facts(NOW, order_ref="case 17 of a person")])
    assert refusal.rule == "classes" and "256 kinds" in refusal.why


def test_popular_names_are_asked_of_the_desk(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path, NOW)
    desk.replace_popular(who["maria"], [parse_name("www.popular.example")], "0" * 64, NOW)
    with desk.reading() as connection:
        is_popular = ask_popular(connection)
        assert is_popular("www.popular.example") and is_popular("popular.example")  # a domain takes its hosts with it
        assert not is_popular("other.popular.example") and not is_popular("example")


def test_the_packaged_data_refuse_what_history_teaches(tmp_path: Path) -> None:
    rules = load_rules(tmp_path, lambda name: False)
    for scope, text, rule in (
        ("domain", "wikipedia.org", {"protected", "shared-host"}),
        ("host", "en.wikipedia.org", {"protected", "shared-host"}),
        ("domain", "google.com", {"protected"}),
        ("domain", "facebook.com", {"protected", "shared-host"}),
        ("domain", "cloudfront.net", {"shared-host", "public-suffix"}),
        ("domain", "d111.cloudfront.net", {"shared-host"}),
        ("domain", "someone.github.io", {"shared-host"}),
        ("host", "github.io", {"public-suffix"}),
        ("domain", "t.me", {"shared-host"}),
        ("domain", "mega.nz", {"shared-host"}),
        ("domain", "windowsupdate.com", {"protected"}),
        ("host", "siguronline.md", {"protected"}),
    ):
        found = {it.rule for it in rules.judge(read_target(scope, text))}  # type: ignore[arg-type]
        assert found and found <= rule, (text, found)
    assert rules.judge(read_target("url", "https://en.wikipedia.org/wiki/x")) == []
    assert rules.judge(read_target("host", "someone.github.io")) == []


def test_every_packaged_shared_name_is_refused_as_a_domain(tmp_path: Path) -> None:
    rules = load_rules(tmp_path, lambda name: False)
    shared, *_ = _load_names()
    for kind in shared.values():
        assert len(kind.why) > 10
        for name in kind.names:
            text = ".".join(part.decode() for part in _labels(name))
            assert rules.judge(Target("domain", text)), text


def _labels(wire: bytes) -> list[bytes]:
    found = []
    while wire[0]:
        found.append(wire[1 : wire[0] + 1])
        wire = wire[wire[0] + 1 :]
    return found


def test_the_suffix_list_is_the_one_that_bases_are_made_of(tmp_path: Path) -> None:
    assert "===BEGIN PRIVATE DOMAINS===" in read_suffix_list(tmp_path)
    settings = write_settings("Hotline", "")
    (tmp_path / "desk.yaml").write_text(settings.replace("# suffixes:", "suffixes:"))
    with pytest.raises(DeskError, match=r"public_suffix_list\.dat: the public suffix list cannot be read"):
        read_suffix_list(tmp_path)
    (tmp_path / "public_suffix_list.dat").write_text(SUFFIXES)
    assert read_suffix_list(tmp_path) == SUFFIXES
    rules = load_rules(tmp_path, lambda name: False)
    assert [it.rule for it in rules.judge(Target("domain", "co.example"))] == ["public-suffix"]


def test_what_is_told_is_safe_on_a_terminal() -> None:
    assert make_printable("a\x1b[31mb\u202ec") == "a\\x1b[31mb\\u202ec"
    assert make_printable("x" * 500) == "x" * 120 + "..."
    assert "\x1b" not in str(Refusal(1, "\x1b]0;x", "rule", "why", "advice"))
