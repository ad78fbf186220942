"""A new desk: what is too weak is refused, and nothing is half made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from guardian.desk.founding import Plan, check_plan, found_desk
from guardian.desk.roles import TRIAL
from guardian.errors import DeskError
from guardian.feed import Text

TITLES = {"csam-md": Text(en="The list", ro="Lista", ru="Список")}
FIVE = ("ana", "ion", "maria", "vasile", "elena")
PLAN = Plan("Hotline", FIVE, FIVE[:3], FIVE[3:], TITLES, log2_n=12)


def test_the_full_plan_has_no_warning() -> None:
    assert check_plan(PLAN, trial=False) == []
    assert PLAN.roles_of("vasile") == ["root", "bulk"]


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (PLAN._replace(root=FIVE[:4]), "4 people instead of 5"),
        (PLAN._replace(lists=FIVE[:2]), "is ill"),
        (PLAN._replace(bulk=("ana", "elena")), "ana would agree"),
    ],
)
def test_weak_plans_are_for_trials_only(plan: Plan, what: str) -> None:
    with pytest.raises(DeskError, match=what):
        check_plan(plan, trial=False)
    assert what in " ".join(check_plan(plan, trial=True))


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (PLAN._replace(root=FIVE[:2]), "3 people must sign"),
        (PLAN._replace(thresholds=TRIAL, lists=FIVE[:1]), "2 people must sign"),
        (PLAN._replace(bulk=()), "1 people must sign"),
        (PLAN._replace(lists=("ana", "ana", "ion")), "named twice"),
        (PLAN._replace(titles={}), "needs a list"),
        (PLAN._replace(titles={"targets": TITLES["csam-md"]}), "take another id"),
    ],
)
def test_plans_that_can_not_work(plan: Plan, what: str) -> None:
    with pytest.raises(DeskError, match=what):
        check_plan(plan, trial=True)


def test_nothing_is_made_when_something_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    with pytest.raises(DeskError, match="12 to 200 characters"):
        found_desk(folder, PLAN, lambda name: "short", time.time())
    assert not folder.exists()
    with pytest.raises(DeskError, match="one line"):
        found_desk(folder, PLAN._replace(name="a\nb"), lambda name: "four words make 1 password", time.time())
    assert not folder.exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(DeskError, match="is not empty"):
        found_desk(tmp_path / "full", PLAN, lambda name: "four words make 1 password", time.time())
