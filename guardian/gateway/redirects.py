"""DNS queries to foreign servers, which the kernel sends to the gateway: counted for the alerts, from their flows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from guardian.filter import marks
from guardian.filter.conntrack import Conntrack
from guardian.filter.judged import FlowKey


class RedirectCounter:
    """Counts each redirected flow once while the connection table has it."""

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack
        self._known: set[FlowKey] = set()

    async def sample(self, devices: Mapping[int, str]) -> Counter[str]:
        """Return how many flows of each device were redirected since the last call; `devices` maps slots to ids.

        Raises OSError and GuardianError when the kernel does not tell.
        """
        found: Counter[str] = Counter()
        running: set[FlowKey] = set()
        for flows in self._conntrack.dump(marks.REDIRECTED, marks.REDIRECTED):
            for flow in flows:
                key = FlowKey(*flow[:5])
                running.add(key)
                device = devices.get(flow.mark >> marks.SLOT_SHIFT)
                if device is not None and key not in self._known:
                    found[device] += 1
            await asyncio.sleep(0)  # queries and packets come first
        self._known = running
        return found
