"""What is asked in each scenario of `bench/dns.py`, the same queries for every server."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from bench.load import TYPES, Query
from bench.names import SEED, Corpus

CLIENTS = 16  # the last ADULTS of them belong to adults in Guardian's household
ADULTS = 2
FIT = 10_000
CACHED = 8_000  # dnsmasq's largest cache, 10,000 records, must hold them with what else it keeps
NEVER_FIT = 100_000
POPULAR = 20_000
POPULAR_BLOCKED = 5_000
MIXED_QUERIES = 200_000
FRESH_QUERIES = 200_000
ALLOWED = POPULAR  # how many allowed names the scenarios need


class Scenario(NamedTuple):
    """One kind of traffic."""

    name: str
    about: str
    clients: int
    make: Callable[[Corpus, random.Random], list[Query]]
    fresh: bool  # names that nobody has asked before: made anew for each run, not warmed up
    blocked: bool | None  # every answer is NXDOMAIN, every one is NOERROR, or it depends


def make_random(scenario: str, run: int) -> random.Random:
    """Return the source of chance of one run; without `fresh` all runs use run 0."""
    return random.Random(f"{SEED} {scenario} {run}")


def _cached(corpus: Corpus, rng: random.Random) -> list[Query]:
    return [Query(name) for name in rng.sample(corpus.allowed, CACHED)]


def _blocked_fit(corpus: Corpus, rng: random.Random) -> list[Query]:
    return [Query(name) for name in rng.sample(corpus.blocked, FIT)]


def _blocked(corpus: Corpus, rng: random.Random) -> list[Query]:
    return [Query(name) for name in rng.sample(corpus.blocked, NEVER_FIT)]


def _mixed(corpus: Corpus, rng: random.Random) -> list[Query]:
    """Zipf's law over popular names, one in five of them blocked; types as browsers ask."""
    names = rng.sample(corpus.allowed, POPULAR) + rng.sample(corpus.blocked, POPULAR_BLOCKED)
    rng.shuffle(names)
    weights = list(accumulate(1 / rank for rank in range(1, len(names) + 1)))
    picks = rng.choices(names, cum_weights=weights, k=MIXED_QUERIES)
    types = rng.choices((TYPES["A"], TYPES["AAAA"], TYPES["HTTPS"]), weights=(55, 30, 15), k=MIXED_QUERIES)
    return [Query(name, type_) for name, type_ in zip(picks, types, strict=True)]


def _fresh(corpus: Corpus, rng: random.Random) -> list[Query]:
    names = rng.choices(corpus.allowed, k=FRESH_QUERIES)
    return [Query(f"{rng.getrandbits(48):x}.{name}") for name in names]


SCENARIOS = (
    Scenario("cached", f"{CACHED:,} allowed names, all in the cache", CLIENTS, _cached, False, False),
    # Adults are not filtered: their clients take no part where every answer has to be a block.
    Scenario("blocked_fit", f"{FIT:,} blocked names", CLIENTS - ADULTS, _blocked_fit, False, True),
    Scenario("blocked", f"{NEVER_FIT:,} blocked names in turn", CLIENTS - ADULTS, _blocked, False, True),
    Scenario("mixed", "Zipf over 25,000 names, a fifth blocked, A/AAAA/HTTPS", CLIENTS, _mixed, False, None),
    Scenario("fresh", "allowed names never asked before: all go upstream", CLIENTS, _fresh, True, False),
)
