"""Names that a slow list has not spoken about yet: the packet is dropped, no flow is marked, the next one tells."""

from __future__ import annotations

import pytest

from guardian.filter.judge import FlowLists, Who
from guardian.filter.marks import ALLOWED, ANSWERED, DROP, PASS, REFUSED, WATCHED
from guardian.names import parse_name
from guardian.policy.compile import compile_policy
from guardian.policy.model import UNSETTLED, Action, Kind, Reason
from tests.filter.home import ADULT_MAC, CHILD_MAC, NOON, Home, make_lists, make_policy
from tests.filter.packets import Connection
from tests.filter.test_tcp import CCS, DATA, FLIGHT, get, open_flow
from tests.filter.test_udp import FIRST, halves
from tests.filter.test_udp import send as send_datagrams
from tests.wire.hellos import build_hello, frame
from tests.wire.initials import build_datagrams, build_other

PLAIN, LISTED = "www.plain-1.example", "www.listed-1.example"
ADDRESS = b"\xc0\0\2\1"
TAG = "mandatory:csam-md:0"


class SlowLists:
    """The home's lists and one that must be settled first, as `JoinedLists` has it. `settled` are key domains."""

    def __init__(self) -> None:
        self.image: FlowLists = make_lists()
        self.tags = (*self.image.tags, TAG)
        self.settled: set[bytes] = set()
        self.listed = parse_name("listed-1.example")
        self.page = b"/page"

    def lookup(self, name: bytes) -> int:
        domain = name[1 + name[0] :] if name.startswith(b"\3www") else name
        mask = self.image.lookup(name)
        if domain not in self.settled:
            return mask | UNSETTLED
        return mask | (1 << len(self.image.tags) if domain == self.listed else 0)

    def lookup_url(self, name: bytes, path: bytes) -> int:
        return self.image.lookup_url(name, path) | (1 << len(self.image.tags) if path == self.page else 0)

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        return self.image.matches(name)


class SlowHome(Home):
    """A home whose every name must be settled first; `settle` tells all that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = SlowLists()
        old = make_policy()
        self.judge.replace(compile_policy(old.household, old.catalogue, self.lists), self.lists)
        self.wanted: list[tuple[bytes, bytes]] = []
        self.judge._settle = lambda name, asker: self.wanted.append((name, asker))

    def settle(self) -> None:
        assert self.wanted
        for name, _ in self.wanted:
            self.lists.settled.add(name[4:] if name.startswith(b"\3www") else name)


BOTH = pytest.mark.parametrize("name", [PLAIN, LISTED])


@BOTH
def test_a_hello_waits_until_its_name_is_settled(name: str) -> None:
    home, connection, hello = SlowHome(), Connection(443), frame(build_hello(name))
    open_flow(home, connection)
    for _ in range(3):
        assert home.handle(connection.data(0, hello)) == DROP
    assert home.wanted == [(parse_name(name), CHILD_MAC)] * 3
    assert len(home.engine.judged) == 0 and not home.blocks and not home.attempts
    home.settle()
    if name == LISTED:
        assert home.handle(connection.data(0, hello)) == REFUSED
        assert [decision.rule for _, _, decision in home.blocks] == [TAG]
        assert home.handle(connection.data(len(hello), CCS + DATA, FLIGHT)) == REFUSED
    else:
        assert home.handle(connection.data(0, hello)) == PASS
        assert home.handle(connection.data(len(hello), CCS + DATA, FLIGHT)) == ALLOWED


@BOTH
@pytest.mark.parametrize("again", [0, 1], ids=["first-half", "second-half"])
def test_a_hello_in_two_segments_waits_too(name: str, again: int) -> None:
    """Whichever half comes again first."""
    home, connection, hello = SlowHome(), Connection(443), frame(build_hello(name, post_quantum=True))
    open_flow(home, connection)
    half = len(hello) // 2
    pieces = [(0, hello[:half]), (half, hello[half:])]
    assert home.handle(connection.data(*pieces[0])) == PASS
    assert home.handle(connection.data(*pieces[1])) == DROP
    home.settle()
    expected = REFUSED if name == LISTED else PASS
    assert home.handle(connection.data(*pieces[again])) == expected
    assert home.handle(connection.data(*pieces[1])) == expected


def test_another_hello_in_its_place_is_a_trick() -> None:
    home, connection = SlowHome(), Connection(443)
    open_flow(home, connection)
    hello = frame(build_hello("www.listed-1.example"))
    assert home.handle(connection.data(0, hello)) == DROP
    home.settle()
    other = frame(build_hello("www.harmles1.example"))
    assert len(other) == len(hello) and home.handle(connection.data(0, other)) == REFUSED
    assert home.attempts == ["conflict"]


def test_many_retransmissions_are_no_trick() -> None:
    home, connection, hello = SlowHome(), Connection(443), frame(build_hello(PLAIN))
    open_flow(home, connection)
    assert {home.handle(connection.data(0, hello)) for _ in range(1000)} == {DROP}
    home.settle()
    assert home.handle(connection.data(0, hello)) == PASS
    assert home.handle(connection.data(len(hello), CCS)) == PASS and not home.attempts


@BOTH
def test_a_plain_request_waits_and_so_does_the_next(name: str) -> None:
    home, connection = SlowHome(), Connection(80)
    open_flow(home, connection)
    first, second = get("www.first-1.example"), get(name)
    assert home.handle(connection.data(0, first)) == DROP
    home.settle()
    assert home.handle(connection.data(0, first)) == WATCHED
    assert home.handle(connection.data(len(first), second, 500)) == DROP
    assert [decision.rule for _, _, decision in home.blocks] == []
    home.settle()
    expected = ANSWERED if name == LISTED else WATCHED
    assert home.handle(connection.data(len(first), second, 500)) == expected
    assert len(home.answers) == (name == LISTED)


def test_two_requests_in_one_segment() -> None:
    """The first is judged, the second waits, and both come again in one segment."""
    home, connection = SlowHome(), Connection(80)
    open_flow(home, connection)
    home.lists.settled.add(parse_name("plain-1.example"))
    both = get(PLAIN) + get(LISTED)
    assert home.handle(connection.data(0, both)) == DROP
    home.settle()
    assert home.handle(connection.data(0, both)) == ANSWERED
    assert home.answers[0].names == (parse_name(LISTED),)


def test_a_page_is_judged_when_its_host_is_settled() -> None:
    home, connection = SlowHome(), Connection(80)
    open_flow(home, connection)
    request = get(PLAIN).replace(b"GET / ", b"GET /page ")
    assert home.handle(connection.data(0, request)) == DROP
    home.settle()
    assert home.handle(connection.data(0, request)) == ANSWERED


@BOTH
def test_quic_waits(name: str) -> None:
    home, hello = SlowHome(), build_hello(name, alpn=["h3"])
    datagrams = build_datagrams(hello, FIRST)
    assert send_datagrams(home, datagrams) == [DROP]
    assert send_datagrams(home, datagrams) == [DROP], "it comes again too early"
    home.settle()
    assert send_datagrams(home, datagrams) == [REFUSED if name == LISTED else WATCHED]
    flows = [*home.engine.udp._flows.values(), *home.engine.udp._openings.values()]
    if name == LISTED:
        assert not any(flow.name or flow.awaited or flow.quic._connections for flow in flows), "nothing of it is kept"
    else:
        assert send_datagrams(home, [build_other("handshake", b"server")]) == [WATCHED]


@BOTH
def test_quic_in_two_datagrams_waits(name: str) -> None:
    home = SlowHome()
    first, second = halves(build_hello(name, alpn=["h3"]))
    assert send_datagrams(home, [first, second]) == [PASS, DROP]
    home.settle()
    assert send_datagrams(home, [second]) == [REFUSED if name == LISTED else WATCHED]


def test_a_quic_flow_that_is_given_up_while_it_waits_is_forgotten() -> None:
    home = SlowHome()
    assert send_datagrams(home, build_datagrams(build_hello(LISTED, alpn=["h3"]), FIRST)) == [DROP]
    home.engine.udp.age(NOON + 100)
    assert len(home.engine.udp) == 0
    assert not any(flow.name or flow.awaited or flow.quic._connections for flow in home.engine.udp._openings.values())


def test_a_running_flow_goes_on_until_its_name_turns_out_to_be_listed() -> None:
    home, who = SlowHome(), Who("laptop", ADULT_MAC)
    name = parse_name(LISTED)
    decision = home.judge.again(who, Kind.TLS, name, ADDRESS, NOON)
    assert decision is not None and decision.action is Action.ALLOW and home.wanted == [(name, b"")]
    home.settle()
    decision = home.judge.again(who, Kind.TLS, name, ADDRESS, NOON)
    assert decision is not None and decision.reason is Reason.MANDATORY


def test_a_name_that_the_law_blocks_anyway_waits_for_nothing() -> None:
    home, who = SlowHome(), Who("laptop", ADULT_MAC)
    image = home.lists.image
    name = next(parse_name(text) for text in ("illegal.example",) if image.lookup(parse_name(text)))
    decision = home.judge.name(who, Kind.TLS, name, ADDRESS, NOON)
    assert decision is not None and decision.reason is Reason.MANDATORY and not home.wanted


def test_a_device_without_a_mac_waits_in_its_own_name() -> None:
    home = SlowHome()
    assert home.judge.name(Who("tablet", None), Kind.TLS, parse_name(PLAIN), ADDRESS, NOON) is None
    assert home.judge.name(Who("", None), Kind.TLS, parse_name(PLAIN), ADDRESS, NOON) is None
    assert [asker for _, asker in home.wanted] == [b"tablet", ADDRESS]
