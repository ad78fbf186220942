"""The ubus object `guardian`: rpcd's exec plugin, run as rpcd runs it (plugin.c, exec.c), and the ACL beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.gateway.product import ROOT, Running, environment, require, running

FILES = ROOT / "deploy" / "openwrt" / "guardian" / "files" / "rpcd"
PLUGIN = FILES / "guardian"
SCHEMA = json.loads((ROOT / "deploy" / "isp" / "health.schema.json").read_text())
MOST_BYTES = 4096  # that older versions of rpcd take of an answer
SHELLS = [words for words in (["busybox", "ash"], ["dash"]) if shutil.which(words[0])]
METHODS = ("health", "status", "reload")


@pytest.fixture(params=SHELLS, ids=lambda words: words[-1])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    return words


def make_program(folder: Path, body: str) -> Path:
    """Return a program in the place of /usr/bin/guardian."""
    program = folder / "guardian-program"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


def call(shell: list[str], program: Path, config: Path, *words: str, stdin: str = "{}") -> tuple[int, str]:
    """Run the plugin as rpcd does; return its exit code and what it printed. Errors go to the log there."""
    command, settings = [*shell, str(PLUGIN), *words], environment(GUARDIAN_PROGRAM=str(program))
    settings["GUARDIAN_CONFIG"] = str(config)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False, env=settings)
    return done.returncode, done.stdout


def ask(shell: list[str], program: Path, config: Path, method: str, stdin: str = "{}") -> dict[str, Any]:
    code, text = call(shell, program, config, "call", method, stdin=stdin)
    assert code == 0 and len(text) <= MOST_BYTES
    made: dict[str, Any] = json.loads(text)
    return made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("rpcd"), {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        make_program(gateway.folder, f'exec {sys.executable} -m guardian "$@"')
        yield gateway


def test_the_list_of_methods(shell: list[str], tmp_path: Path) -> None:
    """rpcd reads it when it starts: no argument has a type, for there is none. Nothing is run for it."""
    program = make_program(tmp_path, "touch ran")
    code, text = call(shell, program, tmp_path / "none", "list", stdin="")
    assert code == 0 and json.loads(text) == {method: {} for method in METHODS}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("method", ["health", "status"])
def test_how_a_box_is(shell: list[str], gateway: Running, method: str) -> None:
    health = ask(shell, gateway.folder / "guardian-program", gateway.config, method)
    jsonschema_rs.validate(SCHEMA, health)
    assert health["running"] and health["gateway"]["version"]


def test_reload(shell: list[str], gateway: Running) -> None:
    program, taken = gateway.folder / "guardian-program", gateway.status()["reloads"]["taken"]
    assert ask(shell, program, gateway.config, "reload") == {"reloaded": True}
    assert gateway.status()["reloads"]["taken"] == taken + 1
    written = gateway.config.read_text()
    gateway.config.write_text(f"{written}\nsecret-of-ana: 1\n")
    try:
        assert ask(shell, program, gateway.config, "reload") == {"reloaded": False}
        assert ask(shell, program, gateway.config, "health")["problems"] == ["settings-broken"]
    finally:
        gateway.config.write_text(written)
    assert gateway.status()["reloads"]["taken"] == taken + 1


def test_nothing_runs(shell: list[str], gateway: Running, tmp_path: Path) -> None:
    still = Running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}})
    program = gateway.folder / "guardian-program"
    health = ask(shell, program, still.config, "health")
    jsonschema_rs.validate(SCHEMA, health)
    assert (health["running"], health["problem"]) == (False, "gateway-down")
    assert ask(shell, program, still.config, "reload") == {"reloaded": False}


@pytest.mark.parametrize(
    "body",
    ["exit 127", "echo Traceback; exit 1", "echo '{\"half\":'; exit 0", "kill -9 $$", "echo '{}'; exit 3", "true"],
)
def test_a_broken_program_is_no_answer(shell: list[str], tmp_path: Path, body: str) -> None:
    """rpcd then tells the caller that there is no data, instead of half an object."""
    code, text = call(shell, make_program(tmp_path, body), tmp_path / "none", "call", "health")
    assert (code, text) == (1, "")


def test_a_program_that_is_missing(shell: list[str], tmp_path: Path) -> None:
    assert call(shell, tmp_path / "none", tmp_path, "call", "health") == (1, "")
    assert ask(shell, tmp_path / "none", tmp_path, "reload") == {"reloaded": False}


@pytest.mark.parametrize(
    "method",
    ["", "nothing", "health; touch {0}", "$(touch {0})", "`touch {0}`", "health\ntouch {0}", "*", "../health", "-c"],
)
def test_a_method_that_is_none_runs_nothing(shell: list[str], tmp_path: Path, method: str) -> None:
    mark = tmp_path / "mark"
    program = make_program(tmp_path, f"touch {mark}")
    assert call(shell, program, tmp_path, "call", method.format(mark)) == (2, "")
    assert call(shell, program, tmp_path, method.format(mark), "health") == (2, "")
    assert call(shell, program, tmp_path) == (2, "")
    assert not mark.exists()


@pytest.mark.parametrize(
    "stdin",
    ["", "{}", '{"ubus_rpc_session": "0123"}', '{"config": "$(touch MARK)", "--config": "; touch MARK"}', "x" * 200_000,
     "a\nb\n`touch MARK`\n", "\\0\\n$(touch MARK)"],
    ids=range(7),
)  # fmt: skip
def test_what_a_caller_sends_is_never_looked_at(shell: list[str], tmp_path: Path, stdin: str) -> None:
    mark = tmp_path / "mark"
    program = make_program(tmp_path, 'printf \'{"words": "%s"}\\n\' "$*"')
    told = ask(shell, program, tmp_path / "none", "health", stdin=stdin.replace("MARK", str(mark)))
    assert told == {"words": "status --health"} and not mark.exists()


def test_a_gateway_that_hangs_costs_seconds(shell: list[str], tmp_path: Path) -> None:
    """The caller's patience: bbfdm waits five seconds for ubus."""
    import os
    import signal

    with running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        program = make_program(tmp_path, f'exec {sys.executable} -m guardian "$@"')
        os.kill(gateway.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            health = ask(shell, program, gateway.config, "health")
            assert time.monotonic() - started < 5
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
    assert health["problems"][0] == "gateway-silent" and health["state"] == "down"


def test_the_shells_agree_with_the_script() -> None:
    assert SHELLS, "neither busybox nor dash is here"
    for words in SHELLS:
        subprocess.run([*words, "-n", str(PLUGIN)], check=True)
    require("shellcheck")
    subprocess.run(["shellcheck", "--shell=dash", str(PLUGIN)], check=True)
    assert PLUGIN.stat().st_mode & 0o111 == 0o111  # rpcd runs nothing else


def test_the_acl_names_every_method_once() -> None:
    """Who may read may not write; nobody gets more of ubus, of files or of uci by it."""
    acl = json.loads((FILES / "acl.json").read_text())
    assert set(acl) == {"guardian"} and set(acl["guardian"]) == {"description", "read", "write"}
    assert acl["guardian"]["read"] == {"ubus": {"guardian": ["health", "status"]}}
    assert acl["guardian"]["write"] == {"ubus": {"guardian": ["reload"]}}
