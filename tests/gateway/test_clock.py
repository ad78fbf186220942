"""A gateway on a router that starts in 1970: what waits for the time, what does not, and what happens when it comes.

The clock is libfaketime's, for the whole process: what it shows is in a file, which the test writes anew when "the time
comes". How long the box waits is a constant that a file on the path of modules makes shorter.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from guardian.clock import MARK_FILE, RELEASED, State
from guardian.config import Config, ControlConfig, UpstreamConfig
from guardian.gateway.clock import find_newest, is_answering
from guardian.policy.model import Household, Profile
from guardian.resolver.upstream import UpstreamStatus
from guardian.store.settings import save_household
from tests.gateway.product import (
    ADULT,
    CHILD,
    NEWCOMER,
    ROOT,
    TEEN,
    Running,
    Upstream,
    addresses,
    assert_clean,
    extended_errors,
    rcode,
    wait_for,
)

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")
PAGE, OPEN = ["127.0.0.1"], ["192.0.2.10"]
NAME = "www.open.example"
HOUSEHOLD: dict[str, Any] = {
    "timezone": "UTC",
    "language": "en",
    "new_devices": "guests",
    "profiles": {
        "ana": {"name": "Ana", "age": "10-12", "offline": ["daily 21:00-07:00"], "minutes": "unlimited"},
        "matei": {"name": "Matei", "age": "16-17", "offline": [], "minutes": "unlimited"},
        "guests": {"name": "Guests", "age": "0-6", "offline": ["daily 21:00-07:00"], "minutes": 60},
        "parents": {"name": "Parents", "filtered": False, "visibility": "names"},
    },
    "devices": {
        "tablet": {"name": "Ana's tablet", "profile": "ana", "addresses": [CHILD]},
        "laptop": {"name": "Laptop", "profile": "parents", "addresses": [ADULT]},
        "phone": {"name": "Matei's phone", "profile": "matei", "addresses": [TEEN]},
    },
}
RECORDS = """
www.open.example A 192.0.2.10
0.pool.ntp.org A 192.0.2.123
ntp.provider.example A 192.0.2.124
telefonulcopilului.md A 192.0.2.32
"""

pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs libfaketime (Debian: faketime)")


class FakedClock:
    """The clock of a gateway's process: it runs on from what it is set to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "faketime"
        self.set("@1970-01-01 00:00:20")

    def set(self, text: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(text + "\n")
        aside.rename(self.path)

    def come(self) -> None:
        """NTP has answered."""
        self.set("+0")


@contextlib.contextmanager
def started(
    folder: Path, upstream: Upstream, patience: float = 600.0, servers: Sequence[str] = (), **local: Any
) -> Iterator[tuple[Running, FakedClock]]:
    clock = FakedClock(folder)
    (folder / "path").mkdir(exist_ok=True)
    (folder / "path" / "sitecustomize.py").write_text(f"import guardian.clock\nguardian.clock.PATIENCE = {patience}\n")
    prefix = (
        "env", "TZ=UTC", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={clock.path}", "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1",
        f"PYTHONPATH={folder / 'path'}:{ROOT}",
    )  # fmt: skip
    servers = list(servers) or [f"127.0.0.1:{upstream.port}"]
    settings = {"upstreams": {"servers": servers}, "local": {"addresses": ["127.0.0.1"]} | local}
    gateway = Running(folder, settings, HOUSEHOLD, prefix)
    gateway.start()
    try:
        yield gateway, clock
    finally:
        code = gateway.stop()
    assert code == 0, gateway.log()
    assert_clean(gateway.log())


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream(RECORDS)
    yield made
    made.close()


def test_what_has_hours_waits_and_nothing_else_does(tmp_path: Path, upstream: Upstream) -> None:
    with started(tmp_path, upstream, time_servers=["ntp.provider.example"]) as (gateway, clock):
        told = gateway.status()["clock"]
        assert (told["state"], told["doubt"]) == ("waiting", "before-release")
        assert told["now"] >= RELEASED
        answer = gateway.ask(NAME)
        assert addresses(answer) == PAGE
        assert b"does not know the time" in answer.to_wire()
        assert addresses(gateway.ask("telefonulcopilului.md")) == ["192.0.2.32"]
        assert addresses(gateway.ask(NAME, source=TEEN)) == OPEN
        assert addresses(gateway.ask(NAME, source=ADULT)) == OPEN
        # The box itself is a device that nobody has named, whose profile is closed too: it finds the time all the same.
        assert addresses(gateway.ask(NAME, source=NEWCOMER)) == PAGE
        assert addresses(gateway.ask("0.pool.ntp.org", source=NEWCOMER)) == ["192.0.2.123"]
        assert addresses(gateway.ask("ntp.provider.example", source=NEWCOMER)) == ["192.0.2.124"]
        assert addresses(gateway.ask("0.pool.ntp.org", source=CHILD)) == PAGE
        assert gateway.control("explain", device="tablet", host=NAME)["reason"] == "clock"
        noon_of_now = datetime.now(UTC)
        clock.come()
        wait_for(lambda: gateway.status()["clock"]["state"] == "set")
        assert abs(gateway.status()["now"] - noon_of_now.timestamp()) < 60
        expected = PAGE if noon_of_now.hour >= 21 or noon_of_now.hour < 7 else OPEN
        assert addresses(gateway.ask(NAME)) == expected
        assert "event=clock-set" in gateway.log()
        clock.set("@1970-01-01 00:05:00")  # and somebody sets it back: by its memory the box knows better
        wait_for(lambda: gateway.status()["clock"]["state"] == "waiting")
        assert abs(gateway.status()["now"] - datetime.now(UTC).timestamp()) < 60
        assert addresses(gateway.ask(NAME)) == PAGE


def test_since_when_it_runs_is_told_by_the_clock_of_today(tmp_path: Path, upstream: Upstream) -> None:
    """An alert waits until the box has run for a while: one that "runs since 1970" would not."""
    with started(tmp_path, upstream) as (gateway, clock):
        status = gateway.status()
        assert status["clock"]["state"] == "waiting"
        assert RELEASED - 60 < status["started"] < status["now"] < status["started"] + 60
        clock.come()
        wait_for(lambda: gateway.status()["clock"]["state"] == "set")
        assert abs(gateway.status()["started"] - datetime.now(UTC).timestamp()) < 60


def test_everybody_is_told_in_plain_words(tmp_path: Path, upstream: Upstream) -> None:
    with started(tmp_path, upstream) as (gateway, _):
        with httpx.Client(transport=httpx.HTTPTransport(local_address=CHILD), timeout=10, trust_env=False) as browser:
            for language, words in {"en": "does not know yet", "ro": "nu știe încă", "ru": "ещё не знает"}.items():
                headers = {"Host": NAME, "Accept-Language": language}
                text = browser.get(f"http://127.0.0.1:{gateway.page_port}/", headers=headers).text
                assert words in text
        told = gateway.run("explain", NAME, "--device", "tablet")
        assert "the box does not know the time yet" in told.stdout, told.stdout + told.stderr
        assert "nobody has set it yet" in gateway.run("status").stdout
        found = gateway.run("doctor").stdout
        assert "nobody has set the clock yet (before-release)" in found


def test_nothing_is_kept_under_a_date_of_1970(tmp_path: Path, upstream: Upstream) -> None:
    with started(tmp_path, upstream) as (gateway, clock):
        gateway.ask(NAME, source=ADULT)
        gateway.ask(NAME, source=CHILD)
        clock.come()
        wait_for(lambda: gateway.status()["clock"]["state"] == "set")
        gateway.ask(NAME, source=ADULT)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "history.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        moments = []
        for table in tables:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            for column in columns:
                if column in ("hour", "first_seen", "last_seen"):
                    scale = 3600 if column == "hour" else 1
                    found = database.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")
                    moments += [(table, column, value * scale) for (value,) in found if isinstance(value, int | float)]
    assert moments, "nothing was kept at all"
    assert all(moment >= RELEASED - 3600 for _, _, moment in moments), moments


@pytest.mark.parametrize(("known", "reason"), [("2026-11-23 20:30", "default"), ("2026-11-23 21:30", "schedule")])
def test_when_no_time_comes_the_box_goes_by_its_memory(
    tmp_path: Path, upstream: Upstream, known: str, reason: str
) -> None:
    """The plug was pulled at a moment that is written down: from there the evening goes on."""
    moment = datetime.fromisoformat(known).replace(tzinfo=UTC).timestamp()
    mark = tmp_path / "state" / MARK_FILE
    mark.parent.mkdir()
    mark.touch()
    os.utime(mark, (moment, moment))
    with started(tmp_path, upstream, patience=2.0) as (gateway, _):
        assert gateway.control("explain", device="tablet", host=NAME)["reason"] == "clock"
        gateway.ask(NAME, source=ADULT)  # the internet works
        wait_for(lambda: gateway.status()["clock"]["state"] == "by-memory")
        assert moment <= gateway.status()["now"] < moment + 60
        assert gateway.control("explain", device="tablet", host=NAME)["reason"] == reason
        assert addresses(gateway.ask(NAME)) == (OPEN if reason == "default" else PAGE)
    assert moment < os.stat(mark).st_mtime < moment + 60


def test_without_internet_the_box_waits_longer(tmp_path: Path) -> None:
    silent = Upstream("")
    port = silent.port
    silent.close()

    class Gone:
        pass

    gone: Any = Gone()
    gone.port = port
    with started(tmp_path, gone, patience=1.0) as (gateway, _):
        assert rcode(gateway.ask(NAME, source=ADULT)) == "SERVFAIL"
        with pytest.raises(AssertionError):
            wait_for(lambda: gateway.status()["clock"]["state"] != "waiting", seconds=4)
        assert 17 in extended_errors(gateway.ask(NAME)) or addresses(gateway.ask(NAME)) == PAGE


def serve_tls(upstream: Upstream, context: ssl.SSLContext, listening: socket.socket) -> None:
    """DNS over TLS in front of an upstream. A connection stays open for as long as the client wants it."""
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=serve_connection, args=(upstream, context, plain), daemon=True).start()


def serve_connection(upstream: Upstream, context: ssl.SSLContext, plain: socket.socket) -> None:
    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        while head := connection.recv(2):
            answer = upstream._answer(connection.recv(int.from_bytes(head)))
            connection.sendall(len(answer).to_bytes(2) + answer)


def test_encrypted_upstreams_work_in_1970(tmp_path: Path, upstream: Upstream) -> None:
    """Every certificate of today is "not yet valid" then. Without names no time server is found, and it stays 1970."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    authority.issue_cert("dns.test", not_before=tomorrow).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve_tls, args=(upstream, context, listening), daemon=True).start()
        server = f"tls://dns.test:{listening.getsockname()[1]}@127.0.0.1?ca={tmp_path / 'ca.pem'}"
        with started(tmp_path, upstream, servers=[server]) as (gateway, clock):
            assert addresses(gateway.ask("0.pool.ntp.org", source=NEWCOMER)) == ["192.0.2.123"]
            assert gateway.status()["clock"]["state"] == "waiting"
            clock.come()
            wait_for(lambda: gateway.status()["clock"]["state"] == "set")
            # From now on dates count, on connections that were open as well: this certificate begins tomorrow.
            assert rcode(gateway.ask(NAME, source=ADULT)) == "SERVFAIL"
            assert "not yet valid" in gateway.status()["upstreams"][0]["last_error"]
        listening.shutdown(socket.SHUT_RDWR)


# The parts


def test_the_newest_moment_is_that_of_settings_and_feed(tmp_path: Path) -> None:
    config = Config(
        upstreams=UpstreamConfig(()), state=str(tmp_path), control=ControlConfig(socket=str(tmp_path / "control.sock"))
    )
    assert find_newest(config) == 0.0
    save_household(config.settings, Household("UTC", UTC, (Profile("a", "A"),)), who="test", what="made")
    assert abs(find_newest(config) - datetime.now(UTC).timestamp()) < 60
    Path(config.settings).write_bytes(b"this is no database, and longer than its head" * 40)
    assert find_newest(config) == 0.0


@pytest.mark.parametrize(
    ("healthy", "rtt", "expected"), [(True, 12.0, True), (True, None, False), (False, 12.0, False)]
)
def test_an_upstream_works_when_it_has_answered(healthy: bool, rtt: float | None, expected: bool) -> None:
    assert is_answering(UpstreamStatus("x", healthy, rtt, 1, 0, "")) is expected
    assert State("waiting") is State.WAITING
