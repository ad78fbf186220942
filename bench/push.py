#!/usr/bin/env python3
"""From the desk to a refused name: how long it takes, what it costs a router a day, and what it costs the broker.

    bench/push.py [--quick] [--json] [--routers 1000] [--publications 20] [--entries 2000]

Everything is real and on this machine: two people at a desk publish, a web server and Mosquitto (TLS, passwords) carry
it. 1,000 routers keep a connection each and decide when they would look. Two of them are whole routers: a gateway that
answers DNS, and what `guardian web` does about the feed, with the jitter off; a device there asks for the new name
without end until it is refused. The bytes are counted on the wire of a namespace where nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a file: install what is missing, then run as a module of the environment
    root = Path(__file__).resolve().parents[1]
    subprocess.run([root / "scripts/setup", "bench"], check=True, stdout=sys.stderr)
    os.chdir(root)
    python = str(root / ".venv/bin/python")
    os.execv(python, [python, "-m", "bench.push", *sys.argv[1:]])

import dns.edns
import dns.message
import dns.query
import dns.rdatatype
import yaml

from bench.comparison import run_upstream, say
from bench.load import HOST, WORK, client_address, cores
from bench.namespace import enter_namespace
from bench.push_site import OTHER_TOPIC, Site, use_of
from guardian.config.values import HotlineConfig
from guardian.control import send
from guardian.errors import GuardianError
from guardian.hotline.feed_state import load_state
from guardian.hotline.trust import FeedClient
from guardian.web.push import KEEP_ALIVE

FOLDER = WORK / "push"
WEB_PORT, BROKER_PORT, DNS_PORT = 18400, 18401, 18410
WHOLE_ROUTERS = 2
CROWD_PROCESSES = 8
ASK_SECONDS = 0.01  # between two questions of a device that waits for a name to be refused
LONGEST = 60.0
DAY = 86400.0
POLLS_A_DAY, PUBLICATIONS_A_DAY = 4, 2
CHANGES = 0.05  # of the list in each publication: 10 % a day
IDLE_KEEP_ALIVE = 10  # seconds, asked for by the broker, so that pings can be counted in less than a day
LOOKS = 30
CENSORED = 16  # Extended DNS Error (RFC 8914)
GOALS = {"publish_to_enforced_p99_s": 2.0}
Figures = dict[str, float]


class Crowd:
    """Listeners in some processes. What they tell is in `told`, as it comes."""

    def __init__(self, site: Site, routers: int) -> None:
        self.routers = routers
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        settings = FOLDER / "crowd.json"
        settings.write_text(json.dumps(site.push_settings()))
        self._processes = []
        shares = [len(range(place, routers, CROWD_PROCESSES)) for place in range(CROWD_PROCESSES)]
        for share in filter(None, shares):
            command = [sys.executable, "-m", "bench.push_routers", "crowd", str(settings), str(share)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._processes.append(process)
            threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.told.put(json.loads(line))

    def wait_until_connected(self) -> None:
        """Wait until all are. Raises SystemExit."""
        there, deadline = 0, time.monotonic() + LONGEST + self.routers / 20
        while there < self.routers:
            there += self._take(deadline).get("connected", 0)

    def collect(self, version: int) -> list[dict[str, Any]]:
        """Return what all routers told of the hint of a version. Raises SystemExit when not all have it in time."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + LONGEST
        while len(found) < self.routers:
            told = self._take(deadline)
            if told.get("version") == version:
                found.append(told)
        return found

    def _take(self, deadline: float) -> dict[str, Any]:
        try:
            return self.told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise SystemExit(f"not all of {self.routers} routers were reached") from None

    def stop(self) -> None:
        """End all."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(30)


class Router:
    """A whole router: a gateway, what looks after its feed, and a device that asks."""

    def __init__(self, number: int, site: Site, upstream: int) -> None:
        self.folder = FOLDER / f"router-{number}"
        self.folder.mkdir()
        self.port = DNS_PORT + number
        self._device = client_address(number)
        shutil.copy(site.root, self.folder / "root.json")
        settings = {
            "state": "state",
            "upstreams": {"servers": [f"{HOST}:{upstream}"]},
            "dns": {"listen": [f"{HOST}:{self.port}"], "clients": ["10.53.0.0/24"], "rate_limit": 0},
            "block": {"page": []},
            "control": {"socket": "control.sock"},
            "local": {"addresses": [HOST]},
            "web": {"listen": []},
            "hotline": {"url": site.url, "root": "root.json", "push": site.push_settings()},
        }
        self.config = self.folder / "guardian.yaml"
        self.config.write_text(yaml.safe_dump(settings))
        (self.folder / "state").mkdir()
        self._log = open(self.folder / "log", "wb")  # noqa: SIM115 - the processes keep it
        self._gateway = self._start("-m", "guardian", "gateway", "--config", str(self.config))
        self._wait(lambda: send(str(self.folder / "control.sock"), "status"))
        self._watch = self._start("-m", "bench.push_routers", "router", str(self.config))
        self._wait(lambda: load_state(self.folder / "state" / "hotline"))

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log
        )

    def _wait(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LONGEST
        while True:
            with contextlib.suppress(GuardianError):
                if what():
                    return
            if time.monotonic() > deadline:
                raise SystemExit(f"a router does not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def ask_until_refused(self, name: str) -> float:
        """Ask for a name without end; return when it was refused for the law. Raises SystemExit after a minute."""
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            query = dns.message.make_query(name, "A", use_edns=0)
            answer = dns.query.udp(query, HOST, 5.0, self.port, self._device)
            now = time.time()
            if any(option.otype == dns.edns.EDE and option.code == CENSORED for option in answer.options):
                return now
            time.sleep(ASK_SECONDS)
        raise SystemExit(f"{name} was never refused:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        for process in (self._watch, self._gateway):
            process.terminate()
            process.wait(15)
        self._log.close()


def count_wire() -> int:
    """Return the bytes that went over this namespace's loopback so far: each packet once, with its headers."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, fields = line.partition(":")
        if name.strip() == "lo":
            return int(fields.split()[0])
    raise SystemExit("this namespace has no loopback")


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values is."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_looks(site: Site, entries: int) -> Figures:
    """Return the bytes and the processor time of one router's looks: the first, one without news, one with."""
    figures: Figures = {}
    clients = []
    for number in range(LOOKS):
        folder = FOLDER / f"look-{number}"
        clients.append(FeedClient(HotlineConfig(url=site.url, root=str(site.root)), folder))

    def look(what: str) -> None:
        before, spent, began = count_wire(), time.process_time(), time.monotonic()
        for client in clients:
            state = client.update(time.time())
            if state.troubles():
                raise SystemExit(f"a router could not look: {state.troubles()}")
        figures[f"{what}_bytes"] = (count_wire() - before) / LOOKS
        figures[f"{what}_cpu_ms"] = (time.process_time() - spent) / LOOKS * 1000
        figures[f"{what}_ms"] = (time.monotonic() - began) / LOOKS * 1000

    look("first_look")
    look("poll")
    change = max(1, int(entries * CHANGES))
    site.publish(change, change, urgent=False)
    look("publication")
    config = FOLDER / "process.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "state": str(FOLDER / "process"),
                "upstreams": {"servers": ["127.0.0.1:1"]},
                "hotline": {"url": site.url, "root": str(site.root)},
                "control": {"socket": str(FOLDER / "nobody.sock")},
            }
        )
    )
    walls = []
    for _ in range(4):  # the first installs all
        before_children, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, "-m", "guardian", "sync", "--feed", "--quiet", "--config", str(config)]
        subprocess.run(command, check=True)
        walls.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures["sync_cpu_s"] = after.ru_utime + after.ru_stime - before_children.ru_utime - before_children.ru_stime
    figures["sync_s"] = median(walls[1:])
    return figures


def measure_idle(site: Site, routers: int) -> Figures:
    """Return what idle connections cost: bytes of a ping with its answer, memory and processor time of the broker."""
    site.stop_broker()
    site.start_broker(IDLE_KEEP_ALIVE)
    _, empty = site.broker_use()
    before = count_wire()
    crowd = Crowd(site, routers)
    try:
        crowd.wait_until_connected()
        time.sleep(1)
        connected = count_wire() - before
        every = IDLE_KEEP_ALIVE * 0.9
        time.sleep(every)  # until all have begun to ping
        spent, full = site.broker_use()
        before, began = count_wire(), time.monotonic()
        time.sleep(every * 3)
        seconds = time.monotonic() - began
        pings = routers * seconds / every
        wire = count_wire() - before
        after, _ = site.broker_use()
    finally:
        crowd.stop()
    return {
        "connect_bytes": connected / routers,
        "ping_bytes": wire / pings,
        "broker_kb_a_router": (full - empty) * 1000 / routers,
        "broker_ping_cpu_us": (after - spent) / pings * 1e6,
    }


def measure_hint(site: Site, crowd: Crowd) -> Figures:
    """Return the bytes of one hint at one router, and what it costs the broker. The desk's own part is not in it."""
    time.sleep(2)
    alone = _count_hint(site)
    site.refresh()
    spent, _ = site.broker_use()
    before = count_wire()
    site.send_hint()
    told = crowd.collect(site.version)
    time.sleep(0.5)
    wire = count_wire() - before - alone
    after, _ = site.broker_use()
    looks = sorted(item["at"] + item["look_in"] for item in told)
    busiest = max(sum(1 for look in looks if second <= look < second + 1) for second in looks)
    return {
        "hint_bytes": wire / crowd.routers,
        "broker_hint_cpu_us": (after - spent) / crowd.routers * 1e6,
        "spread_busiest_second_share": busiest / crowd.routers,
    }


def _count_hint(site: Site) -> int:
    """The bytes between desk and broker for a hint that nobody hears."""
    before = count_wire()
    site.send_hint(OTHER_TOPIC)
    time.sleep(0.5)
    return count_wire() - before


def measure_latency(site: Site, crowd: Crowd, publications: int) -> Figures:
    """Return how long after a publication routers know of it, and devices are refused."""
    to_hint: list[float] = []
    to_enforced: list[float] = []
    with run_upstream(cores()[0]) as upstream, run_routers(site, upstream) as routers:
        for turn in range(publications):
            name = site.next_name
            with ThreadPoolExecutor() as devices:
                asking = [devices.submit(router.ask_until_refused, name) for router in routers]
                site.publish(1, 0)
                published = site.published
                to_hint += [item["at"] - published for item in crowd.collect(site.version)]
                refused = [each.result() for each in asking]
            to_enforced += [moment - published for moment in refused]
            say(
                f"  publication {turn + 1}: {median(to_hint[-crowd.routers :]):.2f} s, {max(refused) - published:.2f} s"
            )
        rss = [use_of(router._watch.pid)[1] for router in routers]
    return {
        "publish_to_hint_p50_s": percentile(to_hint, 0.5),
        "publish_to_hint_p99_s": percentile(to_hint, 0.99),
        "publish_to_enforced_p50_s": percentile(to_enforced, 0.5),
        "publish_to_enforced_p99_s": percentile(to_enforced, 0.99),
        "enforced_samples": float(len(to_enforced)),
        "watch_rss_mb": max(rss),
    }


@contextlib.contextmanager
def run_routers(site: Site, upstream: int) -> Iterator[list[Router]]:
    """Run the whole routers."""
    routers = []
    try:
        for number in range(WHOLE_ROUTERS):
            routers.append(Router(number, site, upstream))
        yield routers
    finally:
        for router in routers:
            router.stop()


def sum_day(figures: Figures) -> Figures:
    """Return the bytes of a day of one router, on the wire with all headers."""
    pings = DAY / (KEEP_ALIVE * 0.9)
    parts = {
        "day_push_bytes": pings * figures["ping_bytes"]
        + PUBLICATIONS_A_DAY * figures["hint_bytes"]
        + figures["connect_bytes"],
        "day_poll_bytes": POLLS_A_DAY * figures["poll_bytes"],
        "day_publication_bytes": PUBLICATIONS_A_DAY * figures["publication_bytes"],
    }
    return parts | {"bytes_per_router_day": sum(parts.values())}


def print_figures(figures: Figures, options: argparse.Namespace) -> None:
    """Print the table for people."""
    print(f"{options.routers:,} routers, {options.entries:,} entries, {CHANGES:.0%} of them new in a publication")
    for name, value in figures.items():
        unit = name.rpartition("_")[2]
        digits = 2 if unit in ("s", "ms", "mb", "share") else 0
        goal = (
            f"  goal at most {GOALS[name]:g}: {'reached' if value <= GOALS[name] else 'MISSED'}"
            if name in GOALS
            else ""
        )
        print(f"  {name:30}{value:12,.{digits}f}{goal}")


def main() -> int:
    """Measure and print. Returns 0; problems raise SystemExit."""
    parser = argparse.ArgumentParser(prog="bench/push.py", description="From the desk to a refused name.")
    parser.add_argument("--quick", action="store_true", help="5 publications, 200 entries")
    parser.add_argument("--json", action="store_true", help="one flat JSON object on stdout")
    parser.add_argument("--routers", type=int, default=1000, metavar="N", help="that listen (default: %(default)s)")
    parser.add_argument("--publications", type=int, metavar="N", help="that are timed (default: 20)")
    parser.add_argument("--entries", type=int, metavar="N", help="of the list (default: 2000)")
    options = parser.parse_args()
    options.publications = options.publications or (5 if options.quick else 20)
    options.entries = options.entries or (200 if options.quick else 2000)
    enter_namespace("bench.push", sys.argv[1:])
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    site = Site(FOLDER / "site", HOST, WEB_PORT, BROKER_PORT, log2_n=14)
    FOLDER.mkdir(parents=True)
    figures: Figures = {"routers": float(options.routers), "entries": float(options.entries)}
    try:
        say(f"a desk lists {options.entries:,} names, with slow keys of {75 * options.entries / 1000 / 2:.0f} s")
        site.start()
        site.publish(options.entries, 0)
        say("looks of one router")
        figures |= measure_looks(site, options.entries)
        say(f"{options.routers:,} idle connections")
        figures |= measure_idle(site, options.routers)
        site.stop_broker()
        site.start_broker()
        crowd = Crowd(site, options.routers)
        try:
            crowd.wait_until_connected()
            say("a hint")
            figures |= measure_hint(site, crowd)
            say(f"{options.publications} publications")
            figures |= measure_latency(site, crowd, options.publications)
            figures["broker_rss_mb"] = site.broker_use()[1]
        finally:
            crowd.stop()
    finally:
        site.stop()
    figures |= sum_day(figures)
    figures["load_average"] = round(os.getloadavg()[0], 1)
    if options.json:
        print(json.dumps(figures))
    else:
        print_figures(figures, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
