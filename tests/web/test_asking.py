"""A child asks, a parent answers: on a real household, a real console.db, a real journal."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.catalogue import MANDATORY_TEST, make_test_name
from guardian.policy.model import FOREVER, Action, Match
from guardian.policy.schedule import next_midnight
from guardian.store import requests as stored
from guardian.store.requests import StoredRequest, find_request
from guardian.store.settings import Entry, read_journal
from guardian.web import asking
from guardian.web.access import Whose
from guardian.web.asking import (
    answer,
    ask,
    clean_words,
    find_why,
    open_requests,
    open_site,
    show_requests,
    show_to_child,
)
from guardian.web.changes import replace_profile
from guardian.web.console import Console
from guardian.web.routing import RefusalError
from guardian.web.shapes.requests import Ask, Reply
from tests.gateway.product import compile_starter_image
from tests.web.api.calls import open_console
from tests.web.homes import at

HOME = """
timezone: Europe/Chisinau
language: ro
profiles:
  ana:
    name: Ana
    age: 10-12
    offline: [daily 21:00-07:00]
    minutes: 60
    block: [=blocked.example, www.blocked.example, "*.wild.example"]
  ion: {name: Ion, age: 13-15, offline: []}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Tablet, profile: ana, addresses: [127.0.0.2]}
  phone: {name: Phone, profile: ion, addresses: [127.0.0.4]}
  laptop: {name: Laptop, profile: parents, addresses: [127.0.0.3]}
block: [shared.example]
"""
NOON = at("2026-11-23 12:00")
NIGHT = at("2026-11-23 22:00")
TABLET = Whose("tablet", "ana", "Tablet", True)


@pytest.fixture
def console(tmp_path: Path) -> Console:
    image = tmp_path / "state" / "lists" / "guardian.image"
    image.parent.mkdir(parents=True)
    image.write_bytes(compile_starter_image())  # once for all tests
    return open_console(tmp_path, HOME)


def wish(console: Console, site: str = "", minutes: int | None = None, now: float = NOON, **more: Any) -> StoredRequest:
    kind = "site" if site else "time"
    return ask(console, more.pop("whose", TABLET), Ask(kind, minutes, site, **more), now)  # type: ignore[arg-type]


def refusal(*words: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(RefusalError) as caught:
        wish(*words, **more)
    return caught.value.status, caught.value.code


def is_open(console: Console, site: str, now: float = NOON) -> bool:
    """Whether the child's tablet reaches a site."""
    probe = StoredRequest(0, "ana", "tablet", "site", None, site, "", now, "open", None, "", None, None, "")
    return find_why(console.policy(now), probe, now) == ""


@pytest.mark.parametrize(
    "pasted",
    [
        "bet365.com",
        "https://user:pw@BET365.com:443/path?query#part",
        "  bet365.com. ",
        "Look: https://bet365.com/x",
        "\u202ebet365.com\u202c",
        "=bet365.com",
    ],
)
def test_whatever_is_pasted_becomes_a_pattern(console: Console, pasted: str) -> None:
    assert wish(console, pasted).site == "bet365.com"


@pytest.mark.parametrize(
    "pasted",
    ["192.168.1.1", "http://[::1]/", "com", "*", "a" * 300, "x" * 64 + ".com", "<script>alert(1)</script>", "..",
     "not a site", "ads*.example.com", "javascript:alert(1)", "\ud7ff\ufffe", "💩", " \t "],
)  # fmt: skip
def test_what_is_no_site_is_said_so_and_not_kept(console: Console, pasted: str) -> None:
    assert refusal(console, pasted) == (422, "not-valid")
    assert stored.list_requests(console.store, NOON) == []


@pytest.mark.parametrize("pasted", ["co.uk", "https://com.md/", "*.com.ro", "=org.uk", "COM.RU."])
def test_half_a_country_cannot_be_asked_for(console: Console, pasted: str) -> None:
    """A tired parent says yes to `com.md`, and every shop and every casino of Moldova is open."""
    assert refusal(console, pasted, now=NIGHT) == (422, "not-valid")


def test_a_yes_to_a_place_where_anybody_has_a_site_opens_not_all_of_them(console: Console) -> None:
    def change(home: Any) -> Any:
        return replace(home, profiles=(replace(home.profiles[0], allow_list_only=True), *home.profiles[1:]))

    console.edit(Entry("Mama", "strict"), change)
    for site in ("translate.goog", "https://www.github.io/x", "mine.github.io"):
        found = wish(console, site)
        assert answer(console, found.id, Reply("grant"), "Mama", NOON).state == "granted"
    assert not is_open(console, "bet365-com.translate.goog")
    assert is_open(console, "translate.goog") and is_open(console, "github.io") and is_open(console, "mine.github.io")
    assert is_open(console, "www.mine.github.io") and not is_open(console, "games.github.io")


@pytest.mark.parametrize("name", ["раураl.com", "аррle.com", "xn--80ak6aa92e.com", "ＰａｙＰａｌ.com"])
def test_parents_see_which_letters_a_look_alike_has(console: Console, name: str) -> None:
    """What a parent reads is what the rule opens, letter by letter: ASCII, so that р is no p."""
    found = wish(console, name, now=NIGHT)
    shown = show_requests(console, [found], NIGHT).requests[0].site
    assert shown.isascii() and (shown == "paypal.com" or shown.startswith("xn--"))


def test_what_is_missing_is_told(console: Console) -> None:
    assert refusal(console) == (422, "not-valid")
    with pytest.raises(RefusalError):
        ask(console, TABLET, Ask("site"), NOON)


def test_a_site_that_is_open_need_not_be_asked_for(console: Console) -> None:
    assert refusal(console, "open.example") == (409, "already-open")
    assert refusal(console, "telefonulcopilului.md") == (409, "already-open")
    assert refusal(console, "telefonulcopilului.md", now=NIGHT) == (409, "already-open")  # helplines always are
    assert stored.list_requests(console.store, NOON) == []


def test_a_site_closed_by_law_leaves_no_trace(console: Console, tmp_path: Path) -> None:
    name = make_test_name(MANDATORY_TEST)
    assert refusal(console, f"https://{name}/") == (403, "by-law")
    assert stored.list_requests(console.store, NOON) == []
    for file in (tmp_path / "state").iterdir():
        if file.name.startswith("console.db"):
            assert name.encode() not in file.read_bytes()


@pytest.mark.parametrize("whose", [Whose(), Whose("", "guests"), Whose("sold", "ana"), Whose("tablet'--", "ana")])
def test_who_nobody_has_named_cannot_ask(console: Console, whose: Whose) -> None:
    assert refusal(console, "bet365.com", whose=whose) == (403, "unknown-device")
    assert refusal(console, minutes=30, whose=whose) == (403, "unknown-device")


def test_the_profile_is_the_device_s_whatever_the_caller_says(console: Console) -> None:
    found = wish(console, minutes=30, whose=Whose("phone", "ana"))
    assert found.profile == "ion"


def test_the_same_wish_is_one_request_and_too_many_are_refused(console: Console) -> None:
    first = wish(console, "bet365.com")
    assert wish(console, "HTTPS://BET365.COM/again").id == first.id
    wish(console, minutes=30)
    wish(console, minutes=60)
    assert refusal(console, minutes=90) == (429, "full")
    assert wish(console, minutes=90, whose=Whose("phone", "ion")).profile == "ion"


def test_why_it_is_blocked(console: Console) -> None:
    wish(console, "bet365.com", message="te rog")
    wish(console, "blocked.example")
    wish(console, minutes=30)
    by_day = {found.site: found.why for found in open_requests(console, NOON)}
    assert by_day == {"bet365.com": "category:gambling", "blocked.example": "rule:block =blocked.example", "": ""}
    at_night = {found.site: found.why for found in open_requests(console, NIGHT)}
    assert at_night == by_day | {"": "schedule:bedtime"}, "a betting site is one at bedtime too"
    shown = show_requests(console, stored.list_requests(console.store, NOON), NOON)
    assert set(shown.names) == {"category:gambling"}
    assert {(found.profile_name, found.device_name) for found in shown.requests} == {("Ana", "Tablet")}


def test_time_is_given_for_today_and_told_in_the_journal(console: Console) -> None:
    found = wish(console, minutes=30)
    granted = answer(console, found.id, Reply("grant", 45, note=" încă\npuțin "), "Tata", NOON + 60)
    assert (granted.state, granted.granted_minutes, granted.answered_by, granted.note) == (
        "granted", 45, "Tata", "încă puțin",
    )  # fmt: skip
    (ana,) = [profile for profile in console.household().profiles if profile.id == "ana"]
    assert [(bonus.minutes, bonus.day.isoformat(), bonus.of) for bonus in ana.bonuses] == [(45, "2026-11-23", "")]
    line = read_journal(console.config.settings, 1)[0].entry
    assert (line.who, line.kind, line.details["profile"], line.details["minutes"]) == (
        "Tata", "request-granted", "Ana", 45,
    )  # fmt: skip
    assert show_to_child(stored.list_requests(console.store, NOON)[0]).granted_minutes == 45


def test_without_another_number_as_much_as_was_asked(console: Console) -> None:
    assert answer(console, wish(console, minutes=30).id, Reply("grant"), "Mama", NOON).granted_minutes == 30


@pytest.mark.parametrize(
    ("now", "until"),
    [(NIGHT, "2026-11-23 22:30"), (at("2026-11-23 20:40"), "2026-11-23 21:30"), (at("2026-11-23 20:20"), "")],
)
def test_time_at_bedtime_also_lets_stay_up(console: Console, now: float, until: str) -> None:
    found = wish(console, minutes=30, now=now)
    granted = answer(console, found.id, Reply("grant"), "Mama", now)
    assert (granted.granted_minutes, granted.granted_until) == (30, None)
    (ana,) = [profile for profile in console.household().profiles if profile.id == "ana"]
    assert [bonus.minutes for bonus in ana.bonuses] == [30]
    lines = read_journal(console.config.settings, 9)
    (details,) = [line.entry.details for line in lines if line.entry.kind == "request-granted"]
    assert len(lines) == 1
    assert details.get("until") == (at(until) if until else None)
    assert len(ana.schedule.exceptions) == bool(until)
    end = at(until or "2026-11-23 21:00")
    assert [is_open(console, "open.example", moment) for moment in (end - 60, end)] == [True, False]


def test_time_at_bedtime_does_not_end_a_pause(console: Console) -> None:
    found = wish(console, minutes=30, now=NIGHT)
    console.edit(
        Entry("Tata", "paused"), lambda home: replace_profile(home, replace(home.profiles[0], paused_until=FOREVER))
    )
    assert answer(console, found.id, Reply("grant"), "Mama", NIGHT).state == "granted"
    (ana,) = [profile for profile in console.household().profiles if profile.id == "ana"]
    assert ana.paused_until == FOREVER and ana.schedule.exceptions
    assert not is_open(console, "open.example", NIGHT + 60)


def test_a_site_opens_until_midnight_or_for_good(console: Console) -> None:
    today = answer(console, wish(console, "bet365.com").id, Reply("grant"), "Mama", NOON)
    midnight = next_midnight(console.household().tz, NOON)
    assert today.granted_until == midnight
    assert is_open(console, "bet365.com") and is_open(console, "www.bet365.com")
    assert not is_open(console, "bet365.com", midnight + 8 * 3600)
    assert wish(console, "bet365.com", now=midnight + 8 * 3600).id != today.id  # and may be asked for again
    good = answer(console, 2, Reply("grant", for_good=True), "Mama", midnight + 8 * 3600)
    assert good.granted_until is None
    (ana,) = [profile for profile in console.household().profiles if profile.id == "ana"]
    assert [rule.expires for rule in ana.rules if rule.pattern == "bet365.com"] == [FOREVER]  # one rule, not two


def test_a_shorter_grant_does_not_end_a_longer_one(console: Console) -> None:
    found = wish(console, "bet365.com")
    home, policy = console.household(), console.policy(NOON)
    for_good = open_site(home, policy, found, FOREVER, NOON)
    again = open_site(for_good, policy, found, NOON + 60, NOON)
    assert again == for_good


@pytest.mark.parametrize("site", ["blocked.example", "www.blocked.example", "ads.wild.example", "shared.example"])
def test_a_grant_beats_the_parents_own_rule(console: Console, site: str) -> None:
    found = wish(console, site)
    answer(console, found.id, Reply("grant"), "Mama", NOON)
    assert is_open(console, site)
    assert not is_open(console, "other.wild.example")


def test_a_grant_at_night_beats_the_rule_in_the_morning(console: Console) -> None:
    late = at("2026-11-23 06:30")
    found = wish(console, "blocked.example", now=late)
    answer(console, found.id, Reply("grant"), "Mama", late)
    assert is_open(console, "blocked.example")


def test_www_opens_the_name_itself_but_not_all_below_it(console: Console) -> None:
    found = wish(console, "www.bet365.com")
    changed = open_site(console.household(), console.policy(NOON), found, FOREVER, NOON)
    new = [rule for rule in changed.profiles[0].rules if rule.action is Action.ALLOW]
    assert [(rule.pattern, rule.match) for rule in new] == [
        ("www.bet365.com", Match.SUBDOMAINS), ("=bet365.com", Match.EXACT),
    ]  # fmt: skip


def test_a_no_is_kept_with_its_words_and_changes_nothing(console: Console) -> None:
    before = console.household()
    refused = answer(console, wish(console, "bet365.com").id, Reply("refuse", note="prea târziu"), "Bunica", NOON)
    assert (refused.state, refused.note, refused.granted_until, refused.why) == ("refused", "prea târziu", None, "")
    assert console.household() == before
    line = read_journal(console.config.settings, 1)[0].entry
    assert (line.kind, line.who, line.details["site"]) == ("request-refused", "Bunica", "bet365.com")


def test_an_answer_is_given_once(console: Console) -> None:
    found = wish(console, minutes=30)
    answer(console, found.id, Reply("grant"), "Mama", NOON)
    for reply in (Reply("grant"), Reply("refuse")):
        with pytest.raises(RefusalError) as caught:
            answer(console, found.id, reply, "Tata", NOON)
        assert (caught.value.status, caught.value.code) == (409, "answered")
    with pytest.raises(RefusalError) as caught:
        answer(console, 99, Reply("grant"), "Tata", NOON)
    assert caught.value.status == 404
    late = wish(console, minutes=60)
    with pytest.raises(RefusalError) as caught:
        answer(console, late.id, Reply("grant"), "Tata", NOON + stored.OPEN_SECONDS)
    assert caught.value.code == "answered"


def test_two_parents_who_tap_at_once_give_once(console: Console) -> None:
    found = wish(console, minutes=30)
    start, codes = threading.Barrier(4), []

    def tap(who: str) -> None:
        start.wait()
        try:
            answer(console, found.id, Reply("grant"), who, NOON)
            codes.append("granted")
        except RefusalError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=tap, args=(who,)) for who in ("Mama", "Tata", "Bunica", "Bunicul")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["answered"] * 3 + ["granted"]
    assert sum(bonus.minutes for bonus in console.household().profiles[0].bonuses) == 30


@pytest.mark.parametrize("now", [NOON, NIGHT])
@pytest.mark.parametrize("reply", [Reply("grant", 60), Reply("refuse")])
def test_a_crash_between_the_two_databases_gives_nothing_twice(
    console: Console, monkeypatch: pytest.MonkeyPatch, reply: Reply, now: float
) -> None:
    found = wish(console, minutes=30, now=now)

    def crash(*_: object) -> StoredRequest:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(asking, "answer_request", crash)
        with pytest.raises(KeyboardInterrupt):
            answer(console, found.id, Reply("grant"), "Mama", now)
    kept = find_request(console.store, found.id, now)
    assert kept is not None and kept.state == "open"
    given = console.household()
    again = answer(console, found.id, reply, "Tata", now + 60)
    assert (again.state, again.granted_minutes, again.granted_until) == ("granted", 30, None)
    assert again.answered_by == "Mama"
    assert console.household() == given
    assert sum(bonus.minutes for bonus in given.profiles[0].bonuses) == 30


def test_a_new_request_of_an_old_number_is_another(console: Console) -> None:
    first = wish(console, minutes=30)
    answer(console, first.id, Reply("grant"), "Mama", NOON)
    later = NOON + stored.KEEP_SECONDS + 60
    second = wish(console, minutes=30, now=later)
    assert second.id == first.id  # SQLite gives numbers anew
    assert answer(console, second.id, Reply("refuse"), "Mama", later).state == "refused"


def test_a_child_that_is_gone(console: Console) -> None:
    found, other = wish(console, minutes=30), wish(console, "bet365.com")

    def remove(home: Any) -> Any:
        return replace(home, profiles=home.profiles[1:], devices=home.devices[1:])

    console.edit(Entry("Mama", "removed"), remove)
    shown = open_requests(console, NOON)
    assert {(each.profile_name, each.device_name) for each in shown} == {("ana", "tablet")}
    for each in (found, other):
        with pytest.raises(RefusalError) as caught:
            answer(console, each.id, Reply("grant"), "Mama", NOON)
        assert caught.value.status == 404
    assert answer(console, found.id, Reply("refuse"), "Mama", NOON).state == "refused"


def test_a_site_that_became_illegal_since_is_not_named_by_its_list(console: Console) -> None:
    name = make_test_name(MANDATORY_TEST)
    found = StoredRequest(0, "ana", "tablet", "site", None, name, "", NOON, "open", None, "", None, None, "")
    assert find_why(console.policy(NOON), found, NOON) == "mandatory"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  te   rog\n\tmult ", "te rog mult"),
        ("a\u202eb\u2066c\u200bd", "abcd"),
        ("\x00\x1b[31mred", "[31mred"),
        ("<script>", "<script>"),  # text stays text
        ("привет 👋", "привет 👋"),
        ("a" + "\u0301" * 90 + "b", "a" + "\u0301" * 4 + "b"),  # marks that pile up over the lines around them
        ("a" + "\u0301\u200d" * 90, "a" + "\u0301" * 4),  # what is left out does not begin anew
        ("\u20dd" * 200, "\u20dd" * 4),
        ("\u0e01\u0e34\u0e4c ệ й ❤️", "\u0e01\u0e34\u0e4c ệ й ❤️"),  # letters of languages stay
        ("e\u0323\u0302", "e\u0323\u0302"),
        ("", ""),
    ],
)
def test_words_of_children_are_one_line(text: str, clean: str) -> None:
    assert clean_words(text) == clean
    assert clean_words(clean) == clean
