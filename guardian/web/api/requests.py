"""Requests of children and their answers."""

from __future__ import annotations

from guardian.store.requests import list_requests
from guardian.web.asking import answer, show_requests
from guardian.web.routing import Call, Endpoint, RefusalError
from guardian.web.shapes.requests import Reply, Request, Requests

_LONGEST_NUMBER = 18  # digits that SQLite takes


def show_all_requests(call: Call[None]) -> Requests:
    """Return what was asked in the last months: open requests first, then the newest."""
    return show_requests(call.console, list_requests(call.console.store, call.now), call.now)


def answer_child(call: Call[Reply]) -> Request:
    """Grant or refuse a request."""
    text = call.path["request"]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise RefusalError(404, "not-found", "there is no such request")
    return answer(call.console, int(text), call.body, call.caller.who, call.now)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/requests", "requests", "What children ask", show_all_requests, result=Requests),
    Endpoint(
        "POST", "/requests/{request}/answer", "requests", "Answer a child", answer_child, result=Request, body=Reply,
        errors=(409,),
    ),
)  # fmt: skip
