"""Rules in a real kernel: no packet may slip past while they are replaced, and nothing of them stays behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from guardian.filter import nftables
from guardian.filter.nftables import QueueForm
from guardian.filter.ruleset import Plan
from guardian.gateway.rules import Rules
from tests.netns.namespaces import add_namespace, inside

PLAN = Plan(("lan0",), 53, fails_open=True)
CLOSED = Plan(("lan0",), 53, fails_open=False)


@pytest.fixture
def router() -> Iterator[str]:
    missing = [program for program in ("nft", "iptables-nft") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    name = f"grules{os.getpid()}"
    add_namespace(name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def rules(router: str) -> Rules:
    rules = Rules()
    rules.form = inside(router, nftables.find_queue_form)
    if rules.form is QueueForm.NONE:
        pytest.skip("this kernel can queue no packets")
    return rules


def on(router: str, command: str) -> str:
    words = ["ip", "netns", "exec", router, *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(router: str, rules: Rules, plan: Plan = PLAN, is_repair: bool = True) -> None:
    inside(router, lambda: rules.load(plan, is_repair))


def jumps(router: str) -> int:
    """How many jumps lead to the queue, both families together."""
    found = on(router, "iptables -t mangle -S FORWARD") + on(router, "ip6tables -t mangle -S FORWARD")
    return found.count("-j GUARDIAN")


def need_xtables(rules: Rules) -> None:
    if rules.form is not QueueForm.XTABLES:
        pytest.skip("this kernel queues by nft: there is no xtables rule of ours")


def test_loaded_and_removed(router: str, rules: Rules) -> None:
    load(router, rules)
    listed = on(router, "nft list table inet guardian")
    assert ("chain queue_undecided" in listed) == (rules.form is QueueForm.NFT)
    if rules.form is QueueForm.XTABLES:
        assert jumps(router) == 2
        assert "NFQUEUE --queue-num 53 --queue-bypass" in on(router, "iptables -t mangle -S GUARDIAN")
    inside(router, rules.remove)
    assert "guardian" not in on(router, "nft list ruleset").lower()


def test_loading_again_replaces(router: str, rules: Rules) -> None:
    for plan in (PLAN, CLOSED, PLAN, CLOSED):
        load(router, rules, plan)
    assert on(router, "nft list tables").count("table inet guardian") == 1
    if rules.form is QueueForm.XTABLES:
        assert jumps(router) == 2
        for program in ("iptables", "ip6tables"):
            assert on(router, f"{program} -t mangle -S GUARDIAN").count("NFQUEUE") == 1
            assert "--queue-bypass" not in on(router, f"{program} -t mangle -S GUARDIAN")


def test_no_packet_slips_past_while_the_rule_is_replaced(router: str, rules: Rules) -> None:
    """A look at every moment finds the jump: before, during and after."""
    need_xtables(rules)
    load(router, rules)
    looks: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            looks.append(jumps(router))

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(30):
        load(router, rules)
    done.set()
    looker.join()
    assert len(looks) > 10 and set(looks) == {2}


def test_a_repair_of_one_family_leaves_the_other_in_force(router: str, rules: Rules) -> None:
    need_xtables(rules)
    load(router, rules)
    on(router, "ip6tables -t mangle -F")
    assert jumps(router) == 1
    load(router, rules)
    assert jumps(router) == 2


@pytest.mark.parametrize(
    "hand",
    [
        "iptables -t mangle -F",
        "iptables -t mangle -F FORWARD",
        "ip6tables -t mangle -F GUARDIAN",
        "nft delete table ip6 mangle",
        "nft delete table inet guardian",
        "nft flush ruleset",
    ],
)
@pytest.mark.parametrize("is_repaired", [False, True], ids=["removed", "repaired"])
def test_whatever_is_left(router: str, rules: Rules, hand: str, is_repaired: bool) -> None:
    if "mangle" in hand:
        need_xtables(rules)
    load(router, rules)
    on(router, hand)
    if is_repaired:
        load(router, rules)
        assert rules.form is QueueForm.NFT or jumps(router) == 2
    inside(router, rules.remove)
    assert "guardian" not in on(router, "nft list ruleset").lower()


def test_nothing_is_loaded_after_the_end(router: str, rules: Rules) -> None:
    """A load that waited in its thread while the gateway was closed."""
    load(router, rules)
    inside(router, rules.remove)
    load(router, rules)
    assert "guardian" not in on(router, "nft list ruleset").lower()


def test_what_was_never_loaded_is_not_removed(router: str, rules: Rules) -> None:
    """Another gateway's rules: a second start fails before it loads any, and must leave them alone."""
    load(router, rules)
    inside(router, Rules().remove)
    assert "table inet guardian" in on(router, "nft list tables")


def test_foreign_rules_stay(router: str, rules: Rules) -> None:
    on(router, "iptables -t mangle -N THEIRS")
    on(router, "iptables -t mangle -A FORWARD -j THEIRS")
    on(router, "iptables -t mangle -A THEIRS -m mark --mark 0x100/0x100 -j ACCEPT")
    before = on(router, "iptables -t mangle -S")
    load(router, rules)
    assert "-A THEIRS" in on(router, "iptables -t mangle -S")
    inside(router, rules.remove)
    assert on(router, "iptables -t mangle -S") == before


def test_what_cannot_take_the_fast_path_is_loaded_without(
    router: str, rules: Rules, caplog: pytest.LogCaptureFixture
) -> None:
    """No kernel makes a flowtable for an interface that is not there; the rules matter more."""
    wanted = PLAN._replace(offload=("nowhere0",))
    for _ in range(3):
        load(router, rules, wanted)
        assert not rules.is_offloading and "flowtable" in rules.no_offload
    assert "chain head" in on(router, "nft list table inet guardian")
    assert [record.levelname for record in caplog.records if "event=no-offload" in record.message] == ["WARNING"]
    load(router, rules, PLAN)
    assert rules.no_offload == ""
