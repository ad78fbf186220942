"""The flows that are allowed and run: what their names were, so that a changed policy finds them. Pure.

The kernel's connection tracking knows the same flows; `keep` lets go of those that it no longer has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardian.filter.judge import Who
from guardian.policy.model import Kind

MAX_FLOWS = 16_384


class FlowKey(NamedTuple):
    """A flow as its first packet names it: packed addresses, ports (0 where the protocol has none)."""

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


class JudgedFlow(NamedTuple):
    """What was decided. `name` is a wire name, b"" where the flow shows none; `mark` the verdict as saved."""

    who: Who
    kind: Kind
    name: bytes
    service: str
    mark: int
    since: float  # epoch seconds
    is_adopted: bool = False  # judged by a gateway before this one: its name is not known any more


class JudgedFlows:
    """Allowed flows by key; bounded, the oldest go first."""

    def __init__(self) -> None:
        self._flows: dict[FlowKey, JudgedFlow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, key: FlowKey, flow: JudgedFlow) -> None:
        """Note an allowed flow."""
        self._flows.pop(key, None)
        self._flows[key] = flow
        if len(self._flows) > MAX_FLOWS:
            for oldest in list(self._flows)[: MAX_FLOWS // 16]:
                del self._flows[oldest]

    def get(self, key: FlowKey) -> JudgedFlow | None:
        """Return the flow with this key."""
        return self._flows.get(key)

    def discard(self, key: FlowKey) -> None:
        """Forget a flow."""
        self._flows.pop(key, None)

    def items(self) -> Iterator[tuple[FlowKey, JudgedFlow]]:
        """Yield all flows; they may be discarded meanwhile."""
        return iter(list(self._flows.items()))

    def keep(self, running: Iterable[FlowKey], before: float) -> None:
        """Forget the flows older than `before` (epoch seconds) that are not among `running`."""
        alive = set(running)
        gone = [key for key, flow in self._flows.items() if flow.since < before and key not in alive]
        for key in gone:
            del self._flows[key]
