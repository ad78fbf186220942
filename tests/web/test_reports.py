"""Reports to the hotline: what they may hold, how many, when they are tried, and that nothing stays at home."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.store.console import ConsoleStore
from guardian.store.reports import MOST_BEFORE_STRANGERS, WaitingReport, count_reports, list_due
from guardian.web.console import Console
from guardian.web.reports import (
    CHILD_REPORTS,
    CLOCK_FLOOR,
    GIVE_UP_SECONDS,
    HOUR,
    LEAST_TRIES,
    LONGEST_PAUSE,
    MOST_DEVICES,
    HourLimit,
    check_report,
    complete_body,
    judge_answer,
    pause_after,
    settle_report,
    take_report,
    tell_state,
    tidy_reports,
)
from guardian.web.routing import RefusalError
from guardian.web.shapes.requests import NewReport
from tests.web.reporting import make_console, new

NOW = 1_795_003_000.0
FIELDS = {  # design/hotline.md, `Reports to the hotline`
    "report_id", "schema", "created", "type", "url", "found_via", "note", "lang", "country", "reporter", "good_faith",
}  # fmt: skip


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return make_console(tmp_path)


def take(console: Console, report: NewReport, source: str = "tablet", most: int = CHILD_REPORTS) -> Any:
    return take_report(console, report, source, most, NOW)


def sent_by(console: Console) -> list[dict[str, Any]]:
    return [json.loads(complete_body(report)) for report in list_due(console.store, NOW + 1)]


def test_a_report_holds_exactly_the_fields_of_the_design(console: Console) -> None:
    receipt = take(console, new(found_via="a game", note="șters", contact="ana@example.org"))
    (body,) = sent_by(console)
    assert set(body) == FIELDS
    assert body == {
        "report_id": receipt.report_id,
        "schema": 1,
        "created": "2026-11-18T11:00:00Z",
        "type": "csam_suspected",
        "url": "https://bad.example/page?x=1",
        "found_via": "a game",
        "note": "șters",
        "lang": "ro",
        "country": "md",
        "reporter": {"contact": "ana@example.org"},
        "good_faith": True,
    }
    assert receipt.state == "queued"


def test_a_report_is_anonymous_unless_somebody_says_who(console: Console) -> None:
    take(console, new())
    assert sent_by(console)[0]["reporter"] == {"anonymous": True}


def test_ids_are_random(console: Console) -> None:
    assert len({take(console, new()).report_id for _ in range(CHILD_REPORTS)}) == CHILD_REPORTS


def test_neither_device_nor_minute_is_written_down(console: Console) -> None:
    take(console, new(), source="anas-tablet-02:00:5e")
    assert b"anas-tablet" not in Path(console.store.path).read_bytes()
    with console.store.reading() as connection:
        (made,) = connection.execute("SELECT made FROM reports").fetchone()
    assert made % HOUR == 0


def test_without_a_hotline_reports_are_kept(tmp_path: Path) -> None:
    console = make_console(tmp_path, address="")
    assert take(console, new()).state == "kept"
    assert tell_state(console).queued == 1
    assert tell_state(console).address == ""


def test_a_report_wakes_the_delivery(console: Console) -> None:
    assert not console.delivery_wanted.is_set()
    take(console, new())
    assert console.delivery_wanted.is_set()


GOOD = [
    "example.com",
    "EXAMPLE.com/x",
    "http://example.com",
    "https://example.com:8443/a?b=c#d",
    "пример.рф",
    "1.2.3.4",
]
GOOD += ["http://[2001:db8::1]/x", "abc234567defghij.onion", "https://exa_mple.com/%00", "example.com./"]
BAD = ["javascript:alert(1)", "data:image/png;base64,AAAA", "file:///etc/passwd", "ftp://x.example/", "tg://join?x=1"]
BAD += ["two words.example", "line\nbreak.example", "nul\x00.example", "\u202eelpmaxe.com", "example", "http://", "..."]
BAD += ["https://mama:word@x.example/", "http://[::1", "https://x.example:99999/", "a..b.example", "//x.example/y\t"]
BAD += ["http://" + "a" * 64 + ".example", ".".join(["a" * 60] * 5), "<script>alert(1)</script>", "http://a\\b/"]


@pytest.mark.parametrize("url", GOOD)
def test_addresses_of_sites_are_taken_as_they_are(url: str) -> None:
    assert check_report(new(url=f"  {url} ")).url == url


@pytest.mark.parametrize("url", BAD)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(RefusalError, match="no address of a site") as caught:
        check_report(new(url=url))
    assert (caught.value.status, caught.value.code) == (422, "not-valid")


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    try:
        checked = check_report(new(url=text, note=text, found_via=text, contact=text))
    except RefusalError as error:
        assert error.status == 422
    else:
        for part in (checked.url, checked.found_via, checked.contact, *checked.note.split("\n")):
            assert part.isprintable()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"good_faith": False}, "good_faith"),
        ({"url": ""}, "a few words"),
        ({"url": " ", "note": " \n\x00"}, "a few words"),
        ({"url": "", "type": "unblock_request", "note": "my school"}, "address is missing"),
    ],
)
def test_an_empty_report_is_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusalError, match=words):
        check_report(new(**parts))


def test_words_alone_are_a_report() -> None:
    assert check_report(new(type="grooming", url="", note="He asks\x07 for photos\nin a game")).note == (
        "He asks  for photos\nin a game"
    )


@pytest.mark.parametrize("part", ["image", "screenshot", "device", "address"])
def test_there_is_no_place_for_a_picture_or_a_device(part: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        new(**{part: "x"})


@pytest.mark.parametrize(("part", "size"), [("url", 2048), ("found_via", 200), ("note", 1000), ("contact", 200)])
def test_texts_are_bounded(part: str, size: int) -> None:
    new(**{part: "x" * size})
    with pytest.raises(msgspec.ValidationError):
        new(**{part: "x" * (size + 1)})


def test_a_child_makes_five_in_an_hour(console: Console) -> None:
    for _ in range(CHILD_REPORTS):
        take(console, new())
    with pytest.raises(RefusalError) as caught:
        take(console, new())
    assert (caught.value.status, caught.value.code) == (429, "throttled")
    assert caught.value.retry_after is not None
    assert 3500 < caught.value.retry_after <= 3601
    take(console, new(), source="phone")


def test_a_refused_report_does_not_count(console: Console) -> None:
    for _ in range(20):
        with pytest.raises(RefusalError, match="no address"):
            take(console, new(url="nonsense"))
    take(console, new())


def test_an_hour_later_there_is_room_again() -> None:
    limit = HourLimit()
    for moment in (0.0, 1000.0):
        limit.count("tablet", 2, moment)
    with pytest.raises(RefusalError):
        limit.count("tablet", 2, 3599.0)
    limit.count("tablet", 2, 3600.0)
    with pytest.raises(RefusalError):
        limit.count("tablet", 2, 4599.0)


def test_the_limit_remembers_a_bounded_number_of_devices() -> None:
    limit = HourLimit()
    for number in range(MOST_DEVICES * 3):
        limit.count(f"02:{number}", 5, 1.0)
    assert len(limit._times) == MOST_DEVICES


def test_not_more_than_200_wait_in_all(console: Console) -> None:
    for number in range(200):
        take(console, new(), source=str(number))
    with pytest.raises(RefusalError) as caught:
        take(console, new(), source="the next")
    assert (caught.value.status, caught.value.code) == (429, "full")


def test_devices_that_nobody_has_named_leave_room_for_the_children(console: Console) -> None:
    """One laptop with a new MAC a minute fills half of the queue; what scared a child still finds its way."""
    for number in range(MOST_BEFORE_STRANGERS):
        take_report(console, new(), f"02:00:00:00:00:{number:02x}", CHILD_REPORTS, NOW, is_stranger=True)
    with pytest.raises(RefusalError) as caught:
        take_report(console, new(), "02:00:00:00:01:00", CHILD_REPORTS, NOW, is_stranger=True)
    assert (caught.value.status, caught.value.code) == (429, "full")
    assert take(console, new()).report_id


def waiting(console: Console) -> WaitingReport:
    take(console, new(url="https://zebra.example/secret-page"))
    (report,) = list_due(console.store, NOW + 1)
    return report


@pytest.mark.parametrize("answer", [{"status": 200}, {"status": 201}, {"status": 202}, {"status": 409}])
def test_what_was_taken_is_wiped(console: Console, answer: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    report = waiting(console)
    assert b"zebra.example" in Path(console.store.path).read_bytes()
    with caplog.at_level(logging.DEBUG):
        assert settle_report(console.store, report, answer, NOW)
    assert b"zebra" not in Path(console.store.path).read_bytes()
    assert "zebra" not in caplog.text
    assert report.id not in caplog.text
    assert tell_state(console).sent == 1


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
def test_what_the_hotline_does_not_want_is_wiped_and_counted(console: Console, status: int) -> None:
    report = waiting(console)
    assert settle_report(console.store, report, {"status": status}, NOW)
    assert b"zebra" not in Path(console.store.path).read_bytes()
    assert (tell_state(console).sent, tell_state(console).lost, tell_state(console).queued) == (0, 1, 0)


@pytest.mark.parametrize(
    "answer",
    [{"status": status} for status in (100, 301, 307, 401, 403, 404, 405, 408, 421, 425, 429, 500, 502, 503, 599)]
    + [{"error": "not-reached"}, {"error": "too-slow"}, {"error": "not-usable"}, {}],
)
def test_anything_else_is_tried_again(console: Console, answer: dict[str, Any]) -> None:
    report = waiting(console)
    assert not settle_report(console.store, report, answer, NOW)
    assert list_due(console.store, NOW + 40) == []
    (again,) = list_due(console.store, NOW + 80)
    assert (again.id, again.body, again.tries) == (report.id, report.body, 1)
    assert judge_answer(answer) == "later"


def test_pauses_grow_from_a_minute_to_six_hours() -> None:
    for tries, seconds in (
        (0, 60),
        (1, 120),
        (5, 1920),
        (9, LONGEST_PAUSE),
        (200, LONGEST_PAUSE),
        (10**6, LONGEST_PAUSE),
    ):
        assert 0.8 * seconds <= pause_after(tries) <= 1.2 * seconds


def try_often(store: ConsoleStore, console: Console) -> None:
    for _ in range(LEAST_TRIES):
        (report,) = list_due(store, NOW + 10**9)
        settle_report(store, report, {"error": "not-reached"}, NOW)


def test_after_30_days_offline_a_report_is_given_up_and_wiped(console: Console) -> None:
    waiting(console)
    later = NOW + GIVE_UP_SECONDS + HOUR
    tidy_reports(console.store, later, has_address=True)
    assert count_reports(console.store).waiting == 1  # the box was off: it tries first
    try_often(console.store, console)
    tidy_reports(console.store, NOW + GIVE_UP_SECONDS - HOUR, has_address=True)
    assert count_reports(console.store).waiting == 1
    tidy_reports(console.store, later, has_address=True)
    assert count_reports(console.store) == (0, 0, 1)
    assert b"zebra" not in Path(console.store.path).read_bytes()


def test_without_a_hotline_a_report_is_kept_for_30_days(console: Console) -> None:
    waiting(console)
    tidy_reports(console.store, NOW + GIVE_UP_SECONDS - HOUR, has_address=False)
    assert count_reports(console.store).waiting == 1
    tidy_reports(console.store, NOW + GIVE_UP_SECONDS + HOUR, has_address=False)
    assert count_reports(console.store).waiting == 0
    assert b"zebra" not in Path(console.store.path).read_bytes()


def test_a_report_from_before_the_clock_was_right_is_dated_anew(console: Console) -> None:
    take_report(console, new(), "tablet", 5, 3000.0)  # 1970: no battery, no network yet
    tidy_reports(console.store, 4000.0, has_address=True)
    (report,) = list_due(console.store, 5000.0)
    assert report.made == 0.0
    tidy_reports(console.store, NOW, has_address=True)
    (report,) = list_due(console.store, NOW)
    assert json.loads(complete_body(report))["created"] == "2026-11-18T11:00:00Z"
    assert CLOCK_FLOOR < NOW
