#!/usr/bin/env python3
"""What Guardian costs a small router: memory, start, updates, flash; and a million names beside unbound and dnsmasq.

    bench/footprint.py [--quick] [--json] [--parts names,box,...] [--servers guardian,unbound,dnsmasq] [--imports]

Prints a table, or one flat JSON object of figures; --imports tells instead what the gateway imports. The exit code is 1
when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

if not __package__:  # run as a file: install what is missing, then run as a module of the environment
    root = Path(__file__).resolve().parents[1]
    subprocess.run([root / "scripts/setup", "bench"], check=True, stdout=sys.stderr)
    os.chdir(root)
    python = str(root / ".venv/bin/python")
    os.execv(python, [python, "-m", "bench.footprint", *sys.argv[1:]])

from bench.comparison import Figures, check_answers, run_upstream, say
from bench.footprint_parts import measure_box, measure_flash, measure_sync
from bench.gateway import Guardian
from bench.load import WORK, Query, cores, run_load, write_queries
from bench.names import Corpus, make_corpus
from bench.namespace import MARK, enter_namespace
from bench.peers import MEGABYTE, Dnsmasq, Memory, Peer, Server, Unbound
from bench.scenarios import ADULTS, CLIENTS
from guardian.gateway.sizing import cache_bytes_for, table_entries_for

NAMES = 1_000_000
EACH = 10_000  # blocked and allowed names that are asked
ROUTER_MEMORY = 256 << 20  # bytes; the table and the cache follow the machine's memory
ASK_LIMIT = 60  # seconds that the 20,000 queries may take
SERVERS = ("guardian", "unbound", "dnsmasq")
FLASH_FIGURES = WORK / "footprint-flash.json"
PARTS = ("names", "box", "sync", "flash")
GOALS = {  # at most
    "gateway_private_mb": 32.0,
    "start_to_first_answer_s": 2.0,
    "box_gateway_private_mb": 32.0,
    "box_first_gateway_private_mb": 32.0,
    "box_web_rss_mb": 45.0,
    "box_start_s": 2.0,
    "sync_peak_mb": 80.0,
}
SHOWN_IMPORTS = 30


def make_peer(name: str) -> Peer:
    """Return the server of that name, set up as in a home; Guardian with the sizes that it takes on a 256 MB router."""
    if name == "guardian":
        return Guardian(table_entries_for(ROUTER_MEMORY), cache_bytes_for(ROUTER_MEMORY))
    return Unbound() if name == "unbound" else Dnsmasq()


def measure(name: str, corpus: Corpus, upstream: int, starts: int) -> Figures:
    """Return the figures of one server; the start is the median of `starts`."""
    say(f"measuring {name}")
    server = Server(make_peer(name), corpus, upstream)
    with server:  # not counted: Python makes its bytecode
        server.start()
    taken = []
    for _ in range(starts - 1):
        with server:
            taken.append(server.start())
    with server:
        taken.append(server.start())
        check_answers(server, corpus)
        idle = server.memory()
        ask_all(server, corpus)
        busy = server.memory()
    figures: Figures = {f"{name}_start_s": round(median(taken), 3)}
    for state, memory in (("idle", idle), ("busy", busy)):
        figures |= {f"{name}_{state}_{key}_mb": value for key, value in describe(memory).items()}
    files = server.peer.image_files()
    if files:
        figures[f"{name}_image_mb"] = round(sum(path.stat().st_size for path in files) / MEGABYTE, 2)
    return figures


def describe(memory: Memory) -> Figures:
    """Return the memory as figures; `private` is what no other process could share: the mapped image is left out."""
    return {
        "rss": round(memory.rss, 1),
        "pss": round(memory.pss, 1),
        "private": round(memory.private - memory.mapped, 1),
        "mapped": round(memory.mapped, 1),
    }


def ask_all(server: Server, corpus: Corpus) -> None:
    """Ask 20,000 different names, once each, from the children's devices. Raises SystemExit when too few come back."""
    file = WORK / "footprint.queries"
    pairs = zip(corpus.blocked[:: len(corpus.blocked) // EACH][:EACH], corpus.allowed, strict=True)
    count = write_queries(file, [Query(name) for pair in pairs for name in pair])
    result = run_load(server.port, file, CLIENTS - ADULTS, seconds=ASK_LIMIT, count=count)
    if result.rcodes[0] + result.rcodes[3] < count * 0.999:
        raise SystemExit(f"{server.name} answered {result.answered} of {count} queries: {result}")


def list_imports() -> str:
    """Return what the gateway imports until its first answer, the dearest first, with microseconds of each."""
    corpus = make_corpus(10_000, EACH)
    with run_upstream(cores()[0]) as upstream, Server(Guardian(), corpus, upstream) as server:
        server.command[1:1] = ["-X", "importtime"]
        server.start()
        server.stop()
        lines = re.findall(r"^import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)$", server.log(), re.MULTILINE)
    rows = sorted(((int(own), int(total), module) for own, total, _, module in lines), reverse=True)
    text = [f"{len(rows)} modules, {sum(own for own, *_ in rows) / 1000:.0f} ms; own us, with what it imports, module"]
    text += [f"{own:8} {total:8}  {module}" for own, total, module in rows[:SHOWN_IMPORTS]]
    return "\n".join(text)


def print_figures(figures: Figures, names: list[str]) -> None:
    """Print the tables for people."""
    if names:
        print(f"{NAMES:,} names. MB of 10^6 bytes; private without the mapped image; busy = after {2 * EACH:,} queries")
        print(
            f"  {'':10}{'start s':>9}{'idle: RSS':>12}{'PSS':>8}{'private':>9}{'busy: RSS':>12}{'PSS':>8}{'private':>9}"
        )
    for name in names:
        cells = f"{figures[f'{name}_start_s']:9.2f}"
        for state in ("idle", "busy"):
            rss, pss, private = (figures[f"{name}_{state}_{key}_mb"] for key in ("rss", "pss", "private"))
            cells += f"{rss:12.1f}{pss:8.1f}{private:9.1f}"
        print(f"  {name:10}{cells}")
    for key, value in figures.items():
        if key.startswith(("box_", "sync_", "flash_")) and key not in GOALS:
            print(f"  {key}: {value:g}")
    for key, goal in GOALS.items():
        if key in figures:
            verdict = "reached" if figures[key] <= goal else "MISSED"
            print(f"  {key}: {figures[key]:.2f}, goal at most {goal:g}: {verdict}")


def main() -> int:
    """Measure and print. Returns 1 when a goal is missed, else 0; problems raise SystemExit."""
    parser = argparse.ArgumentParser(prog="bench/footprint.py", description="What Guardian costs a small router.")
    parser.add_argument("--quick", action="store_true", help="one start of each server instead of five")
    parser.add_argument("--json", action="store_true", help="one flat JSON object on stdout")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--servers", default=",".join(SERVERS), help="some of %(default)s")
    parser.add_argument("--imports", action="store_true", help="list the gateway's imports and what they cost")
    options = parser.parse_args()
    names, parts = options.servers.split(","), options.parts.split(",")
    if unknown := ({*names} - {*SERVERS}) | ({*parts} - {*PARTS}):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if (
        "flash" in parts and MARK not in os.environ
    ):  # outside the namespace: the bundle's packages may have to be fetched
        WORK.mkdir(exist_ok=True)
        FLASH_FIGURES.write_text(json.dumps(measure_flash()))
    enter_namespace("bench.footprint", sys.argv[1:])
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a router has bytecode; the compiler's leavings are megabytes
    os.environ["PYTHONPYCACHEPREFIX"] = str(WORK / "bytecode")
    if options.imports:
        print(list_imports())
        return 0
    figures = measure_parts(parts, names, 1 if options.quick else 5)
    if options.json:
        print(json.dumps(figures))
    else:
        print_figures(figures, names if "names" in parts else [])
    return int(any(figures.get(key, 0.0) > goal for key, goal in GOALS.items()))


def measure_parts(parts: list[str], names: list[str], starts: int) -> Figures:
    """Return the figures of all these parts; those of the flash were measured before."""
    figures: Figures = {"names": NAMES}
    if "flash" in parts:
        figures |= json.loads(FLASH_FIGURES.read_text())
    if "box" in parts:
        figures |= measure_box()
    if not {"names", "sync"} & {*parts}:
        return figures
    corpus = make_corpus(NAMES, EACH)
    if "sync" in parts:
        figures |= measure_sync(corpus)
    if "names" not in parts:
        return figures
    with run_upstream(cores()[0]) as upstream:
        for name in names:
            figures |= measure(name, corpus, upstream, starts)
    if "guardian" in names:
        figures["gateway_idle_private_mb"] = figures["guardian_idle_private_mb"]
        figures["gateway_private_mb"] = figures["guardian_busy_private_mb"]
        figures["start_to_first_answer_s"] = figures["guardian_start_s"]
    return figures


if __name__ == "__main__":
    sys.exit(main())
