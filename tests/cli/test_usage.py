"""guardian usage: minutes of a real history against the limits of a household."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from guardian.cli.usage import format_minutes
from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_record import Recorder

Guardian = Callable[..., subprocess.CompletedProcess[str]]
DAY = date(2025, 11, 19)  # a Wednesday

HOUSEHOLD = """\
timezone: Europe/Chisinau
new_devices: ana
profiles:
  ana:
    name: Ana
    age: 10-12
    minutes: {daily: 120, week: 600}
    minutes_for: {youtube: 60, group:games: 30}
    bonus: [{date: 2025-11-19, minutes: 15}, {date: 2025-11-19, minutes: 20, for: group:games}]
  ion: {name: Ion, age: 13-15, minutes: unlimited, minutes_for: {tiktok: 30}, visibility: counts}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Ana's tablet, profile: ana, macs: ["02:00:5e:10:00:01"]}
  phone: {name: Ana's phone, profile: ana, macs: ["02:00:5e:10:00:02"]}
  laptop: {name: Ion's laptop, profile: ion, macs: ["02:00:5e:10:00:03"]}
"""


def note(folder: Path, day: date) -> None:
    """What a gateway would have written on that day and the Monday before."""
    recorder = Recorder()
    for profile, of, minutes in (
        ("ana", "", 85.5), ("ana", "youtube", 60.0), ("ana", "group:video", 61.0), ("ana", "roblox", 20.0),
        ("ana", "group:games", 20.0), ("ion", "", 200.0), ("ion", "tiktok", 0.5), ("ion", "youtube", 90.0),
        ("gone", "", 5.0),
    ):  # fmt: skip
        recorder.note_minutes(day.isoformat(), profile, of, minutes)
    monday = day - timedelta(days=day.weekday())
    if monday != day:
        recorder.note_minutes(monday.isoformat(), "ana", "", 100.0)
    recorder.note_minutes((monday - timedelta(days=1)).isoformat(), "ana", "", 1000.0)
    for device, service, minutes in (("tablet", "", 80.0), ("tablet", "youtube", 60.0), ("laptop", "", 200.0)):
        recorder.note_device_minutes(day.isoformat(), device, service, minutes, Visibility.NAMES)
    (folder / "state").mkdir(exist_ok=True)
    writer = HistoryWriter(
        str(folder / "state" / "history.db"),
        clock=lambda: datetime(2025, 11, 19, 12, tzinfo=ZoneInfo("UTC")).timestamp(),
    )
    writer.start()
    assert writer.submit(recorder.take())
    writer.close()


@pytest.fixture
def home(folder: Path) -> Path:
    (folder / "home.yaml").write_text(HOUSEHOLD)
    return folder


def test_a_day_for_people(guardian: Guardian, home: Path) -> None:
    note(home, DAY)
    done = guardian("usage", "--day", "2025-11-19")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Wednesday 2025-11-19\n"
        "\nAna (ana)\n"
        "  all              1 h 25 min of 2 h 15 min (15 min bonus), this week 3 h 5 min of 10 h 15 min\n"
        "  group video      1 h 1 min\n"
        "  group games      20 min of 50 min (20 min bonus)\n"
        "  YouTube          1 h of 1 h\n"
        "  Roblox           20 min\n"
        "  on Ana's tablet  1 h 20 min\n"
        "\nIon (ion)\n"
        "  all              3 h 20 min\n"
        "  TikTok           under 1 min of 30 min\n"
        "  on Ion's laptop  3 h 20 min\n"
        "\nParents (parents)\n"
        "  all  0 min\n"
    )


def test_today_tells_what_is_left(guardian: Guardian, home: Path) -> None:
    today = datetime.now(ZoneInfo("Europe/Chisinau")).date()
    note(home, today)
    done = guardian("usage", "Ana")
    if datetime.now(ZoneInfo("Europe/Chisinau")).date() != today:
        pytest.skip("midnight passed")
    lines = {line.split("  ")[1]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert lines["all"].endswith(" left")
    assert lines["group games"].split("  ")[-1] == "20 min of 30 min, 10 min left"
    assert lines["YouTube"].split("  ")[-1] == "1 h of 1 h, used up"
    assert "Ion" not in done.stdout


def test_for_programs(guardian: Guardian, home: Path) -> None:
    note(home, DAY)
    tree = json.loads(guardian("usage", "ana", "--day", "2025-11-19", "--json").stdout)
    assert tree["day"] == "2025-11-19"
    (ana,) = tree["profiles"]
    assert (ana["id"], ana["name"]) == ("ana", "Ana")
    assert ana["used"][0] == {
        "of": "", "minutes": 85.5, "limit": 135, "bonus": 15, "left": 49.5, "week_minutes": 185.5, "week_limit": 615,
    }  # fmt: skip
    assert [row["of"] for row in ana["used"]] == ["", "group:video", "group:games", "youtube", "roblox"]
    assert ana["devices"] == [
        {"id": "tablet", "name": "Ana's tablet", "minutes": 80.0, "services": {"youtube": 60.0}},
        {"id": "phone", "name": "Ana's phone", "minutes": 0, "services": {}},
    ]


def test_a_profile_that_shows_counts_tells_only_what_has_a_limit(guardian: Guardian, home: Path) -> None:
    note(home, DAY)
    (ion,) = json.loads(guardian("usage", "ion", "--day", "2025-11-19", "--json").stdout)["profiles"]
    assert [(row["of"], row["minutes"], row["left"]) for row in ion["used"]] == [
        ("", 200.0, None),
        ("tiktok", 0.5, 29.5),
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["usage", "anna"], 1, "there is no profile 'anna', did you mean 'ana'?"),
        (["usage", "--day", "yesterday"], 2, "'yesterday' is not a day like 2026-11-20"),
        (["usage"], 1, "the minutes used cannot be read"),
    ],
)
def test_errors_say_what_to_do(guardian: Guardian, home: Path, words: list[str], code: int, said: str) -> None:
    done = guardian(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0, "0 min"), (0.2, "under 1 min"), (1, "1 min"), (59.99, "59 min"), (60, "1 h"), (125.5, "2 h 5 min")],
)
def test_minutes_in_words(minutes: float, text: str) -> None:
    assert format_minutes(minutes) == text
