"""The public numbers, counted by hand beside a desk where two people work."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from guardian.desk.entries import DAY
from guardian.desk.report_store import ReportCount
from guardian.desk.transparency import Change, Duration, ListNumbers, Numbers, count_all, encode_numbers, read_journal
from tests.desk.worked_desk import START, WorkedDesk


@pytest.fixture
def desk(tmp_path: Path) -> WorkedDesk:
    return WorkedDesk(tmp_path)


def count(desk: WorkedDesk, start: int = START, end: int = 0, reports: tuple[ReportCount, ...] = ()) -> Numbers:
    with read_journal(desk.desk) as (lines, load, _):
        return count_all(lines, load, reports, start, end or desk.now + 1)


def of_list(numbers: Numbers, list_id: str = "csam-md") -> ListNumbers:
    (found,) = (each for each in numbers.lists if each.id == list_id)
    return found


def test_a_desk_without_entries_has_noughts(desk: WorkedDesk) -> None:
    found = of_list(count(desk))
    assert (found.in_force, found.by_ground, found.changes, found.age, found.duration) == (
        0, {}, Change(), Duration(), Duration(),
    )  # fmt: skip


def test_size_by_ground_and_scope(desk: WorkedDesk) -> None:
    desk.add(("domain", "listed-1.example"), ("host", "www.listed-2.example"))
    desk.add(("domain", "listed-3.example"), severity="baseline", legal_basis="voluntary", licence_class="isp_only")
    desk.add(("url", "http://listed-4.example/a"), ("url", "https://listed-4.example/b"), legal_basis="court")
    desk.add(("url_prefix", "https://listed-4.example/c/"))
    found = of_list(count(desk))
    assert found.in_force == 6
    assert found.by_ground == {"baseline, voluntary": 1, "national, court": 2, "national, law_order": 3}
    assert found.by_scope == {"domain": 2, "host": 1, "url": 2, "url_prefix": 1}
    assert found.not_enforceable == 2  # pages over HTTPS
    assert found.isp_only == 1


def test_what_happened_and_for_how_long(desk: WorkedDesk) -> None:
    first, second, third, fourth = desk.add(*(("domain", f"listed-{number}.example") for number in range(4)))
    desk.wait(2)
    desk.end("suspend", [first])
    desk.wait(1)
    desk.end("resume", [first])
    desk.wait(7)  # day 10
    desk.renew([second, third])
    desk.end("remove", [fourth])
    desk.wait(10)  # day 20: the first has ended at day 14
    found = of_list(count(desk))
    assert found.changes == Change(added=4, renewed=2, suspended=1, resumed=1, removed=1, expired=1)
    assert (found.in_force, found.suspended) == (2, 0)
    assert found.age == Duration(2, 20.0, 20.0)
    assert found.duration == Duration(2, 12.0, 14.0)  # 10 and 14 days


def test_only_the_period_counts(desk: WorkedDesk) -> None:
    ids = desk.add(("domain", "listed-1.example"), ("domain", "listed-2.example"))
    desk.wait(5)
    desk.end("remove", ids[:1])
    desk.wait(5)
    desk.add(("domain", "listed-3.example"))
    desk.wait(10)
    assert of_list(count(desk, START, START + 4 * DAY)).changes == Change(added=2)
    assert of_list(count(desk, START + 4 * DAY, START + 6 * DAY)).changes == Change(removed=1)
    later = of_list(count(desk, START + 6 * DAY))
    assert later.changes == Change(added=1, expired=1)
    assert later.duration == Duration(1, 14.0, 14.0)
    assert of_list(count(desk, START, START + 4 * DAY)).in_force == 2
    assert of_list(count(desk, START, START + 6 * DAY)).in_force == 1


def test_the_last_second_belongs_to_the_period(desk: WorkedDesk) -> None:
    desk.add(("domain", "listed-1.example"), days=1)
    at_end = START + DAY
    assert of_list(count(desk, START, at_end)).changes.expired == 0
    assert of_list(count(desk, START, at_end + 1)).changes.expired == 1


def test_tidying_away_what_has_ended_is_no_removal(desk: WorkedDesk) -> None:
    ids = desk.add(("domain", "listed-1.example"), days=3)
    desk.wait(5)
    desk.end("remove", ids)
    found = of_list(count(desk))
    assert found.changes == Change(added=1, expired=1)
    assert found.duration == Duration(1, 3.0, 3.0)


def test_who_comes_back_after_the_end_is_in_force(desk: WorkedDesk) -> None:
    ids = desk.add(("domain", "listed-1.example"), days=3)
    desk.wait(5)
    desk.renew(ids)
    found = of_list(count(desk))
    assert found.changes == Change(added=1, expired=1, renewed=1)
    assert (found.in_force, found.duration.count) == (1, 0)


def test_suspended_entries_are_not_in_force(desk: WorkedDesk) -> None:
    desk.end("suspend", desk.add(("domain", "listed-1.example")))
    assert (of_list(count(desk)).in_force, of_list(count(desk)).suspended) == (0, 1)
    desk.wait(20)
    later = of_list(count(desk))
    assert (later.in_force, later.suspended, later.changes.expired) == (0, 0, 1)


def test_overrides_are_told(desk: WorkedDesk) -> None:
    desk.add(("domain", "listed-1.example"), override="asked by the court")
    desk.add(("domain", "listed-2.example"))
    found = of_list(count(desk))
    assert found.changes == Change(added=2, overridden=1)
    desk.wait(2)
    assert of_list(count(desk)).changes == Change(added=2, overridden=1, expired=1)


def test_lists_are_counted_apart(desk: WorkedDesk) -> None:
    desk.add_list("terror-md")
    desk.add(("domain", "listed-1.example"), list_id="terror-md")
    numbers = count(desk)
    assert [each.id for each in numbers.lists] == ["csam-md", "terror-md"]
    assert (of_list(numbers).in_force, of_list(numbers, "terror-md").in_force) == (0, 1)


def test_proposals_that_nobody_approved_are_not_counted(desk: WorkedDesk) -> None:
    from guardian.desk.entries import Facts
    from guardian.desk.fold import Added, Body
    from guardian.desk.review import write_proposal
    from tests.desk.worked_desk import AUTHORITY

    facts = Facts(
        severity="national", legal_basis="court", authority=AUTHORITY, verified=START, expires=START + 14 * DAY
    )
    with desk.desk.changing() as connection:
        body = Body(add=[Added(facts, [("domain", "listed-1.example")])])
        write_proposal(connection, desk.ana, "add", "csam-md", body, "seen", desk.now)
    assert of_list(count(desk)).changes == Change()


def test_reports_and_appeals(desk: WorkedDesk) -> None:
    numbers = count(
        desk,
        reports=(
            ReportCount("csam_suspected", "closed", "listed", 3),
            ReportCount("csam_suspected", "open", "", 2),
            ReportCount("grooming", "closed", "forwarded", 1),
            ReportCount("unblock_request", "closed", "unblocked", 1),
            ReportCount("unblock_request", "closed", "upheld", 4),
            ReportCount("unblock_request", "taken", "", 1),
            ReportCount("unblock_request", "open", "", 1),
        ),
    )
    assert numbers.reports == {"csam_suspected": 5, "grooming": 1, "unblock_request": 7}
    assert numbers.results == {"forwarded": 1, "listed": 3}
    assert (numbers.appeals.received, numbers.appeals.waiting) == (7, 2)
    assert numbers.appeals.results == {"unblocked": 1, "upheld": 4}


def test_no_name_no_person_and_no_reason_is_published(desk: WorkedDesk) -> None:
    desk.add(("domain", "zebra-1.example"), order_ref="zebra order", source="zebra-source", override="zebra reason")
    text = encode_numbers(count(desk)).decode()
    for word in ("zebra", "ana", "ion", "Poli"):
        assert f'"{word}' not in text
        assert f"{word}-" not in text
    assert "zebra" not in text
    assert json.loads(text)["journal"] == desk.desk.journal_head()


def test_the_numbers_are_those_of_the_tables_after_months_of_work(desk: WorkedDesk) -> None:
    """An independent count: what the tables call active, and nothing that appears or vanishes unexplained."""
    chance = random.Random(7)
    before = 0
    for month in range(4):
        began = desk.now
        for _ in range(6):
            desk.wait(chance.uniform(0.5, 4))
            names = [f"listed-{month}-{chance.randrange(10**9)}.example" for _ in range(chance.randint(1, 5))]
            desk.add(*(("domain", name) for name in names), days=chance.uniform(2, 20))
            alive = [entry.id for entry in desk.desk.list_active("csam-md", desk.now, isp_only=True)]
            desk.renew(chance.sample(alive, min(2, len(alive))))
            desk.end("remove", chance.sample(alive, min(chance.randint(0, 2), len(alive))) or alive[:1])
        found = of_list(count(desk, began))
        assert found.in_force == sum(1 for _ in desk.desk.list_active("csam-md", desk.now, isp_only=True))
        changes = found.changes
        assert found.in_force == before + changes.added - changes.removed - changes.expired
        assert found.duration.count == changes.removed + changes.expired
        before = found.in_force
        desk.now += 1
    assert before > 0
