"""Reports to the hotline: what they hold, who may make how many, and how they get there.

An address and words, never an image, never who or which device. Nobody in the home can read a report again: what
scared a child is the child's to tell. docs/reports.md says it for people.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from guardian.errors import TextError
from guardian.names import parse_name
from guardian.store import reports as stored
from guardian.store.reports import WaitingReport
from guardian.web.routing import RefusalError
from guardian.web.shapes.requests import NewReport, ReportReceipt, ReportState

if TYPE_CHECKING:
    from guardian.store.console import ConsoleStore
    from guardian.web.console import Console

log = logging.getLogger(__name__)

SCHEMA = 1
HOUR = 3600.0
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 6 * HOUR  # between two tries
GIVE_UP_SECONDS = 30 * 86400.0
LEAST_TRIES = 10  # that takes most of a day
CLOCK_FLOOR = 1767225600.0  # 2026-01-01: a clock that shows less was not set yet
CHILD_REPORTS, OTHER_REPORTS = 5, 20  # an hour and device
MOST_DEVICES = 512
# Answers that judge the report itself. All others speak of the address, of access or of the moment: a mistake in the
# settings must not cost a report about a child.
_FINAL = frozenset({400, 410, 413, 415, 422})
_TAKEN_BEFORE = 409  # the hotline has this report_id already: our last try arrived, its answer did not


class HourLimit:
    """Counts reports of each device within the last hour. Any thread may use it; nothing is written down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, source: str, most: int, now: float) -> None:
        """Count one of `source`; `now` is monotonic seconds. Raises RefusalError 429 above `most` an hour."""
        with self._lock:
            times = [moment for moment in self._times.pop(source, []) if now - moment < HOUR]
            self._times[source] = times
            while len(self._times) > MOST_DEVICES:
                self._times.popitem(last=False)
            if len(times) >= most:
                wait = int(times[0] + HOUR - now) + 1
                raise RefusalError(429, "throttled", "that is a lot of reports: wait a little", retry_after=wait)
            times.append(now)


def check_report(report: NewReport) -> NewReport:
    """Return the report with its texts cleaned. Raises RefusalError 422 for one that cannot be used."""
    if not report.good_faith:
        raise RefusalError(422, "not-valid", "a report needs your word that you believe it is true (good_faith)")
    url = report.url.strip()
    if url:
        _check_url(url)
    cleaned = NewReport(
        type=report.type,
        language=report.language,
        good_faith=True,
        url=url,
        found_via=_clean(report.found_via),
        note=_clean(report.note, lines=True),
        contact=_clean(report.contact),
    )
    if not cleaned.url and not (cleaned.note or cleaned.found_via):
        raise RefusalError(422, "not-valid", "a report needs the address of the page, or a few words")
    if cleaned.type == "unblock_request" and not cleaned.url:
        raise RefusalError(422, "not-valid", "which site should be open? Its address is missing")
    return cleaned


def _check_url(url: str) -> None:
    """Raise RefusalError 422 unless the text is an http or https address, or a bare name with or without a path."""
    wrong = RefusalError(422, "not-valid", "this is no address of a site, like example.com or https://example.com/page")
    if not url.isprintable() or any(char.isspace() for char in url):
        raise wrong
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("", "http", "https") or not host or "@" in parts.netloc:
        raise wrong
    try:
        ip_address(host)
    except ValueError:
        try:
            parse_name(host)
        except TextError:
            raise wrong from None
        if "." not in host.strip("."):
            raise wrong from None


def _clean(text: str, *, lines: bool = False) -> str:
    """Return the text without what does not print; lines may stay."""
    kept = "\n" if lines else ""
    return "".join(char if char.isprintable() or char in kept else " " for char in text).strip()


def make_body(report: NewReport, report_id: str, country: str) -> dict[str, Any]:
    """Return what is sent, but for the hour in which it was made: that is told by the waiting report itself."""
    return {
        "report_id": report_id,
        "schema": SCHEMA,
        "type": report.type,
        "url": report.url,
        "found_via": report.found_via,
        "note": report.note,
        "lang": report.language,
        "country": country,
        "reporter": {"contact": report.contact} if report.contact else {"anonymous": True},
        "good_faith": True,
    }


def take_report(
    console: Console, report: NewReport, source: str, most: int, now: float, *, is_stranger: bool = False
) -> ReportReceipt:
    """Keep a report until the hotline has it, and return the receipt. `source` is whose it is, for the limit only.

    A stranger is a device that nobody has named: it can be a thousand of them, and leaves room for the children's.
    Raises RefusalError: 422, or 429 for too many of one device (`throttled`) or in all (`full`). Raises ConfigError.
    """
    from guardian.blockpage.facts import country_of

    checked = check_report(report)
    console.report_limit.count(source, most, time.monotonic())
    household = console.household()
    report_id = str(uuid.uuid4())
    country = household.country or country_of(household.timezone)
    body = json.dumps(make_body(checked, report_id, country))
    # The hour only, here too: minutes would tell who sat at the tablet.
    room = stored.MOST_BEFORE_STRANGERS if is_stranger else stored.MOST_WAITING
    if not stored.queue_report(console.store, report_id, body, made=now - now % HOUR, now=now, most=room):
        raise RefusalError(429, "full", "too many reports wait to be sent", retry_after=int(HOUR))
    console.delivery_wanted.set()
    return ReportReceipt(report_id, "queued" if console.config.web.reports else "kept")


def tell_state(console: Console) -> ReportState:
    """Return how many reports wait, were sent, were lost; never what is in them. Raises ConfigError."""
    counts = stored.count_reports(console.store)
    return ReportState(console.config.web.reports, counts.waiting, counts.sent, counts.lost)


def complete_body(report: WaitingReport) -> str:
    """Return the JSON to send: the body with the hour in which it was made, in UTC. ASCII."""
    hour = datetime.fromtimestamp(report.made - report.made % HOUR, UTC)
    body = {**json.loads(report.body), "created": f"{hour:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps(body)


def pause_after(tries: int) -> float:
    """Return the seconds before the next try after so many: 1 minute, doubling up to 6 hours, give or take a fifth."""
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - no secret: a country's routers shall not come back as one
    return min(FIRST_PAUSE * 2.0 ** min(tries, 20), LONGEST_PAUSE) * spread


def judge_answer(answer: dict[str, Any]) -> Literal["taken", "refused", "later"]:
    """Return what an answer of the courier means for a report."""
    status = answer.get("status", 0)
    if 200 <= status < 300 or status == _TAKEN_BEFORE:
        return "taken"
    return "refused" if status in _FINAL else "later"


def settle_report(store: ConsoleStore, report: WaitingReport, answer: dict[str, Any], now: float) -> bool:
    """Write down what came of a try; return whether the hotline could be spoken to at all. Raises ConfigError."""
    match judge_answer(answer):
        case "taken":
            stored.finish_report(store, report.id, sent=now - now % HOUR)
            log.info("event=report-sent tries=%d", report.tries + 1)
        case "refused":
            stored.finish_report(store, report.id, sent=None)
            log.warning("event=report-refused status=%d", answer["status"])
        case "later":
            stored.postpone_report(store, report.id, now + pause_after(report.tries))
            why = answer.get("status") or answer.get("error")
            log.log(
                logging.WARNING if report.tries == 0 else logging.INFO,
                "event=report-waits why=%s tries=%d",
                why,
                report.tries + 1,
            )
            return False
    return True


def tidy_reports(store: ConsoleStore, now: float, *, has_address: bool) -> None:
    """Mend the times that a wrong clock has made, give up what is too old, forget what is long done.

    Where there is a hotline, only what was tried often is given up: a box that was off for a month tries first.
    Raises ConfigError.
    """
    if now < CLOCK_FLOOR:
        return
    stored.mend_times(store, now, CLOCK_FLOOR, LONGEST_PAUSE * 2)
    lost = stored.give_up_reports(store, now - GIVE_UP_SECONDS, LEAST_TRIES if has_address else 0)
    if lost:
        log.warning("event=reports-given-up count=%d", lost)
    stored.forget_reports(store, now)
