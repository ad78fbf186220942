"""A child asks from its tablet, a parent or a helper answers: on a real gateway, seen in its DNS answers."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from guardian.web.gateway import WAIT_SECONDS, WHOSE_SECONDS
from tests.gateway.product import ADULT, CHILD, NEWCOMER, TEEN, Upstream, addresses, wait_for
from tests.web.product import PARENT, PASSWORD, Served, console

BLOCKED = "blocked.example"
CLOAKED, FORBIDDEN = "shop.open.example", "film.open.example"  # open themselves, but not what they lead to
RECORDS = f"""
blocked.example A 192.0.2.7
www.bet365.com A 192.0.2.8
bet365.com A 192.0.2.9
{CLOAKED} CNAME edge.open.example.
edge.open.example CNAME www.bet365.com.
{FORBIDDEN} CNAME mandatory.guardian.test.
"""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream(RECORDS)
    yield made
    made.close()


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Served]:
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}
    with console(tmp_path_factory.mktemp("requests"), settings=settings) as running:
        yield running


def ask(served: Served, source: str = CHILD, **body: Any) -> Any:
    answer = served.anonymous(source).post("/child/requests", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_from_the_blocked_page_to_the_open_site(served: Served) -> None:
    assert "192.0.2.7" not in addresses(served.ask(BLOCKED))
    mine = ask(served, kind="site", site=f"http://{BLOCKED}/homework?x=1", message="pentru școală <b>")
    assert (mine["state"], mine["site"]) == ("open", BLOCKED)
    (seen,) = served.get("/requests").json()["requests"]
    assert (seen["profile_name"], seen["device_name"], seen["message"], seen["why"]) == (
        "Ana", "Tablet", "pentru școală <b>", "rule:block =blocked.example",
    )  # fmt: skip
    assert served.get("/home").json()["open_requests"] == 1
    granted = served.post(f"/requests/{seen['id']}/answer", {"answer": "grant", "note": "da"})
    assert granted.status_code == 200, granted.text
    assert addresses(served.ask(BLOCKED)) == ["192.0.2.7"]
    page = served.child().get("/child").json()
    assert [(each["state"], each["answered_by"], each["note"]) for each in page["requests"]] == [
        ("granted", "Mama", "da")
    ]
    assert served.get("/home").json()["open_requests"] == 0
    change = served.get("/changes").json()["changes"][0]
    assert (change["who"], change["kind"], change["details"]["site"]) == ("Mama", "request-granted", BLOCKED)
    household = served.get("/household").json()
    (ana,) = [profile for profile in household["profiles"] if profile["id"] == "ana"]
    midnight = (int(time.time()) // 86400 + 1) * 86400
    assert {rule["expires"] for rule in ana["rules"] if rule["action"] == "allow" and BLOCKED in rule["pattern"]} == {
        midnight
    }


def test_minutes_are_given_by_a_helper_too(served: Served) -> None:
    mine = ask(served, kind="time", minutes=30)
    helper = served.helper()
    (seen,) = helper.get("/requests").json()["requests"]
    answered = helper.post(f"/requests/{seen['id']}/answer", {"answer": "grant", "minutes": 15})
    assert answered.status_code == 200, answered.text
    assert (answered.json()["granted_minutes"], answered.json()["answered_by"]) == (15, "Bunica")
    (ana,) = [each for each in served.get("/household").json()["profiles"] if each["id"] == "ana"]
    assert [bonus["minutes"] for bonus in ana["bonuses"]] == [15]
    again = served.post(f"/requests/{mine['id']}/answer", {"answer": "refuse"})
    assert (again.status_code, again.json()["code"]) == (409, "answered")


def test_a_no_changes_nothing(served: Served) -> None:
    mine = ask(served, kind="site", site="www.bet365.com")
    before = served.get("/household").json()["profiles"]
    assert served.post(f"/requests/{mine['id']}/answer", {"answer": "refuse"}).json()["state"] == "refused"
    assert served.get("/household").json()["profiles"] == before
    assert "192.0.2.8" not in addresses(served.ask("www.bet365.com"))


def test_www_for_good(served: Served) -> None:
    mine = ask(served, kind="site", site="https://www.bet365.com")
    body = {"answer": "grant", "for_good": True}
    assert served.post(f"/requests/{mine['id']}/answer", body).json()["granted_until"] is None
    assert addresses(served.ask("www.bet365.com")) == ["192.0.2.8"]
    assert addresses(served.ask("bet365.com")) == ["192.0.2.9"]
    assert addresses(served.ask("other.bet365.com")) == ["127.0.0.1"]  # the block page
    assert addresses(served.ask("www.bet365.com", source=TEEN)) == ["127.0.0.1"]  # nobody else's


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "site", "site": "open.example"}, 409, "already-open"),
        ({"kind": "site", "site": "mandatory.guardian.test"}, 403, "by-law"),
        ({"kind": "site", "site": ""}, 422, "not-valid"),
        ({"kind": "time"}, 422, "not-valid"),
        ({"kind": "time", "minutes": 4}, 422, "not-valid"),
        ({"kind": "time", "minutes": 241}, 422, "not-valid"),
        ({"kind": "time", "minutes": 30, "message": "x" * 201}, 422, "not-valid"),
        ({"kind": "time", "minutes": 30, "profile": "matei"}, 422, "not-valid"),
        ({"kind": "money"}, 422, "not-valid"),
        ({"kind": "site", "site": "x" * 2049}, 422, "not-valid"),
    ],
)
def test_what_cannot_be_asked_for(served: Served, body: dict[str, Any], status: int, code: str) -> None:
    answer = served.child().post("/child/requests", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert served.get("/requests").json()["requests"] == []


def test_only_devices_with_a_name_ask_and_each_for_itself(served: Served) -> None:
    stranger = served.anonymous(NEWCOMER).post("/child/requests", {"kind": "time", "minutes": 30})
    assert (stranger.status_code, stranger.json()["code"]) == (403, "unknown-device")
    forged = served.anonymous(NEWCOMER, {"X-Forwarded-For": CHILD, "Forwarded": f"for={CHILD}"})
    assert forged.post("/child/requests", {"kind": "time", "minutes": 30}).status_code == 403
    ask(served, TEEN, kind="time", minutes=60)
    assert served.child().get("/child").json()["requests"] == []
    assert [each["minutes"] for each in served.anonymous(TEEN).get("/child").json()["requests"]] == [60]


def test_three_are_open_at_most(served: Served) -> None:
    for minutes in (15, 30, 60):
        ask(served, kind="time", minutes=minutes)
    ask(served, kind="time", minutes=15)  # the same again is no fourth
    answer = served.child().post("/child/requests", {"kind": "time", "minutes": 90})
    assert (answer.status_code, answer.json()["code"]) == (429, "full")
    assert int(answer.headers["Retry-After"]) > 0
    assert served.child().get("/child").json()["can_ask"] is False


def test_a_child_and_strangers_cannot_answer(served: Served) -> None:
    mine = ask(served, kind="time", minutes=30)
    path = f"/requests/{mine['id']}/answer"
    for browser in (served.child(), served.anonymous(ADULT)):
        assert browser.post(path, {"answer": "grant"}).status_code == 401
        assert browser.get("/requests").status_code == 401
    for scope in ("read", "control", "manage", "status"):
        assert served.token(scope).post(path, {"answer": "grant"}).status_code == 403
    assert served.token("requests").post(path, {"answer": "grant"}).status_code == 200


@pytest.mark.parametrize("key", ["0", "99", "-1", "1e3", "9" * 30, "x", "1%00", "٣"])
def test_a_request_that_is_not_there(served: Served, key: str) -> None:
    answer = served.post(f"/requests/{key}/answer", {"answer": "grant"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("body", [{}, {"answer": "maybe"}, *({"answer": "grant", "minutes": n} for n in (0, 241))])
def test_answers_that_cannot_be(served: Served, body: dict[str, Any]) -> None:
    mine = ask(served, kind="time", minutes=30)
    assert served.post(f"/requests/{mine['id']}/answer", body).status_code == 422
    assert served.get("/requests").json()["requests"][0]["state"] == "open"


def test_open_pages_are_told(served: Served) -> None:
    helper = served.helper()
    with helper.http.stream("GET", "/api/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith(("retry:", ":", "event:"))
        mine = ask(served, kind="time", minutes=30)
        told = ""
        for line in lines:
            told += line + "\n"
            if '"requests"' in told and f'"id":{mine["id"]}' in told.replace(" ", ""):
                break
        assert "event: request" in told and "event: change" in told


def test_an_unanswered_request_expires_and_is_still_seen(served: Served) -> None:
    mine = ask(served, kind="time", minutes=30)
    with closing(sqlite3.connect(served.store.path)) as connection, connection:
        connection.execute("UPDATE requests SET asked = asked - 86401")
    assert served.get("/requests").json()["requests"][0]["state"] == "expired"
    assert served.post(f"/requests/{mine['id']}/answer", {"answer": "grant"}).status_code == 409
    assert served.child().get("/child").json()["requests"][0]["state"] == "expired"
    assert ask(served, kind="time", minutes=30)["state"] == "open"


def test_a_lost_console_forgets_no_request(served: Served) -> None:
    mine = ask(served, kind="time", minutes=30)
    assert served.web is not None
    served.web.kill()
    served.web.wait(10)
    served.start_web()
    assert wait_for(lambda: served.get("/requests").json()["requests"])[0]["id"] == mine["id"]
    assert served.post(f"/requests/{mine['id']}/answer", {"answer": "grant"}).status_code == 200


def test_a_site_that_is_blocked_by_what_it_leads_to_is_asked_for_and_opens(served: Served) -> None:
    refused = served.child().post("/child/requests", {"kind": "site", "site": CLOAKED})
    assert (refused.status_code, refused.json()["code"]) == (409, "already-open")  # nobody has met the answer yet
    assert "192.0.2.8" not in addresses(served.ask(CLOAKED))
    ask(served, kind="site", site=CLOAKED)
    (seen,) = served.get("/requests").json()["requests"]
    assert (seen["site"], seen["why"]) == (CLOAKED, "category:gambling")
    assert seen["why"] in served.get("/requests").json()["names"]
    assert served.post(f"/requests/{seen['id']}/answer", {"answer": "grant"}).status_code == 200
    assert addresses(served.ask(CLOAKED)) == ["192.0.2.8"]
    assert addresses(served.ask("www.bet365.com")) != ["192.0.2.8"]  # that was not asked for
    (seen,) = served.get("/requests").json()["requests"]
    assert (seen["state"], seen["why"]) == ("granted", "")


def test_a_site_that_leads_to_what_the_law_closes_cannot_be_asked_for(served: Served) -> None:
    served.ask(FORBIDDEN)
    refused = served.child().post("/child/requests", {"kind": "site", "site": FORBIDDEN})
    assert (refused.status_code, refused.json()["code"]) == (403, "by-law")
    assert "mandatory.guardian.test" not in refused.text
    assert served.get("/requests").json()["requests"] == []


def test_a_gateway_that_hangs_holds_no_page_and_lets_no_child_sign_in(served: Served) -> None:
    os.kill(served.pid, signal.SIGSTOP)
    try:
        time.sleep(WHOSE_SECONDS)  # what the console knew of the child's address is forgotten
        child = served.child()
        began = time.monotonic()
        assert child.sign_in(PARENT, PASSWORD).json()["code"] == "child-device"
        assert time.monotonic() - began < WAIT_SECONDS + 1
        home = served.get("/home").json()
        assert home["gateway"]["running"] is False and home["cards"]
        assert child.get("/child").json()["name"] == "Ana"
        assert ask(served, kind="time", minutes=30)["state"] == "open"
        assert time.monotonic() - began < 2 * WAIT_SECONDS + 1
    finally:
        os.kill(served.pid, signal.SIGCONT)
