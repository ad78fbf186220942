"""An older Guardian comes back, and finds what a newer one wrote.

Invariant: it says which file, and what to do; it changes none of them; and the home is filtered meanwhile. Only the
history is put aside and begun anew: minutes have to be counted.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from guardian.store.history_read import HistoryReader
from tests.gateway.product import ADULT, CHILD, addresses, assert_clean, rcode, run_guardian, wait_for
from tests.web.product import Served

LISTED = "category-adult.guardian.test"  # in the starter lists: blocked for every child
OPEN = "www.any.example"


def write_future(path: Path) -> bytes:
    """Let a database be of a form that nobody knows yet; return its bytes."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'future', 0)")
    return path.read_bytes()


def stop(box: Served) -> None:
    assert box.stop_web() == 0 and box.stop() == 0


def is_filtered(box: Served, source: str = CHILD) -> bool:
    return (
        addresses(box.ask(LISTED, source=source)) == ["127.0.0.1"] and rcode(box.ask(OPEN, source=source)) == "NOERROR"
    )


def test_settings(box: Served) -> None:
    stop(box)
    path = box.folder / "state" / "settings.db"
    before = write_future(path)
    checked = box.run("check")
    assert checked.returncode != 0
    told = checked.stdout + checked.stderr
    assert "settings.db" in told and "newer Guardian" in told and "install that version again" in told
    box.start()
    assert is_filtered(box) and is_filtered(box, ADULT), "nobody knows whose a device is: the strictest rules for all"
    assert "newer Guardian" in box.status()["household"]["error"]
    box.start_web()  # whoever was signed in still is
    alerts = {alert["kind"]: alert for alert in box.get("/alerts").json()["alerts"]}
    assert (alerts["storage"]["of"], alerts["storage"]["priority"]) == ("settings", "high")
    refused = box.patch("/devices/tablet", {"name": "x"})
    assert refused.status_code >= 400
    backup = box.get("/backup").text
    restored = box.post("/restore", backup)
    assert restored.status_code == 422 and "newer Guardian" in restored.text, "it is for people to move that file away"
    assert "household-refused" in box.log() and path.read_bytes() == before
    doctor = box.run("doctor").stdout
    assert "newer Guardian" in doctor
    # The newer Guardian comes back.
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM migrations WHERE version = 99")
    box.control("reload")
    assert box.status()["household"]["error"] == ""
    assert "storage" not in {alert["kind"] for alert in box.get("/alerts").json()["alerts"]}
    assert box.patch("/devices/tablet", {"name": "Again"}).status_code == 200


def test_the_consoles_own_data(box: Served) -> None:
    assert box.stop_web() == 0
    path = box.folder / "state" / "console.db"
    before = write_future(path)
    for words in (("web",), ("account", "list")):
        refused = run_guardian(*words, "--config", str(box.config), cwd=box.folder)
        assert refused.returncode != 0
        assert "console.db" in refused.stderr and "newer Guardian" in refused.stderr, refused.stderr
        assert_clean(refused.stderr)
    assert path.read_bytes() == before
    assert is_filtered(box)
    box.web = None


def test_the_history(box: Served) -> None:
    """Minutes are counted again at once; what was there is kept beside it, until it is too old or parents erase it."""
    for _ in range(3):
        box.ask(LISTED)
    path, copy = box.folder / "tmp" / "history.db", box.folder / "state" / "history.db"
    wait_for(lambda: box.status()["history"]["batches"] > 0)
    stop(box)
    assert copy.exists()
    for file in (path, copy):
        write_future(file)
    kept = copy.read_bytes()
    path.unlink()  # as /tmp after a boot: it comes back from the copy
    box.start()
    box.ask(LISTED)

    def counts() -> int:
        with HistoryReader(str(path)) as history:
            return history.totals(0).blocked

    wait_for(lambda: box.status()["history"]["batches"] > 0 and counts() == 1)
    assert box.status()["history"]["error"] == ""
    assert copy.with_name("history.db.newer").read_bytes() == kept
    assert "event=history-newer" in box.log()
    box.start_web()
    assert box.get("/alerts").status_code == 200
    assert box.post("/factory-reset", {"password": "correct horse battery"}).status_code == 204
    left = [file.name for file in (*path.parent.iterdir(), *copy.parent.iterdir()) if ".newer" in file.name]
    assert left == []


def test_lists(box: Served) -> None:
    """The built-in names are blocked until the next update, which makes the lists anew."""
    stop(box)
    image = box.folder / "state" / "lists" / "guardian.image"
    content = bytearray(image.read_bytes())
    struct.pack_into("<H", content, 8, 9)  # behind the eight bytes that say what it is
    image.write_bytes(content)
    box.start()
    assert is_filtered(box)
    status = box.status()["lists"]
    assert "version 9" in status["error"] and status["starter_only"]
    assert "version 9" in box.run("doctor").stdout
    assert image.read_bytes() == bytes(content)
    box.run("sync", "--offline")
    assert box.status()["lists"]["error"] == "" and is_filtered(box)
    box.start_web()


def test_what_the_feed_left(box: Served) -> None:
    """Facts that this Guardian does not know are not lost to it: it goes on from the rest."""
    from guardian.hotline.feed_state import FeedState, feed_folder, load_state, save_state

    folder = feed_folder(box.folder / "state")
    folder.mkdir()
    save_state(folder, FeedState(url="https://feed.example/", version=7, accepted=1_795_000_000.0))
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"of_the_future": {"x": [1]}}))
    found = load_state(folder)
    assert found is not None and (found.version, found.accepted) == (7, 1_795_000_000.0)
    shutil.rmtree(folder)
