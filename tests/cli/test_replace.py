"""A new gateway or console takes the place of an old one: on the same ports, whatever state the old one is in.

And what the supervisor hears of it: a datagram socket stands for systemd, a small bus for procd.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gateway.product import Running, environment, rcode, running, wait_for
from tests.web.product import Served

SETTINGS = {"upstreams": {"servers": ["127.0.0.1:1"]}}


def start_second(gateway: Running, *words: str, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "guardian", *words, "--config", str(gateway.config)]
    with open(gateway.folder / "second.log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=gateway.folder, env=environment(**more))


def second_log(gateway: Running) -> str:
    return (gateway.folder / "second.log").read_text()


def end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        return process.wait(20)
    finally:
        process.kill()


def answers(gateway: Running) -> bool:
    return rcode(gateway.ask("mandatory.guardian.test", timeout=2)) == "NOERROR"


def test_a_running_gateway_makes_room(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS).start()
    assert gateway.process is not None
    old = gateway.process
    second = start_second(gateway, "gateway", "--replace")
    try:
        began = time.monotonic()
        wait_for(lambda: old.poll() is not None)
        assert old.returncode == 0, gateway.log()
        assert "event=replaced" in gateway.log()
        assert "event=stopped" in gateway.log()
        wait_for(lambda: "event=started" in second_log(gateway))
        assert time.monotonic() - began < 10
        assert gateway.status()["pid"] == second.pid
        assert answers(gateway)
    finally:
        assert end(second) == 0
        gateway.kill()


def test_without_replace_the_second_one_says_so(tmp_path: Path) -> None:
    with running(tmp_path, SETTINGS) as gateway:
        began = time.monotonic()
        done = gateway.run("gateway")
        assert done.returncode == 1
        assert done.stderr == (
            "guardian: another gateway is running already; with --replace this one takes its place\n"
        )
        assert time.monotonic() - began < 5
        assert answers(gateway)
        assert gateway.status()["pid"] == gateway.pid


def test_a_stopped_gateway_is_named_after_ten_seconds_and_leaves_when_it_can(tmp_path: Path) -> None:
    """A supervisor that only lost sight of it: nothing ends the old one, so the new one says what is in its way."""
    gateway = Running(tmp_path, SETTINGS).start()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGSTOP)
    second = start_second(gateway, "gateway", "--replace")
    try:
        began = time.monotonic()
        assert second.wait(30) == 1
        assert 9 < time.monotonic() - began < 20
        assert "another gateway does not leave" in second_log(gateway)
        gateway.process.send_signal(signal.SIGCONT)
        assert gateway.process.wait(15) == 0  # it finds that its place was claimed
        gateway.start()
        assert answers(gateway)
    finally:
        end(second)
        if gateway.process.poll() is None:
            gateway.process.send_signal(signal.SIGCONT)
        gateway.stop()


def test_a_killed_gateway_is_replaced_at_once(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS).start()
    gateway.kill()
    second = start_second(gateway, "gateway", "--replace")
    try:
        wait_for(lambda: "event=started" in second_log(gateway))
        assert answers(gateway)
    finally:
        assert end(second) == 0


def test_a_chain_of_replacements_loses_no_port(tmp_path: Path) -> None:
    gateway = Running(tmp_path, SETTINGS).start()
    assert gateway.process is not None
    chain = [gateway.process]
    try:
        for count in range(1, 4):
            chain.append(start_second(gateway, "gateway", "--replace"))
            wait_for(lambda count=count: second_log(gateway).count("event=started") == count)
        assert [process.wait(10) for process in chain[:-1]] == [0, 0, 0]
        assert answers(gateway)
    finally:
        for process in chain:
            end(process)


def test_a_console_makes_room(tmp_path: Path) -> None:
    served = Served(tmp_path, SETTINGS)
    served.start_web()
    old = served.web
    assert old is not None
    refused = served.run("web")
    assert refused.returncode == 1
    assert "another console is running already; with --replace" in refused.stderr
    second = start_second(served, "web", "--replace")
    try:
        assert old.wait(15) == 0, served.web_log()
        wait_for(lambda: "event=started" in second_log(served))
        wait_for(lambda: served.anonymous().get("/start").status_code == 200)
    finally:
        assert end(second) == 0
        served.close()


# What the supervisor hears


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(20)
    return listening


def heard(manager: socket.socket, until: str) -> list[str]:
    words = []
    while not words or words[-1] != until:
        words.append(manager.recv(1000).decode().partition("\n")[0])
    return words


def test_systemd_hears_of_a_gateway_when_it_answers(tmp_path: Path, manager: socket.socket) -> None:
    gateway = Running(tmp_path, SETTINGS)
    process = start_second(
        gateway, "gateway", "--replace", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000"
    )
    with manager:
        try:
            assert heard(manager, "READY=1") == ["READY=1"]
            assert answers(gateway)  # at once: no waiting
            heard(manager, "WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            words = heard(manager, "READY=1")
            assert "RELOADING=1" in words
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                for _ in range(100):
                    manager.recv(1000)
            time.sleep(0.6)
            with pytest.raises(BlockingIOError):  # what is stopped tells nothing
                manager.recv(1000)
            manager.settimeout(20)
            process.send_signal(signal.SIGCONT)
            heard(manager, "WATCHDOG=1")
            process.terminate()
            heard(manager, "STOPPING=1")
            assert process.wait(15) == 0
        finally:
            end(process)


def test_systemd_hears_of_a_console_when_it_answers(tmp_path: Path, manager: socket.socket) -> None:
    served = Served(tmp_path, SETTINGS)
    process = start_second(served, "web", "--replace", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000")
    with manager:
        try:
            assert heard(manager, "READY=1") == ["READY=1"]
            assert served.anonymous().get("/start").status_code == 200
            heard(manager, "WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            assert "RELOADING=1" in heard(manager, "READY=1")
            process.terminate()
            heard(manager, "STOPPING=1")
            assert process.wait(15) == 0
        finally:
            end(process)
            served.close()


def test_a_gateway_that_does_not_start_is_never_ready(tmp_path: Path, manager: socket.socket) -> None:
    gateway = Running(tmp_path, SETTINGS | {"dns": {"listen": ["192.0.2.1:5353"]}})
    process = start_second(gateway, "gateway", NOTIFY_SOCKET=str(tmp_path / "notify"))
    with manager:
        assert process.wait(20) == 1
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1000)
