"""The pictures of docs/images: a home with a week behind it, on an afternoon. Run by hand, as root:

.venv/bin/python -m tests.browser.take_documents docs/images
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from guardian.names import parse_name
from guardian.policy.model import Visibility
from guardian.store.history import HistoryWriter
from guardian.store.history_record import Recorder
from tests.browser.box import Box, Browsers, Texts, open_box
from tests.browser.screens import ask, settle
from tests.browser.steps import PASSWORD, add_child, claim, sign_in
from tests.gateway.product import ROOT
from tests.netns.lab import plan
from tests.netns.lab.console import call
from tests.netns.lab.home import World, open_world

AFTERNOON = 18  # the hour by the home's clock, whenever the pictures are taken
MOST_BYTES = 60_000
COLOURS = 128
DAYS = 7
USE = {"youtube": 34.0, "roblox": 22.0, "minecraft": 15.0, "spotify": 6.0}  # minutes of a usual day
SHRINK = """
import sys
from PIL import Image
for file in sys.argv[2:]:
    Image.open(file).convert("RGB").quantize(int(sys.argv[1])).save(file, optimize=True)
"""


def home_offset(now: float) -> int:
    """The hours from UTC at which it is afternoon."""
    return (AFTERNOON - datetime.fromtimestamp(now, UTC).hour + 12) % 24 - 12


def make_household(offset: int) -> dict[str, Any]:
    """A mother, Ana of eleven years and Matei of fourteen."""
    return {
        "timezone": f"Etc/GMT{-offset:+d}",  # POSIX counts the other way round
        "language": "en",
        "country": "md",
        "profiles": {
            "ana": {
                "name": "Ana", "age": "10-12",
                "minutes": {"mon-fri": 120, "sat-sun": 150}, "minutes_for": {"youtube": 60},
                "offline": [
                    {"label": "bedtime", "days": "sun-thu", "from": "21:00", "to": "07:00"},
                    {"label": "bedtime", "days": "fri-sat", "from": "22:30", "to": "08:00"},
                    {"label": "homework", "days": "mon-fri", "from": "15:00", "to": "16:30"},
                ],
            },
            "matei": {"name": "Matei", "age": "13-15"},
            "grown-ups": {"name": "Grown-ups", "filtered": False},
        },
        "devices": {
            "tablet": {"name": "Ana's tablet", "profile": "ana", "macs": [plan.MACS["tablet"]]},
            "matei": {"name": "Matei's phone", "profile": "matei", "macs": ["02:00:5e:77:00:40"]},
            "phone": {"name": "Mama's phone", "profile": "grown-ups", "macs": [plan.MACS["phone"]]},
        },
    }  # fmt: skip


def write_history(file: Path, offset: int, now: float) -> None:
    """A usual week of Ana's tablet, and an afternoon of adverts for gambling."""
    zone = timezone(timedelta(hours=offset))
    chance = random.Random(7)  # the same week each time
    recorder = Recorder(zone)
    for back in range(DAYS):
        day = (datetime.fromtimestamp(now, zone) - timedelta(days=back)).date().isoformat()
        factor = 0.6 if back == 0 else chance.uniform(0.7, 1.4)
        for of, minutes in {"": sum(USE.values()) + 8, **USE}.items():
            recorder.note_minutes(day, "ana", of, minutes * factor)
        for hour in (13, 14, 17, 18, 19):
            moment = now - back * 86400 - (AFTERNOON - hour) * 3600
            if moment > now:
                continue
            for reason, tag, name, most in (
                ("service", "service:tiktok", "www.tiktok.com", 5),
                ("category", "category:tracking", "pixel.example", 4),
                ("default", "", "www.wikipedia.org", 60),
            ):
                action = "allow" if reason == "default" else "block"
                times = chance.randrange(1, most)
                _note(recorder, moment, name, action, reason, tag, times)
    _note(recorder, now - 2400, "lucky-wheel.example", "block", "category", "category:gambling", 37)
    recorder.note_attempt("tablet", None, "vpn", 2, now - 3000)
    writer = HistoryWriter(str(file))
    writer.start()
    assert writer.submit(recorder.take())
    writer.drain()
    assert writer.status().error == ""
    writer.close()


def _note(recorder: Recorder, moment: float, name: str, action: str, reason: str, tag: str, times: int) -> None:
    hour = int(moment) // 3600
    recorder.add(hour, "tablet", parse_name(name), action, reason, tag, times, moment, Visibility.NAMES)


def take_first_visit(box: Box, browsers: Browsers, t: Texts, folder: Path) -> None:
    """The three steps, as they are while somebody fills them in."""
    page = browsers.open("phone", t.language)
    page.goto(box.console)
    settle(page)
    picture(page, folder, "first-visit", 1112)
    claim(page, box, t)
    page.get_by_label(t("setup.child_name"), exact=True).fill("Ana")
    page.get_by_role("radio", name=t("age.10-12")).check()
    add_child(page, t, "Ana", "10-12")
    page.get_by_role("heading", name=t("setup.title_3")).wait_for()
    settle(page)
    others = page.get_by_role("listitem").filter(has_not_text=t("setup.this_device"))
    others.get_by_role("radio", name="Ana").first.check()
    picture(page, folder, "whose-devices", 960)


def take_home(world: World, box: Box, browsers: Browsers, t: Texts, folder: Path) -> None:
    """A home on an afternoon: each page that a parent opens often, and the child's own."""
    zone = make_household(home_offset(time.time()))["timezone"]
    code = box.claim_code()
    body = {"claim_code": code, "name": "Mama", "password": PASSWORD, "language": "en", "timezone": zone}
    assert call(world.phone, "POST", "/claim", body).status == 201
    for device in world.devices:
        device.fetch("https://www.open.example/")
    parent = browsers.open("phone", t.language)
    sign_in(parent, box, t)
    parent.get_by_role("heading", name="Ana", exact=True).wait_for()
    for path, name, height in (
        ("/", "home", 930),
        ("/profiles/ana/hours", "hours", 1290),
        ("/profiles/ana/activity", "activity", 1085),
        ("/alerts", "alerts", 826),
        ("/devices", "devices", 1100),
    ):
        parent.goto(f"{box.console}{path}")
        settle(parent)
        picture(parent, folder, name, height)
    blocked = browsers.open("tablet", t.language)
    blocked.goto("http://www.tiktok.com/")
    picture(blocked, folder, "blocked", 625)
    child = browsers.open("tablet", t.language)
    child.goto(f"{box.console}/me")
    settle(child)
    ask(child, "site", site="www.tiktok.com", message="Everybody in class saw it")
    ask(child, "time", minutes=30)
    child.reload()
    settle(child)
    picture(child, folder, "child", 1300)
    parent.goto(f"{box.console}/requests")
    settle(parent)
    picture(parent, folder, "requests", 840)


def picture(page: Page, folder: Path, name: str, height: int) -> None:
    """Take what a phone shows that is `height` high."""
    page.evaluate("() => document.activeElement?.blur()")
    page.set_viewport_size({"width": 390, "height": height})
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"{name}.png")


def shrink(folder: Path) -> None:
    """Make the pictures small, by Pillow in an environment that goes again."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        subprocess.run([f"{scratch}/bin/pip", "-q", "install", "pillow"], check=True)
        files = sorted(map(str, folder.glob("*.png")))
        subprocess.run([f"{scratch}/bin/python", "-c", SHRINK, str(COLOURS), *files], check=True)
    large = [file for file in files if Path(file).stat().st_size > MOST_BYTES]
    assert not large, large


def main() -> None:
    """Take all pictures into a folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    t = Texts("en")
    with tempfile.TemporaryDirectory() as scratch, open_world(Path(scratch)) as world:
        browsers = Browsers(world, Path(scratch))
        for name in ("new", "lived"):
            (Path(scratch) / name).mkdir()
        with open_box(world, Path(scratch) / "new") as box:
            for device in (world.tablet, world.phone, world.stranger):
                device.fetch("https://www.open.example/")
            take_first_visit(box, browsers, t, folder)
            browsers.close_pages()
        now, state = time.time(), Path(scratch) / "lived" / "state"
        state.mkdir(mode=0o750)
        offset = home_offset(now)
        write_history(state / "history.db", offset, now)
        with open_box(world, Path(scratch) / "lived", make_household(offset)) as box:
            take_home(world, box, browsers, t, folder)
            browsers.close_pages()
        browsers.close()
    shrink(folder)


if __name__ == "__main__":
    main()
