"""The throttle with a clock of its own: one source, many sources, many threads, floods from elsewhere."""

from __future__ import annotations

import threading

import pytest

from guardian.web.routing import RefusalError
from guardian.web.throttle import (
    ALL_SECONDS,
    ALL_TRIES,
    FORGET_SECONDS,
    FREE_TRIES,
    LONGEST_PAUSE,
    MOST_SOURCES,
    Throttle,
)


def wait_after(throttle: Throttle, source: str, now: float) -> int:
    """Seconds that a try has to wait, 0 = it was made (and counted as wrong)."""
    try:
        throttle.begin(source, now)
    except RefusalError as error:
        assert (error.status, error.code) == (429, "throttled") and error.retry_after is not None
        return error.retry_after
    return 0


def test_one_source_waits_longer_and_longer() -> None:
    throttle, now, waits = Throttle(), 1000.0, []
    assert [wait_after(throttle, "a", now) for _ in range(FREE_TRIES)] == [0] * FREE_TRIES
    for _ in range(12):
        wait = wait_after(throttle, "a", now)
        waits.append(wait)
        assert wait_after(throttle, "a", now + wait - 0.01) > 0, "a try before its time"
        now += wait
        assert wait_after(throttle, "a", now) == 0, "the time it was told is enough"
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    assert max(waits) == LONGEST_PAUSE


def test_a_refused_try_does_not_prolong_the_wait() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        throttle.begin("a", 0.0)
    assert [wait_after(throttle, "a", 0.5) for _ in range(100)] == [2] * 100
    assert wait_after(throttle, "a", 2.0) == 0


def test_others_are_not_held_up_by_one() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        throttle.begin("a", 0.0)
    assert wait_after(throttle, "a", 0.0) and not wait_after(throttle, "b", 0.0)


def test_many_sources_together_are_slowed() -> None:
    """A device takes a new IPv6 address for every try."""
    throttle = Throttle()
    for number in range(ALL_TRIES):
        throttle.begin(f"fd00::{number:x}", 1.0)
    assert wait_after(throttle, "fd00::ffff", 2.0) == ALL_SECONDS - 1
    made = sum(not wait_after(throttle, f"fd01::{step:x}", 2.0 + step) for step in range(24 * 3600))
    assert made <= ALL_TRIES * 24 * 3600 / ALL_SECONDS, "a day of one try a second gets through"


def test_a_flood_does_not_lock_out_who_was_right_before() -> None:
    throttle = Throttle()
    throttle.begin("parent", 0.0)
    throttle.succeed("parent", 0.0)
    for number in range(ALL_TRIES):
        throttle.begin(f"fd00::{number:x}", 1.0)
    assert wait_after(throttle, "stranger", 2.0) > 0
    assert wait_after(throttle, "parent", 2.0) == 0


def test_a_right_try_clears_nothing_but_itself() -> None:
    """Who has an account of their own cannot use it to guess a parent's password without pauses."""
    throttle, now = Throttle(), 0.0
    guesses = 0
    for _ in range(1000):
        now += 1.0
        if not wait_after(throttle, "a", now):
            guesses += 1
        if not wait_after(throttle, "a", now):
            throttle.succeed("a", now)
    assert guesses <= FREE_TRIES + 10


def test_a_right_try_does_not_count() -> None:
    throttle = Throttle()
    for step in range(500):
        throttle.begin("a", float(step))
        throttle.succeed("a", float(step))
    assert [wait_after(throttle, "a", 500.0) for _ in range(FREE_TRIES)] == [0] * FREE_TRIES


def test_mistakes_are_forgotten_after_hours() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        throttle.begin("a", 0.0)
    assert wait_after(throttle, "a", 1.0)
    assert [wait_after(throttle, "a", FORGET_SECONDS + 1) for _ in range(FREE_TRIES)] == [0] * FREE_TRIES


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MOST_SOURCES * 3):
        throttle.begin(str(number), number * ALL_SECONDS)
    assert len(throttle._sources) == MOST_SOURCES and len(throttle._all) <= ALL_TRIES


def test_tries_at_the_same_moment_do_not_slip_through() -> None:
    throttle = Throttle()
    made: list[int] = []
    start = threading.Barrier(40)

    def guess() -> None:
        start.wait()
        if not wait_after(throttle, "a", 5.0):
            made.append(1)

    threads = [threading.Thread(target=guess) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == FREE_TRIES


def test_a_refusal_tells_whole_seconds() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        throttle.begin("a", 0.0)
    with pytest.raises(RefusalError) as caught:
        throttle.begin("a", 1.999)
    assert caught.value.retry_after == 1
