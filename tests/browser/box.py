"""A Guardian box as it comes out of the carton, in the lab's home, and the phones and tablets that open its pages.

with open_box(world, folder) as box, browsers(world, folder) as browsers:
    page = browsers.open("phone", "ro")
    page.goto(box.console)
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from guardian.control import send
from guardian.errors import GuardianError
from tests.gateway.product import ROOT, compile_starter_image, environment
from tests.netns.lab import plan
from tests.netns.lab.home import World, settings

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=DnsOverHttps,MediaRouter,OptimizationHints",
)
HOSTNAMES = {"tablet": "Ana-tablet", "phone": "pixel-8", "stranger": "smart-tv"}
PORT = 8080
START_SECONDS = 40.0


class Box:
    """`guardian run` on the lab's router: gateway with flow filter, and console."""

    def __init__(self, world: World, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.world = world
        self.folder = folder
        self.process = process
        self.console = f"http://guardian.home.arpa:{PORT}"
        self.socket = str(folder / "state" / "control.sock")

    def log(self) -> str:
        """What all processes of the box have written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """What the gateway tells. Raises GuardianError."""
        return send(self.socket, "status")

    def claim_code(self) -> str:
        """The code as the terminal showed it."""
        deadline = time.monotonic() + 15.0
        while not (found := re.search(r"\b([0-9A-Z]{5}-[0-9A-Z]{5})\b", self.log())):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return found[1]


@contextlib.contextmanager
def open_box(
    world: World, folder: Path, household: dict[str, Any] | None = None, more: Mapping[str, Any] | None = None
) -> Iterator[Box]:
    """Start `guardian run` on the router; without `household` nobody has set anything."""
    world.on("router", "conntrack", "-F")
    lists = folder / "state" / "lists"
    lists.mkdir(parents=True)
    (lists / "guardian.image").write_bytes(compile_starter_image())
    (folder / "leases").write_text(
        "".join(
            f"{int(time.time()) + 86400} {plan.MACS[role]} {plan.home4(role)} {name} *\n"
            for role, name in HOSTNAMES.items()
        )
    )
    values = {
        "state": "state",
        "language": "en",
        "history": {"flush_seconds": 0.2},
        **settings(filter=True),
        "web": {"listen": [f"{plan.home4('router')}:{PORT}"]},
        **(more or {}),
    }
    values["local"] = {"leases": [str(folder / "leases")]}
    if household is not None:
        values["household"] = "home.yaml"
        (folder / "home.yaml").write_text(yaml.safe_dump(household, allow_unicode=True))
    config = folder / "guardian.yaml"
    config.write_text(yaml.safe_dump(values))
    command = ["ip", "netns", "exec", world.network.name("router")]
    command += [sys.executable, "-m", "guardian", "run", "--offline", "--config", str(config)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment()
        )
    box = Box(world, folder, process)
    try:
        _wait_until_up(box)
        yield box
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"the box does not end\n{box.log()}") from None
    assert "Traceback" not in box.log(), box.log()


def _wait_until_up(box: Box) -> None:
    deadline = time.monotonic() + START_SECONDS
    address = f"http://{plan.home4('router')}:{PORT}/api/v1/start"
    while True:
        try:
            box.status()
            if box.world.phone.run("curl", "-sf", address).returncode == 0:
                return
        except GuardianError:
            pass
        assert box.process.poll() is None and time.monotonic() < deadline, box.log()
        time.sleep(0.1)


class Browsers:
    """One Chromium a device, each in the device's namespace: its questions and packets go through the box."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._driver = sync_playwright().start()
        self._browsers: dict[str, Browser] = {}
        self._contexts: list[BrowserContext] = []

    def open(
        self, role: str, language: str = "en", width: int = 390, height: int = 844, dark: bool = False, **more: Any
    ) -> Page:
        """A new page with cookies of its own, in the wished language, on the device of a role."""
        context = self._browser(role).new_context(
            locale={"ro": "ro-MD", "ru": "ru-MD", "en": "en-GB"}[language],
            timezone_id="Europe/Chisinau",
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **more,
        )
        context.set_default_timeout(10_000)
        self._contexts.append(context)
        return context.new_page()

    def _browser(self, role: str) -> Browser:
        if role not in self._browsers:
            namespace = self._world.network.name(role)
            start = self._folder / f"chromium-{role}"
            start.write_text(f'#!/bin/sh\nexec ip netns exec {namespace} {CHROMIUM} "$@"\n')
            start.chmod(0o755)
            self._browsers[role] = self._driver.chromium.launch(executable_path=str(start), args=list(FLAGS))
        return self._browsers[role]

    def take_pictures(self, name: str) -> list[str]:
        """Take a picture of each open page; return the files."""
        files = []
        for page in [page for context in self._contexts for page in context.pages]:
            file = self._folder / f"{re.sub(r'[^a-z0-9_-]+', '-', name)}-{len(files)}.png"
            page.screenshot(path=file, full_page=True)
            files.append(str(file))
        return files

    def close_pages(self) -> None:
        """End all pages, so that the next test starts without cookies."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    def close(self) -> None:
        """End all browsers."""
        for browser in self._browsers.values():
            browser.close()
        self._driver.stop()


class Texts:
    """What the pages say in one language, by the keys of `webui/src/locale`: a test finds a button as a person does."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts: dict[str, Any] = {}
        for file in sorted((ROOT / "webui" / "src" / "locale" / language).glob("*.json")):
            self._texts |= json.loads(file.read_text(encoding="utf-8"))

    @property
    def keys(self) -> set[str]:
        """The keys: none of them may stand on a page."""
        return set(self._texts)

    def __call__(self, key: str, **values: str | int) -> str:
        """The text of a key; of plural forms the one for `count`."""
        text = self._texts[key]
        if not isinstance(text, str):
            from guardian.messages import PLURAL_RULES

            text = text[PLURAL_RULES[self.language](int(values["count"]))]
        return re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), text)
