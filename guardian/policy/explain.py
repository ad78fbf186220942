"""Why a name is allowed or blocked for a device: every step in order, and one sentence for people."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from guardian.names import format_name
from guardian.policy.compile import GROUP, Policy, ProfilePolicy
from guardian.policy.decide import judge
from guardian.policy.minutes import Allowance, minutes_left
from guardian.policy.model import FOREVER, Action, Decision, Kind, Reason
from guardian.policy.posture import Edge, Posture, posture_of, posture_of_profile
from guardian.policy.rules import RuleEntry
from guardian.policy.schedule import local_date

MOST_EDGES = 64  # looked at for the moment that changes this very decision: more than a week of any timetable
HIDDEN = "(not shown)"  # stands for listed names where a mandatory list holds one of them

_STEPS = (
    Reason.HELPLINE,
    Reason.MANDATORY,
    Reason.PAUSE,
    Reason.CLOCK,
    Reason.SCHEDULE,
    Reason.MINUTES,
    Reason.RULE,
    Reason.BYPASS,
    Reason.SERVICE,
    Reason.CATEGORY,
    Reason.ALLOW_LIST_ONLY,
    Reason.SAFE_SEARCH,
    Reason.DEFAULT,
)
_DNS_FIRST = "DNS first: only addresses that Guardian's DNS gave are reachable"
_VERBS = {Action.ALLOW: "Allowed", Action.BLOCK: "Blocked", Action.REWRITE: "Allowed in its safe mode"}


class Outcome(enum.Enum):
    PASSED = "passed"  # it was asked and had nothing to say
    DECIDED = "decided"
    NOT_REACHED = "not reached"


class Step(NamedTuple):
    """One step of the policy, and what it said in a few words; `says` is "" when it was not reached."""

    reason: Reason
    outcome: Outcome
    says: str


class ListedEntry(NamedTuple):
    """A tag that holds for the name, and the listed name (text) that brought it; HIDDEN where a mandatory list did."""

    tag: str
    entry: str


class Explanation(NamedTuple):
    """The decision for a name, the list entries behind it, all steps in order, and one plain English sentence.

    The sentence does not hold the name that was asked for. `change` is the moment (epoch seconds) at which this name is
    decided otherwise, as far as is planned; FOREVER = nothing is.
    """

    decision: Decision
    matches: tuple[ListedEntry, ...]
    steps: tuple[Step, ...]
    sentence: str
    change: float


def explain(
    policy: Policy, posture: Posture, name: bytes, now: float, authorities: Mapping[str, str] | None = None
) -> Explanation:
    """Return why a wire name (any case) is allowed or blocked; `now` must be in [posture.now, posture.until).

    `authorities` says in English who answers for a mandatory tag, where the list tells it.
    """
    name = name.lower()
    tags = policy.lists.lookup(name)
    decision = judge(posture, Kind.DNS_QUERY, name, tags)
    # The flow kinds pass the same steps without the rewrite: what safe search stands upon.
    basis = judge(posture, Kind.TLS, name, tags)
    # A category's list may hold the same entry as a mandatory one, so then no entry is shown.
    hidden = bool(tags & policy.mandatory)
    matches = tuple(
        ListedEntry(tag, HIDDEN if hidden else format_name(listed)) for tag, listed in policy.lists.matches(name)
    )
    narrator = _Narrator(policy, posture, name, now, matches, authorities or {})
    deciding = {decision.reason, basis.reason} - ({Reason.DEFAULT} if decision.action is Action.REWRITE else set())
    # The clock is a step of its own only while it stands in the way.
    wanted = [reason for reason in _STEPS if reason is not Reason.CLOCK or policy.clock_unset]
    steps, last = [], wanted.index(basis.reason)
    for place, reason in enumerate(wanted):
        if reason in deciding:
            said = basis if reason is basis.reason else decision
            steps.append(Step(reason, Outcome.DECIDED, f"{said.action.value}: {narrator.cause(said)}"))
        elif place < last:
            steps.append(Step(reason, Outcome.PASSED, narrator.silence(reason)))
        else:
            steps.append(Step(reason, Outcome.NOT_REACHED, ""))
    change = _find_change(policy, posture, name, tags, decision)
    sentence = f"{_VERBS[decision.action]}: {narrator.cause(decision)}{narrator.until(decision, change)}."
    return Explanation(decision, matches, tuple(steps), sentence, FOREVER if change is None else change.moment)


def _find_change(policy: Policy, posture: Posture, name: bytes, tags: int, decision: Decision) -> Edge | None:
    """The first edge at which this name is decided otherwise, or None: `decision.until` may be another name's edge.

    It takes for granted that no more minutes are used until then.
    """
    here = posture
    for _ in range(MOST_EDGES):
        edge = here.edge
        if edge.moment == FOREVER:
            return None
        here = (
            posture_of(policy, posture.device, edge.moment)
            if posture.device
            else posture_of_profile(policy, posture.profile, edge.moment)
        )
        then = judge(here, Kind.DNS_QUERY, name, tags)
        if (then.action, then.reason, then.rule) != (decision.action, decision.reason, decision.rule):
            return edge
    return None


def _whole(minutes: float) -> int:
    return int(minutes + 1e-6)  # 59.9 of 60 are not used up


class _Narrator:
    """Puts decisions and silent steps into words."""

    def __init__(
        self,
        policy: Policy,
        posture: Posture,
        name: bytes,
        now: float,
        matches: tuple[ListedEntry, ...],
        authorities: Mapping[str, str],
    ) -> None:
        self.policy = policy
        self.posture = posture
        self.name = name
        self.now = now
        self.matches = matches
        self.authorities = authorities
        self.compiled: ProfilePolicy = policy.profiles.get(posture.profile, policy.strictest)
        self.allowances = minutes_left(policy, posture.profile, now)

    def cause(self, decision: Decision) -> str:
        """Why a decision was made, without its verb."""
        rule = decision.rule.partition(":")[2]
        match decision.reason:
            case Reason.HELPLINE:
                return "a helpline is always reachable and leaves no trace"
            case Reason.MANDATORY if decision.rule in self.authorities:
                return f"on the hotline's list, by {self.authorities[decision.rule]}, for every device of the home"
            case Reason.MANDATORY:
                return "it is on a list of illegal content, which holds for every device of the home"
            case Reason.PAUSE:
                return f"the internet is paused for this {rule}"
            case Reason.CLOCK:
                what = "this profile" if rule == "unset" else self._call(rule)
                return f"the box does not know the time yet, and {what} has hours or minutes; usually it takes a minute"
            case Reason.SCHEDULE:
                return f"it is {rule}"
            case Reason.MINUTES:
                return self.spent(rule)
            case Reason.RULE:
                return f"the parents' rule '{rule}'{' for the whole home' if self._rule_is_shared() else ''}"
            case Reason.BYPASS:
                return f"a way around the filter, {rule}{self._entry(decision.rule)}"
            case Reason.SERVICE:
                service = self.policy.catalogue.services.get(rule)
                return f"service {rule if service is None else service.name}{self._entry(decision.rule)}"
            case Reason.CATEGORY:
                return f"category {rule}{self._entry(decision.rule)}"
            case Reason.ALLOW_LIST_ONLY if decision.action is Action.ALLOW:
                return f"on the list of good sites, {rule}{self._entry(decision.rule)}"
            case Reason.ALLOW_LIST_ONLY:
                return "this profile reaches only the sites that are allowed"
            case Reason.SAFE_SEARCH:
                return f"{decision.rule} answers with {format_name(decision.target)}"
            case _:
                return "nothing objects"

    def until(self, decision: Decision, change: Edge | None) -> str:
        """`, until 2026-11-24 07:00 when bedtime ends`; "" for a decision that no clock changes."""
        if decision.until == FOREVER:
            return ", until a parent resumes it" if decision.reason is Reason.PAUSE else ""
        if change is None:
            return ""
        moment = datetime.fromtimestamp(change.moment, self.policy.household.tz)
        return f", until {moment:%Y-%m-%d %H:%M} when {change.cause}"

    def silence(self, reason: Reason) -> str:
        """What a step says that had no objection."""
        profile = self.compiled.profile
        match reason:
            case Reason.HELPLINE:
                return "not a helpline"
            case Reason.MANDATORY:
                return "not on a mandatory list"
            case Reason.PAUSE:
                return "not paused"
            case Reason.CLOCK:
                return "nothing of it needs the time"
            case Reason.SCHEDULE | Reason.MINUTES if self.policy.clock_unset:
                return "the time is not known yet"
            case Reason.SCHEDULE:
                return (
                    "online at this hour" if profile.schedule.windows or profile.schedule.exceptions else "no schedule"
                )
            case Reason.MINUTES:
                return "; ".join(filter(None, map(self.allowance, self.allowances))) or "no limit"
            case _ if not profile.filtered:
                return "the profile is not filtered"
            case Reason.RULE:
                return "no rule for it"
            case Reason.BYPASS:
                said = "not a way around the filter" if profile.bypass_protection else "bypass protection is off"
                return f"{said}; {_DNS_FIRST}" if self.posture.strict else said
            case Reason.SERVICE:
                return "no service with a rule now"
            case Reason.CATEGORY:
                listed = [match.tag.partition(":")[2] for match in self.matches if match.tag.startswith("category:")]
                return f"listed, but not blocked: {', '.join(listed)}" if listed else "in no blocked category"
            case Reason.ALLOW_LIST_ONLY:
                return "other sites are not shut out"
            case _:
                return "no safe twin in use"

    def spent(self, rule: str) -> str:
        """Which minutes are used up, by the rule of a decision without its `minutes:`."""
        found = next((known for known in self.allowances if known.of == rule), self.allowances[0])
        week = not found.left_this_week
        count, span = (found.limit_week, "this week") if week else (found.limit_today, "today")
        return f"the {count} minutes of {span}{f' for {self._call(found.of)}' if found.of else ''} are used up"

    def allowance(self, found: Allowance) -> str:
        """What was used of one limit: `48 of 90 minutes used, 30 bonus minutes today`; "" where there is no limit."""
        parts = []
        if found.limit_today is not None:
            parts.append(f"{_whole(found.used_today)} of {found.limit_today} minutes used")
        if found.limit_week is not None:
            used = "" if parts else " minutes used"
            parts.append(f"{_whole(found.used_week)} of {found.limit_week}{used} this week")
        if not parts:
            return ""
        today = local_date(self.policy.household.tz, self.now)
        given = [bonus for bonus in self.compiled.profile.bonuses if (bonus.of, bonus.day) == (found.of, today)]
        if given:
            parts.append(f"{sum(bonus.minutes for bonus in given)} bonus minutes today")
        return f"{self._call(found.of)}: {', '.join(parts)}" if found.of else ", ".join(parts)

    def _call(self, of: str) -> str:
        """What has minutes of its own, in the words of parents."""
        if of.startswith(GROUP):
            return of.replace(GROUP, "group ")
        service = self.policy.catalogue.services.get(of)
        return of if service is None else service.name

    def _entry(self, tag: str) -> str:
        entries = [match.entry for match in self.matches if match.tag == tag]
        return f" (list entry {entries[0]})" if entries else ""

    def _rule_is_shared(self) -> bool:
        entry: RuleEntry | None = None
        if self.posture.rules is not None:
            entry = self.posture.rules.find(self.name, self.posture.now)
        return entry is not None and entry.shared
