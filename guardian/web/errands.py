"""Runs the courier (`guardian.web.courier`): one errand at a time, each in a process of its own that ends in time."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
import threading
from typing import Any

from guardian.web.courier import LIMIT_SECONDS

log = logging.getLogger(__name__)

GRACE_SECONDS = 3.0  # for the start of a process on a slow router, on top of what the courier allows itself


def has_apprise() -> bool:
    """Tell whether messages can be delivered: the extra `notify` is installed. Loads nothing of it."""
    return importlib.util.find_spec("apprise") is not None


class Errands:
    """Sends the courier out. Any thread may ask; the second one waits for the first."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a courier is out."""
        return self._one.locked()

    def run(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what came of an order (see `courier.perform`); what was not done in time is not in it."""
        with self._one:
            process = self._start()
            if process is None:
                return []
            try:
                printed, _ = process.communicate(json.dumps(order), timeout=LIMIT_SECONDS + GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                printed, _ = process.communicate()
            finally:
                with self._lock:
                    self._process = None
        if process.returncode != 0:
            # -14: its own time is over. What it wrote of errors may hold addresses, so it goes nowhere.
            log.info("event=courier-ended task=%s code=%d", order["task"], process.returncode)
        return [json.loads(line) for line in printed.splitlines(keepends=True) if line.endswith("\n")]

    def close(self) -> None:
        """Send nobody out any more, and call back who is out. Returns at once."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._closed:
                return None
            self._process = subprocess.Popen(
                [sys.executable, "-m", "guardian.web.courier"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C ends the console, which then decides
            )
            return self._process
