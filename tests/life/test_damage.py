"""Files of the state directory are damaged: a worn-out card, a disk that lied.

Invariant: the home is filtered, the console opens and says what is wrong; a parent can put things right without a
shell; and what cannot be read is kept beside it until a reset.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from guardian.store.settings import load_household
from tests.gateway.product import ADULT, CHILD, addresses, rcode, require, wait_for
from tests.life.router import router
from tests.web.product import PASSWORD, Served, console

LISTED = "category-adult.guardian.test"
OPEN = "www.any.example"


def damage(path: Path) -> bytes:
    """Overwrite all but the first page with noise; return what stands there now."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + random.Random(6).randbytes(max(len(content) - 4096, 4096)))
    return path.read_bytes()


def is_blocked(box: Served, source: str) -> bool:
    assert rcode(box.ask(OPEN, source=source)) == "NOERROR"
    return addresses(box.ask(LISTED, source=source)) == ["127.0.0.1"]


def storage(box: Served) -> str:
    alerts = box.get("/alerts").json()["alerts"]
    return next((alert["of"] for alert in alerts if alert["kind"] == "storage"), "")


@pytest.mark.parametrize("restarted", [False, True])
def test_settings_and_a_backup(box: Served, restarted: bool) -> None:
    path = box.folder / "state" / "settings.db"
    backup, household = box.get("/backup").text, load_household(str(path))
    if restarted:
        assert box.stop_web() == 0 and box.stop() == 0
    damaged = damage(path)
    if restarted:
        box.start()
        box.start_web()
        assert is_blocked(box, CHILD) and is_blocked(box, ADULT), "the strictest rules for all"
        assert "event=household-refused" in box.log()
        assert "settings.db" in box.status()["household"]["error"]
    else:
        assert is_blocked(box, CHILD) and not is_blocked(box, ADULT), "the rules of before"
    assert storage(box) == "settings"
    assert box.get("/home").status_code == 200
    assert box.patch("/household", {"language": "ru"}).status_code == 503
    assert path.read_bytes() == damaged, "nobody has touched it"
    assert box.post("/restore", backup).status_code == 200
    assert load_household(str(path)) == household
    assert path.with_name("settings.db.damaged").read_bytes() == damaged
    assert storage(box) == "" and box.status()["household"]["error"] == ""
    assert is_blocked(box, CHILD) and not is_blocked(box, ADULT)
    assert box.patch("/devices/tablet", {"name": "Again"}).status_code == 200


def test_settings_and_a_reset(box: Served) -> None:
    path = box.folder / "state" / "settings.db"
    damage(path)
    assert storage(box) == "settings"
    assert box.post("/factory-reset", {"password": PASSWORD}).status_code == 204
    assert load_household(str(path)) is None
    assert not path.with_name("settings.db.damaged").exists(), "it told of the home"
    assert box.anonymous().get("/start").json()["claimed"] is False
    box.parent = box.claim()


def test_key_and_certificate(tmp_path: Path) -> None:
    require("openssl")
    with console(tmp_path, settings={"web": {"tls": {"enabled": True}}}) as box:
        for name in ("key.pem", "certificate.pem"):
            file = tmp_path / "state" / "web" / name
            for content in (b"", file.read_bytes()[:100], b"\xff" * 300):
                assert box.stop_web() == 0
                file.write_bytes(content)
                box.start_web()
                assert box.get("/home").status_code == 200
        assert box.stop_web() == 0
        shutil.rmtree(tmp_path / "state" / "web")
        box.start_web()
        assert box.get("/home").status_code == 200


def test_the_claim_code(tmp_path: Path) -> None:
    with console(tmp_path, {}, claimed=False) as box:
        file = tmp_path / "state" / "claim-code"
        before = box.claim_code()
        assert box.stop_web() == 0
        file.write_text("")
        box.start_web()
        assert "event=claim-code-damaged" in box.web_log()
        assert box.claim_code() != before
        box.parent = box.claim()


def test_the_list_image(box: Served) -> None:
    image = box.folder / "state" / "lists" / "guardian.image"
    aside = image.with_name("cut")
    aside.write_bytes(image.read_bytes()[:1000])
    aside.rename(image)
    box.control("reload")
    assert is_blocked(box, CHILD), "those before are still mapped"
    assert box.status()["lists"]["error"]
    assert box.stop() == 0
    box.start()
    assert is_blocked(box, CHILD), "the built-in ones"
    assert "lists-stale" in {alert["kind"] for alert in box.get("/alerts").json()["alerts"]}
    box.run("sync", "--offline")
    wait_for(lambda: box.status()["lists"]["error"] == "")
    assert is_blocked(box, CHILD)


def test_a_new_box_on_a_broken_disk(tmp_path: Path) -> None:
    """Nobody has claimed it, and nothing can be kept: names resolve, and the console's end says why."""
    with router(tmp_path) as box:
        box.settings["household"] = ""
        box.write()
        (tmp_path / "state" / "lists").mkdir()
        box.flash.unmount()
        box.flash.mount(read_only=True)
        box.start()
        assert rcode(box.ask(OPEN)) == "NOERROR"
        done = box.run("web")
        assert done.returncode == 2
        assert "console.db" in done.stderr and "Traceback" not in done.stderr, done.stderr
