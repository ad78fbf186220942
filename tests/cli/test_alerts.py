"""guardian alerts: grouped attempts of a real history."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from guardian.cli.alerts import _WORDS, describe, name_device, tell
from guardian.devices import Sighting
from guardian.policy.model import Device, Household
from guardian.store.history import HistoryWriter
from guardian.store.history_read import Attempt
from guardian.store.history_record import HELPLINE_BLOCKED, OTHER_KIND, Recorder

Guardian = Callable[..., subprocess.CompletedProcess[str]]
ZONE = ZoneInfo("Europe/Chisinau")
STRANGER = bytes.fromhex("06aabbccddee")
HOME = Household("Europe/Chisinau", ZONE, (), (Device("tablet", "Ana's tablet", "ana", macs=("02:00:5e:10:00:01",)),))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def noted(folder: Path) -> float:
    """A history with attempts of today at noon and of ten days before; returns that noon."""
    now = datetime.now(ZONE).replace(hour=12, minute=0, second=0, microsecond=0).timestamp()
    recorder = Recorder(ZONE)
    recorder.note_attempt("tablet", None, "doh", 3, now - 2)
    recorder.note_attempt("tablet", None, "doh", 9, now)
    recorder.note_attempt("", STRANGER, "unknown-device", 1, now + 1)
    recorder.note_attempt("tablet", None, "vpn", 1, now - 10 * 86400)
    (folder / "state").mkdir()
    writer = HistoryWriter(str(folder / "state" / "history.db"))
    writer.start()
    assert writer.submit(recorder.take((Sighting(STRANGER, now, now, (), "galaxy"),)))
    writer.close()
    return now


def test_for_people(guardian: Guardian, noted: float) -> None:
    done = guardian("alerts")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert lines == [
        "  unnamed device galaxy 06:aa:bb:cc:dd:ee is new in the home: nobody has named it (1 time, 12:00)",
        "  Ana's tablet asked a DNS server of its own over HTTPS (DoH) (12 times, 11:59 to 12:00)",
    ]
    assert "VPN" not in done.stdout
    assert "Ana's tablet tried to open a VPN (1 time, " in guardian("alerts", "--days", "12").stdout


def test_for_programs(guardian: Guardian, noted: float) -> None:
    rows = json.loads(guardian("alerts", "--json").stdout)
    assert rows[1] == {
        "day": datetime.fromtimestamp(noted, ZONE).date().isoformat(), "device": "tablet", "mac": "", "kind": "doh",
        "times": 12, "first": int(noted - 2), "last": int(noted), "name": "Ana's tablet", "words": tell("doh"),
    }  # fmt: skip
    assert [row["mac"] for row in rows] == ["06:aa:bb:cc:dd:ee", ""]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["alerts"], 1, "the alerts cannot be read"),
        (["alerts", "--days", "0"], 2, "'0' is not a number of days (1 to 366)"),
        (["alerts", "--days", "many"], 2, "'many' is not a number of days"),
    ],
)
def test_errors_say_what_to_do(guardian: Guardian, words: list[str], code: int, said: str) -> None:
    done = guardian(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_nothing_happened(guardian: Guardian, folder: Path) -> None:
    (folder / "state").mkdir()
    writer = HistoryWriter(str(folder / "state" / "history.db"))
    writer.start()
    writer.close()
    assert guardian("alerts", "--days", "1").stdout == "no attempts in 1 day\n"
    assert json.loads(guardian("alerts", "--json").stdout) == []


def test_days_have_heads_and_times_are_local() -> None:
    attempts = [
        Attempt("2026-11-21", "tablet", "", "vpn", 2, int(NOON) - 60, int(NOON)),
        Attempt("2026-11-21", "tablet", "", "odd", 1, int(NOON), int(NOON) + 5),
        Attempt("2026-11-20", "", "", "dns", 1, int(NOON) - 86400, int(NOON) - 86400),
    ]
    assert list(describe(attempts, HOME, {})) == [
        "Saturday 2026-11-21",
        "  Ana's tablet tried to open a VPN (2 times, 13:59 to 14:00)",
        "  Ana's tablet tried to get around the filter: odd (1 time, 14:00)",
        "",
        "Friday 2026-11-20",
        "  unnamed device asked a DNS server other than the home's (1 time, 14:00)",
    ]


@pytest.mark.parametrize(
    ("device", "mac", "name"),
    [
        ("tablet", "", "Ana's tablet"),
        ("sold-phone", "", "sold-phone"),
        ("", "02:00:5e:10:00:01", "Ana's tablet"),  # it has got its name since
        ("", "06:aa:bb:cc:dd:ee", "unnamed device galaxy 06:aa:bb:cc:dd:ee"),
        ("", "06:aa:bb:cc:dd:ef", "unnamed device 06:aa:bb:cc:dd:ef"),
    ],
)
def test_names_of_devices(device: str, mac: str, name: str) -> None:
    attempt = Attempt("2026-11-21", device, mac, "doh", 1, 0, 0)
    assert name_device(attempt, HOME, {"06:aa:bb:cc:dd:ee": "galaxy"}) == name


def test_a_helpline_that_is_blocked_is_nobodys_attempt() -> None:
    attempt = Attempt("2026-11-21", "", "", HELPLINE_BLOCKED, 1, int(NOON), int(NOON))
    assert list(describe([attempt], HOME, {}))[1:] == [f"  this home {tell(HELPLINE_BLOCKED)}"]


def test_every_kind_that_the_data_and_the_engine_know_has_words() -> None:
    from guardian.catalogue import load_catalogue

    tags = {tag.removeprefix("bypass:") for tag in load_catalogue().tagged if tag.startswith("bypass:")}
    assert tags | {
        OTHER_KIND,
        HELPLINE_BLOCKED,
        "dot",
        "dns",
        "dns-first",
        "unreadable",
        "conflict",
        "unknown-device",
    } <= set(_WORDS)
