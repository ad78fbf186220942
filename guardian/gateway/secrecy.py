"""What keeps the gateway's memory to itself: it holds, for moments, names that nobody else may see."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import resource
import traceback
from typing import Any

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4


def forbid_dumps() -> None:
    """Let no core file of this process be written, and no other program of the same user read its memory.

    /proc/PID then belongs to root: `cat /proc/PID/maps`, gdb, strace and py-spy of the same user are refused, root's
    are not. The process still reads its own /proc/self. A crash leaves no core, also where a handler collects them:
    RLIMIT_CORE says nothing to a pipe in core_pattern, the flag does.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("event=dumps-not-forbidden errno=%d", ctypes.get_errno())


def tell_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what failed in the event loop: where and how, not with what values. asyncio's own words hold packets."""
    error = context.get("exception")
    what = context.get("message", "").partition(":")[0].partition(" in callback")[0]
    if not isinstance(error, BaseException):
        log.error("event=loop-exception message=%r", what)
        return
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("event=loop-exception message=%r exception=%s\n%s", what, type(error).__name__, where)
