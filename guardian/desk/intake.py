"""The door for reports: `POST /reports`, JSON of the routers, behind any reverse proxy or with TLS of its own.

Who sends is not kept, not logged and not told: the address of the other end is a number in memory, made with a key that
ends with the process, and only counts how often it comes. docs/reports.md says the answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guardian.desk.report_shape import MAX_BODY_BYTES, RefusedReportError, read_report
from guardian.desk.report_store import ReportStore, keep_report
from guardian.errors import DeskError

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network
BODY_SECONDS = 20.0
HOUR = 3600.0
LATER_SECONDS = 600
MOST_SOURCES = 20_000  # that are remembered; 100 bytes each
HOME_BITS = 64  # of an IPv6 address: a home has at least so much of its own
PATH = "/reports"


class Allowance(NamedTuple):
    """How many may come: `burst` at once, then `hourly`."""

    burst: float
    hourly: float


# A home sends at most five an hour from each child's device; behind one IPv4 address may be a street of them.
OF_SOURCE = Allowance(30, 60)
OF_ALL = Allowance(1000, 5000)  # more than any hotline reads; routers keep what is over and come again


class Limits:
    """Buckets that fill with time: one for each source, one for all. One loop uses it; `now` is monotonic seconds."""

    def __init__(self, of_source: Allowance = OF_SOURCE, of_all: Allowance = OF_ALL) -> None:
        self._of_source, self._of_all = of_source, of_all
        self._key = secrets.token_bytes(16)
        self._sources: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._all = (of_all.burst, -math.inf)

    def admit_source(self, source: str, now: float) -> float:
        """Count a request of an address; return 0.0, or the seconds to wait. "" is not counted."""
        if not source:
            return 0.0
        known = self._hide(source)
        bucket = self._sources.pop(known, (self._of_source.burst, now))
        wait, self._sources[known] = _draw(self._of_source, bucket, now)
        while len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)
        return wait

    def admit(self, now: float) -> float:
        """Count a report that is about to be kept; return 0.0, or the seconds to wait."""
        wait, self._all = _draw(self._of_all, self._all, now)
        return wait

    def _hide(self, source: str) -> bytes:
        """Return a number for an address (for the home of an IPv6 address) that tells nothing about it."""
        address = ip_address(source.partition("%")[0])
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            packed = mapped.packed if mapped else address.packed[: HOME_BITS // 8]
        else:
            packed = address.packed
        return hashlib.blake2b(packed, key=self._key, digest_size=16).digest()


def _draw(allowance: Allowance, bucket: tuple[float, float], now: float) -> tuple[float, tuple[float, float]]:
    level, at = bucket
    level = min(allowance.burst, level + (now - at) * allowance.hourly / HOUR)
    if level >= 1:
        return 0.0, (level - 1, now)
    return (1 - level) * HOUR / allowance.hourly, (level, now)


def find_source(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """Return the address that a request comes from, for the limit only.

    `X-Forwarded-For` is believed from the named proxies alone, and of it only what they have added: the last address
    that is not one of them. Without proxies a caller on this machine is most likely one that nobody has named: then ""
    is returned, because all reports of the country would share one limit.
    """
    peer = peer.removeprefix("::ffff:") if "." in peer else peer  # a socket for both has IPv4 inside IPv6
    if not _is_of(peer, proxies):
        return "" if not proxies and _is_loopback(peer) else peer
    for text in reversed([part.strip() for line in forwarded for part in line.split(",")]):
        if not _is_address(text):
            return peer
        if not _is_of(text, proxies):
            return text
    return peer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_of(text: str, networks: Sequence[Network]) -> bool:
    return _is_address(text) and any(ip_address(text) in network for network in networks)


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ip_address(text).is_loopback


class Intake:
    """The application. `app` is ASGI; `close` ends its thread when the last request is answered."""

    def __init__(
        self,
        store: ReportStore,
        limits: Limits | None = None,
        proxies: Sequence[Network] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._proxies = tuple(proxies)
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, "reports")  # SQLite has one writer at a time anyway
        self.app = Starlette(routes=[Route(PATH, self._post, methods=["POST"])])

    def close(self) -> None:
        """Wait for the report that is being written, and end."""
        self._writer.shutdown()

    async def _post(self, request: Request) -> Response:
        try:
            await self._take(request)
        except _LaterError as later:
            return _refuse(later.status, str(later), math.ceil(later.seconds))
        except RefusedReportError as error:
            log.info("event=report-refused status=%d", error.status)
            return _refuse(error.status, str(error))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except DeskError as error:
            log.error("event=report-not-kept error=%r", str(error))
            return _refuse(503, "reports can't be kept at the moment: come again", LATER_SECONDS)
        return JSONResponse({"state": "taken"}, 202)

    async def _take(self, request: Request) -> None:
        """Read, check and keep a report. Raises what `_post` answers."""
        peer = request.client.host if request.client else ""
        source = find_source(peer, request.headers.getlist("x-forwarded-for"), self._proxies)
        if wait := self._limits.admit_source(source, time.monotonic()):
            raise _LaterError(429, "too many reports from there: wait a little", wait)
        report = read_report(await _read_body(request), self._clock())
        if wait := self._limits.admit(time.monotonic()):
            log.warning("event=reports-flood")
            raise _LaterError(429, "too many reports in all: wait a little", wait)
        loop = asyncio.get_running_loop()
        done = await loop.run_in_executor(self._writer, keep_report, self._store, report, self._clock())
        if done == "full":
            log.error("event=reports-full")
            raise _LaterError(503, "too many reports wait to be read: come again", LATER_SECONDS)
        if done == "kept":  # a second try of the same report is answered like the first
            log.info("event=report-taken type=%s", report.type)


class _LaterError(Exception):
    """The report may come again in so many seconds."""

    def __init__(self, status: int, text: str, seconds: float) -> None:
        super().__init__(text)
        self.status, self.seconds = status, seconds


async def _read_body(request: Request) -> bytes:
    """Return the body of a request that is JSON and not too large. Raises RefusedReportError, ClientDisconnect."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedReportError(415, "a report is application/json, not compressed; pictures are never taken")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedReportError(413, f"a report has at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise RefusedReportError(408, "the report did not come in time") from None
    return bytes(body)


def _refuse(status: int, text: str, seconds: int = 0) -> Response:
    headers = {"Retry-After": str(seconds)} if seconds else {}
    return JSONResponse({"status": status, "detail": text}, status, headers=headers)
