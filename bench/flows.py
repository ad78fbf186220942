#!/usr/bin/env python3
"""The flow filter side by side with a router that does nothing and one that tracks connections, in one run.

    bench/flows.py [--quick] [--json] [--parts streams,paced,...]

Root: it makes network namespaces and removes them. Prints ratios and goals, then absolutes, or one flat JSON object of
figures. See `bench/README.md` for what each figure means.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

if not __package__:  # run as a file: install what is missing, then run as a module of the environment
    root = Path(__file__).resolve().parents[1]
    subprocess.run([root / "scripts/setup", "bench"], check=True, stdout=sys.stderr)
    os.chdir(root)
    python = str(root / ".venv/bin/python")
    os.execv(python, [python, "-m", "bench.flows", *sys.argv[1:]])

from bench.comparison import Figures, say
from bench.counters import measure_counters
from bench.engine import measure_dns_first, measure_engine, open_home
from bench.filtering import FilteringGateway
from bench.flow_rounds import CONNTRACK, GUARDIAN, HELD, NONE, Bench, Effort
from bench.queues import measure_queues
from bench.routers import CONNTRACK_ONLY, Network

PEERS = (NONE, CONNTRACK, GUARDIAN)
PARTS = ("paced", "streams", "new", "quic", "engine", "undecided", "counters", "queue")
TOLERATED = 0.001  # share of flows that may not go through
FULL = Effort(rounds=7, flows=2.0, paced=3.0, slots=20, slot=0.3, quic=2000, in_process=4000, queue=200_000)
QUICK = Effort(rounds=3, flows=1.0, paced=2.0, slots=6, slot=0.2, quic=700, in_process=1500, queue=60_000)


class Goal(NamedTuple):
    """A figure and where it should be."""

    key: str
    limit: float
    is_floor: bool  # else a ceiling
    about: str


GOALS = (
    Goal("ratio_stream_vs_conntrack", 0.95, True, "one stream against conntrack only, the worse direction"),
    Goal("queued_after_handover", 0, False, "packets of it in user space after the hand-over"),
    Goal("cpu_us_per_flow", 110, False, "user CPU of a new flow, one segment"),
    Goal("cpu_us_per_pq_flow", 160, False, "user CPU of a new flow, post-quantum"),
    Goal("added_answer_p99_us_at_500", 1000, False, "added from SYN to answer, p99 at 500 flows/s"),
    Goal("quic_us_per_flow", 150, False, "QUIC in the engine, one datagram"),
    Goal("quic_us_per_pq_flow", 150, False, "QUIC in the engine, post-quantum"),
    Goal("dns_first_us_per_answer", 50, False, "address note of a strict device's answer"),
    Goal("undecided_growth_mb", 40, False, f"memory of {HELD:,} undecided flows"),
    Goal("undecided_left", 0, False, "of these not forgotten in time"),
)


def measure(parts: list[str], effort: Effort) -> tuple[Figures, float]:
    """Return the figures, and the worst share of flows that did not go through."""
    with Network(PEERS) as network:
        routers = {router.name: router for router in network.routers}
        routers[CONNTRACK].run("nft", "-f", "-", text=CONNTRACK_ONLY)
        say(f"cables: {network.routers[0].describe_offload()}")
        with FilteringGateway(routers[GUARDIAN]) as gateway:
            bench = Bench(network.routers, gateway, effort)
            place = open_home(gateway.config, routers[GUARDIAN].mac(0))
            bench.warm_up()

            def measure_in_process() -> None:
                say("engine and handler in this process")
                count, rounds = effort.in_process, effort.rounds
                bench.figures.update(measure_engine(place, count, rounds) | measure_dns_first(place, count, rounds))

            steps: dict[str, Callable[[], object]] = {
                "paced": bench.measure_paced,
                "streams": bench.measure_streams,
                "new": bench.measure_new_flows,
                "quic": bench.measure_quic,
                "engine": measure_in_process,
                "undecided": bench.measure_undecided,
                "counters": lambda: bench.figures.update(measure_counters(routers[GUARDIAN], place)),
                "queue": lambda: bench.figures.update(summarise_queues(network, effort)),
            }
            for part in parts:
                steps[part]()
            return bench.figures, bench.bad


def summarise_queues(network: Network, effort: Effort) -> Figures:
    """Return microseconds a packet of each consumer."""
    say("consumers of a queue alone")
    figures: Figures = {}
    for name, pairs in measure_queues(network, effort.queue, effort.rounds).items():
        figures[f"queue_{name}_user_us"] = round(median(user for user, _ in pairs), 2)
        figures[f"queue_{name}_us"] = round(median(total for _, total in pairs), 2)
    return figures


def print_figures(figures: Figures, bad: float) -> None:
    """Print what people want to know first, first."""
    print("Goals")
    for goal in GOALS:
        if goal.key in figures:
            value = figures[goal.key]
            is_met = value >= goal.limit if goal.is_floor else value <= goal.limit
            side = "at least" if goal.is_floor else "at most"
            word = "met" if is_met else "NOT MET"
            print(f"  {goal.about:56}{value:10,.2f}   {side} {goal.limit:g}: {word}")
    ratios = {key: value for key, value in figures.items() if "ratio" in key}
    for title, chosen in (("Ratios, ours over theirs", ratios), ("Absolutes", figures)):
        print(f"\n{title}")
        for key, value in chosen.items():
            if title != "Absolutes" or key not in ratios:
                print(f"  {key:56}{value:12,.2f}")
    if bad > TOLERATED:
        print(f"\nBAD: up to {bad:.2%} of the flows of a run did not go through")


def read_options() -> argparse.Namespace:
    """Return what the command line says; `parts` checked and in their order."""
    parser = argparse.ArgumentParser(prog="bench/flows.py", description="The flow filter beside plain routers.")
    parser.add_argument("--quick", action="store_true", help="shorter and noisier")
    parser.add_argument("--json", action="store_true", help="one flat JSON object on stdout")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := {*wanted} - {*PARTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.parts = [part for part in PARTS if part in wanted]
    return options


def main() -> int:
    """Measure and print. Returns 1 when flows did not go through."""
    options = read_options()
    if os.geteuid() != 0:
        raise SystemExit("the bench makes network namespaces: run it as root")
    figures, bad = measure(options.parts, QUICK if options.quick else FULL)
    figures["worst_share_of_failed_flows"] = round(bad, 5)
    if options.json:
        print(json.dumps(figures))
    else:
        print_figures(figures, bad)
    return int(bad > TOLERATED)


if __name__ == "__main__":
    sys.exit(main())
