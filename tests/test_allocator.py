"""What a slow hash took is the system's again when it is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import threading
from guardian.allocator import return_large_blocks
from guardian.blocklist.feed_base import STANDARD, derive_key

def read_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

{first}
before = read_kb()
for turn in range(4):
    worker = threading.Thread(target=derive_key, args=(b"\\x01%d\\x04test\\0" % turn, bytes(32), STANDARD))
    worker.start()
    worker.join()
print(read_kb() - before)
"""


def grow(first: str) -> int:
    """KB that stay after four slow hashes in threads."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(first=first)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_slow_hash_leaves_nothing_behind() -> None:
    assert grow("return_large_blocks()") < 2048


def test_without_it_glibc_keeps_the_block() -> None:
    if grow("") < 8192:
        pytest.skip("this C library gives large blocks back by itself")
