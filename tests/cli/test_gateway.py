"""`guardian gateway` in the foreground: how it starts, why it does not, and that it ends clean."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import Running, environment, free_port, running

NOBODY = 65534
SETTINGS = {"upstreams": {"servers": ["127.0.0.1:1"]}}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own is closed to others."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv, to become somebody without rights")
    folder = Path(tempfile.mkdtemp(prefix="guardian-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_as_nobody(gateway: Running, *words: str) -> subprocess.CompletedProcess[str]:
    become = [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    command = [*become, sys.executable, "-m", "guardian", *words, "--config", str(gateway.config)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False, cwd=gateway.folder, env=environment()
    )


def assert_told(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """An exit code and one plain line, no traceback."""
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_clean(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, SETTINGS) as gateway:
        assert gateway.process is not None
        assert stat.S_IMODE(os.stat(gateway.socket).st_mode) == 0o660
        assert stat.S_IMODE(os.stat(tmp_path / "state").st_mode) & 0o007 == 0
        gateway.process.send_signal(number)
        assert gateway.process.wait(10) == 0
        assert "event=stopped" in gateway.log()
        assert not os.path.exists(gateway.socket)
        gateway.start()  # at once, on the same ports


def test_it_starts_over_what_a_killed_one_left(tmp_path: Path) -> None:
    with running(tmp_path, SETTINGS) as gateway:
        gateway.kill()
        assert os.path.exists(gateway.socket)
        gateway.start()


def test_a_second_one_says_so(tmp_path: Path) -> None:
    with running(tmp_path, SETTINGS) as gateway:
        gateway.settings["dns"]["listen"] = [f"127.0.0.1:{free_port()}"]
        gateway.settings["block"]["page"] = []
        gateway.write()
        assert_told(gateway.run("gateway"), 1, "another gateway is running already")
        assert gateway.status()["pid"] == gateway.pid


@pytest.mark.parametrize("what", ["dns", "page"])
def test_a_port_that_another_program_has(tmp_path: Path, what: str) -> None:
    gateway = Running(tmp_path, SETTINGS)
    port = gateway.port if what == "dns" else gateway.page_port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = gateway.run("gateway")
    assert_told(done, 1, f"port {port}" if what == "dns" else f"127.0.0.1:{port}")
    assert not os.path.exists(gateway.socket)


def test_an_address_that_is_not_here(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS | {"dns": {"listen": ["192.0.2.1:5353"]}})
    assert_told(gateway.run("gateway"), 1, "cannot listen on 192.0.2.1 port 5353")


def test_a_privileged_port_without_rights(open_folder: Path) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 53:
            pytest.skip("this machine lets everybody have port 53")
    gateway = Running(open_folder, SETTINGS | {"dns": {"listen": ["127.0.0.77:53"]}})
    for command in ("gateway", "run"):
        done = run_as_nobody(gateway, command, *(["--offline"] if command == "run" else []))
        assert_told(done, 1, "cannot listen on 127.0.0.77 port 53: ports below 1024 need CAP_NET_BIND_SERVICE or root")


@pytest.mark.parametrize("command", [["gateway"], ["run", "--offline"]], ids=["gateway", "run"])
def test_a_state_directory_of_somebody_else(open_folder: Path, command: list[str]) -> None:
    gateway = Running(open_folder, SETTINGS)
    (open_folder / "state").mkdir(mode=0o755)
    assert_told(run_as_nobody(gateway, *command), 1, f"cannot write to the state directory {open_folder}/state")
    gateway.settings["state"] = "/proc/nothing"
    gateway.write()
    assert_told(run_as_nobody(gateway, *command), 1, "cannot make the state directory /proc/nothing")


def test_without_rights_it_serves_high_ports(open_folder: Path) -> None:
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with running(open_folder, SETTINGS, prefix=prefix) as gateway:
        assert gateway.ask("mandatory.guardian.test", source="127.0.0.3").answer
        assert os.stat(open_folder / "state" / "history.db").st_uid == NOBODY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("upstreams: {servers: []}\n", ["guardian.yaml:1", "nobody would answer"]),
        (
            "dns: {listen: ['127.0.0.1:99999']}\nlangauge: en\nupstreams: {servers: [1.1.1.1]}\n",
            ["yaml:1", "yaml:2", "language"],
        ),
        ("", ["guardian.yaml"]),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, words: list[str]) -> None:
    gateway = Running(tmp_path, SETTINGS)
    gateway.config.write_text(text)
    assert_told(gateway.run("gateway"), 2, *words)
    assert not (tmp_path / "state").exists()


def test_a_wrong_household_at_the_start(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS)
    (tmp_path / "home.yaml").write_text("profiles: {ana: {age: 99}}\ndevices: {x: {profile: nobody}}\n")
    assert_told(gateway.run("gateway"), 2, "home.yaml:1: 'age'", "the key 'timezone' is missing")


def test_a_control_group_that_is_not_there(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS | {"control": {"group": "no-such-group"}})
    assert_told(gateway.run("gateway"), 1, "no such group")
    assert not os.path.exists(gateway.socket)


def test_the_state_directory_may_have_a_long_name(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS | {"state": "x" * 120})
    assert_told(gateway.run("gateway"), 1, "cannot serve the control socket", "too long")
