"""The sentence for each reason, and until when by the household's clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guardian.blockpage.facts import BlockInfo, PageSettings
from guardian.blockpage.style import DRAWINGS
from guardian.blockpage.words import say, say_until
from guardian.catalogue import load_catalogue
from guardian.messages import LANGUAGES, Messages
from guardian.policy.model import FOREVER, Reason

Block = Callable[..., BlockInfo]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-11-23 21:30", "until 21:30"),
        ("2026-11-24 07:00", "until tomorrow at 07:00"),
        ("2026-11-25 07:00", "until Wednesday at 07:00"),
        ("2026-11-29 23:59", "until Sunday at 23:59"),
        ("2026-11-30 00:00", "until 30.11.2026 at 00:00"),
        (FOREVER, "until a parent switches it on again"),
        (1e300, "until a parent switches it on again"),
    ],
)
def test_until(messages: Messages, block: Block, until: str | float, expected: str) -> None:
    assert say_until(messages, "en", block(Reason.PAUSE, until=until)) == expected


@pytest.mark.parametrize(
    ("reason", "rule", "until", "title", "why"),
    [
        (Reason.SCHEDULE, "schedule:bedtime", "2026-11-24 07:00", "E ora de somn", "până mâine la 07:00"),
        (Reason.SCHEDULE, "schedule:homework", "2026-11-23 21:25", "E ora temelor", "peste 20 de minute"),
        (Reason.SCHEDULE, "schedule:Cina", "2026-11-23 21:06", "E timp fără internet", "(Cina)"),
        (Reason.SCHEDULE, "schedule:", "2026-11-23 21:06", "E timp fără internet", "peste 1 minut."),
        (Reason.PAUSE, "pause:device", FOREVER, "Internetul ia o pauză", "un părinte îl pornește"),
        (Reason.MINUTES, "minutes:90", "2026-11-24 00:00", "Minutele de azi s-au terminat", "90 de minute"),
        (Reason.MINUTES, "minutes:0", "2026-11-24 00:00", "E timp fără internet", "Astăzi nu sunt minute."),
        (
            Reason.MINUTES,
            "minutes:week:300",
            "2026-11-30 00:00",
            "Minutele din săptămâna aceasta s-au terminat",
            "luni",
        ),
        (Reason.MINUTES, "minutes:group:games", "2026-11-24 00:00", "Jocuri: minutele s-au terminat", "în altă zi"),
        (
            Reason.MINUTES,
            "minutes:group:knitting",
            "2026-11-24 00:00",
            "Minutele pentru asta s-au terminat",
            "Celelalte",
        ),
        (
            Reason.MINUTES,
            "minutes:unheard",
            "2026-11-24 00:00",
            "Minutele pentru asta s-au terminat",
            "Pentru azi nu mai",
        ),
        (Reason.CATEGORY, "category:gambling", FOREVER, "Site-ul acesta este închis aici", "Gambling ro"),
        (Reason.CATEGORY, "category:unheard", FOREVER, "Site-ul acesta este închis aici", "de felul acesta."),
        (Reason.SERVICE, "service:x", FOREVER, "Site-ul acesta este închis aici", "Serviciul acesta"),
        (Reason.RULE, "rule:block x", FOREVER, "Site-ul acesta este închis aici", "Părinții tăi au hotărât"),
        (Reason.BYPASS, "bypass:doh", FOREVER, "Site-ul acesta este închis aici", "protecția casei"),
        (Reason.ALLOW_LIST_ONLY, "allow-list-only", FOREVER, "Site-ul acesta este închis aici", "alese de părinți"),
        (Reason.REBINDING, "rebinding", FOREVER, "Site-ul acesta este închis aici", "rețeaua casei"),
        (Reason.DEFAULT, "", FOREVER, "Site-ul acesta este închis aici", "Regulile casei"),
    ],
)
def test_reasons(
    messages: Messages,
    settings: PageSettings,
    block: Block,
    reason: Reason,
    rule: str,
    until: str | float,
    title: str,
    why: str,
) -> None:
    words = say(messages, "ro", block(reason, rule, until), settings)
    assert words.title == title
    assert why in " ".join(words.why)
    assert words.drawing in DRAWINGS
    assert words.site == (title == "Site-ul acesta este închis aici")


def test_service_by_its_own_name(messages: Messages, settings: PageSettings, block: Block) -> None:
    words = say(messages, "ru", block(Reason.SERVICE, "service:tiktok", service="TikTok"), settings)
    assert words.why == ("TikTok закрыт на этом устройстве.",)


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("en", "YouTube: the minutes are used up"),
        ("ro", "YouTube: minutele s-au terminat"),
        ("ru", "YouTube: минуты закончились"),
    ],
)
def test_minutes_of_a_service_by_its_own_name(
    messages: Messages, settings: PageSettings, block: Block, language: str, title: str
) -> None:
    words = say(messages, language, block(Reason.MINUTES, "minutes:youtube", service="YouTube"), settings)
    assert (words.title, words.drawing, words.site) == (title, "minutes", False)


@pytest.mark.parametrize(
    ("language", "count", "expected"),
    [
        ("en", 1, "Today's 1 minute is over."), ("en", 60, "Today's 60 minutes are over."),
        ("ro", 1, "Minutul de azi (1) a trecut."), ("ro", 19, "Cele 19 minute de azi"),
        ("ro", 60, "Cele 60 de minute de azi"), ("ro", 101, "Cele 101 minute de azi"),
        ("ru", 1, "1 минута на сегодня прошла."), ("ru", 42, "42 минуты на сегодня прошли."),
        ("ru", 60, "60 минут на сегодня прошли."),
    ],
)  # fmt: skip
def test_minutes_of_the_day_are_counted_as_the_language_counts(
    messages: Messages, settings: PageSettings, block: Block, language: str, count: int, expected: str
) -> None:
    words = say(messages, language, block(Reason.MINUTES, f"minutes:{count}"), settings)
    assert words.why[0].startswith(expected)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_group_of_services_has_a_name(
    messages: Messages, settings: PageSettings, block: Block, language: str
) -> None:
    unnamed = say(messages, language, block(Reason.MINUTES, "minutes:group:unheard"), settings).title
    for group in {service.group for service in load_catalogue(names=False).services.values()}:
        title = say(messages, language, block(Reason.MINUTES, f"minutes:group:{group}"), settings).title
        assert title != unnamed and title.startswith(messages.get(language, f"group.{group}")), group


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words_in_every_language(
    messages: Messages, settings: PageSettings, block: Block, reason: Reason, language: str
) -> None:
    words = say(messages, language, block(reason, "", 0.0), settings)
    assert words.title
    assert all(words.why)


def test_no_wait_is_told_when_time_has_passed(messages: Messages, settings: PageSettings, block: Block) -> None:
    words = say(messages, "en", block(Reason.PAUSE, "pause:device", "2026-11-23 21:05"), settings)
    assert len(words.why) == 1
