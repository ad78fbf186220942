"""Live events: what the history may keep and nothing else, bounded, and nothing at all while nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest

from guardian.errors import GuardianError
from guardian.gateway.live import MAX_READERS, MAX_WAITING, Live, Reader
from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store.history_record import HELPLINE_BLOCKED, Recorder

NOW = 1_795_000_000.0
HOUR = int(NOW) // 3600
NAME = parse_name("www.example.com")
NAMES, CATEGORIES, COUNTS = Visibility.NAMES, Visibility.CATEGORIES, Visibility.COUNTS


class Place:
    """A recorder with its live events and one reader."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.recorder = Recorder(UTC)
        self.live = Live(self.recorder)
        self._runner = runner
        self.reader = self.live.listen()

    def take(self, reader: Reader | None = None) -> list[dict[str, Any]]:
        events = self._runner.run((reader or self.reader).take(0.05))
        assert events is not None
        return events

    def add(
        self,
        device: str,
        visibility: Visibility,
        reason: str = "category",
        tag: str = "category:games",
        action: str = "block",
        name: bytes | None = NAME,
        count: int = 1,
    ) -> None:
        self.recorder.add(HOUR, device, name, action, reason, tag, count, NOW, visibility)

    def told(self) -> list[dict[str, Any]]:
        self.live.tick(NOW + 1)
        return self.take()


@pytest.fixture
def place() -> Iterator[Place]:
    with asyncio.Runner() as runner:
        yield Place(runner)


def test_each_visibility_shows_what_the_history_keeps(place: Place) -> None:
    for visibility in (NAMES, CATEGORIES, COUNTS):
        place.add(visibility.value, visibility, count=2)
    assert place.told() == [
        {"event": "decision", "at": int(NOW), "device": "names", "action": "block", "reason": "category",
         "tag": "category:games", "times": 2, "name": "www.example.com"},
        {"event": "decision", "at": int(NOW) + 1, "device": "categories", "action": "block", "reason": "category",
         "tag": "category:games", "times": 2},
        {"event": "decision", "at": int(NOW) + 1, "device": "counts", "action": "block", "reason": "", "tag": "",
         "times": 2},
    ]  # fmt: skip
    assert place.told() == []


def test_helplines_mandatory_lists_and_the_text_of_rules_are_never_told(place: Place) -> None:
    for visibility in (NAMES, CATEGORIES, COUNTS):
        place.add("a", visibility, "helpline", "helpline", "allow")
        place.add("a", visibility, "default", "helpline", "allow")
        place.add("a", visibility, "mandatory", "mandatory:law")
        place.add("a", visibility, "rule", "mandatory:law")
        place.recorder.add_name(HOUR, "a", NAME, "block", "mandatory", "mandatory:law", 1, NOW)
        place.recorder.add_name(HOUR, "a", NAME, "allow", "helpline", "helpline", 1, NOW)
    place.recorder.note_attempt("", None, HELPLINE_BLOCKED, 1, NOW)
    assert place.told() == []
    place.add("a", CATEGORIES, "rule", "rule:block secret.example")
    (event,) = place.told()
    assert event["tag"] == "" and "secret" not in str(event)


def test_names_that_come_after_their_counts_are_told_once(place: Place) -> None:
    """As `AnswerRecorder` does it; what found no room for its name is told without."""
    place.add("a", NAMES, name=None, count=5)
    place.recorder.add_name(HOUR, "a", NAME, "block", "category", "category:games", 3, NOW)
    first, rest = place.told()
    assert (first["name"], first["times"]) == ("www.example.com", 3)
    assert "name" not in rest and rest["times"] == 2


def test_attempts_are_told_whatever_parents_see(place: Place) -> None:
    mac = bytes.fromhex("02005e100001")
    place.recorder.note_attempt("tablet", mac, "vpn", 2, NOW)
    place.recorder.note_attempt("", mac, "unknown-device", 1, NOW)
    at = int(NOW)
    assert place.told() == [
        {"event": "attempt", "at": at, "device": "tablet", "mac": "", "kind": "vpn", "times": 2},
        {"event": "attempt", "at": at, "device": "", "mac": "02:00:5e:10:00:01", "kind": "unknown-device", "times": 1},
    ]


def test_nothing_is_gathered_while_nobody_listens(place: Place) -> None:
    place.reader.close()
    assert place.recorder.mirror is None
    place.add("a", NAMES)
    place.live.tick(NOW)
    place.live.publish("change", what="household")
    place.reader = place.live.listen()
    assert place.told() == []  # what was before is the history's
    batch = place.recorder.take()
    assert batch is not None and batch.queries == 1


def test_the_history_keeps_the_same_with_and_without_a_listener(place: Place) -> None:
    alone = Recorder(UTC)
    for recorder in (alone, place.recorder):
        recorder.add(HOUR, "a", NAME, "block", "category", "category:games", 2, NOW, NAMES)
        recorder.add(HOUR, "b", NAME, "allow", "default", "", 2, NOW, COUNTS)
        recorder.add(HOUR, "b", NAME, "block", "mandatory", "mandatory:x", 2, NOW, COUNTS)
        recorder.note_attempt("a", None, "vpn", 1, NOW)
    assert alone.take() == place.recorder.take()


def test_a_slow_reader_loses_and_is_told_how_many(place: Place) -> None:
    for number in range(MAX_WAITING + 7):
        place.live.publish("change", what=str(number))
    events = place.take()
    assert [event["what"] for event in events[:-1]] == [str(number) for number in range(MAX_WAITING)]
    assert events[-1] == {"event": "lost", "count": 7}
    place.live.publish("change", what="after")
    assert place.take() == [{"event": "change", "what": "after"}]


def test_the_ninth_reader_is_refused_and_a_place_becomes_free(place: Place) -> None:
    readers = [place.live.listen() for _ in range(MAX_READERS - 1)]
    with pytest.raises(GuardianError, match="8 programs listen already"):
        place.live.listen()
    readers[0].close()
    readers[0].close()
    place.live.listen()
    place.live.publish("change", what="household")
    for reader in (*readers[1:], place.reader):
        assert place.take(reader) == [{"event": "change", "what": "household"}]


def test_taking_waits_for_events_and_ends_with_close() -> None:
    async def main() -> None:
        live = Live(Recorder(UTC))
        reader = live.listen()
        assert await reader.take(0.01) == []
        waiting = asyncio.ensure_future(reader.take(10))
        await asyncio.sleep(0)
        live.publish("device", mac="", device="tablet", online=True)
        assert await waiting == [{"event": "device", "mac": "", "device": "tablet", "online": True}]
        waiting = asyncio.ensure_future(reader.take(10))
        await asyncio.sleep(0)
        reader.close()
        assert await waiting is None

    asyncio.run(main())
