"""From what a feed offers to the files in force: deltas or the whole, checked as docs/feed.md says; one rename ends it.

Nothing here knows where bytes come from: `Targets` gives files whose signatures were verified. They may still be wrong,
old, or more than people agreed to.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from guardian.blocklist.feed_base import Base
from guardian.blocklist.tag_delta import apply_delta, count_growth
from guardian.blocklist.tag_table import TagTable
from guardian.errors import ListError
from guardian.feed import BulkConsent, Delta, Feed, ListedFile, ListIndex
from guardian.hotline.feed_state import DAMAGED, GROWTH, ROLLBACK, FeedError, ListState, read_current, write_current
from guardian.store.images import replace_file

log = logging.getLogger(__name__)

DAY = 86400.0
MOST_DAYS = 30.0  # of growth for which a box may make up that was off
LEAST_GROWTH = 500
_OURS = re.compile(r"[a-z0-9.-]+\.(?:base|tags)|\.[a-z0-9.-]+\.(?:base|tags|json)\.new")


class Targets(Protocol):
    """Where verified files come from."""

    def get(self, file: ListedFile) -> bytes:
        """Return a file. Raises ListError, as FeedError where there is a code."""

    def find_consent(self, list_id: str, serial: int) -> BulkConsent | None:
        """Return the consent to a large change, None where there is none. Raises FeedError."""


class Moment(NamedTuple):
    """When, and under which version of the root of trust."""

    now: float
    root_version: int


@dataclass(frozen=True, slots=True)
class Installed:
    """What is in force after an install; `changed` tells whether that is anything new."""

    lists: Mapping[str, ListState]
    epoch: str
    changed: bool


class _Held(NamedTuple):
    """A file in force; `data` is mapped."""

    name: str
    data: mmap.mmap
    sha256: str


class _Next(NamedTuple):
    """What a list will be: `data` is None where its file stays."""

    name: str
    data: bytes | None
    state: ListState


class Installer:
    """One install into a feed's folder; the folder has one writer."""

    def __init__(self, folder: Path, targets: Targets, moment: Moment) -> None:
        self._folder = folder
        self._targets = targets
        self._moment = moment

    def install(
        self, feed: Feed, offers: Mapping[str, ListIndex | FeedError], before: Mapping[str, ListState]
    ) -> Installed:
        """Bring the lists that are offered into force, each for itself; lists that are not offered go.

        A list that fails stays as it is, and its state says why. With a new salt all lists in force change, or none.
        Raises FeedError when the base can't be had, OSError when the disk does not take it; then all stays.
        """
        base_held, held = self._open_held()
        base_name, base_data = self._fetch_base(feed, base_held)
        base = Base(base_data if base_data is not None else base_held.data)  # type: ignore[union-attr]
        if base.epoch != feed.epoch:
            raise FeedError(DAMAGED, f"the base is of epoch {base.epoch}, the feed of {feed.epoch}")
        made: dict[str, _Next] = {}
        failed: dict[str, FeedError] = {}
        for list_id, offer in offers.items():
            try:
                made[list_id] = self._settle(list_id, offer, base, held.get(list_id), before.get(list_id))
            except ListError as error:
                failed[list_id] = error if isinstance(error, FeedError) else FeedError(DAMAGED, str(error))
                log.warning("event=list_kept list=%s code=%s", list_id, failed[list_id].code)
        kept = {list_id: held[list_id] for list_id in failed if list_id in held}
        if strangers := {key for key, item in kept.items() if TagTable(item.data).salt_digest != base.salt_digest}:
            if base_held:
                return self._stay(base_held, held, offers, failed, before)
            kept = {key: item for key, item in kept.items() if key not in strangers}  # of no use without their base
        names = {list_id: item.name for list_id, item in made.items()} | {key: item.name for key, item in kept.items()}
        files = {item.name: item.data for item in made.values() if item.data is not None}
        if base_data is not None:
            files[base_name] = base_data
        changed = self._put_in_force(base_name, names, files)
        states = {list_id: item.state for list_id, item in made.items()}
        states |= {key: _tell(self._recall(key, held.get(key), before), error) for key, error in failed.items()}
        return Installed(states, feed.epoch, changed)

    def _open_held(self) -> tuple[_Held | None, dict[str, _Held]]:
        """Return base and lists in force, without those that are damaged: they are fetched anew."""
        try:
            current = read_current(self._folder)
        except ListError as error:
            log.warning("event=current_ignored why=%s", error)
            return None, {}
        if current is None:
            return None, {}
        base = _hold(current.base, Base)
        lists = {list_id: _hold(path, TagTable) for list_id, path in current.lists.items()}
        return base, {list_id: item for list_id, item in lists.items() if item}

    def _fetch_base(self, feed: Feed, held: _Held | None) -> tuple[str, bytes | None]:
        """Return the base's file name, and its bytes where it is not the one in force."""
        found = re.fullmatch(rf"base/({re.escape(feed.epoch)}-[0-9]{{1,10}})\.base", feed.base.path)
        if not found:
            raise FeedError(DAMAGED, f"feed.json: '{feed.base.path[:80]}' is no base of epoch {feed.epoch}")
        name = f"{found[1]}.{feed.base.sha256[:8]}.base"
        if held and held.sha256 == feed.base.sha256:
            return held.name, None
        return name, self._targets.get(feed.base)

    def _settle(
        self, list_id: str, offer: ListIndex | FeedError, base: Base, held: _Held | None, before: ListState | None
    ) -> _Next:
        """Return what a list will be. Raises ListError when it must stay what it is."""
        if isinstance(offer, FeedError):
            raise offer
        known = self._recall(list_id, held, {list_id: before} if before else {})
        if offer.serial < known.serial and known.root_version >= self._moment.root_version:
            raise FeedError(ROLLBACK, f"serial {offer.serial} is older than {known.serial}, which is in force")
        if held and held.sha256 == offer.whole.sha256:
            _check(TagTable(held.data), offer, base)
            return _Next(held.name, None, replace(known, code="", error=""))
        data = self._fetch(offer, held)
        table = TagTable(data)
        _check(table, offer, base)
        grown = self._check_growth(offer, table, TagTable(held.data) if held else None, known)
        state = ListState(
            serial=offer.serial,
            entries=table.entries,
            size=len(data),
            created=table.created,
            installed=self._moment.now,
            root_version=self._moment.root_version,
            grown=grown,
            grown_at=self._date(table, known),
        )
        return _Next(f"{list_id}-{offer.serial}.{offer.whole.sha256[:8]}.tags", data, state)

    def _recall(self, list_id: str, held: _Held | None, before: Mapping[str, ListState]) -> ListState:
        """Return what is known of a list in force: its file says what it is, the state since when."""
        known = before.get(list_id, ListState())
        if held is None:
            return known
        table = TagTable(held.data)
        if known.serial == table.serial and known.entries == table.entries:
            return known
        # The power went between the two files, or the state is lost.
        modified = (self._folder / held.name).stat().st_mtime
        return replace(
            known,
            serial=max(table.serial, known.serial),
            entries=table.entries,
            size=len(held.data),
            created=table.created,
            installed=min(modified, self._moment.now),
            root_version=self._moment.root_version,
            grown_at=self._date(table, known),
        )

    def _fetch(self, offer: ListIndex, held: _Held | None) -> bytes:
        """Return the list that is offered, by deltas where they are there and smaller."""
        if offer.whole.path != f"lists/{offer.list_id}/{offer.serial}.tags":
            raise FeedError(DAMAGED, f"index.json: '{offer.whole.path[:80]}' is no state of the list")
        if held:
            chain = find_chain(offer.deltas, TagTable(held.data).serial, offer.serial)
            if chain and sum(delta.file.size for delta in chain) < offer.whole.size:
                try:
                    return self._apply(chain, offer, held)
                except ListError as error:
                    log.warning("event=delta_failed list=%s why=%s", offer.list_id, error)
        data = self._targets.get(offer.whole)
        _check_digest(data, offer.whole)
        return data

    def _apply(self, chain: Sequence[Delta], offer: ListIndex, held: _Held) -> bytes:
        data: bytes | mmap.mmap = held.data
        for delta in chain:
            if delta.file.path != f"lists/{offer.list_id}/{delta.start}-{delta.end}.delta":
                raise FeedError(DAMAGED, f"index.json: '{delta.file.path[:80]}' is no delta of the list")
            data = apply_delta(data, self._targets.get(delta.file))
        made = bytes(data)
        _check_digest(made, offer.whole)
        return made

    def _date(self, table: TagTable, known: ListState) -> float:
        """Return the time of a list by which growth is measured: when it was signed, but never later than now or back.

        So all boxes come to the same result as the desk, however late they look; and who signs can't stretch a day.
        """
        return max(known.grown_at, min(table.created, self._moment.now))

    def _check_growth(self, offer: ListIndex, new: TagTable, old: TagTable | None, known: ListState) -> float:
        """Return how much of the list's growth still counts next time. Raises FeedError when it is too much."""
        if old is None:
            return 0.0
        daily = growth_limit(old.entries)
        days = (self._date(new, known) - known.grown_at) / DAY
        counted = max(0.0, known.grown - daily * days)
        allowed = daily * min(max(1.0, days), MOST_DAYS) - counted
        # With a new salt nobody can tell which entries are new: all are, or two people could change the whole list so.
        growth = new.entries if old.salt_digest != new.salt_digest else new.entries - old.entries
        if growth <= allowed and old.salt_digest == new.salt_digest:
            growth = count_growth(old, new)  # bounded by the line before: a flood may be 64 MB
        if growth > allowed:
            consent = self._targets.find_consent(offer.list_id, offer.serial)
            wanted = (offer.list_id, offer.serial, offer.whole.sha256)
            if consent is None or (consent.list_id, consent.serial, consent.sha256) != wanted:
                text = f"{growth} entries were added where {int(allowed)} may be, and nobody else agreed to that"
                raise FeedError(GROWTH, text)
            log.warning("event=bulk_accepted list=%s serial=%d added=%d", offer.list_id, offer.serial, growth)
            return 0.0
        return counted + max(0, growth)

    def _stay(
        self,
        base: _Held,
        held: Mapping[str, _Held],
        offers: Mapping[str, ListIndex | FeedError],
        failed: Mapping[str, FeedError],
        before: Mapping[str, ListState],
    ) -> Installed:
        """A list that can't come along to a new salt would no longer be enforced: all stay."""
        first = next(list_id for list_id in failed if list_id in held)
        why = FeedError(failed[first].code, f"there is a new salt, and list {first} can't come along: {failed[first]}")
        states = {
            list_id: _tell(self._recall(list_id, held.get(list_id), before), failed.get(list_id, why))
            for list_id in offers
        }
        return Installed(states, Base(base.data).epoch, False)

    def _put_in_force(self, base: str, names: Mapping[str, str], files: Mapping[str, bytes]) -> bool:
        """Write the new files, then the one that names them; return whether anything changed."""
        try:
            current = read_current(self._folder)
        except ListError:
            current = None  # told by _open_held
        wanted = (base, dict(names))
        in_force = (current.base.name, {key: file.name for key, file in current.lists.items()}) if current else None
        if wanted == in_force and not files:
            return False
        for file_name, data in files.items():
            replace_file(self._folder / file_name, [data], partial(_check_written, hashlib.sha256(data).digest()))
        write_current(self._folder, base, names)
        return True


def clean_folder(folder: Path) -> None:
    """Remove files of lists that are no longer in force, and what a killed update left.

    Called before an update, so that whoever read `current.json` a moment ago finds its files. Raises OSError.
    """
    try:
        current = read_current(folder)
    except ListError as error:
        log.warning("event=not_cleaned why=%s", error)  # what can't be read may be mended by hand
        return
    keep = {current.base.name, *(path.name for path in current.lists.values())} if current else set()
    for name in os.listdir(folder):
        if _OURS.fullmatch(name) and name not in keep:
            (folder / name).unlink()


def growth_limit(entries: int) -> int:
    """Return by how many entries a list of this size may grow in a day without the consent of others."""
    return max(LEAST_GROWTH, entries // 10)


def find_chain(deltas: Sequence[Delta], start: int, end: int) -> list[Delta]:
    """Return the deltas from one serial to another with the fewest bytes, [] where there is no way."""
    best: dict[int, tuple[int, list[Delta]]] = {start: (0, [])}
    for delta in sorted(deltas, key=lambda item: (item.start, item.end)):
        if delta.start not in best or delta.end <= delta.start or delta.end > end:
            continue
        size = best[delta.start][0] + delta.file.size
        if delta.end not in best or size < best[delta.end][0]:
            best[delta.end] = (size, [*best[delta.start][1], delta])
    return best[end][1] if end in best else []


def _hold(path: Path, shape: type[Base] | type[TagTable]) -> _Held | None:
    """Map a file in force; None, and told, when it is damaged."""
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        shape(data)
    except (OSError, ValueError, ListError) as error:
        log.warning("event=file_damaged file=%s why=%s", path.name, error)
        return None
    return _Held(path.name, data, hashlib.sha256(data).hexdigest())


def _check(table: TagTable, offer: ListIndex, base: Base) -> None:
    """Check that a list is what its index says, and belongs to the base. Raises FeedError."""
    for what, found, wanted in (
        ("list", table.list_id, offer.list_id),
        ("serial", table.serial, offer.serial),
        ("number of entries", table.entries, offer.entries),
        ("epoch", table.epoch, offer.epoch),
        ("epoch", offer.epoch, base.epoch),
        ("salt", table.salt_digest, base.salt_digest),
    ):
        if found != wanted:
            raise FeedError(DAMAGED, f"the list is not what was announced: its {what} is {found} instead of {wanted}")


def _check_digest(data: bytes, file: ListedFile) -> None:
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise FeedError(DAMAGED, f"{file.path} is not the file that the index means")


def _check_written(digest: bytes, path: Path) -> None:
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise OSError(None, "what was written does not come back: the disk is failing")


def _tell(state: ListState, error: FeedError) -> ListState:
    return replace(state, code=error.code, error=str(error))
