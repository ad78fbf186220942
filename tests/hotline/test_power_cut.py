"""The power goes at every write, rename and sync of an update: the old lists or the new ones are there, whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.hotline.feed_state import load_state, read_current
from guardian.hotline.listed import GuardedNames, Keys, open_listed
from tests.hotline.feed_maker import Scene, listed

LISTS = ("list-a", "list-b")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cutter() -> Iterator[Callable[..., int]]:
    """A process that runs updates until a step."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hotline.power_cut"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout

        def run(**order: Any) -> int:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()
        process.wait(10)


@pytest.fixture
def home() -> Iterator[Scene]:
    # In memory where there is such a folder: thousands of syncs to a real disk are minutes.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        scene = Scene(Path(place), LISTS)
        scene.maker.publish_all({name: listed(range(20)) for name in LISTS})
        assert not scene.update().troubles()
        yield scene
        scene.server.close()


def change_little(scene: Scene) -> None:
    """An ordinary day: deltas."""
    for name in LISTS:
        scene.maker.publish_list(listed(range(3, 24)), name)
    scene.maker.publish_online()


def change_all(scene: Scene) -> None:
    """A new root, a new salt, a new base, lists to be had whole."""
    scene.maker.publish_root()
    scene.maker.new_base("2026q4")
    for name in LISTS:
        scene.maker.publish_list(listed(range(3, 24)), name)
    scene.maker.publish_feed()
    scene.maker.publish_online()


def contents(folder: Path) -> dict[str, bytes]:
    """What a gateway that starts now would map, opened as it does."""
    current = read_current(folder)
    assert current and set(current.lists) == set(LISTS)
    assert len(open_listed(current, (), GuardedNames((), ()), Keys()).tables) == len(LISTS)
    return {path.name: path.read_bytes() for path in (current.base, *current.lists.values())}


@pytest.mark.parametrize(
    ("change", "mode"),
    [(change_little, "killed"), (change_little, "lost"), (change_all, "torn"), (change_all, "lost")],
)
def test_power_cut(home: Scene, cutter: Callable[..., int], change: Callable[[Scene], None], mode: str) -> None:
    folder = home.box.folder
    old = contents(folder)
    kept = Path(shutil.copytree(folder, folder.parent / "kept", symlinks=True))
    change(home)
    home.maker.now += 60
    order = {"folder": str(folder), "url": home.box.config.url, "root": home.box.config.root, "now": home.maker.now}
    steps = cutter(**order, step=10**6, mode=mode)
    new = contents(folder)
    assert steps > 40 and new != old and not set(new) & {name for name in old if name.endswith(".tags")}
    seen = []
    for step in range(steps):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)
        assert cutter(**order, step=step, mode=mode) == -1
        found = contents(folder)
        assert found in (old, new), f"neither the old lists nor the new ones after step {step}"
        seen.append(found == new)
        state = home.box.client.update(home.maker.now)
        assert not state.troubles() and contents(folder) == new, f"after step {step}: {state.troubles()}"
        assert load_state(folder) == state
        if step % 8 == 0:
            home.box.client.update(home.maker.now)
            names = {name for name in os.listdir(folder) if name.endswith((".base", ".tags", ".new"))}
            assert names == set(new), "nothing is left lying about"
    assert seen == sorted(seen) and set(seen) == {False, True}, "once it is in force, it stays"


def test_the_disk_of_these_tests_forgets(home: Scene, cutter: Callable[..., int]) -> None:
    """The control: what is not synced is torn or undone, or the test above would show nothing."""
    folder = home.box.folder
    change_little(home)
    kept = Path(shutil.copytree(folder, folder.parent / "kept", symlinks=True))
    order = {"folder": str(folder), "url": home.box.config.url, "root": home.box.config.root, "now": home.maker.now}
    torn = 0
    for step in range(0, 40, 2):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)
        assert cutter(**order, step=step, mode="torn") == -1
        for name in ("timestamp.json", "snapshot.json"):
            try:
                json.loads((folder / "tuf" / name).read_bytes())
            except (ValueError, FileNotFoundError):
                torn += 1
    assert torn
