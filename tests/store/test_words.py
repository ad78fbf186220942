"""Days, times, moments, addresses and zones: text and value are exact inverses."""

from __future__ import annotations

import math
import zoneinfo
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import TextError
from guardian.policy.model import FOREVER
from guardian.store.words import (
    format_days,
    format_moment,
    format_time,
    read_country,
    read_days,
    read_device_address,
    read_end,
    read_mac,
    read_moment,
    read_start,
    read_timezone,
)

CHISINAU = ZoneInfo("Europe/Chisinau")
YEAR_9000 = 221_845_392_000.0  # epoch seconds


@given(st.frozensets(st.integers(0, 6), min_size=1))
def test_days_there_and_back(days: frozenset[int]) -> None:
    assert read_days(format_days(days)) == days


@pytest.mark.parametrize(
    ("text", "days", "short"),
    [
        ("mon", {0}, "mon"),
        ("Sunday", {6}, "sun"),
        ("mon-fri", {0, 1, 2, 3, 4}, "mon-fri"),
        ("sun-thu", {6, 0, 1, 2, 3}, "sun-thu"),
        ("sat, sun", {5, 6}, "sat-sun"),
        ("mon,wed,fri-sun", {0, 2, 4, 5, 6}, "wed,fri-mon"),
        ("daily", set(range(7)), "daily"),
        ("mon-sun", set(range(7)), "daily"),
        ("tue-mon", set(range(7)), "daily"),
    ],
)
def test_days(text: str, days: set[int], short: str) -> None:
    assert read_days(text) == days
    assert format_days(frozenset(days)) == short


@pytest.mark.parametrize("text", ["", "mo", "mon-", "-mon", "mon--tue", "mon tue", "1-5", "mon,"])
def test_bad_days(text: str) -> None:
    with pytest.raises(TextError):
        read_days(text)


@given(st.integers(0, 1440))
def test_times_there_and_back(minutes: int) -> None:
    assert read_end(format_time(minutes)) == minutes


@pytest.mark.parametrize("text", ["", "24:01", "25:00", "7", "07:60", "7:5", "-1:00", "07:00:00", "٠٧:٠٠"])
def test_bad_times(text: str) -> None:
    with pytest.raises(TextError):
        read_end(text)


def test_a_window_does_not_begin_at_24() -> None:
    assert read_start("23:59") == 1439
    with pytest.raises(TextError):
        read_start("24:00")


@given(st.integers(0, 253402200000))
def test_moments_there_and_back(moment: int) -> None:
    assert read_moment(format_moment(float(moment), CHISINAU), CHISINAU) == moment


def test_moments() -> None:
    assert read_moment("2026-12-24T21:30", CHISINAU) == datetime(2026, 12, 24, 21, 30, tzinfo=CHISINAU).timestamp()
    assert read_moment("2026-12-24T21:30Z", CHISINAU) == read_moment("2026-12-24T23:30+02:00", CHISINAU)
    assert read_moment("2026-12-24", CHISINAU) == read_moment("2026-12-25T00:00", CHISINAU)
    assert read_moment("forever", CHISINAU) == FOREVER
    assert format_moment(FOREVER, CHISINAU) == "forever"
    assert format_moment(1e300, CHISINAU) == "forever"
    assert read_moment(format_moment(0.5, CHISINAU), CHISINAU) == 1


@given(st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d)?([+-]\d\d:\d\d)?", fullmatch=True))
def test_any_text_is_a_moment_or_a_text_error(text: str) -> None:
    try:
        moment = read_moment(text, CHISINAU)
    except TextError:
        return
    if 0 <= moment < YEAR_9000:
        assert read_moment(format_moment(moment, CHISINAU), CHISINAU) == math.ceil(moment)


@pytest.mark.parametrize("text", ["aa:bb:cc:dd:ee:0f", "AA-BB-CC-DD-EE-0F", "aabb.ccdd.ee0f", "aabbccddee0f"])
def test_macs(text: str) -> None:
    assert read_mac(text) == "aa:bb:cc:dd:ee:0f"


@pytest.mark.parametrize(
    "text", ["", "aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:gg", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", ":aabbccddeeff"]
)
def test_bad_macs(text: str) -> None:
    with pytest.raises(TextError):
        read_mac(text)


def test_device_addresses() -> None:
    assert read_device_address("192.168.1.7/32") == "192.168.1.7"
    assert read_device_address("FD00:0::/64") == "fd00::/64"
    with pytest.raises(TextError, match=r"did you mean '10.0.0.0/8'"):
        read_device_address("10.1.0.0/8")
    with pytest.raises(TextError):
        read_device_address("tablet")


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%a b; flush ruleset", "fe80::/64%x"])
def test_a_device_address_has_no_scope(text: str) -> None:
    """It goes into the rules that root loads, and a scope may hold any text."""
    with pytest.raises(TextError, match="names an interface"):
        read_device_address(text)


def test_utc_needs_no_zone_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router often has none; a household of the first visit, and OpenWrt's own settings, say `UTC`."""
    monkeypatch.setattr(zoneinfo, "ZoneInfo", raise_not_found)
    for text in ("UTC", "Etc/UTC", "GMT", "UTC0"):
        assert datetime(2026, 7, 1, 12, tzinfo=read_timezone(text)).timestamp() == 1_782_907_200
    with pytest.raises(TextError):
        read_timezone("Europe/Chisinau")


def raise_not_found(key: str) -> None:
    raise zoneinfo.ZoneInfoNotFoundError(key)


def test_zones() -> None:
    assert read_timezone("Europe/Chisinau") is CHISINAU
    summer = datetime(2026, 7, 1, tzinfo=read_timezone("EET-2EEST,M3.5.0/3,M10.5.0/4"))
    assert summer.utcoffset() == datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Helsinki")).utcoffset()
    with pytest.raises(TextError, match="did you mean 'Europe/Chisinau'"):
        read_timezone("Europe/Chisinaw")


@pytest.mark.parametrize(
    "text", ["", "Europe", "../etc/passwd", "/etc/localtime", "a\0b", "Europe//Chisinau", "x" * 5000]
)
def test_bad_zones(text: str) -> None:
    with pytest.raises(TextError):
        read_timezone(text)


def test_read_country() -> None:
    assert [read_country(text) for text in ("", "md", "RO")] == ["", "md", "ro"]
    for text in ("m", "mda", "м2", "md\n", " md"):
        with pytest.raises(TextError, match="is not a country"):
            read_country(text)
