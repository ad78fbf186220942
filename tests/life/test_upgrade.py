"""sysupgrade with and without keeping settings, and the ways back to a box from the carton.

Invariant: with settings kept (the keep list of the package) the family finds everything as it was: password, people,
keys, household, lists, feed, the newest time that the box has known. Without, nothing of the home is left: an open box
with a new claim code.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from guardian.clock import MARK_FILE
from guardian.hotline.feed_state import FeedState, ListState, feed_folder, load_state, save_state
from guardian.store.accounts import is_claimed
from guardian.store.settings import load_household
from tests.gateway.product import CHILD, ROOT, addresses, wait_for
from tests.web.product import PARENT, PASSWORD, Browser, console

KEEP = ROOT / "deploy" / "openwrt" / "guardian" / "files" / "guardian.keep"
STATE = "/etc/guardian"


def kept_by_sysupgrade(state: Path, fresh: Path) -> list[str]:
    """Copy what sysupgrade keeps of the state directory, and return the names of what it leaves behind.

    It runs `find` below each line of the list; the shell has expanded patterns before. Files only.
    """
    patterns = [line.strip() for line in KEEP.read_text().splitlines() if line.startswith(STATE)]
    left = []
    for path in sorted(state.rglob("*")):
        if not path.is_file():
            continue
        name = f"{STATE}/{path.relative_to(state)}"
        lines = [name, *(str(parent) for parent in Path(name).parents)]
        if any(fnmatch.fnmatch(line, pattern) for pattern in patterns for line in lines):
            target = fresh / path.relative_to(state)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        else:
            left.append(str(path.relative_to(state)))
    return left


def settings(folder: Path) -> dict[str, object]:
    """As on OpenWrt: sockets and history in memory, a copy of the history in the state directory."""
    for name in ("run", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "control": {"socket": "state/control.sock"},
        "history": {"path": "tmp/history.db", "snapshot": "state/history.db", "flush_seconds": 0.1},
        "household": "",
    }


@pytest.mark.skipif(not KEEP.exists(), reason="the OpenWrt package is not there")
def test_with_settings_kept(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    with console(old, {}, settings(old)) as box:
        profile = box.post("/profiles", {"name": "Ana", "age_band": "10-12"}).json()["id"]
        tablet = {"name": "Tablet", "profile": profile, "macs": ["02:00:5e:10:00:01"], "addresses": [CHILD]}
        assert box.post("/devices", tablet).status_code == 201
        program = box.token("read")
        secret = program.http.headers["Authorization"]
        box.ask("category-adult.guardian.test")
        wait_for(lambda: box.status()["history"]["batches"] > 0)
        household = load_household(str(old / "state" / "settings.db"))
        session = box.parent.http.cookies["guardian_session"]
    feed = FeedState(
        url="https://feed.example/", version=9, accepted=1_795_000_000.0, lists={"national": ListState(serial=4)}
    )
    feed_folder(old / "state").mkdir()
    save_state(feed_folder(old / "state"), feed)
    left = kept_by_sysupgrade(old / "state", new / "state")
    assert set(left) <= {"gateway.generation", "web.generation"}, "what runs makes these anew"
    with console(new, {}, settings(new)) as box:
        assert box.signed_in(PARENT, PASSWORD).get("/home").status_code == 200
        remembered = Browser(box.base)
        remembered.http.cookies.set("guardian_session", session)
        with remembered.http:
            assert remembered.get("/session").json()["account"]["name"] == PARENT
        assert box.anonymous(headers={"Authorization": secret}).get("/household").status_code == 200
        assert load_household(str(new / "state" / "settings.db")) == household
        assert addresses(box.ask("category-adult.guardian.test")) == ["127.0.0.1"]
        assert not (new / "state" / "claim-code").exists()
        box.parent = box.signed_in()
        assert box.get("/devices").json()["named"][0]["device"]["name"] == "Tablet"
    assert load_state(feed_folder(new / "state")) == feed, "its floors: no older feed is ever believed"
    mark = MARK_FILE
    assert (new / "state" / mark).stat().st_mtime >= (old / "state" / mark).stat().st_mtime, "time does not go back"
    image = Path("lists", "guardian.image")
    assert (new / "state" / image).read_bytes() == (old / "state" / image).read_bytes()


@pytest.mark.parametrize("way", ["sysupgrade -n, firstboot", "the folder is removed while it runs"])
def test_without_settings(tmp_path: Path, way: str) -> None:
    """Nothing of the home is left, and it does not take a person with a shell to begin anew."""
    with console(tmp_path, {}, settings(tmp_path)) as box:
        first = box.parent
        assert box.post("/profiles", {"name": "Wombat", "age_band": "10-12"}).status_code == 201
        if way.startswith("sysupgrade"):
            box.stop_web()
            box.stop()
        (tmp_path / "state").rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone")
        for file in (tmp_path / "tmp").iterdir():
            file.unlink()
        if not way.startswith("sysupgrade"):
            box.kill()
            assert box.stop_web() == 0
        box.start()
        box.start_web()
        assert first.get("/home").status_code == 401
        assert box.anonymous().get("/start").json()["claimed"] is False
        assert not is_claimed(box.store)
        code = box.claim_code()
        box.parent = box.claim("Tata", "another long password")
        assert len(code) == 11 and box.get("/household").json()["set_up"] is False
        found = subprocess.run(["grep", "-rli", "wombat", str(tmp_path / "state")], capture_output=True, check=False)
        assert found.stdout == b""
        assert os.stat(tmp_path / "state").st_mode & 0o7 == 0
