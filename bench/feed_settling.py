"""What the slow hash costs others: the time of answers to one device while another asks for unknown names all the time.

A real gateway with a feed at the cost of a real one, a small DNS server behind it, one phone that asks every few
milliseconds for names that are kept, and a second device that floods, in turns of some seconds.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guardian.blocklist.feed_base import STANDARD, Base, SuffixRules, build_base
from guardian.blocklist.tag_table import build_tags
from guardian.control import send
from guardian.errors import GuardianError
from guardian.hotline.feed_state import write_current
from guardian.names import parse_name

ROOT = Path(__file__).resolve().parent.parent
PHONE, FLOODER = "127.0.0.3", "127.0.0.2"
KEPT = 200  # names that the phone asks for again and again
PAUSE = 0.004  # seconds between its questions
FLOOD = 10  # questions of the other device for each of the phone's turns of 20
START_SECONDS = 20.0

_UPSTREAM = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    end = query.index(0, 12) + 5
    record = b"\\xc0\\x0c\\x00\\x01\\x00\\x01\\x00\\x00\\x0e\\x10\\x00\\x04\\xc6\\x33\\x64\\x01"
    server.sendto(query[:2] + b"\\x81\\x80\\x00\\x01\\x00\\x01\\x00\\x00\\x00\\x00" + query[12:end] + record, client)
"""


def measure_unrelated(files: object, quick: bool) -> dict[str, float]:
    """Return the p99 of the phone's answers in milliseconds, without and with the flood, and the difference."""
    calm: list[float] = []
    flooded: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="guardian-bench-") as name,
        _running(Path(name)) as (port, control),
        _client(PHONE) as phone,
        _client(FLOODER) as flooder,
    ):
        names = [f"n{number}.good.example" for number in range(KEPT)]
        for text in names:
            _ask(phone, port, text, 10.0)
        for turn in range(6 if quick else 20):
            flooded += _take_turn(phone, flooder, port, names, turn, floods=True)
            _wait_until_idle(control)
            calm += _take_turn(phone, flooder, port, names, turn, floods=False)
        status = send(control, "status")["hotline"]
    quiet, busy = _p99(calm), _p99(flooded)
    return {
        "unrelated_p99_added_ms": (busy - quiet) * 1e3,
        "unrelated_p99_ms": quiet * 1e3,
        "unrelated_flooded_p99_ms": busy * 1e3,
        "unrelated_flooded_p50_ms": statistics.median(flooded) * 1e3,
        "unrelated_p50_ms": statistics.median(calm) * 1e3,
        "flood_hashes": float(status["hashes"]),
        "flood_refused": float(status["refused"]),
    }


def _take_turn(
    phone: socket.socket, flooder: socket.socket, port: int, names: list[str], turn: int, *, floods: bool
) -> list[float]:
    took = []
    for number in range(500):
        took.append(_ask(phone, port, random.choice(names), 2.0))
        if number % 20 == 0:
            # In the phone's pause, so that it does not stand in line behind them: what counts is the hash. Without the
            # flood as many new names, of a domain that is known to be good.
            for unknown in range(FLOOD):
                name = f"u{turn}-{number}-{unknown}.{'example' if floods else 'good.example'}"
                flooder.sendto(_build_query(name), ("127.0.0.1", port))
        time.sleep(PAUSE)
        _drop_answers(flooder)
    return took


def _wait_until_idle(control: str) -> None:
    deadline = time.monotonic() + 30
    while send(control, "status")["hotline"]["waiting"]:
        if time.monotonic() > deadline:
            raise SystemExit("the gateway does not come to an end with its hashes")
        time.sleep(0.05)


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


def _build_query(name: str) -> bytes:
    head = struct.pack(">6H", random.getrandbits(16), 0x0100, 1, 0, 0, 0)
    return head + parse_name(name) + b"\x00\x01\x00\x01"


def _ask(client: socket.socket, port: int, name: str, seconds: float) -> float:
    query = _build_query(name)
    client.settimeout(seconds)
    began = time.perf_counter()
    client.sendto(query, ("127.0.0.1", port))
    while (answer := client.recv(4096))[:2] != query[:2]:
        pass
    took = time.perf_counter() - began
    if answer[3] & 15:
        raise SystemExit(f"{name} was answered with RCODE {answer[3] & 15}")
    return took


def _drop_answers(client: socket.socket) -> None:
    client.setblocking(False)
    while True:
        try:
            client.recv(4096)
        except BlockingIOError:
            return


@contextmanager
def _client(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((address, 0))
        yield client


def _install(folder: Path) -> None:
    data = build_base(
        "2027q1", os.urandom(32), STANDARD, SuffixRules(frozenset(), frozenset(), frozenset()),
        [parse_name("good.example")], [],
    )  # fmt: skip
    tags = build_tags("list-1", 1, time.time(), Base(data), [], [], {})
    folder.mkdir(parents=True)
    names = [
        f"{stem}.{hashlib.sha256(part).hexdigest()[:8]}" for stem, part in (("2027q1-1", data), ("list-1-1", tags))
    ]
    (folder / f"{names[0]}.base").write_bytes(data)
    (folder / f"{names[1]}.tags").write_bytes(tags)
    write_current(folder, f"{names[0]}.base", {"list-1": f"{names[1]}.tags"})


@contextmanager
def _running(folder: Path) -> Iterator[tuple[int, str]]:
    """A gateway with a feed and the server behind it; yields its port and its control socket."""
    port, upstream = _free_port(), _free_port()
    _install(folder / "state" / "hotline")
    config = folder / "guardian.yaml"
    config.write_text(
        f"state: {folder}/state\n"
        f"dns: {{listen: ['127.0.0.1:{port}'], rate_limit: 0, prefetch: false}}\n"
        f"upstreams: {{servers: ['127.0.0.1:{upstream}']}}\n"
        "block: {mandatory: nxdomain, other: nxdomain}\n"
        "hotline: {url: 'http://127.0.0.1:1/', root: root.json}\n"
    )
    control = f"{folder}/state/control.sock"
    server = subprocess.Popen([sys.executable, "-c", _UPSTREAM, str(upstream)], stdout=subprocess.PIPE)
    gateway = subprocess.Popen(
        [sys.executable, "-m", "guardian", "gateway", "--config", str(config)],
        cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        server.stdout.readline()
        _wait_for_gateway(gateway, control)
        yield port, control
    finally:
        for process in (gateway, server):
            process.terminate()
            process.wait(20)
        assert server.stdout is not None
        server.stdout.close()


def _wait_for_gateway(gateway: subprocess.Popen[bytes], control: str) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return send(control, "status")
        except GuardianError:
            if gateway.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    for key, value in measure_unrelated(None, "--quick" in sys.argv).items():
        print(f"{key:26} {value:10.3f}")
