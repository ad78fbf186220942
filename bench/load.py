"""Runs the load generator and the upstream: C programs of this folder, compiled into `.bench/` when they are newer."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / ".bench"  # ignored by git
NETWORK = "10.53.0"  # of the namespace (`bench/namespace.py`): loopback clients would be proxies to Guardian
HOST = f"{NETWORK}.1"  # every server and the upstream
WINDOW = 8  # queries that each client keeps outstanding in a closed loop
TYPES = {"A": 1, "AAAA": 28, "HTTPS": 65}


def client_address(index: int) -> str:
    """Return the address of client `index`, from 0."""
    return f"{NETWORK}.{2 + index}"


class Query(NamedTuple):
    """What one query asks: a name as text, and the number of a type."""

    name: str
    type: int = TYPES["A"]


class LoadResult(NamedTuple):
    """What the generator saw. Latencies in microseconds; `rcodes[n]` answers had RCODE n, `empty` were NODATA."""

    sent: int
    answered: int
    lost: int  # without an answer for a second
    wrong: int  # another question, or not an answer
    late: int
    unsent: int  # due in an open loop while 1,024 queries of that client were outstanding
    empty: int
    seconds: float
    qps: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    rcodes: list[int]


def cores() -> tuple[int, int]:
    """Return the cores for the generator and for the server; the same one on a machine with a single core."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(core: int, command: Sequence[str | Path]) -> list[str]:
    """Return the command that runs `command` on one core; the process id stays that of `command`."""
    return ["taskset", "-c", str(core), *map(str, command)]


def compile_program(name: str) -> Path:
    """Return the program made from `NAME.c`. Raises CalledProcessError with gcc's words on stderr."""
    source, program = HERE / f"{name}.c", WORK / name
    WORK.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        made = program.with_suffix(".new")
        flags = ["-O2", "-std=gnu17", "-Wall", "-Wextra"]
        subprocess.run(["gcc", *flags, "-o", made, source, "-lm"], check=True)
        made.rename(program)
    return program


def build_query(query: Query) -> bytes:
    """Return the DNS message, RFC 1035 section 4.1, with id 0 and RD; no EDNS, as most stub resolvers ask."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in query.name.split("."))
    return struct.pack("!6H", 0, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, query.type, 1)


def write_queries(path: Path, queries: Iterable[Query]) -> int:
    """Write the generator's file of queries; return how many they are."""
    messages = [build_query(query) for query in queries]
    path.write_bytes(b"".join(struct.pack("!H", len(message)) + message for message in messages))
    return len(messages)


def run_load(port: int, queries: Path, clients: int, *, seconds: float, count: int = 0, rate: float = 0) -> LoadResult:
    """Load HOST:port from `clients` addresses, for `seconds`, at most `count` queries.

    `rate` > 0 paces them (queries a second in all); without it each client keeps WINDOW of them outstanding.

    Raises CalledProcessError when the generator fails.
    """
    command = [compile_program("load"), "-s", HOST, "-p", port, "-f", client_address(0), "-c", clients]
    command += ["-q", queries, "-w", WINDOW, "-r", rate, "-t", seconds]
    if count:
        command += ["-n", count]
    done = subprocess.run(pinned(cores()[0], [str(part) for part in command]), check=True, stdout=subprocess.PIPE)
    return LoadResult(**json.loads(done.stdout))
