"""Addresses that the resolver gave: to each strict device, which reaches no others ("DNS first"), and for some names.

An address is noted before the answer leaves, so that no connection can be quicker. Pure; times are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

GRACE_SECONDS = 3600.0  # apps go on with an address after its TTL
MAX_ADDRESSES = 4096  # of one key; the oldest go first

Key = TypeVar("Key", bound=Hashable)


class GivenAddresses(Generic[Key]):
    """Device id or wire name -> address -> until when it counts as given."""

    def __init__(self) -> None:
        self._given: dict[Key, dict[bytes, float]] = {}

    def note(self, key: Key, addresses: Iterable[bytes], ttl: int, now: float) -> None:
        """Count packed `addresses` as given for the TTL (seconds) and a grace after it."""
        given = self._given.setdefault(key, {})
        until = now + ttl + GRACE_SECONDS
        for address in addresses:
            before = given.pop(address, 0.0)
            given[address] = max(before, until)
        if len(given) > MAX_ADDRESSES:
            for address in list(given)[: MAX_ADDRESSES // 8]:
                del given[address]

    def knows(self, key: Key) -> bool:
        """Tell whether anything was ever given for a key."""
        return key in self._given

    def has(self, key: Key, address: bytes, now: float) -> bool:
        """Tell whether `address` was given. Use renews it: a long visit does not end for its age."""
        given = self._given.get(key)
        if given is None:
            return False
        until = given.get(address)
        if until is None or until <= now:
            return False
        if until < now + GRACE_SECONDS:
            given[address] = now + GRACE_SECONDS
        return True

    def keep(self, keys: Iterable[Key]) -> None:
        """Forget all keys but these."""
        wanted = set(keys)
        for key in [key for key in self._given if key not in wanted]:
            del self._given[key]

    def count(self) -> int:
        """Return how many addresses are noted."""
        return sum(len(given) for given in self._given.values())
