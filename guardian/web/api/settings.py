"""Settings of the console, channels, factory reset."""

from __future__ import annotations

import logging
from typing import Any

from guardian.errors import GuardianError
from guardian.messages import Messages
from guardian.store import channels as stored
from guardian.store.channels import StoredChannel
from guardian.store.console import ConsoleStore
from guardian.web.console import Console
from guardian.web.delivery import LANGUAGE_OPTION, TOO_SLOW, collect_news, notify_language
from guardian.web.errands import has_apprise
from guardian.web.letters import LOCALE_DIRECTORY, write_test
from guardian.web.passwords import confirm_password
from guardian.web.reset import reset_box
from guardian.web.routing import Call, Endpoint, RefusalError
from guardian.web.security import COOKIE
from guardian.web.shapes.settings import (
    Channel,
    Channels,
    ConsoleChange,
    ConsoleSettings,
    FactoryReset,
    NewChannel,
)

log = logging.getLogger(__name__)

CHILDREN_OPTION = "login_from_children"


def get_settings(call: Call[None]) -> ConsoleSettings:
    """Return the settings of the console."""
    return _tell_settings(call.console)


def _tell_settings(console: Console) -> ConsoleSettings:
    return ConsoleSettings(console.store.option(CHILDREN_OPTION) == "yes", notify_language(console))


def change_settings(call: Call[ConsoleChange]) -> ConsoleSettings:
    """Change those settings that are given."""
    console, body = call.console, call.body
    before = _tell_settings(console)
    if body.login_from_children is not None:
        console.store.set_option(CHILDREN_OPTION, "yes" if body.login_from_children else "no")
    if body.notify_languages is not None:
        console.store.set_option(LANGUAGE_OPTION, body.notify_languages)
    after = _tell_settings(console)
    parts = [part for part in after.__struct_fields__ if getattr(after, part) != getattr(before, part)]
    if parts:
        what = f"settings of the console changed: {', '.join(parts)}"
        console.note(call.caller.who, what, "console-changed", parts=" ".join(parts))
    console.events.check_callers()  # a child's device may not listen any more
    return after


def get_channels(call: Call[None]) -> Channels:
    """Return the channels without their addresses."""
    return _tell_channels(call.console.store)


def _tell_channels(store: ConsoleStore) -> Channels:
    return Channels(
        has_apprise(),
        [
            Channel(each.id, each.name, each.service, each.requests, each.alerts, each.last_error)
            for each in stored.list_channels(store)
        ],
    )


def add_channel(call: Call[NewChannel]) -> Channels:
    """Add a channel, once Apprise has understood its address. What is there already is not sent to it."""
    _need_apprise()
    console, body = call.console, call.body
    address = body.address.strip()
    results = _send_out(call, {"task": "check", "address": address})
    if not results:
        raise RefusalError(503, "not-now", "the address could not be checked in time", retry_after=10)
    if "error" in results[0]:
        # The address holds secrets: it is not in the words.
        raise RefusalError(422, "not-valid", "Apprise cannot use this address; see docs/notifications.md")
    try:
        news = collect_news(console, call.now)
    except GuardianError as error:  # then the new channel tells what is already known: no reason to refuse it
        log.info("event=no-news error=%r", str(error))
        known: set[str] = set()
    else:
        known = {f"request:{request.id}" for request in news.requests} | {f"alert:{alert.id}" for alert in news.alerts}
    made = stored.add_channel(
        console.store, body.name, address, requests=body.requests, alerts=body.alerts, known=known, now=call.now
    )
    if made is None:
        raise RefusalError(409, "full", f"there are {stored.MOST_CHANNELS} channels already: remove one first")
    log.info("event=channel-added service=%s", results[0]["service"])
    console.note(call.caller.who, f"channel {body.name} added", "channel-added", name=body.name)
    return _tell_channels(console.store)


def remove_channel(call: Call[None]) -> None:
    """Remove a channel; nothing is delivered to it any more."""
    channel = _find_channel(call)
    if not stored.remove_channel(call.console.store, channel.id):
        raise RefusalError(404, "not-found", "there is no such channel")
    call.console.note(call.caller.who, f"channel {channel.name} removed", "channel-removed", name=channel.name)


def try_channel(call: Call[None]) -> None:
    """Send a short message to a channel and wait for how it went."""
    _need_apprise()
    channel = _find_channel(call)
    letter = write_test(Messages.load(LOCALE_DIRECTORY), notify_language(call.console))
    order = {"task": "deliver", "letters": [{"id": channel.id, "address": channel.address, **letter._asdict()}]}
    results = _send_out(call, order)
    error = str(results[0]["error"]) if results else TOO_SLOW
    stored.note_error(call.console.store, channel.id, error)
    if error:
        raise RefusalError(503, "not-delivered", f"the message did not get there: {error}")


def _find_channel(call: Call[None]) -> StoredChannel:
    wanted = call.path["channel"]
    for channel in stored.list_channels(call.console.store):
        if str(channel.id) == wanted:
            return channel
    raise RefusalError(404, "not-found", "there is no such channel")


def _need_apprise() -> None:
    if not has_apprise():
        raise RefusalError(
            409,
            "not-installed",
            "messages need Apprise: install guardian-gateway[notify], then start the console again",
        )


def _send_out(call: Call[Any], order: dict[str, Any]) -> list[dict[str, Any]]:
    """Run an errand of a person. Raises RefusalError 429 while another one is out: each may take 20 seconds."""
    errands = call.console.errands
    if errands.is_busy:
        raise RefusalError(429, "throttled", "another message is just being tried: wait a little", retry_after=5)
    return errands.run(order)


def reset_factory(call: Call[FactoryReset]) -> None:
    """Erase everything that the home has told this box. The caller's password confirms it."""
    confirm_password(call, call.body.password)
    reset_box(call.console)
    call.cookies.append((COOKIE, "", 0))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/settings", "manage", "The settings of the console", get_settings, ConsoleSettings),
    Endpoint(
        "PATCH",
        "/settings",
        "manage",
        "Change settings of the console",
        change_settings,
        ConsoleSettings,
        ConsoleChange,
    ),
    Endpoint("GET", "/channels", "manage", "Where messages are delivered", get_channels, Channels),
    Endpoint(
        "POST",
        "/channels",
        "manage",
        "Add a channel for messages",
        add_channel,
        Channels,
        NewChannel,
        status=201,
        errors=(409,),
        people_only=True,  # what children ask leaves the home by it, and the box itself calls the address
    ),
    Endpoint("DELETE", "/channels/{channel}", "manage", "Remove a channel", remove_channel),
    Endpoint("POST", "/channels/{channel}/test", "manage", "Try a channel", try_channel, errors=(409,)),
    Endpoint(
        "POST",
        "/factory-reset",
        "accounts",
        "Erase everything",
        reset_factory,
        body=FactoryReset,
    ),
)
