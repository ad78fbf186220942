"""A process that hangs is killed by the kernel, however it hangs; one that feeds lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from guardian.supervisor.watchdog import FEED_SECONDS, SECONDS, Watchdog

GENEROUS = 60.0  # seconds: a machine that is busy with other tests
START = """
import asyncio, ctypes, re, signal, sys, time
from guardian.errors import GuardianError
from guardian.supervisor.watchdog import FEED_SECONDS, Watchdog
dog = Watchdog()
"""
FED_LOOP = """
def feed():
    dog.feed()
    asyncio.get_running_loop().call_later(FEED_SECONDS, feed)
async def main():
    dog.start(1.5)
    feed()
    print("up", flush=True)
    await asyncio.sleep(0.7)
    {hang}
asyncio.run(main())
"""


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", START + code], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


HANGS = {
    "an endless loop": "while True: pass",
    "C code that holds the interpreter's lock": "ctypes.PyDLL(None).sleep(1000)",
    "a pattern that never ends": "re.match('(a|a)*$', 'a' * 100 + 'b')",
    "a call that blocks the event loop": "time.sleep(1000)",
    "a loop that is deaf": "[signal.signal(n, lambda *_: None) for n in (1, 2, 15)]\n    while True: pass",
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_what_hangs_is_killed(hang: str) -> None:
    with child(FED_LOOP.format(hang=hang)) as process:
        assert process.wait(GENEROUS) == -signal.SIGKILL


def test_a_stopped_process_is_killed() -> None:
    with child(FED_LOOP.format(hang="await asyncio.sleep(1000)")) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGSTOP)
        assert process.wait(GENEROUS) == -signal.SIGKILL


def test_what_feeds_lives() -> None:
    with child(
        FED_LOOP.format(hang="await asyncio.sleep(4)  # longer than it would live unfed\n    print('well', flush=True)")
    ) as process:
        output, _ = process.communicate(timeout=GENEROUS)
    assert (process.returncode, output) == (0, "up\nwell\n")


def test_a_stopped_watchdog_and_one_that_never_started_harm_nobody() -> None:
    code = "dog.feed(); dog.stop(); dog.start(0.3); dog.stop(); dog.feed(); dog.stop(); time.sleep(1); print('well')"
    with child(code) as process:
        output, _ = process.communicate(timeout=GENEROUS)
    assert (process.returncode, output) == (0, "well\n")


def test_it_can_be_started_again_with_other_seconds() -> None:
    with child("dog.start(1000); dog.start(0.2); time.sleep(1000)") as process:
        assert process.wait(GENEROUS) == -signal.SIGKILL


def test_a_child_process_is_not_watched() -> None:
    code = """
import os
dog.start(1.0)
if os.fork() == 0:
    time.sleep(2.5)
    print("child well", flush=True)
    os._exit(0)
time.sleep(1000)
"""
    with child(code) as process:
        output, _ = process.communicate(timeout=GENEROUS)  # until both have closed it
    assert (process.returncode, output) == (-signal.SIGKILL, "child well\n")


def test_without_timers_the_caller_is_told() -> None:
    """A user without pending signals (RLIMIT_SIGPENDING) gets no timers either."""
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    dog.start()
except GuardianError as error:
    print(error)
dog.feed()
dog.stop()
"""
    with child(code) as process:
        output, _ = process.communicate(timeout=GENEROUS)
    assert process.returncode == 0
    assert output.startswith("no watchdog: timer_create: ")


def test_three_seconds_are_kept() -> None:
    assert SECONDS <= 3.0
    assert FEED_SECONDS * 3 <= SECONDS  # two feeds may be late
    with pytest.raises(ValueError):
        Watchdog().start(0)
