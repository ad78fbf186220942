"""The fast path: who takes it, that it counts, and that what stops a flow stops it there too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.vm.machine import Machine
from tests.vm.router import BLOCKED

pytestmark = pytest.mark.vm
Record = Callable[[str, object], None]
BOUND = 3.0
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
CONFIG = "/srv/guardian/offload.yaml"
ALLOWED = 1


@pytest.fixture(scope="module")
def router(machine: Machine) -> Iterator[Machine]:
    machine.call("product:start_gateway", config=CONFIG)
    yield machine
    assert machine.call("product:stop", name="gateway") == 0
    assert machine.call("product:ruleset") == "", "rules were left behind"
    for word in ("Traceback", "Warning", "never awaited"):
        assert word not in machine.call("product:log_of", name="gateway")


def begin(router: Machine, device: str, name: str, family: int, **more: Any) -> int:
    """A download that has come so far that the kernel may carry it."""
    number = router.call("clients:download", device=device, name=name, family=family, **({"rate": 100_000} | more))
    router.call("clients:wait_for_more", number=number, size=200_000)
    return int(number)


def flow_of(router: Machine, number: int, port: int = 443) -> dict[str, Any]:
    mine = router.call("clients:look", number=number)["port"]
    (flow,) = [flow for flow in router.call("product:flows", port=port) if flow["port"] == mine]
    return dict(flow)


def wait_for_offload(router: Machine, number: int, is_offloaded: bool = True) -> None:
    deadline = time.monotonic() + 30
    while flow_of(router, number)["offloaded"] is not is_offloaded:
        assert time.monotonic() < deadline, f"offloaded is still {not is_offloaded}: {flow_of(router, number)}"
        time.sleep(0.2)


@pytest.fixture
def downloads(router: Machine) -> Iterator[list[int]]:
    running: list[int] = []
    yield running
    router.call("product:control", verb="pause", id="tablet", until=0)
    for number in running:
        router.call("clients:end", number=number)


def test_the_gateway_says_so(router: Machine) -> None:
    status = router.call("product:control", verb="status")["filter"]
    assert status["offload"] is True and status["no_offload"] == "" and status["problem"] == ""
    rules = router.call("product:ruleset")
    assert "flowtable guardian" in rules and "flow add @guardian" in rules and "counter" in rules


@FAMILIES
def test_a_long_allowed_flow_takes_it_and_is_counted(router: Machine, family: int, downloads: list[int]) -> None:
    number = begin(router, "child", "video.open.example", family)
    downloads.append(number)
    wait_for_offload(router, number)
    before = flow_of(router, number)
    router.call("clients:wait_for_more", number=number, size=300_000)
    after = flow_of(router, number)
    assert after["state"] == ALLOWED and after["slot"] not in (0, 255) and after["offloaded"]
    assert after["bytes"] - before["bytes"] >= 300_000 and after["packets"] > before["packets"]


@FAMILIES
def test_a_pause_cuts_what_the_kernel_carries(
    router: Machine, family: int, downloads: list[int], record_property: Record
) -> None:
    mine, others = (begin(router, device, "video.open.example", family) for device in ("child", "adult"))
    downloads += [mine, others]
    for number in downloads:
        wait_for_offload(router, number)
    changed = router.call("product:timed_control", verb="pause", id="tablet", until=time.time() + 3600)
    last = router.call("clients:wait_for_silence", number=mine)
    print(f"the last byte came {last - changed:.3f} s after the pause")
    record_property("cut_seconds", round(last - changed, 3))
    assert last - changed < BOUND
    assert not flow_of(router, mine)["offloaded"]
    router.call("clients:wait_for_more", number=others)
    wait_for_offload(router, others)  # it came back to the rules, and left them again
    router.call("product:control", verb="pause", id="tablet", until=0)
    router.call("clients:wait_for_more", number=mine)
    wait_for_offload(router, mine)


@FAMILIES
def test_a_block_rule_ends_it(router: Machine, family: int, downloads: list[int], record_property: Record) -> None:
    mine, other = (begin(router, "child", name, family) for name in ("video.open.example", "www.open.example"))
    downloads += [mine, other]
    for number in downloads:
        wait_for_offload(router, number)
    household = router.run("cat", "/srv/guardian/household.yaml")
    blocking = household.replace("  child:\n", "  child:\n    block: [video.open.example]\n", 1)
    assert blocking != household
    try:
        changed = router.call("product:timed_import", text=blocking)
        last = router.call("clients:wait_for_silence", number=mine)
        print(f"the last byte came {last - changed:.3f} s after the rule was in force")
        record_property("cut_seconds", round(last - changed, 3))
        assert last - changed < BOUND
        router.call("clients:wait_for_more", number=other)
    finally:
        router.call("product:timed_import", text=household)


@FAMILIES
def test_what_is_refused_or_watched_never_takes_it(router: Machine, family: int, downloads: list[int]) -> None:
    assert router.call("clients:fetch", device="child", name=BLOCKED, family=family)["error"]
    number = begin(router, "child", "plain.open.example", family, is_tls=False)
    downloads.append(number)
    router.call("clients:wait_for_more", number=number, size=300_000)
    assert flow_of(router, number, port=80)["state"] == 3 and not flow_of(router, number, port=80)["offloaded"]
    assert not [flow for flow in router.call("product:flows") if flow["offloaded"] and flow["state"] != ALLOWED]


def test_minutes_are_counted(router: Machine, downloads: list[int], record_property: Record) -> None:
    """A video that the kernel carries becomes minutes of its service: the meter believes after 75 seconds."""
    number = begin(router, "child", "www.youtube.com", 4, rate=200_000)
    downloads.append(number)
    wait_for_offload(router, number)
    deadline = time.monotonic() + 400
    minutes = 0.0
    told: Any = None
    while minutes < 1.0:
        assert time.monotonic() < deadline, f"{minutes} minutes were counted: {told}"
        time.sleep(10)
        told = json.loads(router.call("product:command", words=["usage", "--json"])["out"])
        (child,) = [profile for profile in told["profiles"] if profile["id"] == "child"]
        minutes = max([row["minutes"] for row in child["used"] if row["of"] == "youtube"], default=0.0)
        assert flow_of(router, number)["offloaded"]
    record_property("minutes", minutes)


def test_a_device_that_vanishes_takes_nothing_with_it(router: Machine, downloads: list[int]) -> None:
    """The interface to the internet is made anew: the rules stay in force, and the flowtable follows."""
    router.call("network:make_wan_anew")
    deadline = time.monotonic() + 30
    while True:
        status = router.call("product:control", verb="status")["filter"]
        if status["offload"] and not status["problem"] and '"wan0"' in router.call("product:ruleset"):
            break
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    number = begin(router, "child", "video.open.example", 4)
    downloads.append(number)
    wait_for_offload(router, number)
    assert router.call("clients:fetch", device="child", name=BLOCKED)["error"] == "ConnectionResetError"


def test_a_killed_gateway_leaves_flows_running_and_the_next_one_cuts_them(
    router: Machine, downloads: list[int]
) -> None:
    number = begin(router, "child", "video.open.example", 4)
    downloads.append(number)
    wait_for_offload(router, number)
    router.call("product:kill", name="gateway")
    router.call("clients:wait_for_more", number=number)
    router.call("product:start_gateway", config=CONFIG)
    router.call("clients:wait_for_more", number=number)
    wait_for_offload(router, number)
    changed = router.call("product:timed_control", verb="pause", id="tablet", until=time.time() + 3600)
    assert router.call("clients:wait_for_silence", number=number) - changed < BOUND


def test_what_it_saves(machine: Machine, router: Machine, record_property: Record) -> None:
    """One TCP stream of small packets through the router: without rules, with Guardian, and with its fast path."""
    router.call("network:make_small_packets")
    figures: dict[str, list[dict[str, float]]] = {"none": [], "rules": [], "fast": []}
    configs = {"none": "", "rules": "/srv/guardian/guardian.yaml", "fast": CONFIG}
    for _ in range(3):
        for kind, config in configs.items():
            router.call("product:restart_gateway", config=config)
            figures[kind].append(router.call("clients:receive", 400, device="adult", size=24_000_000))
    best = {kind: min(entry["cpu_seconds"] / entry["bytes"] * 1e6 for entry in rows) for kind, rows in figures.items()}
    speed = {kind: max(entry["bytes"] / entry["seconds"] / 1e6 for entry in rows) for kind, rows in figures.items()}
    print({kind: f"{speed[kind]:.1f} MB/s, {best[kind] * 1000:.1f} ms of CPU a MB" for kind in figures})
    for kind in figures:
        record_property(f"{kind}_mb_per_s", round(speed[kind], 2))
        record_property(f"{kind}_cpu_ms_per_mb", round(best[kind] * 1000, 2))
    assert best["fast"] < best["rules"], "the fast path costs more than the rules"
