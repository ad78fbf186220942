"""The national hotline in the lab's internet: a desk of three people, a web server for its files, a broker for hints.

All of it is the product's own: `guardian hotline` in processes of their own, and Debian's Mosquitto with TLS.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.gateway.product import ROOT, environment, run_tool, wait_for
from tests.netns.lab import plan
from tests.netns.lab.home import Lab, World
from tests.netns.lab.network import RESOLV_FOLDER
from tests.netns.namespaces import inside

FEED, PUSH = plan.SITES["feed.hotline.example"], plan.SITES["push.hotline.example"]
FEED_PORT, PUSH_PORT = 8088, 8883
TOPIC = "guardian/feed"
AUTHORITY, LAW = "Hotline of the lab", "Law 1/2026, article 3"
TEST_NAME = "test.hotline.example"
PEOPLE = {  # of a trial: ana and ion sign lists, maria agrees with large changes
    "ana": "copper lamp seven rivers",
    "ion": "yellow chair nine doors",
    "maria": "green window four boats",
}
_ROUTER, _ROUTER_PASSWORD = "home", "anybody may read it"
_DESK, _DESK_PASSWORD = "desk", "only the desk may write it"
_FACTS = ("--legal-basis", "law_order", "--order-ref", LAW, "--authority", AUTHORITY)
_RELEASED = "Released: "


class Typed(NamedTuple):
    """A command at the desk: what was typed, the lines that came, and when each came (`time.monotonic`)."""

    command: str
    lines: tuple[str, ...]
    times: tuple[float, ...]

    @property
    def released(self) -> float:
        """When the release was in the web server's folder. Raises AssertionError when nothing was released."""
        for line, moment in zip(self.lines, self.times, strict=True):
            if line.startswith(_RELEASED):
                return moment
        raise AssertionError(f"nothing was released: {self.command}: {self.lines}")

    @property
    def proposal(self) -> str:
        """The number of the proposal that was made."""
        found = re.match(r"proposal (\d+):", self.lines[0])
        assert found, self.lines
        return found[1]


class Hotline:
    """A running hotline. `add`, `suspend` and the rest are commands at its desk, typed by the person named."""

    def __init__(self, world: World, folder: Path) -> None:
        self._namespace = world.network.name("internet")
        self._ca = world.ca
        self._certificate = world.folder / "server.pem"  # its key too
        self.folder = folder
        self.desk = folder / "desk"
        self.looked_by_hand = 0.0  # when the box did, last; epoch seconds

    @property
    def root(self) -> Path:
        """The root of trust that comes with the box."""
        return self.desk / "public" / "default" / "metadata" / "1.root.json"

    def settings(self) -> dict[str, Any]:
        """What `guardian.yaml` of a box says of the hotline."""
        push = {
            "broker": f"mqtts://{PUSH.name}:{PUSH_PORT}",
            "topic": TOPIC,
            "user": _ROUTER,
            "password": str(self.folder / "router.password"),
            "ca": str(self._ca),
        }
        return {"url": f"http://{FEED.name}:{FEED_PORT}/default/", "root": str(self.root), "push": push}

    # At the desk

    def add(self, name: str, who: str) -> Typed:
        """Propose a site with all below it."""
        return self.run("add", "--list", "csam-md", "--domain", name, *_FACTS, "--why", "report 17", who=who)

    def suspend(self, number: str, who: str) -> Typed:
        """Propose to stop a block."""
        return self.run("suspend", number, "--why", "the owner has cleaned it", who=who)

    def approve(self, proposal: str, who: str) -> Typed:
        """Agree with a proposal."""
        return self.run("approve", proposal, who=who)

    def publish(self, who: str) -> Typed:
        """Work out the lists and sign them as the first person."""
        return self.run("publish", who=who)

    def sign(self, who: str) -> Typed:
        """Sign as the second person: this releases, and tells routers to look at once."""
        return self.run("sign", "--urgent", "--yes", who=who)

    def run(self, command: str, *words: str, who: str = "") -> Typed:
        """Run a command of the desk and note when its lines come. Raises AssertionError when it fails."""
        signing = ("--as", who, "--password-file", str(self.folder / f"{who}.password")) if who else ()
        shown = shlex.join(["guardian", "hotline", command, *words, *signing[:2]])
        typed = [sys.executable, "-u", "-m", "guardian", "hotline", "--desk", str(self.desk), command, *words, *signing]
        lines, times = [], []
        with subprocess.Popen(
            self._command(*typed),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                times.append(time.monotonic())
        assert process.returncode == 0, f"{shown}: {lines}"
        return Typed(shown, tuple(lines), tuple(times))

    def _command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *words]

    # What runs

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Found the desk, serve its files, start the broker; end them."""
        self._found()
        self._write_broker()
        serve = ("serve", "--listen", f"{FEED.four}:{FEED_PORT}", "--quiet")
        web = [sys.executable, "-m", "guardian", "hotline", "--desk", str(self.desk), *serve]
        mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        assert mosquitto, "Mosquitto is missing: apt-get install mosquitto"
        broker = [mosquitto, "-c", str(self.folder / "mosquitto.conf")]
        with (
            self._process(web, FEED.four, FEED_PORT, "web.log"),
            self._process(broker, PUSH.four, PUSH_PORT, "mosquitto.out"),
        ):
            yield

    def _found(self) -> None:
        for name, password in PEOPLE.items():
            self._write_secret(f"{name}.password", password)
        files = [word for name in PEOPLE for word in ("--password-file", f"{name}={self.folder}/{name}.password")]
        self.run("init", "--trial", "--name", AUTHORITY, "--test-name", TEST_NAME, *files)

    def _write_broker(self) -> None:
        folder = self.folder
        (folder / "passwords").write_text(f"{_ROUTER}:{_ROUTER_PASSWORD}\n{_DESK}:{_DESK_PASSWORD}\n")
        run_tool("mosquitto_passwd", "-U", str(folder / "passwords"))
        (folder / "rights").write_text(f"user {_ROUTER}\ntopic read {TOPIC}\nuser {_DESK}\ntopic readwrite {TOPIC}\n")
        (folder / "mosquitto.conf").write_text(
            f"listener {PUSH_PORT} {PUSH.four}\ncertfile {self._certificate}\nkeyfile {self._certificate}\n"
            f"allow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/rights\n"
            f"persistence false\nuser root\nlog_dest file {folder}/mosquitto.log\n"
        )
        self._write_secret("router.password", _ROUTER_PASSWORD)
        self._write_secret("desk/online/push-password", _DESK_PASSWORD)
        with (self.desk / "desk.yaml").open("a") as settings:
            settings.write(
                f"push:\n  broker: mqtts://{PUSH.name}:{PUSH_PORT}\n  topic: {TOPIC}\n  user: {_DESK}\n"
                f"  password: online/push-password\n  ca: {self._ca}\n"
            )

    def _write_secret(self, place: str, text: str) -> None:
        path = self.folder / place
        path.write_text(f"{text}\n")
        path.chmod(0o600)

    @contextlib.contextmanager
    def _process(self, words: list[str], address: str, port: int, log: str) -> Iterator[None]:
        with (self.folder / log).open("wb") as out:
            process = subprocess.Popen(
                self._command(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(), cwd=ROOT
            )
        try:
            wait_for(lambda: process.poll() is not None or inside(self._namespace, _probe(address, port)), 20)
            assert process.poll() is None, (self.folder / log).read_text()
            yield
        finally:
            process.terminate()
            process.wait(10)


def _probe(address: str, port: int) -> Callable[[], bool]:
    import socket

    def connect() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((address, port)) == 0

    return connect


@contextlib.contextmanager
def open_hotline(world: World, folder: Path) -> Iterator[Hotline]:
    """Run a hotline in the internet of a world, with its files in `folder`, which must be empty."""
    _use_resolver(world, "router", "127.0.0.1")  # the box asks itself
    _use_resolver(world, "internet", plan.wan4(plan.UPSTREAM))
    hotline = Hotline(world, folder)
    with hotline.running():
        yield hotline


def _use_resolver(world: World, role: str, address: str) -> None:
    folder = RESOLV_FOLDER / world.network.name(role)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:3 attempts:2\n")


def fetch_feed(lab: Lab) -> str:
    """Have the box look at the feed for the first time; return what it says. Raises AssertionError when it fails."""
    done = lab.command("sync", "--feed")
    assert done.returncode == 0, done.stdout + done.stderr
    if lab.hotline is not None:
        lab.hotline.looked_by_hand = read_checked(lab)
    return done.stdout.strip()


def read_checked(lab: Lab) -> float:
    """Return when the box has looked at the feed last; epoch seconds."""
    state = lab.guardian.folder / "state" / "hotline" / "state.json"
    return float(json.loads(state.read_text())["checked"])
