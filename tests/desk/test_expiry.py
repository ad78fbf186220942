"""What ends when, and who is told in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from guardian.desk.expiry import End, list_ends
from guardian.desk.repository import Repository
from guardian.desk.roles import DAY, HOUR
from tests.desk.feed_desk import FeedDesk, found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> FeedDesk:
    return found(tmp_path_factory.mktemp("founded") / "desk", time.time())


def test_a_new_desk_ends_as_the_format_says(desk: FeedDesk) -> None:
    days = {end.role: round(end.left(desk.now) / DAY, 3) for end in list_ends(desk.repository)}
    assert list(days) == sorted(days, key=lambda role: days[role])
    assert days == {"timestamp": 2, "snapshot": 7, "csam-md": 30, "targets": 90, "root": 365, "csam-md-bulk": 365}


@pytest.mark.parametrize(
    ("after", "due"),
    [
        (0, set()),
        (24 * HOUR, set()),
        (37 * HOUR, {"timestamp"}),
        (6 * DAY, {"timestamp", "snapshot"}),
        (17 * DAY, {"timestamp", "snapshot", "csam-md"}),
        (77 * DAY, {"timestamp", "snapshot", "csam-md", "targets"}),
        (352 * DAY, {"timestamp", "snapshot", "csam-md", "targets", "root", "csam-md-bulk"}),
    ],
)
def test_what_is_due(desk: FeedDesk, after: float, due: set[str]) -> None:
    found = [end for end in list_ends(desk.repository) if end.is_due(desk.now + after)]
    assert {end.role for end in found} == due
    assert all(end.advice for end in found)


def test_the_rest_is_said_in_words() -> None:
    end = End("root", 1, 100 * DAY, "")
    assert end.say_left(0) == "ends in 100 days"
    assert end.say_left(100 * DAY - 7200) == "ends in 2 hours"
    assert end.say_left(103 * DAY) == "has ended 3 days ago"


def test_before_the_first_release_nothing_ends(tmp_path: Path) -> None:
    assert list_ends(Repository(tmp_path)) == []
