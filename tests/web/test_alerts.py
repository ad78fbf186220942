"""Alerts from facts: grouped, ranked, one action each, nothing finer than a profile shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.hotline.feed_health import LASTING_SECONDS, NEVER, OK, REFUSED, STALE, STALE_SECONDS, FeedHealth
from guardian.policy.model import Device, Household, Profile, Visibility
from guardian.store.history_read import Attempt, BlockedCount
from guardian.web.alerts import AGAIN, MOST_STRANGERS, make_alerts, without_dismissed
from guardian.web.observed import DayOfBlocks, Observed
from guardian.web.shapes.activity import Alert, AlertAction
from tests.web.homes import at, make_household

DAY = "2026-11-23"
NOW = at(f"{DAY} 18:00")
NOON = int(at(f"{DAY} 12:00"))
ANA = Profile("ana", "Ana", "10-12")
TEEN = Profile("ion", "Ion", "16-17", visibility=Visibility.COUNTS)
ADULTS = Profile("parents", "Parents", filtered=False)
MAC, OTHER = "02:00:5e:00:00:01", "02:00:5e:00:00:02"
HOME = make_household(
    ANA,
    TEEN,
    ADULTS,
    devices=(
        Device("tablet", "Ana's tablet", "ana", (OTHER,)),
        Device("phone", "Phone", "ion"),
        Device("laptop", "Laptop", "parents"),
    ),
)
HEALTHY: dict[str, Any] = {
    "history": {"error": "", "running": True, "written_at": NOW - 5},
    "lists": {"created": NOW - 3600, "error": "", "addresses": {"error": ""}},
    "started": NOW - 30 * 86400,
}


def tried(kind: str, times: int = 1, device: str = "tablet", mac: str = "", day: str = DAY) -> Attempt:
    return Attempt(day, device, mac, kind, times, NOON, NOON + 60)


def blocked(tag: str, queries: int, device: str = "tablet", day: str = DAY, reason: str = "") -> DayOfBlocks:
    hour = NOON // 3600
    return DayOfBlocks(day, BlockedCount(device, reason or tag.partition(":")[0], tag, queries, hour, hour + 2))


def alerts(
    *facts: Attempt | DayOfBlocks,
    home: Household = HOME,
    status: dict[str, Any] | None = HEALTHY,
    hosts: tuple[tuple[str, str], ...] = (),
    fetch_hours: int = 24,
    now: float = NOW,
    history_error: str = "",
    feed: FeedHealth | None = None,
    storage: str = "",
) -> list[Alert]:
    attempts = tuple(fact for fact in facts if isinstance(fact, Attempt))
    blocks = tuple(fact for fact in facts if isinstance(fact, DayOfBlocks))
    seen = Observed(status, attempts, blocks, hosts, history_error, feed, storage=storage)
    return make_alerts(home, seen, fetch_hours, now)


def only(*facts: Attempt | DayOfBlocks, **more: Any) -> Alert:
    (found,) = alerts(*facts, **more)
    return found


def test_a_healthy_home_has_none() -> None:
    assert alerts() == []


def test_an_attempt_whole() -> None:
    assert only(tried("vpn", 4)) == Alert(
        id=f"bypass:{DAY}:tablet:vpn",
        kind="bypass",
        priority="high",
        day=DAY,
        profile="ana",
        device="tablet",
        device_name="Ana's tablet",
        mac="",
        of="vpn",
        times=4,
        first=NOON,
        last=NOON + 60,
        action=AlertAction("be-strict", "ana"),
    )


@pytest.mark.parametrize(
    ("fact", "priority"),
    [
        (tried("vpn", 3), "high"),
        (tried("tor", 3), "high"),
        (tried("proxy", 30), "high"),
        (tried("doh", 3), "high"),
        (tried("vpn", 2), "normal"),
        (tried("doh", 2), "low"),
        (tried("dns", 2), "low"),
        (tried("dns", 50), "normal"),
        (tried("dot", 1), "low"),
        (tried("canary", 500), "low"),
        (tried("relay", 500), "low"),
        (tried("ech", 500), "low"),
        (tried("conflict", 1), "normal"),
        (tried("safe-search", 1), "normal"),
        (tried("other", 1), "normal"),
        (tried("vpn", 500, "laptop"), "normal"),  # an adult's
        (tried("vpn", 500, "", MAC), "normal"),  # nobody's yet
        (blocked("bypass:vpn", 4), "normal"),  # a browser that is refused asks again: these are two tries
        (blocked("bypass:vpn", 5), "high"),
        (blocked("bypass:doh", 4), "low"),
        (blocked("bypass:canary", 600), "low"),
    ],
)
def test_how_urgent_a_way_around_is(fact: Attempt | DayOfBlocks, priority: str) -> None:
    assert only(fact).priority == priority


def test_each_has_the_one_action_that_helps() -> None:
    assert only(tried("vpn", 2)).action == AlertAction("ask", "vpn")
    strict = replace(HOME, profiles=(replace(ANA, strict=True), TEEN, ADULTS))
    assert only(tried("vpn", 9), home=strict).action == AlertAction("ask", "vpn")
    assert only(tried("vpn", 9, "", MAC)).action == AlertAction("name-device", MAC)
    assert only(blocked("category:gambling", 37)).action == AlertAction("ask", "gambling")
    assert only(blocked("category:games", 37)).action == AlertAction("open-profile", "ana")


def test_tries_that_dns_and_the_flow_filter_saw_are_one_alert() -> None:
    found = only(tried("vpn", 2), blocked("bypass:vpn", 5))
    assert (found.times, found.first, found.last) == (7, NOON // 3600 * 3600, (NOON // 3600 + 3) * 3600)


def test_a_device_that_was_named_since_has_its_earlier_tries() -> None:
    found = only(tried("vpn", 2, "", OTHER), tried("vpn", 3))
    assert (found.id, found.times, found.device_name) == (f"bypass:{DAY}:tablet:vpn", 5, "Ana's tablet")
    assert alerts(tried("unknown-device", 1, "", OTHER)) == []


def test_a_device_that_is_gone_is_told_no_more() -> None:
    assert (
        alerts(tried("vpn", 9, "sold"), blocked("category:gambling", 90, "sold"), blocked("bypass:vpn", 9, "sold"))
        == []
    )


def test_a_new_device_has_its_host_name_as_it_says_it() -> None:
    found = only(tried("unknown-device", 1, "", MAC), hosts=((MAC, "anas-iphone"),))
    assert (found.id, found.kind, found.priority) == (f"new-device:{DAY}:{MAC}", "new-device", "normal")
    assert (found.device_name, found.mac, found.action) == ("anas-iphone", MAC, AlertAction("name-device", MAC))


def test_who_makes_up_addresses_gets_one_alert_for_all() -> None:
    crowd = [f"02:00:00:00:{number // 256:02x}:{number % 256:02x}" for number in range(1000)]
    facts = [tried(kind, 1, "", mac) for mac in crowd for kind in ("unknown-device", "vpn")]
    found = alerts(*facts)
    assert {(alert.id, alert.times, alert.mac) for alert in found} == {
        (f"new-device:{DAY}", 1000, ""),
        (f"bypass:{DAY}:vpn", 1000, ""),
    }
    few = alerts(*facts[: 2 * MOST_STRANGERS])
    assert len(few) == 2 * MOST_STRANGERS and all(alert.mac for alert in few)


def test_bursts_are_of_what_matters() -> None:
    found = only(blocked("category:gambling", 37))
    assert (found.id, found.priority, found.of, found.times) == (
        f"burst:{DAY}:tablet:gambling", "normal", "gambling", 37,
    )  # fmt: skip
    assert only(blocked("category:games", 37)).priority == "low"
    assert alerts(blocked("category:ads", 5000), blocked("category:tracking", 5000)) == []
    assert alerts(blocked("", 50, reason="category"), blocked("category:", 50), blocked("service:tiktok", 50)) == []


def test_where_counts_are_shown_no_kind_of_site_is() -> None:
    assert alerts(blocked("category:gambling", 500, "phone"), blocked("bypass:vpn", 500, "phone")) == []
    assert only(tried("vpn", 5, "phone")).priority == "high"  # a way around is no site
    by_default = replace(HOME, new_device_profile="")
    assert alerts(blocked("category:gambling", 500, ""), home=by_default) == []
    guests = replace(HOME, new_device_profile="ana")
    assert only(blocked("category:gambling", 500, ""), home=guests).device == ""
    narrowed = replace(HOME, profiles=(replace(ANA, visibility=Visibility.COUNTS), TEEN, ADULTS))
    assert alerts(blocked("category:gambling", 500), home=narrowed) == []


def test_a_helpline_that_cannot_be_reached_is_nobody_s() -> None:
    facts = (tried("helpline-blocked", 1, "", ""), tried("helpline-blocked", 9, "tablet"))
    found = only(*facts)
    assert (found.id, found.priority, found.times) == (f"helpline-blocked:{DAY}", "high", 1)
    assert (found.device, found.device_name, found.profile, found.mac) == ("", "", "", "")
    assert found.first == found.last == at(f"{DAY} 00:00")  # the hour would tell who sat there


def test_a_gateway_that_is_down() -> None:
    found = only(status=None)
    assert (found.id, found.kind, found.priority, found.action) == (
        f"gateway-down:{DAY}", "gateway-down", "high", AlertAction("check"),
    )  # fmt: skip
    assert [alert.kind for alert in alerts(status=None, history_error="gone")] == ["gateway-down"]


@pytest.mark.parametrize("history", [{"error": "disk full"}, {"running": False}, {"running": False, "written_at": 0.0}])
def test_a_history_that_is_off(history: dict[str, Any]) -> None:
    status = HEALTHY | {"history": HEALTHY["history"] | history}
    assert only(status=status).kind == "history-off"
    assert only(status=HEALTHY, history_error="no such file").kind == "history-off"


@pytest.mark.parametrize(("why", "priority"), [("full", "normal"), ("read-only", "normal"), ("settings", "high")])
def test_a_box_that_cannot_save_or_read(why: str, priority: str) -> None:
    found = only(status=HEALTHY, storage=why)
    assert (found.kind, found.of, found.priority, found.action) == ("storage", why, priority, AlertAction("check"))
    assert found.id == f"storage:{DAY}:{why}"
    assert {alert.kind for alert in alerts(status=None, storage=why)} == {"storage", "gateway-down"}


def test_lists_that_are_stale() -> None:
    lists = {"created": NOW - 72 * 3600, "error": "", "addresses": {"error": ""}}
    found = only(status=HEALTHY | {"lists": lists})
    assert (found.kind, found.priority, found.action) == ("lists-stale", "normal", AlertAction("update-lists"))
    assert alerts(status=HEALTHY | {"lists": lists}, now=NOW - 1) == []
    assert alerts(status=HEALTHY | {"lists": lists}, fetch_hours=0) == []  # fetched by hand
    for broken in ({"error": "bad image"}, {"addresses": {"error": "bad table"}}):
        assert only(status=HEALTHY | {"lists": HEALTHY["lists"] | broken}, fetch_hours=0).kind == "lists-stale"


STALE_FEED = FeedHealth(STALE, "offline", "why", True, True, NOW - 9 * 86400, 9 * 86400.0)


@pytest.mark.parametrize(
    ("code", "cause", "priority"),
    [
        ("offline", "offline", "low"), ("too-slow", "offline", "low"), ("clock", "clock", "normal"),
        ("not-signed", "refused", "high"), ("rollback", "refused", "high"), ("expired", "behind", "normal"),
        ("growth", "behind", "normal"), ("disk", "behind", "normal"), ("", "behind", "normal"),
        ("x:y", "behind", "normal"),
    ],
)  # fmt: skip
def test_a_feed_that_is_stale(code: str, cause: str, priority: str) -> None:
    found = only(feed=replace(STALE_FEED, code=code))
    assert (found.id, found.kind, found.of) == (f"feed-stale:{DAY}:{cause}", "feed-stale", cause)
    assert (found.priority, found.action, found.first, found.last) == (
        priority, AlertAction("check"), NOW - 9 * 86400, NOW,
    )  # fmt: skip
    assert "why" not in repr(found)


@pytest.mark.parametrize(
    ("code", "told"),
    [("not-signed", True), ("rollback", True), ("expired", True), ("clock", True), ("offline", False),
     ("damaged", False), ("growth", False), ("missing", False), ("", False)],
)  # fmt: skip
def test_what_was_refused_is_told_when_it_is_met_again(code: str, told: bool) -> None:
    once = FeedHealth(REFUSED, code, "why", False, False, NOW - 3600, 3600.0)
    assert alerts(feed=once) == []
    assert bool(alerts(feed=replace(once, is_lasting=True))) is told


def test_a_feed_that_is_well_or_is_not_there() -> None:
    assert alerts(feed=None) == alerts(feed=FeedHealth(OK, age=0.0, since=NOW)) == []
    assert alerts(feed=FeedHealth(OK, "offline", "why", False, True, NOW - 86400, 86400.0)) == []


def test_software_that_is_behind() -> None:
    """A notice on the page: whoever signs a feed can have no home's phone ring with it, nor nag day after day."""
    seen = Observed(HEALTHY, asked_version="9.1")
    (found,) = make_alerts(HOME, seen, 24, NOW)
    assert (found.id, found.kind, found.of, found.priority, found.action) == (
        "software-old:9.1", "software-old", "9.1", "low", AlertAction("check"),
    )  # fmt: skip
    (tomorrow,) = make_alerts(HOME, seen, 24, NOW + 3600)
    assert tomorrow.id == found.id and without_dismissed([tomorrow], {found.id: 1}) == []
    (newer,) = make_alerts(HOME, seen._replace(asked_version="9.2"), 24, NOW)
    assert without_dismissed([newer], {found.id: 1}) == [newer]


def test_a_box_that_was_off_for_a_week_has_an_hour_to_look() -> None:
    waiting = replace(STALE_FEED, code="", is_lasting=False)
    assert alerts(feed=waiting, status=HEALTHY | {"started": NOW - LASTING_SECONDS + 1}) == []
    assert only(feed=waiting, status=HEALTHY | {"started": NOW - LASTING_SECONDS}).kind == "feed-stale"
    assert [alert.kind for alert in alerts(feed=waiting, status=None)] == ["gateway-down"]
    assert [alert.kind for alert in alerts(feed=STALE_FEED, status=None)] == ["gateway-down", "feed-stale"]


def test_a_feed_that_nobody_looks_at() -> None:
    for age, told in ((STALE_SECONDS, False), (STALE_SECONDS + 1, True)):
        found = alerts(feed=FeedHealth(NEVER), status=HEALTHY | {"started": NOW - age})
        assert [alert.first for alert in found] == [NOW - age] * told


def test_by_priority_then_the_newest_first() -> None:
    found = alerts(
        blocked("category:gambling", 37),
        tried("canary", 1),
        tried("vpn", 5),
        Attempt(DAY, "tablet", "", "tor", 3, NOON, NOON + 999),
        status=None,
    )
    assert [alert.of or alert.kind for alert in found] == ["gateway-down", "tor", "vpn", "gambling", "canary"]


def test_what_was_put_away_comes_back_when_it_goes_on() -> None:
    before = alerts(tried("vpn", 4))
    for times, shown in ((4, False), (4 * AGAIN - 1, False), (4 * AGAIN, True)):
        assert bool(without_dismissed(alerts(tried("vpn", times)), {before[0].id: before[0].times})) is shown
    tomorrow = alerts(tried("vpn", 4, day="2026-11-24"))
    assert without_dismissed(tomorrow, {before[0].id: 4}) == tomorrow
    assert without_dismissed(before, {before[0].id: 0}) == before


words = st.sampled_from(["vpn", "doh", "canary", "other", "unknown-device", "helpline-blocked", "x" * 32])
facts = st.one_of(
    st.builds(tried, words, st.integers(1, 10**6), st.sampled_from(["tablet", "phone", "laptop", "sold"])),
    st.builds(tried, words, st.integers(1, 10**6), st.just(""), st.sampled_from(["", MAC, OTHER])),
    st.builds(
        blocked,
        st.sampled_from(["category:gambling", "category:games", "category:ads", "bypass:vpn", "bypass:", "category:x"]),
        st.integers(1, 10**6),
        st.sampled_from(["tablet", "phone", "laptop", "sold", ""]),
        st.sampled_from([DAY, "2026-11-22", "2026-11-20"]),
    ),
)


def key_of(fact: Attempt | DayOfBlocks) -> tuple[str, ...]:
    """What the history keeps one row of."""
    if isinstance(fact, Attempt):
        return fact.day, fact.device, fact.mac, fact.kind
    return fact.day, fact.found.device, fact.found.tag


@given(st.lists(facts, max_size=30, unique_by=key_of))
def test_whatever_happened_each_alert_is_one_line_with_one_action(found: list[Attempt | DayOfBlocks]) -> None:
    made = alerts(*found)
    assert len({alert.id for alert in made}) == len(made)
    actions = {"name-device", "open-profile", "be-strict", "ask", "update-lists", "check"}
    for alert in made:
        assert alert.action.kind in actions
        assert len(alert.id) <= 200 and alert.first <= alert.last and alert.times >= 1
        assert alert.kind != "burst" or alert.device != "phone"
        assert alert.device in ("", "tablet", "phone", "laptop")
    assert alerts(*reversed(found)) == made
