"""What `guardian doctor` says of the flow filter: in a /proc of the test, and on real routers in network namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardian.cli import main
from guardian.cli.doctor_filter import (
    QueueRow,
    ask_kernel,
    can_administer,
    check_filter,
    check_kernel,
    check_queue,
    check_rights,
    check_sysctls,
    check_table_size,
    find_gateway,
    find_netlink_holder,
    find_queue,
)
from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.cli.doctor_network import Places
from guardian.config import Config, FilterConfig, UpstreamConfig, read_upstream
from guardian.control import ControlServer
from guardian.filter import nftables
from guardian.filter.queue import Queue
from tests.netns.namespaces import run

HOLDER = """
import sys, time
from guardian.filter.queue import Queue
queue = Queue.open(int(sys.argv[1]), None)
print("up", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """A /proc to write into, in which this process may do everything."""
    write(str(tmp_path), "self/status", "Name:\tpython\nCapEff:\t000001ffffffffff\n")
    return str(tmp_path)


def write(root: str, path: str, text: str) -> None:
    file = Path(root) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the packet filter and network namespaces")


@pytest.fixture
def namespace() -> Iterator[str]:
    """A router: lan0 and wan0, forwarding, connection tracking."""
    need_root()
    name = f"gfilter{os.getpid()}"
    run(f"ip netns add {name}")
    for number, (link, address) in enumerate([("lan0", "192.168.77.1/24"), ("wan0", "203.0.113.2/24")]):
        run(f"ip -n {name} link add {link} type veth peer name far{number}")
        run(f"ip -n {name} link set far{number} up")
        run(f"ip -n {name} link set {link} up")
        run(f"ip -n {name} address add {address} dev {link}")
    run(f"ip netns exec {name} sysctl -qw net.ipv4.ip_forward=1")
    yield name
    run(f"ip netns delete {name}")


def load(namespace: str, script: str) -> None:
    command = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    subprocess.run(command, input=script, text=True, check=True, timeout=20)


LOOK = """
import json, sys
from guardian.cli.doctor_filter import check_filter
from guardian.cli.doctor_network import Places
from guardian.config import load_config
print(json.dumps(list(check_filter(load_config(sys.argv[1]), Places(firewall=sys.argv[2])))))
"""


@pytest.fixture
def look(namespace: str, tmp_path: Path) -> Callable[[], list[Finding]]:
    """Examine the router as `guardian doctor` does, for the settings in `tmp_path`."""
    (tmp_path / "guardian.yaml").write_text(
        "state: state\nupstreams: {servers: [192.0.2.1]}\n"
        "filter: {enabled: yes, lan: [lan0], wan: [wan0], queue: 4242}\n"
    )

    def examine() -> list[Finding]:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", LOOK, "guardian.yaml", "firewall"]
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stderr
        findings = [Finding(*fields) for fields in json.loads(done.stdout)]
        assert all(bool(finding.advice) == (finding.level != OK) for finding in findings)
        return findings

    return examine


@contextmanager
def holder(number: int, *before: str) -> Iterator[int]:
    """Another program that listens on a queue; the value is its process id."""
    command = [*before, sys.executable, "-c", HOLDER, str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            yield process.pid
        finally:
            process.kill()


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.level) for finding in findings if finding.level != OK]


def test_a_filter_that_is_off_is_one_line() -> None:
    config = Config(UpstreamConfig((read_upstream("192.0.2.1"),)))
    (finding,) = check_filter(config)
    assert finding.level == OK and "the flow filter is off" in finding.message


def test_a_router_that_is_well(look: Callable[[], list[Finding]], namespace: str) -> None:
    findings = look()
    assert bad(findings) == []
    told = " ".join(finding.message for finding in findings)
    for part in (
        "lan0 is up: 192.168.77.1",
        "IPv4 is forwarded",
        "the kernel takes the filter's rules",
        "are queued by",
    ):
        assert part in told
    assert "table inet guardian" not in json.dumps(nft_list(namespace))  # nothing was changed


def nft_list(namespace: str) -> Any:
    command = ["ip", "netns", "exec", namespace, "nft", "-j", "list", "ruleset"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=20).stdout)


def test_a_router_with_everything_wrong(look: Callable[[], list[Finding]], namespace: str, tmp_path: Path) -> None:
    (tmp_path / "firewall").write_text("config defaults\n\toption flow_offloading '1'\n")
    load(
        namespace,
        "table inet fw { chain early { type filter hook prerouting priority -300; udp dport 53 notrack; }; }",
    )
    run(f"ip netns exec {namespace} sysctl -qw net.ipv4.ip_forward=0")
    run(f"ip -n {namespace} link set wan0 down")
    with holder(4242, "ip", "netns", "exec", namespace):
        findings = look()
    assert bad(findings) == [
        ("interface", WARN),
        ("forwarding", FAIL),
        ("filter queue", FAIL),
        ("offloading", FAIL),
        ("other rules", WARN),
    ]
    (queue,) = [finding for finding in findings if finding.check == "filter queue"]
    assert "queue 4242 is taken by python" in queue.message


def test_the_whole_command_tells_of_the_filter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guardian.yaml"
    path.write_text("state: state\nupstreams: {servers: ['127.0.0.1:1'], timeout: 0.2}\nfilter: {lan: [gtestlan0]}\n")
    main(["doctor", "--json", "--config", str(path)])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [check["level"] for check in checks if check["check"] == "filter"] == [OK]
    path.write_text(path.read_text().replace("lan: [gtestlan0]", "enabled: yes, lan: [gtestlan0], wan: [gtestwan0]"))
    assert main(["doctor", "--json", "--config", str(path)]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert any("there is no interface gtestlan0" in check["message"] for check in checks)
    assert {check["check"] for check in checks} >= {"interface", "forwarding", "filter kernel"}


def test_an_ordinary_user_is_told_what_was_not_seen(proc: str) -> None:
    write(proc, "self/status", "Name:\tpython\nCapEff:\t0000000000000000\n")
    config = Config(
        UpstreamConfig((read_upstream("192.0.2.1"),)), filter=FilterConfig(True, ("gtestlan0",), ("gtestwan0",))
    )
    (finding,) = [f for f in check_filter(config, Places(proc, proc, f"{proc}/firewall")) if f.check == "filter kernel"]
    assert (finding.level, finding.advice) == (WARN, "run this check as root")


def test_rights_of_the_gateway(proc: str) -> None:
    write(proc, "77/status", "CapEff:\t0000000000000400\n")  # CAP_NET_BIND_SERVICE only
    write(proc, "78/status", "CapEff:\t0000000000001400\n")
    assert [finding.level for finding in check_rights(77, proc)] == [FAIL]
    assert [finding.level for finding in check_rights(78, proc)] == [OK]
    assert list(check_rights(0, proc)) == []
    assert not can_administer(79, proc)
    assert can_administer("self") or os.geteuid() != 0


def test_sysctls_before_the_start_and_after(proc: str) -> None:
    assert list(check_sysctls(0, proc)) == []  # no connection tracking: told elsewhere
    values = {"acct": 0, "checksum": 1, "tcp_be_liberal": 0, "tcp_loose": 0}
    for name, value in values.items():
        write(proc, f"sys/net/netfilter/nf_conntrack_{name}", f"{value}\n")
    (before,) = check_sysctls(0, proc)
    assert before.level == OK and "it sets that when it starts" in before.message
    (after,) = check_sysctls(77, proc)
    assert after.level == WARN and after.advice == "`sysctl -w net.netfilter.nf_conntrack_acct=1`"


@pytest.mark.parametrize(("count", "level"), [("0", OK), ("800", OK), ("810", WARN), ("1000", WARN)])
def test_the_table_of_connections(proc: str, count: str, level: str) -> None:
    assert list(check_table_size(proc)) == []
    write(proc, "sys/net/netfilter/nf_conntrack_count", f"{count}\n")
    write(proc, "sys/net/netfilter/nf_conntrack_max", "1000\n")
    (finding,) = check_table_size(proc)
    assert finding.level == level
    assert level == OK or "nf_conntrack_max=2000" in finding.advice


QUEUES = "    7    801     0 2 65531     0     0        1  1\n   53    812     3 2 65531     2     1        9  1\n"
NETLINK = (
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    "000000007cec5d20 12  812        00000000 0        0        0     2        0        4711\n"
    "000000007cec5d21 0   801        00000000 0        0        0     2        0        4712\n"
)


def test_queues_as_the_kernel_prints_them(proc: str) -> None:
    assert find_queue(53, proc) is None
    write(proc, "net/netfilter/nfnetlink_queue", QUEUES)
    assert find_queue(53, proc) == QueueRow(812, 3, 3)
    assert find_queue(5, proc) is None
    write(proc, "net/netlink", NETLINK)
    write(proc, "900/comm", "snort\n")
    (Path(proc) / "900/fd").mkdir()
    (Path(proc) / "900/fd/3").symlink_to("socket:[4711]")
    assert find_netlink_holder(812, proc) == (900, "snort")
    assert find_netlink_holder(801, proc) == (0, "")  # another protocol's socket of that number
    (taken,) = check_queue(53, 0, proc)
    assert taken.level == FAIL and "queue 53 is taken by snort (process 900)" in taken.message
    assert "filter.queue" in taken.advice
    assert [finding.level for finding in check_queue(53, 77, proc)] == [FAIL]
    (own,) = check_queue(53, 900, proc)
    assert own.level == WARN and "3 packets wait, 3 were dropped" in own.message
    assert [finding.level for finding in check_queue(7, 77, proc)] == [OK]  # its holder cannot be seen
    (missing,) = check_queue(5, 77, proc)
    assert missing.level == FAIL and "does not listen on its queue 5" in missing.message
    assert list(check_queue(5, 0, proc)) == []


def test_a_queue_of_this_kernel_and_its_holder() -> None:
    need_root()
    with holder(4243) as process:
        row = find_queue(4243)
        assert row is not None and row[1:] == (0, 0)
        assert find_netlink_holder(row.port)[0] == process
        assert [finding.level for finding in check_queue(4243, process)] == [OK]
        (taken,) = check_queue(4243, 0)
        assert f"(process {process})" in taken.message
    deadline = time.monotonic() + 20
    while find_queue(4243) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert find_queue(4243) is None


def test_parts_of_the_kernel_that_are_there_and_one_that_nobody_has() -> None:
    need_root()
    assert ask_kernel((1 << 8) | 5)  # connection tracking
    assert ask_kernel((3 << 8) | 2, 4244)  # queues
    queue = Queue.open(4244, lambda payload, sender, mark: 0)
    assert ask_kernel((3 << 8) | 2, 4244)  # held by another socket: there it is
    queue.close()
    assert not ask_kernel((250 << 8) | 1)
    assert find_queue(4244) is None  # asking opens none


def test_the_kernel_of_this_machine_takes_the_rules() -> None:
    need_root()
    findings = list(check_kernel(FilterConfig(True, ("lan0",), ("wan0",))))
    assert [finding for finding in findings if finding.level != OK] == []


def test_a_kernel_without_flowtables_is_told_to_who_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    settings = FilterConfig(True, ("lan0",), ("wan0",), offload=True)
    takes = nftables.check

    def refuse(script: str) -> str:
        return "No such file or directory; flowtable guardian {" if "flowtable" in script else takes(script)

    for check, level in ((refuse, WARN), (lambda script: "", OK)):
        monkeypatch.setattr(nftables, "check", check)
        (finding,) = [finding for finding in check_kernel(settings) if finding.check == "filter offload"]
        assert finding.level == level and ("kmod-nft-offload" in finding.advice) == (level == WARN)
        assert not [one for one in check_kernel(replace(settings, offload=False)) if one.check == "filter offload"]


def test_without_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    monkeypatch.setattr("guardian.cli.doctor_filter.PROGRAM_PATH", "/nonexistent")
    (finding,) = check_kernel(FilterConfig(True, ("lan0",), ("wan0",)))
    assert finding.level == FAIL and "there is no `nft`" in finding.message


def test_rules_that_are_refused_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that no kernel has, and rules that nft does not understand."""
    need_root()
    settings = FilterConfig(True, ("lan0",), ("wan0",))
    monkeypatch.setattr("guardian.cli.doctor_filter.render_table", lambda plan, with_queue: "table inet guardian { x }")
    assert "the filter's rules are refused: " in list(check_kernel(settings))[-1].message
    part = ("wonders", "ct mark set wonder", "CONFIG_WONDER", "kmod-wonder")
    monkeypatch.setattr("guardian.cli.doctor_filter._PARTS", (part,))
    last = list(check_kernel(settings))[-1]
    assert last.level == FAIL and last.message == "this kernel has no wonders" and "kmod-wonder" in last.advice


@pytest.mark.parametrize(("status", "process"), [({"pid": 812}, 812), ({}, 0), ({"pid": "?"}, 0)])
def test_the_gateway_behind_the_control_socket(tmp_path: Path, status: dict[str, Any], process: int) -> None:
    path = str(tmp_path / "control.sock")
    assert find_gateway(path) == 0

    async def tell(request: dict[str, Any]) -> dict[str, Any]:
        return dict(status)

    async def ask() -> int:
        server = ControlServer({"status": tell})
        await server.start(path)
        try:
            return await asyncio.to_thread(find_gateway, path)
        finally:
            await server.close()

    assert asyncio.run(ask()) == process
