"""The ASGI application: doors, then the API or the pages; every answer with the headers of `security`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from guardian.clock import tell_time
from guardian.errors import GuardianError
from guardian.store.accounts import SESSION_SECONDS
from guardian.web.api import ENDPOINTS
from guardian.web.console import Console
from guardian.web.openapi import build_document
from guardian.web.pages import Pages
from guardian.web.routing import (
    MAX_BODY_BYTES,
    MAX_STRANGERS_BODY_BYTES,
    PREFIX,
    Call,
    Endpoint,
    RefusalError,
    decode_body,
    decode_query,
    explain_error,
)
from guardian.web.security import (
    COOKIE,
    SECURITY_HEADERS,
    Doors,
    Head,
    Visit,
    identify,
    plain_address,
    read_head,
)
from guardian.web.shapes.common import Problem

log = logging.getLogger(__name__)

T = TypeVar("T")
WORKERS, STRANGERS_WORKERS = 3, 3
# Calls that wait or run at once: of one source, of all sources that somebody signed in has called from, of all others.
# More must come again. What a child's devices ask for, from however many addresses, is not waited for by parents.
MOST_CALLS_OF_ONE, MOST_CALLS, MOST_CALLS_OF_STRANGERS = 16, 64, 48
MOST_FRIENDS = 64  # sources
BODY_SECONDS = 15.0
MAX_QUERY_FIELDS = 20
MAX_HEAD_BYTES, MOST_FIELDS = 16 * 1024, 100
STREAM = "text/event-stream"
ENDLESS = "guardian.endless"  # in a request's state: its answer has no end, so no deadline cuts it

_NO_STORE = (b"cache-control", b"no-store")


class Application:
    """All that the console answers. `stop` ends the answers that have no end of their own."""

    def __init__(self, console: Console, endpoints: Iterable[Endpoint] = ENDPOINTS, pages: Pages | None = None) -> None:
        self.console = console
        self.doors = Doors(console.config)
        self.stopping = asyncio.Event()
        self._lanes = _Lane(WORKERS, MOST_CALLS, "call"), _Lane(STRANGERS_WORKERS, MOST_CALLS_OF_STRANGERS, "guest")
        self._friends: OrderedDict[str, None] = OrderedDict()
        self._pages = pages or Pages()
        endpoints = tuple(endpoints)
        by_path: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        routes = [Route(f"{PREFIX}{path}", _PathApp(self, group)) for path, group in by_path.items()]
        routes.append(Route(f"{PREFIX}/openapi.json", _DocumentApp(self, endpoints)))
        self._api = Router(routes, redirect_slashes=False, default=_answer_missing)

    def reload(self) -> None:
        """Take over the settings of the console that may change while it runs."""
        self.doors = Doors(self.console.config)

    def stop(self) -> None:
        """End event streams, so that open pages do not keep the process alive."""
        self.stopping.set()

    def close(self) -> None:
        """Let the calls that run end; no new ones."""
        for lane in self._lanes:
            lane.close()

    async def in_thread(self, source: str, work: Callable[..., T], *arguments: Any) -> T:
        """Run blocking work for a source in a thread. Raises RefusalError 503 when too much of it waits already."""
        return await self._lanes[0 if source in self._friends else 1].run(source, work, *arguments)

    def befriend(self, source: str) -> None:
        """Note that somebody who is signed in calls from a source: it does not wait behind strangers any more."""
        self._friends[source] = None
        self._friends.move_to_end(source)
        if len(self._friends) > MOST_FRIENDS:
            self._friends.popitem(last=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        host, _ = scope["client"] or ("0.0.0.0", 0)  # noqa: S104 - nobody's address: refused
        address = plain_address(host)
        head = read_head(scope["method"], scope["scheme"], address, scope["headers"])
        scope["guardian.head"] = head
        guarded = _with_headers(send)
        refusal = self._refuse(scope, head)
        if refusal is not None:
            log.debug("event=refused code=%s address=%s", refusal.code, address)
            await make_problem(explain_error(refusal), close=True)(scope, receive, guarded)
        elif scope["path"] == "/api" or scope["path"].startswith("/api/"):
            await self._api(scope, receive, guarded)
        else:
            response = await self._answer_page(head, scope["path"])
            await response(scope, receive, guarded)

    def _refuse(self, scope: Scope, head: Head) -> RefusalError | None:
        """Return why a request is not even looked at: who sends it, where to, or how it is written."""
        if not self.doors.is_home(head.address):
            return RefusalError(403, "outside", "the console is for the home only")
        if "host" in head.repeated or not self.doors.is_own_host(head.field("host")):
            return RefusalError(421, "wrong-host", "this name is not the box's")
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > MAX_HEAD_BYTES or len(scope["headers"]) > MOST_FIELDS:
            return RefusalError(431, "too-large", "the head of the request is too large")
        if scope["http_version"] not in ("1.0", "1.1"):
            return RefusalError(400, "not-valid", "this is spoken in HTTP/1.1")
        if "content-length" in head.fields and "transfer-encoding" in head.fields:
            return RefusalError(400, "not-valid", "a body has a length or is chunked, not both")
        return None

    async def _answer_page(self, head: Head, path: str) -> Response:
        try:
            return await self.in_thread(head.address, self._pages.answer, self.console, head, path)
        except GuardianError as error:
            return make_problem(explain_error(error))
        except Exception:
            log.exception("event=bug path=page")
            return make_problem(Problem(500, "bug", "a bug in Guardian"))


class _Lane:
    """Threads for some of the sources, and how much waits for them."""

    def __init__(self, workers: int, most: int, name: str) -> None:
        self._workers = ThreadPoolExecutor(workers, name)
        self._most = most
        self._calls: Counter[str] = Counter()

    async def run(self, source: str, work: Callable[..., T], *arguments: Any) -> T:
        if self._calls[source] >= MOST_CALLS_OF_ONE or self._calls.total() >= self._most:
            raise RefusalError(503, "not-now", "too much to do at once", retry_after=2)
        self._calls[source] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, work, *arguments)
        finally:
            self._calls[source] -= 1
            if not self._calls[source]:
                del self._calls[source]

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)


class _PathApp:
    """The calls that one path of the API has, by method."""

    def __init__(self, app: Application, group: dict[str, Endpoint]) -> None:
        self._app = app
        self._group = group
        methods = {*group, "OPTIONS", *(["HEAD"] if "GET" in group else [])}
        self._allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await Response(status_code=204, headers={"allow": self._allow})(scope, receive, send)
            return
        endpoint = self._group.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            problem = Problem(405, "wrong-method", "there is no such method here")
            await make_problem(problem, {"allow": self._allow}, close=True)(scope, receive, send)
            return
        began = time.monotonic()
        response = await self._answer(endpoint, scope, receive)
        if endpoint.media == STREAM and response.status_code < 300:
            await self._stream(response, scope, receive, send)
            return
        log.debug(
            "event=call method=%s path=%s status=%d ms=%.1f",
            method, endpoint.path, response.status_code, (time.monotonic() - began) * 1000,
        )  # fmt: skip
        await response(scope, receive, send)

    async def _answer(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> Response:
        try:
            return await self._run(endpoint, scope, receive)
        except GuardianError as error:
            return make_problem(explain_error(error), close=isinstance(error, RefusalError) and error.status in _BROKEN)
        except Exception:  # a bug: told to the log with its place, never to the caller
            log.exception("event=bug method=%s path=%s", endpoint.method, endpoint.path)
            return make_problem(Problem(500, "bug", "a bug in Guardian"))

    async def _run(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> Response:
        app, head, now = self._app, scope["guardian.head"], tell_time()
        visit = await app.in_thread(head.address, identify, app.console, head, endpoint, now)
        if visit.caller.who:
            app.befriend(head.address)
        _check_media(endpoint, head)
        most = MAX_BODY_BYTES if visit.caller.who else MAX_STRANGERS_BODY_BYTES
        raw = await _read_body(receive, head, most) if endpoint.body is not None else b""
        call = Call[Any](
            app.console,
            visit.caller,
            dict(scope["path_params"]),
            decode_query(endpoint, _read_query(scope["query_string"])),
            decode_body(endpoint, raw),
            now,
            _read_revision(head),
            encrypted=head.scheme == "https",
        )
        if inspect.iscoroutinefunction(endpoint.run):
            if head.method == "HEAD":
                return Response(media_type=endpoint.media, headers={"cache-control": "no-store"})
            answer: Response = await endpoint.run(call)
            return answer
        content = await app.in_thread(head.address, _run_and_encode, endpoint, call)
        return _make_response(endpoint, call, visit, content)

    async def _stream(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an answer without an end until the caller leaves or the process stops."""
        scope.setdefault("state", {})[ENDLESS] = True
        open_ = False

        async def note(message: Message) -> None:
            nonlocal open_
            await send(message)
            open_ = message["type"] == "http.response.start" or bool(message.get("more_body"))

        sending = asyncio.ensure_future(response(scope, receive, note))
        stopping = asyncio.ensure_future(self._app.stopping.wait())
        try:
            await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))
        if not sending.cancelled() and (error := sending.exception()) is not None:
            log.error("event=bug path=stream", exc_info=error)
        if open_:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _DocumentApp:
    """The OpenAPI document, made when somebody asks for it: few homes have a program that does."""

    def __init__(self, app: Application, endpoints: tuple[Endpoint, ...]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._document = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response
        if scope["method"] in ("GET", "HEAD"):
            response = await self._answer(scope["guardian.head"].address)
        elif scope["method"] == "OPTIONS":
            response = Response(status_code=204, headers={"allow": "GET, HEAD, OPTIONS"})
        else:
            problem = Problem(405, "wrong-method", "there is no such method here")
            response = make_problem(problem, {"allow": "GET, HEAD, OPTIONS"}, close=True)
        await response(scope, receive, send)

    async def _answer(self, address: str) -> Response:
        try:
            self._document = self._document or await self._app.in_thread(address, self._make)
        except RefusalError as error:
            return make_problem(explain_error(error))
        return Response(self._document, media_type="application/json")

    def _make(self) -> bytes:
        return msgspec.json.encode(build_document(self._endpoints))


async def _answer_missing(scope: Scope, receive: Receive, send: Send) -> None:
    await make_problem(Problem(404, "not-found", "there is no such call"))(scope, receive, send)


_BROKEN = (408, 413)  # the body was not read to its end, so the connection is of no more use


def make_problem(problem: Problem, headers: dict[str, str] | None = None, close: bool = False) -> Response:
    """Return an error as application/problem+json; `close` ends the connection with it."""
    extra = dict(headers or {})
    if problem.retry_after is not None:
        extra["retry-after"] = str(problem.retry_after)
    if problem.status == 401:
        extra["www-authenticate"] = "Bearer"
    if close:
        extra["connection"] = "close"
    return Response(msgspec.json.encode(problem), problem.status, extra, "application/problem+json")


def _run_and_encode(endpoint: Endpoint, call: Call[Any]) -> bytes:
    result = endpoint.run(call)
    if endpoint.result is None:
        return b""
    return result.encode() if isinstance(result, str) else msgspec.json.encode(result)


def _make_response(endpoint: Endpoint, call: Call[Any], visit: Visit, content: bytes) -> Response:
    if endpoint.result is None:
        response = Response(status_code=204)
    else:
        media = endpoint.media if endpoint.media == "application/json" else f"{endpoint.media}; charset=utf-8"
        response = Response(content, endpoint.status, media_type=media)
    cookies = call.cookies
    if visit.renew and not any(name == COOKIE for name, _, _ in cookies):
        cookies = [*cookies, (COOKIE, visit.renew, int(SESSION_SECONDS))]
    for name, value, seconds in cookies:
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=call.encrypted, httponly=True, samesite="strict"
        )
    return response


def _check_media(endpoint: Endpoint, head: Head) -> None:
    if endpoint.body is None:
        return
    media, _, parameters = head.field("content-type").partition(";")
    charset = parameters.replace('"', "").replace(" ", "").lower()
    if media.strip().lower() != endpoint.body_media or charset not in ("", "charset=utf-8"):
        raise RefusalError(415, "wrong-type", f"the body must be {endpoint.body_media} in UTF-8")


async def _read_body(receive: Receive, head: Head, most: int) -> bytes:
    """Return the body of a request, of `most` bytes.

    Raises RefusalError: 413 as soon as it is too large, 408 when it is too slow.
    """
    too_large = RefusalError(413, "too-large", f"the body is larger than {most // 1024} KB")
    length = head.field("content-length")
    if length.isdigit() and int(length[:20]) > most:
        raise too_large
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusalError(400, "not-json", "the body has no end")
                parts += message.get("body", b"")
                if len(parts) > most:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(parts)
    except TimeoutError:
        raise RefusalError(408, "too-slow", "the body came too slowly") from None


def _read_query(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise RefusalError(400, "not-text", "the query cannot be read") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise RefusalError(400, "not-valid", "a part of the query is given twice")
    return query


def _read_revision(head: Head) -> int | None:
    text = head.field("if-match").strip()
    if text in ("", "*"):
        return None
    number = text.removeprefix('"').removesuffix('"')
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise RefusalError(400, "not-valid", 'If-Match must be a revision, like "7"')
    return int(number)


def _with_headers(send: Send) -> Send:
    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            given += [header for header in (*SECURITY_HEADERS, _NO_STORE) if header[0] not in names]
            message["headers"] = given
        await send(message)

    return guarded
