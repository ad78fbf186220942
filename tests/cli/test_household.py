"""guardian household: round trip, refusal of broken files, pause, and telling a running gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guardian.control import ControlServer
from guardian.errors import GuardianError

Guardian = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def gateway(path: Path, seen: list[str], refuse: bool = False) -> Iterator[None]:
    """A real control socket that answers `reload`."""

    async def reload(request: dict[str, Any]) -> dict[str, Any]:
        seen.append(request["verb"])
        if refuse:
            raise GuardianError("lists are broken")
        return {}

    async def serve(started: threading.Event, stop: asyncio.Event) -> None:
        server = ControlServer({"reload": reload})
        await server.start(str(path))
        started.set()
        await stop.wait()
        await server.close()

    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(started, stop)))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_export_import_export_is_byte_identical(guardian: Guardian, folder: Path) -> None:
    first = guardian("household", "export").stdout
    (folder / "out.yaml").write_text(first)
    done = guardian("household", "import", "out.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 profiles, 1 device, in force" in done.stdout
    assert "The gateway is not running" in done.stdout
    assert guardian("household", "export", "again.yaml").returncode == 0
    assert (folder / "again.yaml").read_text() == first
    assert not (folder / "again.yaml.new").exists()


def test_a_broken_file_changes_nothing(guardian: Guardian, folder: Path) -> None:
    guardian("household", "import", "home.yaml")
    before = guardian("household", "export").stdout
    done = guardian("household", "import", "-", stdin="timezone: UTC\nprofiles:\n  a: {age: 5}\n  b: {minuts: 4}\n")
    assert done.returncode == 2
    assert done.stderr == (
        "-:3: 'age': '5' is no age band: 0-6, 7-9, 10-12, 13-15, 16-17\n"
        "-:4: 'b': unknown key 'minuts', did you mean 'minutes'?\n"
    )
    assert guardian("household", "export").stdout == before


def test_check_only_writes_nothing(guardian: Guardian, folder: Path) -> None:
    done = guardian("household", "import", "--check", "home.yaml")
    assert (done.returncode, done.stdout) == (0, "home.yaml: 3 profiles, 1 device, no problems\n")
    assert not (folder / "state").exists()


def test_the_running_gateway_is_told(guardian: Guardian, folder: Path) -> None:
    (folder / "state").mkdir()
    seen: list[str] = []
    with gateway(folder / "state" / "control.sock", seen):
        done = guardian("household", "import", "home.yaml")
        assert (done.returncode, seen) == (0, ["reload"])
        assert "The running gateway has taken it." in done.stdout
        assert guardian("household", "pause", "--profile", "ana").returncode == 0
        assert seen == ["reload", "reload"]
    with gateway(folder / "state" / "control.sock", seen, refuse=True):
        done = guardian("household", "import", "home.yaml")
        assert done.returncode == 1
        assert done.stderr == "guardian: saved, but the gateway did not take it: lists are broken\n"


def test_pause_and_resume(guardian: Guardian) -> None:
    def paused() -> dict[str, bool]:
        shown = json.loads(guardian("household", "show", "--json").stdout)
        return {thing["id"]: thing["paused"] for thing in (*shown["profiles"], *shown["devices"]) if thing["paused"]}

    assert paused() == {}
    assert "until somebody resumes it" in guardian("household", "pause", "--profile", "ana").stdout
    assert "paused until" in guardian("household", "pause", "--device", "tablet", "--minutes", "30").stdout
    assert paused() == {"ana": True, "tablet": True}
    assert guardian("household", "resume", "--profile", "ana").returncode == 0
    assert paused() == {"tablet": True}
    done = guardian("household", "pause", "--profile", "anna")
    assert (done.returncode, done.stderr) == (1, "guardian: there is no profile 'anna', did you mean 'ana'?\n")
    assert guardian("household", "pause", "--profile", "ana", "--minutes", "0").returncode == 2


def test_bonus(guardian: Guardian) -> None:
    words = ("household", "bonus", "--profile", "ana")
    done = guardian(*words, "--minutes", "30", "--for", "group:games", "--date", "2026-12-24")
    assert (done.returncode, done.stderr) == (0, "")
    said = "ana: 30 minutes more for group:games on 2026-12-24\nThere is no limit that they could be added to.\n"
    assert done.stdout.startswith(said) and "The gateway is not running" in done.stdout
    assert guardian(*words, "--minutes", "5").returncode == 0
    export = guardian("household", "export").stdout
    assert "- {date: 2026-12-24, minutes: 30, for: 'group:games'}" in export and "minutes: 5}" in export
    for wrong, code, message in (
        (("--minutes", "5", "--for", "games"), 1, "no service group 'games', did you mean 'group:games'?"),
        (("--minutes", "0"), 2, "'0' is not a number of minutes to give"),
        (("--minutes", "5", "--date", "soon"), 2, "'soon' is not a date"),
    ):
        done = guardian(*words, *wrong)
        assert done.returncode == code and message in done.stderr
    assert guardian("household", "export").stdout == export


def test_limits_are_shown(guardian: Guardian, folder: Path) -> None:
    limits = "minutes: {daily: 60, week: 300}\n    minutes_for: {youtube: 30}\n    strict: yes"
    (folder / "home.yaml").write_text((folder / "home.yaml").read_text().replace("minutes: unlimited", limits, 1))
    text = guardian("household", "show").stdout.splitlines()
    line = text[text.index("Ana (ana)") + 1]
    assert ", minutes, " in line and line.endswith(", DNS first")
    ana = json.loads(guardian("household", "show", "--json").stdout)["profiles"][0]
    assert (ana["strict"], ana["minutes"], ana["week_minutes"]) == (True, [60] * 7, 300)
    assert ana["group_minutes"] == [{"of": "youtube", "minutes": [30] * 7, "week": None}]


def test_show(guardian: Guardian) -> None:
    text = guardian("household", "show").stdout
    assert "Ana (ana)\n  age 10-12" in text
    assert "- Ana's tablet (tablet): 02:00:5e:10:00:01, 127.0.0.2" in text
    assert "new devices: guests" in text
