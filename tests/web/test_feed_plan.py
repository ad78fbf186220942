"""When the feed is looked at: days of one router, and of a thousand at once, with a clock of the test."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.web.feed_plan import PACE, FeedPlan, Pace

HOUR = 3600.0
POLL = 6 * HOUR


class Router:
    """A plan that is followed to the second, and the times of its looks."""

    def __init__(self, seed: int = 1, is_fresh: bool = False, poll: float = POLL, pace: Pace = PACE) -> None:
        self.now = self.start = 1000.0
        self.version = 5  # in force here
        self.published = 5
        self.is_online = True
        self.takes = 1.0  # seconds
        self.looks: list[float] = []
        self.plan = FeedPlan(poll, is_fresh, self.version, self.now, Random(seed), pace)

    def look(self) -> None:
        self.looks.append(self.now)
        self.plan.begin(self.now)
        self.now += self.takes
        if self.is_online:
            self.version = self.published
        self.plan.finish(self.is_online, self.version, self.now)

    def live(self, seconds: float) -> list[float]:
        """Live so long; return when it looked."""
        before, end = len(self.looks), self.now + seconds
        while self.plan.due <= end:
            self.now = max(self.now, self.plan.due)
            self.look()
        self.now = max(self.now, end)
        return self.looks[before:]

    def hear(self, version: int, urgent: bool = False, spread: float = 300) -> bool:
        return self.plan.hear(version, urgent, spread, self.now)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


@pytest.mark.parametrize(("is_fresh", "within"), [(False, 60), (True, 300)])
def test_the_first_look_comes_soon_but_not_from_all_at_once(is_fresh: bool, within: float) -> None:
    waits = [router.live(301)[0] - router.start for router in (Router(seed, is_fresh) for seed in range(1000))]
    assert min(waits) >= 0 and max(waits) <= within
    assert mean(waits) == pytest.approx(within / 2, rel=0.1)


def test_without_a_broker_it_looks_every_six_hours_give_or_take_a_half() -> None:
    found = gaps(Router().live(365 * 24 * HOUR))
    assert min(found) >= POLL / 2 and max(found) <= POLL * 1.5 + 1
    assert mean(found) == pytest.approx(POLL, rel=0.05)
    assert len({round(gap) for gap in found}) > len(found) * 0.9, "never twice the same"


def test_after_failures_it_looks_less_and_less_often_and_at_once_as_before_when_all_is_well() -> None:
    router = Router()
    router.is_online = False
    found = gaps(router.live(3 * 24 * HOUR))
    assert 60 <= found[0] <= 121 and 60 <= found[1] <= 181
    assert all(60 <= gap <= HOUR + 1 for gap in found)
    assert max(found[8:]) > HOUR / 2
    assert mean(found[8:]) == pytest.approx(HOUR / 2, rel=0.2), "full jitter: half of the ceiling"
    router.is_online = True
    router.live(HOUR)
    assert min(gaps(router.live(10 * 24 * HOUR))) >= POLL / 2


def test_a_failure_is_never_followed_later_than_the_hour_at_which_it_would_look_anyway() -> None:
    router = Router(poll=600)
    router.is_online = False
    assert max(gaps(router.live(24 * HOUR))) <= 601
    router = Router(poll=36)
    assert min(gaps(router.live(HOUR))) > 59.99, "nothing makes it look more than once a minute"


def test_a_hint_spreads_the_looks_of_all_routers() -> None:
    waits = []
    for seed in range(1000):
        router = Router(seed)
        router.live(HOUR)
        heard = router.now
        router.published = 6
        assert router.hear(6, spread=300)
        waits.append(router.live(301)[0] - heard)
        assert router.version == 6 and not router.plan.has_hint
    assert 0 <= min(waits) < 5 and 295 < max(waits) <= 300
    assert mean(waits) == pytest.approx(150, rel=0.1)


def test_when_the_clock_was_set_it_looks_within_a_minute() -> None:
    for seed in range(100):
        router = Router(seed)
        router.live(HOUR)
        last = router.looks[-1]
        router.plan.hurry(router.now)
        assert router.live(61)[0] - last >= PACE.least_pause
        assert min(gaps(router.live(24 * HOUR))) >= POLL / 2, "and then as before"
    router.now = router.looks[-1] + 1
    router.plan.hurry(router.now)
    assert router.plan.due == pytest.approx(router.looks[-1] + PACE.least_pause, abs=60), "never twice in a minute"


def test_an_urgent_hint_is_followed_at_once() -> None:
    router = Router()
    router.live(HOUR)
    router.hear(6, spread=300)
    assert router.plan.due > router.now
    assert router.hear(7, urgent=True)
    assert router.plan.due == router.now
    router.published = 7
    assert router.live(0) == [HOUR + 1000]


def test_an_urgent_hint_right_after_a_look_waits_until_the_minute_is_over() -> None:
    router = Router()
    began = router.live(HOUR)[-1]
    router.now = began + 5
    router.hear(6, urgent=True)
    assert router.plan.due == began + 60


@pytest.mark.parametrize("version", [0, 4, 5])
def test_a_hint_of_what_is_known_changes_nothing(version: int) -> None:
    router = Router()
    due = router.plan.due
    assert not router.hear(version, urgent=True)
    assert router.plan.due == due and not router.plan.has_hint


def test_the_same_hint_again_is_no_new_throw_of_the_dice() -> None:
    """Or a broker that repeats it would have all routers at the door in the first second."""
    router = Router()
    router.live(HOUR)
    router.hear(6)
    due = router.plan.due
    assert not any(router.hear(6) for _ in range(1000))
    assert router.plan.due == due


@pytest.mark.parametrize("is_lie", [True, False])
def test_a_broker_that_floods_costs_a_dozen_looks_an_hour(is_lie: bool) -> None:
    """Whether its versions are true or not."""
    router = Router()
    begin = router.now
    version = 5
    while router.now < begin + 24 * HOUR:
        version += 1
        router.published = router.published if is_lie else version
        router.hear(version, urgent=True)
        router.live(7)
    assert min(gaps(router.looks)) > 59.99
    for hour in range(24):
        inside = [look for look in router.looks if begin + hour * HOUR <= look < begin + (hour + 1) * HOUR]
        assert 10 <= len(inside) <= 12 + 2, "and what the poll would have done anyway"


def test_a_lie_about_the_version_is_soon_forgotten_and_holds_up_no_true_hint() -> None:
    router = Router()
    router.live(HOUR)
    router.hear(2**32, urgent=True)
    looks = router.live(HOUR)
    assert len(looks) == PACE.hint_looks and not router.plan.has_hint
    router.hear(2**32, urgent=True)
    router.live(10)
    router.published = 6
    assert router.hear(6, spread=10)
    router.live(61)
    assert router.version == 6


def test_a_mirror_that_is_behind_is_asked_again() -> None:
    router = Router()
    router.live(HOUR)
    router.hear(6, urgent=True)
    router.live(10)
    assert router.version == 5 and router.plan.has_hint
    router.published = 6
    assert 60 <= router.live(130)[0] - router.looks[-2] <= 122
    assert router.version == 6 and not router.plan.has_hint


def test_a_hint_while_a_look_runs_is_not_lost() -> None:
    router = Router()
    router.live(HOUR)
    router.now = router.plan.due
    router.plan.begin(router.now)
    router.hear(6, urgent=True)
    router.plan.finish(True, 5, router.now + 30)
    assert router.plan.has_hint and router.plan.due == router.now + 60


def test_a_hint_that_the_running_look_has_answered_is_done() -> None:
    router = Router()
    router.live(HOUR)
    router.now = router.plan.due
    router.plan.begin(router.now)
    router.hear(6)
    router.plan.finish(True, 6, router.now + 30)
    assert not router.plan.has_hint and router.plan.due >= router.now + POLL / 2


def test_a_look_of_somebody_else_counts() -> None:
    router = Router()
    router.plan.note(6, router.now)
    assert router.plan.due >= router.now + POLL / 2
    assert not router.hear(6, urgent=True)
    router.hear(8, urgent=True)
    router.plan.note(7, router.now)
    assert router.plan.has_hint, "that look did not bring what the hint is about"


def test_the_spread_can_be_left_out_for_measurements() -> None:
    router = Router(pace=PACE._replace(spread=0.0, least_pause=0.0))
    router.live(HOUR)
    router.hear(6)
    assert router.plan.due == router.now


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 2 * HOUR)),
    st.tuples(st.just("hint"), st.tuples(st.integers(0, 2**32), st.booleans(), st.integers(0, 300))),
    st.tuples(st.just("publish"), st.integers(1, 3)),
    st.tuples(st.just("line"), st.booleans()),
    st.tuples(st.just("other"), st.none()),
)


@settings(max_examples=300)
@given(st.integers(), st.booleans(), st.floats(36, 7 * 24 * HOUR), st.lists(EVENTS, max_size=40))
def test_whatever_happens_it_looks_again_but_not_too_often(
    seed: int, is_fresh: bool, poll: float, events: list[tuple[str, object]]
) -> None:
    router = Router(seed, is_fresh, poll)
    for what, value in events:
        match what, value:
            case "wait", float(seconds):
                router.live(seconds)
            case "hint", (int(version), bool(urgent), int(spread)):
                router.hear(version, urgent, spread)
            case "publish", int(more):
                router.published += more
            case "line", bool(is_online):
                router.is_online = is_online
            case "other", None:
                router.version = router.published
                router.plan.note(router.version, router.now)
        assert router.plan.due <= router.now + max(1.5 * poll, HOUR, 300), "it always looks again"
    assert all(gap > 59.99 for gap in gaps(router.looks))
    router.is_online = True
    router.live(max(1.5 * poll, HOUR) + 1)
    assert router.version == router.published
