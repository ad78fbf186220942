"""`guardian status`: what a person reads, what a program reads, and what is said when nothing runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardian.cli.status import describe, describe_clock, describe_filter, format_age, format_bytes
from guardian.filter.queue import QueueStatus
from tests.gateway.product import CHILD, Running, running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("status"), {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        gateway.ask("category-adult.guardian.test", source=CHILD)
        gateway.ask("guardian.home.arpa", source=CHILD)
        yield gateway


def test_for_people(gateway: Running) -> None:
    done = gateway.run("status")
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Guardian 0.") and f"127.0.0.1:{gateway.port}, [::1]:{gateway.port}" in first
    heads = [line.split()[0] for line in rest if not line.startswith(" ")]
    assert heads == ["queries", "cache", "upstream", "lists", "filter", "household", "history", "last", "memory"]
    assert "queries    2, blocked 1 (50.0 %), made safe 0" in done.stdout
    assert "category 1" in done.stdout and "only the built-in names" in done.stdout
    assert "filter     off: only DNS is filtered" in done.stdout
    assert re.search(r"^ {11}[\d,]+ addresses and networks$", done.stdout, re.MULTILINE)
    assert "5 profiles, 4 devices" in done.stdout and "\x1b" not in done.stdout


def test_for_programs(gateway: Running) -> None:
    done = gateway.run("status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 0 and status["running"] is True and "ok" not in status
    assert status["queries"]["blocked"] == 1
    everything = {"version", "pid", "started", "now", "listen", "queries", "cache", "upstreams", "lists", "household"}
    assert everything | {"history", "memory", "running"} <= set(status)


def test_trouble_is_told(gateway: Running) -> None:
    for number in range(4):
        gateway.ask(f"www{number}.open.example", source="127.0.0.3")  # nobody listens there
    assert "down" in gateway.run("status").stdout
    status = json.loads(gateway.run("status", "--json").stdout)
    status["history"]["error"] = "write: the disk is full"
    status["lists"] |= {"starter_only": False, "created": status["now"] - 30 * 86400}
    status["lists"]["addresses"]["error"] = "its checksum is wrong"
    status["queries"] |= {"refused": 3, "rate_limited": 1234}
    text = "\n".join(describe(status))
    assert "addresses and networks (the newer table is refused: its checksum is wrong)" in text
    for words in ("the disk is full", "compiled 30 days ago (old: is `guardian sync` running?)", "refused 3", "1,234"):
        assert words in text


def test_a_gateway_that_has_just_begun(gateway: Running) -> None:
    status: dict[str, Any] = json.loads(gateway.run("status", "--json").stdout)
    status["queries"] = {**status["queries"], "total": 0, "blocked": 0, "reasons": {}, "refused": 0, "rate_limited": 0}
    status["upstreams"] = [{**status["upstreams"][0], "rtt": None, "last_error": "", "healthy": True}]
    text = "\n".join(describe(status))
    assert "queries    0, blocked 0, made safe 0" in text and "ok, not asked yet" in text


QUIET = {
    "enabled": True,
    "form": "nft", "problem": "", "repairs": 0, "undecided": 0, "held_bytes": 0, "running": 1, "packets": 1,
    "allowed": 1, "refused": 0, "dropped": 0, "malformed": 0, "given_addresses": 0, "stopped": 0,
    "queue": QueueStatus(1, 0, 0, 0, 0, 0, 0)._asdict(),
}  # fmt: skip


def test_a_quiet_filter() -> None:
    assert list(describe_filter(QUIET)) == [
        "filter     1 running flow, 0 undecided",
        "           1 packet judged: 1 allowed, 0 refused, 0 dropped",
    ]


def test_a_busy_filter() -> None:
    busy = QUIET | {"running": 1203, "undecided": 4, "stopped": 2, "packets": 98765, "refused": 31, "dropped": 7}
    assert list(describe_filter(busy | {"malformed": 5})) == [
        "filter     1,203 running flows, 4 undecided, stopped now: 2 devices",
        "           98,765 packets judged: 1 allowed, 31 refused, 7 dropped (5 malformed)",
    ]


def test_trouble_of_the_filter() -> None:
    queue = QueueStatus(9, 2, 1, 2, 0, 30, 8)._asdict()
    text = "\n".join(describe_filter(QUIET | {"problem": "nft: no such device", "repairs": 1, "queue": queue}))
    assert "behind the policy: nft: no such device" in text
    assert "others changed its rules, loaded again 1 time" in text
    assert "too busy for 40 packets" in text and "1 error while judging" in text
    assert len(list(describe_filter(QUIET | {"queue": {}}))) == 2  # it is closing


def test_nothing_runs(tmp_path: Path) -> None:
    gateway = Running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}})
    for words in (["status"], ["status", "--json"]):
        done = gateway.run(*words)
        assert done.returncode == 1
        assert "no gateway is running" in done.stdout + done.stderr
    assert json.loads(done.stdout)["running"] is False
    assert gateway.run("gateway", "--reload").returncode == 1


def test_flush_and_reload_by_the_command_line(gateway: Running) -> None:
    done = gateway.run("gateway", "--flush", "all")
    assert done.returncode == 0 and done.stdout.startswith("forgot ")
    assert gateway.run("gateway", "--flush", "www.open.example").returncode == 0
    refused = gateway.run("gateway", "--flush", "a..b")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert gateway.run("gateway", "--reload").stdout == "reloaded\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"), (0.4, "0 seconds"), (59, "59 seconds"), (60, "1 minute"), (3599, "59 minutes"),
        (3600, "1 hour"), (86399, "23 hours"), (86400, "1 day"), (86400 * 400, "400 days"),
    ],
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KB"),
        (31 << 20, "31.0 MB"),
        (5 << 30, "5.0 GB"),
        (3 << 40, "3072.0 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_a_clock_that_nobody_has_set_is_told() -> None:
    assert list(describe_clock(None)) == []
    assert list(describe_clock({"state": "set", "doubt": "", "now": 0.0})) == []
    (waiting,) = describe_clock({"state": "waiting", "doubt": "before-release", "now": 0.0})
    assert "nobody has set it yet" in waiting
    (lost,) = describe_clock({"state": "by-memory", "doubt": "not-set", "now": 1_795_440_600.0})
    assert "2026-11-23 13:30 UTC" in lost
