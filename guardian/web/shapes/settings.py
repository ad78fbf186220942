"""Settings of the console itself, delivery of alerts, backup."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from guardian.web.shapes.common import Language, ShortName, Struct


class ConsoleSettings(Struct):
    login_from_children: bool  # whether a child's device may open the sign-in
    notify_languages: Language  # of delivered messages


class ConsoleChange(Struct):
    login_from_children: bool | None = None
    notify_languages: Language | None = None


class Channel(Struct):
    """Where alerts and requests are delivered outside the page. The address is secret: it is never sent back."""

    id: int
    name: str
    service: str  # mailto, ntfy, tgram, matrix ...
    requests: bool
    alerts: bool
    last_error: str


class Channels(Struct):
    available: bool  # False: Apprise is not installed
    channels: list[Channel]


class NewChannel(Struct):
    name: ShortName
    address: Annotated[str, Meta(min_length=5, max_length=1000)]  # an Apprise URL
    requests: bool = True
    alerts: bool = True


class FactoryReset(Struct):
    """Everything goes: household, accounts, history. `password` is the caller's own."""

    password: Annotated[str, Meta(max_length=200)]
