"""Use and tries as a profile shows them: what may be seen is decided here, whatever the history holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from guardian.policy.model import GroupMinutes, Profile, Visibility
from guardian.store.history_read import HourTotals, KindCount, NameCount, Tries, UsedMinutes
from guardian.web.activity import last_days, list_kinds, make_activity
from guardian.web.shapes.activity import Activity, BlockedKind, BlockedSite, DayOfUse, HourOfTries, Use
from tests.web.homes import make_household, make_policy

ANA = Profile("ana", "Ana", "10-12")
DAYS = [date(2026, 11, 22), date(2026, 11, 23)]
KINDS = [
    KindCount("allow", "default", "", 100),
    KindCount("rewrite", "safe-search", "", 5),
    KindCount("block", "category", "category:gambling", 7),
    KindCount("block", "rule", "", 9),
    KindCount("block", "category", "category:gambling", 3),
]
TRIES = Tries([HourTotals(498000, 60, 10), HourTotals(498001, 45, 9)], KINDS)
HOSTILE = "\\255\\254\\<script\\>.rule.example"
SITES = [NameCount("ana", HOSTILE, "rule", "", 9, 1_792_800_000)]
USED = [
    UsedMinutes("2026-11-23", "ana", "", 50.0),
    UsedMinutes("2026-11-23", "ana", "youtube", 30.0),
    UsedMinutes("2026-11-23", "ana", "roblox", 20.004),
    UsedMinutes("2026-11-23", "ana", "group:video", 30.0),
    UsedMinutes("2026-11-23", "ana", "group:games", 20.0),
]


def show(visibility: Visibility, profile: Profile = ANA) -> Activity:
    profile = replace(profile, visibility=visibility)
    return make_activity(make_policy(make_household(profile)), profile, DAYS, TRIES, SITES, USED, False)


def test_names_show_everything() -> None:
    found = show(Visibility.NAMES)
    assert (found.allowed, found.blocked, found.counted, found.visibility) == (105, 19, True, "names")
    assert found.hours == [HourOfTries(498000 * 3600.0, 60, 10), HourOfTries(498001 * 3600.0, 45, 9)]
    assert found.kinds == [BlockedKind("category:gambling", "category", 10), BlockedKind("", "rule", 9)]
    assert found.sites == [BlockedSite(HOSTILE, "", "rule", 9, 1_792_800_000.0, "Device of Ana")]
    assert found.days == [
        DayOfUse("2026-11-22", 0, []),
        DayOfUse("2026-11-23", 50, [Use("youtube", 30), Use("roblox", 20)]),
    ]


def test_categories_show_no_site() -> None:
    found = show(Visibility.CATEGORIES)
    assert found.sites is None
    assert found.kinds == show(Visibility.NAMES).kinds


def test_counts_show_one_number_and_no_service_without_a_limit() -> None:
    found = show(Visibility.COUNTS)
    assert found.sites is None
    assert found.kinds == [BlockedKind("", "", 19)]
    assert found.days[1] == DayOfUse("2026-11-23", 50, [])
    assert "gambling" not in repr(found) and "script" not in repr(found) and "youtube" not in repr(found)
    assert list_kinds(Visibility.COUNTS, [KindCount("allow", "", "", 3)]) == []


@pytest.mark.parametrize(
    ("limited", "shown"),
    [
        (["youtube"], ["youtube"]),
        (["group:video"], ["group:video"]),
        (["youtube", "group:video"], ["group:video"]),  # not twice the same minutes
        (["youtube", "group:games"], ["youtube", "group:games"]),
    ],
)
def test_counts_show_the_minutes_of_what_has_a_limit(limited: list[str], shown: list[str]) -> None:
    profile = replace(ANA, group_minutes=tuple(GroupMinutes(of, (60,) * 7) for of in limited))
    assert [use.of for use in show(Visibility.COUNTS, profile).days[1].by] == shown


def test_without_a_flow_filter_nothing_is_counted() -> None:
    policy = make_policy(make_household(ANA))
    assert not make_activity(policy, ANA, DAYS, Tries([], []), [], [], False).counted
    assert make_activity(policy, ANA, DAYS, Tries([], []), [], [], True).counted
    assert make_activity(policy, ANA, DAYS, Tries([], []), [], [], True).sites == []


def test_the_last_days() -> None:
    assert last_days(date(2026, 3, 1), 3) == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
