"""Home page, activity, alerts, status."""

from __future__ import annotations

from datetime import date

from guardian.home import is_open_household
from guardian.policy.model import Visibility
from guardian.policy.schedule import local_date, start_of_day
from guardian.store.requests import count_open
from guardian.web.access import Whose
from guardian.web.activity import last_days, make_activity
from guardian.web.alerts import DAYS, current_alerts, list_alerts
from guardian.web.cards import list_cards
from guardian.web.changes import find_profile
from guardian.web.events import READ
from guardian.web.observed import find_presence, make_state, read_blocked_today, read_status, read_tries
from guardian.web.routing import Call, Endpoint
from guardian.web.shapes.activity import MOST_ALERTS, Activity, Alert, Alerts, DismissCall, GatewayState, Home, Span
from guardian.web.sightings import list_seen, sort_devices
from guardian.web.tags import name_tags, tag_of, tag_of_alert

FIRST_ALERTS = 3  # on the home page
MOST_SITES = 100
MOST_DAYS = 90


def show_home(call: Call[None]) -> Home:
    """Return the home page: a card for each profile, the first alerts, what waits for an answer."""
    console, now = call.console, call.now
    home, revision = console.home()
    status = read_status(console)
    devices = sort_devices(home.household, revision, list_seen(console), Whose(), call.caller.address)
    alerts = list_alerts(console, status, now)
    set_up = not is_open_household(home.household)
    presence, blocked = find_presence(devices), read_blocked_today(console, now)
    cards = list_cards(console.policy(now), presence, blocked, now) if set_up else []
    named = [tag_of(each.of) for card in cards for each in card.allowances]
    named += [tag_of_alert(alert.of) for alert in alerts[:FIRST_ALERTS]]
    return Home(
        now=now,
        timezone=home.household.timezone,
        revision=revision,
        set_up=set_up,
        gateway=make_state(console, status, now),
        cards=cards,
        alerts=alerts[:FIRST_ALERTS],
        more_alerts=max(0, len(alerts) - FIRST_ALERTS),
        open_requests=count_open(console.store, now),
        unnamed_devices=len(devices.unnamed),
        names=name_tags(home.catalogue, named),
    )


def show_activity(call: Call[None]) -> Activity:
    """Return use and tries of a profile over the last days; nothing finer than the profile shows."""
    console = call.console
    household = console.household()
    profile = find_profile(household, call.path["profile"])
    days = last_days(local_date(household.tz, call.now), call.query.days)
    since = int(start_of_day(household.tz, days[0]) // 3600)
    devices = [device.id for device in household.devices if device.profile == profile.id]
    with console.history() as history:
        tries = read_tries(history, console.settled, household.tz, devices, days, call.now)
        names = profile.visibility is Visibility.NAMES
        sites = history.blocked_names(devices, since, limit=MOST_SITES) if names else []
        used = history.profile_minutes(profile.id, days[0].isoformat())
    policy = console.policy(call.now)
    return make_activity(policy, profile, days, tries, sites, used, console.config.filter.enabled)


def show_alerts(call: Call[None]) -> Alerts:
    """Return the alerts of the last days that nobody has put away, the first of them where there are very many."""
    return _show(current_alerts(call.console, call.now, call.query.days))


def dismiss_alerts(call: Call[DismissCall]) -> Alerts:
    """Put alerts away, or take that back, and return what is left of the last week. Unknown ids are passed over.

    An alert names sites and devices: who may control but not read gets none.
    """
    console, now = call.console, call.now
    chosen = frozenset(call.body.ids)
    if call.body.undo:
        console.store.take_back(chosen)
    else:
        days = _days_back(chosen, local_date(console.household().tz, now))
        known = {alert.id: alert.times for alert in current_alerts(console, now, days) if alert.id in chosen}
        console.store.dismiss(known, now)
    console.events.publish_change("alerts")
    return _show(current_alerts(console, now) if READ in call.caller.scopes else [])


def show_status(call: Call[None]) -> GatewayState:
    """Return whether the home is protected."""
    return make_state(call.console, read_status(call.console), call.now)


def _show(alerts: list[Alert]) -> Alerts:
    return Alerts(alerts[:MOST_ALERTS], max(0, len(alerts) - MOST_ALERTS))


def _days_back(ids: frozenset[str], today: date) -> int:
    """How many days must be looked at for alerts of these ids, which tell their days."""
    farthest = DAYS
    for alert in ids:
        try:
            day = date.fromisoformat(alert.partition(":")[2][:10])
        except ValueError:
            continue  # no id of ours: there is no such alert
        farthest = max(farthest, (today - day).days + 1)
    return min(farthest, MOST_DAYS)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/home", "read", "The home page", show_home, result=Home),
    Endpoint(
        "GET", "/profiles/{profile}/activity", "read", "Use and blocked tries of a profile", show_activity,
        result=Activity, query=Span,
    ),
    Endpoint("GET", "/alerts", "read", "Alerts", show_alerts, result=Alerts, query=Span),
    Endpoint(
        "POST", "/alerts/dismiss", "control", "Put alerts away, or not", dismiss_alerts, result=Alerts, body=DismissCall
    ),
    Endpoint("GET", "/status", "status", "Whether the home is protected", show_status, result=GatewayState),
)  # fmt: skip
