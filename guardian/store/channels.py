"""The channels that alerts and requests are delivered through, in console.db, and what was delivered.

An address holds passwords and tokens: it leaves this module only on its way to Apprise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from guardian.store.console import ConsoleStore

MOST_CHANNELS = 10
KEEP_DELIVERED_SECONDS = 100 * 86400.0


class StoredChannel(NamedTuple):
    """One channel. `repr` does not show the address: it must not get into a log."""

    id: int
    name: str
    address: str  # an Apprise URL, secret
    requests: bool
    alerts: bool
    last_error: str  # a word for programs, "" when the last delivery went well

    @property
    def service(self) -> str:
        """What kind it is: mailto, ntfy, tgram, matrix ..."""
        return self.address.partition("://")[0].lower()

    def __repr__(self) -> str:
        return f"StoredChannel({self.id}, {self.name!r}, {self.service}://...)"


def list_channels(store: ConsoleStore) -> list[StoredChannel]:
    """Return all channels in the order in which they were made. Raises ConfigError."""
    with store.reading() as connection:
        rows = connection.execute("SELECT id, name, address, requests, alerts, last_error FROM channels ORDER BY id")
        return [StoredChannel(i, name, address, bool(r), bool(a), error) for i, name, address, r, a, error in rows]


def add_channel(
    store: ConsoleStore,
    name: str,
    address: str,
    *,
    requests: bool,
    alerts: bool,
    known: Iterable[str] = (),
    now: float = 0.0,
) -> int | None:
    """Add a channel and return its id, None when there are too many. `known` is not delivered to it any more.

    Raises ConfigError.
    """
    with store.writing() as connection:
        (count,) = connection.execute("SELECT count(*) FROM channels").fetchone()
        if count >= MOST_CHANNELS:
            return None
        made = connection.execute(
            "INSERT INTO channels (name, address, requests, alerts) VALUES (?, ?, ?, ?)",
            (name, address, requests, alerts),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO delivered VALUES (?, ?)", [(_key(made.lastrowid, what), now) for what in known]
        )
        return made.lastrowid


def remove_channel(store: ConsoleStore, channel: int) -> bool:
    """Remove a channel and what was delivered to it; return whether there was one. Raises ConfigError."""
    with store.writing() as connection:
        # Its number may be given to another channel later.
        connection.execute(
            "DELETE FROM delivered WHERE substr(what, 1, ?) = ?", (len(_key(channel, "")), _key(channel, ""))
        )
        return connection.execute("DELETE FROM channels WHERE id = ?", (channel,)).rowcount > 0


def note_error(store: ConsoleStore, channel: int, error: str) -> None:
    """Note how the last delivery to a channel went: a word, "" for well. Raises ConfigError."""
    with store.writing() as connection:
        connection.execute(
            "UPDATE channels SET last_error = ? WHERE id = ? AND last_error != ?", (error, channel, error)
        )


def choose_undelivered(store: ConsoleStore, channel: int, whats: Iterable[str]) -> set[str]:
    """Return those of `whats` (ids of alerts and requests) that the channel has not got yet. Raises ConfigError."""
    wanted = {_key(channel, what): what for what in whats}
    with store.reading() as connection:
        for key in [*wanted]:
            if connection.execute("SELECT 1 FROM delivered WHERE what = ?", (key,)).fetchone():
                del wanted[key]
    return set(wanted.values())


def mark_delivered(store: ConsoleStore, channel: int, whats: Iterable[str], now: float) -> None:
    """Note what a channel has got (ids of alerts and requests); what is long past is forgotten. Raises ConfigError."""
    with store.writing() as connection:
        connection.execute("DELETE FROM delivered WHERE at < ?", (now - KEEP_DELIVERED_SECONDS,))
        # A channel that was removed meanwhile leaves nothing behind.
        if connection.execute("SELECT 1 FROM channels WHERE id = ?", (channel,)).fetchone():
            connection.executemany(
                "INSERT OR REPLACE INTO delivered VALUES (?, ?)", [(_key(channel, what), now) for what in whats]
            )


def _key(channel: int | None, what: str) -> str:
    return f"{channel}:{what}"
