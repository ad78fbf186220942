"""guardian explain: the step that decided, until when, offline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardian.store.history import HistoryWriter
from guardian.store.history_record import Recorder

Guardian = Callable[..., subprocess.CompletedProcess[str]]
NOON = ("--at", "2026-11-23T12:00")  # a Monday


def explain(guardian: Guardian, *words: str) -> Any:
    done = guardian("explain", "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("device", ["tablet", "Ana's Tablet", "02-00-5E-10-00-01", "127.0.0.2"])
def test_a_device_by_any_of_its_names(guardian: Guardian, device: str) -> None:
    found = explain(guardian, "--device", device, "--at", "2026-11-23T21:05", "example.org")
    assert (found["device"], found["profile"], found["at"]) == ("tablet", "ana", "2026-11-23T21:05:00+02:00")
    (name,) = found["names"]
    assert (name["action"], name["reason"], name["until"]) == ("block", "schedule", "2026-11-24T07:00:00+02:00")


def test_steps(guardian: Guardian) -> None:
    wanted = {
        "blocked.example": ("block", "rule"),
        "below.blocked.example": ("allow", "default"),
        "https://www.tiktok.com/@somebody": ("block", "service"),
        "category-gambling.guardian.test": ("block", "category"),
        "mandatory.guardian.test": ("block", "mandatory"),
        "www.google.com": ("rewrite", "safe-search"),
        "use-application-dns.net": ("block", "bypass"),
        "example.org": ("allow", "default"),
    }
    found = explain(guardian, "--profile", "ana", *NOON, *wanted)["names"]
    assert [(name["action"], name["reason"]) for name in found] == list(wanted.values())
    assert found[2]["name"] == "www.tiktok.com"
    assert {"tag": "service:tiktok", "entry": "tiktok.com"} in found[2]["matches"]
    assert found[5]["target"] == "forcesafesearch.google.com"
    assert found[7]["until"] == "2026-11-23T21:00:00+02:00"


def test_minutes_and_dns_first(guardian: Guardian, folder: Path) -> None:
    limits = "minutes: {daily: 60, week: 300}\n    minutes_for: {youtube: 30}\n    strict: yes"
    (folder / "home.yaml").write_text((folder / "home.yaml").read_text().replace("minutes: unlimited", limits, 1))
    words = ("-p", "ana", *NOON, "youtube.com", "example.org")
    told = guardian("explain", *words).stdout
    assert "Minutes used are not known, so none are counted: " in told
    assert "DNS first: only addresses that Guardian's DNS gave" in told
    (folder / "state").mkdir(exist_ok=True)
    recorder = Recorder()
    writer = HistoryWriter(str(folder / "state" / "history.db"), clock=lambda: 1795428000.0)  # that noon
    writer.start()
    for of, minutes in (("", 59.5), ("youtube", 30.0)):
        recorder.note_minutes("2026-11-23", "ana", of, minutes)
    assert writer.submit(recorder.take())
    writer.drain()
    writer.close()
    found = explain(guardian, *words)
    assert (found["strict"], found["minutes_error"]) == (True, "")
    assert found["minutes"] == [
        {"of": "", "used_today": 59.5, "limit_today": 60, "used_week": 59.5, "limit_week": 300},
        {"of": "youtube", "used_today": 30.0, "limit_today": 30, "used_week": 30.0, "limit_week": None},
    ]
    assert [name["rule"] for name in found["names"]] == ["minutes:youtube", "default"]
    assert found["names"][0]["sentence"].startswith("Blocked: the 30 minutes of today for YouTube are used up")
    steps = {step["step"]: step["says"] for step in found["names"][1]["steps"]}
    assert steps["minutes"] == "59 of 60 minutes used, 59 of 300 this week; YouTube: 30 of 30 minutes used"
    assert "not known" not in guardian("explain", *words).stdout
    tomorrow = explain(guardian, "-p", "ana", "--at", "2026-11-24T12:00", "youtube.com")
    assert tomorrow["minutes"][1]["used_today"] == 0 and tomorrow["names"][0]["rule"] != "minutes:youtube"


def test_text_for_people(guardian: Guardian) -> None:
    text = guardian("explain", "-d", "tablet", "--at", "2026-11-23T21:05", "youtube.com").stdout
    assert text.startswith(
        "Ana's tablet (profile Ana), Monday 2026-11-23 21:05, starter lists\n\nyoutube.com\nBlocked: "
    )
    assert text.splitlines()[-1].split() == ["4", "schedule", "block:", "it", "is", "bedtime"]


def test_devices_that_nobody_has_named(guardian: Guardian) -> None:
    found = explain(guardian, "-d", "192.168.1.99", *NOON, "example.org")
    assert (found["device"], found["profile"]) == ("", "guests")


def test_mistakes(guardian: Guardian) -> None:
    for words, said in (
        (["-d", "tablte", "x.com"], "there is no device 'tablte', did you mean 'tablet'?"),
        (["-p", "Anna", "x.com"], "there is no profile 'Anna', did you mean 'Ana'?"),
        (["-p", "ana", "a..b"], "empty label"),
        (["-p", "ana", "x.com", "--at", "noon"], "'noon' is not a moment"),
        (["-p", "ana", "x.com", "--at", "forever"], "'--at' needs a moment"),
    ):
        done = guardian("explain", *words)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_file_alone_is_enough(guardian: Guardian, folder: Path) -> None:
    words = ("explain", "--household", str(folder / "home.yaml"), "-p", "ana", "example.org")
    assert guardian(*words, GUARDIAN_CONFIG="/none.yaml").returncode == 0
    assert guardian(*words[:1], *words[3:], GUARDIAN_CONFIG="/none.yaml").returncode == 2


def test_the_saved_household_counts_and_nothing_is_written(guardian: Guardian, folder: Path) -> None:
    guardian("household", "import", "home.yaml")
    guardian("household", "pause", "--profile", "ana")
    before = sorted(path.name for path in (folder / "state").iterdir())
    (name,) = explain(guardian, "-d", "tablet", "example.org")["names"]
    assert (name["reason"], name["until"]) == ("pause", None)
    assert sorted(path.name for path in (folder / "state").iterdir()) == before
