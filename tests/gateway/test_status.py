"""The facts of `guardian status`, from a gateway that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardian import __version__
from guardian.config import Endpoint
from guardian.gateway.status import format_endpoint, read_own_memory
from guardian.store.images import map_image
from tests.gateway.product import CHILD, Running, Upstream, running, wait_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1:53"), ("::1", "[::1]:53"), ("fe80::1", "[fe80::1]:53")]
)
def test_endpoints(host: str, text: str) -> None:
    assert format_endpoint(Endpoint(host, 53)) == text


def test_memory_is_told_by_kernels_that_do_not_count_private_pages(tmp_path: Path) -> None:
    """OpenWrt's: no smaps_rollup. In a process of its own: this one holds what all tests before it left."""
    script = f"""
import json, pathlib
from guardian.gateway.status import read_own_memory
folder = pathlib.Path({str(tmp_path)!r})
(folder / "status").write_text(pathlib.Path("/proc/self/status").read_text())
print(json.dumps([read_own_memory(str(folder)), read_own_memory()]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    told, exact = json.loads(done.stdout)
    assert 0 < told["private"] < told["resident"]
    assert abs(told["resident"] - exact["resident"]) < 4 << 20
    assert abs(told["private"] - exact["private"]) < 4 << 20


def test_memory_is_what_the_kernel_says() -> None:
    memory = read_own_memory()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    assert 0 < memory["private"] <= memory["resident"]
    assert abs(memory["resident"] - resident) < 8 << 20


def test_every_part(home: Running, upstream: Upstream) -> None:
    before = home.status()
    for _ in range(3):
        home.ask("www.open.example", source=CHILD)
    home.ask("once.any.example", source=CHILD)
    home.ask("category-adult.guardian.test", source=CHILD)
    status = home.status()
    assert status["version"] == __version__ and status["pid"] == home.pid
    assert status["started"] < status["now"] <= time.time() and status["now"] - status["started"] < 600
    assert status["listen"] == [f"127.0.0.1:{home.port}", f"[::1]:{home.port}"]

    def grown(key: str) -> int:
        return int(status["queries"][key] - before["queries"][key])

    assert (grown("total"), grown("blocked"), grown("rewritten"), grown("refused")) == (5, 1, 0, 0)
    assert 1 <= grown("asked_upstream") <= 2 and grown("failed_upstream") == 0
    assert status["cache"]["entries"] >= 2 and 0 < status["cache"]["bytes"] < status["cache"]["max_bytes"]
    (server,) = status["upstreams"]
    assert server["label"] == f"udp://127.0.0.1:{upstream.port}" and server["healthy"] and 0 < server["rtt"] < 1000
    assert status["lists"]["starter_only"] and status["lists"]["names"] > 1000
    assert status["lists"]["addresses"]["entries"] > 200 and status["lists"]["addresses"]["error"] == ""
    wait_for(lambda: home.status()["history"]["running"])  # it is opened beside the answers
    assert home.status()["history"]["error"] == ""
    assert 0 < status["memory"]["private"] <= status["memory"]["resident"]
    assert status["household"]["profiles"] == 5 and status["household"]["devices"] == 4


def test_lists_with_their_age_and_counts(upstream: Upstream, tmp_path: Path) -> None:
    """An image from `guardian sync`: every source with its counts, and nothing of a mandatory list's names."""
    secret = "secret-entry.national.example"
    (tmp_path / "national.txt").write_text(f"{secret}\nother.national.example\n")
    (tmp_path / "exits.txt").write_text("5.6.7.8\n5.6.8.0/24\n")
    exits = f"{{url: {tmp_path}/exits.txt, format: addresses, tags: bypass:tor}}"
    (tmp_path / "sources.yaml").write_text(f"sources:\n  exits: {exits}\n")  # nothing of the internet
    settings = {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]},
        "lists": {"sources": "sources.yaml", "mandatory": [{"name": "national", "file": "national.txt"}]},
    }
    with running(tmp_path, settings) as gateway:
        assert gateway.status()["lists"]["starter_only"]
        done = gateway.run("sync")
        assert done.returncode == 0, done.stdout + done.stderr
        lists = gateway.status()["lists"]
        assert not lists["starter_only"] and time.time() - lists["created"] < 600
        image = map_image(tmp_path / "state" / "lists" / "guardian.image")
        assert lists["names"] == image.name_count
        national = [source for source in lists["sources"] if source["tag"] == "mandatory:national"]
        assert [source["entries"] for source in national] == [2]
        fetched = [source for source in lists["addresses"]["sources"] if source["name"] == "exits"]
        assert [(source["tag"], source["entries"]) for source in fetched] == [("bypass:tor", 2)]
        assert time.time() - lists["addresses"]["created"] < 600
        assert secret not in json.dumps(gateway.status())
        answer = gateway.ask(f"www.{secret}", source="127.0.0.3")
        assert answer.answer and gateway.run("status").returncode == 0
        assert secret not in gateway.run("status").stdout
