"""The overlay of an image: what a provider says is checked as a box would, and what is wrong makes none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from guardian.config import load_config
from guardian.config.values import Strategy
from tests.hotline.feed_maker import FeedMaker

ISP = Path(__file__).parents[3] / "deploy" / "isp"
SCRIPT = ISP / "make_overlay.py"
_spec = importlib.util.spec_from_file_location("make_overlay", SCRIPT)
assert _spec is not None and _spec.loader is not None
make_overlay: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_overlay)


@pytest.fixture(scope="session")
def root_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    return FeedMaker(folder, now=time.time()).folder / "metadata" / "1.root.json"


@pytest.fixture
def desk(tmp_path: Path, root_json: Path) -> Path:
    """A provider's folder: the example of the repository, and the files that it names."""
    folder = tmp_path / "isp"
    (folder / "provider").mkdir(parents=True)
    shutil.copy(ISP / "provisioning.yaml", folder)
    shutil.copy(root_json, folder / "provider" / "root.json")
    (folder / "provider" / "national.txt").write_text("blocked-1.example\n# a comment\nblocked-2.example\n")
    return folder


def run(desk: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Type the command, from some other folder."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(desk / "provisioning.yaml"), str(desk / "overlay"), *words],
        capture_output=True, text=True, timeout=60, check=False, cwd=desk.parent,
    )  # fmt: skip


def list_overlay(desk: Path) -> list[str]:
    folder = desk / "overlay"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


ALL = [
    "etc/config/guardian",
    "etc/guardian/provider/national.txt",
    "etc/guardian/provider/root.json",
    "etc/guardian/provisioning.yaml",
    "etc/uci-defaults/60_guardian_provider",
    "usr/lib/guardian/claim-code",
]


def test_the_example_is_made(desk: Path, root_json: Path) -> None:
    (desk / "provider" / "notes.txt").write_text("not for boxes")
    done = run(desk)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert list_overlay(desk) == ALL
    assert "mandatory list national.txt: 2 entries" in done.stdout
    assert "root of trust: version 1, 3 people sign. Compare by phone: " in done.stdout
    assert f"FILES={desk / 'overlay'}" in done.stdout and "/tmp/guardian-box" not in done.stdout
    overlay = desk / "overlay"
    assert (overlay / "etc/guardian/provider/root.json").read_bytes() == root_json.read_bytes()
    modes = {name: (overlay / name).stat().st_mode & 0o777 for name in ALL}
    assert {name for name, mode in modes.items() if mode == 0o755} == set(ALL[4:])
    assert {modes[name] for name in ALL[:4]} == {0o644}
    assert sorted(path.name for path in desk.iterdir()) == ["overlay", "provider", "provisioning.yaml"]


def test_a_box_with_it_has_what_the_provider_says(desk: Path, tmp_path: Path) -> None:
    """The overlay's own files, read as the box reads them, with its folders named for this machine."""
    assert run(desk).returncode == 0
    box = tmp_path / "box"
    shutil.copytree(desk / "overlay", box)
    settings = box / "etc" / "config" / "guardian"
    settings.write_text(make_overlay.settle(settings.read_text(), box))
    config = load_config(str(settings))
    assert (config.provider, config.languages, config.language) == ("Example Net", ("ro", "ru", "en"), "ro")
    assert config.block.support == "022 000 000, support@example.net"
    assert config.upstreams.servers[0].label.startswith("tls://dns.example.net")
    assert config.upstreams.strategy is Strategy.FAILOVER
    assert config.web.claim_code == str(box / "etc/guardian/label-code")
    assert config.hotline.root == str(box / "etc/guardian/provider/root.json")
    assert [(entry.name, entry.provider) for entry in config.lists.mandatory] == [("national", "Example Net")]
    assert config.web.reports.startswith("https://reports.")


def change(file: str, old: str, new: str) -> Callable[[Path], None]:
    def act(desk: Path) -> None:
        path = desk / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return act


def write(file: str, data: bytes) -> Callable[[Path], None]:
    def act(desk: Path) -> None:
        (desk / file).parent.mkdir(parents=True, exist_ok=True)
        (desk / file).write_bytes(data)

    return act


def line_of(text: str) -> int:
    """The line of the example on which a text stands."""
    lines = (ISP / "provisioning.yaml").read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(text)]
    return found


SAID = "provisioning.yaml"
WRONG: list[tuple[Callable[[Path], None], str]] = [
    (change(SAID, "provider: Example", "providr: Example"), f"{SAID}:{line_of('provider: Ex')}: "),
    (change(SAID, "[ro, ru, en]", "[ro, xx]"), f"{SAID}:{line_of('languages')}: "),
    (change(SAID, "policy: label", "policy: sticker"), f"{SAID}:{line_of('policy')}: "),
    (change(SAID, "file: label-code", "file: /etc/code"), f"{SAID}:{line_of('file: label')}: write 'file: label-code'"),
    (change(SAID, "@192.0.2.53,", "@192.0.2.530,"), f"{SAID}:{line_of('- tls://dns.example')}: "),
    (change(SAID, "provider/national.txt", "/etc/shadow"), f"{SAID}:{line_of('- {name: nat')}: '/etc/shadow' must lie"),
    (change(SAID, "provider/national.txt", "provider/../x"), f"{SAID}:{line_of('- {name: nat')}: 'provider/../x'"),
    (change(SAID, "provider/root.json", "provider/other.json"), f"{SAID}:{line_of('root:')}: "),
    (change(SAID, "mqtts://push", "mqtt://push"), f"{SAID}:{line_of('broker')}: "),
    (write("provider/root.json", b"{}"), f"{SAID}:{line_of('root:')}: "),
    (write("provider/root.json", b""), f"{SAID}:{line_of('root:')}: "),
    (write("provider/root.json", b"\xff" * 99), f"{SAID}:{line_of('root:')}: "),
    (change("provider/root.json", '"version":1', '"version":2'), "is no root of trust: "),
    (write("provider/national.txt", b"# none yet\n"), "there is no name in it"),
    (write("provider/national.txt", b"a.example\nhalf a line\n"), "national.txt:2: "),
    (write("provider/national.txt", b"".join(b"not a name %d\n" % n for n in range(9))), "and 4 more such lines"),
    (write(SAID, b"\xff\xfe"), f"{SAID}"),
    (write(SAID, b""), f"{SAID}"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_line_and_makes_none(
    desk: Path, act: Callable[[Path], None], words: str
) -> None:
    act(desk)
    done = run(desk)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.endswith(f"{desk / 'overlay'}: not made\n") and not (desk / "overlay").exists()
    assert not list(desk.glob(".overlay-*"))


def test_metadata_of_another_role_is_no_root(desk: Path, root_json: Path) -> None:
    shutil.copy(root_json.parent / "timestamp.json", desk / "provider" / "root.json") if (
        root_json.parent / "timestamp.json"
    ).exists() else (desk / "provider" / "root.json").write_text('{"signed": {"_type": "timestamp"}, "signatures": []}')
    done = run(desk)
    assert done.returncode == 2 and "is no root of trust" in done.stderr


def test_a_wrong_provisioning_leaves_the_overlay_before(desk: Path) -> None:
    assert run(desk).returncode == 0
    before = {name: (desk / "overlay" / name).read_bytes() for name in ALL}
    (desk / "provider" / "national.txt").write_text("half a line\n")
    assert run(desk).returncode == 2
    assert {name: (desk / "overlay" / name).read_bytes() for name in list_overlay(desk)} == before
    (desk / "provider" / "national.txt").write_text("blocked-9.example\n")
    (desk / "overlay" / "etc" / "stale").write_text("of an older overlay")
    assert run(desk).returncode == 0
    assert list_overlay(desk) == ALL
    assert b"blocked-9" in (desk / "overlay/etc/guardian/provider/national.txt").read_bytes()


def test_a_folder_of_somebody_else_is_left_alone(desk: Path) -> None:
    (desk / "overlay").mkdir()
    (desk / "overlay" / "thesis.txt").write_text("years of work")
    done = run(desk)
    assert done.returncode == 2 and "it is there and no overlay" in done.stderr
    assert list_overlay(desk) == ["thesis.txt"]


def test_settings_of_ones_own_are_checked_with_their_lines(desk: Path) -> None:
    settings = desk / "our.config"
    text = make_overlay.PACKAGED_SETTINGS.read_text()
    settings.write_text(text.replace("option size_mb '8'", "option size_mb 'lots'"))
    line = next(n for n, written in enumerate(text.splitlines(), 1) if "size_mb" in written)
    done = run(desk, "--settings", str(settings))
    assert done.returncode == 2 and f"{settings}:{line}: " in done.stderr, done.stderr
    settings.write_text(text)
    done = run(desk, "--settings", str(settings))
    assert done.returncode == 0, done.stderr
    assert f"{settings}:" in done.stdout and "does not hold: Example Net sets it" in done.stdout
    assert (desk / "overlay" / "etc" / "config" / "guardian").read_text() == text
    assert run(desk, "--settings", str(desk / "none")).returncode == 2


def test_the_packages_settings_lose_what_the_provider_says_anyway(desk: Path) -> None:
    done = run(desk)
    assert "does not hold" not in done.stdout
    assert "config upstreams" not in (desk / "overlay" / "etc" / "config" / "guardian").read_text()
    made = yaml.safe_load((desk / "provisioning.yaml").read_text())
    del made["upstreams"]
    (desk / "provisioning.yaml").write_text(yaml.safe_dump(made))
    assert run(desk).returncode == 0
    assert (desk / "overlay/etc/config/guardian").read_text() == make_overlay.PACKAGED_SETTINGS.read_text()


def test_sections_are_dropped_whole() -> None:
    text = "config a 'x'\n\toption k '1'\n\nconfig b\n\tlist l '2'\nconfig a\nconfig c\n\toption k '3'"
    assert make_overlay.drop_section(text, "a") == "config b\n\tlist l '2'\nconfig c\n\toption k '3'"
    assert make_overlay.drop_section(text, "d") == text


def test_boxes_without_a_label_have_no_script_for_it(desk: Path) -> None:
    made = yaml.safe_load((desk / "provisioning.yaml").read_text())
    made["claim_code"] = {"policy": "made"}
    (desk / "provisioning.yaml").write_text(yaml.safe_dump(made))
    done = run(desk, "--claim-code", str(desk / "none"))
    assert done.returncode == 0, done.stderr
    assert list_overlay(desk) == ALL[:-1]


@pytest.mark.parametrize("first", ["#!/bin/bash", "#!/usr/bin/env python3", "echo 1234", None])
def test_a_script_that_no_box_can_run(desk: Path, first: str | None) -> None:
    script = desk / "claim"
    if first is not None:
        script.write_text(f"{first}\n")
    done = run(desk, "--claim-code", str(script))
    assert done.returncode == 2 and str(script) in done.stderr


def test_the_check_of_a_whole_file_that_does_not_exist(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2 and "provisioning.yaml" in done.stderr and "Traceback" not in done.stderr
