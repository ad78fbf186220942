"""The child's own page on a real gateway: the device's address tells whose rules it shows."""

from __future__ import annotations

import time

import pytest

from tests.gateway.product import ADULT, CHILD, GROUNDED, NEWCOMER, TEEN
from tests.web.api.calls import Api, open_console
from tests.web.product import Served


@pytest.mark.parametrize(
    ("source", "known", "name", "state"),
    [
        (CHILD, True, "Ana", "online"),
        (TEEN, True, "Matei", "online"),
        (GROUNDED, True, "Ion", "asleep"),
        (ADULT, True, "Parents", "online"),
        (NEWCOMER, False, "", "online"),
    ],
)
def test_each_device_sees_its_own(served: Served, source: str, known: bool, name: str, state: str) -> None:
    answer = served.anonymous(source).get("/child")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert (page["known"], page["name"], page["state"]) == (known, name, state)
    assert page["can_ask"] is known
    assert abs(page["now"] - time.time()) < 10
    assert page["helplines"]


def test_nobody_becomes_another_by_a_header_or_a_cookie(served: Served) -> None:
    for headers in ({"X-Forwarded-For": CHILD}, {"X-Real-IP": CHILD}, {"Cookie": "guardian_session=x"}):
        assert served.anonymous(NEWCOMER, headers).get("/child").json()["known"] is False


def test_a_parent_who_is_signed_in_sees_the_page_of_the_device_too(served: Served) -> None:
    assert served.get("/child").json()["name"] == "Parents"


@pytest.mark.parametrize(("language", "word"), [("ro", "Copilului"), ("ru", "Детский"), ("en", "Child")])
def test_the_language_that_is_wished(served: Served, language: str, word: str) -> None:
    lines = served.child().get(f"/child?language={language}").json()["helplines"]
    assert any(word in line["name"] for line in lines)


@pytest.mark.parametrize("query", ["language=de", "language=", "language=ro&x=1"])
def test_wishes_that_cannot_be(served: Served, query: str) -> None:
    assert served.child().get(f"/child?{query}").status_code == 422


def test_all_kinds_and_services_on_the_page_have_names(served: Served) -> None:
    page = served.child().get("/child").json()
    named = {f"category:{each}" for each in page["rules"]["categories"]}
    named |= {f"service:{each}" for each in page["rules"]["services"] + page["rules"]["service_hours"]}
    assert named and named <= set(page["names"])
    assert all(text["ro"] and text["ru"] and text["en"] for text in page["names"].values())


def test_while_the_gateway_is_down_the_household_tells_whose_page_it_is(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    console = open_console(tmp_path_factory.mktemp("down"))
    api = Api(console, address="127.0.0.2")
    page = api("GET", "/child")
    assert (page.known, page.name, page.device, page.can_ask) == (True, "Ana", "Tablet", True)
    assert api("POST", "/child/requests", {"kind": "time", "minutes": 30}).state == "open"
    stranger = Api(console, address="127.0.0.9")
    page = stranger("GET", "/child")
    assert (page.known, page.can_ask) == (False, False)
    assert page.helplines
    assert stranger.refusal("POST", "/child/requests", {"kind": "time", "minutes": 30}) == (403, "unknown-device")
