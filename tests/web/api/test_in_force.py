"""What parents do through the API holds at once, on a real gateway and a real console."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.catalogue import load_catalogue
from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    HOUSEHOLD,
    NEWCOMER,
    Upstream,
    addresses,
    extended_errors,
    option,
)
from tests.web.product import Served, console

PHONE, TWIN = "06:00:5e:10:00:02", "0a:00:5e:10:00:03"
LEASES = f"0 {PHONE} 192.168.1.31 Galaxy *\n0 {TWIN} 192.168.1.32 galaxy *\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def served(upstream: Upstream, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "leases").write_text(LEASES)
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}, "local": {"leases": ["leases"]}}
    with console(tmp_path, HOUSEHOLD, settings) as running:
        yield running


@pytest.fixture
def box(upstream: Upstream, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "leases").write_text(LEASES)
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}, "local": {"leases": ["leases"]}}
    with console(tmp_path, {}, settings) as running:
        yield running


def is_open(served: Served, name: str = "site.any.example", source: str = CHILD, mac: str = "") -> bool:
    """Whether a device gets the site's own address."""
    more: dict[str, Any] = {"options": [option(65001, bytes.fromhex(mac.replace(":", "")))]} if mac else {}
    return addresses(served.ask(name, source=source, **more)) == ["192.0.2.77"]


def profile(served: Served, key: str = "ana") -> dict[str, Any]:
    home = served.get("/household").json()
    return next(each for each in home["profiles"] if each["id"] == key)  # type: ignore[no-any-return]


def test_a_rule_holds_for_the_next_question(served: Served) -> None:
    assert is_open(served)
    blocked = profile(served)
    blocked["rules"].append({"action": "block", "pattern": "site.any.example"})
    answer = served.put("/profiles/ana", blocked)
    assert answer.status_code == 200, answer.text
    assert not is_open(served)
    assert extended_errors(served.ask("site.any.example")) == [17, 4]
    assert is_open(served, source=ADULT)
    question = {"name": "https://SITE.any.example/page"}
    told = served.post("/profiles/ana/explain", question).json()
    assert (told["action"], told["reason"], told["of"]) == ("block", "rule", "site.any.example")
    blocked["rules"].pop()
    assert served.put("/profiles/ana", blocked).status_code == 200
    assert is_open(served)


@pytest.mark.parametrize("body", [{"action": "pause"}, {"action": "pause", "minutes": 5}, {"action": "bedtime"}])
def test_a_pause_holds_at_once_and_ends_at_once(served: Served, body: dict[str, Any]) -> None:
    assert is_open(served)
    for path in ("/profiles/ana/pause", "/devices/tablet/pause"):
        assert served.post(path, body).status_code == 200
        assert not is_open(served)
        assert is_open(served, source=ADULT)
        assert served.post(path, {"action": "resume"}).status_code == 200
        assert is_open(served)


def test_minutes_on_top_open_the_internet_again(served: Served) -> None:
    limited = profile(served) | {"minutes": {"days": [0] * 7}}
    assert served.put("/profiles/ana", limited).status_code == 200
    assert not is_open(served)
    assert served.post("/profiles/ana/bonus", {"minutes": 15}).status_code == 200
    assert is_open(served)


def test_thirty_minutes_longer_open_the_internet_and_end(served: Served) -> None:
    """Ion has no internet all day and night, so that this is true at any hour."""
    before = profile(served, "ion")
    assert not is_open(served, source=GROUNDED)
    assert served.token("read", "requests").post("/profiles/ion/awake", {"minutes": 30}).status_code == 403
    now = time.time()
    done = served.token("control").post("/profiles/ion/awake", {"minutes": 30})
    assert done.status_code == 200, done.text
    until = done.json()["until"]
    assert now + 1800 <= until <= time.time() + 1860
    assert is_open(served, source=GROUNDED)
    for moment, reason in ((until - 1, "default"), (until, "schedule"), (until + 86400, "schedule")):
        told = served.post("/profiles/ion/explain", {"name": "site.any.example", "at": moment}).json()
        assert told["reason"] == reason
    card = next(each for each in served.get("/home").json()["cards"] if each["profile"] == "ion")
    assert (card["state"], card["next"]["kind"], card["next"]["at"]) == ("online", "offline", until)
    # The way back: the hours as they were.
    assert served.put("/profiles/ion", profile(served, "ion") | {"exceptions": []}).json() == before
    assert not is_open(served, source=GROUNDED)


def test_time_that_a_child_was_granted_opens_its_bedtime(served: Served) -> None:
    asked = served.anonymous(GROUNDED).post("/child/requests", {"kind": "time", "minutes": 15})
    assert asked.status_code == 201, asked.text
    assert not is_open(served, source=GROUNDED)
    answer = served.helper().post(f"/requests/{asked.json()['id']}/answer", {"answer": "grant"})
    assert answer.status_code == 200, answer.text
    assert is_open(served, source=GROUNDED)
    (line, *_) = served.get("/changes").json()["changes"]
    assert (line["kind"], line["details"]["minutes"], line["who"]) == ("request-granted", 15, "Bunica")
    assert 800 < line["details"]["until"] - time.time() <= 960
    page = served.anonymous(GROUNDED).get("/child").json()
    assert (page["state"], page["next"]["at"]) == ("online", line["details"]["until"])


def test_two_parents_and_one_stale_page(served: Served) -> None:
    seen = served.get("/household").json()["revision"]
    headers = {"If-Match": f'"{seen}"'}
    assert served.post("/profiles/ana/pause", {"action": "pause"}, headers=headers).status_code == 200
    again = served.put("/profiles/ana", profile(served) | {"pause": None}, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert not is_open(served)


def test_a_backup_brings_everything_back(served: Served) -> None:
    backup = served.get("/backup")
    assert backup.headers["content-type"].startswith("application/yaml")
    before = served.get("/household").json()
    for device in before["devices"]:
        assert served.delete(f"/devices/{device['id']}").status_code == 204
    assert served.delete("/profiles/ana").status_code == 204
    restored = served.post("/restore", backup.text)
    assert restored.status_code == 200, restored.text
    assert restored.json() | {"revision": 0} == before | {"revision": 0}
    assert served.get("/backup").text == backup.text
    assert not is_open(served, "blocked.example")
    wrong = served.post("/restore", backup.text.replace("profile: ana", "profile: anna"))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "not-valid")
    (problem,) = wrong.json()["problems"]
    line = backup.text.splitlines().index("    profile: ana") + 1
    assert problem["where"] == f"backup.yaml:{line}"
    assert served.get("/backup").text == backup.text


def test_the_first_visit(box: Served) -> None:
    """Three steps: the claim is made; a child; its devices, of those that were seen."""
    assert is_open(box, "category-adult.guardian.test", source=NEWCOMER) is False  # nobody has this name
    assert extended_errors(box.ask("category-adult.guardian.test", source=NEWCOMER)) == []
    for mac in (PHONE, TWIN):
        assert is_open(box, "tiktok.any.example", mac=mac)
    assert box.get("/household").json()["set_up"] is False
    made = box.post("/profiles", {"name": "Ana", "age_band": "10-12"})
    assert made.status_code == 201, made.text
    sleepless = made.json() | {"offline": [], "minutes": {}}  # this test runs at night as well
    assert box.put("/profiles/ana", sleepless).status_code == 200

    deadline = time.monotonic() + 20
    while {PHONE, TWIN} - {each["sighting"]["mac"] for each in box.get("/devices").json()["unnamed"]}:
        assert time.monotonic() < deadline, box.get("/devices").text
        time.sleep(0.1)
    unnamed = {each["sighting"]["mac"]: each for each in box.get("/devices").json()["unnamed"]}
    phone = unnamed[PHONE]["sighting"]
    assert (phone["hostname"], phone["random"], phone["online"], phone["maker"]) == ("galaxy", True, True, "")
    assert unnamed[PHONE]["twin"] == ""

    naming = {"devices": [{"name": "Telefonul Anei", "profile": "ana", "mac": PHONE.upper()}]}
    named = box.post("/devices/naming", naming)
    assert named.status_code == 200, named.text
    (device,) = named.json()["named"]
    assert (device["device"]["id"], device["device"]["macs"], device["online"]) == ("telefonul-anei", [PHONE], True)
    assert [sighting["mac"] for sighting in device["sightings"]] == [PHONE]
    # Both were here at once, so they are two.
    unnamed = {each["sighting"]["mac"]: each for each in named.json()["unnamed"]}
    assert (TWIN in unnamed, PHONE in unnamed, unnamed[TWIN]["twin"]) == (True, False, "")

    adult = box.ask("category-adult.guardian.test", options=[option(65001, bytes.fromhex(PHONE.replace(":", "")))])
    assert extended_errors(adult)
    merged = box.post("/devices/telefonul-anei/merge", {"mac": TWIN})
    assert merged.json()["macs"] == [PHONE, TWIN]
    assert TWIN not in {each["sighting"]["mac"] for each in box.get("/devices").json()["unnamed"]}
    kinds = [(each["who"], each["kind"]) for each in box.get("/changes").json()["changes"]]
    assert kinds == [
        ("Mama", "devices-merged"), ("Mama", "device-named"), ("Mama", "profile-changed"), ("Mama", "profile-made"),
    ]  # fmt: skip


def test_devices_are_told_without_a_gateway(served: Served) -> None:
    """The history knows them still; nobody is online then."""
    is_open(served, mac=PHONE)
    deadline = time.monotonic() + 20
    while PHONE not in served.get("/devices").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert served.stop() == 0  # it writes what it has seen
    try:
        devices = served.get("/devices").json()
        phone = next(each["sighting"] for each in devices["unnamed"] if each["sighting"]["mac"] == PHONE)
        assert (phone["hostname"], phone["online"]) == ("galaxy", False)
        assert len(devices["named"]) == len(HOUSEHOLD["devices"])
        # A change is saved, and holds when the gateway comes back.
        assert served.post("/profiles/ana/pause", {"action": "pause"}).status_code == 200
    finally:
        served.start()
    assert not is_open(served)


def fetch_block_page(served: Served) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", served.page_port, timeout=10, source_address=(CHILD, 0))
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": "blocked.example", "Accept-Language": "en"})
        answer = connection.getresponse()
        assert answer.status == 403
        return answer.read().decode()


def test_whose_helplines_the_block_page_shows(served: Served) -> None:
    phones = {
        country: {
            line.phone for line in load_catalogue(names=False).helplines if line.country == country and line.phone
        }
        for country in ("md", "ro")
    }
    assert phones["md"] and phones["ro"] and phones["md"] != phones["ro"]
    for country, other in (("md", "ro"), ("ro", "md")):
        assert served.patch("/household", {"country": country}).json()["country"] == country
        page = fetch_block_page(served)
        assert any(phone in page for phone in phones[country])
        assert not any(phone in page for phone in phones[other] - phones[country])
