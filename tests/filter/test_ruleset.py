"""The rules: the kernel takes them for every plan, in both forms, and only our bits of marks are written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.filter import marks
from guardian.filter.ruleset import (
    TABLE,
    XTABLES_CHAIN,
    Listener,
    Plan,
    render_removal,
    render_table,
    render_xtables,
    render_xtables_removal,
)
from tests.netns.namespaces import run

NAMESPACE = f"guardian-rules-{os.getpid()}"
NEEDS_NFT = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "iptables-nft-restore"))),
    reason="needs root, `ip`, `nft` and `iptables-nft-restore`",
)
PLAIN = Plan(("lan0",), 7, True)
FULL = Plan(
    lan=("br-lan", "eth0.10"),
    queue=65_535,
    fails_open=False,
    macs=(("02:00:00:00:00:02", 1), ("02:00:00:00:00:03", 2)),
    networks=(("10.0.0.7", 3), ("10.0.0.0/24", 4), ("fd00::/64", 5), ("fd00::7", 6)),
    stopped=(1, 0xFF),
    redirected=(1, 2, 3),
    dns4=Listener("", 53),
    dns6=Listener("fd00::1", 5353),
)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    run(f"ip netns add {NAMESPACE}")
    try:
        yield NAMESPACE
    finally:
        run(f"ip netns del {NAMESPACE}")


def ask(namespace: str, program: str, text: str) -> str:
    """What a program of the namespace has to complain about."""
    command = ["ip", "netns", "exec", namespace, *program.split()]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr or "failed"


def macs() -> st.SearchStrategy[str]:
    return st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))


def networks() -> st.SearchStrategy[str]:
    """Prefixes that overlap a lot, and addresses without a length."""
    v4 = st.tuples(st.sampled_from(["10.0.0.0", "10.0.0.7", "192.168.1.1"]), st.integers(1, 32))
    v6 = st.tuples(st.sampled_from(["fd00::", "fd00::7", "2001:db8:1::1"]), st.integers(1, 128))
    prefixes = (v4 | v6).map(lambda pair: str(ip_network(f"{pair[0]}/{pair[1]}", strict=False)))
    return prefixes | st.sampled_from(["10.0.0.7", "fd00::7", "0.0.0.0/0", "::/0"])


SLOTS = st.integers(1, 0xFF)
LISTENERS4 = st.none() | st.builds(Listener, st.sampled_from(["", "10.0.0.1"]), st.integers(1, 65_535))
LISTENERS6 = st.none() | st.builds(Listener, st.sampled_from(["", "fd00::1"]), st.integers(1, 65_535))
NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=15).filter(lambda name: name not in (".", ".."))
PLANS = st.builds(
    Plan,
    lan=st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    queue=st.integers(0, 65_535),
    fails_open=st.booleans(),
    macs=st.lists(st.tuples(macs(), SLOTS), max_size=8, unique_by=lambda entry: entry[0]).map(tuple),
    networks=st.lists(st.tuples(networks(), SLOTS), max_size=8).map(tuple),
    stopped=st.lists(SLOTS, max_size=6).map(tuple),
    redirected=st.lists(SLOTS, max_size=6).map(tuple),
    dns4=LISTENERS4,
    dns6=LISTENERS6,
    offload=st.just(()),  # interfaces that are there: `test_the_fast_path...` and tests/vm
)


@NEEDS_NFT
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS)
def test_the_kernel_takes_the_table_of_any_plan(namespace: str, plan: Plan) -> None:
    assert ask(namespace, "nft --check -f -", render_table(plan, with_queue=False)) == ""


@NEEDS_NFT
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS)
def test_both_iptables_take_the_queue_of_any_plan(namespace: str, plan: Plan) -> None:
    for program in ("iptables-nft-restore", "ip6tables-nft-restore"):
        assert ask(namespace, f"{program} --test --noflush", render_xtables(plan)) == ""


@NEEDS_NFT
@pytest.mark.parametrize("plan", [PLAIN, FULL])
def test_the_queue_is_the_only_difference_between_both_forms(namespace: str, plan: Plan) -> None:
    """A kernel without nft's queue says so at that rule, and has no other complaint."""
    with_queue = render_table(plan, True)
    begin = with_queue.index("  chain queue_undecided {")
    end = with_queue.index("  }\n", begin) + 4
    assert f" queue {'flags bypass ' * plan.fails_open}to {plan.queue}\n" in with_queue[begin:end]
    assert with_queue[:begin] + with_queue[end:] == render_table(plan, False)
    complaint = ask(namespace, "nft --check -f -", render_table(plan, True))
    assert not complaint or ("queue" in complaint and complaint.count("Error") == 1)
    assert ("--queue-bypass" in render_xtables(plan)) is plan.fails_open


@NEEDS_NFT
def test_tables_are_replaced_and_removed(namespace: str) -> None:
    def listed() -> str:
        command = f"ip netns exec {namespace} nft list ruleset"
        return subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=20).stdout

    mine = "table inet other {\n  chain mine {\n    accept\n  }\n}\n"
    assert ask(namespace, "nft -f -", mine) == ""
    for plan in (PLAIN, FULL, PLAIN):
        assert ask(namespace, "nft -f -", render_table(plan, with_queue=False)) == ""
        assert listed().count(f"table inet {TABLE} ") == 1
    assert "br-lan" not in listed()
    for _ in range(2):
        assert ask(namespace, "nft -f -", render_removal()) == ""
    assert TABLE not in listed()
    assert "chain mine" in listed()
    for _ in range(2):
        assert ask(namespace, "iptables-nft-restore --noflush", render_xtables(PLAIN)) == ""
        assert ask(namespace, "iptables-nft-restore --noflush", render_xtables_removal()) == ""
    assert XTABLES_CHAIN not in listed()


@NEEDS_NFT
def test_the_fast_path_is_all_that_offload_adds(namespace: str) -> None:
    """A kernel without flowtables says so there, and has no other complaint."""
    text, plain = render_table(FULL._replace(offload=("lo",)), False), render_table(FULL, False)
    begin = text.index("  flowtable guardian {")
    assert text[:begin] + "}\n" == plain
    complaint = ask(namespace, "nft --check -f -", text)
    assert not complaint or "flowtable" in complaint


def test_only_what_is_judged_and_allowed_takes_the_fast_path() -> None:
    lines = render_table(FULL._replace(offload=("a", "b")), True).splitlines()
    (rule,) = [line for line in lines if "flow add" in line]
    assert f"ct mark & {marks.STATE_MASK:#x} == {marks.ALLOWED} " in rule
    assert f"ct mark & {marks.SLOT_MASK:#010x} != 0 " in rule and "ct state established" in rule
    assert 'iifname { "a", "b" } oifname { "a", "b" }' in rule


def test_one_plan_has_one_text() -> None:
    assert render_table(FULL, True) == render_table(FULL, True)
    assert render_table(FULL, True) != render_table(FULL._replace(stopped=()), True)


def test_the_longest_prefix_is_asked_first() -> None:
    text = render_table(FULL, False)
    order = [text.index(f"saddr {network} goto") for network in ("10.0.0.7", "10.0.0.0/24")]
    assert order == sorted(order)
    assert text.index("ip6 saddr fd00::7 goto") < text.index("ip6 saddr fd00::/64 goto")


@NEEDS_NFT
def test_nothing_is_printed_as_somebody_wrote_it(namespace: str) -> None:
    """Text of a form never becomes a rule; what two devices claim, the first one has."""
    hostile = Plan(
        lan=("lan0",),
        queue=1,
        fails_open=True,
        macs=(("02:00:00:00:00:AA", 1), ("02:00:00:00:00:aa", 2)),
        networks=(("fe80::1%a b; flush ruleset; #", 3), ("10.0.0.9/24", 4)),
    )
    table = render_table(hostile, with_queue=False)
    assert "flush" not in table and "ip6 saddr fe80::1 goto slot_03" in table and "ip saddr 10.0.0.0/24 " in table
    assert "02:00:00:00:00:aa : goto slot_01 }" in table
    assert ask(namespace, "nft --check -f -", table) == ""
    for macs, networks in (((("02:00 flush", 1),), ()), ((), (("10.0.0.1; flush", 1),))):
        with pytest.raises(ValueError):
            render_table(hostile._replace(macs=macs, networks=networks), with_queue=False)


def test_only_our_bits_are_written() -> None:
    """Every write of a mark keeps what is not ours."""
    for line in render_table(FULL, True).splitlines():
        _, found, written = line.partition("mark set ")
        if not found:
            continue
        assert written.startswith(("ct mark &", "ct mark |", "meta mark &", "meta mark |")), line
        kept = written.split()[3] if " & " in written else "0xffffffff"
        ours = marks.OWN_MASK if written.startswith("ct") else marks.PACKET_MASK
        assert int(kept, 16) | ours == 0xFFFFFFFF, line
