"""Settings of connection tracking: in a /proc of the test, and for real in a network namespace."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.filter.sysctls import WANTED, Sysctl, apply_sysctls, find_wrong_sysctls, restore_sysctls
from tests.netns.namespaces import run

ACCOUNTING = "net.netfilter.nf_conntrack_acct"
LOOSE = "net.netfilter.nf_conntrack_tcp_loose"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc as the kernel's defaults have it: nothing is counted, and loose is on."""
    values = {**dict.fromkeys(WANTED, "1"), ACCOUNTING: "0", "net.netfilter.nf_conntrack_tcp_be_liberal": "0"}
    for name, value in values.items():
        file(tmp_path, name).parent.mkdir(parents=True, exist_ok=True)
        file(tmp_path, name).write_text(f"{value}\n")
    return tmp_path


def file(proc: Path, name: str) -> Path:
    return proc / "sys" / name.replace(".", "/")


def test_what_differs_is_set_and_put_back(proc: Path) -> None:
    changed = [Sysctl(ACCOUNTING, "0", "1"), Sysctl(LOOSE, "1", "0")]
    assert find_wrong_sysctls(str(proc)) == changed
    assert apply_sysctls(str(proc)) == changed
    assert find_wrong_sysctls(str(proc)) == apply_sysctls(str(proc)) == []
    assert restore_sysctls(changed, str(proc)) == []
    assert find_wrong_sysctls(str(proc)) == changed


def test_what_somebody_else_changed_since_stays(proc: Path) -> None:
    applied = apply_sysctls(str(proc))
    file(proc, LOOSE).write_text("2\n")
    assert restore_sysctls(applied, str(proc)) == []
    assert (file(proc, LOOSE).read_text(), file(proc, ACCOUNTING).read_text()) == ("2\n", "0")


def test_without_connection_tracking(tmp_path: Path) -> None:
    applied = apply_sysctls(str(tmp_path))
    assert [setting.name for setting in applied] == list(WANTED)
    assert all(setting.before == setting.after == "" and "not loaded" in setting.failure for setting in applied)
    assert restore_sysctls(applied, str(tmp_path)) == []


def test_what_cannot_be_set_is_told(proc: Path) -> None:
    """A directory in its place refuses even root, as a read-only /proc/sys does."""
    file(proc, LOOSE).unlink()
    file(proc, LOOSE).mkdir()
    applied = apply_sysctls(str(proc))
    assert [(setting.name, bool(setting.failure)) for setting in applied] == [(ACCOUNTING, False), (LOOSE, True)]
    file(proc, ACCOUNTING).unlink()
    assert [setting.name for setting in restore_sysctls(applied, str(proc))] == [ACCOUNTING]


@pytest.fixture
def namespace() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name = f"gsysctl{os.getpid()}"
    run(f"ip netns add {name}")
    yield name
    run(f"ip netns delete {name}")


# /proc/net and /proc/sys/net are those of the process, so the real thing runs in one of its own.
IN_NAMESPACE = """
from guardian.filter.sysctls import *
before = find_wrong_sysctls()
applied = apply_sysctls()
between = find_wrong_sysctls()
left = restore_sysctls(applied)
print([list(map(tuple, part)) for part in (before, applied, between, left, find_wrong_sysctls())])
"""


def test_in_a_real_namespace(namespace: str) -> None:
    rule = "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state new"
    subprocess.run(["ip", "netns", "exec", namespace, "nft", rule], check=True, timeout=20)  # loads nf_conntrack
    here = find_wrong_sysctls()
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", IN_NAMESPACE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    before, applied, between, left, after = ast.literal_eval(done.stdout)
    assert before and (ACCOUNTING, "0", "1", "") in before
    assert applied == before == after
    assert between == left == []
    assert find_wrong_sysctls() == here  # no other namespace has changed
