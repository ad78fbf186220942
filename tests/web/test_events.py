"""Live events between the gateway's socket and the open pages: who gets what, bounded, whatever the gateway does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guardian.control import ControlServer
from guardian.errors import GuardianError
from guardian.gateway.live import Live
from guardian.store.history_record import Recorder
from guardian.web import events as events_module
from guardian.web.access import ROLE_SCOPES
from guardian.web.events import (
    GATHER_SECONDS,
    MAX_STREAMS,
    MAX_STREAMS_PER_CALLER,
    MAX_WAITING,
    Events,
    FullError,
    Subscription,
    encode_event,
)

PARENT, HELPER = ROLE_SCOPES["parent"], ROLE_SCOPES["helper"]


class Place:
    """Events in the running loop, and a control socket that a test may serve and end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.events = Events()
        self.events.start(asyncio.get_running_loop(), self.path)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Live]:
        """Serve the gateway's verb `events`."""
        live = Live(Recorder())

        async def listen(request: dict[str, Any]) -> Any:
            return live.listen()

        server = ControlServer({}, {"events": listen})
        await server.start(self.path)
        try:
            yield live
        finally:
            await server.close()

    def parent(self) -> Subscription:
        return self.events.subscribe(b"a parent", PARENT)


def play(path: Path, act: Callable[[Place], Any]) -> None:
    """Run a coroutine function with a place in a loop."""

    async def main() -> None:
        place = Place(path / "control.sock")
        try:
            async with asyncio.timeout(60):
                await act(place)
        finally:
            place.events.stop()

    asyncio.run(main())


async def take(stream: Subscription, seconds: float = 3.0) -> list[tuple[str, dict[str, Any]]]:
    """What a stream has next, decoded."""
    taken = await stream.take(seconds)
    assert taken is not None
    return [decode(event) for event in taken]


def decode(event: bytes) -> tuple[str, dict[str, Any]]:
    head, data, *rest = event.decode().split("\n")
    assert head.startswith("event: ") and data.startswith("data: ") and rest == ["", ""]
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a\nevent: change\ndata: {}\n\n",
        "\r\r",
        "\u202egnp.exe",
        "\u2028",
        "\0",
        "x" * 4000,
    ],
)
def test_hostile_text_stays_inside_its_event(name: str) -> None:
    encoded = encode_event("decision", {"name": name})
    assert decode(encoded) == ("decision", {"name": name})
    assert b"\r" not in encoded and encoded.count(b"\n") == 3


def test_each_gets_what_its_scopes_may_see(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        parent, helper = place.parent(), place.events.subscribe(b"a helper", HELPER)
        nobody = place.events.subscribe(b"nobody", frozenset())
        place.events.publish("decision", {"device": "tablet"})
        place.events.publish("request", {"id": 7}, scope="requests")
        assert await take(parent) == [("decision", {"device": "tablet"}), ("request", {"id": 7})]
        assert await take(helper) == [("request", {"id": 7})]
        for what in ("household", "devices", "alerts", "requests"):
            place.events.publish_change(what)
        await asyncio.sleep(2 * GATHER_SECONDS)
        assert {data["what"] for _, data in await take(parent)} == {"household", "devices", "alerts", "requests"}
        assert await take(helper) == [("change", {"what": "requests"})]
        assert await take(nobody, 0.05) == []

    play(tmp_path, act)


def test_equal_changes_are_told_once_and_after_the_last(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        stream = place.events.subscribe(b"a helper", HELPER)
        for _ in range(5):
            place.events.publish_change("requests")
        assert await take(stream, 0) == []  # not before the time for others is over
        assert await take(stream) == [("change", {"what": "requests"})]
        assert await take(stream, 2 * GATHER_SECONDS) == []
        place.events.publish_change("requests")
        assert await take(stream) == [("change", {"what": "requests"})]
        with pytest.raises(KeyError):
            place.events.publish_change("weather")

    play(tmp_path, act)


def test_any_thread_may_publish(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        stream = place.parent()
        threads = [
            threading.Thread(target=lambda: [place.events.publish("request", {"id": n}, "requests") for n in range(20)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        got: list[Any] = []
        while len(got) < 160:
            got += await take(stream)
        assert sorted(data["id"] for _, data in got) == sorted(list(range(20)) * 8)

    play(tmp_path, act)


def test_who_does_not_take_is_told_to_ask_for_everything(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        parent, helper = place.parent(), place.events.subscribe(b"h", HELPER)
        for number in range(MAX_WAITING + 10):
            place.events.publish("decision", {"n": number})
            place.events.publish("request", {"id": number}, "requests")
        await asyncio.sleep(0)
        everything = [("change", {"what": what}) for what in ("household", "devices", "alerts", "requests")]
        assert await take(parent) == everything
        assert await take(helper) == everything[-1:]
        place.events.publish("decision", {"n": 1})
        assert await take(parent) == [("decision", {"n": 1})]

    play(tmp_path, act)


def test_streams_are_counted_by_caller_and_in_all(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        mine = [place.parent() for _ in range(MAX_STREAMS_PER_CALLER)]
        with pytest.raises(FullError):
            place.parent()
        others = [place.events.subscribe(n, HELPER) for n in range(MAX_STREAMS - MAX_STREAMS_PER_CALLER)]
        with pytest.raises(FullError):
            place.events.subscribe("one more", HELPER)
        mine[0].close()
        mine[0].close()
        assert await mine[0].take(0) is None
        place.parent()
        for stream in others:
            stream.close()
        place.events.subscribe("one more", HELPER)

    play(tmp_path, act)


def test_the_end_ends_all_streams_and_later_events_are_lost(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        async with place.gateway() as live:
            stream = place.parent()
            await until(lambda: live_readers(live) == 1)
            waiting = asyncio.ensure_future(stream.take(30))
            await asyncio.sleep(0)
            place.events.stop()
            assert await waiting is None
            place.events.publish("decision", {})
            place.events.publish_change("household")
            await until(lambda: live_readers(live) == 0)

    play(tmp_path, act)


def live_readers(live: Live) -> int:
    return len(live._readers)


def test_before_the_start_nothing_is_told() -> None:
    events = Events()
    events.publish("decision", {})
    events.publish_change("household")
    events.stop()


# The gateway's side


def test_the_gateway_is_followed_only_while_somebody_may_see_it(tmp_path: Path) -> None:
    async def act(place: Place) -> None:
        async with place.gateway() as live:
            helper = place.events.subscribe(b"h", HELPER)
            await asyncio.sleep(0.1)
            assert live_readers(live) == 0
            parent = place.parent()
            await until(lambda: live_readers(live) == 1)
            live.publish("decision", at=1, device="tablet", times=2)
            assert await take(parent) == [("decision", {"at": 1, "device": "tablet", "times": 2})]
            parent.close()
            live.publish("device", mac="", device="tablet", online=True)
            await until(lambda: live_readers(live) == 0)
            assert await take(helper, 0.05) == []
            parent = place.parent()
            await until(lambda: live_readers(live) == 1)
            live.publish("device", mac="", device="tablet", online=False)
            assert await take(parent) == [("device", {"mac": "", "device": "tablet", "online": False})]

    play(tmp_path, act)


def test_what_the_gateway_tells_becomes_changes_of_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "GATHER_ALERTS_SECONDS", 0.1)

    async def act(place: Place) -> None:
        async with place.gateway() as live:
            parent = place.parent()
            await until(lambda: live_readers(live) == 1)
            assert await take(parent) == [("change", {"what": "alerts"})]  # of what was tried just before
            live.publish("change", what="household")
            place.events.publish_change("household")  # the console tells of the same one
            assert await take(parent) == [("change", {"what": "household"})]
            live.publish("change", what="lists")
            assert await take(parent) == [("change", {"what": "alerts"})]
            live.publish("attempt", device="", mac="02:00:5e:00:00:01", kind="vpn", times=1)
            assert [event for event, _ in await take(parent)] == ["attempt"]
            assert await take(parent) == [("change", {"what": "alerts"})]
            for reason, times in (("bypass", 3), ("category", 0)):
                live.publish("decision", device="tablet", action="block", reason=reason, tag="", times=1)
                assert [event for event, _ in await take(parent)] == ["decision"]
                assert await take(parent, 0.3) == [("change", {"what": "alerts"})][:times]
            live.publish("lost", count=3)
            await asyncio.sleep(2 * GATHER_SECONDS)
            assert {data["what"] for _, data in await take(parent)} == {"household", "devices", "alerts"}
            live.publish("nonsense", what="household")
            assert await take(parent, 0.2) == []

    play(tmp_path, act)


def test_a_gateway_that_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "FIRST_WAIT", 0.05)

    async def act(place: Place) -> None:
        parent = place.parent()
        assert await take(parent) == [("change", {"what": "alerts"})]  # there is none: pages are to say so
        for _ in range(2):
            async with place.gateway() as live:
                await until(lambda live=live: live_readers(live) == 1)
                await asyncio.sleep(2 * GATHER_SECONDS)
                assert {data["what"] for _, data in await take(parent)} == {"household", "devices", "alerts"}
                live.publish("device", mac="", device="tablet", online=True)
                assert [event for event, _ in await take(parent)] == ["device"]
            assert await take(parent) == [("change", {"what": "alerts"})]

    play(tmp_path, act)


def test_a_gateway_that_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "FIRST_WAIT", 0.05)

    async def act(place: Place) -> None:
        live, tries = Live(Recorder()), 0

        async def listen(request: dict[str, Any]) -> Any:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise GuardianError("8 programs listen already")
            return live.listen()

        server = ControlServer({}, {"events": listen})
        await server.start(place.path)
        place.parent()
        await until(lambda: live_readers(live) == 1)
        assert tries == 3
        await server.close()

    play(tmp_path, act)


async def _doubted(place: Place) -> None:
    one, other = place.parent(), place.parent()
    place.events.check_callers()
    for stream in (one, other):
        assert await stream.take(1) == [] and stream.is_doubtful
        stream.is_doubtful = False
        assert await stream.take(0.01) == [] and not stream.is_doubtful
    place.events.stop()
    place.events.check_callers()  # nobody listens any more: no error


def test_all_streams_can_be_doubted_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        await _doubted(Place(tmp_path / "control.sock"))

    asyncio.run(main())
