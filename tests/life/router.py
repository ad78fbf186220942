"""A router's whole box for tests: gateway and console as on OpenWrt, settings on flash, the rest in memory."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception

from tests.gateway.product import Upstream, assert_clean
from tests.life.flash import Flash, flash, ram
from tests.web.product import Served

BLOCKED, OPEN = "blocked.example", "www.any.example"
RAM_KILOBYTES = 8 * 1024


class Router(Served):
    """`state` is the flash, `run` and `tmp` are memory. The folder of settings itself is neither."""

    flash: Flash
    upstream: Upstream

    @property
    def socket(self) -> str:
        return str(self.folder / "run" / "control.sock")

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def power_cut(self) -> None:
        """Everything stops at once, and the flash forgets what it was never asked to keep."""
        running = [process for process in (self.process, self.web) if process is not None]
        for process in running:
            process.send_signal(signal.SIGSTOP)
        self.flash.cut()
        for process in running:
            process.kill()
            process.wait(10)
        for name in ("run", "tmp"):  # memory
            for path in (self.folder / name).iterdir():
                path.unlink()

    def kill_all(self) -> None:
        """End both as `kill -9` does."""
        for process in (self.process, self.web):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)

    def is_filtered(self) -> bool:
        """Whether a blocked name is blocked for the child, and another one resolves."""
        blocked, opened = self.ask(BLOCKED), self.ask(OPEN)
        return str(blocked.answer[0][0]) == "127.0.0.1" and str(opened.answer[0][0]) == "192.0.2.77"

    def is_back(self) -> bool:
        """Whether it filters again, for `wait_for`."""
        try:
            return bool(self.ask(BLOCKED, timeout=0.5)) and self.is_filtered()
        except (OSError, dns.exception.Timeout):
            return False

    def alerts(self) -> dict[str, str]:
        """The alerts that the parent sees: kind -> of."""
        answer = self.get("/alerts")
        assert answer.status_code == 200, answer.text
        return {alert["kind"]: alert["of"] for alert in answer.json()["alerts"]}


def settings(upstream: Upstream) -> dict[str, Any]:
    """What guardian.yaml says on such a router."""
    return {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]},
        "control": {"socket": "run/control.sock"},
        "history": {"path": "tmp/history.db", "snapshot": "state/history.db", "flush_seconds": 0.2},
    }


@contextlib.contextmanager
def router(folder: Path, *, megabytes: int = 16, ram_kilobytes: int = RAM_KILOBYTES) -> Iterator[Router]:
    """A box with its file systems; nothing runs yet. What runs at the end is ended, and must have logged no bug."""
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(flash(folder / "state", megabytes))
        for name in ("run", "tmp"):
            stack.enter_context(ram(folder / name, ram_kilobytes))
        upstream = Upstream()
        stack.callback(upstream.close)
        os.chmod(folder / "state", 0o750)
        box = Router(folder, settings(upstream))
        box.flash, box.upstream = disk, upstream
        try:
            yield box
        finally:
            box.close()
            codes = [box.stop_web() if box.web is not None else 0, box.stop() if box.process is not None else 0]
            assert_clean(box.web_log())
            assert_clean(box.log())
        assert set(codes) <= {0, -signal.SIGKILL}, box.web_log() + box.log()


def start(box: Router) -> Router:
    """Start both, and make the first visit where nobody has."""
    box.start()
    box.start_web()
    if not hasattr(box, "parent"):
        box.parent = box.claim()
    return box
