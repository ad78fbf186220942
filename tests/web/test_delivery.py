"""The delivery on a real console: real requests and alerts, the real courier, servers outside that answer or don't."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guardian.policy.schedule import local_date
from guardian.store.channels import add_channel, list_channels, remove_channel
from guardian.store.history_file import open_file
from guardian.store.reports import count_reports, list_due
from guardian.store.requests import Verdict, Wish, add_request, answer_request
from guardian.web.alerts import current_alerts
from guardian.web.console import Console
from guardian.web.delivery import Delivery, News, collect_news
from guardian.web.reports import take_report
from guardian.web.shapes.activity import Alert, AlertAction
from tests.gateway.product import free_port, wait_for
from tests.web.outside import Outside, outside
from tests.web.reporting import make_console, new

NOW = time.time()


@pytest.fixture
def hotline() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture
def friend() -> Iterator[Outside]:
    with outside() as made:
        made.status = 200
        yield made


@pytest.fixture
def console(tmp_path: Path, hotline: Outside) -> Console:
    return make_console(tmp_path, f"http://127.0.0.1:{hotline.port}/reports")


def add(console: Console, server: Outside, *, requests: bool = True, alerts: bool = False, path: str = "") -> int:
    address = f"json://127.0.0.1:{server.port}/{path}"
    key = add_channel(console.store, "Tata", address, requests=requests, alerts=alerts)
    assert key is not None
    return key


def ask(console: Console, minutes: int = 30, now: float = NOW, profile: str = "ana") -> int:
    wish = Wish(profile, "tablet", "time", minutes, "", "please please")
    return add_request(console.store, wish, now)[0].id


def messages(server: Outside) -> list[str]:
    return [taken.json()["message"] for taken in server.taken]


def test_a_request_is_sent_once(console: Console, friend: Outside) -> None:
    add(console, friend)
    ask(console)
    delivery = Delivery(console)
    for _ in range(3):
        delivery.look(NOW)
    (message,) = messages(friend)
    assert "Ana asks for 30 more minutes." in message
    assert "please please" not in message  # the child's own words stay at home
    ask(console, 60)
    delivery.look(NOW)
    assert len(friend.taken) == 2
    assert "30 more" not in messages(friend)[1]


def test_after_a_new_start_nothing_is_sent_again(console: Console, friend: Outside) -> None:
    add(console, friend)
    ask(console)
    Delivery(console).look(NOW)
    Delivery(console).look(NOW)
    assert len(friend.taken) == 1


def test_several_requests_are_one_message(console: Console, friend: Outside) -> None:
    add(console, friend)
    ask(console, 15)
    ask(console, 45)
    Delivery(console).look(NOW)
    (taken,) = friend.taken
    assert taken.json()["title"] == "Guardian: 2 requests"


def test_an_answered_request_and_one_of_a_profile_that_is_gone_are_not_sent(console: Console, friend: Outside) -> None:
    add(console, friend)
    answer_request(console.store, ask(console), Verdict("refused", "Mama"), NOW)
    ask(console, profile="gone")
    Delivery(console).look(NOW)
    assert friend.taken == []


def test_messages_speak_the_language_that_parents_chose(console: Console, friend: Outside) -> None:
    add(console, friend)
    console.store.set_option("notify_languages", "ro")
    ask(console)
    Delivery(console).look(NOW)
    assert "Ana cere încă 30 de minute." in messages(friend)[0]


def test_a_real_alert_reaches_only_who_wants_alerts(console: Console, friend: Outside) -> None:
    add(console, friend, requests=True, alerts=False, path="requests")
    add(console, friend, requests=False, alerts=True, path="alerts")
    ask(console)
    assert any(alert.kind == "gateway-down" for alert in collect_news(console, NOW).alerts)  # none runs here
    Delivery(console).look(NOW)
    by_path = {taken.path: taken.json()["message"] for taken in friend.taken}
    assert set(by_path) == {"/requests", "/alerts"}
    assert "The filter does not run." in by_path["/alerts"]
    assert "Ana asks" not in by_path["/alerts"]
    assert "The filter" not in by_path["/requests"]


def make_alert(name: str, last: float) -> Alert:
    return Alert(
        name, "new-device", "normal", "2026-11-22", "", "", name, "", "", 1, last, last, AlertAction("name-device")
    )


def test_what_is_older_than_a_day_stays_on_the_page(console: Console, friend: Outside) -> None:
    add(console, friend, alerts=True)
    old, fresh = make_alert("old phone", NOW - 90000), make_alert("new phone", NOW - 60)
    Delivery(console, lambda *_: News([], [old, fresh])).look(NOW)
    (message,) = messages(friend)
    assert "new phone" in message
    assert "old phone" not in message


def test_what_browsers_do_by_themselves_is_not_sent(console: Console, friend: Outside) -> None:
    day = local_date(console.household().tz, NOW).isoformat()
    with closing(open_file(console.config.history.path, "", 1 << 24)) as history:
        history.executemany(
            "INSERT INTO attempt VALUES (?, 'tablet', '', ?, ?, ?, ?)",
            [(day, "canary", 1, int(NOW) - 60, int(NOW) - 60), (day, "vpn", 5, int(NOW) - 60, int(NOW) - 60)],
        )
    kinds = {(alert.of, alert.priority) for alert in current_alerts(console, NOW) if alert.kind == "bypass"}
    assert kinds == {("canary", "low"), ("vpn", "high")}
    add(console, friend, requests=False, alerts=True)
    Delivery(console).look(NOW)
    assert "Ana's tablet: 5 tries to go around the protection (a VPN)." in messages(friend)[0]
    assert "DNS" not in messages(friend)[0]


def test_without_channels_the_history_is_not_even_read(console: Console) -> None:
    def fail(*_: Any) -> News:
        raise AssertionError("read")

    Delivery(console, fail).look(NOW)


def test_a_channel_that_fails_is_tried_later_and_the_others_are_not_told_twice(
    console: Console, friend: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("guardian.web.delivery.time.monotonic", lambda: clock[0])
    with outside() as broken:
        broken.status = 500
        good, bad = add(console, friend), add(console, broken)
        ask(console)
        delivery = Delivery(console)
        delivery.look(NOW)
        assert (len(friend.taken), len(broken.taken)) == (1, 1)
        assert {channel.id: channel.last_error for channel in list_channels(console.store)} == {
            good: "",
            bad: "refused:500",
        }
        delivery.look(NOW)
        assert len(broken.taken) == 1  # not before its pause is over
        clock[0] += 31
        delivery.look(NOW)
        assert len(broken.taken) == 2
        clock[0] += 31
        delivery.look(NOW)
        assert len(broken.taken) == 2  # the pause doubles
        broken.status = 200
        clock[0] += 31
        delivery.look(NOW)
    assert (len(friend.taken), len(broken.taken)) == (1, 3)
    assert [channel.last_error for channel in list_channels(console.store)] == ["", ""]


def test_addresses_are_not_in_the_log(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    address = f"json://mama:s3cret@127.0.0.1:{free_port()}/s3cret"
    add_channel(console.store, "Tata", address, requests=True, alerts=True)
    ask(console)
    with caplog.at_level(logging.DEBUG):
        Delivery(console).look(NOW)
    assert "error=not-reached" in caplog.text
    assert "s3cret" not in caplog.text
    assert list_channels(console.store)[0].last_error == "not-reached"


def test_a_report_is_sent_and_wiped(console: Console, hotline: Outside) -> None:
    receipt = take_report(console, new(url="https://zebra.example/x"), "tablet", 5, NOW)
    Delivery(console).look(NOW)
    (taken,) = hotline.taken
    assert (taken.path, taken.json()["report_id"]) == ("/reports", receipt.report_id)
    assert taken.json()["url"] == "https://zebra.example/x"
    assert "created" in taken.json()
    assert b"zebra" not in Path(console.store.path).read_bytes()
    assert not list(Path(console.store.path).parent.glob("console.db-*"))
    assert count_reports(console.store) == (0, 1, 0)


def test_reports_wait_while_the_hotline_cannot_be_reached(
    console: Console, hotline: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("guardian.web.delivery.time.monotonic", lambda: clock[0])
    hotline.status = 503
    for _ in range(3):
        take_report(console, new(), "tablet", 5, NOW)
    delivery = Delivery(console)
    delivery.look(NOW)
    assert len(hotline.taken) == 1  # the others would meet the same
    hotline.status = 201
    delivery.look(NOW + 5)
    assert len(hotline.taken) == 1
    clock[0] += 100
    delivery.look(NOW + 100)
    assert len(hotline.taken) == 4
    assert len({taken.json()["report_id"] for taken in hotline.taken}) == 3
    assert count_reports(console.store) == (0, 3, 0)


def test_a_report_that_the_hotline_refuses_does_not_hold_the_next(console: Console, hotline: Outside) -> None:
    hotline.status = 422
    for _ in range(2):
        take_report(console, new(), "tablet", 5, NOW)
    Delivery(console).look(NOW)
    assert len(hotline.taken) == 2
    assert count_reports(console.store) == (0, 0, 2)


def test_an_answer_that_got_lost_makes_no_second_report(console: Console, hotline: Outside) -> None:
    hotline.behave = "cut"
    receipt = take_report(console, new(), "tablet", 5, NOW)
    Delivery(console).look(NOW)
    assert count_reports(console.store).waiting == 1
    hotline.behave, hotline.status = "answer", 409  # it has this id already
    Delivery(console).look(NOW + 80)
    assert {taken.json()["report_id"] for taken in hotline.taken} == {receipt.report_id}
    assert count_reports(console.store) == (0, 1, 0)


def test_reports_that_were_kept_go_out_when_there_is_a_hotline(console: Console, hotline: Outside) -> None:
    config = console.config
    console.config = dataclasses.replace(config, web=dataclasses.replace(config.web, reports=""))
    assert take_report(console, new(), "tablet", 5, NOW).state == "kept"
    delivery = Delivery(console)
    delivery.look(NOW)
    assert hotline.taken == []
    console.config = config
    delivery.look(NOW)
    assert len(hotline.taken) == 1


def test_the_thread_sends_at_once_and_ends_at_once(console: Console, friend: Outside, hotline: Outside) -> None:
    add(console, friend)
    delivery = Delivery(console)
    delivery.start()
    try:
        time.sleep(0.3)  # it has looked, and sleeps for half a minute
        ask(console)
        console.delivery_wanted.set()
        wait_for(lambda: friend.taken)
        hotline.behave = "hang"
        take_report(console, new(), "tablet", 5, NOW)
        wait_for(lambda: hotline.taken)
    finally:
        begin = time.monotonic()
        delivery.stop()
        took = time.monotonic() - begin
    assert took < 1.5
    assert count_reports(console.store).waiting == 1
    assert list_due(console.store, time.time())[0].tries == 0  # our own end is not the hotline's fault


def test_a_mistake_in_one_message_does_not_end_the_thread(
    console: Console, friend: Outside, hotline: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> News:
        raise ZeroDivisionError

    add(console, friend)
    delivery = Delivery(console, fail)
    delivery.start()
    try:
        wait_for(lambda: "event=delivery-failed" in caplog.text)
        take_report(console, new(), "tablet", 5, NOW)
        wait_for(lambda: hotline.taken)
    finally:
        delivery.stop()


def test_a_channel_removed_while_it_is_tried_leaves_nothing(console: Console) -> None:
    with outside() as slow:
        key = add(console, slow)

        def collect(console: Console, now: float) -> News:
            news = collect_news(console, now)
            remove_channel(console.store, key)
            return news

        ask(console)
        Delivery(console, collect).look(NOW)
    with console.store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM delivered").fetchone() == (0,)
    assert json.dumps(list_channels(console.store)) == "[]"
