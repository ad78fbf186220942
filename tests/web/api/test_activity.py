"""Home, activity, alerts and status of a real gateway with a history of real queries. What a profile shows is law."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import httpx
import pytest

from guardian.catalogue import MANDATORY_TEST, make_test_name
from guardian.policy.schedule import local_date
from guardian.store.history_read import HistoryReader
from guardian.store.history_record import Recorder
from guardian.web.shapes.activity import MOST_ALERTS
from tests.gateway.product import wait_for
from tests.store.history_home import write
from tests.web.api.calls import Api, open_console
from tests.web.product import Served, console

NAMES, CATEGORIES, COUNTS, ADULT, STRANGER = (f"127.0.0.{number}" for number in (2, 3, 4, 5, 9))
HELPLINE = "telefonulcopilului.md"
LAW = make_test_name(MANDATORY_TEST)
HOUSEHOLD: dict[str, Any] = {
    "timezone": "Europe/Chisinau",
    "language": "en",
    "new_devices": "guests",
    "block": ["*.rule.example"],
    "profiles": {
        profile: {"name": profile.title(), "age": age, "offline": [], "minutes": "unlimited", "visibility": visibility}
        for profile, age, visibility in (
            ("nina", "10-12", "names"),
            ("carol", "13-15", "categories"),
            ("cosmin", "16-17", "counts"),
            ("guests", "0-6", "names"),
        )
    }
    | {"parents": {"name": "Parents", "filtered": False}},
    "devices": {
        "tablet": {"name": "Tablet <b>", "profile": "nina", "addresses": [NAMES]},
        "phone": {"name": "Phone", "profile": "carol", "addresses": [CATEGORIES]},
        "console": {"name": "Console", "profile": "cosmin", "addresses": [COUNTS]},
        "laptop": {"name": "Laptop", "profile": "parents", "addresses": [ADULT, "127.0.0.1"]},
    },
}
HOSTILE = (  # labels below rule.example
    (b"<script>alert(1)</script>",),
    (b"\xe2\x80\xaegnp.evil",),  # turns the text round
    (b"\xff\xfe\x00\n\r",),  # no UTF-8
    (b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 47),  # with the rest 255 bytes
)


def ask_raw(served: Served, labels: tuple[bytes, ...], source: str) -> None:
    """Ask for a name that no library would make."""
    name = dns.name.Name([*labels, b"rule", b"example", b""])
    query = dns.message.make_query("x.", "A")
    query.question = [dns.rrset.RRset(name, dns.rdataclass.IN, dns.rdatatype.A)]
    dns.query.udp(query, "127.0.0.1", 5, served.port, source)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with console(tmp_path_factory.mktemp("activity"), HOUSEHOLD) as running:
        for source, name in ((NAMES, "names"), (CATEGORIES, "categories"), (COUNTS, "counts")):
            for number in range(22):
                running.ask(f"{number % 3}.{name}.bet365.com", source=source)
            running.ask(f"secret-{name}.rule.example", source=source)
            running.ask(HELPLINE, source=source)
            running.ask(LAW, source=source)
            running.ask("mullvad.net", source=source)
            for labels in HOSTILE:
                ask_raw(running, labels, source)
        running.ask("strangers.rule.example", source=STRANGER)
        wait_for(lambda: running.get("/profiles/cosmin/activity?days=1").json()["blocked"] >= 22 + 1 + 1 + len(HOSTILE))
        wait_for(lambda: running.get("/status").json()["mandatory_today"] == 3)
        yield running


def read(served: Served, path: str) -> Any:
    answer = served.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def everything(served: Served) -> dict[str, str]:
    """What every page that reads the history says, as it travels."""
    paths = ["/home", "/alerts", "/alerts?days=90", "/status", "/requests"]
    paths += [f"/profiles/{profile}/activity?days=30" for profile in HOUSEHOLD["profiles"]]
    return {path: served.get(path).text for path in paths}


def test_who_shows_names_shows_them_as_text(served: Served) -> None:
    found = read(served, "/profiles/nina/activity?days=1")
    names = {site["name"] for site in found["sites"]}
    assert {"0.names.bet365.com", "secret-names.rule.example", "mullvad.net"} <= names
    hostile = {name for name in names if name.endswith(".rule.example")} - {"secret-names.rule.example"}
    assert len(hostile) == len(HOSTILE)
    for name in names:
        assert name.isascii() and name.isprintable()
    assert {site["device"] for site in found["sites"]} == {"Tablet <b>"}
    kinds = {kind["tag"]: kind["times"] for kind in found["kinds"]}
    assert kinds["category:gambling"] == 22


def test_who_shows_categories_shows_no_name_of_a_site(served: Served) -> None:
    found = read(served, "/profiles/carol/activity?days=1")
    assert found["sites"] is None
    assert {kind["tag"] for kind in found["kinds"]} >= {"category:gambling", ""}


def test_who_shows_counts_shows_numbers(served: Served) -> None:
    found = read(served, "/profiles/cosmin/activity?days=1")
    assert found["sites"] is None
    assert found["kinds"] == [{"tag": "", "reason": "", "times": found["blocked"]}]
    assert found["blocked"] == sum(hour["blocked"] for hour in found["hours"]) == 22 + 1 + 1 + len(HOSTILE)


def test_no_page_tells_more_than_a_profile_shows(served: Served) -> None:
    for path, text in everything(served).items():
        for word in ("secret-categories", "secret-counts", "categories.bet365", "counts.bet365", "strangers.rule"):
            assert word not in text, path
        if "nina" not in path:
            assert ".rule.example" not in text and "bet365" not in text, path
    alerts = read(served, "/alerts?days=90")["alerts"]
    assert {alert["device"] for alert in alerts if alert["kind"] == "burst"} == {"tablet", "phone"}
    assert "gambling" not in served.get("/profiles/cosmin/activity?days=30").text


def test_helplines_and_the_law_are_told_nowhere(served: Served) -> None:
    texts = everything(served)
    for source in (NAMES, CATEGORIES, COUNTS, ADULT, STRANGER):
        texts[source] = served.anonymous(source).get("/child").text.replace("https://telefonulcopilului.md/", "")
    for path, text in texts.items():
        assert HELPLINE not in text and LAW not in text and "mandatory:" not in text, path
    assert read(served, "/status")["mandatory_today"] == 3  # a number of the home, nobody's


def test_the_child_s_page_tells_nothing_of_the_others(served: Served) -> None:
    for source, own in ((NAMES, "Nina"), (CATEGORIES, "Carol"), (COUNTS, "Cosmin"), (STRANGER, "")):
        text = served.anonymous(source).get("/child").text
        for name in {"Nina", "Carol", "Cosmin", "Parents", "Mama"} - {own}:
            assert f'"{name}"' not in text
        for word in ("rule.example", "bet365", "alert", "blocked_today"):
            assert word not in text


def test_a_profile_that_shows_less_from_now_on_shows_less_at_once(tmp_path: Path) -> None:
    with console(tmp_path, HOUSEHOLD) as served:
        for _ in range(25):
            served.ask("own.bet365.com", source=NAMES)
        wait_for(lambda: read(served, "/profiles/nina/activity?days=1")["blocked"] == 25)
        wait_for(lambda: read(served, "/alerts")["alerts"])
        profiles = {profile["id"]: profile for profile in read(served, "/household")["profiles"]}
        for visibility in ("categories", "counts"):
            assert served.put("/profiles/nina", profiles["nina"] | {"visibility": visibility}).status_code == 200
            text = served.get("/profiles/nina/activity?days=1").text
            assert "bet365" not in text
        assert "gambling" not in text
        assert "gambling" not in served.get("/alerts").text + served.get("/home").text


def test_the_home_page(served: Served) -> None:
    home = read(served, "/home")
    assert [card["profile"] for card in home["cards"]][-1] == "parents" and home["set_up"]
    cards = {card["profile"]: card for card in home["cards"]}
    assert cards["nina"]["state"] == "online" and cards["nina"]["devices"] == [
        {"id": "tablet", "name": "Tablet <b>", "online": True}
    ]
    assert cards["nina"]["blocked_today"] == cards["cosmin"]["blocked_today"] == 22 + 1 + 1 + len(HOSTILE)
    assert cards["parents"]["state"] == "away" and cards["parents"]["blocked_today"] == 0
    assert time.time() - cards["nina"]["last_seen"] < 60
    assert home["gateway"]["running"] and home["gateway"]["names"] > 1000
    assert len(home["alerts"]) == 3 or home["more_alerts"] == 0
    assert home["timezone"] == "Europe/Chisinau"


def test_a_pause_is_on_the_card_at_once(served: Served) -> None:
    def card_of(profile: str) -> Any:
        return next(card for card in read(served, "/home")["cards"] if card["profile"] == profile)

    until = int(time.time()) + 900
    assert served.post("/profiles/nina/pause", {"action": "pause", "until": until}).status_code == 200
    assert card_of("nina")["state"] == "paused" and card_of("nina")["until"] == until
    assert served.post("/profiles/nina/pause", {"action": "resume"}).status_code == 200
    assert card_of("nina")["state"] == "online"


def test_days_are_the_household_s_and_one_each(served: Served) -> None:
    today = local_date(ZoneInfo("Europe/Chisinau"), time.time())
    for days in (1, 7, 30):
        found = read(served, f"/profiles/nina/activity?days={days}")["days"]
        assert len(found) == days and found[-1]["day"] == today.isoformat()
    assert len(read(served, "/profiles/nina/activity")["days"]) == 7


@pytest.mark.parametrize("query", ["days=0", "days=91", "days=x", "days=-1", "days=1e3", "days="])
def test_spans_that_cannot_be(served: Served, query: str) -> None:
    for path in ("/alerts", "/profiles/nina/activity"):
        assert served.get(f"{path}?{query}").status_code == 422


@pytest.mark.parametrize("profile", ["nobody", "..%2f", "%00", "nina'--", "х"])
def test_a_profile_that_is_not_there(served: Served, profile: str) -> None:
    answer = served.get(f"/profiles/{profile}/activity")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_alerts_are_put_away_for_all_and_stay_so(served: Served) -> None:
    alerts = read(served, "/alerts")["alerts"]
    burst = next(alert for alert in alerts if alert["device"] == "phone" and alert["kind"] == "burst")
    left = served.post("/alerts/dismiss", {"ids": [burst["id"], "nothing:2026-11-22:x", "", "::", "💩:x"]})
    assert left.status_code == 200, left.text
    assert burst["id"] not in {alert["id"] for alert in left.json()["alerts"]}
    assert len(left.json()["alerts"]) == len(alerts) - 1
    assert burst["id"] not in served.get("/alerts").text
    assert served.store.dismissed() == {burst["id"]: burst["times"]}  # nothing that is no alert is kept
    back = served.post("/alerts/dismiss", {"ids": [burst["id"], "nothing"], "undo": True})
    assert back.status_code == 200 and burst["id"] in [alert["id"] for alert in back.json()["alerts"]]
    assert served.store.dismissed() == {}
    again = served.post("/alerts/dismiss", {"ids": [burst["id"]]})  # the moments of those that are left go on
    assert [alert["id"] for alert in again.json()["alerts"]] == [alert["id"] for alert in left.json()["alerts"]]
    for _ in range(2 * 22):
        served.ask("again.bet365.com", source=CATEGORIES)
    wait_for(lambda: burst["id"] in served.get("/alerts").text)


def test_a_noisy_home_gets_the_first_alerts_and_a_count(tmp_path: Path) -> None:
    api = Api(open_console(tmp_path))
    now = time.time()
    recorder = Recorder(ZoneInfo("Europe/Chisinau"))
    for back in range(10):
        for kind in [*(f"way-{number}" for number in range(22)), "vpn"]:
            recorder.note_attempt("tablet", None, kind, 5, now - back * 86400)
    write(api.console.config.history.path, recorder.take())
    found = api("GET", "/alerts", now=now, days="10")
    assert len(found.alerts) == MOST_ALERTS
    assert len(found.alerts) + found.more == 23 * 10 + 1  # the gateway does not run
    assert {alert.of for alert in found.alerts[:11]} == {"", "vpn"}  # what matters most is never left out
    left = api("POST", "/alerts/dismiss", {"ids": [alert.id for alert in found.alerts]}, now=now)
    assert left.more == 0
    assert len(api("GET", "/alerts", now=now, days="10").alerts) == 23 * 10 + 1 - MOST_ALERTS
    home = api("GET", "/home", now=now)
    assert len(home.alerts) + home.more_alerts == len(left.alerts)


def test_dismissing_is_bounded(served: Served) -> None:
    for ids in ([], ["x"] * 201, ["x" * 201], "x", [1], None):
        assert served.post("/alerts/dismiss", {"ids": ids}).status_code == 422


def test_scopes(served: Served) -> None:
    helper, reader, status = served.helper(), served.token("read"), served.token("status")
    child = served.anonymous(NAMES)
    wanted: list[tuple[str, dict[str, int]]] = [
        ("/home", {"reader": 200, "status": 403, "helper": 403, "child": 401}),
        ("/alerts", {"reader": 200, "status": 403, "helper": 403, "child": 401}),
        ("/profiles/nina/activity", {"reader": 200, "status": 403, "helper": 403, "child": 401}),
        ("/status", {"reader": 403, "status": 200, "helper": 403, "child": 401}),
    ]
    for path, codes in wanted:
        browsers = {"reader": reader, "status": status, "helper": helper, "child": child}
        assert {who: browsers[who].get(path).status_code for who in codes} == codes
    assert reader.post("/alerts/dismiss", {"ids": ["x"]}).status_code == 403
    left = served.token("control").post("/alerts/dismiss", {"ids": ["x"]})
    assert left.status_code == 200 and served.get("/alerts").json()["alerts"]
    assert left.json()["alerts"] == [], "who may not read learns no site by putting nothing away"
    assert served.token("control", "read").post("/alerts/dismiss", {"ids": ["x"]}).json()["alerts"]


def test_pages_are_there_while_the_gateway_is_not(tmp_path: Path) -> None:
    with console(tmp_path, HOUSEHOLD) as served:
        served.ask("a.bet365.com", source=NAMES)
        wait_for(lambda: read(served, "/profiles/nina/activity?days=1")["blocked"] == 1)
        served.stop()
        home = read(served, "/home")
        assert not home["gateway"]["running"]
        assert home["alerts"][0]["kind"] == "gateway-down"
        assert {card["state"] for card in home["cards"]} == {"away"}
        assert sum(card["blocked_today"] for card in home["cards"]) == 1  # the history is still there
        assert read(served, "/profiles/nina/activity?days=1")["blocked"] == 1
        assert read(served, "/status")["running"] is False


def test_an_open_box_has_no_cards(tmp_path: Path) -> None:
    api = Api(open_console(tmp_path, ""))
    home = api("GET", "/home")
    assert (home.set_up, home.cards, home.revision) == (False, [], 0)


def test_a_history_that_cannot_be_read_is_an_alert_and_no_empty_plot(served: Served) -> None:
    path = served.folder / "state" / "history.db"
    hidden = path.with_name("hidden.db")
    with HistoryReader(str(path)) as history:
        assert history.oldest_hour()
    path.rename(hidden)
    try:
        answer: httpx.Response = served.get("/profiles/nina/activity")
        assert (answer.status_code, answer.json()["code"]) == (503, "not-now")
        assert "history-off" in served.get("/home").text + served.get("/alerts").text
    finally:
        hidden.rename(path)
