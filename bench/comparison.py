"""Measures servers side by side: interleaved rounds (A B C A B C), and those that are not measured are stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.load import HOST, WORK, LoadResult, Query, compile_program, cores, pinned, run_load, write_queries
from bench.names import Corpus
from bench.peers import Server, ask, free_port
from bench.scenarios import CLIENTS, Scenario, make_random

CHECKED = 200  # names of each kind asked before anything is timed
WARM_QUERIES = 100_000  # dnsmasq needs a millisecond for each name that it sees first
Figures = dict[str, float]


class Effort(NamedTuple):
    """How long a comparison takes: rounds, and seconds of each part (of the warm-up at most)."""

    rounds: int
    warm: float
    full: float
    half: float


class Sample(NamedTuple):
    """One server in one round of one scenario: at full load, then paced at half of that."""

    full: LoadResult
    half: LoadResult
    cpu_us: float  # microseconds of processor time a query at full load
    half_cpu_us: float
    core: (
        float  # share of its core that the server had at full load; far below 1, others ran there or the load was short
    )
    rss_mb: float
    private_mb: float  # without the mapped image
    bad: float  # share of the queries that were lost, failed, or answered otherwise than the scenario says


def say(text: str) -> None:
    """Tell the person who waits what is being done; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def run_upstream(core: int) -> Iterator[int]:
    """Run the upstream on a core; yield its port. In a comparison it shares the generator's core."""
    port = free_port()
    process = subprocess.Popen(pinned(core, [compile_program("upstream"), HOST, str(port)]))
    try:
        while ask(port, Query("example.com"), timeout=0.05) is None:
            if process.poll() is not None:
                raise SystemExit("the upstream of the comparison does not start")
        yield port
    finally:
        process.kill()
        process.wait()


def measure_generator(corpus: Corpus) -> float:
    """Return the queries a second that the generator does against a server that hardly works."""
    file = WORK / "generator.queries"
    write_queries(file, [Query(name) for name in corpus.allowed])
    with run_upstream(cores()[1]) as port:
        return run_load(port, file, CLIENTS, seconds=0.5).qps


def check_answers(server: Server, corpus: Corpus) -> None:
    """Ask samples of all kinds of names. Raises SystemExit when the server does not do what is about to be timed."""
    child, adult = 0, CLIENTS - 1
    blocked = [(name, child, 3) for name in corpus.blocked[:: max(1, len(corpus.blocked) // CHECKED)]]
    asked = blocked + [(name, child, 0) for name in corpus.allowed[:: max(1, len(corpus.allowed) // CHECKED)]]
    if server.name == "guardian":
        asked += [(corpus.blocked[0], adult, 0), (corpus.mandatory()[0], adult, 3)]
    wrong = []
    for name, client, rcode in asked:
        reply = ask(server.port, Query(name), client=client)
        if reply is None or reply.rcode != rcode or (rcode == 0 and reply.answers == 0):
            wrong.append(f"{name} asked by client {client}: {reply}, not RCODE {rcode}")
    if wrong:
        raise SystemExit(f"{server.name} answers {len(wrong)} of {len(asked)} wrongly:\n" + "\n".join(wrong[:10]))


def run_scenario(servers: list[Server], scenario: Scenario, corpus: Corpus, effort: Effort) -> dict[str, list[Sample]]:
    """Return each server's samples, one a round. All servers are paused before and after."""
    samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
    files = _write_files(scenario, corpus, 0)
    if not scenario.fresh:
        for server in servers:
            server.pause(False)
            run_load(server.port, files[0], scenario.clients, seconds=effort.warm, count=WARM_QUERIES)
            server.pause(True)
    for turn in range(effort.rounds):
        for index, server in enumerate(servers):
            if scenario.fresh:
                files = _write_files(scenario, corpus, turn * len(servers) + index)
            server.pause(False)
            sample = _measure(server, scenario, files, effort)
            server.pause(True)
            samples[server.name].append(sample)
            say(f"  {scenario.name:12}{server.name:9}{sample.full.qps:9,.0f} queries/s{sample.cpu_us:7.2f} us")
    return samples


def _write_files(scenario: Scenario, corpus: Corpus, run: int) -> list[Path]:
    """Write what a run asks: one file, or two with different names when names may not come back."""
    files = []
    for part in range(2 if scenario.fresh else 1):
        files.append(WORK / f"{scenario.name}-{part}.queries")
        write_queries(files[-1], scenario.make(corpus, make_random(scenario.name, run * 2 + part)))
    return files


def _measure(server: Server, scenario: Scenario, files: Sequence[Path], effort: Effort) -> Sample:
    """Load the server with the first file at full speed, then with the last one at half of what it did."""
    before = server.cpu_seconds()
    full = run_load(server.port, files[0], scenario.clients, seconds=effort.full)
    between = server.cpu_seconds()
    if not full.answered:
        raise SystemExit(f"{server.name} answered nothing; its last words:\n{server.log_tail()}")
    half = run_load(server.port, files[-1], scenario.clients, seconds=effort.half, rate=full.qps / 2)
    after = server.cpu_seconds()
    expected = {True: full.rcodes[3], False: full.rcodes[0], None: full.rcodes[0] + full.rcodes[3]}[scenario.blocked]
    memory = server.memory()
    return Sample(
        full=full,
        half=half,
        cpu_us=(between - before) / full.answered * 1e6,
        half_cpu_us=(after - between) / max(1, half.answered) * 1e6,
        core=(between - before) / full.seconds,
        rss_mb=memory.rss,
        private_mb=memory.private - memory.mapped,
        bad=1 - (expected - full.wrong) / full.sent,
    )


def summarise(scenario: Scenario, samples: dict[str, list[Sample]]) -> Figures:
    """Return the medians over the rounds, and the medians of the rounds' ratios of Guardian to the others.

    `ratio_*` is our queries a second over theirs, `cpu_ratio_*` their processor time a query over ours.
    """
    figures: Figures = {}
    for name, rounds in samples.items():
        key = f"{name}_{scenario.name}"
        figures[f"{key}_qps"] = round(median(sample.full.qps for sample in rounds))
        figures[f"{key}_cpu_us"] = round(median(sample.cpu_us for sample in rounds), 2)
        figures[f"{key}_half_cpu_us"] = round(median(sample.half_cpu_us for sample in rounds), 2)
        figures[f"{key}_core"] = round(median(sample.core for sample in rounds), 3)
        figures[f"{key}_p50_us"] = round(median(sample.half.p50_us for sample in rounds), 1)
        figures[f"{key}_p99_us"] = round(median(sample.half.p99_us for sample in rounds), 1)
        figures[f"{key}_rss_mb"] = round(rounds[-1].rss_mb, 1)
        figures[f"{key}_private_mb"] = round(rounds[-1].private_mb, 1)
        figures[f"{key}_bad"] = round(max(sample.bad for sample in rounds), 6)
    ours = samples.get("guardian", [])
    for name, theirs in samples.items():
        if ours and name != "guardian":
            ratios = [our.full.qps / their.full.qps for our, their in zip(ours, theirs, strict=True)]
            figures[f"ratio_{scenario.name}_vs_{name}"] = round(median(ratios), 3)
            ratios = [their.cpu_us / our.cpu_us for our, their in zip(ours, theirs, strict=True)]
            figures[f"cpu_ratio_{scenario.name}_vs_{name}"] = round(median(ratios), 3)
    return figures
