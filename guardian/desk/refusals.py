"""What a desk does not list, and why: each refusal says which line, what, by which rule, and what to do instead.

Some refusals can be overridden for a day by two people (`can_override`). The others can't, because the entry could not
be carried out, or would do harm that no order is worth: an address is shared by strangers, a public suffix is a whole
registry, and a protected name (updates, helplines, emergency, banks) is never blocked by any router anyway.
"""

from __future__ import annotations

import enum
import io
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from publicsuffixlist import PSLFILE, PublicSuffixList

from guardian.catalogue import load_catalogue
from guardian.catalogue.load import DEVICE_NEEDS
from guardian.catalogue.place import find_data
from guardian.catalogue.shapes import Names, by_reader, read_names
from guardian.desk.entries import DAY, MOST_DAYS, NAME_SCOPES, Facts, Target, host_of
from guardian.errors import ConfigError, DeskError
from guardian.names import format_name
from guardian.typed_yaml import decode, read_text

SHARED_FILE = "shared_hosts.yaml"
MOST_CLASSES = 255  # of who blocks by which law; the format has one byte for it


class Refusal(NamedTuple):
    """One refused thing. `line` is its number in the file, 0 when there is no file."""

    line: int
    value: str
    rule: str  # a word for programs
    why: str
    advice: str
    can_override: bool = False

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{make_printable(self.value)}: {self.why} [{self.rule}]; {self.advice}"


class Tenants(enum.Enum):
    """How the people of a shared host are told apart: by the path, or by a name below it."""

    PATH = "path"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class SharedKind:
    """Shared hosts of one kind."""

    why: str
    tenants: Tenants
    names: Names = field(metadata=by_reader(read_names))


@dataclass(frozen=True, slots=True)
class SharedFile:
    """`blocklists/shared_hosts.yaml`."""

    shared_hosts: Mapping[str, SharedKind]


class Rules:
    """What is refused. Texts are names without a final dot, lower case."""

    def __init__(
        self,
        suffixes: str,
        shared: Mapping[str, SharedKind],
        protected: Iterable[str],
        exact: Iterable[str],
        unreachable: Iterable[str],
        is_popular: Callable[[str], bool],
    ) -> None:
        """`suffixes` is the text of a public suffix list; `unreachable` are names whose pages no router looks at."""
        self._all, self._registries = _parse_suffixes(suffixes)
        self._shared = {format_name(name): kind for kind in shared.values() for name in kind.names}
        self._protected = frozenset(protected)
        self._exact = frozenset(exact)
        self._unreachable = frozenset(unreachable)
        self._above = frozenset(above for name in (*self._protected, *self._exact) for above in _parents(name))
        self._is_popular = is_popular
        self._last = ("", "", "")

    def judge(self, target: Target, line: int = 0) -> list[Refusal]:
        """Return why a target is not listed: [] when it may be."""
        host = host_of(target.scope, target.value)
        if self._find_suffixes(host)[0] == host:
            why, advice = "a public suffix: a whole registry of names", "list the names below it one by one"
            return [Refusal(line, target.value, "public-suffix", why, advice)]
        if target.scope in NAME_SCOPES:
            return list(self._judge_name(target, line))
        if any(name in self._unreachable for name in _upwards(host)):
            why = "devices need this name, or people seek help there: routers never look into it"
            return [Refusal(line, target.value, "protected", why, "ask the owner to take the page down")]
        return []

    def is_shared(self, target: Target) -> bool:
        """Tell whether others have their pages on the same platform."""
        host = host_of(target.scope, target.value)
        return self._private_suffix(host) != "" or any(name in self._shared for name in _upwards(host))

    def _judge_name(self, target: Target, line: int) -> Iterator[Refusal]:
        name = target.value
        if (
            name in self._exact
            or any(parent in self._protected for parent in _upwards(name))
            or (target.scope == "domain" and name in self._above)
        ):
            yield Refusal(
                line, name, "protected", "a protected name, or one above it (updates, helplines, banks, ministries)",
                "routers never block it: list the page, or a name below it that stands alone",
            )  # fmt: skip
            return
        bare = name.removeprefix("www.")
        if self._is_popular(name) or self._is_popular(bare):
            yield Refusal(
                line, name, "popular", "a popular name: many people use it for other things",
                "list the page (scope url) or the host that is meant; else --override REASON, for 24 hours", True,
            )  # fmt: skip
        yield from self._judge_shared(target, line)

    def _judge_shared(self, target: Target, line: int) -> Iterator[Refusal]:
        name = target.value
        suffix = self._private_suffix(name)
        if suffix and target.scope == "domain":
            yield Refusal(
                line, name, "shared-host", f"below {suffix}, where each name has another owner",
                "use the scope host or url; else --override REASON, for 24 hours", True,
            )  # fmt: skip
            return
        for above in _upwards(name):
            kind = self._shared.get(above)
            if kind is None:
                continue
            is_own = kind.tenants is Tenants.NAME and name not in (above, f"www.{above}")
            if target.scope == "host" and is_own:
                return
            advice = "use the scope host or url" if is_own else "list the page (scope url)"
            yield Refusal(
                line, name, "shared-host", f"{above} is {kind.why}", f"{advice}; else --override REASON, for 24 hours",
                True,
            )  # fmt: skip
            return

    def _private_suffix(self, name: str) -> str:
        """The private suffix (github.io) that a name stands below, "" when it stands below a registry."""
        suffix, registry = self._find_suffixes(name)
        return suffix if suffix != registry else ""

    def _find_suffixes(self, name: str) -> tuple[str, str]:
        """The suffix of a name by all rules, and by those of registries. It is asked several times in a row."""
        if name != self._last[0]:
            self._last = (name, self._all.publicsuffix(name) or name, self._registries.publicsuffix(name) or name)
        return self._last[1:]


def judge_facts(facts: Facts, now: float, line: int = 0, value: str = "") -> list[Refusal]:
    """Return what is wrong with what is said of an entry: its end, its legal basis, who blocks."""
    found = []

    def refuse(rule: str, why: str, advice: str) -> None:
        found.append(Refusal(line, value or "all entries", rule, why, advice))

    if facts.expires <= now:
        refuse("expired", "its end has passed, or is not given", "verify it again and give --days")
    elif facts.expires > facts.verified + MOST_DAYS * DAY:
        refuse("too-long", f"it would stand for more than {MOST_DAYS} days unverified", "give fewer --days, then renew")
    if facts.verified > now + DAY:
        refuse("verified-later", "it would have been verified in the future", "give the day when somebody looked")
    if facts.legal_basis != "voluntary" and not facts.order_ref.strip():
        refuse(
            "no-legal-basis",
            f"'{facts.legal_basis}' without its law or order",
            "give --order-ref, such as 'Law 1/2024'",
        )
    if not all(text.strip() for text in (facts.authority.en, facts.authority.ro, facts.authority.ru)):
        refuse("no-authority", "nobody is named who blocks", "give --authority")
    return found


def judge_classes(connection: sqlite3.Connection, list_id: str, facts: Iterable[Facts]) -> list[Refusal]:
    """Return a refusal when a list would have more classes than the format holds."""
    from guardian.desk.entries import write_text

    columns = "severity, legal_basis, authority, order_ref, message, appeal"
    classes = set(
        connection.execute(
            f"SELECT DISTINCT {columns} FROM entries WHERE list_id = ? AND status <> 'removed'",  # noqa: S608
            (list_id,),
        )
    )
    classes |= {
        (it.severity, it.legal_basis, write_text(it.authority), it.order_ref, write_text(it.message), it.appeal)
        for it in facts
    }
    if len(classes) <= MOST_CLASSES:
        return []
    why = f"{list_id} would have {len(classes)} kinds of entries (severity, law, authority, order, message, appeal)"
    return [
        Refusal(
            0, "all entries", "classes", why, f"use at most {MOST_CLASSES}: --order-ref names the law, not the case"
        )
    ]


def load_rules(folder: str | os.PathLike[str], is_popular: Callable[[str], bool]) -> Rules:
    """Return the rules of the desk in a folder. Raises DeskError for a damaged file, with what is wrong."""
    return Rules(read_suffix_list(folder), *_load_names(), is_popular)


@cache
def _load_names() -> tuple[Mapping[str, SharedKind], list[str], list[str], list[str]]:
    """Shared hosts, protected names (with all below, alone), names whose pages are not looked at: from the package."""
    path = os.path.join(find_data(), SHARED_FILE)
    try:
        shared = decode(read_text(path), path, SharedFile).shared_hosts
        catalogue = load_catalogue()
    except ConfigError as error:
        raise DeskError(str(error)) from None
    unreachable = (*catalogue.tagged[DEVICE_NEEDS], *catalogue.tagged["helpline"])
    protected, exact = map(format_name, catalogue.protected), map(format_name, catalogue.protected_exact)
    return shared, list(protected), list(exact), list(map(format_name, unreachable))


@lru_cache(maxsize=2)
def _parse_suffixes(text: str) -> tuple[PublicSuffixList, PublicSuffixList]:
    """All rules, and those of registries alone."""
    try:
        return PublicSuffixList(io.StringIO(text)), PublicSuffixList(io.StringIO(text), only_icann=True)
    except (ValueError, UnicodeError) as error:
        raise DeskError(f"the list of public suffixes is damaged: {error}") from None


def read_suffix_list(folder: str | os.PathLike[str]) -> str:
    """Return the text of the public suffix list that the desk's bases are made of. Raises DeskError."""
    from guardian.desk.settings import FILE, load_settings

    path = Path(PSLFILE)
    if (Path(folder) / FILE).exists() and (given := load_settings(Path(folder)).suffixes):
        path = Path(folder) / given
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeskError(f"{path}: the public suffix list cannot be read: {error}") from None


def ask_popular(connection: sqlite3.Connection) -> Callable[[str], bool]:
    """Return whether a name is popular, or stands above a popular one, by the desk's table."""

    def is_popular(name: str) -> bool:
        return connection.execute("SELECT 1 FROM popular WHERE name = ?", (name,)).fetchone() is not None

    return is_popular


def make_printable(text: str) -> str:
    """Return a text of a file as a terminal may show it, at most 120 characters."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:120])
    return shown if len(text) <= 120 else shown + "..."


def _upwards(name: str) -> Iterator[str]:
    """Yield a name and all names above it, but not the top-level domain."""
    while "." in name:
        yield name
        name = name.partition(".")[2]


def _parents(name: str) -> Iterator[str]:
    return _upwards(name.partition(".")[2])
