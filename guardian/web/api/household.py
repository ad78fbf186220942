"""The household as a whole: what holds for all, the catalogue, the journal, backup and restore."""

from __future__ import annotations

from dataclasses import replace

from guardian.policy import model
from guardian.store.household import decode_household, encode_household
from guardian.store.settings import Entry, read_journal
from guardian.store.words import read_country, read_timezone
from guardian.web.convert import Problems, read_rules, show_household
from guardian.web.offers import show_catalogue
from guardian.web.routing import Call, Endpoint
from guardian.web.shapes.household import Catalogue, Change, Changes, Household, HouseholdChange, Page

YAML = "application/yaml"
BACKUP = "backup.yaml"  # as problems call the file that came in


def get_household(call: Call[None]) -> Household:
    """Return all that parents set."""
    home, revision = call.console.home()
    return show_household(home.household, revision)


def change_household(call: Call[HouseholdChange]) -> Household:
    """Change what holds for the whole home. Raises ConfigError, ConflictError."""
    details: dict[str, str | int] = {}
    home, revision = call.console.home()
    if _change(home.household, call.body) == home.household and call.if_match in (None, revision):
        return show_household(home.household, revision)

    def change(household: model.Household) -> model.Household:
        changed = _change(household, call.body)
        details["parts"] = " ".join(_list_changed(household, changed))
        return changed

    entry = Entry(call.caller.who, "settings of the home changed", "household-changed", details)
    call.console.edit(entry, change, call.if_match)
    return get_household(call)  # type: ignore[arg-type]  # it looks at the console only


def _change(household: model.Household, body: HouseholdChange) -> model.Household:
    problems = Problems()
    changed = household
    if body.timezone is not None:
        zone = problems.read(read_timezone, body.timezone, "timezone", household.tz)
        changed = replace(changed, timezone=body.timezone, tz=zone)
    if body.language is not None:
        changed = replace(changed, language=body.language)
    if body.country is not None:
        changed = replace(changed, country=problems.read(read_country, body.country, "country", ""))
    if body.new_devices is not None:
        known = [profile.id for profile in household.profiles]
        if body.new_devices and body.new_devices not in known:
            problems.unknown("profile", body.new_devices, known, "new_devices")
        changed = replace(changed, new_device_profile=body.new_devices)
    if body.rules is not None:
        changed = replace(changed, rules=read_rules(body.rules, problems))
    problems.finish()
    return changed


def _list_changed(before: model.Household, after: model.Household) -> list[str]:
    names = {"new_device_profile": "new_devices"}
    fields = ("timezone", "language", "country", "new_device_profile", "rules")
    return [names.get(each, each) for each in fields if getattr(before, each) != getattr(after, each)]


def get_catalogue(call: Call[None]) -> Catalogue:
    """Return what there is to choose from."""
    return show_catalogue(call.console.catalogue)


def list_changes(call: Call[None]) -> Changes:
    """Return lines of the journal, the newest first."""
    query: Page = call.query
    lines = read_journal(call.console.config.settings, query.limit, query.before)
    return Changes(
        [
            Change(line.id, line.at, line.entry.who, line.entry.kind, dict(line.entry.details), line.entry.what)
            for line in lines
        ]
    )


def get_backup(call: Call[None]) -> str:
    """Return the household as a YAML file."""
    return encode_household(call.console.household())


def restore_backup(call: Call[str]) -> Household:
    """Put a household file in force, in place of all that was set. Raises ConfigError with the lines that are wrong."""
    household = decode_household(call.body, BACKUP, call.console.catalogue)
    entry = Entry(call.caller.who, "household restored from a file", "restored")
    call.console.restore(entry, household, call.if_match)
    return get_household(call)  # type: ignore[arg-type]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/household", "read", "All that parents set", get_household, Household),
    Endpoint(
        "PATCH", "/household", "manage", "Change what holds for the whole home", change_household, Household,
        body=HouseholdChange, errors=(409,),
    ),
    Endpoint("GET", "/catalogue", "read", "What there is to choose from", get_catalogue, Catalogue),
    Endpoint("GET", "/changes", "read", "Who changed what", list_changes, Changes, query=Page),
    Endpoint("GET", "/backup", "read", "The household as a file", get_backup, str, media=YAML),
    Endpoint(
        "POST", "/restore", "manage", "Replace the household by a file", restore_backup, Household,
        body=str, body_media=YAML, errors=(409,),
    ),
)  # fmt: skip
