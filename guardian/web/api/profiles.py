"""Profiles: their rules, pause, bedtime now or later, minutes on top, and what would happen to a site."""

from __future__ import annotations

import math
from dataclasses import replace

from guardian.errors import ConfigError, Problem, TextError
from guardian.home import EVERYONE, is_open_household
from guardian.names import format_name
from guardian.policy import model
from guardian.policy.bedtime import end_of_bedtime
from guardian.policy.explain import Explanation, explain
from guardian.policy.minutes import minutes_left
from guardian.policy.model import FOREVER, Decision, Reason
from guardian.policy.posture import posture_of_profile
from guardian.policy.presets import profile_from_preset
from guardian.store.household import check_group
from guardian.store.household_form import read_name
from guardian.store.settings import Entry
from guardian.web.changes import check_room, find_profile, give_bonus, let_stay_up, replace_profile
from guardian.web.convert import Problems, read_profile, show_moment, show_profile
from guardian.web.first import find_timezone, is_timezone, make_first_household
from guardian.web.naming import make_id
from guardian.web.routing import Call, Endpoint, RefusalError
from guardian.web.shapes.common import Done
from guardian.web.shapes.household import Answer, AwakeCall, BonusCall, NewProfile, PauseCall, Profile, Question
from guardian.web.sites import read_site, show_site


def make_profile(call: Call[NewProfile]) -> Profile:
    """Make a profile with all that its age band sets. The first one makes a home of the open box.

    Raises ConfigError, ConflictError, RefusalError 409 when there is one of this name, or no room for another one.
    """
    name = _check_name(call.body.name)
    made: list[model.Profile] = []
    remembered = call.console.remembered_ids()

    def change(household: model.Household) -> model.Household:
        is_first = is_open_household(household)
        if not is_first:
            _refuse_same_name(household, name)
        taken = {EVERYONE, *(profile.id for profile in household.profiles), *remembered}
        made[:] = [_make_profile(call, make_id(name, taken, "profile"), name)]
        if is_first:
            before, timezone = _before_first(call, household)
            return make_first_household(before, made[0], timezone)
        return check_room(replace(household, profiles=(*household.profiles, made[0])))

    entry = Entry(call.caller.who, f"profile {name} made", "profile-made", {"profile": name})
    call.console.edit(entry, change, call.if_match)
    return show_profile(made[0])


def _before_first(call: Call[NewProfile], household: model.Household) -> tuple[model.Household, str]:
    """The open box with the language of the first visit, and the time zone that it told; what was set since wins."""
    store, config = call.console.store, call.console.config
    timezone = household.timezone if household.timezone != "UTC" else store.option("first_timezone")
    language = store.option("first_language")
    if language and household.language == config.language:
        household = replace(household, language=language)
    return household, timezone if is_timezone(timezone) else find_timezone()


def _make_profile(call: Call[NewProfile], key: str, name: str) -> model.Profile:
    preset = call.console.catalogue.presets.get(call.body.age_band)
    if preset is None:
        return model.Profile(key, name, filtered=False, bypass_protection=False, language=call.body.language)
    return replace(profile_from_preset(preset, key, name), language=call.body.language)


def _check_name(text: str) -> str:
    problems = Problems()
    name = problems.read(read_name, text, "name", "")
    problems.finish()
    return name


def _refuse_same_name(household: model.Household, name: str, but: str = "") -> None:
    """The journal and alerts tell profiles by their names, so no two have the same."""
    if any(each.id != but and each.name.casefold() == name.casefold() for each in household.profiles):
        raise RefusalError(409, "exists", "there is a profile of this name already")


def change_profile(call: Call[Profile]) -> Profile:
    """Replace the rules of a profile. Raises ConfigError, ConflictError, RefusalError 404 or 409."""
    key = call.path["profile"]
    if call.body.id != key:
        raise ConfigError([Problem("id", f"this is the profile '{key}'")])
    details: dict[str, str | int] = {}
    home, revision = call.console.home()
    saved = find_profile(home.household, key)
    if read_profile(call.body, call.console.catalogue, saved) == saved and call.if_match in (None, revision):
        return show_profile(saved)

    def change(household: model.Household) -> model.Household:
        before = find_profile(household, key)
        after = read_profile(call.body, call.console.catalogue, before)
        if after.name.casefold() != before.name.casefold():
            _refuse_same_name(household, after.name, key)
        details.update(profile=after.name, parts=" ".join(_list_changed(before, after)))
        return replace_profile(household, after)

    entry = Entry(call.caller.who, f"rules of {saved.name} changed", "profile-changed", details)
    call.console.edit(entry, change, call.if_match)
    return show_profile(find_profile(call.console.household(), key))


def _list_changed(before: model.Profile, after: model.Profile) -> list[str]:
    one, other = show_profile(before), show_profile(after)
    return [field for field in Profile.__struct_fields__ if getattr(one, field) != getattr(other, field)]


def remove_profile(call: Call[None]) -> None:
    """Remove a profile. Raises ConflictError, RefusalError 404, or 409 while devices have it."""
    key = call.path["profile"]
    name = find_profile(call.console.household(), key).name

    def change(household: model.Household) -> model.Household:
        find_profile(household, key)
        if is_open_household(household) or any(device.profile == key for device in household.devices):
            raise RefusalError(409, "in-use", "devices have this profile: give them another one first")
        newcomers = household.new_device_profile
        return replace(
            household,
            profiles=tuple(profile for profile in household.profiles if profile.id != key),
            new_device_profile="" if newcomers == key else newcomers,
        )

    entry = Entry(call.caller.who, f"profile {name} removed", "profile-removed", {"profile": name})
    call.console.edit(entry, change, call.if_match)


def pause_profile(call: Call[PauseCall]) -> Done:
    """Pause a profile, send it to bed, or resume it. Raises ConfigError, ConflictError, RefusalError 404."""
    key = call.path["profile"]
    household = call.console.household()
    profile = find_profile(household, key)
    until = end_of_pause(call.body, profile, household, call.now)

    def change(household: model.Household) -> model.Household:
        return replace_profile(household, replace(find_profile(household, key), paused_until=until))

    entry = describe_pause(call.caller.who, call.body.action, "profile", profile.name, until)
    return Done(call.console.edit(entry, change, call.if_match))


def end_of_pause(body: PauseCall, profile: model.Profile, household: model.Household, now: float) -> float:
    """Return the moment until which a call pauses: 0 = it resumes, FOREVER = until a parent does.

    Raises ConfigError for a call that does not hold together.
    """
    problems = Problems()
    if body.action != "pause":
        for part in ("minutes", "until"):
            if getattr(body, part) is not None:
                problems.add(part, f"'{body.action}' has no '{part}'")
    elif body.minutes is not None and body.until is not None:
        problems.add("until", "give 'minutes' or 'until', not both")
    elif body.until is not None and body.until <= now:
        problems.add("until", "this moment has passed")
    problems.finish()
    if body.action == "resume":
        return 0.0
    if body.action == "bedtime":
        return end_of_bedtime(profile.schedule, household.tz, now)
    if body.minutes is not None:
        return float(round(now + body.minutes * 60))
    return FOREVER if body.until is None else body.until


def describe_pause(who: str, action: str, thing: str, name: str, until: float) -> Entry:
    """Return the line of the journal about a pause of a `thing` ("profile", "device")."""
    words = {"pause": "paused", "bedtime": "sent to bed", "resume": "resumed"}
    details: dict[str, str | int] = {thing: name}
    if 0 < until < FOREVER:
        details["until"] = int(until)
    return Entry(who, f"{name} {words[action]}", action, details)


def give_minutes(call: Call[BonusCall]) -> Done:
    """Give minutes on top for today. Raises ConfigError, ConflictError, RefusalError 404."""
    key, minutes, of = call.path["profile"], call.body.minutes, call.body.of
    name = find_profile(call.console.household(), key).name
    if of:
        try:
            check_group(call.console.catalogue, of)
        except TextError as error:
            raise ConfigError([Problem("of", str(error))]) from None
    details: dict[str, str | int] = {"profile": name, "minutes": minutes}
    if of:
        details["of"] = of
    entry = Entry(call.caller.who, f"{name} got {minutes} minutes{f' for {of}' if of else ''}", "bonus", details)
    return Done(
        call.console.edit(entry, lambda household: give_bonus(household, key, minutes, of, call.now), call.if_match)
    )


def let_profile_stay_up(call: Call[AwakeCall]) -> Done:
    """Lift the hours without internet for some minutes, of tonight only; `until` is the moment at which they go on.

    Raises ConfigError, ConflictError, RefusalError 404, 409 `paused`, and 409 `no-bedtime` when no such hours are there
    now or begin within these minutes.
    """
    key, minutes = call.path["profile"], call.body.minutes
    name = find_profile(call.console.household(), key).name
    details: dict[str, str | int] = {"profile": name, "minutes": minutes}
    left = minutes_left(call.console.policy(call.now), key, call.now)[0].left

    def change(household: model.Household) -> model.Household:
        if find_profile(household, key).paused_until > call.now:
            raise RefusalError(409, "paused", "the internet is paused: resume it first")
        household, until = let_stay_up(household, key, minutes, call.now)
        if not until:
            raise RefusalError(
                409, "no-bedtime", "no hours without internet are there now or begin within these minutes"
            )
        details["until"] = int(until)
        missing = _count_missing_minutes(minutes, (until - call.now) / 60, left) if call.body.bonus else 0
        if missing:
            details["bonus"] = missing
            household = give_bonus(household, key, missing, "", call.now)
        return household

    entry = Entry(call.caller.who, f"{name} may stay online {minutes} minutes longer", "awake", details)
    revision = call.console.edit(entry, change, call.if_match)
    return Done(revision, float(details["until"]))


def _count_missing_minutes(given: int, needed: float, left: float) -> int:
    """How many of the given minutes today's limits would not let be used; `left` may be FOREVER."""
    return 0 if left >= needed else min(math.ceil(needed - left), given)


def explain_site(call: Call[Question]) -> Answer:
    """Return what would happen to a site, also under rules that nobody has saved. Raises ConfigError, RefusalError 404.

    Nothing of it is kept.
    """
    key, body, console = call.path["profile"], call.body, call.console
    saved = find_profile(console.household(), key)
    try:
        name = read_site(body.name)
    except TextError as error:
        raise ConfigError([Problem("name", str(error))]) from None
    policy = console.policy(call.now)
    if body.draft is not None:
        if body.draft.id != key:
            raise ConfigError([Problem("draft.id", f"this is the profile '{key}'")])
        draft = read_profile(body.draft, console.catalogue, saved, "draft.")
        policy = console.draft_policy(replace_profile(console.household(), draft), call.now)
    at = call.now if body.at is None else body.at
    return _show_answer(name, explain(policy, posture_of_profile(policy, key, at), name, at))


def _show_answer(name: bytes, found: Explanation) -> Answer:
    decision = found.decision
    tags = [] if decision.reason is Reason.MANDATORY else [entry.tag.partition(":") for entry in found.matches]
    until = decision.until if decision.reason is Reason.PAUSE else found.change
    return Answer(
        name=show_site(name),
        pattern=format_name(name),
        action=decision.action.value,
        reason=decision.reason.value,
        of=_name_cause(decision),
        until=show_moment(until),
        sentence=found.sentence,
        services=[value for kind, _, value in tags if kind == "service"],
        categories=[value for kind, _, value in tags if kind == "category"],
    )


def _name_cause(decision: Decision) -> str:
    """What a decision is about, for programs: the part of its rule that has a name; "" where there is none."""
    cause = decision.rule.partition(":")[2]
    match decision.reason:
        case Reason.RULE:
            return cause.partition(" ")[2]  # block example.com
        case Reason.MINUTES:  # minutes:90 and minutes:week:600 are those of all use
            return "" if cause.isdigit() or cause.startswith("week:") else cause
        case Reason.CLOCK:
            return "" if cause == "unset" else cause
        case Reason.SCHEDULE | Reason.PAUSE | Reason.BYPASS | Reason.SERVICE | Reason.CATEGORY:
            return cause
        case _:
            return ""


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", "/profiles", "manage", "Make a profile", make_profile, Profile,
        body=NewProfile, status=201, errors=(409,),
    ),
    Endpoint(
        "PUT", "/profiles/{profile}", "manage", "Replace the rules of a profile", change_profile, Profile,
        body=Profile, errors=(409,),
    ),
    Endpoint("DELETE", "/profiles/{profile}", "manage", "Remove a profile", remove_profile, errors=(409,)),
    Endpoint(
        "POST", "/profiles/{profile}/pause", "control", "Pause, bedtime now, or resume", pause_profile, Done,
        body=PauseCall, errors=(409,),
    ),
    Endpoint(
        "POST", "/profiles/{profile}/bonus", "control", "Give minutes for today", give_minutes, Done,
        body=BonusCall, errors=(409,),
    ),
    Endpoint(
        "POST", "/profiles/{profile}/awake", "control", "Bedtime later, tonight only", let_profile_stay_up, Done,
        body=AwakeCall, errors=(409,),
    ),
    Endpoint(
        "POST", "/profiles/{profile}/explain", "read", "What would happen to a site", explain_site, Answer,
        body=Question,
    ),
)  # fmt: skip
