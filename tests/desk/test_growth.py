"""Growth: the desk asks for consent whenever some router would refuse without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.desk.bundles import Content, Files
from guardian.desk.growth import Growth, ListChange
from guardian.desk.repository import write_file
from guardian.errors import DeskError
from guardian.feed import ListedFile, ListIndex
from guardian.hotline.install import growth_limit

NOW = 1_800_000_000.0
DAY = 86400.0


def _publish(
    growth: Growth, serial: int, added: int, before: int, moment: float, new_epoch: bool = False
) -> ListChange:
    listing = ListIndex(
        list_id="csam-md",
        serial=serial,
        epoch="e",
        created=moment,
        entries=before + added,
        whole=ListedFile("lists/csam-md/1.tags", 1, "0" * 64),
    )
    content = Content("csam-md", (), (), before + added, 0, 0)
    new = before + added if new_epoch else added  # with a new salt no tag is as before
    return growth.add(content, Files(listing, {}, new, 0), before, moment, new_epoch=new_epoch)


def test_the_first_list_may_have_any_size() -> None:
    assert not _publish(Growth({}), 1, 100_000, 0, NOW).consent_reason


@pytest.mark.parametrize(
    ("before", "added", "asks"), [(2, 500, False), (2, 501, True), (9000, 900, False), (9000, 901, True)]
)
def test_five_hundred_or_a_tenth(before: int, added: int, asks: bool) -> None:
    growth = Growth({})
    _publish(growth, 1, before, 0, NOW)
    assert bool(_publish(growth, 2, added, before, NOW + 60).consent_reason) == asks


def test_many_small_steps_are_one_large_one_for_who_missed_them() -> None:
    growth = Growth({})
    _publish(growth, 1, 2, 0, NOW)
    assert not _publish(growth, 2, 300, 2, NOW + 3600).consent_reason
    assert "since serial 1" in _publish(growth, 3, 300, 302, NOW + 7200).consent_reason
    later = Growth({})
    _publish(later, 1, 2, 0, NOW)
    _publish(later, 2, 300, 2, NOW)
    assert not _publish(later, 3, 300, 302, NOW + 2 * DAY).consent_reason


def test_in_a_new_epoch_all_entries_are_new_to_routers() -> None:
    """Nobody can compare two salts; people still want to know by how much the list grew."""
    growth = Growth({})
    _publish(growth, 1, 5000, 0, NOW)
    change = _publish(growth, 2, 10, 5000, NOW + 60, new_epoch=True)
    assert (change.added, change.removed) == (10, 0)
    assert "5,010 additions are more than the 500" in change.consent_reason


def test_a_small_list_needs_no_consent_in_a_new_epoch() -> None:
    growth = Growth({})
    _publish(growth, 1, 300, 0, NOW)
    assert not _publish(growth, 2, 10, 300, NOW + 60, new_epoch=True).consent_reason


def test_the_history_comes_back_and_damage_is_told(tmp_path: Path) -> None:
    growth = Growth({})
    _publish(growth, 1, 2, 0, NOW)
    _publish(growth, 2, 400, 2, NOW + 60)
    write_file(tmp_path / "feed" / "history.json", growth.encode())
    assert _publish(Growth.load(tmp_path), 3, 400, 402, NOW + 120).consent_reason
    write_file(tmp_path / "feed" / "history.json", b"[]")
    with pytest.raises(DeskError, match=r"history\.json"):
        Growth.load(tmp_path)


STEPS = st.lists(st.tuples(st.integers(0, 900), st.floats(600, 3 * DAY)), min_size=1, max_size=8)


def _walk(steps: list[tuple[int, float]], missed: set[int], *, is_late_forgiven: bool) -> None:
    """A router with the rule of hotline/install.py: no publication without consent may be refused by it."""
    growth, moment, size = Growth({}), NOW, 10
    _publish(growth, 1, size, 0, moment)
    accepted, held, grown = moment, size, 0.0
    for place, (added, pause) in enumerate(steps):
        moment += pause
        change = _publish(growth, place + 2, added, size, moment)
        size += added
        if place in missed:
            continue
        daily, days = growth_limit(held), (moment - accepted) / DAY
        counted = max(0.0, grown - daily * days)
        is_refused = size - held > daily * min(max(1.0, days), 30.0) - counted
        assert not is_refused or change.consent_reason
        grown = counted + size - held
        if is_late_forgiven:  # what the days allowed that it was off is not held against it afterwards
            grown = max(0.0, grown - daily * days)
        grown = 0.0 if is_refused else min(grown, float(daily))
        accepted, held = moment, size


@given(STEPS)
def test_no_router_refuses_what_the_desk_let_pass(steps: list[tuple[int, float]]) -> None:
    _walk(steps, set(), is_late_forgiven=False)


@given(STEPS, st.sets(st.integers(0, 7)))
def test_nor_does_one_that_was_off_now_and_then(steps: list[tuple[int, float]], missed: set[int]) -> None:
    _walk(steps, missed, is_late_forgiven=True)
