"""Proposals and approvals against the refusals: the author's check, and the second person's again."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardian.desk.fold import Body, Ended, NewPerson, Renewed
from guardian.desk.journal import Signer
from guardian.desk.refusals import Refusal, ask_popular, load_rules
from guardian.desk.review import (
    approve,
    find_refusals,
    load_proposal,
    mark_overridden,
    propose,
    propose_person,
    reject,
    tell_refusals,
    write_proposal,
)
from guardian.desk.store import Desk
from guardian.errors import DeskError
from guardian.names import parse_name
from tests.desk.desks import LIST, describe_person, make_body, make_desk, put_on_list

NOW = 1_800_000_000.0


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Desk, dict[str, Signer]]:
    return make_desk(tmp_path, NOW)


@pytest.mark.parametrize("value", ["facebook.com", "captive.apple.com", "someone.github.io"])
def test_what_is_refused_is_not_proposed(desk: tuple[Desk, dict[str, Signer]], value: str) -> None:
    at, who = desk
    with pytest.raises(DeskError, match=value):
        propose(at, who["ana"], "add", LIST, make_body("listed-1.example", value, now=NOW), "x", NOW)
    assert at.proposals() == []


def test_some_refusals_are_not_overridden(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    for body in (
        make_body("captive.apple.com", now=NOW),
        make_body("listed-1.example", now=NOW, order_ref=""),
        make_body("listed-1.example", now=NOW, expires=int(NOW)),
        make_body("listed-1.example", "listed-1.example", now=NOW),
    ):
        with pytest.raises(DeskError):
            propose(at, who["ana"], "add", LIST, body, "x", NOW, override="because")
    with pytest.raises(DeskError, match="nothing here is refused"):
        propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW, override="because")
    assert at.proposals() == []


def test_an_author_with_another_program_is_found_by_the_second_person(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    for value, override in (("facebook.com", ""), ("captive.apple.com", ""), ("captive.apple.com", "because")):
        body = make_body(value, now=NOW, override=override)
        with at.changing() as connection:
            number = write_proposal(connection, who["ana"], "add", LIST, body, "x", NOW, override)
        with pytest.raises(DeskError, match=f"proposal {number} holds what is refused:\n{value}"):
            approve(at, who["ion"], number, NOW, override="because")
    assert list(at.entries()) == []


def test_what_became_popular_since_is_refused_at_the_approval(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    number = propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    at.replace_popular(who["maria"], [parse_name("listed-1.example")], "0" * 64, NOW)
    with pytest.raises(DeskError, match=r"\[popular\]"):
        approve(at, who["ion"], number, NOW)


def test_an_override_marks_only_what_needs_it(desk: tuple[Desk, dict[str, Signer]]) -> None:
    body = mark_overridden(make_body("facebook.com", "listed-1.example", now=NOW), {"facebook.com"}, "order")
    assert [(part.facts.override, part.targets) for part in body.add] == [
        ("", [("domain", "listed-1.example")]),
        ("order", [("domain", "facebook.com")]),
    ]
    renewed = mark_overridden(Body(renew=[Renewed([1], 1, 2)]), set(), "order")
    assert renewed.renew[0].override == "order" and renewed.list_overrides()


def test_all_refusals_are_found(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", "https://listed-2.example/a", now=NOW)
    body = make_body(
        "listed-1.example",
        "http://listed-2.example/a",
        "facebook.com",
        "new.example",
        "new.example",
        now=NOW,
        order_ref="",
    )
    with at.reading() as connection:
        rules = load_rules(at.folder, ask_popular(connection))
        found = [(it.rule, it.value) for it in find_refusals(connection, rules, LIST, body, NOW)]
        assert find_refusals(connection, rules, LIST, Body(suspend=[Ended([1], "x")]), NOW) == []
    assert found == [
        ("no-legal-basis", "all entries"),
        ("duplicate", "listed-1.example"),
        ("duplicate", "http://listed-2.example/a"),
        ("shared-host", "facebook.com"),
        ("duplicate", "new.example"),
    ]


def test_a_list_that_is_not_there(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    with pytest.raises(DeskError, match="there is no list 'other'"):
        propose(at, who["ana"], "add", "other", make_body("listed-1.example", now=NOW), "x", NOW)


@pytest.mark.parametrize("why", ["", "x" * 301])
def test_a_reason_is_given(desk: tuple[Desk, dict[str, Signer]], why: str) -> None:
    at, who = desk
    with pytest.raises(DeskError, match="why"):
        propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), why, NOW)
    number = propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    with pytest.raises(DeskError, match="why"):
        reject(at, who["ion"], number, why, NOW)


def test_a_person_is_proposed_like_an_entry(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    new = NewPerson(**describe_person("eve", ["list"], Ed25519PrivateKey.generate()))
    with at.changing() as connection:
        number = propose_person(connection, who["maria"], new, "comes", NOW)
        assert load_proposal(connection, number)[1].person == new
    with pytest.raises(DeskError, match="ion may not approve this: it needs the role admin or root"):
        approve(at, who["ion"], number, NOW)
    approve(at, who["olga"], number, NOW)
    assert at.people()["eve"].roles == {"list"}


def test_long_lists_of_refusals_are_cut() -> None:
    text = tell_refusals([Refusal(0, f"listed-{n}.example", "x", "y", "z") for n in range(25)])
    assert len(text.splitlines()) == 11 and text.endswith("... and 15 more")
