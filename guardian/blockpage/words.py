"""What a block page says: the title and the reason, in one sentence each, in the child's language."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from guardian.blockpage.facts import BlockInfo, PageSettings
from guardian.messages import Messages
from guardian.policy.model import Reason

SOON_SECONDS = 3600  # from here on a wait is told in minutes as well
_WEEK_DAYS = 7

# Reasons that close one site: the page shows its name and says how to ask for it.
_SITE_REASONS = {
    Reason.RULE: "why.rule",
    Reason.BYPASS: "why.bypass",
    Reason.ALLOW_LIST_ONLY: "why.allow_list_only",
    Reason.REBINDING: "why.rebinding",
    Reason.SAFE_SEARCH: "why.safe_search",
}


class Words(NamedTuple):
    """The head of a page. `drawing` names one of `style.DRAWINGS`; `site` tells whether it is about one site."""

    title: str
    why: tuple[str, ...]
    drawing: str
    site: bool


def say(messages: Messages, language: str, info: BlockInfo, settings: PageSettings) -> Words:
    """Return the words for a block that is no mandatory one. Plain text, not escaped."""
    _, _, entry = info.rule.partition(":")
    if info.reason is Reason.SCHEDULE:
        return _say_schedule(messages, language, info, entry)
    if info.reason is Reason.PAUSE:
        why = (messages.get(language, "why.pause", until=say_until(messages, language, info)),)
        return Words(messages.get(language, "title.pause"), why + _say_wait(messages, language, info), "pause", False)
    if info.reason is Reason.CLOCK:
        why = (messages.get(language, "why.clock"),)
        return Words(messages.get(language, "title.clock"), why, "minutes", False)
    if info.reason is Reason.MINUTES:
        title, sentence = _say_minutes(messages, language, info, entry)
        return Words(title, (sentence,), "minutes", False)
    why = (_say_site(messages, language, info, settings),)
    return Words(messages.get(language, "title.closed"), why, "closed", True)


def _say_minutes(messages: Messages, language: str, info: BlockInfo, spent: str) -> tuple[str, str]:
    """The title and the reason for minutes that are used up: `60`, `week:300`, `youtube`, `group:games`.

    Of a service or group no day is promised: the rule does not tell whether the day's or the week's are gone, and
    `until` may come early.
    """
    if spent.isdecimal() and not int(spent):
        return messages.get(language, "title.offline"), messages.get(language, "why.minutes.none")
    if spent.isdecimal():
        return messages.get(language, "title.minutes"), messages.get(language, "why.minutes", count=int(spent))
    if spent.startswith("week:"):
        return messages.get(language, "title.minutes.week"), messages.get(language, "why.minutes.week")
    name = info.service
    if spent.startswith("group:"):
        key = spent.replace(":", ".", 1)
        name = messages.get(language, key) if messages.has(key) else ""
    title = messages.get(language, "title.minutes.of", name=name) if name else ""
    return title or messages.get(language, "title.minutes.some"), messages.get(language, "why.minutes.of")


def _say_schedule(messages: Messages, language: str, info: BlockInfo, label: str) -> Words:
    until = say_until(messages, language, info)
    if label in ("bedtime", "homework"):
        title, why, drawing = f"title.{label}", messages.get(language, f"why.{label}", until=until), label
    elif label:  # a word of the parents' own
        title, why, drawing = "title.offline", messages.get(language, "why.offline", until=until, label=label), "pause"
    else:
        title, why, drawing = "title.offline", messages.get(language, "why.offline.plain", until=until), "pause"
    return Words(messages.get(language, title), (why, *_say_wait(messages, language, info)), drawing, False)


def _say_site(messages: Messages, language: str, info: BlockInfo, settings: PageSettings) -> str:
    _, _, entry = info.rule.partition(":")
    if info.reason is Reason.CATEGORY:
        category = settings.categories.get(entry)
        if category is not None and language in category.names:
            return messages.get(language, "why.category", category=category.names[language])
        return messages.get(language, "why.category.unknown")
    if info.reason is Reason.SERVICE:
        if info.service:
            return messages.get(language, "why.service", service=info.service)
        return messages.get(language, "why.service.unknown")
    return messages.get(language, _SITE_REASONS.get(info.reason, "why.other"))


def say_until(messages: Messages, language: str, info: BlockInfo) -> str:
    """Return `until 07:00`, `until tomorrow at 07:00`, `until Monday at 07:00`, by the household's clock."""
    end, now = _local(info.until, info), _local(info.now, info)
    if end is None or now is None:
        return messages.get(language, "until.open")
    time = f"{end:%H:%M}"
    days = (end.date() - now.date()).days
    if days <= 0:
        return messages.get(language, "until.time", time=time)
    if days == 1:
        return messages.get(language, "until.tomorrow", time=time)
    if days < _WEEK_DAYS:
        return messages.get(language, f"until.weekday.{end.weekday()}", time=time)
    return messages.get(language, "until.date", date=f"{end:%d.%m.%Y}", time=time)


def _local(moment: float, info: BlockInfo) -> datetime | None:
    """The household's local time; None for a moment that no calendar has (FOREVER)."""
    try:
        return datetime.fromtimestamp(moment, UTC).astimezone(info.tz)
    except (OverflowError, ValueError, OSError):
        return None


def _say_wait(messages: Messages, language: str, info: BlockInfo) -> tuple[str, ...]:
    seconds = info.until - info.now
    if not 0 < seconds <= SOON_SECONDS:
        return ()
    return (messages.get(language, "wait.minutes", count=int(-(-seconds // 60))),)
