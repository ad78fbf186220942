"""What a message outside the home says. Pure: alerts and requests in, a title and a text out.

A message passes through other people's servers, so it says less than the page: no words of a child, no hardware
address, a site only where the profile shows names of sites, nothing of mandatory lists, and of a helpline not who.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guardian.messages import Messages
from guardian.policy.model import Category
from guardian.web.shapes.activity import Alert

LOCALE_DIRECTORY = Path(__file__).with_name("locale")
MOST_LINES = 12
MAX_NAME_CHARS = 60


class Asked(NamedTuple):
    """What a child asks for, as far as a message tells it."""

    id: int
    profile: str
    profile_name: str
    kind: str  # time, site
    minutes: int | None
    site: str
    asked: float  # epoch seconds


class Letter(NamedTuple):
    """A message as it is sent: plain text."""

    title: str
    body: str


def write_letter(
    words: Messages,
    language: str,
    requests: Sequence[Asked],
    alerts: Sequence[Alert],
    categories: Mapping[str, Category],
    open_profiles: Collection[str],
) -> Letter:
    """Return one message for all of it; `open_profiles` are the ids of those whose names of sites parents see."""
    titles = [
        words.get(language, key, count=len(things))
        for key, things in (("title.requests", requests), ("title.alerts", alerts))
        if things
    ]
    lines = [_tell_request(words, language, request, open_profiles) for request in requests]
    lines += [_tell_alert(words, language, alert, categories) for alert in alerts]
    left = len(lines) - MOST_LINES
    if left > 0:
        lines[MOST_LINES:] = [words.get(language, "more", count=left)]
    lines += ["", words.get(language, "where")]
    return Letter(words.get(language, "title", what=", ".join(titles)), "\n".join(lines))


def write_test(words: Messages, language: str) -> Letter:
    """Return the message that tries a channel."""
    return Letter(words.get(language, "test.title"), words.get(language, "test.body"))


def _tell_request(words: Messages, language: str, request: Asked, open_profiles: Collection[str]) -> str:
    who = clean_name(request.profile_name)
    if request.kind == "time":
        return words.get(language, "request.time", who=who, count=request.minutes or 0)
    if request.profile in open_profiles:
        return words.get(language, "request.site", who=who, site=clean_name(request.site))
    return words.get(language, "request.site-hidden", who=who)


def _tell_alert(words: Messages, language: str, alert: Alert, categories: Mapping[str, Category]) -> str:
    device = clean_name(alert.device_name) or words.get(language, "device.unnamed")
    match alert.kind:
        case "bypass":
            way = f"way.{alert.of}" if words.has(f"way.{alert.of}") else "way.other"
            return words.get(language, "alert.bypass", device=device, count=alert.times, way=words.get(language, way))
        case "burst":
            category = categories.get(alert.of.removeprefix("category:"))
            kind = category.names.get(language, category.names["en"]) if category else words.get(language, "kind.other")
            return words.get(language, "alert.burst", device=device, count=alert.times, kind=kind)
        case "new-device":
            return words.get(language, "alert.new-device", device=device)
        case "feed-stale":
            return words.get(language, f"alert.feed-stale.{alert.of if alert.of == 'refused' else 'behind'}")
        case kind:
            return words.get(language, f"alert.{kind}")


def clean_name(name: str) -> str:
    """Return hostile text as it may stand in a line: what does not print is gone, and it is not endless.

    Direction marks are gone too: one could make the rest of the line read backwards.
    """
    printable = "".join(char if char.isprintable() else " " for char in name)
    return " ".join(printable.split())[:MAX_NAME_CHARS]
