"""What the server has said to a client, as far as it can be known from the client's own words."""

from __future__ import annotations

import pytest

from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey
from guardian.filter.tcp_flow import TcpFlow
from guardian.wire.ip import NO_TIMESTAMP, Segment

KEY = FlowKey(6, b"\x0a\0\0\2", 40_000, b"\xc0\0\2\1", 443)


def make_flow(stamp: int = 100) -> TcpFlow:
    return TcpFlow(Who("tablet", None), KEY, 1000, stamp, 0.0)


def make_segment(stamp: int) -> Segment:
    return Segment(1, 2, 3, 4, 16, stamp, 0, False, 20)


@pytest.mark.parametrize("origin", [0, 5000, 0xFFFFFFF0, 0x7FFFFFFF])
def test_only_more_than_the_servers_beginning_counts(origin: int) -> None:
    flow = make_flow()
    flow.begin(origin, 7)
    for less in (0, 1, 500, 66_000):
        assert flow.acknowledge(origin - less & 0xFFFFFFFF) == 0
        assert flow.heard == 0
    assert flow.acknowledge(origin + 10 & 0xFFFFFFFF) == 10
    assert flow.acknowledge(origin + 3 & 0xFFFFFFFF) == 10, "an ACK never takes back"
    flow.agreed_at = flow.acknowledged
    assert flow.acknowledge(origin + 10 & 0xFFFFFFFF) == 0
    assert flow.acknowledge(origin + 12 & 0xFFFFFFFF) == 2
    assert flow.heard == 12


def test_the_beginning_changes_until_there_are_data() -> None:
    flow = make_flow()
    flow.begin(5000, 7)
    flow.begin(6000, 7)
    assert flow.origin == flow.acknowledged == flow.agreed_at == 6000
    flow.stream.place(1000, b"x")
    flow.begin(7000, 7)
    assert flow.origin == 6000


@pytest.mark.parametrize(("offered", "taken"), [(NO_TIMESTAMP, 7), (100, NO_TIMESTAMP), (NO_TIMESTAMP, NO_TIMESTAMP)])
def test_without_an_agreement_timestamps_say_nothing(offered: int, taken: int) -> None:
    flow = make_flow(offered)
    flow.begin(5000, taken)
    assert all(flow.keeps_time(make_segment(stamp)) for stamp in (5, NO_TIMESTAMP, 1, 0xFFFFFFFF))


def test_with_an_agreement_time_goes_on() -> None:
    flow = make_flow(0xFFFFFFF0)
    flow.begin(5000, 7)
    assert flow.keeps_time(make_segment(0xFFFFFFF0))
    assert flow.keeps_time(make_segment(0xFFFFFFFF))
    assert flow.keeps_time(make_segment(3)), "it wraps"
    assert not flow.keeps_time(make_segment(0xFFFFFFFF))
    assert not flow.keeps_time(make_segment(NO_TIMESTAMP))
    assert flow.keeps_time(make_segment(3))
