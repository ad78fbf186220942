"""What the console sends out of the home by itself: alerts and requests to channels, reports to the hotline.

A thread of the web process that looks every LOOK_SECONDS, and at once when `Console.delivery_wanted` is set. Everything
is sent by the courier, a process of its own; while there is nothing to send, none is started.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from guardian.clock import tell_time
from guardian.errors import GuardianError
from guardian.messages import Messages
from guardian.policy.model import Visibility
from guardian.store import channels as stored
from guardian.store.channels import StoredChannel
from guardian.store.reports import list_due
from guardian.store.requests import list_requests
from guardian.web.alerts import current_alerts
from guardian.web.console import Console
from guardian.web.errands import Errands, has_apprise
from guardian.web.letters import LOCALE_DIRECTORY, Asked, Letter, write_letter
from guardian.web.reports import complete_body, pause_after, settle_report, tidy_reports
from guardian.web.shapes.activity import Alert
from guardian.web.shapes.common import Language

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
STOP_SECONDS = 2.0
FRESH_SECONDS = 86400.0  # what nobody could be told for a day is told on the page only
TIDY_SECONDS = 3600.0
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0  # of a channel that does not take a message
TOO_SLOW = "too-slow"
LANGUAGE_OPTION = "notify_languages"


class News(NamedTuple):
    """What parents may be told now: open requests, and alerts that nobody has put away."""

    requests: list[Asked]
    alerts: list[Alert]

    def of(self, channel: StoredChannel, now: float) -> dict[str, Asked | Alert]:
        """Return what is for a channel, by how it is called in the list of what was delivered."""
        found: dict[str, Asked | Alert] = {}
        if channel.requests:
            found |= {f"request:{request.id}": request for request in self.requests}
        if channel.alerts:
            found |= {f"alert:{alert.id}": alert for alert in self.alerts}
        return {what: thing for what, thing in found.items() if now - _moment(thing) < FRESH_SECONDS}


def _moment(thing: Asked | Alert) -> float:
    return thing.asked if isinstance(thing, Asked) else thing.last


def collect_news(console: Console, now: float) -> News:
    """Return the news of the home. Raises GuardianError when they cannot be read."""
    names = {profile.id: profile.name for profile in console.household().profiles}
    requests = [
        Asked(each.id, each.profile, names[each.profile], each.kind, each.minutes, each.site, each.asked)
        for each in list_requests(console.store, now)
        if each.state == "open" and each.profile in names
    ]
    return News(requests, [alert for alert in current_alerts(console, now) if alert.priority != "low"])


def notify_language(console: Console) -> Language:
    """Return the language of messages: as parents chose, else the household's. Raises ConfigError."""
    return cast(Language, console.store.option(LANGUAGE_OPTION) or console.household().language)


class Delivery:
    """The thread that sends. `start` once, `stop` once."""

    def __init__(self, console: Console, collect: Callable[[Console, float], News] = collect_news) -> None:
        self._console = console
        self._collect = collect
        self._errands = Errands()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._words: Messages | None = None
        self._tidied = float("-inf")  # monotonic seconds, here and below
        self._reports_quiet = float("-inf")
        self._reports_failed = 0
        self._channels_quiet: dict[int, tuple[int, float]] = {}  # failures, and until when

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End it within two seconds; what was not sent is sent after the next start."""
        self._stopping = True
        self._errands.close()
        self._console.delivery_wanted.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping:
            self._console.delivery_wanted.clear()
            try:
                self.look(tell_time())
            except GuardianError as error:
                log.warning("event=delivery-waits error=%r", str(error))
            except Exception:
                # A mistake of ours in one message must not end the reports of all days to come.
                log.exception("event=delivery-failed")
            self._console.delivery_wanted.wait(LOOK_SECONDS)

    def look(self, now: float) -> None:
        """Send what is due; `now` is epoch seconds. Raises GuardianError."""
        clock = time.monotonic()
        self._send_reports(now, clock)
        self._send_news(now, clock)

    def _send_reports(self, now: float, clock: float) -> None:
        console, address = self._console, self._console.config.web.reports
        if clock - self._tidied >= TIDY_SECONDS:
            tidy_reports(console.store, now, has_address=bool(address))
            self._tidied = clock
        if not address or clock < self._reports_quiet:
            return
        for report in list_due(console.store, now):
            order = {"task": "report", "address": address, "body": complete_body(report)}
            answers = self._errands.run(order)
            if self._stopping:
                return
            if not settle_report(console.store, report, answers[0] if answers else {"error": TOO_SLOW}, now):
                # The others would meet the same; they keep their own times.
                self._reports_quiet = clock + pause_after(self._reports_failed)
                self._reports_failed = min(self._reports_failed + 1, 4)
                return
            self._reports_failed = 0

    def _send_news(self, now: float, clock: float) -> None:
        channels = [
            channel
            for channel in stored.list_channels(self._console.store)
            if clock >= self._channels_quiet.get(channel.id, (0, float("-inf")))[1]
        ]
        if not channels or not has_apprise():
            return
        news = self._collect(self._console, now)
        waiting: dict[int, set[str]] = {}
        letters = []
        for channel in channels:
            mine = news.of(channel, now)
            new = stored.choose_undelivered(self._console.store, channel.id, mine)
            if new:
                letter = self._write(thing for what, thing in mine.items() if what in new)
                letters.append({"id": channel.id, "address": channel.address, **letter._asdict()})
                waiting[channel.id] = new
        if letters:
            self._deliver(letters, waiting, now, clock)

    def _write(self, things: Iterable[Asked | Alert]) -> Letter:
        if self._words is None:
            self._words = Messages.load(LOCALE_DIRECTORY)
        things = list(things)
        household = self._console.household()
        return write_letter(
            self._words,
            notify_language(self._console),
            [thing for thing in things if isinstance(thing, Asked)],
            [thing for thing in things if isinstance(thing, Alert)],
            self._console.catalogue.category_texts,
            {profile.id for profile in household.profiles if profile.visibility is Visibility.NAMES},
        )

    def _deliver(
        self, letters: list[dict[str, object]], waiting: dict[int, set[str]], now: float, clock: float
    ) -> None:
        results = self._errands.run({"task": "deliver", "letters": letters})
        if self._stopping and not results:
            return
        errors = {result["id"]: str(result["error"]) for result in results}
        for channel, whats in waiting.items():
            error = errors.get(channel, TOO_SLOW)
            stored.note_error(self._console.store, channel, error)
            if not error:
                stored.mark_delivered(self._console.store, channel, whats, now)
                self._channels_quiet.pop(channel, None)
                log.info("event=delivered channel=%d things=%d", channel, len(whats))
                continue
            failures = self._channels_quiet.get(channel, (0, 0.0))[0]
            pause = min(FIRST_PAUSE * 2.0 ** min(failures, 20), LONGEST_PAUSE)
            self._channels_quiet[channel] = (failures + 1, clock + pause)
            log.info("event=not-delivered channel=%d error=%s", channel, error)
