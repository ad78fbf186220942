"""Every shell script of the package: busybox reads it, and shellcheck has nothing to say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.openwrt.router import FILES, INSTALLED
from tests.gateway.product import require

SCRIPTS = sorted(
    path for path in FILES.rglob("*") if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"# Addresses"))
)
# The router's own libraries are not here; START and the like are read by rc.common.
EXCLUDED = {"guardian.init": "SC1091,SC2034,SC3043", "": "SC1091,SC3043"}  # SC3043: `local`, which busybox has


def test_all_are_there() -> None:
    assert {path.name for path in SCRIPTS} >= {
        "guardian.init", "guardian.defaults", "guardian.hotplug", "dnsmasq-mode", "dns-watch", "find-interfaces"
    }  # fmt: skip
    assert set(INSTALLED) == {path.name for path in FILES.iterdir() if path.is_file()}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_busybox_reads_it(script: Path) -> None:
    require("busybox")
    done = subprocess.run(["busybox", "ash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_is_content(script: Path) -> None:
    require("shellcheck")
    excluded = EXCLUDED.get(script.name, EXCLUDED[""])
    words = ["shellcheck", "--shell=sh", f"--exclude={excluded}", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
