"""What a desk is at a moment: people, lists, proposals, entries; in its tables, or in memory to verify a journal."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple, Protocol

import msgspec

from guardian.desk.entries import INSERT, SELECT, Entry, RowReader, make_key, make_row
from guardian.feed import Text

_MINIMUM = "minimum_version"  # in the table `options`


class Person(NamedTuple):
    """Who works at the desk. `until` is when that ended, None while it holds; times are epoch seconds."""

    name: str
    roles: frozenset[str]
    public_key: bytes  # Ed25519
    since: int = 0
    until: int | None = None

    @property
    def fingerprint(self) -> str:
        """What two people compare by phone: the public key's first 16 hex digits in fours."""
        digits = self.public_key.hex()[:16]
        return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


class Proposal(NamedTuple):
    """A change that waits for a second person, or was decided."""

    id: int
    kind: str
    list_id: str
    author: str
    at: int
    why: str
    body: str  # hash
    changes: int
    override: str
    status: str = "open"
    decided_by: str = ""
    decided_at: int = 0
    decided_why: str = ""


class Book(Protocol):
    """The state that lines change."""

    def person(self, name: str) -> Person | None: ...
    def has_key(self, public_key: bytes) -> bool: ...
    def put_person(self, person: Person) -> None: ...
    def has_list(self, list_id: str) -> bool: ...
    def put_list(self, list_id: str, title: Text) -> None: ...
    def proposal(self, id_: int) -> Proposal | None: ...
    def last_proposal(self) -> int: ...
    def put_proposal(self, proposal: Proposal) -> None: ...
    def entry(self, id_: int) -> Entry | None: ...
    def last_entry(self) -> int: ...
    def has_target(self, list_id: str, key: str) -> bool: ...
    def put_entry(self, entry: Entry) -> None: ...
    def minimum(self) -> str: ...
    def put_minimum(self, version: str) -> None: ...


class MemoryBook:
    """A book that begins empty: what a journal comes to."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.keys: set[bytes] = set()
        self.lists: dict[str, Text] = {}
        self.proposals: dict[int, Proposal] = {}
        self.entries: dict[int, Entry] = {}
        self._minimum = ""
        self._targets: set[tuple[str, str]] = set()

    def person(self, name: str) -> Person | None:
        return self.people.get(name)

    def has_key(self, public_key: bytes) -> bool:
        return public_key in self.keys

    def put_person(self, person: Person) -> None:
        self.people[person.name] = person
        self.keys.add(person.public_key)

    def has_list(self, list_id: str) -> bool:
        return list_id in self.lists

    def put_list(self, list_id: str, title: Text) -> None:
        self.lists[list_id] = title

    def proposal(self, id_: int) -> Proposal | None:
        return self.proposals.get(id_)

    def last_proposal(self) -> int:
        return len(self.proposals)

    def put_proposal(self, proposal: Proposal) -> None:
        self.proposals[proposal.id] = proposal

    def entry(self, id_: int) -> Entry | None:
        return self.entries.get(id_)

    def last_entry(self) -> int:
        return len(self.entries)

    def has_target(self, list_id: str, key: str) -> bool:
        return (list_id, key) in self._targets

    def put_entry(self, entry: Entry) -> None:
        self.entries[entry.id] = entry
        target = (entry.list_id, make_key(entry.scope, entry.value))
        if entry.status == "removed":
            self._targets.discard(target)
        else:
            self._targets.add(target)

    def minimum(self) -> str:
        return self._minimum

    def put_minimum(self, version: str) -> None:
        self._minimum = version


class TableBook:
    """The tables of a desk, within a transaction of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows = RowReader()

    def _ask(self, question: str, *values: Any) -> Any:
        return self._connection.execute(question, values).fetchone()

    def person(self, name: str) -> Person | None:
        row = self._ask("SELECT name, roles, public_key, since, until FROM people WHERE name = ?", name)
        return read_person(row) if row else None

    def has_key(self, public_key: bytes) -> bool:
        return self._ask("SELECT 1 FROM used_keys WHERE public_key = ?", public_key) is not None

    def put_person(self, person: Person) -> None:
        self._connection.execute("INSERT OR IGNORE INTO used_keys VALUES (?)", (person.public_key,))
        self._connection.execute("INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?, ?)", make_person_row(person))

    def has_list(self, list_id: str) -> bool:
        return self._ask("SELECT 1 FROM lists WHERE id = ?", list_id) is not None

    def put_list(self, list_id: str, title: Text) -> None:
        self._connection.execute(
            "INSERT INTO lists VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET title = excluded.title",
            (list_id, msgspec.json.encode(title).decode()),
        )

    def proposal(self, id_: int) -> Proposal | None:
        row = self._ask("SELECT * FROM proposals WHERE id = ?", id_)
        return Proposal(*row) if row else None

    def last_proposal(self) -> int:
        return int(self._ask("SELECT coalesce(max(id), 0) FROM proposals")[0])

    def put_proposal(self, proposal: Proposal) -> None:
        places = ", ".join("?" * len(proposal))
        self._connection.execute(f"INSERT OR REPLACE INTO proposals VALUES ({places})", proposal)  # noqa: S608

    def entry(self, id_: int) -> Entry | None:
        row = self._ask(f"{SELECT} WHERE id = ?", id_)
        return self._rows.read(row) if row else None

    def last_entry(self) -> int:
        return int(self._ask("SELECT coalesce(max(id), 0) FROM entries")[0])

    def has_target(self, list_id: str, key: str) -> bool:
        question = "SELECT 1 FROM entries WHERE list_id = ? AND target = ? AND status <> 'removed'"
        return self._ask(question, list_id, key) is not None

    def put_entry(self, entry: Entry) -> None:
        self._connection.execute(INSERT, make_row(entry))

    def minimum(self) -> str:
        row = self._ask("SELECT value FROM options WHERE name = ?", _MINIMUM)
        return str(row[0]) if row else ""

    def put_minimum(self, version: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO options VALUES (?, ?)", (_MINIMUM, version))


def read_person(row: tuple[Any, ...]) -> Person:
    """Return the person of a row of `people`."""
    name, roles, public_key, since, until = row
    return Person(name, frozenset(roles.split()), bytes(public_key), since, until)


def make_person_row(person: Person) -> tuple[Any, ...]:
    """Return the row of a person, in the order of the table."""
    return (person.name, " ".join(sorted(person.roles)), person.public_key, person.since, person.until)
