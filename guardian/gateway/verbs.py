"""The verbs of the control socket: what the command line and the console ask of a running gateway."""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any

from guardian import __version__
from guardian.clock import tell_time
from guardian.control import Stream, Verb
from guardian.errors import GuardianError
from guardian.gateway.live import Reader
from guardian.gateway.status import cache_status, format_endpoint, lists_status, query_status, read_own_memory
from guardian.names import parse_name
from guardian.policy.model import FOREVER, Reason
from guardian.store.room import look_at_room

if TYPE_CHECKING:
    from guardian.gateway.process import Gateway

log = logging.getLogger(__name__)


class Verbs:
    """Serves one gateway. Each verb takes the request and returns the reply; it raises GuardianError to refuse."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.answering: dict[str, Verb] = {
            "status": self.status,
            "reload": self.reload,
            "flush": self.flush,
            "pause": self.pause,
            "whose": self.whose,
            "presence": self.presence,
            "explain": self.explain,
            "clock": self.clock,
            "erase": self.erase,
        }
        self.streaming: dict[str, Stream] = {"events": self.events}

    async def reload(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read configuration, household and lists again."""
        await self._gateway.reload()
        image_error = self._gateway.home.image_error
        return {"image_error": image_error} if image_error else {}

    async def flush(self, request: dict[str, Any]) -> dict[str, Any]:
        """Forget cached answers: of `name` and all below it, or all."""
        name = request.get("name")
        wire = parse_name(str(name)) if name else None
        forgotten = self._gateway.cache.flush(wire)
        self._gateway.clients.forget()
        return {"forgotten": forgotten}

    async def pause(self, request: dict[str, Any]) -> dict[str, Any]:
        """Pause a profile or device `id` until a moment, or resume it with 0.

        Not durable: it holds until the gateway ends, or reads settings that parents have changed since.
        """
        name, until = str(request.get("id", "")), request.get("until", FOREVER)
        household = self._gateway.home.household
        if name not in {p.id for p in household.profiles} | {d.id for d in household.devices}:
            raise GuardianError(f"no profile or device has the id {name[:64]!r}")
        if isinstance(until, bool) or not isinstance(until, int | float) or math.isnan(until):
            raise GuardianError("'until' must be epoch seconds")
        self._gateway.pause(name, float(until))
        log.info("event=paused id=%s until=%s", name, until)
        return {}

    async def whose(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell whose device is at the text `address`."""
        return self._gateway.identity.describe(str(request.get("address", "")))

    async def presence(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell every device that was ever seen, and which are here now."""
        gateway = self._gateway
        gateway.look_around()
        known, find = gateway.memory.known, gateway.identity.find
        return {"devices": gateway.presence.describe(known, find, tell_time(), time.monotonic())}

    async def explain(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell what happens now when the named device `device` asks for `host`, also by what its answer leads to.

        `until` is None for a decision that no clock changes. Which mandatory list holds a name is not told.
        """
        gateway, device = self._gateway, str(request.get("device", ""))
        if device not in {known.id for known in gateway.home.household.devices}:
            raise GuardianError(f"no device has the id {device[:64]!r}")
        name = parse_name(str(request.get("host", "")))
        await gateway.hotline.settle(name, device.encode())
        decision = gateway.judge_site(device, name, tell_time())
        return {
            "action": decision.action.value,
            "reason": decision.reason.value,
            "rule": "" if decision.reason is Reason.MANDATORY else decision.rule,
            "until": decision.until if math.isfinite(decision.until) else None,
        }

    async def clock(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell whether the time is known, and what it is."""
        return self._gateway.clock.status()

    async def events(self, request: dict[str, Any]) -> Reader:
        """Tell what happens from now on."""
        self._gateway.core.flush()  # what was answered before is the history's
        return self._gateway.live.listen()

    async def erase(self, request: dict[str, Any]) -> dict[str, Any]:
        """Forget the whole history, all devices ever seen, all minutes used, and pauses of this socket."""
        await self._gateway.erase()
        log.info("event=history-erased")
        return {}

    async def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tell how the gateway is."""
        gateway = self._gateway
        gateway.core.flush()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": gateway.started,
            "now": tell_time(),
            "clock": gateway.clock.status(),
            "listen": [format_endpoint(endpoint) for endpoint in gateway.listeners.endpoints],
            "queries": query_status(gateway.answers.tally, gateway.resolver, gateway.core),
            "cache": cache_status(gateway.cache, gateway.clients.budget),
            "upstreams": [status._asdict() for status in gateway.upstreams.status()],
            "lists": lists_status(gateway.home),
            "hotline": gateway.hotline.status(),
            "household": {
                "profiles": len(gateway.home.household.profiles),
                "devices": len(gateway.home.household.devices),
                "devices_seen": len(gateway.memory.known),
                "error": gateway.home.household_error,
            },
            "storage": look_at_room(gateway.config.state)._asdict(),
            "history": gateway.memory.writer.status()._asdict(),
            "filter": gateway.flows.status() if gateway.flows is not None else {"enabled": False},
            "memory": read_own_memory(),
            "reloads": gateway.reloads.status(),
        }
