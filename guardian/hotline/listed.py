"""The hotline's lists as the gateway asks them: is this name listed, and by which class? Standard library only.

A look at a popular name ends at the known-good filter. For the rest the key of the registrable domain must be there:
it is slow to make (`guardian.hotline.settling`) and kept by a keyed hash. No name is kept anywhere here.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from guardian.blocklist.feed_base import Base, derive_key
from guardian.blocklist.tag_table import TagTable
from guardian.errors import ListError
from guardian.hotline.feed_state import Current
from guardian.names import ROOT, suffixes
from guardian.policy.model import UNSETTLED, NameLists

MAX_KEYS = 8192  # registrable domains; a home meets some thousands in a month
_PRINT_BYTES = 16

T = TypeVar("T")


class PageLists(NameLists, Protocol):
    """Lists of names and pages; `guardian.blocklist.image.Image` and `JoinedLists` satisfy it."""

    @property
    def created(self) -> float: ...
    @property
    def size(self) -> int: ...
    def lookup_url(self, name: bytes, path: bytes) -> int: ...


class GuardedNames:
    """The names that no list may ever block: those of the catalogue, and what stands above them."""

    __slots__ = ("_above", "_below")

    def __init__(self, below: Iterable[bytes], exact: Iterable[bytes]) -> None:
        """`below`: wire names with all below and above; `exact`: wire names with all above."""
        self._below = frozenset(below)
        self._above = frozenset(suffix for name in (*self._below, *exact) for suffix in suffixes(name))

    def holds(self, name: bytes) -> bool:
        """Tell whether a lower-case wire name is guarded."""
        return name in self._above or any(suffix in self._below for suffix in suffixes(name))

    def free_part(self, domain: bytes, name: bytes) -> bytes:
        """Return the shortest name from `domain` down to `name` that is not guarded; `name` itself must not be.

        Whatever is above a guarded name is guarded too, so an entry for one of those says nothing of `name`.
        """
        position = len(name) - len(domain)
        while name[position:] in self._above:
            position = _child_at(name, position)
        return name[position:]


def _child_at(name: bytes, parent: int) -> int:
    position = before = 0
    while position < parent:
        before = position
        position += 1 + name[position]
    return before


class Keys:
    """The keys of domains by a keyed hash of the domain, the least recently used first; bounded.

    They outlive updates of the lists, but not a new salt.
    """

    def __init__(self, most: int = MAX_KEYS) -> None:
        self._most = most
        self._salt = b""
        self._secret = secrets.token_bytes(_PRINT_BYTES)
        self._keys: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def use(self, salt: bytes) -> None:
        """Hold keys of this salt from now on; those of another are forgotten."""
        if salt != self._salt:
            self._keys.clear()
            self._secret = secrets.token_bytes(_PRINT_BYTES)
            self._salt = salt

    def find(self, domain: bytes) -> bytes | None:
        """Return the key of a key domain, if it is there."""
        mark = self._mark(domain)
        key = self._keys.pop(mark, None)
        if key is not None:
            self._keys[mark] = key  # now the most recently used
        return key

    def put(self, domain: bytes, salt: bytes, key: bytes) -> bool:
        """Keep a key. False, and nothing is kept, when the salt has changed since it was begun."""
        if salt != self._salt:
            return False
        mark = self._mark(domain)
        self._keys.pop(mark, None)
        self._keys[mark] = key
        if len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]
        return True

    def _mark(self, domain: bytes) -> bytes:
        return hashlib.blake2b(domain, digest_size=_PRINT_BYTES, key=self._secret).digest()


class ListedNames:
    """One consistent set: a base and the lists that belong to it. Masks count in `tags`."""

    def __init__(self, base: Base, tables: Iterable[TagTable], guarded: GuardedNames, keys: Keys) -> None:
        """Raises ListError for a list of another salt."""
        self.base = base
        self.tables = tuple(sorted(tables, key=lambda table: table.list_id))
        self._guarded = guarded
        self._keys = keys
        classes: dict[str, Mapping[str, Any]] = {}
        first_bits = []
        for table in self.tables:
            if table.salt_digest != base.salt_digest:
                raise ListError(f"the list {table.list_id} belongs to another base than the one that is here")
            first_bits.append(len(classes))
            for number, facts in enumerate(table.classes):
                classes[f"mandatory:{table.list_id}:{number}"] = facts
        self.classes: Mapping[str, Mapping[str, Any]] = classes  # by tag, as in `guardian.feed.TagClass`
        self.tags = tuple(classes)
        self._tables = tuple(zip(self.tables, first_bits, strict=True))

    def hold(self) -> None:
        """Put this set in force: keys of another salt are forgotten. Nothing is found before."""
        self._keys.use(self.base.salt)

    @property
    def edition(self) -> tuple[object, ...]:
        """What makes this set another than others."""
        lists = tuple((table.list_id, table.serial, table.created, table.entries) for table in self.tables)
        return (self.base.salt_digest, *lists)

    @property
    def key_count(self) -> int:
        """How many keys are kept."""
        return len(self._keys)

    def look(self, name: bytes) -> int | None:
        """Return the mask of the classes that block a lower-case wire name; None while its key is not there."""
        if self._guarded.holds(name):
            return 0
        domain = self._suspect(name)
        if domain is None:
            return 0
        key = self._keys.find(domain)
        if key is None:
            return None
        mask = 0
        for table, first_bit in self._tables:
            if not table.is_silent(key, domain):
                number = table.match_name(key, self._guarded.free_part(domain, name), name)
                if number is not None:
                    mask |= 1 << first_bit + number
        return mask

    def look_page(self, host: bytes, path: bytes) -> int:
        """Return the mask of the classes that block a page of plain HTTP; 0 while the key of its host is not there.

        Only entries of pages are looked at, so ask `look` for the host first.
        """
        domain = None if self._guarded.holds(host) else self._suspect(host)
        key = None if domain is None else self._keys.find(domain)
        if domain is None or key is None:
            return 0
        mask = 0
        for table, first_bit in self._tables:
            if not table.is_silent(key, domain):
                number = table.match_page(key, host, path)
                if number is not None:
                    mask |= 1 << first_bit + number
        return mask

    def missing(self, name: bytes) -> bytes | None:
        """Return the key domain whose key must be made before `look` can answer, None when nothing is missing."""
        domain = None if self._guarded.holds(name) else self._suspect(name)
        return domain if domain is not None and self._keys.find(domain) is None else None

    def learn(self, domain: bytes, salt: bytes, key: bytes) -> bool:
        """Keep a key that was made. Return whether something below the domain is listed."""
        if not self._keys.put(domain, salt, key):
            return False
        return any(not table.is_silent(key, domain) for table in self.tables)

    def settle_now(self, name: bytes) -> None:
        """Make what is missing for a name at once: for the command line, never on the way of a query."""
        self.hold()
        domain = self.missing(name)
        if domain is not None:
            self.learn(domain, self.base.salt, derive_key(domain, self.base.salt, self.base.cost))

    def _suspect(self, name: bytes) -> bytes | None:
        """The key domain of a name that may be listed: not of a public suffix, not of what is known to be good."""
        domain = None if name == ROOT else self.base.key_domain(name)
        return None if domain is None or self.base.is_known_good(domain) else domain


class JoinedLists:
    """The image's tags and behind them those of the hotline's lists; satisfies `guardian.policy.model.NameLists`."""

    def __init__(self, image: PageLists, listed: ListedNames) -> None:
        self.image = image
        self.listed = listed
        self._shift = len(image.tags)
        self._helpline = 1 << image.tags.index("helpline") if "helpline" in image.tags else 0
        self._tags = (*image.tags, *listed.tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; bit i of every mask stands for `tags[i]`."""
        return self._tags

    @property
    def created(self) -> float:
        """When the image was compiled, in epoch seconds."""
        return self.image.created

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.image.size

    @property
    def edition(self) -> tuple[object, ...]:
        """What makes the hotline's lists others than before."""
        return self.listed.edition

    def lookup(self, name: bytes) -> int:
        """Return the mask of the tags that hold for a wire name (lower case), with UNSETTLED while nobody knows."""
        mask = self.image.lookup(name)
        if mask & self._helpline:  # always reachable: nothing is looked for
            return mask
        found = self.listed.look(name)
        if found is None:
            return mask | UNSETTLED
        return mask | found << self._shift if found else mask

    def lookup_url(self, name: bytes, path: bytes) -> int:
        """Return the mask of the tags that hold for a page: the wire name of its host, its path with the query."""
        return self.image.lookup_url(name, path) | self.listed.look_page(name, path) << self._shift

    def matches(self, name: bytes) -> list[tuple[str, bytes]]:
        """Return (tag, listed wire name) for each tag that `lookup` sets; the hotline's entries are not told."""
        found = self.listed.look(name) or 0
        hidden = [(tag, ROOT) for bit, tag in enumerate(self.listed.tags) if found >> bit & 1]
        return [*self.image.matches(name), *hidden]

    def is_listed(self, name: bytes) -> bool:
        """Tell whether a name is known to be on a list of the hotline."""
        return bool(self.listed.look(name))


def open_listed(current: Current, wanted: Iterable[str], guarded: GuardedNames, keys: Keys) -> ListedNames:
    """Map the files in force. `wanted` are the ids of the lists that shall hold, none = all. Raises ListError."""
    chosen = set(wanted)
    base = _open(current.base, Base)
    tables = []
    for list_id, path in current.lists.items():
        if chosen and list_id not in chosen:
            continue
        table = _open(path, TagTable)
        if table.list_id != list_id:
            raise ListError(f"{path}: this is the list {table.list_id}, not {list_id}")
        tables.append(table)
    return ListedNames(base, tables, guarded, keys)


def _open(path: Path, read: Callable[[mmap.mmap], T]) -> T:
    """A file of the feed, mapped read-only: it is replaced by rename, never written to."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except ValueError:
        raise ListError(f"{path}: the file is empty") from None
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None
    try:
        return read(mapped)
    except ListError as error:
        raise ListError(f"{path}: {error}") from None
