"""What is counted and what is kept: exact counts, no more than each profile shows, no trace of helplines anywhere."""

from __future__ import annotations

import copy
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    HOUSEHOLD,
    NEWCOMER,
    TEEN,
    Running,
    Upstream,
    addresses,
    option,
    running,
    wait_for,
)

SECRETS = [b"telefonulcopilului", b"mandatory.guardian.test", b"mandatory-secret", b"illegal.open.example"]


def rows(gateway: Running, query: str) -> list[tuple[Any, ...]]:
    path = gateway.folder / "state" / "history.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'visits'").fetchone():
            return []  # the writer has only begun
        return sorted(connection.execute(query).fetchall())


def written(gateway: Running, queries: int) -> bool:
    return any((counted or 0) >= queries for (counted,) in rows(gateway, "SELECT sum(count) FROM hours"))


def test_counts_are_exact_and_only_what_may_be_kept_is_kept(upstream: Upstream, tmp_path: Path) -> None:
    asked = [
        (CHILD, "www.open.example", 5), (CHILD, "category-adult.guardian.test", 3), (CHILD, "www.google.com", 2),
        (CHILD, "blocked.example", 2), (CHILD, "telefonulcopilului.md", 4), (CHILD, "illegal.open.example", 1),
        (TEEN, "www.open.example", 6), (TEEN, "category-adult.guardian.test", 2), (TEEN, "telefonulcopilului.md", 1),
        (GROUNDED, "www.open.example", 2), (GROUNDED, "telefonulcopilului.md", 2), (GROUNDED, "two.open.example", 1),
        (ADULT, "www.open.example", 7), (ADULT, "mandatory.guardian.test", 3), (NEWCOMER, "www.open.example", 1),
        (CHILD, "guardian.home.arpa", 2), (CHILD, "nas.lan", 1),
    ]  # fmt: skip
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        for source, name, count in asked:
            for number in range(count):
                gateway.ask(name, source=source, tcp=number == 1)
        done = gateway.run("status", "--json")
        status = json.loads(done.stdout)
        queries = status["queries"]
        assert queries["total"] == sum(count for _, _, count in asked)
        assert queries["blocked"] == 3 + 2 + 1 + 2 + 2 + 1 + 3 + 1
        assert queries["rewritten"] == 2
        assert queries["reasons"] == {
            "category": 5, "rule": 2, "mandatory": 4, "schedule": 3, "allow-list-only": 1,
        }  # fmt: skip
        wait_for(lambda: written(gateway, 31))
    assert rows(gateway, "SELECT sum(count) FROM hours") == [(5 + 3 + 2 + 2 + 6 + 2 + 2 + 1 + 7 + 1,)]
    totals = rows(gateway, "SELECT device, action, sum(count) FROM hours GROUP BY 1, 2")
    assert totals == [
        ("", "block", 1),
        ("console", "block", 3),
        ("laptop", "allow", 7),
        ("phone", "allow", 6),
        ("phone", "block", 2),
        ("tablet", "allow", 5),
        ("tablet", "block", 5),
        ("tablet", "rewrite", 2),
    ]
    tags = rows(gateway, "SELECT DISTINCT device, tag FROM hours WHERE tag != ''")
    assert ("tablet", "category:adult") in tags and not [tag for tag in tags if tag[0] == "phone"]
    names = rows(gateway, "SELECT DISTINCT device, name FROM visits")
    assert [name for device, name in names if device == "tablet"] == [
        "blocked.example", "category-adult.guardian.test", "www.google.com", "www.open.example"
    ]  # fmt: skip
    assert not {device for device, _ in names} & {"phone", "console"}
    assert rows(gateway, "SELECT sum(count) FROM mandatory") == [(4,)]


def find_secrets(folder: Path) -> list[tuple[str, bytes]]:
    """Where a name is that must not be kept: in presentation form or as labels on the wire."""
    found = []
    for path in (*folder.rglob("state/**/*"), folder / "log"):
        if path.is_file() and path.suffix != ".image":
            data = path.read_bytes().lower()
            found += [(path.name, secret) for secret in SECRETS if secret in data]
            found += [(path.name, secret) for secret in SECRETS if secret.replace(b".", b"\x04") in data]
    return found


def test_helplines_and_mandatory_names_leave_no_trace(upstream: Upstream, tmp_path: Path) -> None:
    """Not in any file of the state directory, not in the log: while it runs, after its end, after a kill."""
    settings = {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]},
        "history": {"flush_seconds": 0.1, "snapshot": "state/copy.db"},
    }
    upstream.silent = False
    with running(tmp_path, settings) as gateway:
        for source in (CHILD, TEEN, ADULT, GROUNDED, NEWCOMER):
            for name in ("telefonulcopilului.md", "www.telefonulcopilului.md", "illegal.open.example"):
                if name == "illegal.open.example" and source in (GROUNDED, NEWCOMER):
                    continue  # never resolved for them, so nobody knows where it leads
                gateway.ask(name, source=source)
                gateway.ask(name, "HTTPS", source=source, tcp=True)
            gateway.ask("mandatory.guardian.test", source=source)
            gateway.ask("x.mandatory-secret.mandatory.guardian.test", source=source)
            gateway.ask("www.open.example", source=source)
        upstream.silent = True
        gateway.control("flush")
        gateway.ask("telefonulcopilului.md")  # what fails is no trace either
        upstream.silent = False
        wait_for(lambda: written(gateway, 5))
        assert find_secrets(tmp_path) == []
        assert gateway.run("household", "pause", "--profile", "ana").returncode == 0
        gateway.control("reload")
        gateway.kill()
        assert find_secrets(tmp_path) == []
        gateway.start()
        gateway.ask("www.open.example")
    assert (tmp_path / "state" / "copy.db").exists()
    assert find_secrets(tmp_path) == []


def test_names_go_when_a_profile_shows_less(upstream: Upstream, tmp_path: Path) -> None:
    """By changing the profile, and by giving the device to a profile that shows less."""
    household = copy.deepcopy(HOUSEHOLD)
    for way in ("profile", "device"):
        folder = tmp_path / way
        folder.mkdir()
        with running(folder, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
            gateway.ask("www.open.example")
            gateway.ask("two.open.example", source=ADULT)
            wait_for(lambda: len(rows(gateway, "SELECT DISTINCT name FROM visits")) == 2)
            changed = copy.deepcopy(household)
            if way == "profile":
                changed["profiles"]["ana"]["visibility"] = "counts"
            else:
                changed["devices"]["tablet"]["profile"] = "matei"
            gateway.household = changed
            gateway.write()
            gateway.control("reload")
            wait_for(lambda: rows(gateway, "SELECT DISTINCT name FROM visits") == [("two.open.example",)])
            assert b"www.open.example" not in (folder / "state" / "history.db").read_bytes()
            gateway.ask("www.open.example")
        assert rows(gateway, "SELECT DISTINCT name FROM visits") == [("two.open.example",)]


def test_a_restart_keeps_known_devices(upstream: Upstream, tmp_path: Path) -> None:
    mac = option(65001, bytes.fromhex("02005e1000aa"))

    def seen(gateway: Running) -> int:
        return int(gateway.status()["household"]["devices_seen"])

    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        assert addresses(gateway.ask("www.open.example", source=ADULT, options=[mac])) == ["127.0.0.1"]
        assert seen(gateway) == 1
        assert gateway.log().count("event=new-device") == 1
        gateway.stop()
        gateway.start()
        wait_for(lambda: seen(gateway) == 1)
        gateway.ask("www.open.example", source=ADULT, options=[mac])
        assert seen(gateway) == 1 and gateway.log().count("event=new-device") == 1
    # Behind dnsmasq only the MAC is known: the forwarder's address is not the device's.
    assert rows(gateway, "SELECT mac, addresses FROM sighting") == [("02:00:5e:10:00:aa", "")]


def test_a_broken_history_stops_nothing(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "history.db").write_bytes(b"no database" * 500)
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        assert addresses(gateway.ask("www.open.example")) == ["192.0.2.10"]
        wait_for(lambda: written(gateway, 1))
        assert gateway.status()["history"]["error"] == ""
