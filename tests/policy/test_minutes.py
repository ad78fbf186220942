"""What is left of a day and a week, with bonuses, and how long that surely lasts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.policy.compile import Policy
from guardian.policy.minutes import Allowance, earliest_end, minutes_left, take_allowances
from guardian.policy.model import FOREVER, Bonus, GroupMinutes, Profile
from guardian.policy.usage import Usage

WEDNESDAY = date(2026, 11, 25)
KID = Profile(
    "kid",
    "Kid",
    minutes=(60, 60, 60, 60, 60, 120, 120),
    group_minutes=(GroupMinutes("youtube", (30,) * 7), GroupMinutes("group:games", week=200)),
    bonuses=(
        Bonus(WEDNESDAY, 15),
        Bonus(WEDNESDAY, 5),
        Bonus(WEDNESDAY, 10, "group:games"),
        Bonus(date(2026, 11, 23), 20, "group:games"),
        Bonus(date(2026, 11, 22), 500, "group:games"),  # last week's
        Bonus(date(2026, 11, 28), 500, "group:games"),  # not yet
        Bonus(WEDNESDAY, 500, "tiktok"),  # has no limit
    ),
)


def test_what_is_left(home: Callable[..., Policy], at: Callable[..., float]) -> None:
    usage = Usage()
    usage.add("kid", "", WEDNESDAY, 50)
    usage.add("kid", "", date(2026, 11, 23), 30)
    usage.add("kid", "group:games", date(2026, 11, 23), 30)
    policy = home(KID, Profile("free", "Free"), usage=usage)
    now = at("2026-11-25 19:00")
    assert minutes_left(policy, "kid", now) == (
        ("", 50, 80, 80, None),
        ("youtube", 0, 30, 0, None),
        ("group:games", 0, None, 30, 230),
    )
    assert [found.left for found in minutes_left(policy, "kid", now)] == [30, 30, 200]
    assert minutes_left(policy, "kid", at("2026-11-28 00:00"))[0].limit_today == 120
    assert minutes_left(policy, "kid", at("2026-11-28 00:00"))[2].limit_week == 730
    # What was used is told where there is no limit, and of the strictest profile when the id is nobody's.
    usage.add("free", "", WEDNESDAY, 5)
    assert minutes_left(policy, "free", now) == (("", 5, None, 5, None),)
    assert minutes_left(policy, "gone", now) == (("", 0, None, 0, None),)
    assert take_allowances(policy, KID, WEDNESDAY) == minutes_left(policy, "kid", now)


@pytest.mark.parametrize(
    ("allowance", "left"),
    [
        (Allowance("", 10, None, 70, None), (FOREVER, FOREVER, FOREVER)),
        (Allowance("", 10, 60, 70, 100), (50, 30, 30)),
        (Allowance("", 60, 60, 70, 100), (0, 30, 0)),
        (Allowance("", 60, 60, 200, 100), (0, 0, 0)),
        (Allowance("", 0, 0, 0, None), (0, FOREVER, 0)),
        (Allowance("", sum([0.1] * 600), 60, 0, None), (0, FOREVER, 0)),  # 59.99999999999...
    ],
)
def test_left_of_the_day_and_the_week(allowance: Allowance, left: tuple[float, float, float]) -> None:
    assert (allowance.left_today, allowance.left_this_week, allowance.left) == left


@given(st.floats(1e-6, 10080), st.floats(1.6e9, 2e9))
def test_the_end_is_never_late_and_not_much_too_early(left: float, now: float) -> None:
    end = earliest_end(left, now)
    assert end >= now + 1
    if left * 60 >= 1.01:
        assert end <= now + left * 60
        assert end - now >= left * 60 * 7 / 8 - 1.01


def test_devices_of_a_profile_get_the_same_end() -> None:
    """They ask at other seconds, and use no minutes meanwhile; else each would have ready answers of its own."""
    ends = {earliest_end(60.0, 1795440600.0 + seconds / 10) for seconds in range(600)}
    assert len(ends) <= 2
