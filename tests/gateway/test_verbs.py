"""The verbs of the control socket on a running gateway: whose, presence, events, erase, pause, flush, status."""

from __future__ import annotations

import copy
import json
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardian.errors import GuardianError
from guardian.gateway.live import MAX_READERS
from tests.gateway.product import (
    ADULT,
    CHILD,
    GROUNDED,
    HOUSEHOLD,
    NEWCOMER,
    ROOT,
    TEEN,
    Running,
    Upstream,
    addresses,
    option,
    running,
    wait_for,
)
from tests.gateway.test_process import write_lists
from tests.gateway.test_process_history import find_secrets, rows

MAC = "02:00:5e:10:00:aa"
TABLET_MAC = "02:00:5e:10:00:01"
SILENT = ("telefonulcopilului.md", "www.telefonulcopilului.md", "mandatory.guardian.test", "illegal.open.example")


class Listener:
    """One connection to the verb `events`; what it tells without heartbeats is in `events`."""

    def __init__(self, gateway: Running) -> None:
        self.events: list[dict[str, Any]] = []
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(20)
        self._connection.connect(gateway.socket)
        self._connection.sendall(b'{"verb":"events"}\n')
        self._stream = self._connection.makefile("rb")
        self.reply = json.loads(self._stream.readline())
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> Listener:
        self._thread.start()
        return self

    def _read(self) -> None:
        for line in self._stream:
            event = json.loads(line)
            if event["event"] != "heartbeat":
                self.events.append(event)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(10)
        self._stream.close()
        self._connection.close()


@contextmanager
def listening(gateway: Running) -> Iterator[Listener]:
    listener = Listener(gateway)
    try:
        assert listener.reply == {"ok": True}
        yield listener.start()
    finally:
        listener.close()


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    """A gateway of a test's own, with a copy of its history."""
    with running(tmp_path, own_settings(upstream)) as gateway:
        yield gateway


def own_settings(upstream: Upstream) -> dict[str, Any]:
    servers = {"servers": [f"127.0.0.1:{upstream.port}"]}
    return {"upstreams": servers, "history": {"flush_seconds": 0.1, "snapshot": "state/copy.db"}}


def presence(gateway: Running) -> dict[str, dict[str, Any]]:
    """What `presence` tells, by MAC or else by device."""
    return {entry["mac"] or entry["device"]: entry for entry in gateway.control("presence")["devices"]}


# explain


def explain(gateway: Running, device: str, host: str) -> tuple[str, str, str]:
    told = gateway.control("explain", device=device, host=host)
    assert told.keys() == {"ok", "action", "reason", "rule", "until"} and told["until"] is None
    return told["action"], told["reason"], told["rule"]


def test_explain_knows_what_an_answer_leads_to(own: Running) -> None:
    assert explain(own, "tablet", "Blocked.example.") == ("block", "rule", "rule:block =blocked.example")
    assert explain(own, "tablet", "cloaked.open.example")[0] == "allow"  # nobody has asked for it yet
    own.ask("cloaked.open.example", source=ADULT)  # whoever it was
    assert explain(own, "tablet", "cloaked.open.example") == ("block", "category", "category:cryptojacking")
    assert explain(own, "laptop", "cloaked.open.example")[0] == "allow"
    assert explain(own, "tablet", "www.google.com")[0] == "rewrite"
    own.ask("illegal.open.example", source=ADULT)
    for name in ("illegal.open.example", "mandatory.guardian.test"):
        assert explain(own, "laptop", name) == ("block", "mandatory", "")  # of which list is not told
    assert explain(own, "console", "telefonulcopilului.md")[:2] == ("allow", "helpline")


def test_explain_leaves_no_trace(own: Running) -> None:
    explain(own, "tablet", "www.open.example")
    assert own.status()["queries"]["total"] == 0
    own.stop()
    assert rows(own, "SELECT name FROM visits") == [] and rows(own, "SELECT * FROM hours") == []


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"device": "tablet"},
        {"device": "tablet", "host": ""},
        {"device": "tablet", "host": "x" * 64 + ".example"},
        {"device": "", "host": "open.example"},
        {"device": "ana", "host": "open.example"},
        {"device": None, "host": None},
    ],
)
def test_explain_refuses_what_it_does_not_know(home: Running, words: dict[str, Any]) -> None:
    with pytest.raises(GuardianError):
        home.control("explain", **words)


# whose

NOBODY = {"device": "", "profile": "guests", "name": "", "is_child": False, "mac": "", "hostname": ""}


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (CHILD, {"device": "tablet", "profile": "ana", "name": "Tablet", "is_child": True}),
        (f"::ffff:{CHILD}", {"device": "tablet", "profile": "ana", "name": "Tablet", "is_child": True}),
        (GROUNDED, {"device": "console", "profile": "ion", "name": "Console", "is_child": True}),
        (ADULT, {"device": "laptop", "profile": "parents", "name": "Laptop"}),  # not filtered: no child's
        ("::1", {"device": "laptop", "profile": "parents", "name": "Laptop"}),
        (NEWCOMER, {}),  # a young profile, but nobody has named the device
        ("8.8.8.8", {}),
        ("fe80::1%eth0", {}),
    ],
)
def test_whose_an_address_is(home: Running, address: str, told: dict[str, Any]) -> None:
    assert home.control("whose", address=address) == {"ok": True} | NOBODY | told


@pytest.mark.parametrize("address", ["", "x", "127.0.0.2 ", "1.2.3", "<script>", 7, None, ["127.0.0.2"], "9" * 3000])
def test_an_address_that_is_none(home: Running, address: Any) -> None:
    with pytest.raises(GuardianError, match="is no address"):
        home.control("whose", address=address)


def test_whose_follows_the_household_and_notes_nothing(own: Running) -> None:
    assert own.control("whose", address=NEWCOMER)["device"] == ""
    own.household = copy.deepcopy(HOUSEHOLD)
    own.household["devices"]["new"] = {"name": "<b>New</b>", "profile": "ana", "addresses": [NEWCOMER]}
    own.household["profiles"]["ana"]["filtered"] = False
    own.write()
    own.control("reload")
    assert own.control("whose", address=NEWCOMER)["name"] == "<b>New</b>"
    assert own.control("whose", address=NEWCOMER)["is_child"] is False
    assert own.control("presence")["devices"] == []  # who was asked about was not here


# presence


def test_who_asks_dns_is_here(own: Running) -> None:
    assert own.control("presence")["devices"] == []
    before = time.time()
    own.ask("www.open.example")
    own.ask("telefonulcopilului.md", source=GROUNDED)  # to be there is no secret, what was asked is
    own.ask("www.open.example", source=NEWCOMER)
    own.ask("www.open.example", source=ADULT, options=[option(65001, bytes.fromhex(MAC.replace(":", "")))])
    own.ask("www.open.example", source=ADULT, options=[option(65001, bytes.fromhex(TABLET_MAC.replace(":", "")))])
    found = presence(own)
    assert {key: (entry["device"], entry["addresses"]) for key, entry in found.items()} == {
        "tablet": ("tablet", [CHILD]),
        "console": ("console", [GROUNDED]),
        "laptop": ("laptop", [ADULT]),  # it forwards here, and is a named device all the same
        MAC: ("", []),
        TABLET_MAC: ("tablet", []),
    }
    for entry in found.values():
        assert entry["online"] is True and before - 1 <= entry["first_seen"] <= entry["last_seen"] <= time.time() + 1
    time.sleep(1.1)
    seen = presence(own)["tablet"]["last_seen"]
    own.ask("www.open.example")  # from the table of ready answers
    wait_for(lambda: presence(own)["tablet"]["last_seen"] > seen, 3)


def test_the_last_sight_is_fresh_without_more_writing(own: Running) -> None:
    """The history learns of a sight when a device is new, and at the end; not each time that somebody looks."""
    mac = option(65001, bytes.fromhex(MAC.replace(":", "")))
    own.ask("www.open.example", source=ADULT, options=[mac])
    (first,) = wait_for(lambda: rows(own, "SELECT last_seen FROM sighting"))
    time.sleep(1.1)
    own.ask("www.open.example", source=ADULT, options=[mac])
    wait_for(lambda: presence(own)[MAC]["last_seen"] > first[0] + 1)
    time.sleep(0.5)
    assert rows(own, "SELECT last_seen FROM sighting") == [first]
    last = presence(own)[MAC]["last_seen"]
    own.stop()
    assert rows(own, "SELECT last_seen FROM sighting")[0][0] == pytest.approx(last, abs=6)


def test_after_a_restart_the_devices_of_before_are_away_until_they_ask(own: Running) -> None:
    mac = option(65001, bytes.fromhex(MAC.replace(":", "")))
    own.ask("www.open.example", source=ADULT, options=[mac])
    own.stop()
    with closing(sqlite3.connect(own.folder / "state" / "history.db")) as connection, connection:
        connection.execute("UPDATE sighting SET last_seen = last_seen - 3600, first_seen = first_seen - 7200")
    own.start()
    before = wait_for(lambda: presence(own).get(MAC))
    assert before["online"] is False
    with listening(own) as listener:
        own.ask("www.open.example", source=ADULT, options=[mac])
        wait_for(lambda: {"event": "device", "mac": MAC, "device": "", "online": True} in listener.events)
    after = presence(own)[MAC]
    assert after["online"] is True and after["first_seen"] == before["first_seen"]


def test_coming_and_going_is_told(upstream: Upstream, tmp_path: Path) -> None:
    """The same program, to which a device is away after three seconds, not after five minutes."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import guardian.gateway.presence as p\np.ONLINE_SECONDS = 3.0\n")
    prefix = ("env", f"PYTHONPATH={site}:{ROOT}")
    with running(tmp_path, own_settings(upstream), prefix=prefix) as gateway, listening(gateway) as listener:
        for _ in range(2):
            listener.events.clear()
            gateway.ask("www.open.example")
            wait_for(lambda: {"event": "device", "mac": "", "device": "tablet", "online": True} in listener.events)
            assert presence(gateway)["tablet"]["online"] is True
            wait_for(lambda: {"event": "device", "mac": "", "device": "tablet", "online": False} in listener.events, 15)
            assert presence(gateway)["tablet"]["online"] is False
            assert len(listener.of("device")) == 2


# events


def test_what_is_told_of_decisions_is_what_the_history_keeps(own: Running) -> None:
    with listening(own) as listener:
        for source in (CHILD, TEEN, ADULT, GROUNDED, NEWCOMER):
            for name in ("www.open.example", "category-adult.guardian.test", "blocked.example", *SILENT):
                for number in range(2):
                    own.ask(name, source=source, tcp=number == 1)
        # Each device's hourly counts in the history are the sums of what was told.
        query = "SELECT device, action, reason, tag, sum(count) FROM hours GROUP BY 1, 2, 3, 4"
        wait_for(
            lambda: (
                sum(event["times"] for event in listener.of("decision")) >= sum(row[4] for row in rows(own, query)) > 20
            )
        )
        time.sleep(1.2)
        told: dict[tuple[str, ...], int] = {}
        for event in listener.of("decision"):
            key = (event["device"], event["action"], event["reason"], event["tag"])
            told[key] = told.get(key, 0) + event["times"]
            assert abs(event["at"] - time.time()) < 30
        assert sorted((*key, times) for key, times in told.items()) == rows(own, query)
        named = {(event["device"], event["name"]) for event in listener.of("decision") if "name" in event}
        assert named == set(rows(own, "SELECT DISTINCT device, name FROM visits"))
        assert {device for device, _ in named} == {"tablet", "laptop", ""}
        # For the newcomer all but the sites of the smallest is closed unresolved: nobody knows where a name leads.
        resolved = json.dumps([event for event in listener.events if event.get("reason") != "allow-list-only"])
    for name in ("telefonulcopilului", "mandatory", "illegal", "helpline"):
        assert name not in resolved
    teen = [event for event in listener.of("decision") if event["device"] == "phone"]
    assert teen and all((event["reason"], event["tag"]) == ("", "") and "name" not in event for event in teen)
    grounded = [event for event in listener.of("decision") if event["device"] == "console"]
    assert grounded and not [event for event in grounded if "name" in event]


def test_attempts_and_changes_are_told(own: Running) -> None:
    with listening(own) as listener:
        own.ask("www.open.example", source=ADULT, options=[option(65001, bytes.fromhex(MAC.replace(":", "")))])
        attempt = wait_for(lambda: listener.of("attempt"))[0]
        assert attempt | {"at": 0} == {
            "event": "attempt", "at": 0, "device": "", "mac": MAC, "kind": "unknown-device", "times": 1,
        }  # fmt: skip
        own.control("reload")  # nothing is new
        own.household = copy.deepcopy(HOUSEHOLD)
        own.household["profiles"]["ana"]["block"] = ["www.open.example"]
        own.write()
        own.control("reload")
        own.control("pause", id="ana", until=0)
        wait_for(lambda: len(listener.of("change")) == 2)
        assert listener.of("change") == [{"event": "change", "what": "household"}] * 2
        write_lists(own)
        own.control("reload")
        wait_for(lambda: {"event": "change", "what": "lists"} in listener.events)


def test_eight_may_listen(own: Running) -> None:
    listeners = [Listener(own) for _ in range(MAX_READERS + 1)]
    try:
        assert [listener.reply["ok"] for listener in listeners] == [True] * MAX_READERS + [False]
        assert "listen already" in listeners[-1].reply["error"]
        for listener in listeners[:-1]:
            listener.start()
        own.control("pause", id="ana", until=0)
        for listener in listeners[:-1]:
            wait_for(lambda listener=listener: listener.of("change"))
        listeners.pop(0).close()
        listeners.append(wait_for(lambda: try_to_listen(own)))
    finally:
        for listener in listeners:
            listener.close()


def try_to_listen(gateway: Running) -> Listener | None:
    listener = Listener(gateway)
    if listener.reply["ok"]:
        return listener
    listener.close()
    return None


def test_a_slow_reader_loses_and_stops_nobody(own: Running) -> None:
    slow = Listener(own)
    try:
        with listening(own) as fast:
            for number in range(1, 2501):
                own.ask(f"n{number}.any.example", source=ADULT)
                if number % 250 == 0:
                    wait_for(lambda wanted=number: len(fast.of("decision")) == wanted)
            assert not fast.of("lost")
        slow.start()
        lost = wait_for(lambda: slow.of("lost"))[0]["count"]
        assert lost > 0
        assert len(slow.events) - 1 + lost == len(fast.events) > 2500
        slow.events.clear()
        own.ask("www.open.example")
        wait_for(lambda: [event for event in slow.of("decision") if event.get("name") == "www.open.example"])
    finally:
        slow.close()


def test_listeners_do_not_keep_the_gateway_from_ending(own: Running) -> None:
    listeners = [Listener(own).start() for _ in range(3)]
    began = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - began < 5
    for listener in listeners:
        listener.close()
    own.start()


def test_a_gateway_gathers_nothing_for_nobody(own: Running) -> None:
    """Its memory does not grow with what nobody hears: the mirror goes with the last listener."""
    with listening(own) as listener:
        own.ask("www.open.example")
        wait_for(lambda: listener.of("decision"))
    for number in range(300):
        own.ask(f"n{number}.any.example", source=ADULT)
    with listening(own) as listener:
        own.ask("two.open.example")
        wait_for(lambda: listener.of("decision"))
        time.sleep(1.2)
        assert [event["name"] for event in listener.of("decision")] == ["two.open.example"]


# erase


def test_erasing_leaves_no_trace_and_everything_goes_on(own: Running) -> None:
    mac = option(65001, bytes.fromhex(MAC.replace(":", "")))
    for _ in range(3):
        own.ask("www.open.example")
        own.ask("category-adult.guardian.test")
        own.ask("two.open.example", source=ADULT, options=[mac])
    own.ask("mandatory.guardian.test")
    wait_for(lambda: rows(own, "SELECT * FROM mandatory") and rows(own, "SELECT * FROM sighting"))
    own.control("pause", id="ana", until=time.time() + 3600)
    own.ask("text.open.example", "TXT", source=ADULT)  # gathered, perhaps not yet written
    assert own.control("erase") == {"ok": True}
    assert own.control("presence")["devices"] == []
    secrets = [
        b"www.open.example",
        b"two.open.example",
        b"text.open.example",
        b"category-adult",
        MAC.encode(),
        b"tablet",
    ]
    for path in (own.folder / "state").rglob("*.db*"):
        if not path.name.startswith("settings"):
            data = path.read_bytes().lower()
            assert [secret for secret in secrets if secret in data] == [], path
    assert (own.folder / "state" / "copy.db").exists()
    assert addresses(own.ask("www.open.example")) == ["192.0.2.10"]  # no pause is left
    own.ask("www.open.example", source=ADULT, options=[mac])
    wait_for(lambda: rows(own, "SELECT mac FROM sighting") == [(MAC,)])
    assert own.log().count("event=new-device") == 2
    wait_for(lambda: rows(own, "SELECT sum(count) FROM hours") == [(2,)])


def test_a_history_that_cannot_be_erased_is_told(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "state" / "history.db").mkdir(parents=True)
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        with pytest.raises(GuardianError, match="the history cannot be erased"):
            gateway.control("erase")
        assert addresses(gateway.ask("www.open.example")) == ["192.0.2.10"]


# A mandatory list in a helpline's way


def test_a_helpline_that_a_mandatory_list_blocks_is_noted_of_nobody(upstream: Upstream, tmp_path: Path) -> None:
    upstream.add("lost.telefonulcopilului.md CNAME mandatory.guardian.test.")
    with running(tmp_path, own_settings(upstream)) as gateway, listening(gateway) as listener:
        for source in (CHILD, TEEN, CHILD, GROUNDED):
            assert addresses(gateway.ask("lost.telefonulcopilului.md", source=source)) == ["127.0.0.1"]
        (row,) = wait_for(lambda: rows(gateway, "SELECT device, mac, kind, count, first, last FROM attempt"))
        midnight = int(time.time()) // 86400 * 86400
        assert row == ("", "", "helpline-blocked", 1, midnight, midnight)
        time.sleep(1.2)
        assert listener.of("attempt") == [] and listener.of("decision") == []
    assert find_secrets(tmp_path) == []


# The rest


def test_a_pause_that_cannot_be(home: Running) -> None:
    for arguments in ({"id": "nobody"}, {"id": "ana", "until": "soon"}, {"id": "ana", "until": True}, {"id": ["ana"]}):
        with pytest.raises(GuardianError, match=r"no profile or device|must be epoch seconds"):
            home.control("pause", **arguments)


def test_flush_and_status(home: Running) -> None:
    home.ask("www.open.example", source=ADULT)
    assert home.control("flush", name="www.open.example")["forgotten"] >= 1
    with pytest.raises(GuardianError):
        home.control("flush", name="..")
    status = home.status()
    assert status["pid"] == home.pid and status["queries"]["total"] >= 1 and status["filter"] == {"enabled": False}


def test_verbs_come_together(home: Running) -> None:
    """From many threads at once, while somebody listens."""
    failures: queue.Queue[Exception] = queue.Queue()

    def ask() -> None:
        try:
            for _ in range(20):
                home.control("presence")
                home.control("whose", address=CHILD)
        except GuardianError as error:
            failures.put(error)

    with listening(home):
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failures.empty()
