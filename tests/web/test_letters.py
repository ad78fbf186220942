"""What a message says, in three languages, and what it must not say."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardian.catalogue import load_catalogue
from guardian.messages import LANGUAGES, PLURAL_FORMS, Messages
from guardian.web.letters import (
    LOCALE_DIRECTORY,
    MAX_NAME_CHARS,
    MOST_LINES,
    Asked,
    clean_name,
    write_letter,
    write_test,
)
from guardian.web.shapes.activity import Alert, AlertAction

WORDS = Messages.load(LOCALE_DIRECTORY)
CATALOGUES = {
    language: yaml.safe_load((LOCALE_DIRECTORY / f"{language}.yaml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
CATEGORIES = load_catalogue(names=False).category_texts
KINDS = (
    "bypass",
    "new-device",
    "burst",
    "lists-stale",
    "feed-stale",
    "gateway-down",
    "history-off",
    "helpline-blocked",
    "storage",
    "software-old",
)
MAC = "02:00:5e:10:00:01"


def ask(kind: str = "time", minutes: int | None = 30, site: str = "", profile: str = "ana") -> Asked:
    return Asked(1, profile, "Ana", kind, minutes, site, 1000.0)


def alert(kind: str = "burst", of: str = "gambling", times: int = 37, name: str = "Ana's tablet") -> Alert:
    return Alert(
        f"{kind}:x", kind, "high", "2026-11-22", "ana", "ana-tablet", name, MAC, of, times, 1.0, 2.0,  # type: ignore[arg-type]
        AlertAction("ask"),
    )  # fmt: skip


def write(*things: Asked | Alert, language: str = "en", shown: tuple[str, ...] = ("ana",)) -> tuple[str, str]:
    requests = [thing for thing in things if isinstance(thing, Asked)]
    alerts = [thing for thing in things if isinstance(thing, Alert)]
    return write_letter(WORDS, language, requests, alerts, CATEGORIES, shown)


def test_several_things_are_one_message() -> None:
    title, body = write(ask(), ask("site", None, "wiki.example"), alert())
    assert title == "Guardian: 2 requests, 1 alert"
    assert body.splitlines() == [
        "Ana asks for 30 more minutes.",
        "Ana asks for the site wiki.example.",
        "Ana's tablet: 37 tries to open closed pages, kind: Gambling.",
        "",
        "Answer and see more in Guardian, at home.",
    ]


@pytest.mark.parametrize(
    ("language", "title", "line"),
    [
        ("en", "Guardian: 1 request", "Ana asks for 30 more minutes."),
        ("ro", "Guardian: 1 cerere", "Ana cere încă 30 de minute."),
        ("ru", "Guardian: 1 просьба", "Ana просит ещё 30 минут."),
    ],
)
def test_each_language_has_its_own_words(language: str, title: str, line: str) -> None:
    assert write(ask(), language=language)[0] == title
    assert write(ask(), language=language)[1].splitlines()[0] == line
    assert write_test(WORDS, language).title != write_test(WORDS, "en").title or language == "en"


def test_a_site_is_named_only_where_parents_see_names() -> None:
    asked = ask("site", None, "help-me.example", profile="teen")
    for language in LANGUAGES:
        assert "help-me" in write(asked, language=language, shown=("teen",))[1]
        assert "help-me" not in str(write(asked, language=language, shown=("ana",)))


def test_hardware_addresses_do_not_leave_the_home() -> None:
    for kind in KINDS:
        title, body = write(alert(kind, name=""))
        assert MAC not in title + body


def test_of_a_helpline_nobody_is_named() -> None:
    for language in LANGUAGES:
        text = str(write(alert("helpline-blocked", of="helpline"), language=language))
        assert "Ana" not in text
        assert "tablet" not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["", "vpn", "gambling", "category:gambling", "no-such-thing", "{x}", "requests"])
def test_every_kind_of_alert_can_be_told(kind: str, of: str) -> None:
    for language in LANGUAGES:
        for times in (0, 1, 2, 5, 21, 100):
            assert write(alert(kind, of, times), language=language)[1].strip()


def test_a_flood_of_things_is_a_short_message() -> None:
    body = write(*[ask() for _ in range(100)])[1].splitlines()
    assert len(body) == MOST_LINES + 3
    assert body[MOST_LINES] == "And 88 more."


def test_of_the_hotline_s_feed_only_what_is_to_be_done() -> None:
    for language in LANGUAGES:
        refused, *others = (
            write(alert("feed-stale", of, name=""), language=language)[1]
            for of in ("refused", "offline", "behind", "clock", "{x}")
        )
        assert len(set(others)) == 1 and refused not in others
        assert not any(word in refused + others[0] for word in ("Ana", "list-a", "http"))


HOSTILE = ["<script>alert(1)</script>", "\u202eelbat s'anA", "a\r\nBcc: x", "\x00\x1b[2J", "{count} {x} %s", "ș" * 300]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_within_their_line(name: str) -> None:
    _, body = write(ask()._replace(profile_name=name), ask("site", None, name), alert(name=name))
    assert len(body.splitlines()) == 5
    assert all(char.isprintable() or char == "\n" for char in body)
    assert all(len(line) < 300 for line in body.splitlines())


@given(st.text(max_size=300))
def test_any_name_becomes_one_short_printable_line(name: str) -> None:
    cleaned = clean_name(name)
    assert cleaned.isprintable() or not cleaned
    assert len(cleaned) <= MAX_NAME_CHARS
    assert cleaned == cleaned.strip()


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_all_languages_have_the_same_keys() -> None:
    assert {path.stem for path in LOCALE_DIRECTORY.glob("*.yaml")} == set(LANGUAGES)
    for language in LANGUAGES:
        assert list(CATALOGUES[language]) == list(CATALOGUES["en"]), language


@pytest.mark.parametrize("key", sorted(CATALOGUES["en"]))
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_the_same_values_and_all_plural_forms(language: str, key: str) -> None:
    text, english = CATALOGUES[language][key], CATALOGUES["en"][key]
    if isinstance(english, dict):
        assert tuple(text) == PLURAL_FORMS[language]
        assert {frozenset(placeholders(form)) for form in text.values()} == {frozenset(placeholders(english["other"]))}
    else:
        assert placeholders(text) == placeholders(english)
        assert language == "en" or text != english or key == "title"
