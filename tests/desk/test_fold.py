"""The rules of four eyes, each as it is broken: by the desk's own ways, so the journal stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardian.desk.books import TableBook
from guardian.desk.entries import DAY, OVERRIDE_SECONDS
from guardian.desk.fold import Added, Body, Ended, Renewed, is_set_up, read_body
from guardian.desk.journal import Signer, encode_canonical, store_body
from guardian.desk.review import approve, propose, reject, write_proposal
from guardian.desk.store import Desk
from guardian.desk.verify import verify_desk
from guardian.errors import DeskError
from tests.desk.desks import LIST, make_body, make_desk, make_facts, put_on_list

NOW = 1_800_000_000.0
People = dict[str, Signer]


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Desk, People]:
    return make_desk(tmp_path, NOW)


def check_unchanged(desk: Desk, head: str) -> None:
    assert desk.journal_head() == head
    with desk.reading() as connection:
        assert verify_desk(connection).problems == ()


def test_an_entry_stands_when_two_have_agreed(desk: tuple[Desk, People]) -> None:
    at, who = desk
    number = propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "report", NOW)
    assert list(at.list_active(LIST, NOW)) == []
    approve(at, who["ion"], number, NOW + 60)
    (entry,) = at.list_active(LIST, NOW + 60)
    assert entry.reviewers == ("ana", "ion") and entry.listed == NOW + 60 and entry.id == 1
    assert entry.expires == NOW + 14 * DAY and list(at.list_active(LIST, entry.expires)) == []


def test_the_author_can_not_approve(desk: tuple[Desk, People]) -> None:
    at, who = desk
    for author in ("ana", "ion", "maria"):
        number = propose(at, who[author], "add", LIST, make_body(f"{author}.example", now=NOW), "report", NOW)
        head = at.journal_head()
        with pytest.raises(DeskError, match=f"{author} made proposal {number}: a second person must look at it"):
            approve(at, who[author], number, NOW)
        check_unchanged(at, head)


@pytest.mark.parametrize("name", ["vera", "olga"])
@pytest.mark.parametrize("kind", ["add", "remove", "renew", "resume"])
def test_who_is_no_reviewer_neither_proposes_nor_approves(desk: tuple[Desk, People], name: str, kind: str) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    if kind == "resume":
        approve(
            at, who["ion"], propose(at, who["ana"], "suspend", LIST, Body(suspend=[Ended([1], "x")]), "x", NOW), NOW
        )
    body = {
        "add": make_body("listed-2.example", now=NOW),
        "remove": Body(remove=[Ended([1], "gone")]),
        "renew": Body(renew=[Renewed([1], int(NOW), int(NOW) + DAY)]),
        "resume": Body(resume=[Ended([1], "still there")]),
    }[kind]
    head = at.journal_head()
    with pytest.raises(DeskError, match=f"{name} may not propose this: it needs the role analyst or list"):
        propose(at, who[name], kind, LIST, body, "why", NOW)
    check_unchanged(at, head)
    number = propose(at, who["ana"], kind, LIST, body, "why", NOW)
    with pytest.raises(DeskError, match=f"{name} may not approve this: it needs the role analyst or list"):
        approve(at, who[name], number, NOW)
    approve(at, who["ion"], number, NOW)


def test_a_suspension_takes_any_two_people_but_two(desk: tuple[Desk, People]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    number = propose(at, who["vera"], "suspend", LIST, Body(suspend=[Ended([1], "wrong")]), "wrong", NOW)
    assert len(list(at.list_active(LIST, NOW))) == 1
    with pytest.raises(DeskError, match="a second person"):
        approve(at, who["vera"], number, NOW)
    approve(at, who["olga"], number, NOW)
    assert list(at.list_active(LIST, NOW)) == []
    entry = at.entry(1)
    assert entry is not None and entry.status == "suspended" and entry.removed_reason == "wrong"


def test_a_suspension_holds_nothing_else(desk: tuple[Desk, People]) -> None:
    """Anybody on duty may approve it: so it can't be the way to get something on the list."""
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    head = at.journal_head()
    for other in (
        make_body("listed-2.example", now=NOW),
        Body(suspend=[Ended([1], "x")], remove=[Ended([1], "x")]),
        Body(suspend=[Ended([1], "x")], add=make_body("listed-2.example", now=NOW).add),
        Body(renew=[Renewed([1], int(NOW), int(NOW) + DAY)]),
        Body(),
    ):
        with pytest.raises(DeskError, match=r"a proposal to suspend holds|details of 'propose' are wrong"):
            propose(at, who["vera"], "suspend", LIST, other, "x", NOW)
    check_unchanged(at, head)


def test_a_decision_is_made_once(desk: tuple[Desk, People]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    with pytest.raises(DeskError, match="proposal 1 is approved already, by ion"):
        approve(at, who["maria"], 1, NOW)
    with pytest.raises(DeskError, match="proposal 1 is approved already"):
        reject(at, who["maria"], 1, "no", NOW)
    number = propose(at, who["ana"], "add", LIST, make_body("listed-2.example", now=NOW), "x", NOW)
    assert reject(at, who["vera"], number, "not illegal", NOW).status == "rejected"
    with pytest.raises(DeskError, match=f"proposal {number} is rejected already, by vera"):
        approve(at, who["ion"], number, NOW)
    with pytest.raises(DeskError, match="there is no proposal 99"):
        approve(at, who["ion"], 99, NOW)


def test_the_author_takes_a_proposal_back(desk: tuple[Desk, People]) -> None:
    at, who = desk
    number = propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    assert reject(at, who["ana"], number, "a slip", NOW).decided_by == "ana"
    assert at.proposals("open") == []


def test_a_signer_with_another_key_is_nobody(desk: tuple[Desk, People]) -> None:
    at, who = desk
    head = at.journal_head()
    with pytest.raises(DeskError, match="this is not the key of ion"):
        propose(at, Signer("ion", who["ana"].key), "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    with pytest.raises(DeskError, match="this is not the key of eve"):
        at.note(Signer("eve", who["ana"].key), "hello", NOW)
    check_unchanged(at, head)


def test_what_is_approved_is_what_was_proposed(desk: tuple[Desk, People]) -> None:
    at, who = desk
    number = propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    with at.changing() as connection:
        other = store_body(connection, encode_canonical({"remove": []}))
    with pytest.raises(DeskError, match="what was approved is not what proposal 1 says"):
        at.act(who["ion"], "approve", {"proposal": number, "body": other, "override": ""}, NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expires": int(NOW)}, "would have ended by now"),
        ({"expires": int(NOW) + 91 * DAY}, "at most 90 days"),
        ({"verified": int(NOW) + 2 * DAY, "expires": int(NOW) + 3 * DAY}, "verified tomorrow"),
    ],
)
def test_an_end_is_checked_when_it_takes_effect(
    desk: tuple[Desk, People], changes: dict[str, Any], message: str
) -> None:
    """By a program that skips the author's checks."""
    at, who = desk
    body = make_body("listed-1.example", now=NOW, **changes)
    with at.changing() as connection:
        number = write_proposal(connection, who["ana"], "add", LIST, body, "x", NOW)
    with pytest.raises(DeskError):
        approve(at, who["ion"], number, NOW)
    with pytest.raises(DeskError, match=message):
        details = {"proposal": number, "body": at.proposals()[0].body, "override": ""}
        at.act(who["ion"], "approve", details, NOW)
    assert list(at.entries()) == []


def test_values_that_nobody_spelled_right_are_refused(desk: tuple[Desk, People]) -> None:
    at, who = desk
    for scope, value in (("domain", "Listed-1.example"), ("domain", "com.md"), ("url", "https://listed-1.example/a#b")):
        body = Body(add=[Added(make_facts(NOW), [(scope, value)])])  # type: ignore[list-item]
        with at.changing() as connection:
            number = write_proposal(connection, who["ana"], "add", LIST, body, "x", NOW)
        with pytest.raises(DeskError):
            details = {"proposal": number, "body": at.proposals()[-1].body, "override": ""}
            at.act(who["ion"], "approve", details, NOW)
    assert list(at.entries()) == []


def test_an_override_takes_both_people_and_lasts_a_day(desk: tuple[Desk, People]) -> None:
    at, who = desk
    body = make_body("facebook.com", "listed-1.example", now=NOW)
    with pytest.raises(DeskError, match="shared-host"):
        propose(at, who["ana"], "add", LIST, body, "x", NOW)
    number = propose(at, who["ana"], "add", LIST, body, "x", NOW, override="court order")
    with pytest.raises(DeskError, match=r"overrides a refusal \(court order\): approve it with your own --override"):
        approve(at, who["ion"], number, NOW)
    approve(at, who["ion"], number, NOW + 3600, override="seen")
    found = {entry.value: entry for entry in at.entries()}
    assert found["facebook.com"].expires == NOW + 3600 + OVERRIDE_SECONDS
    assert found["facebook.com"].override == "court order"
    assert found["listed-1.example"].expires == NOW + 14 * DAY and not found["listed-1.example"].override
    with at.reading() as connection:
        assert verify_desk(connection).problems == ()


def test_renewing_an_override_is_an_override(desk: tuple[Desk, People]) -> None:
    at, who = desk
    number = propose(at, who["ana"], "add", LIST, make_body("facebook.com", now=NOW), "x", NOW, override="order")
    approve(at, who["ion"], number, NOW, override="seen")
    later = NOW + 3600
    renewed = Body(renew=[Renewed([1], int(later), int(later) + 14 * DAY)])
    number = propose(at, who["ana"], "renew", LIST, renewed, "x", later)
    with pytest.raises(DeskError, match="entry 1 stands by an override"):
        approve(at, who["ion"], number, later)
    number = propose(at, who["ana"], "renew", LIST, renewed, "x", later, override="order holds")
    with pytest.raises(DeskError, match="with your own --override"):
        approve(at, who["ion"], number, later)
    approve(at, who["ion"], number, later, override="seen again")
    entry = at.entry(1)
    assert entry is not None and entry.expires == later + OVERRIDE_SECONDS and entry.override == "order holds"


def test_entries_change_only_from_where_they_are(desk: tuple[Desk, People]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)

    def change(kind: str, body: Body) -> None:
        approve(at, who["ion"], propose(at, who["ana"], kind, LIST, body, "x", NOW), NOW)

    with pytest.raises(DeskError, match="entry 1 is active by now"):
        change("resume", Body(resume=[Ended([1], "x")]))
    change("suspend", Body(suspend=[Ended([1], "x")]))
    with pytest.raises(DeskError, match="entry 1 is suspended by now"):
        change("renew", Body(renew=[Renewed([1], int(NOW), int(NOW) + DAY)]))
    with pytest.raises(DeskError, match="it is on the list already"):
        change("add", make_body("listed-1.example", now=NOW))
    change("resume", Body(resume=[Ended([1], "x")]))
    change("remove", Body(remove=[Ended([1], "gone")]))
    with pytest.raises(DeskError, match="entry 1 is removed by now"):
        change("suspend", Body(suspend=[Ended([1], "x")]))
    change("add", make_body("listed-1.example", now=NOW))
    with pytest.raises(DeskError, match="there is no entry 7"):
        change("remove", Body(remove=[Ended([7], "x")]))
    assert [(entry.id, entry.status) for entry in at.entries()] == [(1, "removed"), (2, "active")]


def test_of_two_proposals_of_the_same_name_one_is_carried_out(desk: tuple[Desk, People]) -> None:
    at, who = desk
    body = make_body("listed-1.example", now=NOW)
    first = propose(at, who["ana"], "add", LIST, body, "x", NOW)
    second = propose(at, who["maria"], "add", LIST, body, "x", NOW)
    approve(at, who["ion"], second, NOW)
    with pytest.raises(DeskError, match="on the list already"):
        approve(at, who["ion"], first, NOW)
    with pytest.raises(DeskError, match="on csam-md already"):
        at.act(who["ion"], "approve", {"proposal": first, "body": at.proposals()[0].body, "override": ""}, NOW)
    assert len(list(at.entries())) == 1


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("nonsense", {}),
        ("approve", {}),
        ("approve", {"proposal": "1", "body": "0" * 64, "override": ""}),
        ("approve", {"proposal": 1, "body": "0" * 64, "override": "", "more": 1}),
        ("reject", {"proposal": 1, "why": ""}),
        ("list", {"list": "Not A Word", "title": {"en": "", "ro": "", "ru": ""}}),
        ("note", {}),
        ("end", {"name": "nobody", "why": "x"}),
        ("person", {"name": "ana", "roles": ["list"], "public_key": "00" * 32, "proof": "00" * 64}),
    ],
)
def test_lines_that_say_nothing_right_are_refused(
    desk: tuple[Desk, People], kind: str, details: dict[str, Any]
) -> None:
    at, who = desk
    head = at.journal_head()
    with pytest.raises(DeskError):
        at.act(who["maria"], kind, details, NOW)
    check_unchanged(at, head)


def test_work_has_begun_with_the_first_proposal(desk: tuple[Desk, People]) -> None:
    at, who = desk
    with at.reading() as connection:
        assert not is_set_up(TableBook(connection))
    propose(at, who["ana"], "add", LIST, make_body("listed-1.example", now=NOW), "x", NOW)
    with at.reading() as connection:
        assert is_set_up(TableBook(connection))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"add": 1}', b'{"more": []}', b'{"remove": [{"ids": [0], "why": "x"}]}']
)
def test_a_body_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DeskError, match="the body of a proposal is not one"):
        read_body(data)
