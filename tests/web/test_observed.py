"""What the console sees of the gateway and the history, and what it says when one of them is not there."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from guardian.config.values import HotlineConfig
from guardian.hotline.feed_state import FeedState, ListState, feed_folder, save_state
from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_read import HistoryReader, HourTotals
from guardian.store.history_record import Recorder
from guardian.web.cards import Presence
from guardian.web.console import Console
from guardian.web.observed import (
    LEAST_BURST,
    find_presence,
    make_state,
    observe,
    read_blocked_today,
    read_mandatory_today,
    read_status,
    read_tries,
)
from guardian.web.shapes.activity import HotlineFeed, ListInForce
from guardian.web.shapes.devices import Devices, DeviceState
from guardian.web.shapes.household import Device
from tests.gateway.product import compile_starter_image
from tests.store.history_home import Clock, write
from tests.web.api.calls import open_console
from tests.web.homes import CHISINAU, at

NOW = at("2026-11-23 18:00")
YESTERDAY = at("2026-11-22 12:00")
GAMBLING = "category:gambling"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console without a gateway. The home is that of `tests.web.api.calls`."""
    image = tmp_path / "state" / "lists" / "guardian.image"
    image.parent.mkdir(parents=True)
    image.write_bytes(compile_starter_image())
    return open_console(tmp_path)


def block(recorder: Recorder, moment: float, count: int, tag: str = GAMBLING, device: str = "tablet") -> None:
    reason = tag.partition(":")[0]
    name = parse_name("bet.example")
    recorder.add(int(moment) // 3600, device, name, "block", reason, tag, count, moment, Visibility.NAMES)


def keep(console: Console, recorder: Recorder) -> None:
    write(console.config.history.path, recorder.take())


def test_nothing_runs_and_nothing_was_kept(console: Console) -> None:
    assert read_status(console) is None
    assert read_blocked_today(console, NOW) == {}
    assert read_mandatory_today(console, NOW) == 0
    seen = observe(console, console.household(), None, 7, NOW)
    assert seen.attempts == seen.blocks == () and seen.history_error
    state = make_state(console, None, NOW)
    assert (state.running, state.started, state.flow_filter, state.mandatory_today) == (False, None, False, 0)
    assert state.names > 1000 and state.lists_created and state.version  # the lists in force stay so


def test_a_history_that_is_no_database(console: Console) -> None:
    Path(console.config.history.path).write_bytes(b"x" * 9000)
    assert read_blocked_today(console, NOW) == {}
    assert observe(console, console.household(), None, 7, NOW).history_error


def test_today_begins_at_the_household_s_midnight(console: Console) -> None:
    recorder = Recorder(CHISINAU)
    block(recorder, at("2026-11-22 23:59"), 5)
    block(recorder, at("2026-11-23 00:01"), 7)
    block(recorder, at("2026-11-23 17:59"), 9, device="")
    recorder.add(0, "tablet", None, "block", "mandatory", "mandatory:x", 3, YESTERDAY, Visibility.NAMES)
    recorder.add(0, "tablet", None, "block", "mandatory", "mandatory:x", 4, NOW, Visibility.NAMES)
    keep(console, recorder)
    assert read_blocked_today(console, NOW) == {"tablet": 7, "": 9}
    assert read_mandatory_today(console, NOW) == 4
    assert make_state(console, None, NOW).mandatory_today == 4


def test_what_alerts_are_made_of(console: Console) -> None:
    recorder = Recorder(CHISINAU)
    block(recorder, YESTERDAY, LEAST_BURST - 1)
    block(recorder, YESTERDAY + 3600, 1)
    block(recorder, NOW, LEAST_BURST - 1)
    block(recorder, NOW, 1, "bypass:vpn")
    recorder.note_attempt("tablet", None, "tor", 2, NOW)
    recorder.note_attempt("tablet", None, "tor", 5, at("2026-11-16 23:00"))  # eight days
    keep(console, recorder)
    seen = observe(console, console.household(), None, 7, NOW)
    assert [(attempt.day, attempt.kind, attempt.times) for attempt in seen.attempts] == [("2026-11-23", "tor", 2)]
    assert sorted((day, found.tag, found.queries) for day, found in seen.blocks) == [
        ("2026-11-22", GAMBLING, LEAST_BURST),
        ("2026-11-23", "bypass:vpn", 1),
    ]
    assert len(observe(console, console.household(), None, 8, NOW).attempts) == 2
    assert seen.history_error == ""


def test_a_past_day_is_read_once_and_today_always(console: Console) -> None:
    recorder = Recorder(CHISINAU)
    block(recorder, YESTERDAY, 30)
    block(recorder, NOW, 30)
    keep(console, recorder)
    home = console.household()
    assert len(observe(console, home, None, 3, NOW).blocks) == 2
    block(recorder, NOW, 10)
    keep(console, recorder)
    known = len(console.settled)
    assert {found.queries for _, found in observe(console, home, None, 3, NOW).blocks} == {30, 40}
    assert len(console.settled) == known > 0


def test_yesterday_is_not_settled_before_all_of_it_is_written(console: Console) -> None:
    recorder = Recorder(CHISINAU)
    block(recorder, at("2026-11-22 23:59"), 30)
    keep(console, recorder)
    late = at("2026-11-23 00:30")
    assert len(observe(console, console.household(), None, 2, late).blocks) == 1
    block(recorder, at("2026-11-22 23:59:59"), 5)
    keep(console, recorder)
    (found,) = observe(console, console.household(), None, 2, late).blocks
    assert found.found.queries == 35


def test_what_was_erased_is_gone_though_it_was_read_before(console: Console) -> None:
    recorder = Recorder(CHISINAU)
    block(recorder, YESTERDAY, 30)
    keep(console, recorder)
    home, days = console.household(), [date(2026, 11, 22), date(2026, 11, 23)]
    path = console.config.history.path
    assert observe(console, home, None, 3, NOW).blocks
    with HistoryReader(path) as history:
        assert read_tries(history, console.settled, CHISINAU, ["tablet"], days, NOW).hours
    writer = HistoryWriter(path, clock=Clock(NOW))
    writer.start()
    writer.drain()
    writer.erase_all().result(10)
    block(recorder, NOW, 25)
    writer.submit(recorder.take())
    writer.close()
    assert [day for day, _ in observe(console, home, None, 3, NOW).blocks] == ["2026-11-23"]
    with HistoryReader(path) as history:
        assert read_tries(history, console.settled, CHISINAU, ["tablet"], days, NOW).hours == [
            HourTotals(int(NOW) // 3600, 0, 25)
        ]


@pytest.mark.parametrize("zone", ["Europe/Chisinau", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
def test_the_tries_of_days_are_those_of_their_hours(console: Console, zone: str) -> None:
    tz = ZoneInfo(zone)
    recorder = Recorder(tz)
    hour = int(NOW) // 3600
    for back in range(72):
        block(recorder, (hour - back) * 3600.0, back + 1, device="tablet" if back % 2 else "phone")
    keep(console, recorder)
    days = [date(2026, 11, day) for day in (19, 20, 21, 22, 23, 24)]  # today is the 24th in the east
    with HistoryReader(console.config.history.path) as history:
        for _ in range(2):  # read, and remembered
            found = read_tries(history, console.settled, tz, ["tablet", "phone"], days, NOW + 1)
            assert found.hours == history.tries(["tablet", "phone"]).hours
            assert found.kinds == history.tries(["phone", "tablet"]).kinds
        assert read_tries(history, console.settled, tz, [], days, NOW).hours == []


def test_presence_by_device() -> None:
    states = [
        DeviceState(Device("tablet", "Tablet", "ana"), [], True, 5.0, False),
        DeviceState(Device("phone", "Phone", "ana"), [], False, None, False),
    ]
    assert find_presence(Devices(1, states, [], "")) == {"tablet": Presence(True, 5.0), "phone": Presence(False, 0.0)}


# The hotline's feed


def with_feed(tmp_path: Path, state: FeedState | None) -> Console:
    console = open_console(tmp_path)
    settings = HotlineConfig(url="http://127.0.0.1:1/", root="root.json")
    console.config = replace(console.config, hotline=settings)
    if state is not None:
        feed_folder(console.config.state).mkdir()
        save_state(feed_folder(console.config.state), state)
    return console


FEED = FeedState(
    url="http://127.0.0.1:1/", name="Hotline of Tests", checked=NOW - 60, succeeded=NOW - 60, version=9,
    expires=NOW + 86400, accepted=NOW - 60, minimum_version="9.1", test_name="feed-test.example",
    lists={"list-a": ListState(4, 5012, 9, NOW - 7200, NOW - 3600), "list-b": ListState(code="growth", error="why")},
)  # fmt: skip


def test_without_a_feed_nothing_is_told(console: Console) -> None:
    assert make_state(console, None, NOW).feed is None
    seen = observe(console, console.household(), None, 1, NOW)
    assert (seen.feed, seen.asked_version) == (None, "")


def test_a_feed_is_told_without_its_test_name(tmp_path: Path) -> None:
    console = with_feed(tmp_path, FEED)
    assert make_state(console, None, NOW).feed == HotlineFeed(
        "refused", "Hotline of Tests", NOW - 60, NOW - 60, 60.0, NOW + 86400, "growth", True,
        [ListInForce("list-a", 5012, NOW - 7200)],
    )  # fmt: skip
    seen = observe(console, console.household(), None, 1, NOW).feed
    assert seen is not None and seen.state == "refused"
    assert observe(console, console.household(), None, 1, NOW).asked_version == "9.1"
    assert "feed-test" not in repr(make_state(console, None, NOW)) + repr(seen)


@pytest.mark.parametrize("broken", [False, True])
def test_a_feed_that_never_came_or_cannot_be_read(tmp_path: Path, broken: bool) -> None:
    console = with_feed(tmp_path, FEED if broken else None)
    if broken:
        (feed_folder(console.config.state) / "state.json").write_text("{}}")
    problem = "damaged" if broken else ""
    feed = make_state(console, None, NOW).feed
    assert feed == HotlineFeed("never", "", None, None, None, None, problem, False, [])
