"""What happened to an entry, in order."""

from __future__ import annotations

from pathlib import Path

from guardian.desk.fold import Body, Ended, Renewed
from guardian.desk.history import find_history
from guardian.desk.review import approve, propose, reject
from tests.desk.desks import LIST, make_desk, put_on_list

NOW = 1_800_000_000.0


def test_everything_that_two_people_did_to_it_is_told_in_order(tmp_path: Path) -> None:
    desk, who = make_desk(tmp_path, NOW)
    put_on_list(desk, who, "listed-1.example", "listed-2.example", now=NOW)
    steps: list[tuple[str, Body]] = [
        ("suspend", Body(suspend=[Ended([1], "x")])),
        ("resume", Body(resume=[Ended([1], "x")])),
        ("renew", Body(renew=[Renewed([1, 2], int(NOW), int(NOW) + 86400)])),
        ("remove", Body(remove=[Ended([1], "x")])),
    ]
    for later, (kind, body) in enumerate(steps, 1):
        number = propose(desk, who["maria"], kind, LIST, body, f"why {kind}", NOW + later)
        approve(desk, who["ana"], number, NOW + later)
    rejected = propose(desk, who["ana"], "remove", LIST, Body(remove=[Ended([2], "x")]), "x", NOW + 9)
    reject(desk, who["ion"], rejected, "no", NOW + 9)
    put_on_list(desk, who, "listed-1.example", now=NOW + 10)
    with desk.reading() as connection:
        first, second, third = (find_history(connection, entry) for entry in desk.entries())
    assert [it.kind for it in first] == ["add", "suspend", "resume", "renew", "remove"]
    assert [it.kind for it in second] == ["add", "renew"]
    assert [it.kind for it in third] == ["add"]
    assert (first[1].author, first[1].approver, first[1].why) == ("maria", "ana", "why suspend")
