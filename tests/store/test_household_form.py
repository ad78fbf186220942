"""The words of a household file that only it has: ages, minutes, windows, names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guardian.errors import TextError
from guardian.policy.model import Action, Catalogue
from guardian.store.household_form import (
    AGE_BANDS,
    NO_LIMIT,
    WindowText,
    read_action,
    read_age,
    read_bonus,
    read_label,
    read_minutes,
    read_name,
    read_preset,
    read_window,
)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (read_window, "sun-thu 21:00-07:00", WindowText(frozenset({6, 0, 1, 2, 3}), 1260, 420)),  # type: ignore[arg-type]
        (read_window, "mon, wed 21:00 - 24:00", WindowText(frozenset({0, 2}), 1260, 1440)),  # type: ignore[arg-type]
        (read_window, "7:00-7:00", WindowText(None, 420, 420)),
        (read_minutes, "0", 0),
        (read_minutes, "Unlimited", NO_LIMIT),
        (read_minutes, "10080", 10080),  # of a week
        (read_bonus, "1440", 1440),
        (read_age, "7-9", "7-9"),
        (read_age, "", ""),
        (read_preset, "none", "none"),
        (read_action, "Allow", Action.ALLOW),
        (read_label, "Ană's 平板 📱", "Ană's 平板 📱"),
        (read_label, "", ""),  # a note
        (read_name, " Ană's 平板 📱 ", "Ană's 平板 📱"),
        (read_name, "x" * 200, "x" * 200),
    ],
)
def test_read(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_window, ""),
        (read_window, "21:00"),
        (read_window, "mon 21:00-25:00"),
        (read_window, "x" + " " * 1_000_000 + "y"),
        (read_minutes, "10081"),
        (read_bonus, "0"),
        (read_bonus, "1441"),
        (read_bonus, "unlimited"),
        (read_minutes, "-1"),
        (read_minutes, "²"),
        (read_age, "none"),
        (read_action, "rewrite"),
        (read_name, ""),
        (read_name, " \u00a0 "),
        (read_name, "a\nb"),
        (read_name, "x" * 201),
        (read_label, "a\nb"),
        (read_label, "a\x1b[31m"),
        (read_label, "x" * 201),
    ],
)
def test_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(TextError):
        read(text)


def test_the_catalogue_has_a_preset_for_every_age(catalogue: Catalogue) -> None:
    assert tuple(catalogue.presets) == AGE_BANDS
