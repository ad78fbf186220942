"""What the gateway and the history say now, for pages that must be there even when one of them is not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import date, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from guardian import __version__
from guardian.errors import GuardianError
from guardian.hotline.feed_health import FeedHealth, find_success, read_health
from guardian.hotline.feed_state import FeedState
from guardian.policy.model import Household, Reason
from guardian.policy.schedule import local_date, start_of_day
from guardian.store.history_read import (
    Attempt,
    BlockedCount,
    HistoryError,
    HistoryReader,
    HourTotals,
    KindCount,
    Tries,
)
from guardian.store.room import look_at_room
from guardian.web.cards import Presence
from guardian.web.settled import Settled, Span
from guardian.web.shapes.activity import GatewayState, HotlineFeed, ListInForce
from guardian.web.shapes.devices import Devices

if TYPE_CHECKING:
    from guardian.web.console import Console

log = logging.getLogger(__name__)

UNREADABLE = "settings"
LEAST_BURST = 10  # blocked tries of one category by one device on one day: fewer are no burst
_SETTLED_SECONDS = 2 * 3600  # after a day's end the gateway has written all of it: it flushes every hour at the latest


class DayOfBlocks(NamedTuple):
    """What one device was stopped by on one local day."""

    day: str  # ISO date
    found: BlockedCount


class Observed(NamedTuple):
    """All that alerts are made of. `status` is None when the gateway does not answer."""

    status: dict[str, Any] | None
    attempts: tuple[Attempt, ...] = ()
    blocks: tuple[DayOfBlocks, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()  # (MAC, host name): hostile text
    history_error: str = ""
    feed: FeedHealth | None = None  # of the hotline; None where there is none
    asked_version: str = ""  # of Guardian, that the hotline asks for and this box is behind; "" = it is not
    storage: str = ""  # why settings cannot be saved (full, read-only) or read (UNREADABLE)


def read_status(console: Console) -> dict[str, Any] | None:
    """Return what the gateway says of itself, None when it does not answer."""
    try:
        return console.gateway.status()
    except GuardianError as error:
        log.info("event=no-status error=%r", str(error))
        return None


def find_presence(devices: Devices) -> dict[str, Presence]:
    """Return who is here, by device id."""
    return {state.device.id: Presence(state.online, state.last_seen or 0.0) for state in devices.named}


def make_state(console: Console, status: dict[str, Any] | None, now: float) -> GatewayState:
    """Return whether the home is protected."""
    home = console.home()[0]
    mandatory = read_mandatory_today(console, now)
    feed = read_feed(console, now)
    provided = [entry.name for entry in console.config.lists.mandatory if entry.provider]
    if status is None:
        created, names = home.lists.created, home.lists.name_count
        return GatewayState(now, False, __version__, None, False, names, created or None, "", mandatory, feed, provided)
    lists = status["lists"]
    return GatewayState(
        now=now,
        running=True,
        version=str(status["version"]),
        started=float(status["started"]),
        flow_filter=bool(status["filter"]["enabled"]),
        names=int(lists["names"]),
        lists_created=float(lists["created"]) or None,
        lists_error=str(lists["error"] or lists["addresses"]["error"]),
        mandatory_today=mandatory,
        feed=feed,
        provider_lists=provided,
        clock=console.clock.value,
    )


def read_feed(console: Console, now: float) -> HotlineFeed | None:
    """Return how the hotline's feed stands, None where none is set."""
    if not console.config.hotline.url:
        return None
    state, health = read_health(console.config.state, now)
    return make_feed(state or FeedState(), health)


def make_feed(state: FeedState, health: FeedHealth) -> HotlineFeed:
    """Return what the pages show of a feed."""
    word: Literal["ok", "stale", "never", "refused"]
    word = next(each for each in ("ok", "stale", "never", "refused") if each == health.state)
    return HotlineFeed(
        state=word,
        name=state.name,
        checked=(state.checked + state.clock_behind) or None,
        succeeded=find_success(state) or None,
        age=health.age,
        expires=state.expires or None,
        problem=health.code,
        needs_update=state.needs_update,
        lists=[ListInForce(key, one.entries, one.created) for key, one in sorted(state.lists.items()) if one.serial],
    )


def read_mandatory_today(console: Console, now: float) -> int:
    """Return how often mandatory lists have blocked today in the whole home; 0 when the history cannot be read."""
    today = local_date(console.household().tz, now).isoformat()
    try:
        with console.history() as history:
            return sum(found.queries for found in history.mandatory_days(today) if found.day == today)
    except HistoryError as error:
        log.info("event=no-history error=%r", str(error))
        return 0


def read_blocked_today(console: Console, now: float) -> dict[str, int]:
    """Return the tries that were stopped today by device id; nothing when the history cannot be read."""
    tz = console.household().tz
    since = int(start_of_day(tz, local_date(tz, now)) // 3600)
    try:
        with console.history() as history:
            return {found.device: found.blocked for found in history.by_device(since)}
    except HistoryError as error:
        log.info("event=no-history error=%r", str(error))
        return {}


def observe(console: Console, household: Household, status: dict[str, Any] | None, days: int, now: float) -> Observed:
    """Return what alerts of the last `days` local days are made of."""
    today = local_date(household.tz, now)
    chosen = [today - timedelta(days=back) for back in range(days)]
    feed, asked = None, ""
    if console.config.hotline.url:
        state, feed = read_health(console.config.state, now)
        asked = state.minimum_version if state is not None and state.needs_update else ""
    storage = UNREADABLE if console.settings_error else look_at_room(console.config.state).state
    try:
        with console.history() as history:
            oldest = chosen[-1].isoformat()
            since = int(start_of_day(household.tz, chosen[-1]) // 3600)
            attempts = tuple(found for found in history.attempts(since) if found.day >= oldest)
            blocks = tuple(_read_blocks(history, console.settled, household.tz, chosen, now))
            hosts = tuple((seen.mac.hex(":"), seen.hostname) for seen in history.known_devices())
    except HistoryError as error:
        log.info("event=no-history error=%r", str(error))
        return Observed(status, history_error=str(error), feed=feed, asked_version=asked, storage=storage)
    return Observed(status, attempts, blocks, hosts, feed=feed, asked_version=asked, storage=storage)


def read_tries(
    history: HistoryReader, settled: Settled, tz: tzinfo, devices: Sequence[str], days: Sequence[date], now: float
) -> Tries:
    """Return what these device ids tried together on some local days (in order). Raises HistoryError."""
    hours: list[HourTotals] = []
    kinds: dict[tuple[str, str, str], int] = {}
    of = tuple(devices)

    def read() -> Tries:
        return history.tries(of, since, until)

    for _, since, until, is_settled in _list_spans(history, settled, tz, days, now):
        found = settled.find(Tries, Span(history.path, since, until, of), read) if is_settled else read()
        hours += found.hours
        for action, reason, tag, queries in found.kinds:
            kinds[action, reason, tag] = kinds.get((action, reason, tag), 0) + queries
    return Tries(hours, [KindCount(*kind, queries) for kind, queries in kinds.items()])


def _read_blocks(
    history: HistoryReader, settled: Settled, tz: tzinfo, days: Sequence[date], now: float
) -> Iterator[DayOfBlocks]:
    def read() -> list[BlockedCount]:
        return _ask_blocks(history, since, until)

    for day, since, until, is_settled in _list_spans(history, settled, tz, days, now):
        found = settled.find(list[BlockedCount], Span(history.path, since, until), read) if is_settled else read()
        for block in found:
            yield DayOfBlocks(day, block)


def _list_spans(
    history: HistoryReader, settled: Settled, tz: tzinfo, days: Sequence[date], now: float
) -> Iterator[tuple[str, int, int, bool]]:
    """Yield each day (ISO), its hours since the epoch, from and until, and whether nothing more will be written of it.

    Hours before the oldest that is kept are left out: they were never kept, or erased meanwhile.
    """
    oldest = history.oldest_hour()
    settled.forget_before(history.path, oldest)
    if oldest is None:
        return
    for day in days:
        since, until = (int(start_of_day(tz, each) // 3600) for each in (day, day + timedelta(days=1)))
        if oldest < until:
            yield day.isoformat(), max(since, oldest), until, until * 3600 + _SETTLED_SECONDS < now


def _ask_blocks(history: HistoryReader, since: int, until: int) -> list[BlockedCount]:
    category = Reason.CATEGORY.value
    found = history.blocked_by_tag((Reason.BYPASS.value, category), since, until)
    return [block for block in found if block.reason != category or block.queries >= LEAST_BURST]
