"""The parts of `guardian status`, as plain dicts for JSON."""

from __future__ import annotations

from typing import Any

from guardian.blocklist.facts import SourceFacts
from guardian.config import Endpoint
from guardian.home import Home
from guardian.resolver.cache import Cache
from guardian.resolver.clients import Budget
from guardian.resolver.listen import Core
from guardian.resolver.record import Tally
from guardian.resolver.resolve import Resolver


def query_status(tally: Tally, resolver: Resolver, core: Core) -> dict[str, Any]:
    """Return the counts of queries since the start."""
    return {
        "total": tally.queries,
        "blocked": tally.blocked,
        "rewritten": tally.rewritten,
        "reasons": dict(tally.reasons),
        "asked_upstream": resolver.misses,
        "failed_upstream": resolver.failures,
        "refused": core.refused,
        "rate_limited": core.limited,
        "lost": core.lost,
    }


def cache_status(cache: Cache, budget: Budget) -> dict[str, int]:
    """Return how full the answer cache and the tables of ready answers are."""
    return {
        "entries": len(cache),
        "bytes": cache.bytes,
        "max_bytes": cache.limits.max_bytes,
        "ready": len(budget),
        "max_ready": budget.limit,
    }


def lists_status(home: Home) -> dict[str, Any]:
    """Return what is in force of the lists."""
    return {
        "starter_only": not any("url" in source.notes for source in home.lists.sources),
        "error": home.image_error,
        "created": home.lists.created,
        "names": home.lists.name_count,
        "urls": home.lists.url_count,
        "sources": [source_status(source) for source in home.lists.sources],
        "addresses": address_status(home),
    }


def address_status(home: Home) -> dict[str, Any]:
    """Return what is in force of the lists of addresses."""
    table = home.addresses
    return {
        "error": home.address_error,
        "created": table.created,
        "entries": table.count,
        "sources": [source_status(source) for source in table.sources],
    }


def source_status(source: SourceFacts) -> dict[str, Any]:
    """Return what `status` tells of one list; mandatory lists keep their names to themselves."""
    return {"name": source.name, "tag": source.tag, "entries": source.entries, **source.notes}


def read_own_memory(proc: str = "/proc/self") -> dict[str, int]:
    """Return this process's memory in bytes: resident, and private (what it would give back).

    OpenWrt's kernels do not count private pages (CONFIG_PROC_PAGE_MONITOR): there private is what no file backs.
    """
    try:
        sizes = _read_sizes(f"{proc}/smaps_rollup")
        return {"resident": sizes["Rss"], "private": sizes["Private_Clean"] + sizes["Private_Dirty"]}
    except FileNotFoundError:
        sizes = _read_sizes(f"{proc}/status")
        return {"resident": sizes["VmRSS"], "private": sizes["RssAnon"]}


def _read_sizes(path: str) -> dict[str, int]:
    """Return the lines `Name:  123 kB` of a file of the kernel's, in bytes."""
    sizes: dict[str, int] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if rest.endswith("kB\n"):
                sizes[name] = int(rest.split()[0]) * 1024
    return sizes


def format_endpoint(endpoint: Endpoint) -> str:
    """Return `127.0.0.1:53` or `[::1]:53`."""
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"
