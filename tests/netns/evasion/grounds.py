"""Whole labs in which all chosen cases run at once: without Guardian, with it, and with `quic: inspect`."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from guardian.blocklist.compile import Source, compile_image
from guardian.catalogue import load_catalogue
from guardian.catalogue.starter import starter_sources
from tests.gateway.product import ROOT, environment
from tests.netns.evasion import servers
from tests.netns.evasion.attack import GREETING, HOME, INSPECT, OPEN, Attempt, Case, Result
from tests.netns.evasion.wire import QUIET, Wire, open_card
from tests.netns.lab import plan
from tests.netns.lab.home import Lab, World, open_world
from tests.netns.namespaces import inside

T = TypeVar("T")

log = logging.getLogger(__name__)

PAGE = "page.any.example/secret/page"  # stands on a mandatory list as a page
HANDS = 40  # cases at a time in one world

# The line from the home to the servers: two more routers that the lab does without.
HOPS = """
table inet hops {
    chain in {
        type filter hook prerouting priority -300
        ip ttl < 8 drop
        ip6 hoplimit < 8 drop
    }
}
"""
SERVER_SYSCTLS = {
    "ipv4/tcp_fastopen": "1539",  # data with the SYN, without a cookie, on all ports
    "ipv4/tcp_fin_timeout": "2",  # of a connection that only the server has closed; a minute else
    "ipv4/tcp_rmem": "4096 4000000 8000000",  # windows of a fast line
    "ipv6/conf/eth0/accept_redirects": "0",  # far away from the home's router, nobody gets one from it
}


class Outcome(NamedTuple):
    """What came of a case in one world."""

    accepted: bool  # a server took the name
    has_page: bool  # the client got an answer from it
    error: str
    body: bytes


class Ground:
    """One world, with the child's own TCP on the tablet."""

    def __init__(self, kind: str, world: World, lab: Lab | None, wire: Wire) -> None:
        self.kind = kind
        self.world = world
        self.lab = lab
        self.wire = wire
        self._pool = ThreadPoolExecutor(HANDS)
        self._runs: dict[tuple[str, bool], tuple[Attempt, Future[Result]]] = {}
        self._sockets: list[socket.socket] = []
        self._seen: set[str] | None = None

    def inside_tablet(self, action: Callable[[], T]) -> T:
        return inside(self.world.network.name("tablet"), action)

    def open_socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A socket of the tablet's kernel, closed at the end."""
        made = self.inside_tablet(lambda: socket.socket(family, kind))
        self._sockets.append(made)
        return made

    def start(self, case: Case, is_attack: bool) -> None:
        attempt = Attempt(self, case, is_attack)
        self._runs[case.id, is_attack] = attempt, self._pool.submit(case.run, attempt)

    def outcome(self, case: Case, is_attack: bool) -> Outcome:
        """Wait until all cases of this world are over, and return what came of one."""
        if self._seen is None:
            for _, future in self._runs.values():
                future.exception(180)
            self._seen = {seen.name.lower().rstrip(".") for seen in self.world.seen()}
        attempt, future = self._runs[case.id, is_attack]
        if (error := future.exception()) is not None:
            return Outcome(False, False, "".join(traceback.format_exception(error)), b"")
        result = future.result()
        accepted = attempt.name in self._seen if result.accepted is None else result.accepted
        return Outcome(accepted, GREETING + attempt.name.encode() in result.body, "", result.body)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for made in self._sockets:
            made.close()


@contextlib.contextmanager
def open_ground(kind: str, folder: Path, household: dict[str, Any] | None = None) -> Iterator[Ground]:
    """Make a world. `kind`: OPEN has no Guardian and no firewall, HOME has Guardian as it comes, INSPECT reads QUIC."""
    with contextlib.ExitStack() as stack:
        for name in ("world", "router"):
            (folder / name).mkdir(parents=True)
        world = stack.enter_context(open_world(folder / "world"))
        prepare_world(world, kind)
        stack.enter_context(serve_more(world))
        lab = None
        if kind != OPEN:
            more = {"filter": {"quic": "inspect"}} if kind == INSPECT else None
            lab = stack.enter_context(world.protected(folder / "router", filter=True, household=household, more=more))
            assert lab.has_filter()
            list_a_page(lab)
        tablet = world.network.name("tablet")
        wire = Wire(inside(tablet, open_card), plan.MACS["tablet"], plan.MACS["router"])
        stack.callback(wire.close)
        ground = Ground(kind, world, lab, wire)
        stack.callback(ground.close)
        yield ground


def prepare_world(world: World, kind: str) -> None:
    """Make the tablet's kernel silent, the servers far away, and an open world's router nothing but a router."""
    _do(world, "tablet", "nft", "-f", "-", stdin=QUIET)
    _do(world, "internet", "nft", "-f", "-", stdin=HOPS)
    inside(world.network.name("internet"), _write_server_sysctls)
    if kind == OPEN:
        _do(world, "router", "nft", "delete", "table", "inet", "fw")
        _do(world, "internet", "ip", "route", "add", f"{plan.HOME4}.0/24", "via", plan.wan4(1))
    else:  # as OpenWrt comes: devices of the home may reach each other through the router
        rule = 'insert rule inet fw forward iifname "br-lan" oifname "br-lan" accept'
        _do(world, "router", "nft", rule)


def _write_server_sysctls() -> None:
    for name, value in SERVER_SYSCTLS.items():
        Path("/proc/sys/net", name).write_text(value)


def _do(world: World, role: str, *words: str, stdin: str = "") -> None:
    done = world.on(role, *words, stdin=stdin)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def list_a_page(lab: Lab) -> None:
    """Put a page on a mandatory list, beside the starter data."""
    pages = Source("mandatory:court", "court", lambda: f"{PAGE}\n".encode())
    image = compile_image([*starter_sources(load_catalogue()), pages], bytes(range(16)), 0.0)
    path = lab.guardian.folder / "state" / "lists" / "guardian.image"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(image.to_bytes())
    fresh.rename(path)
    assert lab.guardian.control("reload")["ok"]


@contextlib.contextmanager
def serve_more(world: World) -> Iterator[None]:
    """Start the servers that the lab does not have, in its internet."""
    command = ["ip", "netns", "exec", world.network.name("internet"), sys.executable, "-m", servers.__name__]
    log_path = world.folder / "more.log"
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(world.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment(),
            cwd=ROOT,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        try:
            ready = process.stdout.readline()
            assert ready == b"ready\n", log_path.read_text()
            yield
        finally:
            process.kill()
            process.wait(10)


class Grounds:
    """The worlds of one test run, and all that its tests want to know."""

    def __init__(self, folder: Path, cases: Iterable[Case]) -> None:
        self._folder = folder
        self._cases = list(cases)
        self._stack = contextlib.ExitStack()
        self._grounds: dict[str, Ground] = {}

    def start(self) -> None:
        """Make the worlds that the cases need and run all cases in them."""
        kinds = {OPEN} | {case.ground for case in self._cases}
        for kind in (OPEN, HOME, INSPECT):
            if kind not in kinds:
                continue
            ground = self._stack.enter_context(open_ground(kind, self._folder / kind))
            self._grounds[kind] = ground
            for case in self._cases:
                if kind in (OPEN, case.ground):
                    ground.start(case, is_attack=True)
                if kind == case.ground and case.has_control:
                    ground.start(case, is_attack=False)

    def outcome(self, kind: str, case: Case, *, is_attack: bool) -> Outcome:
        return self._grounds[kind].outcome(case, is_attack)

    def lab(self, kind: str) -> Lab:
        lab = self._grounds[kind].lab
        assert lab is not None
        return lab

    def close(self) -> None:
        self._stack.close()
