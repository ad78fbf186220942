"""The scripts are there and sound, and the wheel holds all that a router needs: installed elsewhere, it works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "scripts").iterdir()), *([ROOT / ".ci" / "run"] if (ROOT / ".ci" / "run").exists() else [])]


def run(*words: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("GUARDIAN", "PYTHON", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env=kept | more,
    )


def test_the_developers_interface_is_there() -> None:
    assert {"setup", "run", "test", "check"} <= {script.name for script in SCRIPTS if script.parent.name == "scripts"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_a_script_can_run_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK), "it lacks the run bit"
    text = script.read_text()
    assert text.startswith("#!")
    if "bash" not in text.splitlines()[0] and not text.startswith("#!/bin/sh"):
        return
    shell = shutil.which("bash")
    assert shell
    done = run(shell, "-n", script, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^set -e", text, re.MULTILINE), "it goes on after a failed command"
    linter = Path(sys.prefix) / "bin" / "shellcheck"
    if linter.exists():
        checked = run(linter, script, cwd=ROOT)
        assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from a copy of what is in the package, so that nothing of the checkout's other folders helps."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("guardian", "blocklists"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    done = run(sys.executable, "-m", "pip", "wheel", "--quiet", ".", "--no-deps", "-w", folder, cwd=source)
    if done.returncode and "Could not find a version" in done.stderr:
        pytest.skip("the build backend cannot be fetched: no package registry in reach")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        entry_points = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert re.fullmatch(r"guardian_gateway-[0-9.]+-py3-none-any\.whl", wheel.name)
    for folder in ("guardian", "blocklists"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = str(path.relative_to(ROOT))
                assert (inside if folder == "guardian" else f"guardian/{inside}") in names, inside
    # Words of the pages in every language, wherever they live in the package.
    assert "guardian/messages.py" in names or any("locale" in name for name in names)
    outside = {name for name in names if not name.startswith("guardian/") and ".dist-info/" not in name}
    assert not outside
    assert not [name for name in names if "test" in name.split("/")[0] or name.endswith((".pyc", ".db", ".image"))]
    assert "guardian = guardian.cli:main" in entry_points
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.11" in metadata
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [re.split(r"[ >=]+", line)[1] for line in required] == ["pyyaml"]


def test_installed_elsewhere_it_works(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment and another folder: version, check and explain, from the packaged lists."""
    made = run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    pip = (sys.executable, "-m", "pip", "--python", tmp_path / "venv")  # copying pip into it would take seconds
    installed = run(*pip, "install", "--quiet", wheel, cwd=tmp_path)
    if installed.returncode and "Could not find a version" in installed.stderr:
        pytest.skip("pyyaml cannot be fetched: no package registry in reach")
    assert installed.returncode == 0, installed.stderr
    guardian = tmp_path / "venv" / "bin" / "guardian"
    for name in ("laptop.yaml", "household.yaml"):
        shutil.copy(ROOT / "examples" / name, tmp_path / name)
    (tmp_path / "laptop.yaml").write_text((tmp_path / "laptop.yaml").read_text().replace("../state", "state"))

    version = run(guardian, "--version", cwd=tmp_path)
    assert re.fullmatch(r"guardian [0-9.]+\n", version.stdout), version.stderr
    # Debian's resolvers on 5300 or 8080 would only be notes: nothing is bound here.
    checked = run(guardian, "check", "--config", "laptop.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    words = ["explain", "--config", "laptop.yaml", "--profile", "ana", "category-adult.guardian.test"]
    explained = run(guardian, *words, "--at", "2026-11-23T16:45", cwd=tmp_path)
    assert "category" in explained.stdout and "adult" in explained.stdout, explained.stdout + explained.stderr
    night = run(guardian, *words[:-1], "www.youtube.com", "--at", "2026-11-23T21:05", cwd=tmp_path)
    assert "07:00" in night.stdout
    where = run(tmp_path / "venv" / "bin" / "python", "-c", "import guardian; print(guardian.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(tmp_path))
