"""Rules in a real kernel, with the programs nft and iptables as oracles and as the somebody who changes ours."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardian.errors import FormError, GuardianError
from guardian.filter import nftables
from guardian.filter.nftables import Monitor, QueueForm, shorten, touches_ours
from guardian.filter.ruleset import render_removal, render_xtables_removal
from guardian.wire.netlink import split_messages
from tests.fuzz.driver import fuzz, mutate_bytes
from tests.netns.namespaces import add_namespace, inside, run

ROOT = Path(__file__).parents[2]
TABLE = """
table inet guardian
delete table inet guardian
table inet guardian {
    set slots { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
    set seen { type ipv4_addr; flags dynamic, timeout; timeout 1s; }
    chain head {
        type filter hook output priority -160; policy accept;
        ip daddr 127.0.0.0/8 add @seen { ip daddr }
        ip daddr @slots drop
        tcp dport 853 reject
    }
}
"""
# What ruleset.render_xtables writes, but for a kernel that need not have NFQUEUE.
XTABLES = """*mangle
:GUARDIAN - [0:0]
-A GUARDIAN -m mark --mark 0x8/0x8 -j MARK --set-mark 1
-A FORWARD -m mark --mark 0x8/0x8 -j GUARDIAN
COMMIT
"""
QUEUED = "*mangle\n-A FORWARD -m mark --mark 0x8/0x8 -j NFQUEUE --queue-num 3\nCOMMIT\n"


@pytest.fixture
def namespace() -> Iterator[str]:
    if shutil.which("nft") is None or shutil.which("iptables-nft") is None:
        pytest.skip("needs the programs nft and iptables-nft")
    name = f"gnf{os.getpid()}"
    add_namespace(name)
    try:
        run(f"ip -n {name} link set lo up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def others(namespace: str, command: str) -> str:
    """Somebody else's command, and what it prints."""
    words = ["ip", "netns", "exec", namespace, "sh", "-ec", command]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def rules(namespace: str) -> str:
    return others(namespace, "nft list ruleset")


def test_load_replaces_all_or_nothing(namespace: str) -> None:
    inside(namespace, lambda: nftables.load(TABLE))
    before = rules(namespace)
    assert before.count("table inet guardian {") == 1
    assert "tcp dport 853 reject" in before
    with pytest.raises(GuardianError, match=r"did not take the rules: line 14:.* No such file or directory; add rule"):
        inside(namespace, lambda: nftables.load(TABLE + "add rule inet guardian nowhere drop\n"))
    with pytest.raises(GuardianError, match="syntax error"):
        inside(namespace, lambda: nftables.load("tabel inet guardian\n"))
    assert rules(namespace) == before
    inside(namespace, lambda: nftables.load(TABLE.replace("853", "854")))
    assert rules(namespace) == before.replace("853", "854")


def test_check_changes_nothing(namespace: str) -> None:
    assert inside(namespace, lambda: nftables.check(TABLE)) == ""
    assert "syntax error" in inside(namespace, lambda: nftables.check("table inet guardian {"))
    assert rules(namespace) == ""


def test_removal_takes_our_table_and_no_other(namespace: str) -> None:
    inside(namespace, lambda: nftables.load(render_removal()))  # it need not be there
    inside(namespace, lambda: nftables.load("table inet guardian_other\ntable ip guardian\n" + TABLE))
    assert "table inet guardian {" in rules(namespace)
    inside(namespace, lambda: nftables.load(render_removal()))
    assert "table inet guardian {" not in rules(namespace)
    assert "guardian_other" in rules(namespace) and "table ip guardian" in rules(namespace)


def test_the_form_of_the_queue_is_what_the_kernel_takes(namespace: str) -> None:
    found = inside(namespace, nftables.find_queue_form)
    assert rules(namespace) == ""

    def takes(action: Callable[[], None]) -> bool:
        try:
            inside(namespace, action)
        except GuardianError:
            return False
        return True

    nft = takes(
        lambda: nftables.load("table inet x { chain y { type filter hook forward priority 0; queue num 3; }; }")
    )
    xtables = takes(lambda: nftables.load_xtables(QUEUED, QUEUED))
    expected = QueueForm.NFT if nft else QueueForm.XTABLES if xtables else QueueForm.NONE
    assert found is expected


def test_without_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nftables, "_PATH_BEHIND", str(tmp_path))
    assert nftables.find_queue_form() is QueueForm.NONE
    assert nftables.check("") == "nft is not installed"
    with pytest.raises(GuardianError, match="nft is not installed"):
        nftables.load(TABLE)
    with pytest.raises(GuardianError, match="ip6tables-restore is not installed"):
        nftables.load_xtables("", XTABLES)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(nftables, "SECONDS_PER_RUN", 0.2)
    with pytest.raises(GuardianError, match="nft did not end in 0 seconds"):
        nftables.load(TABLE)


def test_rules_of_xtables_beside_those_of_others(namespace: str) -> None:
    others(namespace, "iptables-nft -t mangle -A FORWARD -p udp -j ACCEPT")
    inside(namespace, lambda: nftables.load_xtables(XTABLES, XTABLES))
    for program in ("iptables-nft-save", "ip6tables-nft-save"):
        saved = others(namespace, f"{program} -t mangle")
        assert "-A FORWARD -m mark --mark 0x8/0x8 -j GUARDIAN" in saved
        assert "-A GUARDIAN -m mark --mark 0x8/0x8 -j MARK" in saved
    assert "-A FORWARD -p udp -j ACCEPT" in others(namespace, "iptables-nft-save -t mangle")
    inside(namespace, lambda: nftables.load_xtables(render_xtables_removal(), ""))
    assert "GUARDIAN" not in others(namespace, "iptables-nft-save -t mangle")
    # What fails for one family is still done for the other.
    with pytest.raises(GuardianError, match="iptables did not take the rules"):
        inside(namespace, lambda: nftables.load_xtables(render_xtables_removal(), render_xtables_removal()))
    assert "GUARDIAN" not in others(namespace, "ip6tables-nft-save -t mangle")


def test_complaints_are_one_line() -> None:
    told = (
        "Warning: table ip mangle is managed by iptables-nft, do not touch!\n"
        "/dev/stdin:3:1-20: Error: Could not process rule: No such file or directory\nadd rule x\n    ^^^^\n"
        "/dev/stdin:9:1-20: Error: another\n"
    )
    assert shorten(told) == "line 3:1-20: Error: Could not process rule: No such file or directory; add rule x"
    assert shorten("x" * 9999) == "x" * nftables.MAX_ERROR
    assert shorten("") == ""


# The monitor


class Watch:
    """A monitor in a namespace, and how often it called."""

    def __init__(self, namespace: str) -> None:
        self.calls = 0
        self._namespace = namespace
        self.monitor = inside(namespace, lambda: Monitor.open(self._count))

    def _count(self) -> None:
        self.calls += 1

    def calls_after(self, command: str) -> int:
        """Run somebody's command and return how often the monitor called since. Notices are there when it ends."""
        if command:
            others(self._namespace, command)
        with selectors.DefaultSelector() as selector:
            selector.register(self.monitor.fileno(), selectors.EVENT_READ)
            while selector.select(0):
                self.monitor.on_readable()
        calls, self.calls = self.calls, 0
        return calls


@pytest.fixture
def watch(namespace: str) -> Iterator[Watch]:
    inside(namespace, lambda: nftables.load(TABLE))
    inside(namespace, lambda: nftables.load_xtables(XTABLES, XTABLES))
    watch = Watch(namespace)
    try:
        yield watch
    finally:
        watch.monitor.close()


@pytest.mark.parametrize(
    "command",
    [
        "nft flush ruleset",
        "nft flush ruleset inet",
        "nft delete table inet guardian",
        "nft flush table inet guardian",
        "nft flush chain inet guardian head",
        "nft delete rule inet guardian head handle $(nft -a list ruleset | sed -n 's/.*853.*handle //p')",
        "nft insert rule inet guardian head accept",
        "nft 'add chain inet guardian early { type filter hook output priority -200; }'",
        "nft 'add table inet guardian { flags dormant; }'",
        "nft flush set inet guardian slots",
        "nft 'add element inet guardian slots { 10.0.0.3 }'",
        "iptables-nft -t mangle -F",
        "iptables-nft -t mangle -F GUARDIAN",
        "iptables-nft -t mangle -D FORWARD -m mark --mark 0x8/0x8 -j GUARDIAN",
        "iptables-nft -t mangle -F FORWARD",
        "ip6tables-nft -t mangle -F",
        "nft delete table ip mangle",
        "nft delete table ip6 mangle",
        "printf '*mangle\\n:FORWARD ACCEPT [0:0]\\nCOMMIT\\n' | iptables-nft-restore",
    ],
)
def test_what_others_do_to_our_rules_is_told_once(watch: Watch, command: str) -> None:
    assert watch.calls_after(command) == 1


@pytest.mark.parametrize(
    "command",
    [
        "",
        "nft add table inet other",
        "nft 'table inet other { chain head { type filter hook output priority 0; tcp dport 853 drop; }; }'",
        "nft 'table ip guardian { chain head { type filter hook output priority 0; }; }'; nft delete table ip guardian",
        "iptables-nft -A FORWARD -j ACCEPT; iptables-nft -F; iptables-nft -X",
        "iptables-nft -t mangle -A FORWARD -p udp -j ACCEPT; iptables-nft -t mangle -D FORWARD -p udp -j ACCEPT",
        "iptables-nft -t mangle -N OTHER; iptables-nft -t mangle -X OTHER",
        "nft list ruleset",
        "! nft 'delete table inet guardian; delete table inet nowhere'",
        "nft --check flush ruleset",
    ],
)
def test_what_others_do_elsewhere_is_not_told(watch: Watch, command: str) -> None:
    assert watch.calls_after(command) == 0


def test_each_transaction_is_told(watch: Watch) -> None:
    assert watch.calls_after("nft delete table inet guardian; nft add table inet guardian") == 2


def test_our_own_changes_are_not_told(watch: Watch, namespace: str) -> None:
    inside(namespace, lambda: nftables.load(TABLE))
    inside(namespace, lambda: nftables.load_xtables(render_xtables_removal(), render_xtables_removal()))
    inside(namespace, lambda: nftables.load_xtables(XTABLES, XTABLES))
    inside(namespace, nftables.find_queue_form)
    inside(namespace, lambda: nftables.load(render_removal()))
    assert watch.calls_after("") == 0


def test_what_packets_and_timeouts_do_to_sets_is_not_told(watch: Watch, namespace: str) -> None:
    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            for host in range(1, 20):
                endpoint.sendto(b"hello", (f"127.0.0.{host}", 9))

    def seen() -> bool:
        return "expires" in others(namespace, "nft list set inet guardian seen")

    inside(namespace, send)
    assert seen()
    deadline = time.monotonic() + 60
    while seen():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert watch.calls_after("nft add table ip other") == 0


def test_lost_notices_are_told(watch: Watch, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = watch.monitor._endpoint
    assert endpoint is not None
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    script = "table ip many { chain many { " + "tcp dport 1 drop; " * 500 + "}; }"
    others(namespace, f"nft '{script}'")
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    watch.monitor.on_readable()
    assert watch.calls == 1
    assert "filter-notices-lost" in caplog.text
    watch.calls = 0
    assert watch.calls_after("nft flush ruleset") == 1


CONTAINED = f"""
from guardian.filter import nftables
calls = []
monitor = nftables.Monitor.open(lambda: calls.append(1))
for _ in range(3):
    nftables.load({TABLE!r})
nftables.load_xtables({XTABLES!r}, "")
nftables.load({render_removal()!r})
monitor.on_readable()
print("calls", len(calls))
"""


def test_our_own_changes_are_ours_in_a_container_too(namespace: str) -> None:
    """There the kernel names processes by ids that the container does not know."""
    command = ["ip", "netns", "exec", namespace, "unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c"]
    done = subprocess.run([*command, CONTAINED], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    if "unshare" in done.stderr:
        pytest.skip(f"cannot make a process namespace: {done.stderr}")
    assert done.stdout == "calls 0\n", done.stderr


def test_damaged_notices_are_form_errors(namespace: str) -> None:
    watch = Watch(namespace)
    others(namespace, "nft add table ip mangle; nft delete table ip mangle; nft add table inet guardian")
    assert watch.monitor._endpoint is not None
    seeds = []
    with contextlib.suppress(BlockingIOError):
        while True:
            seeds.append(watch.monitor._endpoint.recv(1 << 17))
    watch.monitor.close()

    def check(data: bytes) -> None:
        try:
            for message in split_messages(data):
                assert touches_ours(message) in (True, False)
                nftables._is_own(message)
        except FormError:
            pass

    told = [touches_ours(message) for data in seeds for message in split_messages(data) if message.type != 0xA0F]
    assert told == [False, True, True]
    fuzz(check, seeds, mutate_bytes, seed=1, count=5_000)


def test_a_closed_monitor_says_so(namespace: str) -> None:
    monitor = inside(namespace, lambda: Monitor.open(lambda: None))
    monitor.close()
    monitor.close()
    monitor.on_readable()
    with pytest.raises(OSError, match="closed"):
        monitor.fileno()


def test_without_the_capability() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give up its rights")
    code = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "from guardian.filter.nftables import Monitor; Monitor.open(print)"
    )
    failed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert "CAP_NET_ADMIN" in failed.stderr.splitlines()[-1]
