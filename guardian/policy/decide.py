"""The one decision of Guardian: may this device have this name now, and until when does the answer hold?

The order of the steps is the order of `Reason`; `docs/policy.md` tells it in words. What does not depend on the name is
a `Posture`, kept per client until `posture.until`; `judge` is all that a query costs after that.
"""

from __future__ import annotations

from guardian.policy.compile import Policy
from guardian.policy.model import FOREVER, Action, Decision, Kind, Reason, Subject
from guardian.policy.posture import Posture, posture_of, posture_of_profile
from guardian.policy.rules import format_rule

__all__ = [
    "Posture",
    "decide",
    "is_rewritten",
    "judge",
    "judge_address",
    "judge_answer",
    "judge_bypass",
    "posture_of",
    "posture_of_profile",
]

DNS_FIRST = "bypass:dns-first"  # a flow to an address that our resolver did not give to the device

# Members of an Enum class are slow to reach in Python 3.11, and `judge` is the hot path.
_ALLOW, _BLOCK = Action.ALLOW, Action.BLOCK
_QUERY, _ANSWER, _ADDRESS, _UNREADABLE = Kind.DNS_QUERY, Kind.DNS_ANSWER, Kind.ADDRESS, Kind.UNREADABLE


def decide(policy: Policy, subject: Subject, now: float) -> Decision:
    """Return the decision for a subject; it is the same at every moment in [now, decision.until).

    A name may be in any case. Total: every subject whose value fits its kind gets a decision.
    """
    posture = posture_of(policy, subject.device, now)
    if subject.kind is _ADDRESS:
        return judge_address(posture, policy.addresses.lookup(subject.value))
    if subject.kind is _UNREADABLE:
        return judge(posture, _UNREADABLE, b"", 0)
    name = subject.value.lower()
    return judge(posture, subject.kind, name, policy.lists.lookup(name))


def judge(posture: Posture, kind: Kind, name: bytes, tags: int) -> Decision:
    """Return the decision for a name (lower-case wire form) whose lists say `tags` (`policy.lists.lookup(name)`).

    `now` must be in [posture.now, posture.until). For Kind.ADDRESS and UNREADABLE `name` is not read; an address that
    may stand on a list is for `judge_address`.
    """
    found = tags & posture.heard
    decision = posture.by_tags.get(found)
    if decision is None:
        decision = posture.by_tags[found] = _settle(posture, found)
    if kind is _QUERY:
        if not posture.by_name or found & posture.final:
            return decision
    elif posture.stop is not None or found & posture.final:
        return decision
    elif kind is _ADDRESS:  # its names came by before, and were judged
        return posture.default
    elif kind is _UNREADABLE:
        return posture.unreadable
    rules = posture.rules
    if rules is not None and (entry := rules.find(name, posture.now)) is not None:
        ruled = posture.by_rule.get(entry.number)
        if ruled is None:
            ruled = Decision(entry.rule.action, Reason.RULE, f"rule:{format_rule(entry.rule)}", posture.until)
            posture.by_rule[entry.number] = ruled
        decision = ruled
    if kind is _QUERY:
        if name in posture.rewrites and decision.action is _ALLOW:
            return _rewrite(posture, name)
    elif kind is _ANSWER and decision.action is _BLOCK and decision.reason is Reason.ALLOW_LIST_ONLY:
        return posture.default  # what an allowed name points to need not be allowed itself
    return decision


def judge_answer(posture: Posture, query: Decision, name: bytes, tags: int) -> Decision:
    """Return the decision for a query after its answer revealed `name` (a CNAME, HTTPS or SVCB target, lower case).

    It is `query` itself, or the BLOCK that the target earned. Ask it for every target with the same `query`.
    * A mandatory list blocks whatever the query was, and so does a stop that began meanwhile, except for helplines.
    * A name that somebody allowed on purpose (a helpline, a rule, a service, the list of a small child) and a safe twin
      are not lost because their CDN stands in a category or in a block rule.
    * A name that merely nobody objected to must pass rules, bypass, services and categories with each target: that
      is how cloaked trackers are found.
    """
    if query.action is _BLOCK:
        return query
    if tags & posture.mandatory and not tags & posture.helpline:
        return judge(posture, _ANSWER, name, tags & posture.mandatory)
    if query.reason is Reason.HELPLINE:
        return query
    if query.reason is not Reason.DEFAULT:
        return query if posture.stop is None else posture.stop
    target = judge(posture, _ANSWER, name, tags)
    return target if target.action is _BLOCK else query


def judge_bypass(posture: Posture, tag: str) -> Decision:
    """Return the decision about a way around the filter that is not a name: `bypass:doh`, `bypass:vpn`, `bypass:dot`.

    With bypass protection it is a BLOCK whose rule is the tag; `bypass:dns-first` needs a strict profile instead.
    """
    decision = posture.by_way.get(tag)
    if decision is None:
        decision = posture.stop or posture.default
        if posture.stop is None and (posture.strict if tag == DNS_FIRST else posture.bypass_protection):
            decision = Decision(_BLOCK, Reason.BYPASS, tag, posture.until)
        posture.by_way[tag] = decision
    return decision


def judge_address(posture: Posture, tag: str) -> Decision:
    """Return the decision for an address whose lists say `tag` (`policy.addresses.lookup(address)`).

    A mandatory list blocks it for everyone. An address that merely stands on no list is judged by its names elsewhere.
    """
    if tag.startswith("bypass:"):
        return judge_bypass(posture, tag)
    if tag.startswith("mandatory:"):
        if (decision := posture.by_way.get(tag)) is None:
            decision = posture.by_way[tag] = Decision(_BLOCK, Reason.MANDATORY, tag, FOREVER)
        return decision
    return posture.stop or posture.default


def is_rewritten(posture: Posture, name: bytes) -> bool:
    """Tell whether a query for a name (lower-case wire form) is answered with a safe twin, `posture.rewrites[name]`.

    A flow to such a name is allowed by its name; that it goes to the twin's address is for the caller to check.
    """
    return name in posture.rewrites


def _settle(posture: Posture, found: int) -> Decision:
    """Return what the tags of a name alone come to; the caller keeps it, a home meets few combinations."""
    until = posture.until
    if found & posture.helpline:
        return Decision(_ALLOW, Reason.HELPLINE, "helpline", FOREVER)
    if mandatory := found & posture.mandatory:
        return Decision(_BLOCK, Reason.MANDATORY, _first_tag(posture, mandatory), FOREVER)
    if posture.stop is not None:
        return posture.stop
    if found & posture.spent:
        of = next(of for of, mask in posture.spent_by if found & mask)
        if posture.clock_unset:
            return Decision(_BLOCK, Reason.CLOCK, f"clock:{of}", until)
        return Decision(_BLOCK, Reason.MINUTES, f"minutes:{of}", until)
    if bypass := found & posture.bypass:
        return Decision(_BLOCK, Reason.BYPASS, _first_tag(posture, bypass), until)
    # A name that an open and a shut service share stays open, or the open one would not work.
    if services := found & posture.services_open:
        return Decision(_ALLOW, Reason.SERVICE, _first_tag(posture, services), until)
    if services := found & posture.services_shut:
        return Decision(_BLOCK, Reason.SERVICE, _first_tag(posture, services), until)
    if categories := found & posture.categories:
        return Decision(_BLOCK, Reason.CATEGORY, _first_tag(posture, categories), until)
    if posture.allow_list_only:
        if allowed := found & posture.allowed:
            return Decision(_ALLOW, Reason.ALLOW_LIST_ONLY, _first_tag(posture, allowed), until)
        return Decision(_BLOCK, Reason.ALLOW_LIST_ONLY, "allow-list-only", until)
    return posture.default


def _first_tag(posture: Posture, mask: int) -> str:
    return posture.tags[(mask & -mask).bit_length() - 1]


def _rewrite(posture: Posture, name: bytes) -> Decision:
    decision = posture.by_rewrite.get(name)
    if decision is None:
        rewrite = posture.rewrites[name]
        decision = Decision(Action.REWRITE, Reason.SAFE_SEARCH, rewrite.rule, posture.until, rewrite.target)
        posture.by_rewrite[name] = decision
    return decision
