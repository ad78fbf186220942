"""POSIX TZ strings against the zone database of the system, which carries the same strings for its far future."""

from __future__ import annotations

import copy
import itertools
import pickle
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import TextError
from guardian.policy.posix_tz import parse_posix_tz

ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Chisinau",
    "Europe/Dublin",
    "Europe/Kyiv",
    "Pacific/Chatham",
    "UTC",
]


def _footer(zone: str) -> str:
    """The POSIX TZ string at the end of the zone's TZif file (RFC 8536 section 3.3)."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder) / zone
        if path.is_file():
            return path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode()
    pytest.skip(f"no zone database with {zone} (Debian: tzdata)")


@pytest.mark.parametrize("zone", ZONES)
def test_agrees_with_the_zone_database(zone: str) -> None:
    expected, ours = zoneinfo.ZoneInfo(zone), parse_posix_tz(_footer(zone))
    # In these years the database itself has nothing but the string (Morocco's table goes to 2087).
    for year in (2095, 2096, 2100, 2101):
        moment = datetime(year, 1, 1, tzinfo=UTC)
        days = [moment + timedelta(days=n) for n in range(367)]
        for day, following in itertools.pairwise(days):
            changes = day.astimezone(expected).utcoffset() != following.astimezone(expected).utcoffset()
            for minute in range(0, 2880, 15) if changes else (0,):
                utc = day + timedelta(minutes=minute - 720)
                theirs, mine = utc.astimezone(expected), utc.astimezone(ours)
                assert (mine.replace(tzinfo=None), mine.fold) == (theirs.replace(tzinfo=None), theirs.fold)
                assert (mine.tzname(), mine.dst() != timedelta(0)) == (theirs.tzname(), theirs.dst() != timedelta(0))
                wall = utc.replace(tzinfo=None)
                for fold in (0, 1):  # every wall time: ordinary, skipped and doubled
                    theirs, mine = (wall.replace(tzinfo=tz, fold=fold) for tz in (expected, ours))
                    assert mine.utcoffset() == theirs.utcoffset(), (wall, fold)


@pytest.mark.parametrize(
    ("text", "utc", "wall", "name"),
    [
        ("<+03>-3", "2026-06-01 12:00", "2026-06-01 15:00", "+03"),
        ("EST5EDT", "2026-07-01 12:00", "2026-07-01 08:00", "EDT"),  # no rules: those of the USA
        ("ABC-1:30:15", "2026-07-01 12:00", "2026-07-01 13:30:15", "ABC"),
        # Jn never counts 29 February, n does: 60 is 1 March, or 29 February in a leap year of 0-based days.
        ("AAA0BBB-1,J60/0,J300/0", "2028-02-29 23:59", "2028-02-29 23:59", "AAA"),
        ("AAA0BBB-1,J60/0,J300/0", "2028-03-01 00:00", "2028-03-01 01:00", "BBB"),
        ("AAA0BBB-1,59/0,300/0", "2028-02-29 00:00", "2028-02-29 01:00", "BBB"),
        ("AAA0BBB-1,59/0,300/0", "2027-02-28 23:59", "2027-02-28 23:59", "AAA"),
        # Times below zero and beyond a day (RFC 8536): the day before, and days after.
        ("AAA0BBB-1,M3.5.0/-2,M10.5.0/50", "2026-03-28 21:59", "2026-03-28 21:59", "AAA"),
        ("AAA0BBB-1,M3.5.0/-2,M10.5.0/50", "2026-03-28 22:00", "2026-03-28 23:00", "BBB"),
        ("AAA0BBB-1,M3.5.0/-2,M10.5.0/50", "2026-10-27 00:59", "2026-10-27 01:59", "BBB"),
        ("AAA0BBB-1,M3.5.0/-2,M10.5.0/50", "2026-10-27 01:00", "2026-10-27 01:00", "AAA"),
        # All-year summer time, the example of RFC 8536 section 3.3.1.
        ("EST5EDT,0/0,J365/25", "2026-12-31 23:59", "2026-12-31 19:59", "EDT"),
        ("EST5EDT,0/0,J365/25", "2027-01-01 05:00", "2027-01-01 01:00", "EDT"),
        ("XXX3EDT4,0/0,J365/23", "2028-02-29 12:00", "2028-02-29 08:00", "EDT"),
    ],
)
def test_forms_of_the_string(text: str, utc: str, wall: str, name: str) -> None:
    local = datetime.fromisoformat(utc).replace(tzinfo=UTC).astimezone(parse_posix_tz(text))
    assert (local.replace(tzinfo=None), local.tzname()) == (datetime.fromisoformat(wall), name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "EET",
        "EE-2",
        "EET-25",
        "EET-24",
        "EET-2:60",
        "EET-2EEST,M3.5.0",
        "EET-2EEST,M13.5.0,M10.5.0",
        "EET-2EEST,M3.6.0,M10.5.0",
        "EET-2EEST,M3.0.0,M10.5.0",
        "EET-2EEST,M3.5.7,M10.5.0",
        "EET-2EEST,J0,J300",
        "EET-2EEST,J366,J300",
        "EET-2EEST,366,300",
        "EET-2EEST,M3.5.0/168,M10.5.0",
        "<EET-2",
        "Europe/Chisinau",
        "EET-2\n",
        "EET-٢",
    ],
)
def test_refuses_what_is_no_zone(text: str) -> None:
    with pytest.raises(TextError):
        parse_posix_tz(text)


@given(st.text(alphabet="EST5-+:,./MJ0369<>", max_size=40))
def test_any_text_is_a_zone_or_a_text_error(text: str) -> None:
    try:
        zone = parse_posix_tz(text)
    except TextError:
        return
    for year in (1970, 2026, 9990):
        utc = datetime(year, 10, 25, 1, 30, tzinfo=UTC)
        assert utc.astimezone(zone).astimezone(UTC) == utc


def test_a_zone_is_a_value() -> None:
    zone = parse_posix_tz("EET-2EEST,M3.5.0/3,M10.5.0/4")
    assert zone == parse_posix_tz("EET-2EEST,M3.5.0/3,M10.5.0/4") != parse_posix_tz("UTC0")
    assert len({zone, copy.deepcopy(zone), pickle.loads(pickle.dumps(zone))}) == 1
    assert repr(zone) == "PosixZone('EET-2EEST,M3.5.0/3,M10.5.0/4')"
