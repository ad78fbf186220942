"""Facts for the pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from guardian.blockpage.facts import BlockInfo, PageSettings
from guardian.messages import Messages
from guardian.policy.model import FOREVER, Category, HelpKind, Helpline, Reason

CHISINAU = ZoneInfo("Europe/Chisinau")


def names(word: str) -> dict[str, str]:
    return {language: f"{word} {language}" for language in ("en", "ro", "ru")}


@pytest.fixture(scope="session")
def messages() -> Messages:
    return Messages.load()


@pytest.fixture
def settings() -> PageSettings:
    return PageSettings(
        language="ro",
        country="md",
        helplines=(
            Helpline("world", HelpKind.CHILD, "", names("World line"), url="https://world.example/"),
            Helpline("ro", HelpKind.CHILD, "ro", names("Romanian line"), phone="116 111"),
            Helpline("md", HelpKind.CHILD, "md", names("Moldovan line"), names("Free <b>"), phone="116 111"),
            Helpline("112", HelpKind.EMERGENCY, "md", names("Emergency"), phone="112"),
            Helpline("report", HelpKind.REPORT, "md", names("Hotline"), url="https://report.example/"),
            Helpline("worry", HelpKind.BEHAVIOUR, "", names("Worried"), url="https://worry.example/"),
            Helpline("bad", HelpKind.CHILD, "md", {"en": "Only English"}, url="javascript:alert(1)"),
        ),
        categories={"gambling": Category("gambling", names("Gambling"), {})},
        support="Provider & Sons, 1181",
    )


@pytest.fixture
def block() -> Callable[..., BlockInfo]:
    """Make facts about a block on Monday, 23 November 2026, 21:05 in Chisinau; `until` is local as text, or seconds."""

    def make(reason: Reason, rule: str = "", until: str | float = FOREVER, **more: Any) -> BlockInfo:
        now = datetime(2026, 11, 23, 21, 5, tzinfo=CHISINAU)
        end = datetime.fromisoformat(until).replace(tzinfo=CHISINAU).timestamp() if isinstance(until, str) else until
        return BlockInfo(reason, rule, end, now.timestamp(), CHISINAU, **more)

    return make
