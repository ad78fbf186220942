"""Reports over the API: from the child's tablet to a hotline on loopback, and nothing of them left at home."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.web.api import ENDPOINTS
from guardian.web.shapes.requests import NewReport
from tests.gateway.product import CHILD, NEWCOMER, TEEN, wait_for
from tests.web.outside import Outside, outside
from tests.web.product import Served, console

WORD = "zebra-crossing"
REPORT = {
    "type": "grooming",
    "language": "ro",
    "good_faith": True,
    "url": f"https://{WORD}.example/page",
    "found_via": f"{WORD} game",
    "note": f"{WORD}: mi-a cerut poze",
}


@pytest.fixture
def hotline() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, hotline: Outside) -> Iterator[Served]:
    with console(tmp_path, settings={"web": {"reports": f"http://127.0.0.1:{hotline.port}/intake"}}) as made:
        yield made


def files_with(served: Served, word: str) -> list[str]:
    paths = [*(served.folder / "state").rglob("*"), served.folder / "log", served.folder / "web.log"]
    return [path.name for path in paths if path.is_file() and word.encode() in path.read_bytes()]


def test_a_childs_report_arrives_and_nothing_of_it_stays(home: Served, hotline: Outside) -> None:
    answer = home.child().post("/child/reports", REPORT)
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    wait_for(lambda: home.get("/reports").json()["sent"] == 1)
    (taken,) = hotline.taken
    body = taken.json()
    assert set(body) == {
        "report_id", "schema", "created", "type", "url", "found_via", "note", "lang", "country", "reporter",
        "good_faith",
    }  # fmt: skip
    assert body["report_id"] == answer.json()["report_id"]
    assert body["note"] == REPORT["note"]
    assert body["reporter"] == {"anonymous": True}
    sent = json.dumps(body) + json.dumps(taken.headers)
    for trace in (CHILD, "tablet", "Tablet", "ana", "02:00:5e", "cookie", "guardian_session"):
        assert trace not in sent
    assert files_with(home, WORD) == []
    assert files_with(home, body["report_id"]) == ["console.db"]  # so that a lost answer makes no second report
    assert home.get("/reports").json() == {
        "address": f"http://127.0.0.1:{hotline.port}/intake", "queued": 0, "sent": 1, "lost": 0,
    }  # fmt: skip


def test_nobody_at_home_can_read_a_report_that_waits(home: Served, hotline: Outside) -> None:
    hotline.status = 503
    assert home.child().post("/child/reports", REPORT).status_code == 202
    assert home.helper().post("/reports", REPORT).status_code == 202
    wait_for(lambda: hotline.taken)
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" and endpoint.media == "application/json" and "{" not in endpoint.path:
            assert WORD not in home.get(endpoint.path).text, endpoint.path
    assert WORD not in home.get("/backup").text
    assert WORD not in json.dumps(home.control("status"))
    assert files_with(home, WORD) == ["console.db"]
    assert home.get("/reports").json()["queued"] == 2


def test_it_is_not_told_who_of_the_parents_reported(home: Served, hotline: Outside) -> None:
    assert home.post("/reports", REPORT | {"contact": "me@example.org"}).status_code == 202
    wait_for(lambda: hotline.taken)
    assert hotline.taken[0].json()["reporter"] == {"contact": "me@example.org"}
    assert "Mama" not in hotline.taken[0].body.decode()
    assert "report" not in json.dumps(home.get("/changes").json()["changes"])


def test_a_child_makes_five_in_an_hour_and_another_device_is_not_held(home: Served) -> None:
    child = home.child()
    assert [child.post("/child/reports", REPORT).status_code for _ in range(7)] == [202] * 5 + [429] * 2
    answer = child.post("/child/reports", REPORT)
    assert answer.json()["code"] == "throttled"
    assert int(answer.headers["retry-after"]) > 3000
    assert home.anonymous(TEEN).post("/child/reports", REPORT).status_code == 202
    assert home.anonymous(NEWCOMER).post("/child/reports", REPORT).status_code == 202  # nobody has named it: it may


def test_a_report_outlives_the_console_and_the_network(home: Served, hotline: Outside) -> None:
    hotline.behave = "cut"
    answer = home.child().post("/child/reports", REPORT)
    wait_for(lambda: hotline.taken)
    assert home.web is not None
    home.web.kill()
    home.web.wait()
    home.web = None
    with home.store.writing() as connection:
        connection.execute("UPDATE reports SET next_try = ?", (time.time(),))  # the pause of a minute is over
    hotline.behave = "answer"
    home.start_web()
    wait_for(lambda: home.get("/reports").json()["sent"] == 1)
    assert {taken.json()["report_id"] for taken in hotline.taken} == {answer.json()["report_id"]}
    assert files_with(home, WORD) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"good_faith": False}, 422),
        ({"url": "javascript:alert(1)"}, 422),
        ({"url": "data:image/png;base64,AAAA"}, 422),
        ({"url": "x" * 2049}, 422),
        ({"note": "x" * 1001}, 422),
        ({"type": "gossip"}, 422),
        ({"language": "de"}, 422),
        ({"image": "AAAA"}, 422),
        ({"url": "", "note": "", "found_via": ""}, 422),
        ({"good_faith": "true"}, 422),
        ({"url": None}, 422),
    ],
)
def test_reports_that_cannot_be_used_are_refused(served: Served, change: dict[str, Any], status: int) -> None:
    before = served.get("/reports").json()["queued"]
    answer = served.child().post("/child/reports", REPORT | change)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert served.get("/reports").json()["queued"] == before


def test_a_page_elsewhere_cannot_report_in_a_childs_name(served: Served) -> None:
    child = served.child()
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert child.post("/child/reports", REPORT, headers=headers).status_code == 403
    form = child.http.post("/api/v1/child/reports", content=b"type=other", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415


def test_who_may_ask_for_the_count(served: Served) -> None:
    assert served.anonymous().get("/reports").status_code == 401
    assert served.child().get("/reports").status_code == 401
    assert served.helper().get("/reports").status_code == 403
    assert served.token("read").get("/reports").status_code == 200
    assert served.token("read").post("/reports", REPORT).status_code == 403


def test_without_a_hotline_reports_are_kept(served: Served) -> None:
    hostile = REPORT | {"note": "<script>alert(1)</script> \u202e \U0001f600", "url": "xn--e1afmkfd.xn--p1ai/ș"}
    answer = served.anonymous(TEEN).post("/child/reports", hostile)
    assert (answer.status_code, answer.json()["state"]) == (202, "kept")


def test_the_shape_has_no_place_for_pictures() -> None:
    assert NewReport.__struct_fields__ == ("type", "language", "good_faith", "url", "found_via", "note", "contact")
