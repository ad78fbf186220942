"""A child asks, a parent answers: what may be asked for, why it is blocked, and what a yes changes."""

from __future__ import annotations

import logging
import threading
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from guardian.errors import GuardianError, TextError
from guardian.names import format_name, parse_name
from guardian.policy.compile import Policy
from guardian.policy.decide import judge
from guardian.policy.model import FOREVER, Action, Decision, Household, Kind, Profile, Reason, Rule, Schedule
from guardian.policy.posture import posture_of
from guardian.policy.rules import parse_rule
from guardian.policy.schedule import next_midnight
from guardian.store.requests import (
    AnsweredError,
    StoredRequest,
    TooManyError,
    Verdict,
    Wish,
    add_request,
    answer_request,
    find_request,
    list_requests,
)
from guardian.store.settings import Entry, JournalLine, read_journal
from guardian.web.access import Whose
from guardian.web.cards import finite
from guardian.web.changes import find_profile, give_bonus, let_stay_up, replace_profile
from guardian.web.routing import RefusalError
from guardian.web.shapes.requests import Ask, ChildRequest, Reply, Request, Requests, RequestState
from guardian.web.sites import SHARED_PLACES, is_public_suffix, read_site
from guardian.web.tags import name_tags, tag_of

if TYPE_CHECKING:
    from guardian.web.console import Console

log = logging.getLogger(__name__)

GRANTED, REFUSED = "request-granted", "request-refused"  # kinds of journal lines
MOST_MARKS = 4  # combining marks in a row: one letter may have so many
_JOURNAL_LINES = 1000  # looked through for a request that was granted already: no home changes more in a day
_answering = threading.Lock()  # of two parents who tap at once one is the first


def ask(console: Console, whose: Whose, wish: Ask, now: float) -> StoredRequest:
    """Keep what the child at a device asks for, and tell the parents' pages; return the request.

    Raises RefusalError: 403 `unknown-device` and `by-law`, 409 `already-open`, 422 `not-valid`, 429 `full`.
    """
    known = next((device for device in console.household().devices if device.id == whose.device), None)
    if known is None:
        raise RefusalError(403, "unknown-device", "nobody has said yet whose device this is: ask a parent to name it")
    site, minutes = "", None
    if wish.kind == "time":
        if wish.minutes is None:
            raise RefusalError(422, "not-valid", "how many minutes do you wish?")
        minutes = wish.minutes
    else:
        site = _check_site(console, known.id, wish.site, now)
    stored = Wish(known.profile, known.id, wish.kind, minutes, site, clean_words(wish.message))
    try:
        found, is_new = add_request(console.store, stored, now)
    except TooManyError as error:
        raise RefusalError(429, "full", str(error), retry_after=600) from None
    if is_new:
        console.delivery_wanted.set()
        _tell(console, found)
    return found


def answer(console: Console, key: int, reply: Reply, who: str, now: float) -> Request:
    """Write a parent's answer: what was granted first, then the request; return it.

    A crash between the two leaves the request open, but its journal line tells that it was granted: granting it again
    changes nothing more. Raises RefusalError 404 and 409 `answered`, ConfigError.
    """
    with _answering:
        found = find_request(console.store, key, now)
        if found is None:
            raise RefusalError(404, "not-found", "there is no such request")
        if found.state != "open":
            raise RefusalError(409, "answered", "it was answered already, or nobody waits for it any more")
        before = _find_grant(console, found)
        if before is not None:
            verdict = _read_grant(before, found, reply)
        elif reply.answer == "grant":
            verdict = _grant(console, found, reply, who, now)
        else:
            verdict = _refuse(console, found, reply, who)
        try:
            answered = answer_request(console.store, key, verdict, now)
        except AnsweredError as error:  # another process was quicker
            raise RefusalError(409, "answered", str(error)) from None
    _tell(console, answered)
    return show_requests(console, [answered], now).requests[0]


def open_requests(console: Console, now: float) -> list[Request]:
    """Return the requests that wait for an answer, the newest first."""
    waiting = [found for found in list_requests(console.store, now) if found.state == "open"]
    return show_requests(console, waiting, now).requests


def show_requests(console: Console, found: list[StoredRequest], now: float) -> Requests:
    """Return requests as parents see them; those that are open tell why it is blocked now."""
    policy = console.policy(now)
    profiles = {profile.id: profile.name for profile in policy.household.profiles}
    devices = {device.id: device.name for device in policy.household.devices}
    shown = [
        Request(
            id=each.id,
            profile=each.profile,
            profile_name=profiles.get(each.profile, each.profile),
            device=each.device,
            device_name=devices.get(each.device, each.device),
            kind="time" if each.kind == "time" else "site",
            minutes=each.minutes,
            site=each.site,
            message=each.message,
            asked=each.asked,
            state=cast(RequestState, each.state),
            answered=each.answered,
            answered_by=each.answered_by,
            granted_minutes=each.granted_minutes,
            granted_until=each.granted_until,
            note=each.note,
            why=_find_why_now(console, policy, each, now) if each.state == "open" else "",
        )
        for each in found
    ]
    return Requests(shown, name_tags(console.catalogue, (_tag_of_why(each.why) for each in shown)))


def show_to_child(found: StoredRequest) -> ChildRequest:
    """Return a request as the child sees it."""
    return ChildRequest(
        id=found.id,
        kind="time" if found.kind == "time" else "site",
        minutes=found.minutes,
        site=found.site,
        asked=found.asked,
        state=cast(RequestState, found.state),
        granted_minutes=found.granted_minutes,
        note=found.note,
        answered_by=found.answered_by,
    )


def find_why(policy: Policy, request: StoredRequest, now: float) -> str:
    """Return what stands in the way now: `category:games`, `schedule:bedtime`, `minutes:60`; "" for nothing.

    Time is stopped by a pause, the timetable or used minutes; a site also by rules, services and categories. Of a site
    these come first, for they are what a yes opens: who asks for a betting site at bedtime asks for a betting site.
    """
    posture = posture_of(policy, request.device, now)
    if request.kind == "time":
        return "" if posture.stop is None else posture.stop.rule
    site = parse_rule(request.site, Action.ALLOW)
    found = _judge(policy, request.device, site, now)
    if posture.stop is not None and found.reason is not Reason.MANDATORY:
        own = _judge(_forget_hours(policy, request.device), request.device, site, now)
        found = own if own.action is Action.BLOCK else found
    return _name_why(found)


def _forget_hours(policy: Policy, device: str) -> Policy:
    """The policy in which a device has neither pause nor hours without internet nor minutes of all use."""
    known = policy.devices.get(device)
    compiled = policy.profiles.get(known.profile) if known is not None else None
    if known is None or compiled is None:
        return policy
    free = replace(compiled.profile, paused_until=0.0, schedule=Schedule(), minutes=(), week_minutes=None)
    return replace(
        policy,
        profiles={**policy.profiles, known.profile: replace(compiled, profile=free)},
        devices={**policy.devices, device: replace(known, paused_until=0.0)},
    )


def _find_why_now(console: Console, policy: Policy, request: StoredRequest, now: float) -> str:
    """As `find_why`, and for a site that is blocked by what its answer leads to."""
    why = find_why(policy, request, now)
    if why or request.kind == "time":
        return why
    return _name_why(_judge_now(console, policy, request.device, parse_rule(request.site, Action.ALLOW), now))


def _name_why(decision: Decision) -> str:
    if decision.action is not Action.BLOCK:
        return ""
    return "mandatory" if decision.reason is Reason.MANDATORY else decision.rule


def open_site(household: Household, policy: Policy, request: StoredRequest, expires: float, now: float) -> Household:
    """Return the household with rules that open a site for a profile; a rule that the same grant made before goes.

    `www.example.com` opens `example.com` itself too, for that is where it came from or leads to, but not all below it:
    that may be half a country. Of a place where anybody may have a site only the name itself opens. Raises RefusalError
    404 when the profile is gone.
    """
    profile = find_profile(household, request.profile)
    site = request.site
    patterns = [f"={site}" if site in SHARED_PLACES else site]
    parent = site.removeprefix("www.")
    if parent != site and "." in parent:
        patterns.append(f"={parent}")
    rules = posture_of(policy, request.device, now).rules
    spoken = rules.find(parse_name(site), now) if rules is not None else None
    if spoken is not None and spoken.rule.action is Action.BLOCK and f"={site}" not in patterns:
        patterns.append(f"={site}")  # a parent's own rule may name exactly this: only the same beats it
    return replace_profile(household, _add_rules(profile, patterns, expires))


def clean_words(text: str) -> str:
    """Return what a child wrote as one line: characters that steer terminals or turn the text round are gone.

    So are marks that pile up on a letter until they cover the lines around it; languages need four at most.
    """
    kept: list[str] = []
    marks = 0  # on the last letter
    for char in "".join(" " if char.isspace() else char for char in text):
        category = unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs", "Co"):
            continue
        marks = marks + 1 if category.startswith("M") else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return " ".join("".join(kept).split())


def _check_site(console: Console, device: str, text: str, now: float) -> str:
    """Return the pattern of a site that a child asks for. Raises RefusalError."""
    if not text.strip():
        raise RefusalError(422, "not-valid", "which site do you wish?")
    try:
        site = format_name(read_site(text))
        if is_public_suffix(site):
            raise TextError(f"'{site}' is how many sites' names end; write the whole name of one, like example.{site}")
        rule = parse_rule(site, Action.ALLOW)
    except TextError as error:
        raise RefusalError(422, "not-valid", str(error)) from None
    decision = _judge_now(console, console.policy(now), device, rule, now)
    if decision.reason is Reason.MANDATORY:
        raise RefusalError(403, "by-law", "this site is closed by law: nobody at home can open it")
    if decision.action is not Action.BLOCK:
        raise RefusalError(409, "already-open", "this site is open already")
    return rule.pattern


def _judge(policy: Policy, device: str, site: Rule, now: float) -> Decision:
    name = parse_name(site.pattern)
    return judge(posture_of(policy, device, now), Kind.DNS_QUERY, name, policy.lists.lookup(name))


def _judge_now(console: Console, policy: Policy, device: str, site: Rule, now: float) -> Decision:
    """The decision about a site, also by what its answer leads to, which only the gateway knows.

    While it does not answer, or does not know the device yet, the site's own name decides.
    """
    decision = _judge(policy, device, site, now)
    if decision.action is not Action.ALLOW:
        return decision
    try:
        return console.gateway.explain(device, site.pattern)
    except GuardianError as error:
        log.info("event=judged-by-name-only error=%r", str(error))
        return decision


def _add_rules(profile: Profile, patterns: list[str], expires: float) -> Profile:
    new = [parse_rule(pattern, Action.ALLOW, expires) for pattern in patterns]
    texts = {(rule.pattern, rule.match) for rule in new}
    kept = []
    for rule in profile.rules:
        if rule.action is Action.ALLOW and (rule.pattern, rule.match) in texts:
            if rule.expires >= expires:  # open for longer already
                new = [each for each in new if (each.pattern, each.match) != (rule.pattern, rule.match)]
                kept.append(rule)
        else:
            kept.append(rule)
    return replace(profile, rules=(*kept, *new))


def _grant(console: Console, found: StoredRequest, reply: Reply, who: str, now: float) -> Verdict:
    household = console.household()
    details: dict[str, str | int] = {"profile": _profile_name(household, found.profile), "request": _key_of(found)}
    if found.kind == "time":
        minutes = reply.minutes or found.minutes or 0
        details["minutes"] = minutes
        entry = Entry(who, f"{details['profile']} asked for time and got {minutes} minutes", GRANTED, details)

        def give_time(home: Household) -> Household:
            home, until = let_stay_up(give_bonus(home, found.profile, minutes, "", now), found.profile, minutes, now)
            if until:
                details["until"] = int(until)
            return home

        console.edit(entry, give_time)
        return Verdict("granted", who, minutes=minutes, note=clean_words(reply.note))
    expires = FOREVER if reply.for_good else next_midnight(household.tz, now)
    details["site"] = found.site
    if not reply.for_good:
        details["until"] = int(expires)
    policy = console.policy(now)
    entry = Entry(who, f"{details['profile']} asked for {found.site} and got it", GRANTED, details)
    console.edit(entry, lambda home: open_site(home, policy, found, expires, now))
    return Verdict("granted", who, until=finite(expires), note=clean_words(reply.note))


def _refuse(console: Console, found: StoredRequest, reply: Reply, who: str) -> Verdict:
    name = _profile_name(console.household(), found.profile)
    wish: dict[str, str | int] = {"site": found.site} if found.kind == "site" else {"minutes": found.minutes or 0}
    entry = Entry(who, f"{name} asked and got no", REFUSED, {"profile": name, "request": _key_of(found), **wish})
    console.edit(entry, lambda home: home)
    return Verdict("refused", who, note=clean_words(reply.note))


def _find_grant(console: Console, found: StoredRequest) -> JournalLine | None:
    """The journal line of a request that was granted already, though its row does not say so: there was a crash."""
    for line in read_journal(console.config.settings, _JOURNAL_LINES):
        if line.entry.kind == GRANTED and line.entry.details.get("request") == _key_of(found):
            return line
    return None


def _read_grant(line: JournalLine, found: StoredRequest, reply: Reply) -> Verdict:
    minutes, until = line.entry.details.get("minutes"), line.entry.details.get("until")
    return Verdict(
        "granted",
        line.entry.who,
        minutes=int(minutes) if found.kind == "time" and minutes is not None else None,
        until=float(until) if found.kind == "site" and until is not None else None,  # of time: bedtime's new start
        note=clean_words(reply.note),
    )


def _key_of(found: StoredRequest) -> str:
    """What names a request for good: numbers are given anew when old requests go."""
    return f"{found.id}@{int(found.asked * 1000)}"


def _profile_name(household: Household, profile: str) -> str:
    return next((known.name for known in household.profiles if known.id == profile), profile)


def _tag_of_why(why: str) -> str:
    kind, _, rest = why.partition(":")
    return tag_of(rest) if kind == "minutes" else why


def _tell(console: Console, found: StoredRequest) -> None:
    console.events.publish("request", {"id": found.id}, scope="requests")
    console.events.publish_change("requests")
    console.delivery_wanted.set()
