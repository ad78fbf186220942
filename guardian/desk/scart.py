"""Reports for other tools: lines for SCART's import, and JSON.

SCART (the INHOPE hotlines' tool, github.com/AbuseIO/SCART-application, controllers/Inputs_import.php) splits each line
at `;` and knows neither quotes nor a header: a quoted address is no address to it. So nothing is quoted here, and
nothing that needs quotes leaves: an address has its `;` and all that is not ASCII escaped, and words of strangers are
not exported. Every line begins with `http`, so no spreadsheet takes a cell for a formula.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from guardian.desk.report_shape import is_url
from guardian.desk.report_store import QueuedReport
from guardian.errors import DeskError, TextError
from guardian.names import format_name, parse_name

# Codes of SCART's own tables (updates/seeder_stam_tables.php). A hotline may have added some.
SOURCES = ("webform", "analyst", "helpwanted", "police", "stopitnow", "iccam")
TYPES = (
    "website", "notdetermined", "filehost", "imagehost", "imagestore", "imageboard", "bannersite", "linksite",
    "socialsite", "redirector", "webarchived", "searchprovider", "blog", "forum",
)  # fmt: skip

_CODE = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_MAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,253}")
# What may stand in a URL beside letters and digits (RFC 3986), without `;` that separates SCART's cells.
_ODD = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,=:@/?#%\[\]-]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ScartFile(NamedTuple):
    """The text for SCART, how many reports are in it, and the numbers of those that have no address to look at."""

    text: str
    lines: int
    without_url: tuple[int, ...]


def write_scart(
    reports: Iterable[QueuedReport], worker: str = "", source: str = "webform", type_: str = "website"
) -> ScartFile:
    """Return the lines `URL;REFERER;WORKUSER-EMAIL;REFERENCE;SOURCE;TYPE` of reports, in UTF-8 without a header.

    `worker` is the mail address of a SCART user, "" = whoever imports the file. Raises DeskError for options that
    SCART could not read.
    """
    if worker and not _MAIL.fullmatch(worker):
        raise DeskError(f"'{worker}' is no mail address of a SCART user")
    for name, code in (("source", source), ("type", type_)):
        if not _CODE.fullmatch(code):
            raise DeskError(f"'{code}' is no {name} code of SCART, like {source if name == 'source' else 'website'}")
    lines, without = [], []
    for report in reports:
        url = write_url(report.url)
        if not url:
            without.append(report.number)
            continue
        referer = write_url(report.found_via) if "://" in report.found_via else ""
        cells = (url, referer, worker, f"guardian-{report.number}", source, type_)
        lines.append(";".join(_guard(cell) for cell in cells) + "\r\n")
    return ScartFile("".join(lines), len(lines), tuple(without))


def write_url(text: str) -> str:
    """Return an address as ASCII with a scheme and without `;`; "" for what is none.

    A bare name becomes an http address: SCART refuses it otherwise. U-labels become A-labels.
    """
    if not text or not is_url(text):
        return ""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        try:
            host = format_name(parse_name(host))
        except TextError:
            return ""
    port = f":{parts.port}" if parts.port is not None else ""
    whole = urlunsplit((parts.scheme, host + port, parts.path or "/", parts.query, parts.fragment))
    return _ODD.sub(lambda match: b"%%%02X" % match[0][0], whole.encode()).decode()


def _guard(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def write_json(reports: Iterable[QueuedReport]) -> str:
    """Return reports as JSON, without the contacts of who wrote them. Moments are UTC."""
    return json.dumps([_plain(report) for report in reports], indent=1, ensure_ascii=False) + "\n"


def _plain(report: QueuedReport) -> dict[str, Any]:
    plain = report._asdict()
    for name in ("received", "created", "closed"):
        moment = plain[name]
        plain[name] = None if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return plain
