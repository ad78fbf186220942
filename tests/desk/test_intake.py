"""The door for reports as ASGI: answers, limits, and that nobody who comes is remembered."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.desk import intake
from guardian.desk.intake import MOST_SOURCES, Allowance, Intake, Limits, find_source
from guardian.desk.report_shape import MAX_BODY_BYTES
from guardian.desk.report_store import ReportStore, list_reports
from guardian.web.reports import judge_answer
from tests.desk.reports import NOW, make_id, sent_by_router

JSON = {"Content-Type": "application/json"}
PEER = "198.51.100.77"


class Door:
    """An intake, and somebody who knocks."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = ReportStore(str(folder))
        self.intake = Intake(self.store, clock=lambda: NOW, **options)

    def post(self, body: Any, peer: str = PEER, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return self.send("POST", peer, content=body, headers=JSON | (headers or {}), **more)

    def send(self, method: str, peer: str = PEER, path: str = "/reports", **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.intake.app, client=(peer, 4711), raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://hotline.example") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def notes(self) -> list[str]:
        return [found.note for found in list_reports(self.store)]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.intake.close()


def test_a_report_is_taken(door: Door) -> None:
    answer = door.post(sent_by_router(note="words"))
    assert (answer.status_code, answer.json()) == (202, {"state": "taken"})
    assert judge_answer({"status": 202}) == "taken"
    assert door.notes() == ["words"]


def test_the_same_report_twice_is_one(door: Door) -> None:
    first, second = door.post(sent_by_router(note="first")), door.post(sent_by_router(note="second"))
    assert (first.status_code, first.content) == (second.status_code, second.content)  # nothing tells that it is known
    assert door.notes() == ["first"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {}, 422),
        (b"", {}, 422),
        (sent_by_router(), {"Content-Type": "text/plain"}, 415),
        (sent_by_router(), {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        (b"\x89PNG\r\n\x1a\n", {"Content-Type": "image/png"}, 415),
        (gzip.compress(sent_by_router()), {"Content-Encoding": "gzip"}, 415),
        (b" " * (MAX_BODY_BYTES + 1), {}, 413),
        (json.dumps(json.loads(sent_by_router()) | {"image": "AAAA"}).encode(), {}, 422),
        (json.dumps({"schema": 2}).encode(), {}, 501),
    ],
)
def test_what_is_no_report_is_refused(door: Door, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = door.post(body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert door.notes() == []


def test_a_charset_is_no_harm(door: Door) -> None:
    assert door.post(sent_by_router(), headers={"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_there_is_nothing_to_read(door: Door, method: str) -> None:
    door.post(sent_by_router())
    assert door.send(method).status_code == 405
    assert door.send(method, path="/").status_code == 404
    assert door.send(method, path="/reports/1").status_code == 404


def test_a_body_without_end_is_cut(door: Door) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 8 << 20:  # the end of the test's patience
            sent += 4096
            yield b" " * 4096

    assert door.post(endless()).status_code == 413
    assert sent <= MAX_BODY_BYTES + 2 * 4096


def test_a_body_that_drips_is_not_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_SECONDS", 0.2)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" "
            await asyncio.sleep(0.05)

    answer = door.post(dripping())
    assert answer.status_code == 408
    assert judge_answer({"status": 408}) == "later"


def test_one_source_may_not_flood(tmp_path: Path) -> None:
    door = Door(tmp_path, limits=Limits(of_source=Allowance(3, 60)))
    answers = [door.post(sent_by_router(make_id(number))) for number in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert judge_answer({"status": 429}) == "later"  # the router keeps it
    assert door.post(sent_by_router(make_id(9)), peer="198.51.100.78").status_code == 202
    door.intake.close()


def test_all_sources_together_may_not_flood(tmp_path: Path) -> None:
    door = Door(tmp_path, limits=Limits(of_all=Allowance(3, 60)))
    answers = [door.post(sent_by_router(make_id(number)), peer=f"198.51.100.{number}") for number in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    door.intake.close()


def test_rubbish_does_not_use_up_what_all_may_send(tmp_path: Path) -> None:
    door = Door(tmp_path, limits=Limits(of_all=Allowance(3, 60)))
    assert {door.post(b"{}", peer=f"198.51.100.{number}").status_code for number in range(20)} == {422}
    assert door.post(sent_by_router()).status_code == 202
    door.intake.close()


def test_behind_a_proxy_each_source_has_its_own_limit(tmp_path: Path) -> None:
    proxies = [ip_network("10.0.0.0/8")]
    door = Door(tmp_path, limits=Limits(of_source=Allowance(1, 60)), proxies=proxies)

    def post(number: int, forwarded: str, peer: str = "10.0.0.1") -> int:
        body = sent_by_router(make_id(number))
        return door.post(body, peer=peer, headers={"X-Forwarded-For": forwarded}).status_code

    assert post(1, "192.0.2.1") == 202
    assert post(2, "192.0.2.1") == 429
    assert post(3, "192.0.2.2") == 202
    assert post(4, "203.0.113.5, 192.0.2.2") == 429  # what the sender wrote itself is not believed
    assert post(5, "192.0.2.2, 10.0.0.7") == 429  # two proxies of ours
    assert post(6, "192.0.2.9", peer=PEER) == 202
    assert post(7, "192.0.2.10", peer=PEER) == 429  # who is no proxy of ours speaks for itself
    door.intake.close()


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "source"),
    [
        ("192.0.2.1", [], [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], [], "192.0.2.1"),
        ("127.0.0.1", ["198.51.100.1"], [], ""),  # a proxy that nobody has named
        ("::1", [], [], ""),
        ("127.0.0.1", [], ["127.0.0.0/8"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], ["127.0.0.0/8"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], ["127.0.0.0/8"], "198.51.100.1"),
        ("127.0.0.1", ["evil", "198.51.100.1"], ["127.0.0.0/8"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, evil"], ["127.0.0.0/8"], "127.0.0.1"),
        ("127.0.0.1", ["2001:db8::1"], ["127.0.0.0/8", "2001:db8::/64"], "127.0.0.1"),
        ("", ["198.51.100.1"], [], ""),  # a Unix socket
    ],
)
def test_where_a_request_comes_from(peer: str, forwarded: list[str], proxies: list[str], source: str) -> None:
    assert find_source(peer, forwarded, [ip_network(text) for text in proxies]) == source


def test_a_home_is_one_source_however_many_ipv6_addresses_it_has() -> None:
    limits = Limits(of_source=Allowance(1, 60))
    assert limits.admit_source("2001:db8:1:2::1", 0.0) == 0.0
    assert limits.admit_source("2001:db8:1:2:ffff::9", 0.0) > 0
    assert limits.admit_source("2001:db8:1:3::1", 0.0) == 0.0
    assert limits.admit_source("192.0.2.1", 0.0) == 0.0
    assert limits.admit_source("::ffff:192.0.2.1", 0.0) > 0
    assert limits.admit_source("fe80::1%eth0", 0.0) == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 600), min_size=1, max_size=60), st.integers(1, 5), st.integers(60, 3600))
def test_never_more_than_the_burst_and_what_time_gives(pauses: list[float], burst: int, hourly: int) -> None:
    limits = Limits(Allowance(burst, hourly), Allowance(burst, hourly))
    now, first, admitted = 0.0, None, 0
    for pause in pauses:
        now += pause
        first = now if first is None else first
        wait = limits.admit_source("192.0.2.1", now)
        assert (wait == 0.0) == (limits.admit(now) == 0.0)
        admitted += wait == 0.0
        assert admitted <= burst + (now - first) * hourly / 3600 + 1e-6
        if wait:
            assert limits.admit_source("192.0.2.1", now + wait + 1e-3) == 0.0  # the promise of Retry-After is kept
            assert limits.admit(now + wait + 1e-3) == 0.0
            now, admitted = now + wait + 1e-3, admitted + 1


def test_sources_take_little_memory_and_are_no_addresses() -> None:
    limits = Limits()
    for number in range(MOST_SOURCES + 500):
        limits.admit_source(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(limits._sources) == MOST_SOURCES
    assert all(len(known) == 16 for known in limits._sources)
    again = Limits()
    again.admit_source(f"10.0.{MOST_SOURCES >> 8}.7", 0.0)
    assert set(again._sources) and not set(again._sources) & set(limits._sources)  # another process has another key


def test_nothing_of_the_sender_is_kept_or_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = Door(tmp_path, proxies=[ip_network(f"{PEER}/32")])
    headers = {
        "X-Forwarded-For": "203.0.113.99",
        "Cookie": "secret-cookie=1",
        "User-Agent": "secret-agent",
        "Authorization": "Bearer secret-token",
        "Accept-Language": "secret-language",
    }
    assert door.post(sent_by_router(note="zebra", url="https://zebra.example/"), headers=headers).status_code == 202
    assert door.post(b"zebra", headers=headers).status_code == 422
    assert door.post(b"zebra" * 20000, headers=headers).status_code == 413
    door.intake.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("guardian"))
    assert "event=report-taken type=csam_suspected" in logged
    assert b"zebra" in stored  # the report itself
    for trace in ("203.0.113.99", PEER, "4711", "secret"):
        assert trace.encode() not in stored, trace
        assert trace not in logged, trace
    for trace in ("zebra", "0b6f1a52"):
        assert trace not in logged, trace


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_requests_get_an_answer_and_never_harm(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        door = Door(Path(folder), limits=Limits(of_source=Allowance(1e9, 1e9)))
        body = bytearray(sent_by_router(note="words", contact="me@example.org"))
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, len(body)))
            body[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=8))
        media = data.draw(
            st.sampled_from(["application/json", "application/json;x", "text/html", "", ";", "image/png"])
        )
        forwarded = data.draw(st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=30))
        headers = {"Content-Type": media, "X-Forwarded-For": forwarded}
        answer = door.post(bytes(body), headers=headers)
        door.intake.close()
        assert answer.status_code in (202, 415, 422, 501)
        assert len(door.notes()) == (answer.status_code == 202)


def test_a_disk_that_fails_costs_no_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = Door(tmp_path)
    (tmp_path / "reports.db").write_bytes(b"something else " * 100)
    answer = door.post(sent_by_router(note="zebra"))
    assert (answer.status_code, judge_answer({"status": 503})) == (503, "later")
    assert answer.headers["Retry-After"] == "600"
    assert "event=report-not-kept" in caplog.text
    assert "zebra" not in caplog.text
    door.intake.close()


def test_a_full_queue_says_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "keep_report", lambda *_: "full")
    door = Door(tmp_path)
    assert door.post(sent_by_router()).status_code == 503
    door.intake.close()


def test_many_at_once_are_all_kept(tmp_path: Path) -> None:
    door = Door(tmp_path, limits=Limits(of_source=Allowance(100, 100)))

    async def send_all() -> list[int]:
        transport = httpx.ASGITransport(door.intake.app, client=(PEER, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://hotline.example") as client:
            answers = await asyncio.gather(
                *(client.post("/reports", content=sent_by_router(make_id(n % 40)), headers=JSON) for n in range(60))
            )
        return [answer.status_code for answer in answers]

    assert asyncio.run(send_all()) == [202] * 60
    assert len(door.notes()) == 40
    door.intake.close()
