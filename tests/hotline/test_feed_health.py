"""How a feed stands: one word for each history of looks, and no clock makes an old feed young."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.hotline import feed_state
from guardian.hotline.feed_health import (
    LASTING_SECONDS,
    NEVER,
    OK,
    REFUSED,
    STALE,
    STALE_SECONDS,
    find_success,
    judge_feed,
    read_health,
)
from guardian.hotline.feed_state import FeedState, ListState, save_state
from tests.hotline.feed_maker import DAY, Box, Scene, listed

NOW = 1_795_000_000.0
HOUR = 3600.0
LISTS = {"list-a": ListState(serial=7, entries=20, created=NOW - DAY, installed=NOW - DAY)}
FINE = FeedState(
    url="http://feed.test/", name="Tests", checked=NOW, succeeded=NOW, version=3, expires=NOW + DAY, lists=LISTS,
    accepted=NOW,
)  # fmt: skip
CODES = sorted({value for name, value in vars(feed_state).items() if name.isupper() and isinstance(value, str)}
               & {"offline", "expired", "not-signed", "rollback", "too-large", "too-slow", "growth", "damaged", "clock",
                  "disk", "missing"})  # fmt: skip


def failed(code: str, after: float, since: float = 0.0, **more: Any) -> FeedState:
    """The state of a box whose last look, `after` seconds after the last good one, failed; it does since `since`."""
    return replace(FINE, checked=NOW + after, failing=NOW + (since or after), code=code, error="why", **more)


def test_every_code_is_known_here() -> None:
    assert len(CODES) == 11


def test_nobody_has_looked() -> None:
    health = judge_feed(None, NOW)
    assert (health.state, health.code, health.age, health.since) == (NEVER, "", None, 0.0)


def test_all_is_well() -> None:
    health = judge_feed(FINE, NOW + 5 * HOUR)
    assert (health.state, health.code, health.age, health.is_stale) == (OK, "", 5 * HOUR, False)


@pytest.mark.parametrize("code", ["offline", "too-slow", "clock", "disk", "missing", "of-tomorrow"])
def test_what_passes_by_itself_is_well_for_three_days(code: str) -> None:
    soon, late = (judge_feed(failed(code, at, HOUR), NOW + at) for at in (STALE_SECONDS, STALE_SECONDS + 1))
    assert (soon.state, soon.is_stale, soon.code) == (OK, False, code)
    assert (late.state, late.is_stale, late.error) == (STALE, True, "why")


@pytest.mark.parametrize("code", ["not-signed", "rollback", "damaged", "growth", "too-large"])
def test_what_is_not_believed_is_refused_at_once(code: str) -> None:
    health = judge_feed(failed(code, HOUR), NOW + HOUR)
    assert (health.state, health.is_stale, health.age) == (REFUSED, False, HOUR)


def test_what_has_expired_at_the_hotline_is_stale_at_once() -> None:
    assert judge_feed(failed("expired", HOUR), NOW + HOUR).state == STALE


@pytest.mark.parametrize("code", CODES)
def test_a_trouble_lasts_when_it_is_met_again_an_hour_later(code: str) -> None:
    assert not judge_feed(failed(code, HOUR), NOW + 30 * HOUR).is_lasting, "it was met once"
    assert not judge_feed(failed(code, HOUR + LASTING_SECONDS - 1, HOUR), NOW + 9 * HOUR).is_lasting
    assert judge_feed(failed(code, HOUR + LASTING_SECONDS, HOUR), NOW + 9 * HOUR).is_lasting


def test_without_any_list_there_is_none() -> None:
    for code in CODES:
        state = FeedState(checked=NOW, failing=NOW, code=code, error="why", lists={"list-a": ListState(code=code)})
        health = judge_feed(state, NOW + STALE_SECONDS + 1)
        assert (health.state, health.code, health.age, health.since, health.is_stale) == (NEVER, code, None, NOW, True)


def test_the_gravest_is_told_with_its_list() -> None:
    lists = LISTS | {
        "list-b": ListState(1, code="growth", error="too much"),
        "list-c": ListState(1, code="rollback", error="old"),
    }
    health = judge_feed(replace(FINE, lists=lists, failing=NOW), NOW)
    assert (health.state, health.code, health.error) == (REFUSED, "rollback", "list-c: old")


def test_a_clock_that_was_set_back_makes_nothing_young() -> None:
    state = replace(FINE, accepted=NOW + 9 * DAY)
    assert judge_feed(state, 0.0).age == 9 * DAY and judge_feed(state, 0.0).state == STALE


def test_a_look_by_a_clock_that_was_behind_is_not_decades_old() -> None:
    """A router without a clock of its own starts in 1970, and looks before it has asked for the time."""
    state = replace(FINE, checked=100.0, succeeded=100.0, clock_behind=NOW - 100.0)
    health = judge_feed(state, NOW + HOUR)
    assert (health.state, health.age, find_success(state)) == (OK, HOUR, NOW)
    later = replace(state, checked=NOW + HOUR, clock_behind=0.0, code="offline", error="why", failing=NOW + HOUR)
    assert find_success(replace(later, succeeded=NOW)) == NOW


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "hotline").mkdir()
    assert read_health(str(tmp_path), NOW) == (None, judge_feed(None, NOW))
    (tmp_path / "hotline" / "state.json").write_text("{")
    state, health = read_health(str(tmp_path), NOW)
    assert state is None and (health.state, health.code) == (NEVER, "damaged") and "not JSON" in health.error
    save_state(tmp_path / "hotline", FINE)
    assert read_health(str(tmp_path), NOW) == (FINE, judge_feed(FINE, NOW))


moments = st.one_of(st.just(0.0), st.floats(0, 4e9))
states = st.builds(
    FeedState,
    checked=moments, succeeded=moments, expires=moments, accepted=moments, clock_behind=moments, failing=moments,
    code=st.sampled_from(["", *CODES, "of-tomorrow"]),
    lists=st.dictionaries(
        st.sampled_from(["list-a", "list-b"]),
        st.builds(ListState, serial=st.integers(0, 3), code=st.sampled_from(["", *CODES])),
    ),
)  # fmt: skip


@given(states, moments, st.floats(0, 1e9))
def test_whatever_was_and_whenever_it_is(state: FeedState, now: float, later: float) -> None:
    first, second = judge_feed(state, now), judge_feed(state, now + later)
    has_any = any(one.serial for one in state.lists.values())
    assert (first.state == NEVER) is not has_any
    assert first.age is None or first.age >= 0.0
    assert bool(first.code) is bool(state.troubles())
    # Time alone makes nothing younger, and heals nothing.
    assert second.is_stale or not first.is_stale
    if first.age is not None:
        assert second.age is not None and second.age >= first.age


# With a real feed


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    scene.maker.publish_all(listed(range(20)))
    yield scene
    scene.server.close()


def test_a_feed_that_is_forged_and_then_honest_again(scene: Scene) -> None:
    assert judge_feed(scene.update(), scene.maker.now).state == OK
    scene.maker.publish_list(listed(range(21)), signed_by=["list-a/list-1"])  # one of two
    scene.maker.publish_online()
    first = scene.update()
    health = judge_feed(first, scene.maker.now)
    assert (health.state, health.code, health.is_lasting) == (REFUSED, "not-signed", False)
    assert first.failing == scene.maker.now and health.error.startswith("list-a: ")
    again = scene.update(after=LASTING_SECONDS)
    assert again.failing == first.failing and judge_feed(again, scene.maker.now).is_lasting
    scene.maker.next(listed(range(3, 25)))
    last = scene.update()
    assert last.failing == 0.0 and judge_feed(last, scene.maker.now).state == OK


def test_a_hotline_that_cannot_be_reached(scene: Scene) -> None:
    scene.update()
    scene.box = Box(scene.box.folder.parent, "http://127.0.0.1:1", scene.root)
    for hours in (1, 71):
        state = scene.update(after=hours * HOUR)
        assert judge_feed(state, scene.maker.now).state == OK and state.code == "offline"
    assert judge_feed(scene.update(after=2 * HOUR), scene.maker.now).state == STALE
