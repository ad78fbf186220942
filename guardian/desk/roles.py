"""Who signs what, as The Update Framework's roles: made from people's keys, changed, counted.

Nothing here reads or writes a file. Key ids are hashes of public keys, so metadata on the web names no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from guardian.errors import DeskError
from guardian.feed import bulk_role

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type
ONLINE = (SNAPSHOT, TIMESTAMP)
_RESERVED = frozenset({ROOT, TARGETS, SNAPSHOT, TIMESTAMP, "retired"})
HOUR = 3600.0
DAY = 24 * HOUR
LIFETIMES = {ROOT: 365 * DAY, TARGETS: 90 * DAY, SNAPSHOT: 7 * DAY, TIMESTAMP: 48 * HOUR}  # seconds
LIST_LIFETIME = 30 * DAY
BULK_LIFETIME = 365 * DAY
Kind = TypeVar("Kind", Root, Timestamp, Snapshot, Targets)


class Thresholds(NamedTuple):
    """How many people a signature takes."""

    root: int
    lists: int  # of `targets` and of every list
    bulk: int


FULL = Thresholds(3, 2, 1)
TRIAL = Thresholds(2, 2, 1)  # one table, three people: for trying it out


class Circle(NamedTuple):
    """The public keys (32 bytes, Ed25519) of those who sign."""

    root: frozenset[bytes]
    lists: frozenset[bytes]
    bulk: frozenset[bytes]
    snapshot: bytes
    timestamp: bytes


class Count(NamedTuple):
    """How far signing has come: who has signed, who could, how many it takes. Key ids."""

    signed: frozenset[str]
    possible: frozenset[str]
    needed: int

    @property
    def is_enough(self) -> bool:
        """Tell whether the threshold is met."""
        return len(self.signed) >= self.needed


def check_list_id(list_id: str) -> None:
    """Raise DeskError when a list's id would be taken for another role."""
    if list_id in _RESERVED or list_id.endswith("-bulk"):
        raise DeskError(f"a list can't be called {list_id}: roles of the feed are; take another id, like csam-md")


def lifetime_of(role: str) -> float:
    """Return for how many seconds a role's metadata hold."""
    return LIFETIMES.get(role) or (BULK_LIFETIME if role.endswith("-bulk") else LIST_LIFETIME)


def ends_at(role: str, now: float) -> datetime:
    """Return when metadata that are signed now end, in whole seconds as TUF has it."""
    return (datetime.fromtimestamp(int(now), UTC) + timedelta(seconds=lifetime_of(role))).replace(microsecond=0)


def make_key(public_key: bytes) -> SSlibKey:
    """Return TUF's form of a public Ed25519 key."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public_key))


def key_id(public_key: bytes) -> str:
    """Return the id by which metadata name a key."""
    return str(make_key(public_key).keyid)


def make_root(circle: Circle, thresholds: Thresholds, now: float, previous: Root | None = None) -> Root:
    """Return the next root, unsigned: version 1, or the one after `previous`.

    Raises DeskError when a role would have fewer keys than its threshold.
    """
    wanted = {
        ROOT: (circle.root, thresholds.root),
        TARGETS: (circle.lists, thresholds.lists),
        SNAPSHOT: ({circle.snapshot}, 1),
        TIMESTAMP: ({circle.timestamp}, 1),
    }
    keys: dict[str, Key] = {}
    roles: dict[str, Role] = {}
    for name, (public_keys, threshold) in wanted.items():
        _check_threshold(name, len(public_keys), threshold)
        made = sorted((make_key(key) for key in public_keys), key=lambda key: str(key.keyid))
        keys |= {key.keyid: key for key in made}
        roles[name] = Role([key.keyid for key in made], threshold)
    version = 1 if previous is None else previous.version + 1
    return Root(version=version, expires=ends_at(ROOT, now), keys=keys, roles=roles, consistent_snapshot=True)


def _check_threshold(role: str, keys: int, threshold: int) -> None:
    if keys < threshold:
        raise DeskError(f"{role}: {keys} people can't give {threshold} signatures; add somebody first (add-person)")


def has_same_keys(old: Root, new: Root) -> bool:
    """Tell whether two roots trust the same keys for the same roles with the same thresholds."""
    return {name: _describe(role) for name, role in old.roles.items()} == {
        name: _describe(role) for name, role in new.roles.items()
    }


def _describe(role: Role) -> tuple[frozenset[str], int]:
    return frozenset(role.keyids), role.threshold


def make_delegations(circle: Circle, thresholds: Thresholds, list_ids: Sequence[str]) -> Delegations:
    """Return who signs each list, and who agrees with a large change of it. Raises DeskError as `make_root` does."""
    keys: dict[str, Key] = {}
    roles: dict[str, DelegatedRole] = {}
    for list_id in list_ids:
        for name, public_keys, threshold, pattern in (
            (list_id, circle.lists, thresholds.lists, f"lists/{list_id}/*"),
            (bulk_role(list_id), circle.bulk, thresholds.bulk, f"bulk/{list_id}/*"),
        ):
            _check_threshold(name, len(public_keys), threshold)
            made = sorted((make_key(key) for key in public_keys), key=lambda key: str(key.keyid))
            keys |= {key.keyid: key for key in made}
            roles[name] = DelegatedRole(name, [key.keyid for key in made], threshold, terminating=True, paths=[pattern])
    return Delegations(keys=keys, roles=roles)


def same_delegations(old: Delegations | None, new: Delegations) -> bool:
    """Tell whether two sets of delegations trust the same keys for the same lists."""
    if old is None or old.roles is None or new.roles is None:
        return False
    return {name: _describe(role) for name, role in old.roles.items()} == {
        name: _describe(role) for name, role in new.roles.items()
    }


def sign_with(metadata: Metadata[Kind], key: Ed25519PrivateKey) -> str:
    """Add a signature to those that are there; return the id of its key."""
    return str(metadata.sign(CryptoSigner(key), append=True).keyid)


def count_signatures(delegator: Root | Targets, role: str, metadata: Metadata[Kind]) -> Count:
    """Return how far the signing of a role's metadata has come, by what `delegator` says of the role.

    Signatures of keys that the delegator does not trust for it count nothing.
    """
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return Count(frozenset(result.signed), frozenset(delegator.get_delegated_role(role).keyids), result.threshold)


def count_root_signatures(previous: Root | None, metadata: Metadata[Root]) -> tuple[Count, Count]:
    """Return how far a root is signed, by the root before it (itself for the first) and by itself."""
    by_old = count_signatures(previous or metadata.signed, ROOT, metadata)
    return by_old, count_signatures(metadata.signed, ROOT, metadata)


def next_targets(
    previous: Targets | None, role: str, version: int, now: float, delegations: Delegations | None = None
) -> Targets:
    """Return the next metadata of `targets`, a list or its bulk role: the same files, a new version and end."""
    return Targets(
        version=version,
        expires=ends_at(role, now),
        targets=deepcopy(previous.targets) if previous else {},
        delegations=delegations,
    )
