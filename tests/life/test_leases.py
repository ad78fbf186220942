"""dnsmasq is restarted, and its lease file vanishes, is cut, or is replaced.

Invariant: a device stays the same device, and filtered, whatever the file says (its MAC tells who it is); names of the
home are back within two seconds of the file; nothing that stands in a file ends the gateway.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import Running, addresses, option, rcode, running, wait_for

MAC = bytes.fromhex("02005e100001")  # Ana's tablet, which dnsmasq adds to her questions
SECONDS = 2.0


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    file = tmp_path / "dhcp.leases"
    write(file, "tablet")
    return file


@pytest.fixture
def gateway(tmp_path: Path, leases: Path) -> Iterator[Running]:
    settings = {"upstreams": {"servers": ["127.0.0.1:1"]}, "local": {"leases": [str(leases)], "zone": "lan"}}
    with running(tmp_path, settings) as gateway:
        yield gateway


def write(file: Path, *names: str) -> None:
    end = int(time.time()) + 3600
    lines = [f"{end} 02:00:5e:10:00:{number:02x} 192.168.1.{number} {name} *\n" for number, name in enumerate(names, 1)]
    file.write_text("".join(lines))


def resolves(gateway: Running, name: str) -> bool:
    answer = gateway.ask(f"{name}.lan", source="127.0.0.1")
    return rcode(answer) == "NOERROR" and bool(addresses(answer))


def is_ana(gateway: Running) -> bool:
    """Whether a question with her MAC meets her rules."""
    answer = gateway.ask("blocked.example", source="127.0.0.1", options=[option(65001, MAC)])
    return addresses(answer) == ["127.0.0.1"]


def test_the_file_goes_and_comes_back(gateway: Running, leases: Path) -> None:
    wait_for(lambda: resolves(gateway, "tablet"))
    leases.unlink()
    wait_for(lambda: not resolves(gateway, "tablet"), SECONDS)
    assert is_ana(gateway)
    write(leases, "tablet")
    wait_for(lambda: resolves(gateway, "tablet"), SECONDS)


def test_the_file_is_cut_and_written_anew(gateway: Running, leases: Path) -> None:
    """As dnsmasq does it: the same file, emptied, and line by line again."""
    wait_for(lambda: resolves(gateway, "tablet"))
    for _ in range(5):
        with open(leases, "r+b") as file:
            content = file.read()
            file.seek(0)
            file.truncate(len(content) // 2)
            assert is_ana(gateway)
            time.sleep(0.3)
            file.truncate(0)
            assert is_ana(gateway)
            for part in range(0, len(content), 20):
                file.write(content[part : part + 20])
                file.flush()
    wait_for(lambda: resolves(gateway, "tablet"), SECONDS)


def test_another_file_is_put_in_its_place(gateway: Running, leases: Path) -> None:
    wait_for(lambda: resolves(gateway, "tablet"))
    for turn in range(3):
        aside = leases.with_suffix(".new")
        write(aside, "tablet", f"printer-{turn}")
        os.replace(aside, leases)
        wait_for(lambda turn=turn: resolves(gateway, f"printer-{turn}"), SECONDS)  # type: ignore[misc]
        assert resolves(gateway, "tablet") and is_ana(gateway)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff\xfe" * 500, b"1 2 3 4 5\n" * 300, b"x" * 200_000])
def test_nonsense(gateway: Running, leases: Path, content: bytes) -> None:
    leases.write_bytes(content)
    wait_for(lambda: not resolves(gateway, "tablet"), SECONDS)
    assert is_ana(gateway)
    write(leases, "tablet")
    wait_for(lambda: resolves(gateway, "tablet"), SECONDS)


def test_a_folder_or_a_pipe_in_its_place(gateway: Running, leases: Path) -> None:
    leases.unlink()
    leases.mkdir()
    wait_for(lambda: not resolves(gateway, "tablet"), SECONDS)
    assert is_ana(gateway)
    leases.rmdir()
    os.mkfifo(leases)
    time.sleep(1.2)
    assert is_ana(gateway), "nobody writes to the pipe: the gateway does not wait"
    leases.unlink()
    write(leases, "tablet")
    wait_for(lambda: resolves(gateway, "tablet"), SECONDS)
