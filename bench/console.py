#!/usr/bin/env python3
"""What the parents' console costs: memory, the time of its busiest calls on a large history, bytes of the first load.

    bench/console.py [--quick] [--json] [--minutes N] [--first-load]

Starts a real gateway and a real console on loopback. Prints a table, or one flat JSON object of figures. --minutes is
how long four event streams stay open while devices ask (60 = as in the goal); --first-load measures only the page.

Other work on the machine multiplies the times; the CPU time of a call it makes longer by half at most.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a file: install what is missing, then run as a module of the environment
    root = Path(__file__).resolve().parents[1]
    subprocess.run([root / "scripts/setup", "bench"], check=True, stdout=sys.stderr)
    subprocess.run([root / "scripts/build-webui"], check=True, stdout=sys.stderr)
    os.chdir(root)
    python = str(root / ".venv/bin/python")
    os.execv(python, [python, "-m", "bench.console", *sys.argv[1:]])

from bench.console_page import measure_page
from bench.household import CHILDREN, device_address, make_household, write_history
from bench.load import WORK
from bench.peers import MEGABYTE

HOST = "127.0.0.1"
FOLDER = WORK / "console"
CHILD = device_address(0)
GUARDIAN = (sys.executable, "-m", "guardian")
STREAMS = 4
ASK_PAUSE = 0.1  # seconds between two queries while streams are open
START_SECONDS = 60.0
GOALS = {"web_rss_mb": 45.0, "api_p95_ms": 50.0, "first_load_bytes": 150_000.0, "usable_ms_6x": 1000.0}
PASSWORD = "correct horse battery"
CALLS = {
    "home": "/home",
    "devices": "/devices",
    "alerts7": "/alerts?days=7",
    "alerts30": "/alerts?days=30",
    "activity7": f"/profiles/{CHILDREN[0][0]}/activity?days=7",
    "activity30": f"/profiles/{CHILDREN[0][0]}/activity?days=30",
    "household": "/household",
    "child": "/child",
}
RARE_CALLS = {"activity90": f"/profiles/{CHILDREN[0][0]}/activity?days=90"}  # no page asks for it, a program may
Figures = dict[str, float]


def say(text: str) -> None:
    """Tell the person who waits what is being done; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


class Box:
    """A gateway and a console of a large home, and a signed-in parent."""

    def __init__(self, dns_port: int, web_port: int) -> None:
        self.dns_port, self.web_port = dns_port, web_port
        self.csrf = self.cookie = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def web_pid(self) -> int:
        """The console's process."""
        return self.processes["web"].pid

    def prepare(self) -> None:
        """Write settings, household and history anew."""
        shutil.rmtree(FOLDER, ignore_errors=True)
        (FOLDER / "state").mkdir(parents=True)
        household = make_household()
        (FOLDER / "home.yaml").write_text(json.dumps(household))  # JSON is YAML
        settings = {
            "state": "state",
            "language": "en",
            "dns": {"listen": [f"{HOST}:{self.dns_port}"], "rate_limit": 0},
            "upstreams": {"servers": [f"{HOST}:1"]},
            "history": {"retention_days": 366, "size_mb": 1024},
            "web": {"listen": [f"{HOST}:{self.web_port}"]},
        }
        (FOLDER / "guardian.yaml").write_text(json.dumps(settings))
        command = [
            *GUARDIAN,
            "household",
            "import",
            "--config",
            str(FOLDER / "guardian.yaml"),
            str(FOLDER / "home.yaml"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = write_history(FOLDER / "state" / "history.db", household, time.time())
        say(f"a history of {rows:,} hourly rows is written")

    def start(self, name: str) -> None:
        """Start `gateway` or `web`."""
        command = [*GUARDIAN, name, "--config", str(FOLDER / "guardian.yaml")]
        with open(FOLDER / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=FOLDER
            )

    def wait(self) -> None:
        """Wait until both answer. Raises SystemExit."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.call("GET", "/start")[0] == 200 and (FOLDER / "state" / "control.sock").exists():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or any(each.poll() is not None for each in self.processes.values()):
                raise SystemExit(f"the console does not start; see {FOLDER}/*.log")
            time.sleep(0.05)

    def claim(self) -> None:
        """Make the first visit. Raises SystemExit."""
        code = (FOLDER / "state" / "claim-code").read_text().strip()
        body = {
            "claim_code": code, "name": "Mama", "password": PASSWORD, "language": "en", "timezone": "Europe/Chisinau",
        }  # fmt: skip
        status, headers, raw = self.call("POST", "/claim", body)
        if status != 201:
            raise SystemExit(f"the console cannot be claimed: {raw!r}")
        self.cookie = headers["set-cookie"].partition(";")[0]
        self.csrf = json.loads(raw)["csrf"]

    def connect(self, source: str = HOST) -> http.client.HTTPConnection:
        """Return a connection from a device's address."""
        return http.client.HTTPConnection(HOST, self.web_port, timeout=60, source_address=(source, 0))

    def call(
        self, method: str, path: str, body: Any = None, through: http.client.HTTPConnection | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make one call; return status, header fields in small letters, body."""
        connection = through or self.connect()
        headers = {"Cookie": self.cookie, "X-CSRF-Token": self.csrf} if self.cookie else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        raw = response.read()
        if through is None:
            connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, raw

    def stop(self) -> None:
        """End both."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def run_box() -> Iterator[Box]:
    """Start the box, claim it, hand it out, end it."""
    box = Box(free_port(), free_port())
    box.prepare()
    try:
        box.start("gateway")
        box.start("web")
        box.wait()
        box.claim()
        yield box
    finally:
        box.stop()


def free_port() -> int:
    """Return a port of HOST that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def read_rss(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise SystemExit(f"process {pid} is gone")


def read_cpu(pid: int) -> float:
    """Return the CPU seconds of a process with all its threads."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock of another process (clock_getcpuclockid)


def measure_calls(box: Box, rounds: int) -> Figures:
    """Return milliseconds of each call, one after another over a kept connection, the calls in turn."""
    taken: dict[str, list[float]] = {name: [] for name in CALLS | RARE_CALLS}
    busy = dict.fromkeys(taken, 0.0)
    through = {"child": box.connect(CHILD), "parent": box.connect()}
    figures: Figures = {}
    for _ in range(rounds):
        for name, path in (CALLS | RARE_CALLS).items():
            connection = through["child" if name == "child" else "parent"]
            cpu, begin = read_cpu(box.web_pid), time.perf_counter()
            status, _, raw = box.call("GET", path, through=connection)
            taken[name].append((time.perf_counter() - begin) * 1000)
            busy[name] += (read_cpu(box.web_pid) - cpu) * 1000
            if status != 200:
                raise SystemExit(f"{path} answers {status}: {raw[:300]!r}")
            figures[f"{name}_bytes"] = len(raw)
    for connection in through.values():
        connection.close()
    for name, times in taken.items():
        ordered = sorted(times)
        figures[f"{name}_first_ms"] = round(times[0], 1)
        figures[f"{name}_p50_ms"] = round(median(ordered), 1)
        figures[f"{name}_p95_ms"] = round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 1)
        figures[f"{name}_cpu_ms"] = round(busy[name] / rounds, 1)
    figures["api_p95_ms"] = max(figures[f"{name}_p95_ms"] for name in CALLS)
    figures["api_cpu_ms"] = max(figures[f"{name}_cpu_ms"] for name in CALLS)
    return figures


def measure_streams(box: Box, seconds: float) -> Figures:
    """Return the memory after four event streams were open for so long, while devices asked."""
    stop = threading.Event()
    events = [0] * STREAMS
    threads = [
        threading.Thread(target=read_stream, args=(box, number, events, stop), daemon=True) for number in range(STREAMS)
    ]
    for thread in threads:
        thread.start()
    begin, cpu = time.monotonic(), read_cpu(box.web_pid)
    asked = ask_names(box.dns_port, seconds)
    share = (read_cpu(box.web_pid) - cpu) / (time.monotonic() - begin)
    rss = read_rss(box.web_pid)
    stop.set()
    if not all(events):
        raise SystemExit(f"a stream brought nothing: {events}; see {FOLDER}/web.log")
    return {
        "web_streams_rss_mb": round(rss, 1),
        "stream_events": sum(events),
        "stream_queries": asked,
        "stream_cpu_percent": round(share * 100, 1),
    }


def read_stream(box: Box, number: int, events: list[int], stop: threading.Event) -> None:
    """Count the events of one stream."""
    connection = box.connect()
    connection.request("GET", "/api/v1/events", headers={"Cookie": box.cookie})
    response = connection.getresponse()
    while not stop.is_set():
        line = response.readline()
        if not line:
            return
        events[number] += line.startswith(b"event:")


def ask_names(port: int, seconds: float) -> int:
    """Ask blocked and allowed names from the children's devices for so long; return how many."""
    chance, asked, end = random.Random(1), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        source = device_address(chance.randrange(len(CHILDREN) * 3))
        name = chance.choice(("pornhub.com", "tiktok.com", "bet365.com", f"open-{asked}.example"))
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((source, 0))
            client.sendto(asked.to_bytes(4)[2:] + b"\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1", (HOST, port))
        asked += 1
        time.sleep(ASK_PAUSE)
    return asked


def print_figures(figures: Figures) -> None:
    """Print the tables for people."""
    if "home_p50_ms" in figures:
        columns = ("cpu_ms", "p50_ms", "p95_ms", "first_ms")
        print(f"  {'call':12}{'CPU ms':>9}{'p50 ms':>9}{'p95 ms':>9}{'first ms':>10}{'bytes':>10}")
        for name, path in (CALLS | RARE_CALLS).items():
            cpu, p50, p95, first = (figures[f"{name}_{key}"] for key in columns)
            print(f"  {name:12}{cpu:9.1f}{p50:9.1f}{p95:9.1f}{first:10.1f}{figures[f'{name}_bytes']:10,.0f}  {path}")
        print()
    print(f"  {'figure':24}{'value':>12}{'goal':>10}")
    calls = tuple(f"{name}_" for name in CALLS | RARE_CALLS)
    for key, value in figures.items():
        if key.startswith(calls):
            continue
        goal = GOALS.get(key)
        verdict = "" if goal is None else f"{goal:10,g}  {'reached' if value <= goal else 'MISSED'}"
        print(f"  {key:24}{value:12,.10g}{verdict}")


def main() -> int:
    """Measure and print. Returns 0; problems raise SystemExit."""
    parser = argparse.ArgumentParser(prog="bench/console.py", description="What the parents' console costs.")
    parser.add_argument("--quick", action="store_true", help="40 rounds of calls instead of 300")
    parser.add_argument("--json", action="store_true", help="one flat JSON object on stdout")
    parser.add_argument("--minutes", type=float, default=0.5, help="minutes with open streams (default: %(default)s)")
    parser.add_argument("--first-load", action="store_true", help="measure only the home page in Chromium")
    options = parser.parse_args()
    figures: Figures = {}
    with run_box() as box:
        if not options.first_load:
            time.sleep(2)
            figures["web_idle_rss_mb"] = round(read_rss(box.web_pid), 1)
            say("measuring the calls")
            figures |= measure_calls(box, 40 if options.quick else 300)
            figures["web_busy_rss_mb"] = round(read_rss(box.web_pid), 1)
            say(f"four streams for {options.minutes:g} minutes")
            figures |= measure_streams(box, options.minutes * 60)
            figures["web_rss_mb"] = max(figures[f"web_{state}_rss_mb"] for state in ("idle", "busy", "streams"))
        say("the home page in Chromium")
        page = measure_page(f"http://{HOST}:{box.web_port}/", box.cookie)
        if not page:
            say("left out: it needs the Python package playwright, and Chromium")
        figures |= page
    figures["load_average"] = round(os.getloadavg()[0], 1)
    if options.json:
        print(json.dumps(figures))
    else:
        print_figures(figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
