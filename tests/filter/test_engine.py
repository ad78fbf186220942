"""The engine: every packet gets a verdict, and a change reaches the flows that run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter import marks
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey, JudgedFlow
from guardian.filter.marks import ALLOWED, ALWAYS, DROP, PASS, REFUSED, WATCHED
from guardian.policy.model import FOREVER, Kind
from tests.filter.home import ADULT_MAC, CHILD_MAC, HELP, NOON, TODDLER_MAC, TRUSTED_MAC, Home, make_policy
from tests.filter.packets import Connection, build_ip, build_udp, make_ends
from tests.wire.hellos import build_hello, frame, record
from tests.wire.initials import build_datagrams

HELLO, DATA = frame(build_hello("www.example.com")), record(bytes(53), 23)
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def other(protocol: int, v6: bool = False) -> bytes:
    ends = make_ends(v6=v6)
    return build_ip(ends.source, ends.destination, protocol, bytes(40))


def establish(home: Home, port: int = 443, source_port: int = 40_000, mac: bytes = CHILD_MAC) -> Connection:
    """An allowed flow: TLS, or plain HTTP to port 80."""
    connection = Connection(port, source_port=source_port)
    packets = [connection.syn(), connection.syn_ack()]
    if port == 80:
        packets.append(connection.data(0, REQUEST))
    else:
        packets += [connection.data(0, HELLO), connection.data(len(HELLO), DATA, 1600)]
    assert home.handle_all(packets, mac=mac)[-1] == (WATCHED if port == 80 else ALLOWED)
    return connection


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(
    ("protocol", "verdict"),
    [
        (1, ALLOWED),
        (58, ALLOWED),
        (132, ALLOWED),
        (136, ALLOWED),
        (47, REFUSED),
        (50, REFUSED),
        (4, REFUSED),
        (115, REFUSED),
    ],
)
def test_other_protocols(protocol: int, verdict: int, v6: bool) -> None:
    home = Home()
    assert home.handle(other(protocol, v6)) == verdict
    assert home.handle(other(protocol, v6), mac=TRUSTED_MAC) == ALLOWED
    assert home.attempts == (["vpn"] if verdict == REFUSED else [])
    assert home.handle(other(protocol, v6), mac=TODDLER_MAC) == REFUSED, "strict: by address"


def test_calls_over_wifi_are_always_reachable() -> None:
    home = Home(make_policy(paused_until=FOREVER))
    assert home.handle(other(50)) == REFUSED
    home.judge.give_named(HELP, (make_ends().destination,), 60, NOON, is_helpline=True)
    assert home.handle(other(50)) == ALLOWED | ALWAYS
    assert home.handle(other(47)) == REFUSED


def test_what_makes_no_sense_is_dropped_and_counted() -> None:
    home = Home()
    for data in (b"", b"\0" * 40, other(0, v6=True), Connection().syn()[:30]):
        assert home.handle(data) == DROP
    assert home.engine.malformed == 4
    assert home.engine.verdicts[DROP] == 4


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x45", b"\x60"]))
def test_every_packet_gets_a_verdict(data: bytes, head: bytes) -> None:
    known = {DROP, PASS, ALLOWED, REFUSED, WATCHED, marks.ANSWERED, ALLOWED | ALWAYS, WATCHED | ALWAYS}
    assert Home().handle(head + data) in known


def test_a_review_without_a_change_ends_nothing() -> None:
    home = Home()
    establish(home)
    establish(home, 80, 40_001)
    home.handle(build_udp(make_ends(443, 4000), build_datagrams(build_hello("www.example.com"), b"first-id")[0]))
    home.handle(other(1))
    for is_new in (False, True):
        assert home.engine.review(NOON, is_new) == []
    assert len(home.engine.judged) == 4


def test_a_new_rule_ends_what_runs_downloads_over_plain_http_too() -> None:
    home = Home()
    establish(home)
    plain = establish(home, 80, 40_001)
    establish(home, 443, 40_002, ADULT_MAC)
    home.handle(build_udp(make_ends(443, 4000), build_datagrams(build_hello("www.example.com"), b"first-id")[0]))
    home.judge.replace(make_policy(rules=["example.com"]), home.judge.lists)
    ended = home.engine.review(NOON, True)
    assert {key.source_port for key, _ in ended} == {40_000, 40_001, 4000}
    assert [flow.who.device for _, flow in home.engine.judged.items()] == ["laptop"]
    assert home.handle(plain.data(len(REQUEST), REQUEST, 500)) == REFUSED
    assert home.engine.review(NOON, False) == []
    assert not home.blocks
    assert not home.attempts


def test_a_stop_ends_nothing_here() -> None:
    home = Home()
    establish(home)
    home.judge.replace(make_policy(paused_until=NOON + 60, rules=["example.com"]), home.judge.lists)
    assert home.engine.review(NOON, True) == []
    assert len(home.engine.review(NOON + 61, False)) == 1, "but what holds after it does"


def test_flows_of_somebody_else_end() -> None:
    home = Home()
    establish(home)
    home.devices[CHILD_MAC] = "phone"
    assert home.engine.review(NOON, False) == [], "nobody said that something changed"
    home.judge.forget()
    assert len(home.engine.review(NOON, False)) == 1


def test_adopted_flows_end_with_the_policy_they_were_judged_by() -> None:
    home = Home()
    for number, (device, mac) in enumerate((("tablet", None), ("laptop", None))):
        key = FlowKey(6, b"\x0a\0\0\2", number, b"\xc0\0\2\1", 443)
        home.engine.judged.add(key, JudgedFlow(Who(device, mac), Kind.ADDRESS, b"", "", ALLOWED, NOON, is_adopted=True))
    assert home.engine.review(NOON, False) == []
    assert [flow.who.device for _, flow in home.engine.review(NOON, True)] == ["tablet"]


def test_everything_ages() -> None:
    home = Home()
    home.handle(Connection().syn())
    home.handle(build_udp(make_ends(443, 4000), build_datagrams(build_hello("www.example.com"), b"first-id")[0]))
    home.engine.age(NOON + 1_000_000)
    assert len(home.engine.tcp) == len(home.engine.udp) == 0
