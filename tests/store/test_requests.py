"""What children asked and what was answered, as console.db keeps it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from guardian.store.console import ConsoleStore
from guardian.store.requests import (
    KEEP_SECONDS,
    MOST_A_DAY,
    MOST_OPEN,
    OPEN_SECONDS,
    AnsweredError,
    StoredRequest,
    TooManyError,
    Verdict,
    Wish,
    add_request,
    answer_request,
    can_ask,
    count_open,
    find_request,
    list_requests,
)

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    return ConsoleStore(str(tmp_path / "console.db"))


def wish(number: int = 30, profile: str = "ana", site: str = "") -> Wish:
    return Wish(profile, "tablet", "site" if site else "time", None if site else number, site, "please")


def test_a_request_is_kept_whole(store: ConsoleStore) -> None:
    words = "te rog \u202e <script>\n\x00 ✓"
    found, is_new = add_request(store, Wish("ana", "tablet", "site", None, "a.example", words), NOW)
    assert is_new
    expected = StoredRequest(
        1, "ana", "tablet", "site", None, "a.example", words, NOW, "open", None, "", None, None, ""
    )  # fmt: skip
    assert found == expected == find_request(store, 1, NOW)
    assert find_request(store, 2, NOW) is None
    assert list_requests(store, NOW) == [expected]


def test_the_same_wish_is_asked_once_while_it_is_open(store: ConsoleStore) -> None:
    first, _ = add_request(store, wish(), NOW)
    again, is_new = add_request(store, wish()._replace(message="again", device="phone"), NOW + 5)
    assert (again, is_new) == (first, False)
    answer_request(store, first.id, Verdict("refused", "Mama"), NOW + 6)
    other, is_new = add_request(store, wish(), NOW + 7)
    assert is_new and other.id != first.id
    assert add_request(store, wish(profile="ion"), NOW + 8)[1]


def test_open_requests_are_few_and_those_of_a_day_too(store: ConsoleStore) -> None:
    for number in range(MOST_OPEN):
        assert can_ask(store, "ana", NOW)
        add_request(store, wish(number + 5), NOW)
    assert not can_ask(store, "ana", NOW)
    with pytest.raises(TooManyError):
        add_request(store, wish(200), NOW)
    assert can_ask(store, "ion", NOW)  # another child may
    assert add_request(store, wish(5), NOW)[1] is False  # an equal one is no new one
    for key in range(1, MOST_OPEN + 1):
        answer_request(store, key, Verdict("refused", "Mama"), NOW)
    for number in range(MOST_OPEN, MOST_A_DAY):
        found, _ = add_request(store, wish(number + 5), NOW)
        answer_request(store, found.id, Verdict("refused", "Mama"), NOW)
    assert not can_ask(store, "ana", NOW)
    with pytest.raises(TooManyError):
        add_request(store, wish(200), NOW)
    assert can_ask(store, "ana", NOW + OPEN_SECONDS)
    assert add_request(store, wish(200), NOW + OPEN_SECONDS)[1]


def test_a_request_expires_after_a_day_and_can_then_not_be_answered(store: ConsoleStore) -> None:
    found, _ = add_request(store, wish(), NOW)
    assert count_open(store, NOW + OPEN_SECONDS - 1) == 1
    late = NOW + OPEN_SECONDS
    assert count_open(store, late) == 0
    assert find_request(store, found.id, late) == found._replace(state="expired")
    with pytest.raises(AnsweredError):
        answer_request(store, found.id, Verdict("granted", "Mama", minutes=30), late)
    assert add_request(store, wish(), late)[1]


def test_a_clock_that_ran_ahead_shuts_nobody_up(store: ConsoleStore) -> None:
    for number in range(MOST_OPEN):
        add_request(store, wish(number + 5), NOW + 10 * 365 * 86400)
    assert can_ask(store, "ana", NOW)
    assert count_open(store, NOW) == 0
    assert add_request(store, wish(5), NOW)[1]


def test_an_answer_is_written_once_whoever_is_quicker(store: ConsoleStore) -> None:
    found, _ = add_request(store, wish(), NOW)
    start, outcomes = threading.Barrier(6), []

    def tap(who: str) -> None:
        start.wait()
        try:
            outcomes.append(answer_request(store, found.id, Verdict("granted", who, minutes=15), NOW + 1).answered_by)
        except AnsweredError:
            outcomes.append("")

    threads = [threading.Thread(target=tap, args=(f"parent {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [who for who in outcomes if who]
    assert len(winners) == 1 and len(outcomes) == 6
    kept = find_request(store, found.id, NOW + 2)
    assert kept is not None
    assert (kept.state, kept.answered_by, kept.granted_minutes, kept.answered) == ("granted", *winners, 15, NOW + 1)


def test_open_ones_come_first_then_the_newest(store: ConsoleStore) -> None:
    for number in range(3):
        add_request(store, wish(number + 5), NOW + number)
    answer_request(store, 3, Verdict("refused", "Tata", note="mai târziu"), NOW + 9)
    add_request(store, wish(profile="ion"), NOW + 5)
    assert [found.id for found in list_requests(store, NOW + 10)] == [4, 2, 1, 3]
    assert [found.id for found in list_requests(store, NOW + 10, "ana")] == [2, 1, 3]
    assert [found.id for found in list_requests(store, NOW + 10, limit=2)] == [4, 3]
    assert list_requests(store, NOW + 10, "' OR 1=1 --") == []
    answered = find_request(store, 3, NOW + 10)
    assert answered is not None and answered.note == "mai târziu"


def test_what_was_asked_long_ago_goes(store: ConsoleStore) -> None:
    add_request(store, wish(), NOW)
    add_request(store, wish(), NOW + KEEP_SECONDS + 1)
    assert [found.asked for found in list_requests(store, NOW + KEEP_SECONDS + 2)] == [NOW + KEEP_SECONDS + 1]
