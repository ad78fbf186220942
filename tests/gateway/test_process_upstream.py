"""Upstream trouble: stale answers in time, SERVFAIL with a reason for what is not known, and recovery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest

from tests.gateway.product import (
    Running,
    Upstream,
    addresses,
    extended_errors,
    free_port,
    least_ttl,
    rcode,
    running,
    wait_for,
)

STALE, STALE_NXDOMAIN, NO_AUTHORITY, NETWORK = 3, 19, 22, 23
RECORDS = "a.open.example A 192.0.2.1\nb.open.example A 192.0.2.2\nc.open.example A 192.0.2.3\n"


@pytest.fixture
def source() -> Iterator[Upstream]:
    """An upstream whose answers are good for a second."""
    server = Upstream(RECORDS, ttl=1)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def own(source: Upstream, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{source.port}"], "timeout": "2.5s"}}) as gateway:
        yield gateway


def expire() -> None:
    """Wait until what has a TTL of one second is old."""
    time.sleep(1.1 + (1 - time.monotonic() % 1))


def test_stale_answers_in_time_and_recovery(own: Running, source: Upstream) -> None:
    assert addresses(own.ask("a.open.example")) == ["192.0.2.1"]
    assert rcode(own.ask("none.open.example")) == "NXDOMAIN"
    expire()
    source.silent = True
    started = time.monotonic()
    answer = own.ask("a.open.example")
    assert time.monotonic() - started < 2.0  # RFC 8767 section 5: before a client gives up
    assert addresses(answer) == ["192.0.2.1"] and STALE in extended_errors(answer) and least_ttl(answer) <= 30
    # From now on at once, without asking again for a while.
    asked = len(source.asked)
    started = time.monotonic()
    assert STALE in extended_errors(own.ask("a.open.example"))
    assert time.monotonic() - started < 0.5
    assert [a.name for a in source.asked[asked:]].count("a.open.example") <= 1  # the one under way may repeat itself
    unknown = own.ask("b.open.example")
    assert rcode(unknown) == "SERVFAIL" and set(extended_errors(unknown)) & {NO_AUTHORITY, NETWORK}
    assert not own.status()["upstreams"][0]["healthy"]
    source.silent = False
    own.control("flush", name="b.open.example")  # a failure is kept for seconds
    assert addresses(own.ask("b.open.example")) == ["192.0.2.2"]
    wait_for(lambda: own.status()["upstreams"][0]["healthy"])


def test_a_dead_upstream(own: Running, source: Upstream) -> None:
    """Nobody listens there: ICMP says so, and nobody waits for a timeout."""
    assert addresses(own.ask("a.open.example")) == ["192.0.2.1"]
    expire()
    port = source.port
    source.close()
    try:
        answer = own.ask("a.open.example")
        assert addresses(answer) == ["192.0.2.1"] and STALE in extended_errors(answer)
        unknown = own.ask("c.open.example")
        assert rcode(unknown) == "SERVFAIL" and NETWORK in extended_errors(unknown)
        assert addresses(own.ask("category-adult.guardian.test")) == ["127.0.0.1"]
    finally:
        source.__init__(RECORDS, 1, port)  # type: ignore[misc]
    own.control("flush", name="c.open.example")
    assert addresses(own.ask("c.open.example")) == ["192.0.2.3"]


def test_a_slow_upstream_is_waited_for(own: Running, source: Upstream) -> None:
    source.delay = 1.0
    answer = own.ask("a.open.example")
    assert addresses(answer) == ["192.0.2.1"] and not extended_errors(answer)
    assert addresses(own.ask("b.open.example", tcp=True)) == ["192.0.2.2"]


def test_the_good_one_of_two(source: Upstream, tmp_path: Path) -> None:
    """One is dead, one answers: after a few questions nobody feels it."""
    dead = free_port()
    for strategy in ("failover", "fastest", "race"):
        folder = tmp_path / strategy
        folder.mkdir()
        servers = [f"127.0.0.1:{dead}", f"127.0.0.1:{source.port}"]
        with running(folder, {"upstreams": {"servers": servers, "strategy": strategy}}) as gateway:
            for number in range(20):
                assert addresses(gateway.ask(f"n{number}.any.example")) == ["192.0.2.77"]
            states = {state["label"]: state for state in gateway.status()["upstreams"]}
            assert not states[f"udp://127.0.0.1:{dead}"]["healthy"]
            assert states[f"udp://127.0.0.1:{source.port}"]["healthy"]


def test_one_question_for_many_who_wait(own: Running, source: Upstream) -> None:
    import socket

    source.delay = 0.4
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", own.port))
        for number in range(40):
            client.send(dns.message.make_query("a.open.example", "A", id=number).to_wire())
        ids = {dns.message.from_wire(client.recv(4096)).id for _ in range(40)}
    assert ids == set(range(40))
    assert [asked.name for asked in source.asked] == ["a.open.example"]


def test_serve_stale_can_be_switched_off(source: Upstream, tmp_path: Path) -> None:
    settings = {"upstreams": {"servers": [f"127.0.0.1:{source.port}"], "timeout": "1s"}, "dns": {"serve_stale": 0}}
    with running(tmp_path, settings) as gateway:
        assert addresses(gateway.ask("a.open.example")) == ["192.0.2.1"]
        expire()
        source.silent = True
        assert rcode(gateway.ask("a.open.example")) == "SERVFAIL"


def test_forwarded_domains_have_their_own_servers(source: Upstream, tmp_path: Path) -> None:
    inner = Upstream("nas.lan A 192.168.5.5\n5.5.168.192.in-addr.arpa PTR nas.lan.\n")
    forward = [{"domain": name, "upstreams": [f"127.0.0.1:{inner.port}"]} for name in ("lan", "168.192.in-addr.arpa")]
    try:
        with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{source.port}"]}, "forward": forward}) as gateway:
            assert addresses(gateway.ask("nas.lan")) == ["192.168.5.5"]  # not rebinding: it is the home's own
            assert gateway.ask("5.5.168.192.in-addr.arpa", "PTR").answer[0][0].to_text() == "nas.lan."
            assert rcode(gateway.ask("no.lan")) == "NXDOMAIN"
            gateway.ask("a.open.example")
        assert source.names() == {"a.open.example"}
        assert "a.open.example" not in inner.names()
    finally:
        inner.close()
