"""Who started this process, and what it is told: that we answer, that we live, that we leave.

systemd is told over its socket (`systemd.py`), OpenWrt's procd over ubus (`procd.py`); without either, nobody is.
`generation.py` lets a new instance take the place of an old one. Standard library only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from guardian.supervisor.generation import Generation

__all__ = ["Generation", "Nobody", "Supervisor", "find_supervisor", "keep_telling"]

log = logging.getLogger(__name__)


class Supervisor(Protocol):
    """The one who started this process. Nothing here waits or raises: a silent supervisor must not stop the work."""

    @property
    def interval(self) -> float | None:
        """Seconds between two calls of `alive`; None = it does not want to hear it."""

    def ready(self) -> None:
        """Tell that we serve: after the start, and after each reload."""

    def reloading(self) -> None:
        """Tell that settings are read anew; `ready` ends it, whatever came of it."""

    def stopping(self) -> None:
        """Tell that we leave."""

    async def alive(self) -> None:
        """Tell that the event loop turns."""


class Nobody:
    """No supervisor: a terminal, `guardian run`."""

    interval: float | None = None

    def ready(self) -> None:
        """Tell nobody."""

    def reloading(self) -> None:
        """Tell nobody."""

    def stopping(self) -> None:
        """Tell nobody."""

    async def alive(self) -> None:
        """Tell nobody."""


def find_supervisor(environ: Mapping[str, str]) -> Supervisor:
    """Return the supervisor that `environ` speaks of.

    systemd sets NOTIFY_SOCKET (Type=notify) and WATCHDOG_USEC; OpenWrt's init script sets GUARDIAN_PROCD_INSTANCE.
    """
    if environ.get("NOTIFY_SOCKET"):
        from guardian.supervisor.systemd import Systemd

        return Systemd.of(environ)
    if environ.get("GUARDIAN_PROCD_INSTANCE"):
        from guardian.supervisor.procd import Procd

        return Procd.of(environ)
    return Nobody()


async def keep_telling(supervisor: Supervisor) -> None:
    """Tell `alive` again and again, from the event loop: one that hangs tells nothing. Ends when cancelled."""
    while supervisor.interval is not None:
        await supervisor.alive()
        await asyncio.sleep(supervisor.interval)
