"""Reload: nothing lost and nothing wrong under load, wrong files refused by name, old state until the new is whole."""

from __future__ import annotations

import copy
import os
import secrets
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import pytest

from guardian.blocklist.compile import Source, compile_image
from guardian.errors import GuardianError
from guardian.names import parse_name
from guardian.store.images import write_image
from tests.gateway.product import (
    ADULT,
    CHILD,
    HOUSEHOLD,
    Running,
    Upstream,
    addresses,
    free_port,
    rcode,
    running,
    wait_for,
)

PAGE, OPEN = ["127.0.0.1"], ["192.0.2.10"]
NAME = "www.open.example"


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway for tests that leave it as they found it."""
    with running(
        tmp_path_factory.mktemp("shared"), {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}
    ) as gateway:
        yield gateway


def write_lists(gateway: Running, extra: list[str] | None = None) -> Path:
    """Put an image in force for the next reload: the two test names, and `extra` names of adults' sites."""
    names = {
        "category:adult": ["category-adult.guardian.test", *(extra or [])],
        "mandatory:test": ["mandatory.guardian.test"],
        "helpline": ["telefonulcopilului.md"],
    }
    sources = [
        Source(tag=tag, name="test", names=[parse_name(name) for name in listed]) for tag, listed in names.items()
    ]
    path = gateway.folder / "state" / "lists" / "guardian.image"
    write_image(path, [compile_image(sources, secrets.token_bytes(16), time.time()).to_bytes()])
    return path


class Load:
    """Asks without end, 2,000 queries a second, and sorts the answers; `lost` stays empty when all were answered."""

    RATE = 2000

    def __init__(self, gateway: Running) -> None:
        self.expected = {
            (CHILD, NAME): OPEN, (ADULT, NAME): OPEN,
            (CHILD, "category-adult.guardian.test"): PAGE, (ADULT, "mandatory.guardian.test"): PAGE,
            (ADULT, "blocked.example"): ["192.0.2.20"], (CHILD, "guardian.home.arpa"): PAGE,
        }  # fmt: skip
        self.sent = 0
        self.wrong: list[str] = []
        self.lost: list[int] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        for source, name in self.expected:  # from upstream once: what follows is about this gateway alone
            self._gateway.ask(name, source=source)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        sockets: dict[str, socket.socket] = {}
        for source in (CHILD, ADULT):
            sockets[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sockets[source].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sockets[source].bind((source, 0))
            sockets[source].connect(("127.0.0.1", self._gateway.port))
        kinds = list(self.expected)
        packets = [dns.message.make_query(name, "A").to_wire()[2:] for _, name in kinds]
        waiting: dict[tuple[str, int], tuple[str, str]] = {}
        started = time.monotonic()
        deadline = 0.0
        while waiting or not self._stop.is_set():
            due = 0 if self._stop.is_set() else int((time.monotonic() - started) * self.RATE) - self.sent
            for _ in range(min(due, 64)):
                kind = self.sent % len(kinds)
                source, number = kinds[kind][0], self.sent & 0xFFFF
                waiting[source, number] = kinds[kind]
                sockets[source].send(number.to_bytes(2) + packets[kind])
                self.sent += 1
            for ready in select.select(list(sockets.values()), [], [], 0.002)[0]:
                self._take(ready.recv(4096), ready.getsockname()[0], waiting)
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + 3
                if time.monotonic() > deadline:
                    break
        self.lost = [number for _, number in waiting]
        for endpoint in sockets.values():
            endpoint.close()

    def _take(self, data: bytes, source: str, waiting: dict[tuple[str, int], tuple[str, str]]) -> None:
        kind = waiting.pop((source, int.from_bytes(data[:2])), None)
        answer = dns.message.from_wire(data)
        if (
            kind is None
            or addresses(answer) != self.expected[kind]
            or answer.question[0].name.to_text() != f"{kind[1]}."
        ):
            self.wrong.append(f"{kind}: {answer}")


def test_nothing_is_lost_and_nothing_wrong_while_it_reloads(own: Running) -> None:
    write_lists(own)
    own.control("reload")
    household = copy.deepcopy(HOUSEHOLD)
    with Load(own) as load:
        for number in range(5):
            household["profiles"]["ana"]["block"] = [f"=other{number}.example"]
            own.household = household
            own.settings["dns"]["prefetch"] = bool(number % 2)
            own.write()
            assert own.run("household", "import", "home.yaml").returncode == 0
            os.kill(own.pid, signal.SIGHUP)
            write_lists(own, [f"n{number}-{index}.other.example" for index in range(5000)])
            own.control("reload")
    assert load.sent > 2000
    assert not load.lost, f"{len(load.lost)} of {load.sent} lost"
    assert not load.wrong, load.wrong[:3]
    assert own.status()["lists"]["names"] == 5003


def still_answers(gateway: Running) -> None:
    assert addresses(gateway.ask(NAME)) == OPEN
    assert addresses(gateway.ask("category-adult.guardian.test")) == PAGE
    assert addresses(gateway.ask("blocked.example")) == PAGE
    assert addresses(gateway.ask("mandatory.guardian.test", source=ADULT)) == PAGE


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        (
            "guardian.yaml",
            "dns: {listn: ['127.0.0.1:53']}\nupstreams: {servers: []}\n",
            "guardian.yaml:1: .*listn.*listen",
        ),
        ("guardian.yaml", "upstreams: [", "guardian.yaml:1"),
        ("guardian.yaml", "\0\xff", "guardian.yaml"),
        ("guardian.yaml", None, "guardian.yaml"),
        ("home.yaml", "timezone: Mars/Olympus\nprofiles: {ana: {age: 99}}\n", "home.yaml:1: .*Mars"),
        ("home.yaml", "", "home.yaml"),
        ("home.yaml", None, "home.yaml"),
        ("state/settings.db", "SQLite format 3\0 and then garbage", "settings.db"),
    ],
)
def test_a_wrong_file_is_refused_by_name(shared: Running, file: str, text: str | None, problem: str) -> None:
    still_answers(shared)
    path = shared.folder / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(GuardianError, match=problem):
        shared.control("reload")
    refused = shared.log().count("event=reload-refused")
    os.kill(shared.pid, signal.SIGHUP)
    wait_for(lambda: shared.log().count("event=reload-refused") > refused)
    still_answers(shared)
    if file == "state/settings.db":
        path.unlink()
    shared.write()
    shared.control("reload")
    still_answers(shared)


def test_every_problem_of_a_file_is_named(shared: Running) -> None:
    shared.config.write_text("dns: {listn: 1}\nupstreams: {servers: [udp://]}\nlanguage: xx\n")
    done = shared.run("gateway", "--reload")
    assert done.returncode == 2
    assert "listn" in done.stderr
    with pytest.raises(GuardianError) as refused:
        shared.control("reload")
    for word in ("guardian.yaml:1", "guardian.yaml:2", "guardian.yaml:3"):
        assert word in str(refused.value)
    shared.write()


def test_what_cannot_change_is_refused(shared: Running) -> None:
    for section, key, value in (
        ("history", "size_mb", 7),
        ("control", "group", "daemon"),
        ("block", "page", [f"127.0.0.1:{free_port()}"]),
    ):
        before = copy.deepcopy(shared.settings)
        shared.settings.setdefault(section, {})[key] = value
        shared.write()
        with pytest.raises(GuardianError, match=rf"{section}.* cannot change while the gateway runs"):
            shared.control("reload")
        shared.settings = before
    shared.write()
    shared.control("reload")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped", "empty", "deleted"])
def test_a_broken_image_leaves_the_lists_before(shared: Running, damage: str) -> None:
    path = write_lists(shared, ["listed.open.example"])
    shared.control("reload")
    assert addresses(shared.ask("listed.open.example")) == PAGE
    whole = path.read_bytes()
    wrong = {
        "truncated": whole[: len(whole) // 2],
        "garbage": os.urandom(len(whole)),
        "flipped": whole[:40] + bytes((whole[40] ^ 1,)) + whole[41:],
        "empty": b"",
    }
    # As a careless copy would put it there: another file, the mapped one stays as it is.
    aside = path.with_suffix(".aside")
    aside.write_bytes(wrong.get(damage, b""))
    if damage == "deleted":
        path.unlink()
    else:
        os.replace(aside, path)
    refused = shared.log().count("event=image-refused")
    shared.control("reload")
    assert shared.log().count("event=image-refused") == refused + 1 and "guardian.image" in shared.log()
    assert addresses(shared.ask("listed.open.example")) == PAGE
    assert shared.status()["lists"]["names"] == 4
    write_lists(shared, ["other.open.example"])
    shared.control("reload")
    assert rcode(shared.ask("listed.open.example")) == "NXDOMAIN"
    assert addresses(shared.ask("other.open.example")) == PAGE


def test_listen_addresses_come_and_go(own: Running) -> None:
    own.ask(NAME)
    more = free_port()
    own.settings["dns"]["listen"] = [f"127.0.0.1:{own.port}", f"127.0.0.53:{more}"]
    own.write()
    own.control("reload")
    assert own.status()["listen"] == [f"127.0.0.1:{own.port}", f"127.0.0.53:{more}"]
    query = dns.message.make_query(NAME, "A")
    for exchange in (dns.query.udp, dns.query.tcp):
        assert addresses(exchange(query, "127.0.0.53", 5, more, CHILD)) == OPEN
        with pytest.raises((ConnectionRefusedError, dns.exception.Timeout)):
            exchange(query, "::1", 0.5, own.port)
    still_answers(own)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_a_taken_port_refuses_the_whole_reload(own: Running, kind: socket.SocketKind) -> None:
    """Also when the other program allows sharing; and what was opened before it is closed again."""
    free, taken = free_port(), free_port()
    before = own.status()["listen"]
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", taken))
        if kind == socket.SOCK_STREAM:
            other.listen()
        own.settings["dns"]["listen"] += [f"127.0.0.1:{free}", f"127.0.0.1:{taken}"]
        own.write()
        with pytest.raises(GuardianError, match=f"cannot listen on 127.0.0.1 port {taken}: another program"):
            own.control("reload")
    assert own.status()["listen"] == before
    still_answers(own)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", free))
    own.control("reload")
    query = dns.message.make_query(NAME, "A")
    for exchange in (dns.query.udp, dns.query.tcp):
        assert addresses(exchange(query, "127.0.0.1", 5, taken, CHILD)) == OPEN


def test_another_upstream_is_another_world(own: Running, upstream: Upstream) -> None:
    other = Upstream("www.open.example A 192.0.2.99\n")
    try:
        assert addresses(own.ask(NAME)) == OPEN
        own.settings["upstreams"]["servers"] = [f"127.0.0.1:{other.port}"]
        own.write()
        own.control("reload")
        assert addresses(own.ask(NAME)) == ["192.0.2.99"]
        assert [u["label"] for u in own.status()["upstreams"]] == [f"udp://127.0.0.1:{other.port}"]
    finally:
        other.close()


def test_a_question_under_way_survives_a_new_upstream(own: Running, upstream: Upstream) -> None:
    other = Upstream("late.open.example A 192.0.2.99\nwww.open.example A 192.0.2.98")
    results: list[dns.message.Message] = []
    upstream.delay = 0.7
    try:
        asking = threading.Thread(target=lambda: results.append(own.ask("n1.any.example")))
        asking.start()
        wait_for(lambda: "n1.any.example" in upstream.names())
        own.settings["upstreams"]["servers"] = [f"127.0.0.1:{other.port}"]
        own.write()
        own.control("reload")
        asking.join(10)
        assert rcode(results[0]) == "NOERROR" and addresses(results[0])
        assert addresses(own.ask("late.open.example")) == ["192.0.2.99"]
    finally:
        upstream.delay = 0.0
        other.close()


def test_settings_of_the_engine_take_effect(own: Running, upstream: Upstream) -> None:
    own.ask(NAME)
    upstream.add("private.open.example A 192.168.7.7")
    assert addresses(own.ask("private.open.example")) == []
    own.settings["dns"] |= {
        "max_ttl": 7,
        "cache_bytes": "2MB",
        "table_entries": 11,
        "rebinding_allowed": ["open.example"],
    }
    own.settings["block"] |= {"ttl": 3, "other": "nxdomain"}
    own.settings["log_level"] = "warning"
    own.write()
    own.control("reload")
    own.control("flush")
    assert own.ask(NAME).answer[0].ttl <= 7
    assert addresses(own.ask("private.open.example")) == ["192.168.7.7"]
    assert rcode(own.ask("blocked.example")) == "NXDOMAIN"
    cache = own.status()["cache"]
    assert (cache["max_bytes"], cache["max_ready"]) == (2 << 20, 11)
    own.settings["dns"]["rebinding_allowed"] = []
    own.write()
    own.control("reload")
    assert addresses(own.ask("private.open.example")) == []


def test_the_old_image_is_let_go_and_memory_stays_flat(own: Running) -> None:
    def maps() -> list[str]:
        lines = Path(f"/proc/{own.pid}/maps").read_text().splitlines()
        return [line.split()[4] for line in lines if "guardian.image" in line]

    sizes = []
    for number in range(30):
        path = write_lists(own, [f"n{number}-{index}.load.example" for index in range(2000)])
        own.control("reload")
        assert addresses(own.ask(f"n{number}-7.load.example")) == PAGE
        sizes.append(own.memory())
    # The thread that loaded it lets the image before go a moment after the answer.
    wait_for(lambda: maps() == [str(path.stat().st_ino)])
    assert max(sizes[10:]) - sizes[9] < 1 << 20, sizes


def test_reloads_that_come_together(own: Running) -> None:
    """From the signal and from several programs at once: each is answered, the last state holds."""
    errors: list[Any] = []

    def reload() -> None:
        try:
            own.control("reload")
        except GuardianError as error:
            errors.append(error)

    port = free_port()
    own.settings["dns"]["listen"].append(f"127.0.0.1:{port}")
    own.write()
    threads = [threading.Thread(target=reload) for _ in range(6)]
    for thread in threads:
        thread.start()
        os.kill(own.pid, signal.SIGHUP)
    for thread in threads:
        thread.join(20)
    assert not errors
    assert own.status()["listen"][-1] == f"127.0.0.1:{port}"
    still_answers(own)
