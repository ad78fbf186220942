"""What the doctor says of a hotline's feed: settings, state and broker. Whether a gateway enforces it is in
tests/web/test_feed_shown.py, with a real feed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.cli import doctor_feed
from guardian.cli.doctor_feed import (
    ask_test_name,
    check_broker,
    check_enforced,
    check_feed,
    check_root,
    describe_state,
    find_push,
)
from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.config import Config, Endpoint, load_config
from guardian.config.text import read_broker
from guardian.config.values import HotlineConfig, PushConfig
from guardian.hotline import feed_state
from guardian.hotline.feed_state import FeedState, ListState, feed_folder, save_state
from tests.gateway.product import HOUSEHOLD, Upstream, extended_errors, running

NOW = 1_795_000_000.0
DAY = 86400.0
FINE = FeedState(
    url="http://127.0.0.1:1/", name="Tests", checked=NOW, succeeded=NOW, version=3, expires=NOW + DAY,
    lists={"list-a": ListState(7, 5012, 9, NOW - DAY, NOW)}, accepted=NOW, test_name="feed-test.example",
)  # fmt: skip
ROOT = {"signed": {"_type": "root"}, "signatures": []}


@pytest.fixture
def config(folder: Path) -> Config:
    """The settings of a home with a feed."""
    (folder / "root.json").write_text(json.dumps(ROOT))
    with (folder / "guardian.yaml").open("a") as file:
        file.write("hotline: {url: 'http://127.0.0.1:1/', root: root.json}\n")
    made = load_config(str(folder / "guardian.yaml"))
    feed_folder(made.state).mkdir(parents=True)
    return made


def levels(config: Config, state: FeedState | None = None, now: float = NOW) -> list[tuple[str, str]]:
    if state is not None:
        save_state(feed_folder(config.state), state)
    found = list(check_feed(config, now))
    assert all(one.check == "hotline" and bool(one.advice) == (one.level != OK) for one in found)
    return [(one.level, one.message) for one in found]


def test_no_feed_is_no_error(config: Config) -> None:
    (found,) = check_feed(replace(config, hotline=HotlineConfig()), NOW)
    assert (found.level, found.advice) == (OK, "") and "hotline.url" in found.message
    assert list(check_enforced(replace(config, hotline=HotlineConfig()), {})) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), ("", "no root"), ("{", "no root"), ("[]", "no root"), ('{"signed": 1}', "no root"),
     ("[" * 9999, "no root"), ('{"signed": {"_type": "timestamp"}}', "another role"), ("\0\xff", "no root")],
)  # fmt: skip
def test_a_root_of_trust_that_is_none(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "root.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    found = check_root(str(path))
    assert (found.level, why in found.message, str(path) in found.message) == (FAIL, True, True)
    assert "hotline.root" in found.advice


def test_a_feed_that_nobody_has_looked_at(config: Config) -> None:
    assert levels(config) == [
        (OK, f"{config.hotline.root} can be read"), (WARN, "http://127.0.0.1:1/ was never looked at"),
    ]  # fmt: skip


def test_a_state_that_is_broken(config: Config) -> None:
    (feed_folder(config.state) / "state.json").write_text("{}}")
    assert [level for level, _ in levels(config)] == [OK, FAIL]
    assert list(check_enforced(config, {"hotline": {"lists": []}})) == []


def test_the_package_of_feeds_is_missing(config: Config, tmp_path: Path) -> None:
    """In a process that can't find it."""
    script = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'tuf' else real(name, *more)\n"
        "from guardian.cli.doctor_feed import check_feed; from guardian.config import load_config\n"
        f"print(*check_feed(load_config({str(tmp_path / 'guardian.yaml')!r}), 0.0), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'tuf' is missing" in done.stdout and "[feed]" in done.stdout


def test_all_is_well(config: Config) -> None:
    assert levels(config, FINE) == [
        (OK, f"{config.hotline.root} can be read"),
        (OK, "Tests: list-a: 5,012 entries, signed as they should be"),
    ]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"code": "offline", "error": "no connection"}, WARN, "offline: no connection"),
        ({"code": "not-signed", "error": "too few"}, FAIL, "not-signed: too few"),
        ({"code": "of-tomorrow", "error": "who knows"}, FAIL, "of-tomorrow: who knows"),
        ({"lists": {"list-a": ListState(7, code="growth", error="99 more")}}, FAIL, "list-a: growth: 99 more"),
        ({"clock_behind": 7200.0}, WARN, "2 hours behind"),
        ({"minimum_version": "9.1"}, WARN, "Guardian 9.1 or newer"),
        ({"succeeded": NOW - 9 * DAY}, WARN, "9 days ago"),
        ({"succeeded": 0.0, "failing": NOW - 9 * DAY}, WARN, "never verified"),
        ({"expires": NOW - 1}, WARN, "has expired since"),
        ({"lists": {}}, FAIL, "no list of the hotline is here yet"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(config: Config, changes: dict[str, Any], level: str, words: str) -> None:
    found = levels(config, replace(FINE, **changes))
    assert [one for one, message in found if words in message] == [level], found


def test_every_code_has_its_advice() -> None:
    codes = ("OFFLINE", "EXPIRED", "NOT_SIGNED", "ROLLBACK", "TOO_LARGE", "TOO_SLOW", "GROWTH", "DAMAGED", "CLOCK",
             "DISK", "MISSING")  # fmt: skip
    for name in codes:
        state = replace(FINE, code=getattr(feed_state, name), error="why")
        assert next(describe_state(state, NOW)).advice
        assert getattr(feed_state, name) in doctor_feed._ADVICE


# The broker


def test_a_connection_to_the_broker_is_seen(tmp_path: Path) -> None:
    """A process that is called as ours are, and connects as the console does."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        hotline = HotlineConfig(push=PushConfig(broker=read_broker(f"mqtt://127.0.0.1:{port}")))
        assert find_push(port) is False
        assert check_broker(hotline).level == WARN
        script = tmp_path / "guardian"
        script.write_text(f"import socket, sys; s = socket.create_connection(('127.0.0.1', {port})); sys.stdin.read()")
        with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE) as process:
            connection, _ = broker.accept()
            assert find_push(port) is True
            assert check_broker(hotline) == Finding("hotline", OK, f"connected to the broker mqtt://127.0.0.1:{port}")
            process.communicate()
            connection.close()


def test_a_connection_of_others_is_none_of_ours(tmp_path: Path) -> None:
    """Unless we may not look whose it is."""
    (tmp_path / "net").mkdir()
    row = "   0: 0100007F:A000 0A00000A:22B3 01 00000000:00000000 00:00000000 00000000  100 0 777 1 0"
    (tmp_path / "net" / "tcp").write_text(f"head\n{row}\n")
    process = tmp_path / "12"
    (process / "fd").mkdir(parents=True)
    (process / "cmdline").write_bytes(b"/usr/bin/other\0")
    (process / "fd" / "3").symlink_to("socket:[777]")
    unseen = False if os.geteuid() == 0 else None
    assert find_push(8883, str(tmp_path)) is unseen
    (process / "cmdline").write_bytes(b"python\0-m\0guardian\0web\0")
    assert find_push(8883, str(tmp_path)) is True
    assert find_push(1883, str(tmp_path)) is False
    assert find_push(0xA000, str(tmp_path)) is False, "our own port is not the broker's"


def test_what_cannot_be_seen_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    hotline = HotlineConfig(push=PushConfig(broker=read_broker("mqtts://push.example")))
    monkeypatch.setattr(doctor_feed, "find_push", lambda port: None)
    assert check_broker(hotline).level == OK


# The test name


def test_the_test_name_is_asked_for(tmp_path: Path) -> None:
    upstream = Upstream("open.example A 192.0.2.1")
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}
    laptop = {"name": "Laptop", "profile": "ana", "addresses": ["127.0.0.1"]}  # a child's: who asks here
    with running(tmp_path, settings, HOUSEHOLD | {"devices": {"laptop": laptop}}) as gateway:
        here = Endpoint("127.0.0.1", gateway.port)
        assert ask_test_name(here, "open.example").level == FAIL
        assert extended_errors(gateway.ask("mandatory.guardian.test"))[0] in (15, 16)
        assert ask_test_name(here, "mandatory.guardian.test") == Finding(
            "hotline", OK, "the test name mandatory.guardian.test is refused, as it should be"
        )
        assert ask_test_name(here, "a..b").level == WARN
        # This is refused too, but by what parents set: the hotline's list does nothing there.
        assert extended_errors(gateway.ask("category-adult.guardian.test", source="127.0.0.1"))[0] == 17
        assert ask_test_name(here, "category-adult.guardian.test").level == FAIL
    upstream.close()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_feed, "ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        began = time.monotonic()
        assert ask_test_name(Endpoint("127.0.0.1", silent.getsockname()[1]), "feed-test.example").level == FAIL
        assert time.monotonic() - began < 2


def test_what_the_gateway_does_not_enforce(config: Config) -> None:
    save_state(feed_folder(config.state), FINE)
    lists = [{"id": "list-a", "serial": 6}]
    statuses: list[dict[str, object]] = [
        {}, {"hotline": {"enabled": False, "error": ""}}, {"hotline": {"error": "", "lists": lists}},
    ]  # fmt: skip
    for status in statuses:
        (found,) = check_enforced(config, status)
        assert (found.level, "list-a 7" in found.message) == (FAIL, True)
    refused, _ = check_enforced(config, {"hotline": {"error": "it is torn", "lists": []}})
    assert "it is torn" in refused.message
    chosen = replace(config, hotline=replace(config.hotline, lists=("list-b",)))
    assert list(check_enforced(chosen, {"hotline": {"error": "", "lists": []}})) == []
