"""What of a desk ends when, and who has to do something about it."""

from __future__ import annotations

from typing import NamedTuple

from guardian.desk.repository import Repository
from guardian.desk.roles import DAY, HOUR, ONLINE, ROOT, TARGETS, lifetime_of

WARNING = 14 * DAY
_ONLINE_WARNING = 1 / 4  # of a lifetime: what a machine renews by itself is late when so little is left


class End(NamedTuple):
    """When a role's metadata end, in epoch seconds, in the build where they end first."""

    role: str
    version: int
    ends: float
    advice: str

    def left(self, now: float) -> float:
        """Return the seconds that are left, below zero when it has ended."""
        return self.ends - now

    def is_due(self, now: float) -> bool:
        """Tell whether somebody should do something now."""
        return self.left(now) < min(
            WARNING, lifetime_of(self.role) * (_ONLINE_WARNING if self.role in ONLINE else 1 / 2)
        )

    def say_left(self, now: float) -> str:
        """Return in words how long it still holds."""
        left = self.left(now)
        if left <= 0:
            return f"has ended {_say(-left)} ago"
        return f"ends in {_say(left)}"


def list_ends(repository: Repository) -> list[End]:
    """Return what ends when, the first first; empty before the first release."""
    root = repository.root()
    if root is None:
        return []
    found = {ROOT: End(ROOT, root.signed.version, root.signed.expires.timestamp(), _advise(ROOT))}
    for build in repository.builds():
        state = repository.state(build)
        for role, metadata in state.files() if state else ():
            end = End(role, metadata.signed.version, metadata.signed.expires.timestamp(), _advise(role))
            if role not in found or end.ends < found[role].ends:
                found[role] = end
    return sorted(found.values(), key=lambda end: end.ends)


def _advise(role: str) -> str:
    if role == ROOT:
        return "root renew --as NAME, then root sign --as NAME by the others"
    if role in ONLINE:
        return "refresh (cron should do it every six hours)"
    if role.endswith("-bulk"):
        return "publish --renew --as NAME, then sign --as NAME by one of the other people too"
    return "publish --as NAME" if role != TARGETS else "publish --renew --as NAME"


def _say(seconds: float) -> str:
    for unit, length in (("days", DAY), ("hours", HOUR), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
