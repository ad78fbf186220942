"""`docs/isp.md`: its commands are typed here on a real home, and its tables tell all that there is to tell.

A block ```console holds commands (`$ ...`) with what they print; `...` stands for lines left out, N for a number.
Blocks ```sh are for a router or ImageBuilder, which are not here.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest

from guardian import __version__
from guardian.cli.health import NOT_RUNNING, make_health
from guardian.config.provisioning import Provisioning
from tests.gateway.product import Running, Upstream, run_guardian, running
from tests.hotline.feed_maker import FeedMaker
from tests.test_hotline_document import fits

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "isp.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "deploy" / "isp" / "health.schema.json").read_text())
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    typed: str
    shown: tuple[str, ...]


def list_commands() -> Iterator[Command]:
    for body in _BLOCK.findall(TEXT):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            typed, *shown = part.rstrip("\n").split("\n")
            yield Command(typed, tuple(shown))


COMMANDS = list(list_commands())


class Desk(NamedTuple):
    """A provider's machine: the folder `isp`, files of rings, and a home to ask."""

    folder: Path
    gateway: Running

    def run(self, typed: str) -> subprocess.CompletedProcess[str]:
        program, *words = shlex.split(typed)
        if program == "guardian":
            return run_guardian(*words, "--config", str(self.gateway.config), cwd=self.folder)
        command = [sys.executable, str(ROOT / program), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder)

    def mask(self, line: str) -> str:
        line = line.replace(str(self.folder), "/srv")
        line = re.sub(r"\b[0-9a-f]{4}(?: [0-9a-f]{4}){15}$", "FINGERPRINT", line)
        return re.sub(r'": -?\d+(,?)$', r'": N\1', line) if '"schema"' not in line else line


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("provider")
    isp = folder / "isp"
    shutil.copytree(ROOT / "deploy" / "isp" / "provider", isp / "provider")
    example = (ROOT / "deploy" / "isp" / "provisioning.yaml").read_text()
    (isp / "provisioning.yaml").write_text(example)
    lines = ["# " * (number < 8) + "\n" for number in range(8)] + ["supprt: 022 000 000\n", "provider: Example Net\n"]
    (isp / "wrong.yaml").write_text("".join(lines))
    maker = FeedMaker(folder / "feed", now=time.time())
    shutil.copy(maker.folder / "metadata" / "1.root.json", isp / "provider" / "root.json")
    (isp / "provider" / "national.txt").write_text("blocked-1.example\nblocked-2.example\n")
    upstream = Upstream("example.com SOA ns.example.com. host.example.com. 1 2 3 4 5")
    home = folder / "home"
    home.mkdir()
    try:
        with running(home, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
            health = json.loads(gateway.run("status", "--health").stdout)
            for name, version in (("ring-1", __version__), ("ring-1-before", "0.0.9")):
                box = health | {"gateway": health["gateway"] | {"version": version}}
                (folder / f"{name}.jsonl").write_text(f"{json.dumps(box)}\n" * 199)
            yield Desk(folder, gateway)
    finally:
        upstream.close()


@pytest.mark.parametrize("command", COMMANDS, ids=[command.typed[:40] for command in COMMANDS])
def test_what_is_typed_prints_what_is_shown(desk: Desk, command: Command) -> None:
    done = desk.run(command.typed)
    came = [desk.mask(line) for line in (done.stdout + done.stderr).splitlines()]
    assert fits(command.shown, came), "\n".join(came)
    assert done.returncode == (2 if "not made" in done.stderr else 0)


def test_every_command_that_can_be_typed_is() -> None:
    programs = {shlex.split(command.typed)[0] for command in COMMANDS}
    assert programs == {"guardian", "deploy/isp/make_overlay.py", "deploy/isp/gate.py"} and len(COMMANDS) == 5


def test_every_problem_is_in_the_table() -> None:
    first_cells = re.findall(r"^\| (`[^|]*`) \|", TEXT, re.MULTILINE)
    told = {code for cell in first_cells for code in re.findall(r"`([^`]+)`", cell)}
    problems = set(SCHEMA["properties"]["problems"]["items"]["enum"])
    assert problems - told == set()
    source = (ROOT / "guardian" / "cli" / "health.py").read_text()
    said = set(re.findall(r'yield "([a-z-]+)"', source)) | set(re.findall(r'"(feed-[a-z-]+)"', source))
    assert problems == said | {"settings-broken", "gateway-down", "gateway-silent"}


def list_keys(shape: Any, before: str = "") -> Iterator[str]:
    hints = get_type_hints(shape)
    for field in fields(shape):
        hint = hints[field.name]
        kinds = [] if get_origin(hint) is tuple else [hint, *get_args(hint)]
        inner = next((kind for kind in kinds if is_dataclass(kind)), None)
        if inner is None:
            yield before + field.name
        elif field.name == "push":
            yield "hotline.push.broker"
        else:
            yield from list_keys(inner, f"{before}{field.name}.")


def test_every_key_of_the_one_file_is_in_the_table() -> None:
    keys = set(list_keys(Provisioning))
    assert {"provider", "claim_code.policy", "upstreams.servers", "hotline.root", "reports"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in TEXT) == []


def test_what_the_health_holds_when_nothing_runs_has_its_words() -> None:
    """The document says that all fields are always there; a schema that is not the product's would show here."""
    made = make_health(None, None, 2e9, NOT_RUNNING)
    assert list(made) == list(SCHEMA["properties"])
