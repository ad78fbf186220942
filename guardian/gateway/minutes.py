"""Minutes of use: the kernel's flow counters, read now and then, become the household's counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime

from guardian.clock import tell_time
from guardian.filter import marks
from guardian.filter.conntrack import Conntrack, Flow
from guardian.filter.judged import FlowKey, JudgedFlows
from guardian.filter.meter import Meter, Taken, Traffic
from guardian.policy.compile import GROUP, Policy
from guardian.policy.model import Visibility
from guardian.policy.posture import posture_of
from guardian.store.history_record import Recorder

_RUNNING = marks.ALLOWED  # the bit that ALLOWED and WATCHED share
SETTLING_SECONDS = 5.0  # a flow that was judged just now may not be in the table yet


class MinutesCounter:
    """Reads the counters of allowed flows and tells the meter what each device's services carried."""

    def __init__(self, conntrack: Conntrack, judged: JudgedFlows, recorder: Recorder) -> None:
        self._conntrack = conntrack
        self._judged = judged
        self._recorder = recorder
        self._counters: dict[FlowKey, tuple[int, int, int, int]] = {}
        self._moved: set[bytes] = set()
        self._meter = Meter(time.monotonic(), {}, {})

    def use(self, policy: Policy) -> None:
        """Count for the profiles and service groups of another policy from now on."""
        household = policy.household
        self._meter.profiles = {device.id: device.profile for device in household.devices} | {
            "": household.new_device_profile
        }
        self._meter.groups = {service.id: f"{GROUP}{service.group}" for service in policy.catalogue.services.values()}

    async def sample(self, devices: dict[int, str], policy: Policy) -> set[str]:
        """Read the counters once; `devices` maps slots to device ids. Return the profiles whose count has grown.

        Raises OSError and GuardianError when the kernel does not tell.
        """
        began = tell_time()
        counters: dict[FlowKey, tuple[int, int, int, int]] = {}
        for flows in self._conntrack.dump(_RUNNING, marks.STATE_MASK & marks.ALLOWED):
            self._add(flows, devices, counters)
            await asyncio.sleep(0)  # queries and packets come first
        self._counters = counters
        self._judged.keep(counters, began - SETTLING_SECONDS)
        return self._count(self._meter.take(time.monotonic()), policy, tell_time())

    def take_moved(self) -> set[bytes]:
        """Return the packed addresses of the home whose packets were carried since the last call."""
        moved, self._moved = self._moved, set()
        return moved

    def _add(
        self, flows: Iterable[Flow], devices: dict[int, str], counters: dict[FlowKey, tuple[int, int, int, int]]
    ) -> None:
        judged, before, add = self._judged, self._counters, self._meter.add
        for flow in flows:
            protocol, source, source_port, destination, destination_port, mark, *counts = flow
            if protocol not in (6, 17):  # the engine knows others without ports
                source_port = destination_port = 0
            key = FlowKey(protocol, source, source_port, destination, destination_port)
            out_bytes, out_packets, in_bytes, in_packets = counts
            counters[key] = (out_bytes, out_packets, in_bytes, in_packets)
            device = devices.get(mark >> marks.SLOT_SHIFT)
            if device is None or mark & marks.ALWAYS:  # time with a helpline is nobody's business
                continue
            old = before.get(key)
            if old is None or old > counters[key]:  # a new flow, or another one with the same ports
                is_new, old = 1, (0, 0, 0, 0)
            else:
                is_new = 0
            if out_packets == old[1] and in_packets == old[3]:
                continue
            self._moved.add(source)
            known = judged.get(key)
            traffic = Traffic(out_bytes - old[0], in_bytes - old[2], out_packets - old[1], in_packets - old[3], is_new)
            add(device, known.service if known else "", traffic)

    def _count(self, taken: Taken, policy: Policy, now: float) -> set[str]:
        day = datetime.fromtimestamp(now, policy.household.tz).date()
        grown = set()
        for profile, of, seconds in taken.profiles:
            policy.usage.add(profile, of, day, seconds / 60)
            self._recorder.note_minutes(day.isoformat(), profile, of, seconds / 60)
            grown.add(profile)
        shown: dict[str, Visibility] = {}
        for use in taken.devices:
            if use.device not in shown:
                shown[use.device] = posture_of(policy, use.device, now).visibility
            self._recorder.note_device_minutes(
                day.isoformat(), use.device, use.service, use.seconds / 60, shown[use.device]
            )
        return grown
