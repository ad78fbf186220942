"""Catalogues are alike in all languages; plurals are those of CLDR; languages are picked as RFC 9110 says."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import ConfigError
from guardian.messages import (
    LANGUAGES,
    LOCALE_DIRECTORY,
    MAX_HEADER_CHARS,
    PLURAL_FORMS,
    PLURAL_RULES,
    Messages,
    pick_language,
)

CATALOGUES = {
    language: yaml.safe_load((LOCALE_DIRECTORY / f"{language}.yaml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
MESSAGES = Messages.load()


def placeholders(text: str) -> set[str]:
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is not None:
            assert name.isidentifier(), text  # no attributes, no items: a value can't reach into the program
            assert not spec
            assert conversion is None
            names.add(name)
    return names


def test_every_language_has_a_file_and_the_same_keys() -> None:
    assert {path.stem for path in LOCALE_DIRECTORY.glob("*.yaml")} == set(LANGUAGES)
    for language in LANGUAGES:
        assert set(CATALOGUES[language]) == set(CATALOGUES["en"]), language


@pytest.mark.parametrize("key", sorted(CATALOGUES["en"]))
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_the_same_values_and_all_plural_forms(language: str, key: str) -> None:
    text, english = CATALOGUES[language][key], CATALOGUES["en"][key]
    if isinstance(english, dict):
        assert tuple(text) == PLURAL_FORMS[language]
        assert {frozenset(placeholders(form)) for form in text.values()} == {frozenset(placeholders(english["other"]))}
    else:
        assert placeholders(text) == placeholders(english)
        assert text == text.strip()
    # A page in another language must not fall back to English by accident.
    assert language == "en" or text != english or key == "home.version"


# Counts and their CLDR cardinal categories, as the language's grammar has them.
@pytest.mark.parametrize(
    ("language", "form", "counts"),
    [
        ("en", "one", [1]),
        ("en", "other", [0, 2, 5, 11, 21, 101]),
        ("ro", "one", [1]),
        ("ro", "few", [0, 2, 10, 19, 101, 102, 119, 1001]),
        ("ro", "other", [20, 21, 35, 100, 120, 1000]),
        ("ru", "one", [1, 21, 31, 101, 1001]),
        ("ru", "few", [2, 3, 4, 22, 34, 102]),
        ("ru", "many", [0, 5, 11, 12, 14, 20, 25, 100, 111, 112, 1000]),
    ],
)
def test_plural_rules(language: str, form: str, counts: list[int]) -> None:
    assert {PLURAL_RULES[language](count) for count in counts} == {form}


def test_minutes_read_right() -> None:
    assert MESSAGES.get("ro", "wait.minutes", count=1) == "Adică peste 1 minut."
    assert MESSAGES.get("ro", "wait.minutes", count=12) == "Adică peste 12 minute."
    assert MESSAGES.get("ro", "wait.minutes", count=45) == "Adică peste 45 de minute."
    assert MESSAGES.get("ru", "wait.minutes", count=41) == "Это через 41 минуту."
    assert MESSAGES.get("ru", "wait.minutes", count=12) == "Это через 12 минут."


def test_values_are_never_read_as_texts() -> None:
    hostile = "{count} {service.__class__} %s"
    assert hostile in MESSAGES.get("en", "why.service", service=hostile)


def test_unknown_language_is_english_and_unknown_key_is_a_mistake() -> None:
    assert MESSAGES.get("xx", "comfort") == CATALOGUES["en"]["comfort"]
    assert MESSAGES.has("comfort")
    assert not MESSAGES.has("no.such.key")
    with pytest.raises(KeyError):
        MESSAGES.get("en", "no.such.key")
    with pytest.raises(KeyError):
        MESSAGES.get("en", "why.category")


def test_a_broken_catalogue_is_refused(tmp_path: Path) -> None:
    for language in LANGUAGES:
        (tmp_path / f"{language}.yaml").write_text("- a\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        Messages.load(tmp_path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "ro"),
        ("ru", "ru"),
        ("ro-MD,ro;q=0.9,ru;q=0.8,en;q=0.7", "ro"),
        ("en-GB,en;q=0.5", "en"),
        ("fr,ru;q=0.2", "ru"),
        ("fr,de", "ro"),
        ("ru;q=0.3, en;q=0.4", "en"),
        ("EN;Q=1.000", "en"),
        ("en , ru", "en"),
        ("mo", "ro"),  # what Moldovan systems sent once
        ("*", "ro"),
        ("*;q=0.5, en;q=0.4", "ro"),
        ("*;q=0.4, en;q=0.5", "en"),
        ("ro;q=0", "en"),
        ("ro;q=0, *", "en"),
        ("ro;q=0, en;q=0", "ru"),
        ("ro;q=0, en;q=0, ru;q=0", "ro"),
        ("en;q=2", "ro"),
        ("en;q=0.5555", "ro"),
        ("en;q=nan", "ro"),
        ("en;q=1e0", "ro"),
        ("en;q=\u0661", "ro"),
        ("en;level=1", "ro"),
        (",,;;q=,=", "ro"),
        ("x" * MAX_HEADER_CHARS + ",en", "ro"),  # beyond the bound nothing is read
    ],
)
def test_picks_the_language(header: str, expected: str) -> None:
    assert pick_language(header, "ro") == expected


@given(st.text(max_size=3000), st.sampled_from(LANGUAGES))
def test_any_header_gives_a_language(header: str, default: str) -> None:
    assert pick_language(header, default) in LANGUAGES


WEIGHTS = st.integers(0, 1000).map(lambda number: number / 1000)


@given(st.dictionaries(st.sampled_from([*LANGUAGES, "fr", "*"]), WEIGHTS, min_size=1))
def test_no_language_that_is_wanted_more_is_passed_over(wishes: dict[str, float]) -> None:
    header = ", ".join(f"{language};q={weight:.3f}" for language, weight in wishes.items())
    picked = pick_language(header, "ro")
    anything = wishes.get("*", 0.0)
    assert wishes.get(picked, anything) == max(wishes.get(language, anything) for language in LANGUAGES)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("en", "ru"),
        ("en, ro;q=0.1", "ro"),
        ("ro", "ro"),
        ("mo-MD, en", "ro"),
        ("", "ru"),
        ("*", "ru"),
        ("ru;q=0, *", "ro"),
    ],
)
def test_picks_of_what_is_offered(header: str, expected: str) -> None:
    assert pick_language(header, "ru", ("ru", "ro")) == expected
