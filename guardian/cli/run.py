"""Start everything on this machine, in the foreground: the gateway, the parents' console, and list updates in time.

For people who don't use systemd or procd. At the first start the household file of the settings is imported and the
built-in lists are compiled. The gateway, the console and each update are processes of their own, as on a router: what
is fetched from the internet is never parsed by the process that answers. Ctrl-C ends all.

  guardian run --config examples/laptop.yaml
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import ipaddress
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from guardian.config import Config, Endpoint, load_config
from guardian.control import send
from guardian.errors import GuardianError
from guardian.home import make_state
from guardian.interfaces import fit_to_interfaces

if TYPE_CHECKING:
    from guardian.web.feed_plan import FeedPlan

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two starts of a gateway that keeps dying
START_SECONDS = 15.0
STOP_SECONDS = 10.0
FIRST_FETCH = 5.0  # seconds after the start: first the home is online
RETRY_FETCH = 900.0  # seconds after a failed update
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
STEADY_SECONDS = 60.0  # a gateway or console that lived this long did not die of its settings
WEB_START_SECONDS = 10.0
WEB_PACKAGES = ("starlette", "uvicorn", "msgspec")
LONGEST_WEB_PAUSE = 60.0  # the home is online without the console: no hurry


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
        self._web = Console(self._start, offline) if config.web.listen and has_web() else None
        self._hours = 0 if offline else config.lists.fetch_hours
        self._next_sync = time.monotonic() + FIRST_FETCH
        self._feed = None if offline or self._web is not None else make_feed_plan(config)  # else the console looks
        self._feed_sync: subprocess.Popen[bytes] | None = None

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
                is_served = self._start_console()
                print(welcome(fit_to_interfaces(self._config, link_local=False), self._path, is_served), flush=True)
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

    def _start(self, *words: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        # Its own process group, so that Ctrl-C reaches only the supervisor, which ends the others in order.
        command = [sys.executable, "-m", "guardian", *words, "--config", self._path]
        return subprocess.Popen(  # noqa: S603 - our own
            command,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509
            pass_fds=pass_fds,
        )

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
            if self._web is not None:
                self._web.keep_up(time.monotonic())

    def _start_console(self) -> bool:
        """Start the console and wait until it listens; what it says when it does not is on the terminal already."""
        if self._web is None:
            return False
        self._web.start(time.monotonic())
        deadline = time.monotonic() + WEB_START_SECONDS
        while time.monotonic() < deadline and not self._stopping:
            if (is_ready := self._web.is_ready(0.1)) is not None:
                return is_ready
        return self._web.is_up()

    def _keep_lists_fresh(self) -> None:
        if self._sync is not None and self._sync.poll() is not None:
            spread = random.uniform(0.9, 1.1)  # noqa: S311 - not all homes at the same minute
            self._next_sync = time.monotonic() + (RETRY_FETCH if self._sync.returncode else self._hours * 3600 * spread)
            self._sync = None
        if self._hours and self._sync is None and time.monotonic() >= self._next_sync:
            self._sync = self._start("sync", "--quiet")
        if self._feed is not None:
            self._keep_feed_fresh(self._feed, time.monotonic())

    def _keep_feed_fresh(self, plan: FeedPlan, now: float) -> None:
        if self._feed_sync is None:
            if now >= plan.due and self._sync is None:  # which looks at the feed as well
                plan.begin(now)
                self._feed_sync = self._start("sync", "--feed", "--quiet")
        elif self._feed_sync.poll() is not None:
            plan.finish(self._feed_sync.returncode == 0, 0, now)
            self._feed_sync = None

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping:
            time.sleep(0.1)

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT."""
        self._stopping = True

    def on_hangup(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGHUP: gateway and console reload."""
        console = self._web.process if self._web is not None else None
        for process in (self._gateway, console):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGHUP)

    def _stop_all(self) -> None:
        console = self._web.process if self._web is not None else None
        processes = (self._sync, self._feed_sync, console, self._gateway)
        for process in processes:
            if process is not None and process.poll() is None:
                process.terminate()
        for process in processes:
            if process is None:
                continue
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Console:
    """The console's process: started again when it dies, with growing pauses. The home does not wait for it."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]], offline: bool = False) -> None:
        self._start = start
        self._options = ("--offline",) if offline else ()
        self.process: subprocess.Popen[bytes] | None = None
        self._ready = -1
        self._started = 0.0
        self._pause = FIRST_PAUSE
        self._next: float | None = None  # when it is started again; monotonic seconds, as all here

    def start(self, now: float) -> None:
        """Start it; it writes into a pipe when it listens."""
        self._close_pipe()
        self._ready, told = os.pipe()
        try:
            self.process = self._start("web", "--ready-fd", str(told), *self._options, pass_fds=(told,))
        finally:
            os.close(told)
        self._started, self._next = now, None

    def is_ready(self, seconds: float) -> bool | None:
        """Tell whether it listens: True, False when it ended before, None when nothing is known after `seconds`."""
        readable, _, _ = select.select([self._ready], [], [], seconds)
        return os.read(self._ready, 1) != b"" if readable else None

    def _close_pipe(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def is_up(self) -> bool:
        """Tell whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def keep_up(self, now: float) -> None:
        """Start it again when it has ended and its pause is over."""
        if self.process is None or self.is_up():
            return
        if self._next is None:
            if now - self._started > STEADY_SECONDS:
                self._pause = FIRST_PAUSE
            end = describe_end(self.process.returncode)
            print(f"guardian: the console {end}; starting it again in {self._pause:g} s", file=sys.stderr)
            self._next = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_WEB_PAUSE)
        if now >= self._next:
            self.start(now)


def make_feed_plan(config: Config) -> FeedPlan | None:
    """Return when the hotline's feed is looked at, None when there is none."""
    if not config.hotline.url:
        return None
    from guardian.web.feed_plan import FeedPlan

    poll = config.hotline.poll_hours * 3600
    return FeedPlan(poll, is_fresh=False, version=0, now=time.monotonic(), chance=random.SystemRandom())


def has_web() -> bool:
    """Tell whether the packages of the console are there; when not, say how to get them."""
    missing = [name for name in WEB_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"guardian: no console without the Python package '{missing[0]}': pip install 'guardian-gateway[web]'",
            file=sys.stderr,
        )
    return not missing


def reach(endpoint: Endpoint) -> tuple[str, int]:
    """Return the address at which something that listens on `endpoint` is reached from this machine."""
    if ipaddress.ip_address(endpoint.host.partition("%")[0]).is_unspecified:
        return ("::1" if ":" in endpoint.host else "127.0.0.1"), endpoint.port
    return endpoint.host, endpoint.port


def describe_end(code: int) -> str:
    """Return how a process ended, by its `returncode`: below zero it is the signal that ended it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (it hung, or memory ran out)" if -code == signal.SIGKILL else "")


def welcome(config: Config, path: str, has_console: bool = False) -> str:
    """Return what a person who started it reads: that it runs, where the console is, and what to try."""
    lines = list(describe_console(config)) if has_console else []
    lines += [f"Guardian answers DNS on {', '.join(map(str, config.dns.listen)) or 'no address yet'}. Try:", ""]
    lines += [f"  {command}" + (f"   # {what}" if what else "") for command, what in suggest(config, path)]
    lines += ["", f"State is kept in {config.state}. Ctrl-C ends it."]
    return "\n".join(lines)


def describe_console(config: Config) -> Iterator[str]:
    """Yield where the console is, and the claim code while nobody has claimed the box."""
    from guardian.store.accounts import is_claimed
    from guardian.store.console import ConsoleStore
    from guardian.web.claim import make_claim_code

    if not config.web.listen:  # its interface has no address yet
        return
    host, port = reach(config.web.listen[0])
    scheme = "https" if config.web.tls.enabled else "http"
    yield f"The parents' console: {scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
    if not is_claimed(ConsoleStore(f"{config.state}/console.db")):
        yield f"Claim code for the first visit: {make_claim_code(config)}"
    yield ""


def suggest(config: Config, path: str) -> Iterator[tuple[str, str]]:
    """Yield commands that show Guardian at work here, each with a word on what it shows."""
    from guardian.catalogue import MANDATORY_TEST, load_catalogue, make_test_name
    from guardian.home import find_household

    guardian = find_program()
    if not config.dns.listen:
        yield f"{guardian} doctor", "why nothing listens"
        return
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
