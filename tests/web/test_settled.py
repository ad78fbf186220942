"""Answers about past days: kept as they were, bounded, gone with the hours that they are about."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from guardian.store.history_read import BlockedCount, HourTotals, KindCount, Tries
from guardian.web.settled import MOST_BYTES, Settled, Span

DAY = Span("history.db", 24, 48, ("tablet",))
TRIES = Tries([HourTotals(24, 5, 0), HourTotals(30, 0, 2)], [KindCount("block", "category", "category:games", 2)])


def unreadable() -> Tries:
    raise AssertionError("it was read again")


def test_a_day_is_read_once_and_comes_back_as_it_was() -> None:
    settled = Settled()
    assert settled.find(Tries, DAY, lambda: TRIES) is TRIES
    again = settled.find(Tries, DAY, unreadable)
    assert again == TRIES and isinstance(again, Tries)
    assert isinstance(again.hours[0], HourTotals) and again.kinds[0].tag == "category:games"


def test_what_was_asked_tells_answers_apart() -> None:
    settled = Settled()
    blocks = [BlockedCount("tablet", "bypass", "bypass:vpn", 3, 24, 25)]
    assert settled.find(list[BlockedCount], DAY, lambda: blocks) == blocks
    others = [DAY, DAY._replace(path="other.db"), DAY._replace(since=25), DAY._replace(until=47), DAY._replace(of=())]
    for number, span in enumerate(others):
        settled.find(Tries, span, partial(Tries, [HourTotals(24, number, 0)], []))
    assert [settled.find(Tries, span, unreadable).hours[0].allowed for span in others] == [0, 1, 2, 3, 4]
    assert settled.find(list[BlockedCount], DAY, list) == blocks


def test_what_cannot_be_read_is_asked_again() -> None:
    settled = Settled()
    with pytest.raises(AssertionError):
        settled.find(Tries, DAY, unreadable)
    assert len(settled) == 0
    assert settled.find(Tries, DAY, lambda: TRIES) == TRIES


def test_it_is_forgotten_with_its_last_hour() -> None:
    settled = Settled()
    other = DAY._replace(path="other.db")
    for span in (DAY, DAY._replace(since=48, until=72), other):
        settled.find(Tries, span, lambda: TRIES)
    settled.forget_before("history.db", 47)
    assert len(settled) == 3
    settled.forget_before("history.db", 48)
    assert len(settled) == 2
    assert settled.find(Tries, DAY, lambda: Tries([], [])) == Tries([], [])  # read again
    settled.forget_before("history.db", None)
    assert len(settled) == 1 and settled.find(Tries, other, unreadable) == TRIES


def test_the_longest_unused_goes_first() -> None:
    settled = Settled(most_bytes=5000)
    for since in range(100):
        settled.find(Tries, DAY._replace(since=since), lambda: TRIES)
        settled.find(Tries, DAY._replace(since=0), unreadable)  # in use all the time
    assert 5 < len(settled) < 5000 // 400
    assert settled.find(Tries, DAY._replace(since=99), unreadable) == TRIES
    assert settled.find(Tries, DAY._replace(since=50), lambda: Tries([], [])) == Tries([], [])


def test_one_answer_larger_than_all_is_not_kept() -> None:
    settled = Settled(most_bytes=600)
    large = Tries([HourTotals(hour, hour, hour) for hour in range(1000)], [])
    assert settled.find(Tries, DAY, lambda: large) == large
    assert len(settled) == 0
    small = DAY._replace(since=1)
    settled.find(Tries, small, lambda: TRIES)
    assert settled.find(Tries, small, unreadable) == TRIES


def test_many_threads_at_once() -> None:
    settled = Settled(most_bytes=20_000)

    def work(number: int) -> None:
        for since in range(200):
            value = Tries([HourTotals(since % 50, 0, 0)], [])
            found = settled.find(Tries, DAY._replace(since=since % 50), partial(Tries, *value))
            assert found == value
            if since % 20 == number:
                settled.forget_before("history.db", None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    settled.forget_before("history.db", None)
    assert len(settled) == 0 and settled._bytes == 0
    assert MOST_BYTES <= 1024 * 1024
