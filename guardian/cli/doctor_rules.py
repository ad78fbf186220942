"""What `guardian doctor` finds in other programs' packet-filter rules: those that would hide flows, or wipe our marks.

Works on the JSON of `nft -j list ruleset` (libnftables-json(5)). Rules of iptables-nft are in it as `xt` expressions,
which nft does not explain; those of iptables-legacy are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from guardian.cli.doctor_machine import FAIL, OK, WARN, Finding
from guardian.cli.doctor_network import run_program
from guardian.errors import GuardianError
from guardian.filter import marks
from guardian.filter.ruleset import HEAD_PRIORITY, TABLE

Ruleset = list[dict[str, Any]]

_MARK_MASK = 0xFFFFFFFF


def read_ruleset(nft: str) -> Ruleset:
    """Return the objects of all tables, elements of sets left out. Raises GuardianError when nft cannot tell."""
    done = run_program([nft, "-j", "-t", "list", "ruleset"])
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise GuardianError(f"`nft -j list ruleset` fails: {reason}")
    try:
        objects = json.loads(done.stdout)["nftables"]
    except (ValueError, KeyError, TypeError):
        raise GuardianError("`nft -j list ruleset` gives no JSON") from None
    return [entry for entry in objects if isinstance(entry, dict)]


def has_own_table(ruleset: Ruleset) -> bool:
    """Tell whether Guardian's table is there."""
    return any(table.get("family") == "inet" and table.get("name") == TABLE for table in _all(ruleset, "table"))


def check_rules(ruleset: Ruleset, openwrt_options: Iterable[str] = ()) -> Iterator[Finding]:
    """Look at the tables of others. `openwrt_options` are what `read_openwrt_offloading` returned."""
    yield from _check_offloading(ruleset, list(openwrt_options))
    untracked = _find_tables(ruleset, lambda statement: "notrack" in statement)
    if untracked:
        yield Finding(
            "other rules",
            WARN,
            f"{untracked} takes packets out of connection tracking (notrack): the filter does not see those",
            "take that rule away, unless it is for this machine's own packets only",
        )
    wiped = _find_tables(ruleset, _wipes_mark)
    if wiped:
        bits = f"{marks.OWN_MASK:#010x}"
        yield Finding(
            "other rules",
            WARN,
            f"{wiped} writes connection marks over Guardian's: devices lose their decision",
            f"let it keep the bits {bits}: `ct mark set ct mark and {bits} or ...`",
        )
    before = [chain for chain in _all(ruleset, "chain") if _stands_before(chain)]
    if before:
        names = ", ".join(f"{chain['table']} {chain['name']} ({chain['prio']})" for chain in before)
        yield Finding("other rules", OK, f"these drop forwarded packets before Guardian sees them: {names}")


def _check_offloading(ruleset: Ruleset, openwrt_options: list[str]) -> Iterator[Finding]:
    tables = _find_tables(ruleset, lambda statement: "flow" in statement)
    if not tables and not openwrt_options:
        return
    options = openwrt_options or ["flow_offloading"]
    openwrt = "; ".join(f"uci set firewall.@defaults[0].{option}=0" for option in dict.fromkeys(options))
    openwrt = f"`{openwrt}; uci commit firewall; service firewall restart`"
    if tables:
        message = f"{tables} hands connections to a fast path (flow offloading) before they say where they go"
    else:
        message = f"OpenWrt's firewall is set to hand connections to a fast path ({', '.join(openwrt_options)})"
    advice = openwrt if openwrt_options or "fw4" in tables else f"take its `flow add` rules away; on OpenWrt {openwrt}"
    advice += "; Guardian has a fast path of its own for what it has judged: 'filter.offload: yes'"
    yield Finding("offloading", FAIL, message, advice)


def _find_tables(ruleset: Ruleset, is_found: Any) -> str:
    """Name the tables of others with a statement that `is_found`: `table inet fw4 (forward)`; "" for none."""
    found: dict[str, dict[str, None]] = {}
    for rule in _all(ruleset, "rule"):
        if rule.get("family") == "inet" and rule.get("table") == TABLE:
            continue
        if any(is_found(statement) for statement in _statements(rule)):
            found.setdefault(f"table {rule.get('family')} {rule.get('table')}", {})[str(rule.get("chain"))] = None
    return ", ".join(f"{table} ({', '.join(chains)})" for table, chains in found.items())


def _statements(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for statement in rule.get("expr", ()):
        if isinstance(statement, dict):
            yield statement
        elif isinstance(statement, str) and statement.startswith("flow "):  # nft before 1.0.2 has no JSON for it
            yield {"flow": statement}


def _wipes_mark(statement: dict[str, Any]) -> bool:
    mangle = statement.get("mangle")
    if not isinstance(mangle, dict) or mangle.get("key") != {"ct": {"key": "mark"}}:
        return False
    return _kept_bits(mangle.get("value")) & marks.OWN_MASK != marks.OWN_MASK


def _kept_bits(value: Any) -> int:
    """The bits of a connection mark that are still there after it was set to an expression."""
    if value == {"ct": {"key": "mark"}}:
        return _MARK_MASK
    if isinstance(value, dict) and len(value) == 1:
        ((operator, operands),) = value.items()
        if operator in ("&", "|", "^") and isinstance(operands, list) and len(operands) == 2:
            inner, mask = operands
            if isinstance(mask, int):
                return _kept_bits(inner) & (mask if operator == "&" else ~mask)
    return 0


def _stands_before(chain: dict[str, Any]) -> bool:
    return (
        chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and isinstance(chain.get("prio"), int)
        and chain["prio"] < HEAD_PRIORITY
        and chain.get("family") in ("inet", "ip", "ip6")
        and chain.get("table") != TABLE
    )


def _all(ruleset: Ruleset, kind: str) -> Iterator[dict[str, Any]]:
    for entry in ruleset:
        value = entry.get(kind)
        if isinstance(value, dict):
            yield value
