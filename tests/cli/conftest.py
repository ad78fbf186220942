"""Runs the real command line in a process of its own, with settings in a folder of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Guardian = Callable[..., subprocess.CompletedProcess[str]]

HOUSEHOLD = """\
timezone: Europe/Chisinau
new_devices: guests
profiles:
  ana:
    name: Ana
    age: 10-12
    offline: [sun-thu 21:00-07:00]
    minutes: unlimited
    block: [=blocked.example]
  guests: {name: Guests, age: 13-15, offline: [], minutes: unlimited}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Ana's tablet, profile: ana, macs: ["02:00:5e:10:00:01"], addresses: [127.0.0.2]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `guardian.yaml` (state in `state`) and `home.yaml`."""
    (tmp_path / "guardian.yaml").write_text(
        "state: state\nhousehold: home.yaml\ndns: {listen: ['127.0.0.1:5300']}\nupstreams: {servers: [192.0.2.1]}\n"
    )
    (tmp_path / "home.yaml").write_text(HOUSEHOLD)
    return tmp_path


@pytest.fixture
def guardian(folder: Path) -> Guardian:
    """`guardian("check", "--json")` runs `python -m guardian check --json` with the settings of `folder`."""

    def run(*words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {"GUARDIAN_CONFIG": str(folder / "guardian.yaml"), "PYTHONPATH": os.getcwd()} | environment
        return subprocess.run(
            [sys.executable, "-m", "guardian", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | settings,
            cwd=folder,
        )

    return run
