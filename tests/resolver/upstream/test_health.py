from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.resolver.upstream.health import FAILURES_TO_DOWN, FIRST_PAUSE, LONGEST_PAUSE, Health


def test_down_after_failures_in_a_row_and_up_with_one_answer() -> None:
    health = Health()
    changes = [health.fail("silent", float(moment)) for moment in range(FAILURES_TO_DOWN)]
    assert changes == [False] * (FAILURES_TO_DOWN - 1) + [True]
    assert not health.up
    now = FAILURES_TO_DOWN - 1.0
    assert not health.may_probe(now + FIRST_PAUSE / 2)
    assert health.may_probe(now + FIRST_PAUSE)
    assert health.succeed(0.01, now + FIRST_PAUSE)
    assert health.up
    assert not health.may_probe(now + 100)


def test_an_answer_between_failures_keeps_it_up() -> None:
    health = Health()
    for moment in range(20):
        health.fail("silent", float(moment))
        health.fail("silent", float(moment))
        assert health.up
        assert not health.succeed(0.01, float(moment))


def test_rests_double_up_to_a_bound_and_failures_within_a_rest_do_not_count() -> None:
    health = Health()
    now = 0.0
    rests = []
    for _ in range(12):
        for _ in range(FAILURES_TO_DOWN):
            health.fail("silent", now)
        rests.append(health.down_until - now)
        now = health.down_until
    assert rests[:3] == [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]
    assert rests[-1] == LONGEST_PAUSE


@given(st.lists(st.floats(0.0001, 10), min_size=1))
def test_the_round_trip_stays_within_the_samples_and_patience_within_its_bounds(samples: list[float]) -> None:
    health = Health()
    assert health.patience(0.1, 0.5) == 0.5  # nothing known yet
    for moment, sample in enumerate(samples):
        health.succeed(sample, float(moment))
    assert health.round_trip is not None
    assert min(samples) * 0.999 <= health.round_trip <= max(samples) * 1.001
    assert 0.1 <= health.patience(0.1, 0.5) <= 0.5


def test_giving_up_early_says_only_that_it_is_slower() -> None:
    health = Health()
    health.succeed(0.1, 0)
    health.outlast(0.05, 1)
    assert health.round_trip == 0.1
    health.outlast(0.9, 2)
    assert health.round_trip > 0.1
