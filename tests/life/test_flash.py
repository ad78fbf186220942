"""The flash of the box is full, read-only, broken, or loses its power; its memory is full.

Invariant: names resolve, what is blocked stays blocked, pages open and say what is wrong; what was acknowledged is
kept; nothing ends, and when there is room again everything goes on without a restart.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import TransportError

from tests.gateway.product import wait_for
from tests.life.router import Router, router, start
from tests.web.product import PARENT, PASSWORD


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Router]:
    with router(tmp_path) as made:
        yield made


def rename(box: Router, name: str) -> int:
    """Rename a device, as a parent does; return the status of the answer, 0 when none came."""
    try:
        return box.patch("/devices/tablet", {"name": name}).status_code
    except TransportError:
        return 0


def name_of_tablet(box: Router) -> str:
    named = box.get("/devices").json()["named"]
    return str(next(each["device"]["name"] for each in named if each["device"]["id"] == "tablet"))


def test_power_cuts_while_parents_change_things(box: Router) -> None:
    """Six cuts at random moments of a stream of changes: each start finds the last name that was acknowledged, or the
    one that was being written.
    """
    start(box)
    chance = random.Random(6)
    number = 0
    for cut in range(6):
        said, tried = name_of_tablet(box), [""]
        over = threading.Event()

        def change(tried: list[str] = tried, over: threading.Event = over) -> None:
            nonlocal said, number
            while not over.is_set():
                number += 1
                tried[0] = f"Tablet {number}"
                if rename(box, tried[0]) != 200:
                    return
                said = tried[0]

        thread = threading.Thread(target=change)
        thread.start()
        before = said
        wait_for(lambda: said != before)  # noqa: B023 - of this turn
        time.sleep(chance.uniform(0.0, 0.4))
        box.power_cut()
        over.set()
        thread.join(40)
        start(box)
        assert name_of_tablet(box) in (said, tried[0]), f"cut {cut}"
        assert box.is_filtered()
        assert not {"storage", "gateway-down"} & set(box.alerts())
    assert number > 12
    assert not list(box.state.glob("*.damaged"))


def test_full_flash(box: Router) -> None:
    start(box)
    box.flash.fill()
    assert box.is_filtered()
    refused = box.patch("/household", {"language": "ru"})
    assert (refused.status_code, refused.json()["code"]) == (503, "storage-full"), refused.text
    assert box.get("/household").json()["language"] == "en"
    assert box.alerts()["storage"] == "full"
    assert box.status()["storage"]["state"] == "full"
    doctor = box.run("doctor").stdout
    assert "has no room left" in doctor
    other = box.signed_in(PARENT, PASSWORD)  # who was not signed in can see it as well
    assert other.get("/home").status_code == 200
    assert other.delete("/session").status_code == 204
    assert other.get("/home").status_code == 401
    pages = box.anonymous().get("!/")
    assert pages.status_code == 200
    box.control("reload")
    assert box.is_filtered()
    # As after a power cut: both start on the full disk.
    box.stop_web()
    assert box.stop() == 0
    start(box)
    assert box.is_filtered() and box.get("/home").status_code == 200
    box.flash.make_room()
    assert box.patch("/household", {"language": "ru"}).status_code == 200
    assert "storage" not in box.alerts()
    assert box.status()["storage"]["state"] == ""


@pytest.mark.parametrize("way", ["remounted", "broken"])
def test_flash_that_becomes_read_only(box: Router, way: str) -> None:
    start(box)
    if way == "broken":
        box.flash.break_down()
    else:
        box.flash.set_read_only()
    assert box.is_filtered()
    refused = box.patch("/household", {"language": "ru"})
    assert (refused.status_code, refused.json()["code"]) == (503, "storage-read-only"), refused.text
    assert box.alerts()["storage"] == "read-only"
    assert box.status()["storage"]["state"] == "read-only"
    assert "is read-only" in box.run("doctor").stdout
    assert box.signed_in(PARENT, PASSWORD).get("/home").status_code == 200
    box.control("reload")
    assert box.is_filtered()
    if way == "remounted":
        box.flash.set_read_only(False)
        assert box.patch("/household", {"language": "ru"}).status_code == 200
        assert "storage" not in box.alerts()


def test_flash_that_is_read_only_at_boot(box: Router) -> None:
    """With a change that a power cut has interrupted: it is undone in memory, and the family's rules hold."""
    start(box)
    assert rename(box, "Before") == 200
    box.kill_all()
    leave_interrupted_change(box.state / "settings.db")
    box.flash.unmount()
    box.flash.mount(read_only=True)
    start(box)
    assert box.is_filtered()
    assert box.status()["household"]["error"] == ""
    assert name_of_tablet(box) == "Before"
    assert rename(box, "After") == 503
    assert box.alerts()["storage"] == "read-only"
    assert box.signed_in(PARENT, PASSWORD).get("/home").status_code == 200


def leave_interrupted_change(path: Path) -> None:
    """Leave what a writer leaves that was killed in the middle of a transaction."""
    import os
    import sqlite3

    if (child := os.fork()) == 0:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE devices SET name = 'lost'")
        connection.executemany("INSERT INTO changes (at, who, what) VALUES (0, '', ?)", [("x" * 5000,)] * 60)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert path.with_name("settings.db-journal").stat().st_size > 0


def test_full_memory(tmp_path: Path) -> None:
    """/tmp is full: no history, no socket at a start. The home is filtered; when there is room, all of it is there."""
    with router(tmp_path) as box:
        start(box)
        fillers = [tmp_path / name / "filler" for name in ("run", "tmp")]
        fill(fillers)
        for number in range(300):
            box.ask(f"n{number}.any.example")
        wait_for(lambda: box.status()["history"]["error"])
        assert box.is_filtered() and "history-off" in box.alerts()
        assert rename(box, "Saved") == 200
        box.kill()
        begin_without_socket(box)
        wait_for(box.is_back, 20)
        for filler in fillers:
            filler.unlink()
        wait_for(lambda: answers(box), 20)
        box.ask(OPEN_LATER)
        wait_for(lambda: box.status()["history"]["error"] == "" and box.status()["history"]["batches"] > 0, 20)
        assert "history-off" not in box.alerts()


OPEN_LATER = "later.any.example"


def fill(fillers: list[Path]) -> None:
    for filler in fillers:
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                continue


def answers(box: Router) -> bool:
    from guardian.errors import GuardianError

    try:
        return bool(box.status())
    except GuardianError:
        return False


def begin_without_socket(box: Router) -> None:
    """Start the gateway where no control socket can be made, so that nobody can be asked whether it runs."""
    import subprocess
    import sys

    from tests.gateway.product import environment

    with open(box.folder / "log", "ab") as log:
        box.process = subprocess.Popen(
            [sys.executable, "-m", "guardian", "gateway", "--replace", "--config", str(box.config)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=box.folder, env=environment(),
        )  # fmt: skip
