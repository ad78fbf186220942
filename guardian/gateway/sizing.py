"""How much the gateway keeps in memory, by the machine it runs on."""

from __future__ import annotations

import os

from guardian.config import Config
from guardian.resolver.cache import Limits

SMALLEST_TABLE, LARGEST_TABLE = 10_000, 150_000  # ready answers
SMALLEST_CACHE, LARGEST_CACHE = 2 << 20, 64 << 20  # bytes


def read_memory_size() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def table_entries_for(memory: int) -> int:
    """Return how many ready answers a machine of `memory` bytes keeps: 10,000 up to 180 MB, 150,000 from 2.7 GB on."""
    return min(max(memory // 18_000, SMALLEST_TABLE), LARGEST_TABLE)


def cache_bytes_for(memory: int) -> int:
    """Return the bytes of the answer cache on a machine of `memory` bytes: a sixty-fourth, 2 to 64 MB."""
    return min(max(memory // 64, SMALLEST_CACHE), LARGEST_CACHE)


def limits_of(config: Config) -> Limits:
    """Return the limits of the answer cache."""
    dns = config.dns
    max_bytes = dns.cache_bytes or cache_bytes_for(read_memory_size())
    return Limits(max_bytes, dns.min_ttl, dns.max_ttl, dns.serve_stale)


def entries_of(config: Config) -> int:
    """Return how many ready answers are kept."""
    return config.dns.table_entries or table_entries_for(read_memory_size())
