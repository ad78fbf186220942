"""The shape of a report: what the router sends is taken, and of anything else nothing harmful comes through."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.desk.report_shape import MAX_BODY_BYTES, TYPES, RefusedReportError, Report, is_url, read_report
from guardian.web.reports import _FINAL, check_report
from guardian.web.routing import RefusalError
from guardian.web.shapes.requests import NewReport
from tests.desk.reports import HOUR, ID, NOW, new_report, received, sent_by_router


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(sent_by_router()) | fields).encode()


def refusal(body: bytes) -> RefusedReportError:
    with pytest.raises(RefusedReportError) as caught:
        read_report(body, NOW)
    return caught.value


def test_what_a_router_sends_is_what_is_kept() -> None:
    report = received(found_via="joc", note="prima\na doua", contact="me@example.org", type="grooming", language="ru")
    assert report == Report(
        ID, HOUR, "grooming", "https://bad.example/page?x=1", "joc", "prima\na doua", "ru", "MD", "me@example.org"
    )
    assert received().contact == ""


def test_the_types_are_those_of_the_router() -> None:
    assert {str(found) for found in TYPES} == set(
        msgspec.json.schema(NewReport)["$defs"]["NewReport"]["properties"]["type"]["enum"]
    )


texts = st.text(st.characters(exclude_categories=()), max_size=200)


@settings(max_examples=300, deadline=None)
@given(
    url=st.one_of(
        st.just(""),
        texts,
        st.from_regex(r"(https?://)?[a-zăâ0-9-]{1,10}\.[a-z]{2,5}(:[0-9]{1,6})?(/[!-~ă]{0,30})?", fullmatch=True),
    ),
    found_via=texts,
    note=texts,
    contact=texts,
    type_=st.sampled_from(TYPES),
)
def test_whatever_a_router_accepts_is_taken(url: str, found_via: str, note: str, contact: str, type_: str) -> None:
    """A 422 would make the router wipe the report: a child's words would be lost."""
    try:
        check_report(new_report(url=url, found_via=found_via, note=note, contact=contact, type=type_))
    except RefusalError:
        return
    report = received(url=url, found_via=found_via, note=note, contact=contact, type=type_)
    assert report.type == type_
    assert all(char.isprintable() or char == "\n" for part in report if isinstance(part, str) for char in part)


def test_the_longest_report_that_a_router_can_send_is_taken() -> None:
    full = {
        "url": "https://x.example/" + "\U00020000" * 2030,
        "note": "\U0001f600" * 1000,
        "found_via": "\U0001f600" * 200,
    }
    body = sent_by_router(**full, contact="\U0001f600" * 200)
    assert 40_000 < len(body) <= MAX_BODY_BYTES
    assert len(read_report(body, NOW).note) == 1000


def test_a_full_note_in_russian_is_more_than_six_kilobytes_and_taken() -> None:
    body = sent_by_router(note="ж" * 1000, url="https://x.example/" + "y" * 2000)
    assert len(body) > 8000
    assert read_report(body, NOW).note == "ж" * 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "AAAA"},
        {"attachments": []},
        {"device": "tablet"},
        {"reporter": {"contact": "a@b.example", "address": "192.0.2.1"}},
        {"reporter": {}},
        {"reporter": {"anonymous": False}},
        {"reporter": {"anonymous": True, "contact": "x"}},
        {"reporter": {"contact": "   "}},
        {"good_faith": False},
        {"good_faith": "true"},
        {"good_faith": 1},
        {"type": "gossip"},
        {"schema": 0},
        {"schema": "1"},
        {"schema": None},
        {"report_id": "1"},
        {"report_id": ID.upper()},
        {"report_id": ID + "\n"},
        {"created": "today"},
        {"url": "x" * 2049},
        {"url": "javascript:alert(1)"},
        {"url": "data:image/png;base64,AAAA"},
        {"url": "ftp://x.example/"},
        {"url": "https://user@x.example/"},
        {"url": "https://"},
        {"url": "https://[::1/"},
        {"url": "a b.example"},
        {"url": "x.example/\u202egnp"},
        {"url": "", "note": "", "found_via": ""},
        {"url": " ", "note": "\n"},
        {"type": "unblock_request", "url": "", "note": "please"},
        {"note": "x" * 1001},
        {"note": None},
        {"lang": "Romanian"},
        {"country": "MDA"},
    ],
)
def test_a_report_that_is_none_is_refused_for_good(fields: dict[str, Any]) -> None:
    error = refusal(changed(**fields))
    assert error.status == 422
    assert error.status in _FINAL  # so that the router stops


def test_every_field_is_needed() -> None:
    whole = json.loads(sent_by_router())
    for name in whole:
        assert refusal(json.dumps({key: whole[key] for key in whole if key != name}).encode()).status == 422, name


def test_a_newer_schema_is_not_lost() -> None:
    """The router keeps what is answered with 501, until the desk was updated."""
    error = refusal(json.dumps({"schema": 2, "something": "new"}).encode())
    assert error.status == 501
    assert error.status not in _FINAL


def test_too_much_is_refused_before_it_is_read() -> None:
    assert refusal(b" " * (MAX_BODY_BYTES + 1)).status == 413


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": 1}', b"[" * 40000, b'"\\ud800"'])
def test_what_is_no_json_of_ours_is_refused(body: bytes) -> None:
    assert refusal(body).status == 422


def test_a_picture_written_as_text_does_not_come_through() -> None:
    picture = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ"
    report = received(
        note=f"look {picture} here DATA:;base64,AAAA",
        found_via=picture,
        contact=picture,
        url=f"https://x.example/?p={picture}",
    )
    assert "9j/4AAQ" not in repr(report)
    assert "AAAA" not in repr(report)
    assert report.note == "look picture-removed here picture-removed"
    assert (
        received(note="my data: photos, videos and data:what,ever").note == "my data: photos, videos and data:what,ever"
    )


@pytest.mark.parametrize(
    ("created", "kept"),
    [
        ("2026-11-22T00:00:00Z", HOUR - 3600),
        ("2026-11-22T00:59:59Z", HOUR - 3600),  # minutes are not kept
        ("1970-01-01T00:00:00Z", HOUR),  # a clock that was not set
        ("2099-01-01T00:00:00Z", HOUR),
        ("2026-02-31T00:00:00Z", HOUR),
        ("0000-00-00T99:99:99Z", HOUR),
    ],
)
def test_a_wrong_clock_costs_no_report(created: str, kept: int) -> None:
    assert read_report(changed(created=created), NOW).created == kept


def test_control_signs_become_blanks() -> None:
    report = read_report(changed(note="a\x1b[2Jb\u202e\tc\nd\x00", found_via="x\ny"), NOW)
    assert report.note == "a [2Jb  c\nd"
    assert report.found_via == "x y"


@pytest.mark.parametrize("text", ["x.example", "x.example/a", "http://x.example", "https://1.2.3.4:80/", "[::1]/x"])
def test_addresses_of_sites(text: str) -> None:
    assert is_url(text)


VALID = sent_by_router(note="cuvinte \u0103 \U0001f600", found_via="x", contact="me@example.org")


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_mutated_reports_are_taken_whole_or_refused(data: st.DataObject) -> None:
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b'"', b"}", b"null", b"\\u0000", b"\\ud83d", b"1e999", b'"image":"x",', b"\xed\xa0\x80"]
                ),
            )
        )
        body[at : at + data.draw(st.integers(0, 8))] = piece
    try:
        report = read_report(bytes(body), NOW)
    except RefusedReportError as error:
        assert error.status in (422, 501)
        return
    assert len(report.report_id) == 36
    assert report.type in TYPES
    assert report.created % 3600 == 0
    assert len(report.note) <= 1000
    assert len(report.url) <= 2048
    assert max(map(len, (report.found_via, report.contact))) <= 200
    for text in report:
        assert not isinstance(text, str) or all(char.isprintable() or char == "\n" for char in text)
    "".join(part for part in report if isinstance(part, str)).encode()  # no half of a surrogate pair
