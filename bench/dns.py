#!/usr/bin/env python3
"""Guardian, unbound and dnsmasq side by side: the same million names, the same queries, one process on one core each.

    bench/dns.py [--quick] [--json] [--servers guardian,unbound,dnsmasq] [--scenarios cached,mixed]

Prints tables, or one flat JSON object of figures. See `bench/README.md` for what each figure means.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

if not __package__:  # run as a file: install what is missing, then run as a module of the environment
    root = Path(__file__).resolve().parents[1]
    subprocess.run([root / "scripts/setup", "bench"], check=True, stdout=sys.stderr)
    os.chdir(root)
    python = str(root / ".venv/bin/python")
    os.execv(python, [python, "-m", "bench.dns", *sys.argv[1:]])

from bench.comparison import (
    Effort,
    Figures,
    check_answers,
    measure_generator,
    run_scenario,
    run_upstream,
    say,
    summarise,
)
from bench.gateway import Guardian
from bench.load import cores
from bench.names import make_corpus
from bench.namespace import enter_namespace
from bench.peers import DNSMASQ_CACHE, Dnsmasq, Peer, Server, Unbound
from bench.scenarios import ALLOWED, SCENARIOS, Scenario

NAMES = 1_000_000
SERVERS = ("guardian", "unbound", "dnsmasq")
TABLE_ENTRIES = 40_000  # a name takes one in each of three profiles: 10,000 names fit, 100,000 do not
TOLERATED = 0.001  # share of lost or failed queries above which a figure is marked as bad
FULL = Effort(rounds=5, warm=15, full=3.0, half=2.0)
QUICK = Effort(rounds=3, warm=10, full=1.0, half=0.5)
GOALS = {
    "ratio_cached_vs_unbound": 1.2,
    "ratio_blocked_fit_vs_unbound": 1.2,
    "ratio_blocked_vs_dnsmasq": 1.1,
    "ratio_mixed_vs_dnsmasq": 5.0,
}


def make_peer(name: str, options: argparse.Namespace) -> Peer:
    """Return the server of that name, not yet configured."""
    if name == "guardian":
        return Guardian(options.table)
    return Unbound() if name == "unbound" else Dnsmasq(options.dnsmasq_cache)


def compare(options: argparse.Namespace) -> Figures:
    """Run the whole comparison and return its figures."""
    say(f"making {options.names:,} names")
    corpus = make_corpus(options.names, ALLOWED)
    figures: Figures = {"names": options.names, "generator_max_qps": round(measure_generator(corpus))}
    with ExitStack() as stack:
        upstream = stack.enter_context(run_upstream(cores()[0]))
        servers = []
        for name in options.servers:
            say(f"starting {name}")
            server = stack.enter_context(Server(make_peer(name, options), corpus, upstream))
            figures[f"{name}_start_s"] = round(server.start(), 2)
            check_answers(server, corpus)
            memory = server.memory()
            figures[f"{name}_idle_rss_mb"] = round(memory.rss, 1)
            figures[f"{name}_idle_private_mb"] = round(memory.private - memory.mapped, 1)
            server.pause(True)
            servers.append(server)
        for scenario in options.scenarios:
            samples = run_scenario(servers, scenario, corpus, QUICK if options.quick else FULL)
            figures |= summarise(scenario, samples)
    if "guardian_cached_cpu_us" in figures:
        figures["cpu_us_per_query"] = figures["guardian_cached_cpu_us"]
    return figures


def print_figures(figures: Figures, options: argparse.Namespace) -> None:
    """Print the tables for people."""
    print(f"{options.names:,} names; start to first filtered answer, memory when idle:")
    for name in options.servers:
        memory = f"RSS {figures[f'{name}_idle_rss_mb']:.0f} MB, private {figures[f'{name}_idle_private_mb']:.0f} MB"
        print(f"  {name:10}{figures[f'{name}_start_s']:6.2f} s   {memory}")
    print(f"the load generator itself does {figures['generator_max_qps']:,.0f} queries/s")
    for scenario in options.scenarios:
        _print_scenario(scenario, figures, options.servers)
    if "guardian" in options.servers and len(options.servers) > 1:
        _print_goals(figures)


def _print_scenario(scenario: Scenario, figures: Figures, names: list[str]) -> None:
    print(f"\n{scenario.name}: {scenario.about}; {scenario.clients} clients")
    print(f"  {'':10}{'':10}{'CPU':>9}{'of':>6}  at half load:{'':18}{'RSS':>9}{'private':>9}")
    print(f"  {'':10}{'queries/s':>10}{'us':>9}{'core':>6}{'CPU us':>9}{'p50 us':>9}{'p99 us':>9}{'MB':>12}{'MB':>9}")
    for name in names:
        key = f"{name}_{scenario.name}"
        cells = f"{figures[f'{key}_cpu_us']:9.1f}{figures[f'{key}_core']:6.0%}"
        cells += "".join(f"{figures[f'{key}_{part}']:9.1f}" for part in ("half_cpu_us", "p50_us", "p99_us"))
        memory = f"{figures[f'{key}_rss_mb']:12.1f}{figures[f'{key}_private_mb']:9.1f}"
        note = "   BAD: lost or wrong answers" if figures[f"{key}_bad"] > TOLERATED else ""
        print(f"  {name:10}{figures[f'{key}_qps']:10,.0f}{cells}{memory}{note}")


def _print_goals(figures: Figures) -> None:
    print("\nGuardian against the others: queries per second, and their CPU a query over ours")
    for key, value in figures.items():
        if key.startswith("ratio_"):
            goal = GOALS.get(key)
            verdict = "" if goal is None else f"   goal {goal:.1f}: {'reached' if value >= goal else 'MISSED'}"
            print(f"  {key.removeprefix('ratio_'):28}{value:7.2f}{figures[f'cpu_{key}']:7.2f}{verdict}")
    for scenario in ("cached", "blocked_fit"):
        ours, theirs = (figures.get(f"{name}_{scenario}_cpu_us") for name in ("guardian", "unbound"))
        if ours is not None and theirs is not None:
            verdict = "reached" if ours < theirs else "MISSED"
            print(f"  CPU us, {scenario:20}{ours:7.2f}   goal below unbound's {theirs:.2f}: {verdict}")


def read_options() -> argparse.Namespace:
    """Return what the command line says; `servers` and `scenarios` checked."""
    parser = argparse.ArgumentParser(prog="bench/dns.py", description="Guardian, unbound and dnsmasq side by side.")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of seven; noisier")
    parser.add_argument("--json", action="store_true", help="one flat JSON object on stdout")
    parser.add_argument("--servers", default=",".join(SERVERS), help="some of %(default)s")
    known = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenarios", default=",".join(known), help="some of %(default)s")
    parser.add_argument("--names", type=int, default=NAMES, help="blocked names (%(default)s)")
    parser.add_argument("--table", type=int, default=TABLE_ENTRIES, help="Guardian's dns.table_entries (%(default)s)")
    parser.add_argument("--dnsmasq-cache", type=int, default=DNSMASQ_CACHE, help="dnsmasq's cache-size (%(default)s)")
    options = parser.parse_args()
    options.servers, wanted = options.servers.split(","), options.scenarios.split(",")
    options.scenarios = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    if unknown := {*options.servers} - {*SERVERS} | {*wanted} - {*known}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Compare and print. Returns 1 when a server lost or failed more than one query in a thousand."""
    options = read_options()
    enter_namespace("bench.dns", sys.argv[1:])
    figures = compare(options)
    if options.json:
        print(json.dumps(figures))
    else:
        print_figures(figures, options)
    return int(any(value > TOLERATED for key, value in figures.items() if key.endswith("_bad")))


if __name__ == "__main__":
    sys.exit(main())
