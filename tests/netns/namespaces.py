"""How the tests here make network namespaces and act inside them."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

CLONE_NEWNET = 0x40000000  # Python 3.11 has neither it nor os.setns

T = TypeVar("T")


def require_namespaces() -> None:
    """Skip the test where this process may make no network namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"cannot make a network namespace: {probe.stderr.strip()}")


def add_namespace(name: str) -> None:
    """Make a network namespace, which the caller deletes; skip the test where none can be made."""
    require_namespaces()
    run(f"ip netns add {name}")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True, timeout=20)


def inside(namespace: str, action: Callable[[], T]) -> T:
    """Run an action in a thread that has entered the namespace; sockets made there stay there."""

    def enter() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}") as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return action()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result(20)
