"""Memory follows the machine: bounded below and above, never a jump down when the machine grows."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from guardian.gateway.sizing import (
    LARGEST_CACHE,
    LARGEST_TABLE,
    SMALLEST_CACHE,
    SMALLEST_TABLE,
    cache_bytes_for,
    read_memory_size,
    table_entries_for,
)

MB, GB = 1 << 20, 1 << 30


@given(st.integers(0, 1 << 45), st.integers(0, 1 << 45))
def test_more_memory_never_gives_less(one: int, other: int) -> None:
    small, large = sorted((one, other))
    for size_for, least, most in (
        (table_entries_for, SMALLEST_TABLE, LARGEST_TABLE),
        (cache_bytes_for, SMALLEST_CACHE, LARGEST_CACHE),
    ):
        assert least <= size_for(small) <= size_for(large) <= most


def test_what_the_machines_get() -> None:
    assert table_entries_for(128 * MB) == 10_000 and table_entries_for(3 * GB) == 150_000
    assert cache_bytes_for(128 * MB) == 2 * MB and cache_bytes_for(1 * GB) == 16 * MB
    assert cache_bytes_for(64 * GB) == 64 * MB
    # All that grows fits a machine of 128 MB beside the interpreter: an entry is about 400 bytes.
    assert table_entries_for(128 * MB) * 400 + cache_bytes_for(128 * MB) < 8 * MB


def test_the_machine_is_asked() -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert abs(read_memory_size() - total) <= os.sysconf("SC_PAGE_SIZE")
