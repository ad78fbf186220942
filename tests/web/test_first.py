"""The open box becomes a home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from guardian.config import LANGUAGES
from guardian.errors import TextError
from guardian.home import is_open_household, open_household
from guardian.policy.model import Device, Profile
from guardian.store.console import ConsoleStore
from guardian.web.first import ADULTS, find_timezone, first_language, is_timezone, make_first_household

CHILD = Profile("ana", "Ana", "7-9")


@pytest.mark.parametrize(("language", "key"), [("en", "adults"), ("ro", "adulti"), ("ru", "vzroslye")])
def test_a_child_and_the_adults(language: str, key: str) -> None:
    box = replace(open_household(language), devices=(Device("tv", "TV", "everyone"),), country="md")
    home = make_first_household(box, CHILD, "Europe/Chisinau")
    child, adults = home.profiles
    assert child == CHILD
    assert (adults.id, adults.name, adults.filtered, adults.bypass_protection) == (key, ADULTS[language], False, False)
    assert (home.new_device_profile, home.timezone, home.country, home.language) == (
        "",
        "Europe/Chisinau",
        "md",
        language,
    )
    assert [device.profile for device in home.devices] == [key]
    assert not is_open_household(home)


def test_an_adult_needs_no_other_place() -> None:
    home = make_first_household(open_household("en"), Profile("adults", "Adults", filtered=False), "UTC")
    assert [profile.id for profile in home.profiles] == ["adults"]
    assert not is_open_household(home)


def test_a_child_of_that_name_gets_a_neighbour() -> None:
    home = make_first_household(open_household("en"), Profile("adults", "Adults", "0-6"), "UTC")
    assert [profile.id for profile in home.profiles] == ["adults", "adults-2"]


def test_a_time_zone_that_is_none() -> None:
    with pytest.raises(TextError):
        make_first_household(open_household("en"), CHILD, "Mars/Phobos")


def test_find_timezone(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert find_timezone(str(tmp_path)) == "UTC"
    (etc / "TZ").write_text("EET-2EEST,M3.5.0/3,M10.5.0/4\n")  # OpenWrt
    assert find_timezone(str(tmp_path)) == "EET-2EEST,M3.5.0/3,M10.5.0/4"
    (etc / "timezone").write_text("Europe/Bucharest\n")  # Debian
    assert find_timezone(str(tmp_path)) == "Europe/Bucharest"
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Chisinau")
    assert find_timezone(str(tmp_path)) == "Europe/Chisinau"
    (etc / "localtime").unlink()
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Mars/Phobos")
    (etc / "timezone").write_bytes(b"\xff\xfe nonsense\n")
    assert find_timezone(str(tmp_path)) == "EET-2EEST,M3.5.0/3,M10.5.0/4"


def test_is_timezone() -> None:
    assert is_timezone("Europe/Kyiv")
    assert not any(map(is_timezone, ("", " ", "Europe/Kyiv\n", "../../etc/passwd", "/etc/localtime", "x" * 500)))


def test_the_language_of_the_first_visit(tmp_path: Path) -> None:
    """What the first parent chose, else the home's, and never one that is not offered."""
    store = ConsoleStore(str(tmp_path / "console.db"))
    box = open_household("ro")
    assert first_language(box, store, LANGUAGES) == "ro"
    assert first_language(box, store, ("ru", "en")) == "ru"
    store.set_option("first_language", "en")
    assert first_language(box, store, LANGUAGES) == "en"
    assert first_language(box, store, ("ru", "ro")) == "ru"
