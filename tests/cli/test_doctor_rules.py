"""Other programs' rules, as nft prints them; what this kernel cannot load is written as libnftables-json(5) has it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.cli.doctor_rules import Ruleset, check_rules, has_own_table, read_ruleset
from guardian.errors import GuardianError
from guardian.filter.ruleset import Plan, render_table
from tests.netns.namespaces import run

NFT = "/usr/sbin/nft"


@pytest.fixture
def namespace() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name = f"grules{os.getpid()}"
    run(f"ip netns add {name}")
    yield name
    run(f"ip netns delete {name}")


def load(namespace: str, *scripts: str) -> Ruleset:
    """Load rules in the namespace, and return what nft prints of them."""
    command = ["ip", "netns", "exec", namespace, "nft"]
    for script in scripts:
        subprocess.run([*command, "-f", "-"], input=script, text=True, check=True, timeout=20)
    done = subprocess.run([*command, "-j", "-t", "list", "ruleset"], capture_output=True, check=True, timeout=20)
    return list(json.loads(done.stdout)["nftables"])


def rule(statement: Any, table: str = "fw4", chain: str = "forward") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": table, "chain": chain, "handle": 1, "expr": [statement]}}


FLOW = {"flow": {"op": "add", "flowtable": "@ft"}}


def test_guardians_own_table_harms_nobody(namespace: str) -> None:
    ruleset = load(namespace, render_table(Plan(("lan0",), 53, True, stopped=(1,)), with_queue=False))
    assert has_own_table(ruleset)
    assert list(check_rules(ruleset)) == []
    assert not has_own_table(load(namespace, "flush ruleset"))


def test_what_others_do(namespace: str) -> None:
    others = """
    table inet fw {
      chain early { type filter hook forward priority -200; policy drop; accept; }
      chain late { type filter hook forward priority 0; policy drop; accept; }
      chain raw { type filter hook prerouting priority -300; udp dport 53 notrack; }
      chain marks {
        ct mark set 0x1
        ct mark set meta mark
        ct mark set ct mark and 0xff00 or 1
      }
    }
    table ip kind {
      chain marks {
        ct mark set ct mark and 0xff00ffff or 0x30000
        ct mark set ct mark or 0x100
        ct mark set ct mark xor 0x100
      }
    }
    """
    findings = list(check_rules(load(namespace, others)))
    assert [finding.level for finding in findings] == [WARN, WARN, OK]
    untracked, wiped, before = (finding.message for finding in findings)
    assert untracked.startswith("table inet fw (raw) takes packets out of connection tracking")
    assert wiped.startswith("table inet fw (marks) writes connection marks over")
    assert before.endswith(": fw early (-200)")


@pytest.mark.parametrize("statement", [FLOW, "flow add @ft"], ids=["json", "nft before 1.0.2"])
def test_flow_offloading_of_openwrt(statement: Any) -> None:
    (finding,) = check_rules([rule(statement)])
    assert finding.level == FAIL
    assert finding.message.startswith("table inet fw4 (forward) hands connections to a fast path")
    assert "uci set firewall.@defaults[0].flow_offloading=0; uci commit" in finding.advice


def test_flow_offloading_of_somebody_else() -> None:
    (finding,) = check_rules([rule(FLOW, table="mine")])
    assert finding.level == FAIL and finding.advice.startswith("take its `flow add` rules away")
    assert list(check_rules([rule(FLOW, table="guardian")])) == []  # Guardian's own, for what was judged


def test_flow_offloading_is_told_once_and_by_the_settings_too() -> None:
    for ruleset in ([], [rule(FLOW)]):
        (finding,) = check_rules(ruleset, ["flow_offloading", "flow_offloading_hw"])
        assert finding.level == FAIL
        assert "flow_offloading=0; uci set firewall.@defaults[0].flow_offloading_hw=0" in finding.advice


@pytest.mark.parametrize(
    "value",
    [{"|": [{"&": [{"ct": {"key": "mark"}}, 1]}]}, {"^": 1}, [], None, "x", {"&": [{"ct": {"key": "mark"}}, "x"]}],
)
def test_what_nobody_can_explain_counts_as_a_wiped_mark(value: Any) -> None:
    (finding,) = check_rules([rule({"mangle": {"key": {"ct": {"key": "mark"}}, "value": value}})])
    assert finding.level == WARN


def test_strange_rulesets_are_read() -> None:
    ruleset: Ruleset = [{"rule": {}}, {"rule": None}, {"chain": {"hook": "forward"}}, {"table": {}}, {"metainfo": {}}]
    assert list(check_rules(ruleset)) == []
    assert not has_own_table(ruleset)


def test_an_nft_that_cannot_tell() -> None:
    with pytest.raises(GuardianError, match="fails"):
        read_ruleset("/bin/false")
    with pytest.raises(GuardianError, match="no JSON"):
        read_ruleset("/bin/echo")


def test_the_rules_of_this_machine_can_be_read() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the packet filter")
    findings: list[Finding] = list(check_rules(read_ruleset(NFT)))
    assert all(bool(finding.advice) == (finding.level != OK) for finding in findings)
