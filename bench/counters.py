"""What one reading of the flow counters costs: `gateway/minutes.py` on a router's own table of flows."""

from __future__ import annotations

import asyncio
import time

from bench.ends import hold_flows, make_segments, write_messages
from bench.engine import Place
from bench.routers import Router
from guardian.filter import marks
from guardian.filter.conntrack import Conntrack
from guardian.filter.judge import Who
from guardian.filter.judged import FlowKey, JudgedFlow, JudgedFlows
from guardian.gateway.minutes import MinutesCounter
from guardian.policy.model import Kind
from guardian.store.history_record import Recorder
from tests.netns.namespaces import inside

FLOWS = 5000
DEVICE = "childs"


def measure_counters(router: Router, place: Place) -> dict[str, float]:
    """Return milliseconds of a reading of FLOWS allowed flows: all with new traffic, and all without."""
    hello = write_messages("hello", make_segments())
    with hold_flows(router, hello, FLOWS, 2000, is_whole=True) as held:
        figures = inside(router.namespace, lambda: _sample(place))
    return {"counted_flows_open": held, **figures}


def _sample(place: Place) -> dict[str, float]:
    conntrack = Conntrack.open()
    try:
        judged = JudgedFlows()
        slots = set()
        now = time.time()
        for flows in conntrack.dump(marks.ALLOWED, marks.STATE_MASK):
            for flow in flows:
                slots.add(flow.mark >> marks.SLOT_SHIFT)
                known = JudgedFlow(Who(DEVICE, None), Kind.TLS, b"", "youtube", marks.ALLOWED, now)
                judged.add(FlowKey(*flow[:5]), known)
        counter = MinutesCounter(conntrack, judged, Recorder(place.home.household.tz))
        counter.use(place.policy)
        devices = dict.fromkeys(slots, DEVICE)
        busy = _time(counter, devices, place)  # all are new to the counter, as if each had traffic since
        quiet = min(_time(counter, devices, place) for _ in range(3))
        return {"counted_flows": len(judged), "sample_busy_ms": round(busy, 1), "sample_quiet_ms": round(quiet, 1)}
    finally:
        conntrack.close()


def _time(counter: MinutesCounter, devices: dict[int, str], place: Place) -> float:
    began = time.thread_time()
    asyncio.run(counter.sample(devices, place.policy))
    return (time.thread_time() - began) * 1e3
