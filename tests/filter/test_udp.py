"""UDP flows: QUIC by the names that it shows, everything else by its first datagram."""

from __future__ import annotations

from random import Random

import pytest

from guardian.filter import udp
from guardian.filter.marks import ALLOWED, ALWAYS, DROP, PASS, REFUSED, WATCHED
from guardian.policy.model import FOREVER, Kind
from tests.filter.home import ADULT_MAC, BLOCKED, CHILD_MAC, HELP, NOON, TRUSTED_MAC, Home, make_policy
from tests.filter.home import ALLOWED as ALLOWED_NAME
from tests.filter.packets import build_udp, make_ends
from tests.wire.hellos import build_hello
from tests.wire.initials import V2, CryptoFrame, build_datagrams, build_other, seal_initial, split_hello

GOOD, BAD = build_hello("www.example.com", alpn=["h3"]), build_hello("bet.example", alpn=["h3"])
FIRST, SECOND = b"first-id", b"secondid"
WIREGUARD = b"\1\0\0\0" + Random(1).randbytes(35) + b"\x11" + Random(2).randbytes(92) + bytes(16)


def send(
    home: Home, datagrams: list[bytes], port: int = 443, source: int = 4000, v6: bool = False, **how: object
) -> list[int]:
    ends = make_ends(port, source, v6)
    return [home.handle(build_udp(ends, datagram), **how) for datagram in datagrams]  # type: ignore[arg-type]


def halves(hello: bytes, identity: bytes = FIRST, cut: int = 60) -> list[bytes]:
    frames = split_hello(hello, [cut])
    return [seal_initial(frame.build(), identity, number=number, pad_to=1200) for number, frame in enumerate(frames)]


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("version", [1, V2])
def test_names_of_quic_are_judged(v6: bool, version: int) -> None:
    home = Home()
    assert send(home, build_datagrams(GOOD, FIRST, version=version), v6=v6) == [WATCHED]
    assert send(home, [build_other("handshake", b"server", version=version)], v6=v6) == [WATCHED]
    ((_, flow),) = home.engine.judged.items()
    assert (flow.kind, flow.name, flow.mark) == (Kind.QUIC, ALLOWED_NAME, WATCHED)
    home = Home()
    assert send(home, build_datagrams(BAD, FIRST, version=version), v6=v6) == [REFUSED]
    assert [name for _, name, _ in home.blocks] == [BLOCKED]
    assert len(home.engine.udp) == len(home.engine.judged) == 0


def test_a_hello_over_two_datagrams() -> None:
    home = Home()
    large = build_hello("bet.example", post_quantum=True, grease=True)
    assert send(home, build_datagrams(large, FIRST, chaos=Random(3))) == [PASS, REFUSED]


def test_without_leave_quic_is_refused_to_filtered_devices() -> None:
    home = Home(inspects=False)
    assert send(home, build_datagrams(GOOD, FIRST)) == [REFUSED]
    assert not home.attempts
    assert not home.blocks
    assert send(home, build_datagrams(GOOD, FIRST), mac=ADULT_MAC) == [WATCHED]
    illegal = build_datagrams(build_hello("illegal.example"), SECOND)
    assert send(home, illegal, source=4001, mac=ADULT_MAC) == [REFUSED], "mandatory lists hold for everybody"


def test_quic_on_another_port() -> None:
    home = Home()
    assert send(home, build_datagrams(BAD, FIRST), port=8443) == [REFUSED]
    assert send(home, [b"\xca\x0a\x1a\x2a" + bytes(1300)], port=8443, source=4001) == [REFUSED], "an unknown version"
    assert send(home, [b"\xc0" + bytes(40)], port=8443, source=4002) == [WATCHED], "no QUIC"


def test_other_bytes_to_the_port_of_quic_are_unreadable() -> None:
    home = Home()
    for source, first in enumerate((b"", b"\x40" * 30, b"\x80" * 30, b"\xc0\0\0\0\1\xff" + bytes(1300)), 5000):
        assert send(home, [first], source=source) == [REFUSED]
    assert send(home, [b"\x40" * 30], source=6000, mac=TRUSTED_MAC) == [ALLOWED]


def test_a_watched_flow_shows_another_hello() -> None:
    home = Home()
    assert send(home, build_datagrams(GOOD, FIRST)) == [WATCHED]
    assert send(home, build_datagrams(BAD, SECOND)) == [REFUSED]
    assert send(home, build_datagrams(GOOD, b"third-id"), source=4001) == [WATCHED]
    assert send(home, halves(BAD, b"fourthid"), source=4001) == [PASS, REFUSED]


def test_what_nothing_opens_does_not_pass() -> None:
    home = Home()
    send(home, build_datagrams(GOOD, FIRST))
    opaque = seal_initial(CryptoFrame(0, BAD).build(), SECOND, key_id=b"whatever", pad_to=1200)
    assert send(home, [opaque]) == [DROP]


def test_two_flows_cannot_show_one_hello_together() -> None:
    for order in ((0, 1), (1, 0)):
        home = Home()
        parts = halves(BAD)
        assert send(home, [parts[order[0]]], source=4000) == [PASS]
        assert send(home, [parts[order[1]]], source=4001) == [REFUSED]
        assert send(home, [parts[order[0]]], source=4000) == [REFUSED], "both are"
        assert set(home.attempts) == {"conflict"}


def test_nor_over_two_addresses_two_versions_or_two_devices() -> None:
    for how in ({"v6": True}, {"mac": ADULT_MAC}, {"port": 4433}):
        home, parts = Home(), halves(BAD)
        assert send(home, parts[:1]) == [PASS]
        assert send(home, parts[1:], source=4001, **how) == [REFUSED]


def test_nor_with_a_flow_that_was_allowed() -> None:
    """The allowed hello is a decoy; its other half would complete the blocked one."""
    home = Home()
    assert send(home, build_datagrams(GOOD, FIRST)) == [WATCHED]
    assert send(home, halves(BAD)[:1], source=4001) == [REFUSED]
    assert send(home, [build_other("handshake", b"server")]) == [WATCHED], "the honest one goes on"


def test_nor_when_the_first_was_forgotten() -> None:
    home, parts = Home(), halves(BAD)
    assert send(home, parts[:1]) == [PASS]
    home.engine.age(NOON + udp.UNDECIDED_SECONDS + 1)
    assert len(home.engine.udp) == 0
    assert send(home, parts[1:], now=NOON + udp.UNDECIDED_SECONDS + 1) == [REFUSED]
    home.engine.age(NOON + udp.OPENING_SECONDS + 1)
    assert not home.engine.udp._openings


def test_nor_by_filling_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "MAX_FLOWS", 20)
    home, parts = Home(), halves(BAD)
    assert send(home, parts[:1]) == [PASS]
    for number in range(19):
        assert send(home, halves(GOOD, b"other%03d" % number)[:1], source=5000 + number) == [PASS]
    assert send(home, halves(GOOD, b"another1")[:1], source=6000) == [REFUSED], "no room"
    assert send(home, parts[1:], source=6001) == [REFUSED]
    assert send(home, parts[1:]) == [REFUSED]
    assert len(home.engine.udp) == 19


def test_the_table_lets_go_of_what_the_kernel_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "MAX_FLOWS", 3)
    home = Home()
    for number in range(6):
        assert send(home, build_datagrams(GOOD, b"other%03d" % number), source=5000 + number) == [WATCHED]
    assert len(home.engine.udp) == 3


def test_openings_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "MAX_OPENINGS", 5)
    home = Home()
    verdicts = [send(home, halves(GOOD, b"other%03d" % number)[:1], source=5000 + number)[0] for number in range(7)]
    assert verdicts == [PASS] * 5 + [REFUSED] * 2


def test_a_retry_is_the_same_connection() -> None:
    home = Home()
    again = build_datagrams(GOOD, SECOND, token=b"token", number=1)
    assert send(home, build_datagrams(GOOD, FIRST) + again + again) == [WATCHED] * 3
    assert home.attempts == []


def test_all_other_udp_is_judged_until_the_server_answers() -> None:
    home = Home()
    assert send(home, [b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)], port=3478) == [WATCHED]
    assert send(home, [WIREGUARD], port=51820) == [REFUSED]
    assert home.attempts == ["vpn"]
    assert send(home, [WIREGUARD], port=51820, source=4001, mac=TRUSTED_MAC) == [WATCHED]
    assert send(home, [bytes(30)], port=853) == [REFUSED]
    assert home.attempts == ["vpn", "dot"]


@pytest.mark.parametrize(("behind", "port"), [(WIREGUARD, 51820), (build_datagrams(BAD, FIRST)[0], 8443)])
def test_junk_in_front_hides_nothing(behind: bytes, port: int) -> None:
    home = Home()
    assert send(home, [bytes(20), bytes(20), behind], port=port) == [WATCHED, WATCHED, REFUSED]
    assert len(home.engine.judged) == 0


def test_what_waited_while_the_mark_was_saved() -> None:
    home = Home()
    assert send(home, [b"\x40" * 30, BAD], mac=TRUSTED_MAC) == [ALLOWED] * 2
    assert len(home.engine.judged) == 1


def test_calls_over_wifi_are_always_reachable() -> None:
    ike = bytes(range(1, 9)) + bytes(8) + bytes((33, 0x20, 34, 8)) + bytes(4) + (28).to_bytes(4)
    home = Home(make_policy(paused_until=FOREVER))
    assert send(home, [ike], port=500) == [REFUSED]
    home.judge.give_named(HELP, (make_ends().destination,), 60, NOON, is_helpline=True)
    assert send(home, [ike], port=500, source=4001) == [ALLOWED | ALWAYS]


def test_under_a_stop_only_helplines_go_on() -> None:
    home = Home(make_policy(paused_until=FOREVER))
    hello = build_hello("help.example")
    assert send(home, build_datagrams(hello, FIRST)) == [REFUSED]
    assert send(home, [bytes(20)], port=3478) == [REFUSED]
    home.judge.give_named(HELP, (make_ends().destination,), 60, NOON, is_helpline=True)
    assert send(home, build_datagrams(hello, SECOND), source=4001) == [WATCHED | ALWAYS]


def test_a_helpline_does_not_spare_its_neighbour() -> None:
    home = Home()
    home.judge.give_named(HELP, (make_ends().destination,), 60, NOON, is_helpline=True)
    assert send(home, build_datagrams(GOOD, FIRST)) == [WATCHED]
    assert send(home, build_datagrams(build_hello("help.example"), SECOND)) == [WATCHED]


def test_a_new_policy_forgets_what_is_no_longer_allowed() -> None:
    home = Home()
    send(home, build_datagrams(GOOD, FIRST))
    home.judge.replace(make_policy(rules=["example.com"]), home.judge.lists)
    assert [key.source_port for key, _ in home.engine.review(NOON, True)] == [4000]
    assert len(home.engine.udp) == 0
    assert send(home, [b"\x40" * 40]) == [REFUSED], "its short headers say nothing"


def test_flows_age() -> None:
    home = Home()
    send(home, build_datagrams(GOOD, FIRST))
    send(home, halves(GOOD, SECOND)[:1], source=4001)
    home.engine.age(NOON + udp.UNDECIDED_SECONDS + 1)
    assert len(home.engine.udp) == 1
    home.engine.age(NOON + udp.WATCHED_SECONDS + 1)
    assert len(home.engine.udp) == 0


def test_without_a_cipher_quic_is_unreadable() -> None:
    home = Home()
    home.engine.udp._cipher = None
    assert send(home, build_datagrams(GOOD, FIRST)) == [REFUSED]
    assert send(home, build_datagrams(GOOD, FIRST), mac=ADULT_MAC) == [ALLOWED]
    home.judge.replace(make_policy(paused_until=FOREVER), home.judge.lists)
    assert send(home, build_datagrams(GOOD, FIRST), source=4001, mac=CHILD_MAC) == [REFUSED]
