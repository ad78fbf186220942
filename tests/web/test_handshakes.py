"""Handshakes of TLS that nobody finishes, on the running console."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.web.handshakes import MOST_HANDSHAKES, MOST_OF_SOURCE
from tests.gateway.product import require, wait_for
from tests.web.product import Served, console


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require("openssl")
    folder: Path = tmp_path_factory.mktemp("tls")
    with console(folder, {}, {"web": {"tls": {"enabled": True}}}, gateway=False) as running:
        yield running


def connect(served: Served, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.web_port), 5, source_address=(source, 0))


def count_files(served: Served) -> int:
    assert served.web is not None
    return len(os.listdir(f"/proc/{served.web.pid}/fd"))


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_who_connects_and_says_nothing_takes_neither_files_nor_memory(served: Served) -> None:
    """A thousand silent connections were once a thousand files and 300 MB, for a minute: no page, then no DNS."""
    assert served.web is not None
    before = count_files(served)
    held = [connect(served, f"127.0.3.{number % 200 + 1}") for number in range(600)]
    try:
        wait_for(lambda: count_files(served) <= before + MOST_HANDSHAKES + 8)
        began = time.monotonic()
        assert served.get("/session").status_code == 200
        assert time.monotonic() - began < 3
        status = Path(f"/proc/{served.web.pid}/status").read_text()
        kilobytes = int(status.split("VmRSS:")[1].split()[0])
        assert kilobytes < 100_000, kilobytes
        assert sum(map(is_open, held[-MOST_HANDSHAKES:])) >= MOST_HANDSHAKES // 2, "the newest may still begin"
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: count_files(served) <= before + 4)


def test_one_device_has_few_at_once_and_others_do_not_notice(served: Served) -> None:
    other = connect(served, "127.0.4.9")
    greedy = [connect(served, "127.0.4.1") for _ in range(60)]
    time.sleep(0.3)
    assert sum(map(is_open, greedy)) == MOST_OF_SOURCE and is_open(other)
    for connection in (*greedy, other):
        connection.close()


def test_rubbish_instead_of_a_handshake(served: Served) -> None:
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\x00" * 100):
        with connect(served, "127.0.4.2") as connection:
            connection.settimeout(5)
            try:
                connection.sendall(rubbish)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass  # cut off: as good as an alert
    assert served.get("/session").status_code == 200


def test_the_console_ends_at_once_with_open_handshakes(tmp_path: Path) -> None:
    require("openssl")
    with console(tmp_path, {}, {"web": {"tls": {"enabled": True}}}, gateway=False) as served:
        held = [connect(served, f"127.0.3.{number + 1}") for number in range(20)]
        began = time.monotonic()
        assert served.stop_web() == 0
        assert time.monotonic() - began < 5
        for connection in held:
            connection.close()
