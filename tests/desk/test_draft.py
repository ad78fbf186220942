"""A draft is a function of the desk: the same for everybody who signs, other where anything is other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from guardian.desk.draft import Draft, Terms, compose, read_content
from guardian.desk.roles import DAY, FULL, TARGETS
from guardian.desk.root_change import make_circle
from guardian.errors import DeskError
from tests.desk.feed_desk import LIST, FeedDesk, found


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> FeedDesk:
    return found(tmp_path_factory.mktemp("founded") / "desk", time.time())


@pytest.fixture
def desk(founded: FeedDesk, tmp_path: Path) -> FeedDesk:
    return founded.copy(tmp_path / "desk")


def draw(desk: FeedDesk, created: float | None = None, journal: str = "j", renew: bool = False) -> Draft:
    moment = desk.now if created is None else created
    root = desk.repository.root()
    assert root
    circle = make_circle(desk.folder, desk.desk.people())
    terms = Terms(circle, FULL, root.signed, moment, journal, {})
    return compose(desk.repository, read_content(desk.desk, moment), terms, renew=renew)


def test_the_same_desk_gives_the_same_bytes(desk: FeedDesk) -> None:
    desk.list_names(["listed-1.example"])
    one, two = draw(desk), draw(desk)
    assert one.digest == two.digest
    assert one.builds["default"].targets == two.builds["default"].targets
    assert draw(desk, desk.now + 1).digest != one.digest
    assert draw(desk, journal="k").digest != one.digest


def test_only_what_changes_is_signed(desk: FeedDesk) -> None:
    assert draw(desk).is_empty
    assert draw(desk, renew=True).required == (TARGETS, LIST)
    desk.list_names(["listed-1.example"])
    draft = draw(desk)
    assert (draft.required, draft.key_changes) == ((LIST,), [])
    assert [build.base_reason for build in draft.builds.values()] == [""]


@pytest.mark.parametrize(
    ("after", "required", "optional"),
    [(19, (), ()), (21, (LIST,), ()), (61, (TARGETS, LIST), ()), (250, (TARGETS, LIST), (f"{LIST}-bulk",))],
)
def test_what_ends_soon_is_signed_anew(
    desk: FeedDesk, after: int, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    draft = draw(desk, desk.now + after * DAY)
    assert (draft.required, draft.optional) == (required, optional)
    assert [change.is_new for change in draft.changes] == [False]


def test_a_desk_without_its_build_is_told(desk: FeedDesk) -> None:
    (desk.folder / "builds" / "default.json").unlink()
    with pytest.raises(DeskError, match="has no build"):
        draw(desk)
