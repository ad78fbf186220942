"""What systemd is told arrives on a real datagram socket, whichever kind; a deaf systemd stops nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.supervisor.systemd import Systemd, read_interval


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if address.startswith("@") else address)
        manager.settimeout(10)
        yield manager


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@guardian-test-{os.getpid()}"


def test_each_word_is_one_datagram(address: str) -> None:
    with listening(address) as manager:
        systemd = Systemd.of({"NOTIFY_SOCKET": address})
        systemd.ready()
        asyncio.run(systemd.alive())
        systemd.stopping()
        assert [manager.recv(1000) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_tells_its_moment(address: str) -> None:
    with listening(address) as manager:
        before = time.monotonic_ns() // 1000
        Systemd(address).reloading()
        word, moment = manager.recv(1000).decode().split("\n")
    assert word == "RELOADING=1"
    key, _, microseconds = moment.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_nobody_there_is_logged_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = str(tmp_path / "gone")
    systemd = Systemd(address)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            systemd.ready()
        assert [record.message.split()[0] for record in caplog.records] == ["event=systemd-not-told"]
        with listening(address) as manager:
            systemd.ready()
            assert manager.recv(1000) == b"READY=1"
        systemd.ready()
    assert len(caplog.records) == 2


def test_a_full_queue_is_not_waited_for(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listening(address):
        systemd = Systemd(address)
        began = time.monotonic()
        for _ in range(2000):  # net.unix.max_dgram_qlen is 10 to 512
            systemd.ready()
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_interval_is_a_third(environ: dict[str, str], expected: float | None) -> None:
    assert read_interval(environ, 77) == expected


@given(st.dictionaries(st.sampled_from(["WATCHDOG_USEC", "WATCHDOG_PID"]), st.text(max_size=30)))
def test_any_environment_gives_an_interval_or_none(environ: dict[str, str]) -> None:
    interval = read_interval(environ, 1)
    assert interval is None or interval > 0
