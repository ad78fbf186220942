"""Runs `flows.c`: both ends of the flows that go through a router."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.load import HERE, WORK, cores
from bench.routers import DEVICES, Router
from tests.wire.hellos import build_hello, frame

NAME = "www.open.example"  # in no list
SEGMENT_BYTES = 1400
NEVER = 100_000  # bytes that a server waits for in vain


class FlowsResult(NamedTuple):
    """What both ends saw. Latencies in microseconds.

    `connect`: SYN to the server's; `hello`: hello to the server's first byte (TLS: whole handshake); `answer`: both.
    """

    started: int
    done: int
    failed: int  # reset
    lost: int  # not done after five seconds
    seconds: float
    per_second: float
    connect_p50_us: float
    connect_p99_us: float
    connect_p999_us: float
    hello_p50_us: float
    hello_p99_us: float
    hello_p999_us: float
    answer_p50_us: float
    answer_p99_us: float
    answer_p999_us: float

    @property
    def bad(self) -> float:
        """Return the share of the flows that did not go through."""
        return (self.failed + self.lost) / max(self.started, 1)


def compile_ends() -> Path:
    """Return the program made from `flows.c`. Raises CalledProcessError with gcc's words on stderr."""
    source, program = HERE / "flows.c", WORK / "flows"
    WORK.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        made = program.with_suffix(".new")
        flags = ["-O2", "-std=gnu17", "-Wall", "-Wextra"]
        subprocess.run(["gcc", *flags, "-o", made, source, "-lm", "-lssl", "-lcrypto"], check=True)
        made.rename(program)
    return program


def placed(core: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` on one core before all others; the process id stays that of `command`."""
    return ["nice", "-n", "-20", "taskset", "-c", str(core), *command]


@contextmanager
def on_first_core() -> Iterator[None]:
    """Keep this process, while it sends, away from the core of what is measured."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[0]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def make_segments(post_quantum: bool = False) -> list[bytes]:
    """Return a browser's ClientHello as TCP segments: one, or two of a post-quantum one."""
    hello = frame(build_hello(NAME, post_quantum=post_quantum, grease=True, ech=post_quantum))
    return [hello[at : at + SEGMENT_BYTES] for at in range(0, len(hello), SEGMENT_BYTES)]


def write_messages(name: str, messages: Sequence[bytes]) -> Path:
    """Write the generator's file of messages and return it."""
    path = WORK / f"{name}.messages"
    path.write_bytes(b"".join(struct.pack("!H", len(message)) + message for message in messages))
    return path


def run_flows(
    router: Router, messages: Path | None, *, seconds: float, window: int = 32, rate: float = 0
) -> FlowsResult:
    """Open flows for `seconds`, paced (`rate` a second) or `window` at a time; without `messages` they are real TLS."""
    what = ["-T", NAME] if messages is None else ["-f", str(messages)]
    how = ["-r", str(rate)] if rate else ["-w", str(window)]
    command = [*_command(router), *what, *how, "-t", str(seconds)]
    done = subprocess.run(placed(cores()[0], command), check=True, stdout=subprocess.PIPE)
    return FlowsResult(**json.loads(done.stdout))


@contextmanager
def hold_flows(router: Router, messages: Path, count: int, rate: float, *, is_whole: bool) -> Iterator[int]:
    """Open `count` flows and keep them open; yield how many there are. Not `is_whole`: the server waits for more."""
    command = [*_command(router), "-f", str(messages), "-h", str(count), "-r", str(rate)]
    if not is_whole:
        command += ["-e", str(NEVER)]
    process = subprocess.Popen(placed(cores()[0], command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    with process:
        try:
            yield json.loads(process.stdout.readline())["held"]
        finally:
            process.stdin.close()


class Bulk:
    """One flow that carries as much as it can, whenever it is asked to. A context manager."""

    def __init__(self, router: Router, messages: Path, direction: str, seconds: float) -> None:
        """`direction` is `up` or `down`; `seconds` the length of one measurement."""
        client, server = cores()
        command = [*_command(router), "-f", str(messages), "-b", direction, "-t", str(seconds)]
        command += ["-k", str(client), "-K", str(server)]
        self._process = subprocess.Popen(["nice", "-n", "-20", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read()  # the flow is the kernel's now

    def __enter__(self) -> Bulk:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a stream was cut")
        return line

    def run(self) -> float:
        """Return Gbit/s of one measurement."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return float(json.loads(self._read())["gbps"])


def _command(router: Router) -> list[str]:
    network = router.network
    places = ["-C", network.namespace("client"), "-S", network.namespace("server"), "-a", router.server]
    return [str(compile_ends()), *places, "-d", router.devices, "-n", str(DEVICES)]
