"""Live events: a stream without an end, for signed-in people and for programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.responses import Response

from guardian.clock import tell_time
from guardian.store import accounts
from guardian.web.access import ROLE_SCOPES, Caller
from guardian.web.events import FullError, Subscription
from guardian.web.routing import Call, Endpoint, RefusalError
from guardian.web.security import is_childs

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from guardian.web.console import Console

RETRY_MILLISECONDS = 3000
HEARTBEAT_SECONDS = 20.0  # a comment, so that a connection that is gone is noticed
CHECK_SECONDS = 60.0  # between two looks whether the caller may still listen, when nothing calls for one at once
FULL_SECONDS = 30


class EventStream(Response):
    """An answer without an end, which frees its place whatever ends it.

    Starlette's StreamingResponse would do the same, and load a megabyte of anyio for it.
    """

    media_type = "text/event-stream"

    def __init__(self, console: Console, caller: Caller, subscription: Subscription) -> None:  # nothing of Response's:
        self.status_code = 200  # it would send a length
        self.init_headers({"cache-control": "no-store"})
        self._chunks = tell(console, caller, subscription)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until one side has enough."""
        telling = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(wait_for_end(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._subscription.close()
            telling.cancel()
            leaving.cancel()
            await asyncio.wait((telling, leaving))
        for task in (telling, leaving):
            if not task.cancelled():
                task.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def wait_for_end(receive: Receive) -> None:
    """Wait until the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def listen_to_events(call: Call[None]) -> EventStream:
    """Return the stream of events that the caller may see. Raises RefusalError 503 when too many listen."""
    caller = call.caller
    try:
        subscription = call.console.events.subscribe(caller.session or caller.token, caller.scopes)
    except FullError as error:
        raise RefusalError(503, "not-now", str(error), retry_after=FULL_SECONDS) from None
    return EventStream(call.console, caller, subscription)


async def tell(console: Console, caller: Caller, subscription: Subscription) -> AsyncIterator[bytes]:
    """Yield the stream's bytes until it is closed, or the caller may not listen any more."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    checked = time.monotonic()
    while (events := await subscription.take(HEARTBEAT_SECONDS)) is not None:
        if subscription.is_doubtful or time.monotonic() - checked >= CHECK_SECONDS:
            subscription.is_doubtful, checked = False, time.monotonic()
            if not await asyncio.to_thread(may_listen, console, caller, tell_time()):
                return
        yield b"".join(events) or b":\n\n"


def may_listen(console: Console, caller: Caller, now: float) -> bool:
    """Tell whether a session or token still is what it was when the stream began. Reads the database."""
    if not caller.session:
        return any(
            token.id == caller.token and frozenset(token.scopes) >= caller.scopes
            for token in accounts.list_tokens(console.store)
        )
    session = accounts.find_session(console.store, caller.session, now)
    if session is None or ROLE_SCOPES[session.account.role] != caller.scopes:
        return False
    return not is_childs(console, caller.address)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/events",
        "requests",
        "What happens, as it happens: server-sent events `change`, `decision`, `attempt`, `device`, `request`",
        listen_to_events,
        result=str,
        media="text/event-stream",
    ),
)
