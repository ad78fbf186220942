"""The health object: its shape in every state of a box, its problems, and that nothing of a home is in it."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian import __version__
from guardian.cli import health as module
from guardian.cli.health import (
    ATTENTION,
    DOWN,
    NOT_RUNNING,
    OK,
    SETTINGS,
    SILENT,
    UNKNOWN,
    make_health,
    read_available_memory,
)
from guardian.config import Config, UpstreamConfig, read_upstream
from guardian.config.values import FilterConfig, HotlineConfig
from guardian.hotline.feed_state import CODES, FeedState, ListState, feed_folder, save_state
from tests.gateway.product import CHILD, Running, Upstream, running, wait_for

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "deploy" / "isp" / "health.schema.json").read_text())
NOW = 2_000_000_000.0
DAY = 86400.0
LONG = NOW - 3 * DAY
STATUS: dict[str, Any] = {
    "version": __version__,
    "started": LONG,
    "now": NOW,
    "memory": {"resident": 40 << 20, "private": 28 << 20},
    "queries": {"asked_upstream": 1000, "failed_upstream": 3, "refused": 1, "rate_limited": 2, "lost": 0},
    "upstreams": [{"healthy": True}, {"healthy": False}],
    "filter": {"enabled": False},
    "lists": {"error": "", "addresses": {"error": ""}, "starter_only": False, "names": 5000, "created": NOW - 3600},
    "hotline": {"enabled": True, "lists": [{"id": "list-a", "serial": 7}]},
    "reloads": {"taken": 2, "refused": 0, "at": NOW - 60, "code": ""},
    "history": {"running": True, "error": "", "file_bytes": 8 << 20},
}
FILTER = {"enabled": True, "form": "nft", "problem": "", "repairs": 0, "queue": {"lost": 1, "errors": 0}}
FEED = FeedState(
    url="http://feed.example/", name="Tests", checked=NOW - 60, succeeded=NOW - 60, version=9, root_version=2,
    expires=NOW + DAY, accepted=NOW - 60, minimum_version="0.0.1",
    lists={"list-a": ListState(7, 5012, 9, NOW - 7200, NOW - 3600)},
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    servers = (read_upstream("192.0.2.1"), read_upstream("192.0.2.2"))
    hotline = HotlineConfig(url="http://feed.example/", root="root.json")
    made = Config(UpstreamConfig(servers), state=str(tmp_path), hotline=hotline)
    feed_folder(made.state).mkdir()
    save_state(feed_folder(made.state), FEED)
    return made


def check(health: dict[str, Any]) -> dict[str, Any]:
    jsonschema_rs.validate(SCHEMA, health)
    for name in ("memory_available_kb", "flash_free_kb"):
        assert health["machine"][name] < 1 << 31  # a number of ubus, and of TR-181
    return health


def changed(**changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(STATUS)
    for path, value in changes.items():
        *folders, name = path.split("__")
        inner: Any = made
        for folder in folders:
            inner = inner[folder]
        inner[name] = value
    return made


def test_the_schema_is_one() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert set(SCHEMA["properties"]["feed"]["properties"]["problem"]["enum"]) == {"", "other", *CODES}


def test_all_is_well(config: Config) -> None:
    health = check(make_health(config, STATUS, NOW))
    assert (health["state"], health["problems"], health["running"], health["needs_update"]) == (OK, [], True, False)
    assert health["gateway"] == {
        "version": __version__, "uptime_seconds": 259200, "private_kb": 28 << 10, "resident_kb": 40 << 10
    }  # fmt: skip
    assert health["dns"]["failed_permille"] == 3 and health["upstreams"] == {"configured": 2, "healthy": 1}
    assert health["feed"]["serials"] == {"list-a": 7} and health["feed"]["enforced"]
    assert (health["feed"]["age_seconds"], health["feed"]["expires_seconds"]) == (60, 86400)
    assert health["feed"]["oldest_seconds"] == 7200 and health["machine"]["clock_ok"]


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"upstreams": [{"healthy": False}]}, "upstreams-down"),
    ({"queries__failed_upstream": 200}, "answers-failing"),
    ({"filter": FILTER | {"problem": "nft: no such device eth1.ana"}}, "filter-behind"),
    ({"lists__error": "secret"}, "lists-refused"),
    ({"lists__addresses": {"error": "secret"}}, "lists-refused"),
    ({"lists__starter_only": True}, "lists-starter"),
    ({"lists__created": NOW - 8 * DAY}, "lists-old"),
    ({"reloads__code": "settings"}, "reload-refused"),
    ({"reloads__code": "home.yaml:3: Ana"}, "reload-refused"),
    ({"history__error": "the disk of ana is full"}, "history-off"),
    ({"history__running": False}, "history-off"),
    ({"version": "0.0.9"}, "restart-needed"),
    ({"hotline__lists": [{"id": "list-a", "serial": 6}]}, "feed-not-enforced"),
    ({"hotline": {"enabled": False, "error": "secret"}}, "feed-not-enforced"),
]


@pytest.mark.parametrize(("changes", "code"), PROBLEMS, ids=[code for _, code in PROBLEMS])
def test_problems_of_a_gateway(config: Config, changes: dict[str, Any], code: str) -> None:
    health = check(make_health(config, changed(**changes), NOW))
    assert (health["state"], health["problems"]) == (ATTENTION, [code])
    assert not any(word in json.dumps(health).lower() for word in ("ana", "secret", "home.yaml"))


def test_few_failures_say_nothing(config: Config) -> None:
    few = changed(queries__asked_upstream=10, queries__failed_upstream=10)
    assert check(make_health(config, few, NOW))["problems"] == []
    none = changed(queries__asked_upstream=0, queries__failed_upstream=0)
    assert check(make_health(config, none, NOW))["dns"]["failed_permille"] == 0


def test_a_history_that_is_being_opened_is_no_problem(config: Config) -> None:
    young = changed(started=NOW - 5, history__running=False)
    assert check(make_health(config, young, NOW))["problems"] == []


def test_a_filter(config: Config) -> None:
    health = check(make_health(config, changed(filter=FILTER), NOW))
    assert health["filter"] == {
        "enabled": True, "in_force": True, "form": "nft", "repairs": 0, "missed": 1, "errors": 0
    }  # fmt: skip
    closing = changed(filter=FILTER | {"queue": {}})
    assert check(make_health(config, closing, NOW))["filter"]["missed"] == 0


@pytest.mark.parametrize(
    ("changes", "problems", "state"),
    [
        ({"code": "not-signed", "error": "secret"}, ["feed-refused"], "refused"),
        ({"code": "of-tomorrow", "error": "secret"}, [], "ok"),
        ({"succeeded": NOW - 9 * DAY}, ["feed-stale"], "stale"),
        ({"lists": {}}, ["feed-never"], "never"),
        ({"minimum_version": "99.1"}, [], "ok"),
    ],
)
def test_problems_of_a_feed(config: Config, changes: dict[str, Any], problems: list[str], state: str) -> None:
    save_state(feed_folder(config.state), replace(FEED, **changes))
    health = check(make_health(config, STATUS, NOW))
    assert (health["problems"], health["feed"]["state"]) == (problems, state) and "secret" not in json.dumps(health)
    assert health["needs_update"] == ("minimum_version" in changes)


def test_without_a_feed(config: Config) -> None:
    health = check(make_health(replace(config, hotline=HotlineConfig()), STATUS, NOW))
    assert (health["feed"]["state"], health["feed"]["configured"], health["problems"]) == ("none", False, [])
    assert health["feed"]["serials"] == {} and health["minimum_version"] == ""


def test_a_list_that_is_no_longer_wanted(config: Config) -> None:
    two = {**FEED.lists, "list-b": ListState(3, 9, 9, NOW - DAY)}
    save_state(feed_folder(config.state), replace(FEED, lists=two))
    wanted = replace(config, hotline=replace(config.hotline, lists=("list-a",)))
    assert check(make_health(wanted, STATUS, NOW))["feed"]["serials"] == {"list-a": 7}
    assert check(make_health(config, STATUS, NOW))["problems"] == ["feed-not-enforced"]


def test_a_broken_state_of_the_feed(config: Config) -> None:
    (feed_folder(config.state) / "state.json").write_text('{"secret')
    health = check(make_health(config, STATUS, NOW))
    assert (health["feed"]["state"], health["feed"]["problem"]) == ("never", "damaged")
    assert health["problems"] == ["feed-never"] and "secret" not in json.dumps(health)


@pytest.mark.parametrize("why", [NOT_RUNNING, SILENT])
def test_no_gateway_answers(config: Config, why: str) -> None:
    health = check(make_health(replace(config, filter=FilterConfig(enabled=True)), None, NOW, why))
    assert (health["state"], health["problems"], health["running"]) == (DOWN, [why], False)
    assert health["filter"]["enabled"] and not health["filter"]["in_force"]
    assert health["upstreams"] == {"configured": 2, "healthy": UNKNOWN} and health["feed"]["serials"] == {"list-a": 7}


def test_settings_that_cannot_be_read() -> None:
    health = check(make_health(None, None, NOW, SETTINGS))
    assert (health["state"], health["problems"]) == (DOWN, [SETTINGS])


def test_the_clock(config: Config) -> None:
    for state, problems in (("set", []), ("waiting", ["clock-unset"]), ("by-memory", ["clock-unset"])):
        clock = {"state": state, "doubt": "", "now": NOW}
        assert check(make_health(config, {**STATUS, "clock": clock}, NOW))["problems"] == problems
    for now in (0.0, 86400.0 * 365, FEED.accepted - 2 * DAY, 5e9):  # of a gateway that does not tell, or of none
        down = check(make_health(config, None, now))
        assert not down["machine"]["clock_ok"] and "clock-unset" in down["problems"]
        health = check(make_health(config, changed(now=now, started=now), now))
        assert not health["machine"]["clock_ok"] and "clock-unset" in health["problems"]


def test_memory_and_flash(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:     1024 kB\n")
    assert read_available_memory(str(tmp_path)) == 1024 and read_available_memory(str(tmp_path / "none")) == UNKNOWN
    assert check(make_health(config, STATUS, NOW, proc=str(tmp_path)))["problems"] == ["memory-low"]
    found = os.statvfs(tmp_path)
    full = os.statvfs_result((*found[:4], 1, *found[5:]))
    monkeypatch.setattr(module.os, "statvfs", lambda folder: full)
    assert check(make_health(config, STATUS, NOW))["problems"] == ["flash-low"]
    locked = os.statvfs_result((*found[:8], found[8] | os.ST_RDONLY, *found[9:]))
    monkeypatch.setattr(module.os, "statvfs", lambda folder: locked)
    assert check(make_health(config, STATUS, NOW))["problems"] == ["flash-read-only"]


def test_a_state_folder_that_is_not_there_yet(config: Config) -> None:
    health = check(make_health(replace(config, state=f"{config.state}/not/yet"), STATUS, NOW))
    assert health["machine"]["flash_free_kb"] > 0


@given(now=st.floats(-1e12, 1e12, allow_nan=False), started=st.floats(0, 1e12), code=st.text(max_size=20))
def test_whatever_the_clock_says_it_keeps_its_shape(now: float, started: float, code: str) -> None:
    config = Config(UpstreamConfig((read_upstream("192.0.2.1"),)), state="/nonexistent-folder")
    check(make_health(config, changed(now=now, started=started, reloads__code=code, lists__created=started), now))


# A real gateway

SECRETS = ("ana-secret", "mihai", "secret-site", "tablet", "02:00:5e", "127.0.0.2", "gambling-of-father", "national-x")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A home with names in every place that one can stand in."""
    folder = tmp_path_factory.mktemp("busy")
    upstream = Upstream("www.secret-site.example A 192.0.2.9")
    (folder / "national.txt").write_text("blocked.secret-site.example\n")
    (folder / "leases").write_text("0 02:00:5e:10:00:01 192.168.1.23 tablet-of-mihai 01:02:00:5e:10:00:01\n")
    household = {
        "timezone": "Europe/Chisinau",
        "language": "en",
        "profiles": {
            "ana-secret": {
                "name": "Ana Secret", "age": "10-12", "offline": [], "block": ["gambling-of-father.secret-site.example"]
            }
        },
        "devices": {
            "tablet-of-mihai": {
                "name": "Tablet of Mihai", "profile": "ana-secret", "macs": ["02:00:5e:10:00:01"], "addresses": [CHILD]
            }
        },
    }  # fmt: skip
    settings = {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]},
        "local": {"leases": ["leases"], "addresses": ["127.0.0.1"]},
        "lists": {"mandatory": [{"name": "national-x", "file": "national.txt"}]},
    }
    try:
        with running(folder, settings, household) as gateway:
            for name in ("www", "gambling-of-father", "none"):
                gateway.ask(f"{name}.secret-site.example", source=CHILD)
            gateway.ask("category-adult.guardian.test", source=CHILD)
            wait_for(lambda: gateway.status()["history"]["running"])
            yield gateway
    finally:
        upstream.close()


def read(gateway: Running, *words: str) -> dict[str, Any]:
    done = gateway.run("status", *words)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_a_real_gateway(busy: Running) -> None:
    health = check(read(busy, "--health"))
    assert health["running"] and health["version"] == __version__ == health["gateway"]["version"]
    assert health["dns"]["asked"] >= 2 and health["upstreams"] == {"configured": 1, "healthy": 1}
    assert health["state"] == ATTENTION and health["problems"] == ["lists-starter"], health["problems"]
    whole = read(busy, "--json")
    assert check(whole["health"]).keys() == health.keys()


def test_nothing_of_the_home_is_in_it(busy: Running) -> None:
    """Also after a reload that was refused with a name in its reason: everything that people write stays at home."""
    written = busy.config.read_text()
    busy.config.write_text(written + "mihai-wrote-this: 1\n")
    try:
        with pytest.raises(Exception, match="mihai-wrote-this"):
            busy.control("reload")
    finally:
        busy.config.write_text(written)
    text = json.dumps(read(busy, "--health")).lower()
    assert '"code": "settings"' in text
    assert str(busy.folder).lower() not in text and [secret for secret in SECRETS if secret in text] == []
    assert read(busy, "--json")["queries"]["blocked"] >= 2  # which the home's own status tells
    counts = json.loads(text)
    assert not {"blocked", "total", "reasons", "devices", "profiles"} & set(flatten(counts))
    assert busy.run("gateway", "--reload").returncode == 0


def flatten(made: dict[str, Any]) -> Iterator[str]:
    for key, value in made.items():
        yield key
        if isinstance(value, dict):
            yield from flatten(value)


def test_what_a_home_asks_changes_nothing_but_what_left_it(busy: Running) -> None:
    """A hundred blocked tries are nobody's business: the counters stay as they are."""
    before = read(busy, "--health")
    for number in range(100):
        busy.ask(f"n{number}.gambling-of-father.secret-site.example", source=CHILD)
    after = read(busy, "--health")
    for health in (before, after):
        del health["gateway"], health["machine"], health["history"], health["reload"], health["lists"]
    assert before == after


def test_nothing_runs(tmp_path: Path) -> None:
    gateway = Running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}})
    done = gateway.run("status", "--health")
    health = check(json.loads(done.stdout))
    assert (done.returncode, done.stderr, health["problems"]) == (1, "", ["gateway-down"])
    told = json.loads(gateway.run("status", "--json").stdout)
    assert told["running"] is False and check(told["health"])["state"] == DOWN


def test_broken_settings(tmp_path: Path) -> None:
    gateway = Running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}})
    gateway.config.write_text("ana-secret: 1\n")
    done = gateway.run("status", "--health")
    health = check(json.loads(done.stdout))
    assert (done.returncode, health["problems"]) == (2, ["settings-broken"]) and "ana" not in done.stdout
    told = gateway.run("status", "--json")
    assert told.returncode == 2 and "guardian.yaml:1" in json.loads(told.stdout)["error"]
    assert gateway.run("status").returncode == 2


def test_a_gateway_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal
    import types

    from guardian.cli import status as command

    with running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        os.kill(gateway.pid, signal.SIGSTOP)
        monkeypatch.setattr(command, "HEALTH_REPLY_SECONDS", 0.3)
        started = time.monotonic()
        printed: list[str] = []
        monkeypatch.setattr("builtins.print", lambda text, **more: printed.append(text))
        try:
            code = command.run(types.SimpleNamespace(config=str(gateway.config), json=False, health=True))  # type: ignore[arg-type]
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
        assert code == 1 and time.monotonic() - started < 5
        assert check(json.loads(printed[0]))["problems"] == ["gateway-silent"]
