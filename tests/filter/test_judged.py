"""The table of running flows: bounded, and true to the kernel's."""

from __future__ import annotations

from guardian.filter import judged
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.policy.model import Kind


def make_key(number: int) -> FlowKey:
    return FlowKey(6, b"\x0a\0\0\2", number, b"\xc0\0\2\1", 443)


def make_flow(since: float = 0.0, name: bytes = b"") -> JudgedFlow:
    return JudgedFlow(Who("tablet", None), Kind.TLS, name, "", 1, since)


def test_a_flow_is_known_until_it_is_discarded() -> None:
    flows = JudgedFlows()
    flows.add(make_key(1), make_flow())
    flows.add(make_key(1), make_flow(name=b"\1a\0"))
    assert len(flows) == 1
    known = flows.get(make_key(1))
    assert known is not None
    assert known.name == b"\1a\0"
    assert not known.is_adopted
    flows.discard(make_key(1))
    flows.discard(make_key(1))
    assert flows.get(make_key(1)) is None
    assert len(flows) == 0


def test_flows_may_be_discarded_while_they_are_told() -> None:
    flows = JudgedFlows()
    for number in range(5):
        flows.add(make_key(number), make_flow())
    for key, _ in flows.items():
        flows.discard(key)
    assert len(flows) == 0


def test_the_oldest_go_first() -> None:
    flows = JudgedFlows()
    for number in range(judged.MAX_FLOWS):
        flows.add(make_key(number), make_flow())
    flows.add(make_key(0), make_flow())  # used again: the youngest now
    flows.add(make_key(judged.MAX_FLOWS), make_flow())
    assert len(flows) <= judged.MAX_FLOWS
    assert flows.get(make_key(0)) is not None
    assert flows.get(make_key(1)) is None
    assert flows.get(make_key(judged.MAX_FLOWS)) is not None


def test_only_what_runs_is_kept_but_for_the_newest() -> None:
    flows = JudgedFlows()
    for number, since in ((1, 10.0), (2, 10.0), (3, 30.0)):
        flows.add(make_key(number), make_flow(since))
    flows.keep([make_key(1), make_key(9)], before=20.0)
    assert {key.source_port for key, _ in flows.items()} == {1, 3}
