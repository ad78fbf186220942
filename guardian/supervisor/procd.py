"""procd, OpenWrt's init: its watchdog of a service wants to be called over ubus, again and again.

procd ends a service whose watchdog runs out with SIGTERM, and what runs in a jail it never kills harder: a process that
hangs would stay. So a timer of the kernel stands behind it, which ends this process whatever it does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from guardian.errors import GuardianError
from guardian.supervisor.ubus import SOCKET, UbusError, call
from guardian.supervisor.watchdog import Watchdog

log = logging.getLogger(__name__)

SERVICE = "guardian"
CALL_SECONDS = 5.0
FIRST_TIMEOUT = 30.0  # until procd has said how long its own is
SHORTEST, LONGEST = 5.0, 600.0  # seconds; what procd may say of its timeout
STOP_SECONDS = 20.0  # for leaving: procd does not hurry what runs in a jail


class Procd:
    """procd as the supervisor of one instance of the service `guardian`."""

    def __init__(self, instance: str, path: str = SOCKET) -> None:
        """`instance` is `gateway` or `web`; `path` is where the bus listens."""
        self._instance = instance
        self._path = path
        self._timeout = FIRST_TIMEOUT
        self._timer = Watchdog()
        self._has_timer = False
        self._failure = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Procd:
        """Return the procd that an environment with GUARDIAN_PROCD_INSTANCE speaks of."""
        return cls(environ["GUARDIAN_PROCD_INSTANCE"])

    @property
    def interval(self) -> float | None:
        """Seconds between two calls of `alive`: a third of procd's timeout."""
        return self._timeout / 3

    def ready(self) -> None:
        """Set the timer. procd itself does not ask whether we serve."""
        if not self._has_timer:
            self._start_timer(self._timeout)

    def reloading(self) -> None:
        """Tell nothing: procd does not ask."""

    def stopping(self) -> None:
        """Set the timer once more: a process that hangs while it leaves would hold its ports for ever."""
        self._start_timer(STOP_SECONDS)

    async def alive(self) -> None:
        """Wind up procd's watchdog, and our own timer: that one also while procd is deaf, for we are alive."""
        self._timer.feed()
        try:
            said = await call(
                self._path, "service", "watchdog", {"name": SERVICE, "instance": self._instance}, CALL_SECONDS
            )
        except UbusError as error:
            if str(error) != self._failure:
                log.warning("event=procd-not-told error=%r", str(error))
            self._failure = str(error)
            return
        self._failure = ""
        timeout = said.get("timeout")
        if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout != self._timeout:
            self._timeout = min(max(float(timeout), SHORTEST), LONGEST)
            if self._has_timer:
                self._start_timer(self._timeout)

    def _start_timer(self, seconds: float) -> None:
        try:
            self._timer.start(seconds)
            self._has_timer = True
        except GuardianError as error:
            log.warning("event=no-watchdog error=%r", str(error))
