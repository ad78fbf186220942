"""Alerts: what parents should know, grouped and ranked, each with one thing to do. docs/alerts.md says it for people.

`make_alerts` is pure. Apps and browsers try ways around a filter by themselves, so most of it is a reason to ask, not a
proof. What a profile shows is decided by the household as it is now: where only counts are shown no category is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from guardian.hotline.feed_health import LASTING_SECONDS, STALE_SECONDS
from guardian.hotline.feed_state import CLOCK, EXPIRED, NOT_SIGNED, OFFLINE, ROLLBACK, TOO_SLOW
from guardian.policy.model import Device, Household, Profile, Reason, Visibility
from guardian.policy.schedule import local_date, start_of_day
from guardian.store.history_read import BlockedCount
from guardian.store.history_record import HELPLINE_BLOCKED
from guardian.web.observed import UNREADABLE, Observed, observe, read_status
from guardian.web.shapes.activity import Alert, AlertAction, AlertKind

if TYPE_CHECKING:
    from guardian.web.console import Console

DAYS = 7  # that the home page and deliveries look at
AGAIN = 3  # an alert that was put away comes back when it has happened this many times as often
REPEATED = 3  # tries on one day from which on a way around the filter is no accident
LOOKUPS_A_TRY = 2  # a browser that is refused asks again
STALE_FETCHES = 3  # lists older than this many fetches are stale
MOST_STRANGERS = 10  # unnamed devices that get an alert each, of one kind on one day
_HOUR = 3600

NEW_DEVICE = "unknown-device"
_PLAIN_WAYS = frozenset({"vpn", "tor", "proxy", "doh"})  # somebody wants around the filter, when it goes on
_BY_THEMSELVES = frozenset({"canary", "ech", "relay", "unreadable"})  # browsers and phones do so unasked
_ONCE_BY_THEMSELVES = frozenset({"doh", "dot", "dns"})  # and so, now and then
# Closed for every child: what apps load by themselves says nothing about a person.
_NOISE = frozenset({"ads", "tracking", "shorteners", "redirectors", "search_unsafe"})
_GRAVE = frozenset(
    {
        "adult", "gambling", "dating", "drugs", "violence", "weapons", "self_harm", "hacking", "phishing", "malware",
        "cryptojacking", "stalkerware", "warez", "vpn", "doh",
    }
)  # fmt: skip

# What is wrong with the hotline's feed, by what a parent can do about it, and how urgent that is.
_FEED_CAUSES = {
    NOT_SIGNED: "refused", ROLLBACK: "refused", OFFLINE: "offline", TOO_SLOW: "offline", CLOCK: "clock",
}  # fmt: skip
_SOONER_THAN_DAYS = frozenset({NOT_SIGNED, ROLLBACK, EXPIRED, CLOCK})  # these do not pass by themselves

Priority = Literal["high", "normal", "low"]
_RANK: Mapping[str, int] = {"high": 0, "normal": 1, "low": 2}


class _Way(NamedTuple):
    """All that one device tried in one way on one day."""

    times: int
    lookups: int  # of `times`, those that DNS answered: they weigh less
    first: float
    last: float


_Ways = dict[tuple[str, str, str, str], _Way]  # by day, device, MAC of an unnamed one, kind


def current_alerts(console: Console, now: float, days: int = DAYS) -> list[Alert]:
    """Return the alerts of the last `days` local days that nobody has put away, by priority, the newest first.

    It is there also when the gateway or the history is not: then that is one of the alerts.
    """
    return list_alerts(console, read_status(console), now, days)


def list_alerts(console: Console, status: dict[str, Any] | None, now: float, days: int = DAYS) -> list[Alert]:
    """Return the same where the gateway was asked already: `status` is its answer, None when there was none."""
    household = console.household()
    seen = observe(console, household, status, days, now)
    made = make_alerts(household, seen, console.config.lists.fetch_hours, now)
    return without_dismissed(made, console.store.dismissed())


def without_dismissed(alerts: list[Alert], dismissed: Mapping[str, int]) -> list[Alert]:
    """Return the alerts that nobody has put away, or that have happened much more often since."""
    return [
        alert for alert in alerts if alert.id not in dismissed or alert.times >= AGAIN * max(dismissed[alert.id], 1)
    ]


def make_alerts(household: Household, seen: Observed, fetch_hours: int, now: float) -> list[Alert]:
    """Return all alerts, by priority, then the newest first. Lists are fetched every `fetch_hours` (0 = by hand)."""
    maker = _Maker(household, seen, now)
    found = [*maker.bypasses(), *maker.new_devices(), *maker.bursts(), *maker.helplines()]
    found += [*maker.machine(fetch_hours), *maker.feed(), *maker.software()]
    return sorted(found, key=lambda alert: (_RANK[alert.priority], -alert.last, alert.id))


class _Maker:
    """What alerts have in common: whose a device is, and what it is called."""

    def __init__(self, household: Household, seen: Observed, now: float) -> None:
        self._household = household
        self._seen = seen
        self._now = now
        self._devices = {device.id: device for device in household.devices}
        self._profiles = {profile.id: profile for profile in household.profiles}
        self._owners = {mac: device for device in household.devices for mac in device.macs}
        self._hosts = dict(seen.hosts)

    def bypasses(self) -> Iterator[Alert]:
        """Ways around the filter, by device, way and day."""
        for (day, device, mac, kind), way in _join_crowds(self._gather_ways()).items():
            profile = self._profile_of(device)
            priority = _rank_way(kind, way, profile)
            action = AlertAction("ask", kind)
            if not device and mac:
                action = AlertAction("name-device", mac)
            elif priority == "high" and profile is not None and not profile.strict and not profile.allow_list_only:
                action = AlertAction("be-strict", profile.id)
            yield self._make("bypass", priority, day, device, mac, kind, way, action)

    def _gather_ways(self) -> _Ways:
        found: _Ways = {}
        for attempt in self._seen.attempts:
            if attempt.kind in (NEW_DEVICE, HELPLINE_BLOCKED):
                continue
            owner = self._owners.get(attempt.mac)  # somebody has named it since
            device = owner.id if owner is not None else attempt.device
            if device and device not in self._devices:
                continue  # it is gone, and with it what it did
            key = (attempt.day, device, "" if device else attempt.mac, attempt.kind)
            _add(found, key, _Way(attempt.times, 0, attempt.first, attempt.last))
        for day, block in self._seen.blocks:
            if block.reason == Reason.BYPASS.value and self._shows_kinds(block.device):
                kind = block.tag.removeprefix("bypass:") or "other"
                _add(found, (day, block.device, "", kind), self._way_of(block))
        return found

    def new_devices(self) -> Iterator[Alert]:
        """Devices that nobody has named, one each; a crowd on one day is one alert."""
        found: _Ways = {}
        for attempt in self._seen.attempts:
            if attempt.kind == NEW_DEVICE and attempt.mac not in self._owners:
                way = _Way(attempt.times, 0, attempt.first, attempt.last)
                _add(found, (attempt.day, "", attempt.mac, attempt.kind), way)
        for (day, _, mac, _), way in _join_crowds(found).items():
            yield self._make("new-device", "normal", day, "", mac, "", way, AlertAction("name-device", mac))

    def bursts(self) -> Iterator[Alert]:
        """Many tries of one kind of sites by one device on one day."""
        for day, block in self._seen.blocks:
            category = block.tag.removeprefix("category:")
            if block.reason != Reason.CATEGORY.value or category in ("", block.tag) or category in _NOISE:
                continue
            profile = self._profile_of(block.device)
            if not self._shows_kinds(block.device) or profile is None:
                continue
            grave = category in _GRAVE
            action = AlertAction("ask", category) if grave else AlertAction("open-profile", profile.id)
            way = self._way_of(block)
            yield self._make("burst", "normal" if grave else "low", day, block.device, "", category, way, action)

    def helplines(self) -> Iterator[Alert]:
        """A helpline could not be reached: one alert a day for the home. Who looked for help, and when, is not told."""
        for day in sorted({attempt.day for attempt in self._seen.attempts if attempt.kind == HELPLINE_BLOCKED}):
            began = start_of_day(self._household.tz, date.fromisoformat(day))
            yield self._make(
                "helpline-blocked", "high", day, "", "", "", _Way(1, 0, began, began), AlertAction("check")
            )

    def machine(self, fetch_hours: int) -> Iterator[Alert]:
        """What is wrong with Guardian itself, one alert a day for as long as it is."""
        status, now = self._seen.status, self._now
        if self._seen.storage:
            priority: Priority = "high" if self._seen.storage == UNREADABLE else "normal"
            yield self._about("storage", priority, now, AlertAction("check"), self._seen.storage)
        if status is None:
            yield self._about("gateway-down", "high", now, AlertAction("check"))
            return
        history = status["history"]
        if self._seen.history_error or history["error"] or not history["running"]:
            since = float(history["written_at"]) or now
            yield self._about("history-off", "normal", since, AlertAction("check"))
        created = float(status["lists"]["created"])
        stale = created + STALE_FETCHES * fetch_hours * _HOUR
        error = status["lists"]["error"] or status["lists"]["addresses"]["error"]
        if error or (fetch_hours and now >= stale):
            yield self._about("lists-stale", "normal", min(created, now), AlertAction("update-lists"))

    def feed(self) -> Iterator[Alert]:
        """The hotline's feed is stale, or was refused look after look: one alert a day for as long as it is."""
        health = self._seen.feed
        if health is None:
            return
        status, now = self._seen.status, self._now
        started = float(status["started"]) if status is not None else now
        since = health.since or started  # nobody has ever looked
        is_stale = health.is_stale or (not health.since and now - since > STALE_SECONDS)
        if is_stale and not health.is_lasting:
            is_stale = now - started >= LASTING_SECONDS  # a box that was off for a week has yet to look
        if not is_stale and not (health.is_lasting and health.code in _SOONER_THAN_DAYS):
            return
        cause = _FEED_CAUSES.get(health.code, "behind")
        yield self._about("feed-stale", _rank_feed(cause), min(since, now), AlertAction("check"), cause)

    def software(self) -> Iterator[Alert]:
        """The box's software is behind what the hotline asks for: once for each version, on the page and not sent."""
        asked = self._seen.asked_version
        if asked:
            found = self._about("software-old", "low", self._now, AlertAction("check"), asked)
            yield replace(found, id=f"{found.kind}:{asked}")  # put away, it does not come back tomorrow

    def _about(
        self,
        kind: AlertKind,
        priority: Priority,
        since: float,
        action: AlertAction,
        of: str = "",
    ) -> Alert:
        today = local_date(self._household.tz, self._now).isoformat()
        return self._make(kind, priority, today, "", "", of, _Way(1, 0, since, self._now), action)

    def _make(
        self,
        kind: AlertKind,
        priority: Priority,
        day: str,
        device: str,
        mac: str,
        of: str,
        way: _Way,
        action: AlertAction,
    ) -> Alert:
        parts = (kind, day, device or mac, of)
        known = self._devices.get(device)
        profile = self._profile_of(device) if known is not None else None
        return Alert(
            id=":".join(part for part in parts if part),
            kind=kind,
            priority=priority,
            day=day,
            profile=profile.id if profile is not None else "",
            device=device,
            device_name=known.name if known is not None else self._hosts.get(mac, ""),
            mac=mac,
            of=of,
            times=way.times,
            first=way.first,
            last=way.last,
            action=action,
        )

    def _profile_of(self, device: str) -> Profile | None:
        """The profile of a device id; of one that nobody has named the one for new devices. None = none is set."""
        known: Device | None = self._devices.get(device)
        if known is None and device:
            return None
        return self._profiles.get(self._household.new_device_profile if known is None else known.profile)

    def _shows_kinds(self, device: str) -> bool:
        """Whether parents see kinds of sites of this device, by the profile as it is now."""
        profile = self._profile_of(device)
        return profile is not None and profile.visibility is not Visibility.COUNTS

    def _way_of(self, found: BlockedCount) -> _Way:
        """Counts are kept by the hour, so the moments are whole hours."""
        end = min((found.last_hour + 1) * _HOUR, self._now)
        return _Way(found.queries, found.queries, found.first_hour * _HOUR, max(end, found.first_hour * _HOUR))


def _join_crowds(ways: _Ways) -> _Ways:
    """Whoever makes up a MAC for each try gets one alert a day for all of them."""
    crowds = Counter((day, kind) for day, _, mac, kind in ways if mac)
    joined: _Ways = {}
    for (day, device, mac, kind), way in ways.items():
        _add(joined, (day, device, "" if crowds[day, kind] > MOST_STRANGERS else mac, kind), way)
    return joined


def _add(ways: _Ways, key: tuple[str, str, str, str], more: _Way) -> None:
    before = ways.get(key)
    if before is not None:
        more = _Way(
            before.times + more.times,
            before.lookups + more.lookups,
            min(before.first, more.first),
            max(before.last, more.last),
        )
    ways[key] = more


def _rank_feed(cause: str) -> Priority:
    """Somebody puts other files in the hotline's place: high. The home is not online: low, and it is known anyway."""
    return "high" if cause == "refused" else "low" if cause == "offline" else "normal"


def _rank_way(kind: str, way: _Way, profile: Profile | None) -> Priority:
    tries = way.times - way.lookups + -(-way.lookups // LOOKUPS_A_TRY)
    if kind in _BY_THEMSELVES or (kind in _ONCE_BY_THEMSELVES and tries < REPEATED):
        return "low"
    child = profile is not None and profile.filtered and bool(profile.age_band)
    return "high" if child and kind in _PLAIN_WAYS and tries >= REPEATED else "normal"
