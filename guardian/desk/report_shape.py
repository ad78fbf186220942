"""What a report to the hotline may hold: bytes of a stranger -> a `Report`, checked and cleaned (docs/reports.md).

Whoever sends it is hostile until shown otherwise. Whatever a router accepts is accepted here too: an answer 4xx would
make it throw the report away, and somebody has found the courage to write it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from guardian.errors import DeskError

SCHEMA = 1
HOUR = 3600
# The router writes ASCII: six bytes for a Cyrillic letter, twelve for an emoji. 2,048 + 1,000 + 2 x 200 characters and
# the frame come to 42 KB; 8 KB would refuse a full note in Russian.
MAX_BODY_BYTES = 48 * 1024
OLDEST = 1767225600  # 2026-01-01: a clock that shows less was not set yet

ReportType = Literal["csam_suspected", "grooming", "sextortion", "other", "unblock_request"]
TYPES: tuple[str, ...] = ("csam_suspected", "grooming", "sextortion", "other", "unblock_request")
Sentence = Annotated[str, Meta(max_length=200)]

# A picture that somebody has written as text: no note is long enough for a good one, a small one would do harm enough.
_PICTURE = re.compile(r"data:(?:[a-z]+/[^,\s]*|;base64),\S+", re.IGNORECASE)
_REMOVED = "picture-removed"


class RefusedReportError(DeskError):
    """A report that is not taken. `status` is the HTTP status that tells the sender whether to come again."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Version(Struct):
    schema: int


class _Reporter(Struct, forbid_unknown_fields=True):
    anonymous: bool = False
    contact: Sentence = ""


class _Sent(Struct, forbid_unknown_fields=True):
    """The JSON of schema 1. A field that it does not know may be a picture, so it is refused."""

    report_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")]
    schema: int
    created: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
    type: ReportType
    url: Annotated[str, Meta(max_length=2048)]
    found_via: Sentence
    note: Annotated[str, Meta(max_length=1000)]
    lang: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})?\Z")]
    country: Annotated[str, Meta(pattern=r"^([A-Za-z]{2})?\Z")]
    reporter: _Reporter
    good_faith: bool


class Report(NamedTuple):
    """A report as it is kept. Texts are printable, with line feeds in the note alone."""

    report_id: str
    created: int  # epoch seconds of the hour in which it was made; never finer
    type: ReportType
    url: str  # http or https, or a bare name with or without a path; "" = none
    found_via: str
    note: str
    lang: str
    country: str  # two capital letters, "" = not known
    contact: str  # "" = anonymous


def read_report(body: bytes, now: float) -> Report:
    """Return the report of a request's body, received at `now` (epoch seconds).

    Raises RefusedReportError: 413 too large, 422 not usable, 501 of a schema that a newer desk will know.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RefusedReportError(413, f"a report has at most {MAX_BODY_BYTES} bytes")
    try:
        version = msgspec.json.decode(body, type=_Version).schema
        if version > SCHEMA:  # 422 would make the router wipe it
            raise RefusedReportError(501, f"schema {version} is not known here yet: this desk needs an update")
        sent = msgspec.json.decode(body, type=_Sent)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RefusedReportError(422, f"this is no report: {error}") from None
    _check(sent)
    return Report(
        report_id=sent.report_id,
        created=_read_hour(sent.created, now),
        type=sent.type,
        url=_clean(sent.url.strip()),
        found_via=_clean(sent.found_via),
        note=_clean(sent.note, lines=True),
        lang=sent.lang,
        country=sent.country.upper(),
        contact=_clean(sent.reporter.contact),
    )


def _check(sent: _Sent) -> None:
    if sent.schema != SCHEMA:
        raise RefusedReportError(422, f"schema is {SCHEMA}, not {sent.schema}")
    if not sent.good_faith:
        raise RefusedReportError(422, "good_faith must be true")
    if sent.reporter.anonymous == bool(sent.reporter.contact.strip()):
        raise RefusedReportError(422, "reporter is either anonymous or has a contact")
    if not (sent.url.strip() or sent.note.strip() or sent.found_via.strip()):
        raise RefusedReportError(422, "a report needs a url, or a few words")
    if sent.type == "unblock_request" and not sent.url.strip():
        raise RefusedReportError(422, "an unblock_request needs the url")
    if sent.url.strip() and not is_url(sent.url.strip()):
        raise RefusedReportError(422, "url is no http or https address")


def is_url(text: str) -> bool:
    """Tell whether a text is an http or https address, or a bare name with or without a path: all that routers send."""
    if not text.isprintable() or any(char.isspace() for char in text):
        return False
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in ("", "http", "https") and bool(host) and "@" not in parts.netloc


def _read_hour(text: str, now: float) -> int:
    """Return the hour of a report. A router's clock may be wrong: then it is the hour in which the report came."""
    try:
        made = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        made = 0
    if not OLDEST <= made <= now + 24 * HOUR:
        made = int(now)
    return made - made % HOUR


def _clean(text: str, *, lines: bool = False) -> str:
    """Return the text without what does not print, and without pictures; a note keeps its lines."""
    kept = "\n" if lines else ""
    return _PICTURE.sub(_REMOVED, "".join(char if char.isprintable() or char in kept else " " for char in text)).strip()
