"""Reports as routers make them, for the tests of the desk: by the router's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardian.desk.journal import Signer
from guardian.desk.report_shape import Report, read_report
from guardian.desk.report_store import ReportStore, keep_report
from guardian.store.reports import WaitingReport
from guardian.web.reports import check_report, complete_body, make_body
from guardian.web.shapes.requests import NewReport

NOW = 1795309200.0 + 1234  # 2026-11-22, some minutes after an hour
HOUR = 1795309200
ID = "0b6f1a52-7a3c-4a53-9f41-3c1d2e4f5a60"


def make_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def new_report(**parts: Any) -> NewReport:
    given = {"type": "csam_suspected", "language": "ro", "good_faith": True, "url": "https://bad.example/page?x=1"}
    return msgspec.convert(given | parts, NewReport)


def sent_by_router(report_id: str = ID, made: float = NOW, **parts: Any) -> bytes:
    """The bytes that a router sends for a report with these parts."""
    checked = check_report(new_report(**parts))
    body = json.dumps(make_body(checked, report_id, "MD"))
    return complete_body(WaitingReport(report_id, body, made, 0)).encode("ascii")


def received(report_id: str = ID, **parts: Any) -> Report:
    return read_report(sent_by_router(report_id, **parts), NOW)


def filled(folder: Path, *parts: dict[str, Any], now: float = NOW) -> ReportStore:
    """A queue with a report of each of these parts, numbered from 1."""
    store = ReportStore(str(folder))
    for number, given in enumerate(parts, 1):
        assert keep_report(store, received(make_id(number), **given), now) == "kept"
    return store


def make_signer(name: str) -> Signer:
    """Somebody with a key of their own."""
    return Signer(name, Ed25519PrivateKey.generate())


def public_key(signer: Signer) -> bytes:
    return signer.key.public_key().public_bytes_raw()
