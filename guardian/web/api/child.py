"""The child's own page: no sign-in, the device's address tells who asks."""

from __future__ import annotations

from guardian.policy.model import Device
from guardian.store.requests import can_ask, list_requests
from guardian.web.asking import ask, show_to_child
from guardian.web.own_page import make_child_page
from guardian.web.routing import CHILD, Call, Endpoint
from guardian.web.shapes.requests import Ask, ChildPage, ChildRequest, Wish

MOST_REQUESTS = 20
SHOWN_SECONDS = 7 * 86400.0


def show_child_page(call: Call[None]) -> ChildPage:
    """Return what holds for the device that asks: its rules, its time, its requests, who helps."""
    console, now = call.console, call.now
    policy = console.policy(now)
    device = _find_device(call)
    requests = [] if device is None else list_requests(console.store, now, device.profile, MOST_REQUESTS)
    recent = sorted((found for found in requests if found.asked > now - SHOWN_SECONDS), key=lambda found: -found.asked)
    may_ask = device is not None and can_ask(console.store, device.profile, now)
    offered = console.config.languages
    return make_child_page(policy, device, recent, may_ask, call.query.language or "", now, offered)


def ask_parents(call: Call[Ask]) -> ChildRequest:
    """Ask for more time, or for a site."""
    whose = call.console.gateway.whose(call.caller.address)
    return show_to_child(ask(call.console, whose, call.body, call.now))


def _find_device(call: Call[None]) -> Device | None:
    whose = call.console.gateway.whose(call.caller.address)
    return next((device for device in call.console.household().devices if device.id == whose.device), None)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/child", CHILD, "What holds for this device", show_child_page, result=ChildPage, query=Wish),
    Endpoint(
        "POST", "/child/requests", CHILD, "Ask a parent", ask_parents, result=ChildRequest, body=Ask, status=201,
        errors=(409, 429),
    ),
)  # fmt: skip
