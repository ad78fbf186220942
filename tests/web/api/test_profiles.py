"""Profiles through the API: made, changed, paused, explained; and what is refused."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from guardian.policy.model import FOREVER
from guardian.store.household_form import MOST_PROFILES
from guardian.store.settings import ConflictError
from guardian.web.shapes.household import Profile
from tests.web.api.calls import Api, open_console

CHISINAU = ZoneInfo("Europe/Chisinau")
MONDAY_EVENING = datetime(2026, 11, 23, 20, 14, tzinfo=CHISINAU).timestamp()


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(open_console(tmp_path))


@pytest.fixture
def open_box(tmp_path: Path) -> Api:
    return Api(open_console(tmp_path, ""))


def profile(api: Api, key: str = "ana") -> dict[str, Any]:
    """A profile as JSON, to be changed and sent back."""
    found = next(each for each in api("GET", "/household").profiles if each.id == key)
    return msgspec.to_builtins(found)  # type: ignore[no-any-return]


def test_the_first_profile_makes_a_home_of_the_open_box(open_box: Api) -> None:
    store = open_box.console.store
    store.set_option("first_timezone", "Europe/Chisinau")
    store.set_option("first_language", "ru")
    before = open_box("GET", "/household")
    assert (before.set_up, before.revision, before.new_devices) == (False, 0, "everyone")
    assert open_box.console.policy(time.time()).newcomer.profile.filtered is False
    made = open_box("POST", "/profiles", {"name": " Аня ", "age_band": "7-9"})
    assert (made.id, made.name, made.age_band, made.filtered, made.safe_search) == ("anya", "Аня", "7-9", True, True)
    assert made.offline
    assert "adult" in made.categories
    home = open_box("GET", "/household")
    assert (home.set_up, home.timezone, home.language, home.new_devices) == (True, "Europe/Chisinau", "ru", "")
    assert [(each.id, each.name, each.filtered) for each in home.profiles] == [
        ("anya", "Аня", True), ("vzroslye", "Взрослые", False),
    ]  # fmt: skip
    adults = home.profiles[1]
    assert (adults.age_band, adults.bypass_protection, adults.offline, adults.categories) == ("", False, [], [])
    # A device that nobody has named is protected now.
    assert open_box.console.policy(time.time()).newcomer.profile.filtered is True
    assert open_box.journal() == [("Mama", "profile-made", {"profile": "Аня"})]
    second = open_box("POST", "/profiles", {"name": "Ștefăniță", "age_band": "13-15", "language": "ro"})
    assert (second.id, second.language) == ("stefanita", "ro")
    assert len(open_box("GET", "/household").profiles) == 3


def test_what_was_set_before_the_first_profile_stays(open_box: Api) -> None:
    open_box.console.store.set_option("first_timezone", "Europe/Berlin")
    open_box("PATCH", "/household", {"timezone": "Europe/Bucharest", "country": "ro"})
    open_box("POST", "/devices", {"name": "TV", "profile": "everyone", "addresses": ["127.0.0.7"]})
    assert open_box("GET", "/household").set_up is False
    assert open_box.refusal("DELETE", "/profiles/everyone") == (409, "in-use")
    open_box("POST", "/profiles", {"name": "Ana", "age_band": "0-6"})
    home = open_box("GET", "/household")
    assert (home.timezone, home.country, home.language) == ("Europe/Bucharest", "ro", "ro")
    assert [(device.name, device.profile) for device in home.devices] == [("TV", "adulti")]


def test_a_first_visit_that_told_nonsense(open_box: Api) -> None:
    open_box.console.store.set_option("first_timezone", "Mars/Phobos")
    open_box("POST", "/profiles", {"name": "Papa", "age_band": ""})
    home = open_box("GET", "/household")
    assert home.timezone not in ("", "Mars/Phobos")
    assert [(each.id, each.filtered) for each in home.profiles] == [("papa", False)]


def test_names_tell_profiles_apart(api: Api) -> None:
    assert api.refusal("POST", "/profiles", {"name": "ANA", "age_band": "7-9"}) == (409, "exists")
    made = api("POST", "/profiles", {"name": "Āna", "age_band": "7-9"})
    assert made.id == "ana-2"
    assert api.refusal("PUT", "/profiles/ana-2", profile(api, "ana-2") | {"name": "Ana"}) == (409, "exists")
    assert api.problems("POST", "/profiles", {"name": " \t", "age_band": ""})["name"]
    assert api.problems("POST", "/profiles", {"name": "a\nb", "age_band": ""})["name"]
    api("PUT", "/profiles/ana", profile(api) | {"name": "ana"})
    assert profile(api)["name"] == "ana"
    assert api("POST", "/profiles", {"name": "李雷", "age_band": ""}).id == "profile"
    # A parent who calls a profile so must not get the open box back.
    assert api("POST", "/profiles", {"name": "Everyone", "age_band": ""}).id == "everyone-2"


def test_there_are_only_so_many_profiles(api: Api) -> None:
    names = [f"p{number}" for number in range(MOST_PROFILES - 1)]
    api("POST", "/restore", "timezone: UTC\nprofiles:\n" + "".join(f"  {name}: {{}}\n" for name in names))
    assert api("POST", "/profiles", {"name": "Last", "age_band": ""}).id == "last"
    assert api.refusal("POST", "/profiles", {"name": "More", "age_band": ""}) == (409, "too-many")
    api("PUT", "/profiles/last", profile(api, "last") | {"name": "The last"})
    api("DELETE", "/profiles/p7")
    assert api("POST", "/profiles", {"name": "More", "age_band": ""}).id == "more"


def test_a_profile_is_changed_whole(api: Api) -> None:
    revision = api("GET", "/household").revision
    wanted = profile(api) | {
        "offline": [{"days": [0, 1, 2, 3, 6], "start": 1260, "end": 420, "label": "bedtime"}],
        "exceptions": [{"day": "2026-12-31", "windows": [{"days": [], "start": 60, "end": 540}], "note": "party"}],
        "minutes": {"days": [60, 60, 60, 60, 60, 120, 120], "week": 480},
        "minutes_for": [{"of": "group:games", "minutes": {"days": [], "week": 100}}],
        "rules": [{"action": "block", "pattern": "Пример.Example", "note": "why"}],
        "services": [
            {
                "service": "youtube",
                "action": "block",
                "hours": [{"days": [5], "start": 600, "end": 720, "label": "hours"}],
            }
        ],
        "categories": ["gambling", "adult"],
    }
    changed = api("PUT", "/profiles/ana", wanted, if_match=revision)
    assert changed.rules[0].pattern == "xn--e1afmkfd.example"
    assert changed.categories == ["adult", "gambling"]
    assert changed.exceptions[0].note == "party"
    assert api("GET", "/household").profiles[0] == changed
    who, kind, details = api.journal()[0]
    assert (who, kind, details["profile"]) == ("Mama", "profile-changed", "Ana")
    assert details["parts"] == "offline exceptions minutes minutes_for rules services categories"
    # The same once more is no change.
    revision = api("GET", "/household").revision
    api("PUT", "/profiles/ana", msgspec.to_builtins(changed))
    assert api("GET", "/household").revision == revision
    with pytest.raises(ConflictError):
        api("PUT", "/profiles/ana", wanted, if_match=revision - 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": "matei"}, "id"),
    ({"name": "x\u0000y"}, "name"),
    ({"offline": [{"days": [], "start": 0, "end": 60}]}, "offline[0].days"),
    ({"offline": [{"days": [1], "start": 0, "end": 60}, {"days": [1], "start": 0, "end": 6, "label": "\u2028"}]},
     "offline[1].label"),
    ({"exceptions": [{"day": "2026-02-30", "windows": []}]}, "exceptions[0].day"),
    ({"exceptions": [{"day": "2026-02-03", "windows": []}] * 2}, "exceptions[1].day"),
    ({"exceptions": [{"day": "0001-01-01", "windows": []}] * 2}, "exceptions[1].day"),
    ({"exceptions": [{"day": "2026-02-03", "windows": [{"days": [1], "start": 0, "end": 60}]}]},
     "exceptions[0].windows[0].days"),
    ({"minutes": {"days": [1, 2, 3]}}, "minutes.days"),
    ({"minutes_for": [{"of": "yotube", "minutes": {"week": 5}}]}, "minutes_for[0].of"),
    ({"minutes_for": [{"of": "", "minutes": {"week": 5}}]}, "minutes_for[0].of"),
    ({"minutes_for": [{"of": "youtube", "minutes": {"week": 5}}] * 2}, "minutes_for[1].of"),
    ({"minutes_for": [{"of": "youtube", "minutes": {"days": [5]}}]}, "minutes_for[0].minutes.days"),
    ({"bonuses": [{"day": "0000-00-00", "minutes": 5}]}, "bonuses[0].day"),
    ({"bonuses": [{"day": "2026-01-01", "minutes": 5, "of": "group:nothing"}]}, "bonuses[0].of"),
    ({"rules": [{"action": "allow", "pattern": "ok.example"}, {"action": "block", "pattern": "https://x.example/"}]},
     "rules[1].pattern"),
    ({"rules": [{"action": "allow", "pattern": "<script>.example"}]}, "rules[0].pattern"),
    ({"rules": [{"action": "allow", "pattern": "a..b"}]}, "rules[0].pattern"),
    ({"rules": [{"action": "allow", "pattern": "ok.example", "note": "\r\n"}]}, "rules[0].note"),
    ({"services": [{"service": "no-such", "action": "block"}]}, "services[0].service"),
    ({"services": [{"service": "youtube", "action": "block"}] * 2}, "services[1].service"),
    ({"services": [{"service": "youtube", "action": "block", "hours": [{"days": [], "start": 1, "end": 2}]}]},
     "services[0].hours[0].days"),
    ({"categories": ["adult", "everything"]}, "categories[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "where"), WRONG, ids=[where for _, where in WRONG])
def test_every_problem_has_its_place(api: Api, wrong: dict[str, Any], where: str) -> None:
    before = api("GET", "/household")
    assert list(api.problems("PUT", "/profiles/ana", profile(api) | wrong)) == [where]
    if where != "id":
        question = {"name": "example.com", "draft": profile(api) | wrong}
        assert list(api.problems("POST", "/profiles/ana/explain", question)) == [f"draft.{where}"]
    assert api("GET", "/household") == before


def test_what_the_catalogue_lost_does_not_keep_parents_from_saving(tmp_path: Path) -> None:
    api = Api(open_console(tmp_path))
    api("PATCH", "/household", {"country": "md"})  # the household is in the database now
    import sqlite3

    with sqlite3.connect(api.console.config.settings) as connection:
        connection.execute("INSERT INTO categories VALUES ('ana', 'fidonet')")
        connection.execute("INSERT INTO services (profile, service, action) VALUES ('ana', 'myspace', 'block')")
        connection.execute("INSERT INTO changes (at, who, what) VALUES (0, '', 'an older Guardian')")
    connection.close()
    changed = api("PUT", "/profiles/ana", profile(api) | {"strict": True})
    assert changed.strict
    assert "fidonet" in changed.categories
    assert api.problems("PUT", "/profiles/guests", profile(api, "guests") | {"categories": ["fidonet"]})


def test_a_profile_goes_when_no_device_has_it(api: Api) -> None:
    assert api.refusal("DELETE", "/profiles/ana") == (409, "in-use")
    assert api("DELETE", "/profiles/guests") is None
    home = api("GET", "/household")
    assert [each.id for each in home.profiles] == ["ana", "parents"]
    assert home.new_devices == ""  # the strictest, not open
    assert api.refusal("DELETE", "/profiles/guests") == (404, "not-found")
    assert api.journal()[0] == ("Mama", "profile-removed", {"profile": "Guests"})


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_nobody_has_this_id(api: Api, method: str) -> None:
    body = profile(api) | {"id": "nobody"} if method == "PUT" else None
    assert api.refusal(method, "/profiles/nobody", body) == (404, "not-found")
    assert api.refusal("POST", "/profiles/nobody/pause", {"action": "pause"}) == (404, "not-found")
    assert api.refusal("POST", "/profiles/nobody/bonus", {"minutes": 5}) == (404, "not-found")
    assert api.refusal("POST", "/profiles/nobody/explain", {"name": "a.example"}) == (404, "not-found")
    assert api("GET", "/changes").changes == []


def test_pause_bedtime_resume(api: Api) -> None:
    now = MONDAY_EVENING
    done = api("POST", "/profiles/ana/pause", {"action": "pause", "minutes": 30}, now=now)
    assert done.revision == api("GET", "/household").revision
    assert profile(api)["pause"] == {"until": now + 1800}
    api("POST", "/profiles/ana/pause", {"action": "pause"}, now=now)
    assert profile(api)["pause"] == {"until": None}
    assert api.console.household().profiles[0].paused_until == FOREVER
    api("POST", "/profiles/ana/pause", {"action": "bedtime"}, now=now)  # 21:30-07:00 by its age
    morning = datetime(2026, 11, 24, 7, tzinfo=CHISINAU).timestamp()
    assert profile(api)["pause"] == {"until": morning}
    api("POST", "/profiles/ana/pause", {"action": "pause", "until": now + 60.5}, now=now)
    assert profile(api)["pause"] == {"until": now + 60.5}
    api("POST", "/profiles/ana/pause", {"action": "resume"}, now=now)
    assert profile(api)["pause"] is None
    assert api.journal() == [
        ("Mama", "resume", {"profile": "Ana"}),
        ("Mama", "pause", {"profile": "Ana", "until": int(now + 60)}),
        ("Mama", "bedtime", {"profile": "Ana", "until": int(morning)}),
        ("Mama", "pause", {"profile": "Ana"}),
        ("Mama", "pause", {"profile": "Ana", "until": int(now + 1800)}),
    ]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"action": "pause", "minutes": 5, "until": 4e9}, "until"),
        ({"action": "pause", "until": 5.0}, "until"),
        ({"action": "bedtime", "minutes": 5}, "minutes"),
        ({"action": "resume", "until": 4e9}, "until"),
    ],
)
def test_a_pause_that_does_not_hold_together(api: Api, body: dict[str, Any], where: str) -> None:
    assert list(api.problems("POST", "/profiles/ana/pause", body)) == [where]


def test_minutes_on_top(api: Api) -> None:
    for minutes in (30, 15):
        api("POST", "/profiles/ana/bonus", {"minutes": minutes}, now=MONDAY_EVENING)
    api("POST", "/profiles/ana/bonus", {"minutes": 10, "of": "group:games"}, now=MONDAY_EVENING)
    assert profile(api)["bonuses"] == [
        {"day": "2026-11-23", "minutes": 45, "of": ""},
        {"day": "2026-11-23", "minutes": 10, "of": "group:games"},
    ]
    assert api.journal()[0] == ("Mama", "bonus", {"profile": "Ana", "minutes": 10, "of": "group:games"})
    assert api.journal()[1] == ("Mama", "bonus", {"profile": "Ana", "minutes": 15})
    # Midnight is the household's: 23:30 UTC is tomorrow in Chisinau. What is over a week old goes.
    api("POST", "/profiles/ana/bonus", {"minutes": 5}, now=MONDAY_EVENING + 9 * 86400)
    assert profile(api)["bonuses"] == [{"day": "2026-12-02", "minutes": 5, "of": ""}]
    for _ in range(3):
        api("POST", "/profiles/ana/bonus", {"minutes": 1440}, now=MONDAY_EVENING)
    assert profile(api)["bonuses"][-1]["minutes"] == 1440
    assert list(api.problems("POST", "/profiles/ana/bonus", {"minutes": 5, "of": "games"})) == ["of"]


BED = datetime(2026, 11, 23, 21, 30, tzinfo=CHISINAU).timestamp()  # of Ana's age, on a Monday; until seven


def reason_at(api: Api, moment: float) -> str:
    return str(api("POST", "/profiles/ana/explain", {"name": "example.com"}, now=moment).reason)


def test_thirty_minutes_longer(api: Api) -> None:
    before = profile(api)
    done = api("POST", "/profiles/ana/awake", {"minutes": 30}, now=BED + 300)
    assert (done.until, done.revision) == (BED + 2100, api("GET", "/household").revision)
    moments = [BED + 240, BED + 300, BED + 2040, BED + 2100, BED + 9.5 * 3600 - 60, BED + 86400]
    bed, free = "schedule", "default"
    assert [reason_at(api, moment) for moment in moments] == [bed, free, free, bed, bed, bed]
    after = profile(api)
    assert after | {"exceptions": []} == before
    assert after["exceptions"] == [
        {"day": "2026-11-23", "note": "", "windows": [
            {"days": [], "start": 21 * 60 + 30, "end": 21 * 60 + 35, "label": "bedtime"},
            {"days": [], "start": 22 * 60 + 5, "end": 7 * 60, "label": "bedtime"},
        ]},
    ]  # fmt: skip
    assert api.journal() == [("Mama", "awake", {"profile": "Ana", "minutes": 30, "until": int(BED + 2100)})]
    # What a page sends back to undo it is taken.
    api("PUT", "/profiles/ana", after | {"exceptions": before["exceptions"]})
    assert profile(api) == before


def test_longer_before_bedtime_begins_and_with_minutes_on_top(api: Api) -> None:
    api("PUT", "/profiles/ana", profile(api) | {"minutes": {"days": [0] * 7}})
    for code, moment in (("no-bedtime", BED - 31 * 60), ("no-bedtime", BED - 8 * 3600)):
        assert api.refusal("POST", "/profiles/ana/awake", {"minutes": 30}, now=moment) == (409, code)
    assert api("POST", "/profiles/ana/awake", {"minutes": 30}, now=BED - 1800).until == BED + 1800
    assert reason_at(api, BED) == "minutes"
    done = api("POST", "/profiles/ana/awake", {"minutes": 30, "bonus": True}, now=BED + 600)
    assert done.until == BED + 3600
    assert profile(api)["bonuses"] == [{"day": "2026-11-23", "minutes": 30, "of": ""}]
    assert api.journal()[0][2] == {"profile": "Ana", "minutes": 30, "until": int(BED + 3600), "bonus": 30}
    assert reason_at(api, BED + 600) == "default"


@pytest.mark.parametrize(
    ("limits", "given"),
    [({}, None), ({"days": [60] * 7}, None), ({"days": [20] * 7}, 10), ({"days": [60] * 7, "week": 0}, 30)],
)
def test_only_minutes_that_are_missing_come_on_top(api: Api, limits: dict[str, Any], given: int | None) -> None:
    api("PUT", "/profiles/ana", profile(api) | {"minutes": limits})
    api("POST", "/profiles/ana/awake", {"minutes": 30, "bonus": True}, now=BED + 60)
    assert [bonus["minutes"] for bonus in profile(api)["bonuses"]] == ([given] if given else [])
    assert api.journal()[0][2].get("bonus") == given
    assert reason_at(api, BED + 60) == "default"


def test_staying_up_ends_no_pause_and_a_refusal_changes_nothing(api: Api) -> None:
    api("POST", "/profiles/ana/pause", {"action": "pause", "minutes": 60}, now=BED)
    before = api("GET", "/household")
    wish = {"minutes": 30, "bonus": True}
    assert api.refusal("POST", "/profiles/ana/awake", wish, now=BED + 60) == (409, "paused")
    assert api.refusal("POST", "/profiles/ana/awake", wish, now=BED + 12 * 3600) == (409, "no-bedtime")
    assert api.refusal("POST", "/profiles/parents/awake", wish, now=BED) == (409, "no-bedtime")
    assert api.refusal("POST", "/profiles/nobody/awake", wish, now=BED) == (404, "not-found")
    with pytest.raises(ConflictError):
        api("POST", "/profiles/ana/awake", wish, now=BED + 3600, if_match=before.revision - 1)
    for wrong in (
        {},
        {"minutes": 4},
        {"minutes": 241},
        {"minutes": 30.5},
        {"minutes": "30"},
        {"minutes": 30, "of": "x"},
    ):
        assert api.refusal("POST", "/profiles/ana/awake", wrong, now=BED) == (422, "not-valid")
    assert api("GET", "/household") == before
    assert api("POST", "/profiles/ana/awake", wish, now=BED + 3600).until == BED + 5400  # the pause is over


def ask(api: Api, name: str, **more: Any) -> Any:
    return api("POST", "/profiles/ana/explain", {"name": name, **more}, now=MONDAY_EVENING)


def test_what_would_happen(api: Api) -> None:
    answer = ask(api, "https://user:pw@BLOCKED.Example:8443/path?q=1#top")
    assert (answer.action, answer.reason, answer.of) == ("block", "rule", "=blocked.example")
    assert (answer.name, answer.pattern) == ("blocked.example", "blocked.example")
    at_bedtime = datetime(2026, 11, 23, 21, 30, tzinfo=CHISINAU).timestamp()
    assert answer.until == at_bedtime  # then bedtime speaks
    tiktok = ask(api, "www.TikTok.com.")
    assert (tiktok.action, tiktok.reason, tiktok.of, tiktok.services) == ("block", "service", "tiktok", ["tiktok"])
    night = ask(api, "www.tiktok.com", at=at_bedtime + 60)
    morning = datetime(2026, 11, 24, 7, tzinfo=CHISINAU).timestamp()
    assert (night.reason, night.of, night.until) == ("schedule", "bedtime", morning)
    safe = ask(api, "www.google.com")
    assert (safe.action, safe.reason, safe.of) == ("rewrite", "safe-search", "")
    assert ask(api, "пример.рф").name == "пример.рф"
    assert ask(api, "пример.рф").pattern == "xn--e1afmkfd.xn--p1ai"
    mandatory = ask(api, "mandatory.guardian.test")
    assert (mandatory.reason, mandatory.of, mandatory.services, mandatory.categories) == ("mandatory", "", [], [])
    assert "guardian.test" not in mandatory.sentence
    helpline = ask(api, "https://telefonulcopilului.md/", at=at_bedtime + 60)
    assert (helpline.action, helpline.reason) == ("allow", "helpline")
    assert ask(api, "doh.guardian.test".replace("doh", "bypass-doh")).of == "doh"
    assert ask(api, "category-gambling.guardian.test").categories == ["gambling"]


def test_what_would_happen_under_rules_that_nobody_has_saved(api: Api) -> None:
    draft = profile(api) | {"rules": [{"action": "block", "pattern": "*.news.example"}], "pause": None}
    revision = api("GET", "/household").revision
    answer = ask(api, "www.news.example", draft=draft)
    assert (answer.action, answer.reason, answer.of) == ("block", "rule", "*.news.example")
    assert ask(api, "blocked.example", draft=draft).action == "allow"
    assert ask(api, "www.news.example").action == "allow"
    assert ask(api, "blocked.example").action == "block"
    assert api("GET", "/household").revision == revision
    paused = ask(api, "example.com", draft=draft | {"pause": {"until": None}})
    assert (paused.reason, paused.of, paused.until) == ("pause", "profile", None)
    hour = MONDAY_EVENING + 3600
    assert ask(api, "example.com", draft=draft | {"pause": {"until": hour}}).until == hour


def test_minutes_that_are_used_up(api: Api) -> None:
    draft = profile(api) | {"minutes": {"days": [0] * 7}, "services": []}
    answer = ask(api, "example.com", draft=draft)
    assert (answer.reason, answer.of) == ("minutes", "")
    draft = draft | {"minutes": {}, "minutes_for": [{"of": "group:games", "minutes": {"days": [0] * 7}}]}
    answer = ask(api, "www.roblox.com", draft=draft)
    assert (answer.reason, answer.of) == ("minutes", "group:games")


@pytest.mark.parametrize("zone", ["Europe/Chisinau", "EET-2EEST,M3.5.0/3,M10.5.0/4"])
@pytest.mark.parametrize("at", [0.0, 0.5, 4102444800.0])
def test_the_ends_of_time(api: Api, zone: str, at: float) -> None:
    days = ["0001-01-01", "9999-12-31"]
    exceptions = [{"day": day, "windows": [{"days": [], "start": 1200, "end": 600}]} for day in days]
    api("PATCH", "/household", {"timezone": zone})
    api(
        "PUT",
        "/profiles/ana",
        profile(api) | {"exceptions": exceptions, "bonuses": [{"day": "0001-01-01", "minutes": 1}]},
    )
    assert ask(api, "example.com", at=at).reason in ("default", "schedule")
    before = api.console.household()
    api("POST", "/restore", api("GET", "/backup"))
    assert api.console.household() == before


@pytest.mark.parametrize(
    "text",
    [
        " ", "youtube", "192.168.1.1", "http://[::1]/", "https://", "<script>alert(1)</script>", "a b", "..", "*",
        "*ads*.example", "x" * 64 + ".example", "\u0000.example", "a" * 2000, "http://" + "%00" * 30 + ".example",
        "ads*.example.com", "::1",
    ],
)  # fmt: skip
def test_what_is_no_site(api: Api, text: str) -> None:
    assert list(api.problems("POST", "/profiles/ana/explain", {"name": text})) == ["name"]


def test_every_profile_is_shown_as_its_shape_says(api: Api) -> None:
    for preset in api("GET", "/catalogue").presets:
        assert isinstance(preset, Profile)
        sent = msgspec.to_builtins(preset) | {"id": "ana", "name": "Ana"}
        assert msgspec.to_builtins(api("PUT", "/profiles/ana", sent)) == sent


def test_an_answer_is_quick(api: Api) -> None:
    """A page asks while a parent types. Measured in CPU time: other work on the machine does not count."""
    draft = profile(api) | {
        "rules": [{"action": "block", "pattern": f"n{number}.example"} for number in range(300)],
        "services": [
            {"service": service.id, "action": "block", "hours": [{"days": [5], "start": 600, "end": 720, "label": "h"}]}
            for service in api("GET", "/catalogue").services
        ],
    }
    ask(api, "example.com", draft=draft)
    spent = []
    for _ in range(9):
        before = time.thread_time()
        ask(api, "www.youtube.com", draft=draft)
        spent.append(time.thread_time() - before)
    assert sorted(spent)[4] < 0.1, spent
