"""`guardian web` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from guardian.cli.web import NICE, start_logging
from guardian.web.api import ENDPOINTS
from tests.cli.conftest import Guardian
from tests.gateway.product import environment, free_port
from tests.web.product import console


def test_the_document(guardian: Guardian) -> None:
    done = guardian("web", "--openapi")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["openapi"] == "3.1.0"
    assert sum(map(len, document["paths"].values())) == len(ENDPOINTS)


def test_the_document_needs_no_settings(tmp_path: Path) -> None:
    """The front end is built from it where no box is."""
    command = [sys.executable, "-m", "guardian", "web", "--openapi"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path, env=environment()
    )
    assert done.returncode == 0 and json.loads(done.stdout)


def test_the_claim_code(guardian: Guardian, folder: Path) -> None:
    one, two = guardian("web", "--claim-code"), guardian("web", "--claim-code")
    assert one.returncode == 0 and one.stdout == two.stdout and len(one.stdout.strip()) == 11
    guardian("account", "add", "Mama", stdin="correct horse battery\n")
    done = guardian("web", "--claim-code")
    assert done.returncode == 1 and "has its parents already" in done.stderr and done.stdout == ""


def test_settings_that_cannot_be_used(guardian: Guardian, folder: Path) -> None:
    text = (folder / "guardian.yaml").read_text()
    (folder / "guardian.yaml").write_text(f"{text}web: {{listen: []}}\n")
    done = guardian("web")
    assert done.returncode == 1 and "'web.listen' is empty" in done.stderr
    (folder / "guardian.yaml").write_text(f"{text}web: {{listn: []}}\n")
    done = guardian("web")
    assert done.returncode == 2 and "did you mean 'listen'?" in done.stderr
    (folder / "label").write_text("short")
    (folder / "guardian.yaml").write_text(f"{text}web: {{listen: ['127.0.0.1:{free_port()}'], claim_code: label}}\n")
    done = guardian("web")
    assert done.returncode == 2 and "at least 8 letters" in done.stderr, "it does not start unclaimable"


def test_what_is_missing_is_said(guardian: Guardian, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden" / "starlette").mkdir(parents=True)
    (tmp_path / "hidden" / "starlette" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')\n"
    )
    done = guardian("web", PYTHONPATH=f"{tmp_path / 'hidden'}:{os.getcwd()}")
    assert done.returncode == 1 and "needs the Python package 'starlette'" in done.stderr
    assert "guardian-gateway[web]" in done.stderr and "Traceback" not in done.stderr


def test_it_serves_and_says_so(tmp_path: Path) -> None:
    with console(tmp_path, {}, gateway=False) as served:
        assert served.get("/session").json()["account"]["name"] == "Mama"
        assert f"event=started listen=127.0.0.1:{served.web_port}" in served.web_log()
        code = served.stop_web()
    assert code == 0 and served.web_log().count("INFO uvicorn") == 0
    assert callable(start_logging)


def test_the_filter_goes_first_and_nothing_is_dumped(tmp_path: Path) -> None:
    with console(tmp_path, {}, gateway=False) as served:
        assert served.web is not None
        assert os.getpriority(os.PRIO_PROCESS, served.web.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        limits = Path(f"/proc/{served.web.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
