"""Live events: a stream without an end, for signed-in people and for programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

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
CHECK_SECONDS = 60.0  # between two looks whether the caller may still listen
FULL_SECONDS = 30


class EventStream(StreamingResponse):
    """An answer that frees its place whatever ends it."""

    def __init__(self, console: Console, caller: Caller, subscription: Subscription) -> None:
        super().__init__(
            tell(console, caller, subscription), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until one side has enough."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()


async def listen_to_events(call: Call[None]) -> StreamingResponse:
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
        if time.monotonic() - checked >= CHECK_SECONDS:
            checked = time.monotonic()
            if not await asyncio.to_thread(may_listen, console, caller, time.time()):
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
