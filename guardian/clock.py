"""What time it is on a box whose clock stands still without power, and whether that can be believed.

A router has no battery. It starts in 1970, or where somebody last wrote a moment down (OpenWrt takes the newest file of
/etc, systemd a file of its own), and learns the time from the internet a while after. docs/adr/0022 tells what is done
until then; this is where it is known. One clock for one process: `tell_time` stands where `time.time` would.
"""

from __future__ import annotations

import ctypes
import enum
import logging
import math
import os
import platform
import time
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

RELEASED: Final = 1767225600.0  # 2026-01-01: no clock is before this; releases move it on
TOLERANCE: Final = 86400.0  # seconds that a clock may be behind what was written down, and still be believed
PATIENCE: Final = 600.0  # seconds with a working internet in which the time has to come
MARK_FILE = "clock"  # in the state directory: its time is the newest one that this box has known
MARK_SECONDS, MARK_SECONDS_BY_MEMORY = 3600.0, 300.0  # between two marks: each is a write to flash
STEP = 2.0  # seconds by which the clock left the monotonic one: somebody set it

_SYNCHRONIZED = "/run/systemd/timesync/synchronized"
_STA_UNSYNC, _TIME_ERROR = 0x0040, 5  # linux/timex.h
_ALWAYS_HAVE_A_CLOCK = ("x86_64", "i386", "i486", "i586", "i686", "amd64")  # a battery, or a host that tells


class State(enum.Enum):
    """How far the clock can be believed."""

    SET = "set"
    WAITING = "waiting"  # nobody has set it yet: what depends on the time waits
    BY_MEMORY = "by-memory"  # nobody has set it in time: the last known moment, and the time since the start


class Doubt(enum.Enum):
    """Why the clock is not believed."""

    BEFORE_RELEASE = "before-release"  # it is before this Guardian was made
    BEFORE_KNOWN = "before-known"  # it is a day or more before a moment that this box has written down
    NOT_SET = "not-set"  # it stands where the last start left it, and nobody has set it since


class Signs(NamedTuple):
    """What tells whether somebody has set the clock. `synchronized` is None where nobody can tell."""

    now: float  # epoch seconds of the system's clock
    uptime: float  # seconds since the machine was started
    synchronized: bool | None
    runs_without_power: bool  # a battery keeps the clock, or a host does


class _Belief:
    """What this process makes of its clock."""

    base = -math.inf  # the time is at least this much ahead of the monotonic clock
    is_confirmed = True


_belief = _Belief()


def tell_time() -> float:
    """Return the time in epoch seconds; while the system's clock is not believed, at least the last known moment."""
    if _belief.is_confirmed:  # each packet comes by here
        return time.time()
    return max(time.time(), _belief.base + time.monotonic())


def is_confirmed() -> bool:
    """Tell whether the clock is believed. Dates of certificates are worth nothing while it is not."""
    return _belief.is_confirmed


def follow(state: State, moment: float) -> None:
    """Take over what the gateway of this box knows of the time: how far it is believed, and what it is."""
    _belief.is_confirmed = state is State.SET
    _belief.base = -math.inf if _belief.is_confirmed else moment - time.monotonic()


def find_doubt(signs: Signs, newest: float) -> Doubt | None:
    """Return why a clock that has just been met is not believed, None when it is.

    `newest` is the newest moment that was ever written down on this box, 0 for none.
    """
    if signs.now < RELEASED:
        return Doubt.BEFORE_RELEASE
    if signs.synchronized:
        return None
    if signs.now < newest - TOLERANCE:
        return Doubt.BEFORE_KNOWN
    if signs.synchronized is False and not signs.runs_without_power and signs.uptime < PATIENCE:
        return Doubt.NOT_SET
    return None


def read_signs(root: str = "/") -> Signs:
    """Return the signs of this machine; `root` is where /proc, /sys and /run are."""
    return Signs(
        now=time.time(),
        uptime=time.clock_gettime(time.CLOCK_BOOTTIME),
        synchronized=read_synchronized(root),
        runs_without_power=platform.machine() in _ALWAYS_HAVE_A_CLOCK or has_battery_clock(root),
    )


def read_synchronized(root: str = "/") -> bool | None:
    """Return whether a program that asks the internet for the time has set the clock; None where nobody tells.

    systemd-timesyncd leaves a file. Of all others the kernel tells (adjtimex(2)), where it may be asked.
    """
    marker = os.path.join(root, _SYNCHRONIZED.lstrip("/"))
    if os.path.isdir(os.path.dirname(marker)):
        return os.path.exists(marker)
    timex = ctypes.create_string_buffer(512)  # struct timex: 208 bytes; all zero = only read
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:  # a sandbox that allows nothing about clocks
        return None
    return state != _TIME_ERROR


def has_battery_clock(root: str = "/") -> bool:
    """Tell whether a clock with a battery is there: one that has not begun anew in 1970 or thereabouts."""
    for path in sorted(Path(root, "sys/class/rtc").glob("rtc*/since_epoch")):
        try:
            if int(path.read_text("ascii")) >= RELEASED:
                return True
        except (OSError, ValueError) as error:
            log.debug("event=rtc-not-read path=%s error=%r", path, str(error))
    return False


class ClockWatch:
    """The clock of this process. `look` once a second; `tell_time` and `is_confirmed` follow from it."""

    def __init__(self, folder: str, newest: float, signs: Signs) -> None:
        """`folder` is the state directory; `newest` a moment that is written down elsewhere, 0 for none."""
        self._mark = os.path.join(folder, MARK_FILE)
        self.newest = max(newest, self._read_mark())
        self.doubt = find_doubt(signs, self.newest)
        self.state = State.SET if self.doubt is None else State.WAITING
        self._online = 0.0  # seconds with a working internet since the start, while waiting
        self._looked = time.monotonic()
        self._marked = -math.inf
        self._can_mark = True
        self._offset = signs.now - self._looked
        self._use(-math.inf if self.doubt is None else max(RELEASED, self.newest) - self._looked)
        if self.doubt is not None:
            log.warning(
                "event=clock-not-believed why=%s clock=%.0f known=%.0f", self.doubt.value, signs.now, self.newest
            )

    def look(self, is_online: bool, signs: Signs) -> bool:
        """Look at the clock again; return whether it was set, or the state is another one.

        `is_online` tells whether the internet works: only then can the time be missed.
        """
        monotonic = time.monotonic()
        passed, self._looked = monotonic - self._looked, monotonic
        offset = signs.now - monotonic
        was_set = abs(offset - self._offset) > STEP
        if was_set:
            log.warning("event=clock-set seconds=%+d decisions=anew", offset - self._offset)
        before = self.state
        self.doubt = doubt = self._find_doubt(signs, was_set)
        if doubt is None:
            self.state = State.SET
            self._use(-math.inf)
        elif before is State.SET:  # somebody set it back to the beginning: the time goes on as it went
            self.state, self._online = State.WAITING, 0.0
            self._use(self._offset)
        elif before is State.WAITING:
            self._online += passed if is_online else 0.0
            if self._online >= PATIENCE:
                self.state = State.BY_MEMORY
        self._offset = offset if was_set else self._offset
        if self.state is not before:
            log.warning("event=clock state=%s why=%s", self.state.value, doubt.value if doubt else "none")
        if self.state is not State.WAITING:
            every = MARK_SECONDS if self.state is State.SET else MARK_SECONDS_BY_MEMORY
            if monotonic - self._marked >= every:
                self.mark()
        return was_set or self.state is not before

    def _find_doubt(self, signs: Signs, was_set: bool) -> Doubt | None:
        if signs.now < RELEASED:
            return Doubt.BEFORE_RELEASE
        if self.doubt is None or was_set or signs.synchronized:
            return None  # whoever sets a clock knows more than what is written down here
        if self.doubt is Doubt.BEFORE_KNOWN and signs.now >= self.newest - TOLERANCE:
            return None
        return self.doubt

    def mark(self) -> None:
        """Write down that it is now, for the next start. A disk that takes nothing is told of once."""
        self._marked, moment = time.monotonic(), tell_time()
        try:
            with open(self._mark, "ab") as file:
                os.utime(file.fileno(), (moment, moment))
                os.fsync(file.fileno())
        except OSError as error:
            if self._can_mark:
                log.warning("event=clock-not-marked path=%s error=%r", self._mark, error.strerror)
            self._can_mark = False
        else:
            self._can_mark = True
        self.newest = moment if self.state is State.SET else max(self.newest, moment)

    def close(self) -> None:
        """Mark the moment, when it is one that is known."""
        if self.state is not State.WAITING:
            self.mark()
        self.doubt = None
        self._use(-math.inf)

    def status(self) -> dict[str, str | float]:
        """Return how the clock is, for `guardian status`: `state`, `doubt` ("" for none), `now`."""
        return {"state": self.state.value, "doubt": self.doubt.value if self.doubt else "", "now": tell_time()}

    def _use(self, base: float) -> None:
        _belief.base, _belief.is_confirmed = base, self.doubt is None

    def _read_mark(self) -> float:
        try:
            return os.stat(self._mark).st_mtime
        except FileNotFoundError:
            return 0.0
        except OSError as error:
            log.warning("event=clock-mark-not-read path=%s error=%r", self._mark, error.strerror)
            return 0.0
