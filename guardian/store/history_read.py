"""What the console and the status ask of the history. Read-only; opened for a question and closed again.

`since` and `until` are whole hours since the epoch (until is not included); `device` is a device id, None for all.
"""

from __future__ import annotations

# ruff: noqa: S608 - the queries are put together from constants of this file; all values are bound parameters
import json
import socket
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, Self

from guardian.devices import Sighting
from guardian.errors import GuardianError
from guardian.store.history_file import open_read_only

END_OF_TIME = 2**40
_BLOCK = "block"


class HistoryError(GuardianError):
    """The history cannot be read now: not there yet, busy, or broken."""


class Totals(NamedTuple):
    """Counts of queries."""

    allowed: int
    blocked: int


class HourTotals(NamedTuple):
    hour: int
    allowed: int
    blocked: int


class DeviceTotals(NamedTuple):
    device: str
    allowed: int
    blocked: int


class CategoryCount(NamedTuple):
    tag: str  # category:gambling, service:tiktok, ...; "" for none
    action: str
    reason: str
    queries: int


class NameCount(NamedTuple):
    device: str
    name: str
    reason: str
    tag: str
    queries: int
    last_seen: int  # epoch seconds


class Visit(NamedTuple):
    """What one device asked of one name within one hour."""

    device: str
    name: str
    action: str
    reason: str
    tag: str
    queries: int
    first_seen: int  # epoch seconds
    last_seen: int


class KindCount(NamedTuple):
    """How often one thing was decided."""

    action: str
    reason: str
    tag: str
    queries: int


class Tries(NamedTuple):
    """What some devices tried in some hours: by hour (those that have any, in order), and by kind."""

    hours: list[HourTotals]
    kinds: list[KindCount]


class BlockedCount(NamedTuple):
    """How often a device was stopped by one tag in some hours."""

    device: str
    reason: str
    tag: str
    queries: int
    first_hour: int  # since the epoch
    last_hour: int


class DayCount(NamedTuple):
    day: str  # 2026-11-21, local
    queries: int


class Attempt(NamedTuple):
    """All attempts of one device to get around the filter in one way, on one local day."""

    day: str  # 2026-11-21
    device: str  # "" for a device that nobody has named
    mac: str  # of an unnamed device, where it is known; else ""
    kind: str  # doh, vpn, unknown-device, ...
    times: int
    first: int  # epoch seconds
    last: int


class UsedMinutes(NamedTuple):
    day: str  # 2026-11-21, local
    profile: str
    of: str  # "" for all, a service id, or group:NAME
    minutes: float


class DeviceMinutes(NamedTuple):
    day: str
    device: str
    service: str  # "" for all
    minutes: float


_TOTALS = """
    coalesce(sum(CASE action WHEN 'block' THEN 0 ELSE count END), 0),
    coalesce(sum(CASE action WHEN 'block' THEN count ELSE 0 END), 0)
"""
_WHERE = "WHERE hour >= :since AND hour < :until AND (:device IS NULL OR device = :device)"


class HistoryReader:
    """Questions to history.db. Use it as a context manager. Every method raises HistoryError when it cannot be read."""

    def __init__(self, path: str) -> None:
        """Open the file. Raises HistoryError."""
        try:
            self._connection = open_read_only(path)
        except sqlite3.Error as error:
            raise HistoryError(f"{path}: {error}") from None
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._connection.close()

    def totals(self, since: int = 0, until: int = END_OF_TIME, device: str | None = None) -> Totals:
        """Return how many queries were allowed (rewritten ones too) and blocked. Mandatory hits are not among them."""
        (row,) = self._ask(f"SELECT {_TOTALS} FROM hours {_WHERE}", since, until, device)
        return Totals(*row)

    def by_hour(self, since: int = 0, until: int = END_OF_TIME, device: str | None = None) -> list[HourTotals]:
        """Return the totals of each hour that has any, in order."""
        rows = self._ask(
            f"SELECT hour, {_TOTALS} FROM hours {_WHERE} GROUP BY hour ORDER BY hour", since, until, device
        )
        return [HourTotals(*row) for row in rows]

    def by_device(self, since: int = 0, until: int = END_OF_TIME) -> list[DeviceTotals]:
        """Return the totals of each device, the busiest first; "" stands for devices nobody has named."""
        rows = self._ask(
            f"SELECT device, {_TOTALS} FROM hours {_WHERE} GROUP BY device ORDER BY sum(count) DESC, device",
            since,
            until,
            None,
        )
        return [DeviceTotals(*row) for row in rows]

    def by_category(self, since: int = 0, until: int = END_OF_TIME, device: str | None = None) -> list[CategoryCount]:
        """Return the counts of each tag, action and reason, the highest first."""
        rows = self._ask(
            f"SELECT tag, action, reason, sum(count) FROM hours {_WHERE} "
            "GROUP BY tag, action, reason ORDER BY sum(count) DESC, tag, action, reason",
            since,
            until,
            device,
        )
        return [CategoryCount(*row) for row in rows]

    def top_names(
        self,
        action: str = "block",
        since: int = 0,
        until: int = END_OF_TIME,
        device: str | None = None,
        limit: int = 20,
    ) -> list[NameCount]:
        """Return the names asked for most, per device, the most frequent first; of profiles that show names."""
        rows = self._ask(
            f"SELECT device, name, reason, tag, sum(count), max(last_seen) FROM visits {_WHERE} AND action = :action "
            "GROUP BY device, name, reason, tag ORDER BY sum(count) DESC, max(last_seen) DESC, name LIMIT :limit",
            since,
            until,
            device,
            action=action,
            limit=limit,
        )
        return [NameCount(*row) for row in rows]

    def last_tries(
        self,
        action: str = "block",
        since: int = 0,
        until: int = END_OF_TIME,
        device: str | None = None,
        limit: int = 50,
    ) -> list[Visit]:
        """Return what was asked last, the newest first; of profiles that show names."""
        rows = self._ask(
            "SELECT device, name, action, reason, tag, count, first_seen, last_seen "
            f"FROM visits {_WHERE} AND action = :action ORDER BY last_seen DESC, name LIMIT :limit",
            since,
            until,
            device,
            action=action,
            limit=limit,
        )
        return [Visit(*row) for row in rows]

    def tries(self, devices: Sequence[str], since: int = 0, until: int = END_OF_TIME) -> Tries:
        """Return what these device ids tried together, read in one go: half a million rows take 50 ms."""
        # The view would join each row: here the rows come as numbers, and the few kinds are put in afterwards.
        rows = self._ask(
            "SELECT hour, hourly.kind, count FROM hourly WHERE hour >= :since AND hour < :until "
            "AND +hourly.kind IN (SELECT id FROM kind WHERE device IN (SELECT value FROM json_each(:devices)))",
            since,
            until,
            devices=json.dumps(devices),
        )
        kinds = {row[0]: row[1:] for row in self._ask("SELECT id, action, reason, tag FROM kind")}
        hours: dict[int, list[int]] = {}
        counts: dict[int, int] = {}
        for hour, kind, count in rows:
            if kind in kinds:  # else it was erased between the two questions
                pair = hours.setdefault(hour, [0, 0])
                pair[kinds[kind][0] == _BLOCK] += count
                counts[kind] = counts.get(kind, 0) + count
        by_kind: dict[tuple[str, str, str], int] = {}
        for kind, count in counts.items():
            by_kind[kinds[kind]] = by_kind.get(kinds[kind], 0) + count
        return Tries(
            [HourTotals(hour, *pair) for hour, pair in sorted(hours.items())],
            [KindCount(*kind, count) for kind, count in sorted(by_kind.items(), key=lambda item: (-item[1], item[0]))],
        )

    def blocked_names(
        self, devices: Sequence[str], since: int = 0, until: int = END_OF_TIME, limit: int = 100
    ) -> list[NameCount]:
        """Return the blocked names that these device ids asked for most; of profiles that show names."""
        rows = self._ask(
            "SELECT kind.device, name.name, kind.reason, kind.tag, found.times, found.last FROM ("
            "  SELECT visit.kind AS kind, visit.name AS name, sum(count) AS times, max(hour * 3600 + last) AS last"
            "  FROM visit WHERE hour >= :since AND hour < :until AND +visit.kind IN ("
            "    SELECT id FROM kind WHERE action = 'block' AND device IN (SELECT value FROM json_each(:devices)))"
            "  GROUP BY visit.kind, visit.name ORDER BY times DESC, last DESC LIMIT :limit"
            ") AS found JOIN kind ON kind.id = found.kind JOIN name ON name.id = found.name "
            "ORDER BY found.times DESC, found.last DESC, name.name",
            since,
            until,
            devices=json.dumps(devices),
            limit=limit,
        )
        return [NameCount(*row) for row in rows]

    def blocked_by_tag(
        self, reasons: Sequence[str], since: int = 0, until: int = END_OF_TIME, least: int = 1
    ) -> list[BlockedCount]:
        """Return how often each device was stopped by each tag for one of the reasons, from `least` times on."""
        rows = self._ask(
            "SELECT device, reason, tag, times, first, last FROM ("
            "  SELECT hourly.kind AS kind, sum(count) AS times, min(hour) AS first, max(hour) AS last FROM hourly"
            "  WHERE hour >= :since AND hour < :until AND +hourly.kind IN ("
            "    SELECT id FROM kind WHERE action = 'block' AND reason IN (SELECT value FROM json_each(:reasons)))"
            "  GROUP BY hourly.kind HAVING times >= :least"
            ") AS found JOIN kind ON kind.id = found.kind ORDER BY times DESC, device, tag",
            since,
            until,
            reasons=json.dumps(reasons),
            least=least,
        )
        return [BlockedCount(*row) for row in rows]

    def mandatory_days(self, since_day: str = "") -> list[DayCount]:
        """Return the home's count of mandatory blocks for each day (ISO date) that has any, in order."""
        rows = self._ask("SELECT day, count FROM mandatory WHERE day >= :day ORDER BY day", day=since_day)
        return [DayCount(*row) for row in rows]

    def attempts(self, since: int = 0, until: int = END_OF_TIME, device: str | None = None) -> list[Attempt]:
        """Return the grouped attempts with any in those hours, the newest first; counts are of their whole days."""
        rows = self._ask(
            "SELECT day, device, mac, kind, count, first, last FROM attempt WHERE last >= :since * 3600 "
            "AND first < :until * 3600 AND (:device IS NULL OR device = :device) "
            "ORDER BY last DESC, device, mac, kind",
            since,
            until,
            device,
        )
        return [Attempt(*row) for row in rows]

    def used_minutes(self, since_day: str = "") -> list[UsedMinutes]:
        """Return the minutes that profiles used on each local day (ISO date) from `since_day` on, in order."""
        rows = self._ask(
            "SELECT day, profile, part, minutes FROM used WHERE day >= :day ORDER BY day, profile, part", day=since_day
        )
        return [UsedMinutes(*row) for row in rows]

    def profile_minutes(self, profile: str, since_day: str = "") -> list[UsedMinutes]:
        """Return the minutes that one profile used on each local day (ISO date) from `since_day` on, in order."""
        rows = self._ask(
            "SELECT day, profile, part, minutes FROM used WHERE day >= :day AND profile = :profile ORDER BY day, part",
            day=since_day,
            profile=profile,
        )
        return [UsedMinutes(*row) for row in rows]

    def known_ids(self) -> frozenset[str]:
        """Return the ids of all devices and profiles of which anything is kept, those that are gone too."""
        rows = self._ask(
            "SELECT device FROM kind UNION SELECT device FROM attempt UNION SELECT device FROM used_by_device "
            "UNION SELECT profile FROM used"
        )
        return frozenset(key for (key,) in rows if key)

    def device_minutes(self, day: str) -> list[DeviceMinutes]:
        """Return the minutes of each device on one local day (ISO date), in all and by service as far as it is kept."""
        rows = self._ask(
            "SELECT day, device, service, minutes FROM used_by_device WHERE day = :day ORDER BY device, service",
            day=day,
        )
        return [DeviceMinutes(*row) for row in rows]

    def known_devices(self) -> tuple[Sighting, ...]:
        """Return the devices ever seen, the longest unseen first, as `KnownDevices` takes them."""
        rows = self._ask("SELECT mac, first_seen, last_seen, addresses, hostname FROM sighting ORDER BY last_seen, mac")
        return tuple(
            Sighting(bytes.fromhex(mac.replace(":", "")), first, last, _pack_addresses(addresses), hostname)
            for mac, first, last, addresses, hostname in rows
        )

    def oldest_hour(self) -> int | None:
        """Return the first hour of which anything is kept, or None."""
        (row,) = self._ask("SELECT min(hour) FROM hourly")
        return row[0]  # type: ignore[no-any-return]

    def _ask(
        self,
        query: str,
        since: int = 0,
        until: int = END_OF_TIME,
        device: str | None = None,
        **more: str | int,
    ) -> list[tuple]:  # type: ignore[type-arg]
        parameters = {"since": since, "until": until, "device": device, **more}
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"{self.path}: {error}") from None


def _pack_addresses(text: str) -> tuple[bytes, ...]:
    return tuple(
        socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in text.split()
    )
