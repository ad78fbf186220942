"""Start everything on this machine, in the foreground: the gateway, and list updates in their time.

For people who don't use systemd or procd. At the first start the household file of the settings is imported and the
built-in lists are compiled. The gateway and each update are processes of their own, as on a router: what is fetched
from the internet is never parsed by the process that answers. Ctrl-C ends all.

  guardian run --config examples/laptop.yaml
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType

from guardian.config import Config, load_config
from guardian.control import send
from guardian.errors import GuardianError
from guardian.home import make_state

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two starts of a gateway that keeps dying
START_SECONDS = 15.0
STOP_SECONDS = 10.0
FIRST_FETCH = 5.0  # seconds after the start: first the home is online
RETRY_FETCH = 900.0  # seconds after a failed update
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
STEADY_SECONDS = 60.0  # a gateway that lived this long did not die of its settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian run`."""
    parser.add_argument("--offline", action="store_true", help="never fetch lists; what is there is used")


def run(args: argparse.Namespace) -> int:
    """Supervise until Ctrl-C or SIGTERM."""
    config = load_config(args.config)
    prepare(config)
    supervisor = Supervisor(config, args.config, offline=args.offline)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.on_stop)
    signal.signal(signal.SIGHUP, supervisor.on_hangup)
    return supervisor.run()


def prepare(config: Config) -> None:
    """Make the state directory, and import the household file when nothing was set yet. Raises ConfigError."""
    make_state(config)
    if not config.household:
        return
    from guardian.catalogue import load_catalogue
    from guardian.store.household import load_household_file
    from guardian.store.settings import load_household, save_household

    if load_household(config.settings) is None:
        household = load_household_file(config.household, load_catalogue())
        save_household(config.settings, household, who="guardian run", what=f"first start: {config.household}")


class Supervisor:
    """Starts the processes, starts the gateway again when it dies, runs the updates."""

    def __init__(self, config: Config, path: str, offline: bool) -> None:
        self._config = config
        self._path = path
        self._stopping = False
        self._gateway: subprocess.Popen[bytes] | None = None
        self._sync: subprocess.Popen[bytes] | None = None
        self._hours = 0 if offline else config.lists.fetch_hours
        self._next_sync = time.monotonic() + FIRST_FETCH

    def run(self) -> int:
        """Live until told to stop; return the exit code."""
        if not os.path.exists(self._config.lists.image):
            self._start("sync", "--offline", "--quiet").wait()
        pause = FIRST_PAUSE
        welcomed = False
        while not self._stopping:
            started = time.monotonic()
            self._gateway = self._start("gateway")
            if not welcomed and self._wait_until_up(self._gateway):
                print(welcome(self._config, self._path), flush=True)
                welcomed = True
            self._watch(self._gateway)
            if self._stopping:
                break
            code = self._gateway.returncode
            if not welcomed and code >= 0:  # it never came up and said why: trying again will not help
                return code or 1
            if time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE
            print(f"guardian: the gateway {describe_end(code)}; starting it again in {pause:g} s", file=sys.stderr)
            self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._stop_all()
        return 0

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        # Its own process group, so that Ctrl-C reaches only the supervisor, which ends the others in order.
        command = [sys.executable, "-m", "guardian", *words, "--config", self._path]
        return subprocess.Popen(command, process_group=0, preexec_fn=_die_with_parent)  # noqa: S603, PLW1509 - our own

    def _wait_until_up(self, gateway: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and gateway.poll() is None and not self._stopping:
            with contextlib.suppress(GuardianError):
                send(self._config.control.socket, "status")
                return True
            time.sleep(0.05)
        return False

    def _watch(self, gateway: subprocess.Popen[bytes]) -> None:
        """Wait for the gateway's end; meanwhile the lists are kept fresh."""
        while not self._stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                gateway.wait(1.0)
                return
            self._keep_lists_fresh()

    def _keep_lists_fresh(self) -> None:
        if self._sync is not None and self._sync.poll() is not None:
            spread = random.uniform(0.9, 1.1)  # noqa: S311 - not all homes at the same minute
            self._next_sync = time.monotonic() + (RETRY_FETCH if self._sync.returncode else self._hours * 3600 * spread)
            self._sync = None
        if self._hours and self._sync is None and time.monotonic() >= self._next_sync:
            self._sync = self._start("sync", "--quiet")

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping:
            time.sleep(0.1)

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT."""
        self._stopping = True

    def on_hangup(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGHUP: the gateway reloads."""
        if self._gateway is not None and self._gateway.poll() is None:
            self._gateway.send_signal(signal.SIGHUP)

    def _stop_all(self) -> None:
        for process in (self._sync, self._gateway):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self._sync, self._gateway):
            if process is None:
                continue
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def describe_end(code: int) -> str:
    """Return how a process ended, by its `returncode`: below zero it is the signal that ended it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (it hung, or memory ran out)" if -code == signal.SIGKILL else "")


def welcome(config: Config, path: str) -> str:
    """Return what a person who started it reads: that it runs, and what to try."""
    lines = [f"Guardian answers DNS on {', '.join(map(str, config.dns.listen))}. Try:", ""]
    lines += [f"  {command}" + (f"   # {what}" if what else "") for command, what in suggest(config, path)]
    lines += ["", f"State is kept in {config.state}. Ctrl-C ends it."]
    return "\n".join(lines)


def suggest(config: Config, path: str) -> Iterator[tuple[str, str]]:
    """Yield commands that show Guardian at work here, each with a word on what it shows."""
    from guardian.catalogue import MANDATORY_TEST, load_catalogue, make_test_name
    from guardian.home import find_household

    guardian = find_program()
    settings = f"--config {os.path.relpath(path)}"
    endpoint = config.dns.listen[0]
    dig = f"dig @{endpoint.host}" + (f" -p {endpoint.port}" if endpoint.port != 53 else "")
    household = find_household(config, load_catalogue(names=False))
    child = next((profile for profile in household.profiles if profile.filtered), None)
    if child is not None:
        device = next((d for d in household.devices if d.profile == child.id and d.addresses), None)
        source = ""
        if device is not None and device.addresses[0].startswith("127.") and endpoint.host.startswith("127."):
            source = f" -b {device.addresses[0].partition('/')[0]}"
        if category := min(child.categories, default=""):
            yield f"{dig}{source} {make_test_name(f'category:{category}')}", f"blocked for {child.name}: {category}"
        if child.safe_search.enabled:
            yield f"{dig}{source} www.google.com", f"SafeSearch for {child.name}"
        yield f"{guardian} explain {settings} --profile {child.id} www.youtube.com --at 21:05", "which step decides"
    yield f"{dig} {make_test_name(MANDATORY_TEST)}", "blocked for everybody"
    yield f"{guardian} status {settings}", ""
    if config.block.page:
        yield f"curl http://{config.block.page[0]}/", "the page that a blocked child sees"


def _die_with_parent() -> None:
    """In the child: end when the supervisor is killed, so that no gateway is left without one."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def find_program() -> str:
    """Return how a person calls this program: `guardian`, or its path where that is not on the PATH."""
    if shutil.which("guardian"):
        return "guardian"
    return os.path.relpath(os.path.join(os.path.dirname(sys.executable), "guardian"))
