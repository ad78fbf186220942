"""The feed's packages, built once for all tests by the feed's own Makefile (`buildroot.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.openwrt.buildroot import FEED, ROOT, Buildroot, find_wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheels that the Makefile asks for."""
    try:
        return find_wheels(tmp_path_factory.mktemp("dl"), "bundle.txt", "bundle-notify.txt")
    except RuntimeError as error:
        if "Could not find a version" in str(error) or "onnection" in str(error):
            pytest.skip("the bundled packages cannot be fetched: no package registry in reach")
        raise


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Buildroot:
    """A build of the packages guardian and guardian-notify."""
    if shutil.which("make") is None:
        pytest.skip("GNU make is not there: apt-get install make")
    if not (ROOT / "guardian" / "web" / "static" / "index.html").exists():
        pytest.skip("the console's pages are not built: scripts/build-webui")
    root = Buildroot(tmp_path_factory.mktemp("buildroot"))
    root.add_downloads(wheels)
    done = root.make("guardian", "guardian", "guardian-notify")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return root


@pytest.fixture
def feed_copy(tmp_path: Path) -> Path:
    """A copy of the feed in a tree like ours, to be spoilt."""
    tree = tmp_path / "tree"
    shutil.copytree(FEED, tree / "deploy" / "openwrt")
    # Never by a link to this repository: a Makefile with a mistake in it would take files out of it.
    for name in ("guardian", "blocklists", "scripts"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    return tree / "deploy" / "openwrt"
