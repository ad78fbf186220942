"""systemd's notifications: one datagram of `KEY=value` lines to the socket that NOTIFY_SOCKET names (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Systemd:
    """The manager behind one NOTIFY_SOCKET."""

    def __init__(self, address: str, interval: float | None = None) -> None:
        """`address` is a path, or `@name` in the abstract namespace; `interval` as in `Supervisor`."""
        self.interval = interval
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._is_silent = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Systemd:
        """Return the manager that an environment with NOTIFY_SOCKET speaks of.

        The watchdog is for the process that WATCHDOG_PID names, or whoever is told of it where that is not set.
        """
        return cls(environ["NOTIFY_SOCKET"], read_interval(environ, os.getpid()))

    def ready(self) -> None:
        """Tell that we serve."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that settings are read anew, and since when: Type=notify-reload wants that moment."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that we leave."""
        self._send("STOPPING=1")

    async def alive(self) -> None:
        """Wind up the watchdog of the service (WatchdogSec=)."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._is_silent:  # said once: it would be said every few seconds
                log.warning("event=systemd-not-told what=%s error=%r", lines[0], error.strerror or str(error))
            self._is_silent = True
        else:
            self._is_silent = False


def read_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two signs of life: a third of WATCHDOG_USEC; None without a watchdog for `pid`."""
    text, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text or (whose and whose != str(pid)):
        return None
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        log.warning("event=watchdog-not-understood usec=%r", text[:40])
        return None
    return int(text) / 1e6 / 3
