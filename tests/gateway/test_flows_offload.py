"""The fast path as the flow filter keeps it, in a namespace; tests/vm has a kernel that really carries flows there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from guardian.filter import marks
from guardian.filter.ruleset import Plan
from guardian.gateway.flows import FlowFilter
from guardian.gateway.rules import Rules
from tests.gateway.test_flows import NOON, Router, block, clock, household, lone, policy_of, router, until

__all__ = ["clock", "lone", "router"]  # fixtures


@pytest.fixture
def carrying(lone: Router, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Offloading is on, and what was loaded is noted; a kernel without flowtables is taken for one with them."""
    loaded: list[Plan] = []
    load = Rules.load

    def note(rules: Rules, plan: Plan, is_repair: bool) -> None:
        load(rules, plan._replace(offload=()), is_repair)
        rules.is_offloading = bool(plan.offload)
        loaded.append(plan)

    monkeypatch.setattr(Rules, "load", note)
    lone.config = replace(lone.config, filter=replace(lone.config.filter, offload=True))
    return loaded


def test_no_interface_takes_the_fast_path_unasked(lone: Router) -> None:
    async def act(filter_: FlowFilter) -> None:
        assert filter_._plan(NOON).offload == ()
        assert (filter_.status()["offload"], filter_.status()["no_offload"]) == (False, "")

    lone.use(act)


def test_interfaces_take_it_when_they_are_there(lone: Router, carrying: list[Plan]) -> None:
    """The kernel refuses a flowtable with one that is missing, and all the rules with it."""

    async def act(filter_: FlowFilter) -> None:
        assert carrying[-1].offload == ("lan0",) and filter_.status()["offload"] is True
        lone.on("ip", "link", "add", "wan0", "type", "bridge")
        await until(lambda: carrying[-1].offload == ("lan0", "wan0"))
        lone.on("ip", "link", "delete", "wan0")
        await until(lambda: carrying[-1].offload == ("lan0",))

    lone.use(act)


def test_flows_that_must_end_have_their_mark_before_the_flowtable_is_emptied(
    lone: Router,
    carrying: list[Plan],
) -> None:
    """It looks at no mark: without a new table they would run on."""
    lone.home = household()
    seen: list[int] = []

    async def act(filter_: FlowFilter) -> None:
        lone.add_flow(1, marks.ALLOWED)
        filter_._take_over_flows()
        before = len(carrying)
        load = Rules.load

        def look(rules: Rules, plan: Plan, is_repair: bool) -> None:
            seen.append(lone.mark_of() & marks.STATE_MASK)
            load(rules, plan, is_repair)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Rules, "load", look)
            filter_.replace_policy(policy_of(household(block("example.com"))), filter_.judge.lists)
            await until(lambda: len(carrying) > before and not filter_._wake.is_set())
        assert seen[-1] == marks.REFUSED

    lone.use(act)


def test_nothing_is_loaded_again_when_no_flow_ends(lone: Router, carrying: list[Plan]) -> None:
    async def act(filter_: FlowFilter) -> None:
        before = len(carrying)
        filter_.judge_again()
        await asyncio.sleep(0.5)
        assert len(carrying) == before

    lone.use(act)


def test_the_kernel_forgets_a_flow_whose_ports_are_used_again(lone: Router, carrying: list[Plan]) -> None:
    async def act(filter_: FlowFilter) -> None:
        key = lone.add_flow(1, marks.ALLOWED)
        assert filter_.engine.tcp._forget_carried(key)
        assert "sport=40000" not in lone.on("conntrack", "-L")
        assert filter_.engine.tcp._forget_carried(key), "gone is gone"

    lone.use(act)


def test_without_the_fast_path_nothing_is_forgotten(lone: Router) -> None:
    async def act(filter_: FlowFilter) -> None:
        key = lone.add_flow(1, marks.ALLOWED)
        assert not filter_.engine.tcp._forget_carried(key)
        assert "sport=40000" in lone.on("conntrack", "-L")

    lone.use(act)
