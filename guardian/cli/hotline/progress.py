"""A line on the terminal while slow keys are worked out."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

_QUIET_SECONDS = 2.0
_STEP_SECONDS = 30.0  # between two lines where the output is no terminal


class KeyProgress:
    """Shows how many keys are done and how long the rest takes. Use it in a `with`."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._shown: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, build: str, done: int, all_: int, seconds: float) -> None:
        """Show a line, not before the work has taken two seconds."""
        now = time.monotonic()
        if now - self._begin < _QUIET_SECONDS:
            return
        text = (
            f"slow keys of build {build}: {done:,} of {all_:,}, {_say(seconds)} left; may be stopped and goes on later"
        )
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif self._shown is None or now - self._shown >= _STEP_SECONDS:
            print(text, file=sys.stderr, flush=True)
        else:
            return
        self._shown = now


def _say(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
