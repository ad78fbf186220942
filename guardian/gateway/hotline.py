"""The hotline's lists in this gateway: opened, joined with the image, settled, and told in numbers. Never in names.

Where no feed is configured nothing of it is imported, and the resolver and the flow filter work on the image alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from guardian.allocator import return_large_blocks
from guardian.blocklist.image import Image
from guardian.blockpage import LegalNotice
from guardian.config import Config
from guardian.errors import ListError
from guardian.policy.model import UNSETTLED, Decision
from guardian.resolver.cache import Cache, Entry
from guardian.resolver.listen import Settling
from guardian.wire import dns

if TYPE_CHECKING:
    from guardian.hotline.listed import GuardedNames, JoinedLists, Keys, ListedNames
    from guardian.hotline.settling import Settler

log = logging.getLogger(__name__)

MAX_LEADS = 256  # names whose answers led to a listed one, for the block page
SWEPT_AT_ONCE = 100  # entries of the answer cache, between two turns of the event loop
SWEEP_PAUSE = 0.02  # seconds


class Opened(NamedTuple):
    """What was found on disk: the lists, or why they are not in force."""

    listed: ListedNames | None
    error: str = ""


class HotlineLists:
    """The feed of one gateway. `open` reads files, in any thread; all else belongs to the event loop's."""

    def __init__(self, cache: Cache, judge_again: Callable[[], None]) -> None:
        """`judge_again()` is called when a name turns out to be listed to which flows may run already."""
        self.listed: ListedNames | None = None
        self.error = ""
        self._cache = cache
        self._judge_again = judge_again
        self._keys: Keys | None = None
        self._guarded: GuardedNames | None = None
        self._joined: JoinedLists | None = None
        self._settler: Settler | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._secret = secrets.token_bytes(16)
        self._leads: dict[bytes, tuple[Decision, int]] = {}  # by keyed hash of the name

    def open(self, config: Config) -> Opened:
        """Return the lists in force on disk. Raises nothing: what cannot be used leaves those before in force."""
        if not config.hotline.url:
            return Opened(None)
        from guardian.catalogue import load_protected
        from guardian.hotline.feed_state import feed_folder, read_current
        from guardian.hotline.listed import GuardedNames, Keys, open_listed

        return_large_blocks()
        if self._guarded is None:
            self._guarded = GuardedNames(*load_protected())
        if self._keys is None:
            self._keys = Keys()
        try:
            current = read_current(feed_folder(config.state))
            if current is None:
                return Opened(None)
            return Opened(open_listed(current, config.hotline.lists, self._guarded, self._keys))
        except ListError as error:
            return Opened(self.listed, str(error))

    def use(self, opened: Opened) -> bool:
        """Put lists in force. Return whether they are others than before."""
        if opened.error:
            kept = "lists-before" if opened.listed is not None else "none"
            log.error("event=hotline-lists-refused error=%r using=%s", opened.error, kept)
        self.error = opened.error
        before, self.listed = self.listed, opened.listed
        self._joined = None
        listed = self.listed
        if listed is None:
            self._leads.clear()
            return before is not None
        listed.hold()
        if self._settler is None:
            from guardian.hotline.settling import Settler

            self._settler = Settler(listed, self._on_listed)
        else:
            self._settler.use(listed)
        if before is not None and before.edition == listed.edition:
            return False
        self._leads.clear()
        log.info(
            "event=hotline-lists-in-force epoch=%s %s",
            listed.base.epoch,
            " ".join(f"{table.list_id}={table.serial}" for table in listed.tables),
        )
        return True

    async def close(self) -> None:
        """End what is under way."""
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.gather(self._sweep, return_exceptions=True)
        if self._settler is not None:
            await self._settler.close()

    # What others ask with

    def join(self, image: Image) -> Image | JoinedLists:
        """Return the image and the feed as one; the image itself where there is no feed."""
        if self.listed is None:
            return image
        if self._joined is None or self._joined.image is not image:
            from guardian.hotline.listed import JoinedLists

            self._joined = JoinedLists(image, self.listed)
        return self._joined

    @property
    def settling(self) -> Settling | None:
        """What the listeners need while there is a feed."""
        return None if self.listed is None else Settling(self._settle, self._keep)

    @property
    def errors(self) -> Mapping[str, int]:
        """The Extended DNS Error of each class, by the rule of its decisions: an order of the law, or an agreement."""
        classes = {} if self.listed is None else self.listed.classes
        return {
            tag: dns.EDE_BLOCKED if facts["legal_basis"] == "voluntary" else dns.EDE_CENSORED
            for tag, facts in classes.items()
        }

    @property
    def notices(self) -> Mapping[str, LegalNotice]:
        """What the block page says of each class, by the rule of its decisions."""
        classes = {} if self.listed is None else self.listed.classes
        return {
            tag: LegalNotice(
                facts["authority"], facts["order_ref"], facts["appeal"], facts["legal_basis"], facts["message"] or {}
            )
            for tag, facts in classes.items()
        }

    def settle_flow(self, name: bytes, asker: bytes) -> None:
        """Begin to settle a name that a flow shows; `asker` is b"" when no packet waits."""
        if asker:
            self._settle((name,), asker, lambda is_settled: None)
        elif self._settler is not None:
            self._settler.settle_later(name)

    async def settle(self, name: bytes, asker: bytes) -> None:
        """Return when a wire name is settled, or cannot be in time."""
        if self._joined is None or not self._joined.lookup(name) & UNSETTLED:
            return
        over = asyncio.Event()
        self._settle((name,), asker, lambda is_settled: over.set())
        await over.wait()

    def _settle(self, names: tuple[bytes, ...], asker: bytes, done: Callable[[bool], None]) -> None:
        if self._settler is None or self.listed is None:
            done(True)
        else:
            self._settler.settle(names, asker, done)

    # What must not be kept

    def may_keep(self, entry: Entry) -> bool:
        """Tell whether the answer cache may hold an entry: all its names are settled, and none is listed."""
        joined = self._joined
        if joined is None:
            return True
        look = joined.listed.look
        return all(look(name) == 0 for name in (entry.name, *entry.revealed))

    def _keep(self, entry: Entry) -> None:
        if not entry.is_failure and entry.lifetime > 0 and self.may_keep(entry):
            self._cache.put(entry)

    def _on_listed(self, domain: bytes) -> None:
        self._cache.flush_leading(domain)
        self._judge_again()

    def sweep(self) -> None:
        """Take what is listed now out of the answer cache, a little at a time. Call it after `use` said True."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep = asyncio.get_running_loop().create_task(self._sweep_cache())

    async def _sweep_cache(self) -> None:
        entries = list(self._cache)
        for start in range(0, len(entries), SWEPT_AT_ONCE):
            if self._joined is not None:
                look = self._joined.listed.look
                for entry in entries[start : start + SWEPT_AT_ONCE]:
                    if any(look(name) for name in (entry.name, *entry.revealed)):
                        self._cache.drop(entry)
            await asyncio.sleep(SWEEP_PAUSE)

    # What the block page wants to know

    def note_lead(self, name: bytes, decision: Decision, second: int) -> None:
        """Note that a name's answer led to a listed one, until a second of the monotonic clock. No name is kept."""
        if self.listed is None:
            return
        if len(self._leads) >= MAX_LEADS:
            self._leads.clear()
        self._leads[self._mark(name)] = decision, second

    def find_lead(self, name: bytes) -> Decision | None:
        """Return the decision about what a name's last answer led to, while that answer holds."""
        decision, second = self._leads.get(self._mark(name), (None, 0))
        return decision if time.monotonic() < second else None

    def _mark(self, name: bytes) -> bytes:
        return hashlib.blake2b(name, digest_size=16, key=self._secret).digest()

    def status(self) -> dict[str, Any]:
        """Return the feed's part of `guardian status`: numbers only."""
        listed, settler = self.listed, self._settler
        if listed is None:
            return {"enabled": False, "error": self.error}
        assert settler is not None
        lists = [
            {"id": table.list_id, "serial": table.serial, "entries": table.entries, "created": table.created}
            for table in listed.tables
        ]
        return {
            "enabled": True,
            "error": self.error,
            "epoch": listed.base.epoch,
            "entries": sum(table.entries for table in listed.tables),
            "lists": lists,
            "hashes": settler.hashes,
            "waiting": settler.waiting,
            "refused": settler.refused,
            "late": settler.late,
            "keys": listed.key_count,
        }
