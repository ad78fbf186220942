"""A new root of trust on its way: `DIR/pending/root.json`, signed by people on different days.

It takes the old root's threshold and the new one's. Routers go from version 1 to the newest, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import Metadata, Root

from guardian.desk.books import Person
from guardian.desk.journal import Signer
from guardian.desk.online import load_public
from guardian.desk.repository import Repository, read_metadata, write_file
from guardian.desk.roles import (
    FULL,
    ONLINE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Circle,
    Count,
    Thresholds,
    count_root_signatures,
    has_same_keys,
    key_id,
    make_root,
    sign_with,
)
from guardian.errors import DeskError


class RootChange(NamedTuple):
    """The next root, and how far it is signed by the root before it and by itself."""

    metadata: Metadata[Root]
    by_old: Count
    by_new: Count

    @property
    def is_signed(self) -> bool:
        """Tell whether routers would believe it."""
        return self.by_old.is_enough and self.by_new.is_enough


def make_circle(folder: Path, people: Mapping[str, Person]) -> Circle:
    """Return who signs, by the desk's people and online keys. Who has left signs nothing."""
    keys = {
        role: frozenset(
            person.public_key for person in people.values() if role in person.roles and person.until is None
        )
        for role in ("root", "list", "bulk")
    }
    online = load_public(folder)
    return Circle(keys["root"], keys["list"], keys["bulk"], online[SNAPSHOT], online[TIMESTAMP])


def thresholds_of(root: Root | None, bulk: int = FULL.bulk) -> Thresholds:
    """Return the thresholds that a root has set; they change with a new desk only."""
    if root is None:
        return FULL
    return Thresholds(root.roles[ROOT].threshold, root.roles[TARGETS].threshold, bulk)


def load_change(repository: Repository) -> RootChange | None:
    """Return the root that waits for signatures or for its release, None when none does."""
    path = _place(repository)
    if not path.exists():
        return None
    metadata: Metadata[Root] = read_metadata(Root, path)
    current = repository.root()
    if current is not None and metadata.signed.version != current.signed.version + 1:
        path.unlink()  # it has been released, or is older: what is left of a killed command
        return None
    return RootChange(metadata, *count_root_signatures(current.signed if current else None, metadata))


def propose_root(
    repository: Repository, circle: Circle, thresholds: Thresholds, now: float, *, renew: bool = False
) -> RootChange | None:
    """Prepare the next root when people or online keys have changed, or to renew it; None when nothing is to change.

    One that waits and says the same is left, with its signatures. Raises DeskError when too few people are left.
    """
    current = repository.root()
    waiting = load_change(repository)
    root = make_root(circle, thresholds, now, current.signed if current else None)
    if waiting and has_same_keys(waiting.metadata.signed, root):
        return waiting
    if current and has_same_keys(current.signed, root) and not renew:
        _place(repository).unlink(missing_ok=True)  # what was changed is as before
        return None
    return save_change(repository, Metadata(root))


def sign_root(repository: Repository, signer: Signer) -> RootChange:
    """Add a person's signature to the root that waits. Raises DeskError when none waits or the key is not asked."""
    waiting = load_change(repository)
    if waiting is None:
        raise DeskError("no new root of trust waits for signatures; 'root renew', 'rotate' or 'revoke' begin one")
    mine = key_id(signer.key.public_key().public_bytes_raw())
    if mine not in waiting.by_old.possible | waiting.by_new.possible:
        raise DeskError(f"the key of {signer.name} is not one of those that sign the root of trust")
    sign_with(waiting.metadata, signer.key)
    return save_change(repository, waiting.metadata)


def save_change(repository: Repository, metadata: Metadata[Root]) -> RootChange:
    """Write the root that waits, and return how far it is signed."""
    write_file(_place(repository), metadata.to_bytes())
    current = repository.root()
    return RootChange(metadata, *count_root_signatures(current.signed if current else None, metadata))


def drop_change(repository: Repository) -> None:
    """Forget the root that waited: it is released."""
    _place(repository).unlink(missing_ok=True)


def describe_change(old: Root | None, new: Root, names: dict[str, str]) -> list[str]:
    """Return in plain words what a new root changes. `names` is key id -> person."""
    lines = []
    words = {ROOT: "the root of trust", TARGETS: "the feed and its lists", SNAPSHOT: "snapshot", TIMESTAMP: "timestamp"}
    for role, what in words.items():
        before = set(old.roles[role].keyids) if old else set()
        after = set(new.roles[role].keyids)
        unknown = "the machine" if role in ONLINE else "somebody who has left"
        for keys, verb in (
            (before - after, "may not sign for {} any more"),
            (after - before, "signs for {} from now on"),
        ):
            lines += [f"{names.get(key, unknown)} (key {key[:8]}) {verb.format(what)}" for key in sorted(keys)]
    return lines or ["the same keys, a new end: it holds for another year"]


def _place(repository: Repository) -> Path:
    return repository.folder / "pending" / "root.json"
