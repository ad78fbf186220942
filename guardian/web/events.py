"""What is told to the open pages as it happens (server-sent events)."""

from __future__ import annotations


class Events:
    """Hands events to all who listen. `publish_*` may be called from any thread."""

    def publish_change(self, what: str) -> None:
        """Tell that something was changed: `household`, `requests`, `alerts`, `devices`; pages ask for it anew."""
