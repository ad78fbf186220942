"""Ends this process when it hangs: a timer of the kernel that the event loop winds up again and again.

When it runs out the kernel sends SIGKILL. That works where no code of ours does: in an endless loop, in C code that
holds the interpreter's lock, and in a process that somebody stopped (SIGSTOP, a debugger). Only a process that waits
inside the kernel for broken hardware outlives it. A forked child does not inherit the timer.

The clock is CLOCK_MONOTONIC, which stands still while the machine sleeps: nobody is killed for the time of a suspend.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Final

from guardian.errors import GuardianError

SECONDS: Final = 2.5  # from the last feed to the end, where packets wait for the process
FEED_SECONDS: Final = 0.5  # how often the event loop feeds

_SIGEV_SIGNAL = 0
_OLD_REALTIME_LIBRARY = "librt.so.1"  # glibc before 2.34 keeps timers there


class _SignalEvent(ctypes.Structure):
    """struct sigevent: 64 bytes on Linux, of which only these count for SIGEV_SIGNAL."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * (64 - ctypes.sizeof(ctypes.c_void_p) - 2 * ctypes.sizeof(ctypes.c_int))),
    )


class _TimerSpec(ctypes.Structure):
    """struct itimerspec behind the plain symbols: C longs, also where a 32-bit libc has 64-bit time beside them."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("spare", ctypes.c_long * 4),  # room, should a libc write longer fields than we know
    )


class Watchdog:
    """`start` it, then `feed` it from the event loop every `FEED_SECONDS`; `stop` it before work that may take long."""

    def __init__(self) -> None:
        self._timer: ctypes.c_void_p | None = None
        self._spec = _TimerSpec()
        self._at = ctypes.byref(self._spec)
        self._library: ctypes.CDLL | None = None

    def start(self, seconds: float = SECONDS) -> None:
        """Kill this process when `seconds` pass without `feed`; a second call sets new seconds.

        Raises GuardianError where the system has no such timers: nobody ends a gateway that hangs then.
        """
        whole, rest = divmod(round(seconds * 1e9), 10**9)
        if (whole, rest) <= (0, 0):
            raise ValueError(f"a watchdog of {seconds} seconds")
        self._spec.seconds, self._spec.nanoseconds = whole, rest
        if self._timer is None:
            self._library = _find_library()
            self._timer = _create_timer(self._library)
        self._arm()
        self._verify(seconds)

    def feed(self) -> None:
        """Wind the timer up again. Does nothing when it was not started."""
        if self._timer is not None:
            self._arm()

    def stop(self) -> None:
        """Take the timer away; the process may take as long as it likes."""
        if self._timer is not None and self._library is not None:
            self._library.timer_delete(self._timer)
            self._timer = None

    def _arm(self) -> None:
        assert self._library is not None
        if self._library.timer_settime(self._timer, 0, self._at, None) != 0:
            raise _failure("timer_settime")

    def _verify(self, seconds: float) -> None:
        """Read the timer back: a libc with another layout of time would never kill."""
        assert self._library is not None
        left = _TimerSpec()
        if self._library.timer_gettime(self._timer, ctypes.byref(left)) != 0:
            raise _failure("timer_gettime")
        if not 0 < left.seconds + left.nanoseconds / 1e9 <= seconds + 0.1 or left.interval_seconds:
            self.stop()
            raise GuardianError("this system's C library keeps time in an unknown way: no watchdog")


def _find_library() -> ctypes.CDLL:
    """Return the C library that has POSIX timers: glibc 2.34 and musl themselves, else glibc's librt."""
    for name in (None, _OLD_REALTIME_LIBRARY):
        try:
            library = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        if hasattr(library, "timer_create"):
            return library
    raise GuardianError("this system's C library has no timer_create: no watchdog")


def _create_timer(library: ctypes.CDLL) -> ctypes.c_void_p:
    event = _SignalEvent(None, signal.SIGKILL, _SIGEV_SIGNAL)
    timer = ctypes.c_void_p()
    if library.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
        raise _failure("timer_create")
    return timer


def _failure(what: str) -> GuardianError:
    return GuardianError(f"no watchdog: {what}: {os.strerror(ctypes.get_errno())}")
