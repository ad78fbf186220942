"""A desk on disk: `DIR/desk.db` and `DIR/keys/`, for nobody but the people of the hotline (mode 700, files 600).

Several programs may work at one desk at once: readers see one moment, writers wait for each other (SQLite's WAL). A
program that is killed leaves a change done or not done. The folder holds the list in plain text: its disk is encrypted,
and it is never on a web server; `public/` below it is what goes there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from guardian.desk.books import Person, Proposal, TableBook, read_person
from guardian.desk.entries import SELECT, Entry, RowReader
from guardian.desk.fold import apply_line
from guardian.desk.journal import Line, Signer, append_line, load_body, read_head
from guardian.desk.schema import MIGRATIONS
from guardian.errors import ConfigError, DeskError
from guardian.feed import Text
from guardian.names import format_name, suffixes
from guardian.store.database import connect, transaction
from guardian.store.migrations import migrate

DATABASE = "desk.db"
KEYS = "keys"
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700
_BUSY_MILLISECONDS = 60_000  # an import of 100,000 lines takes seconds


class Desk:
    """The desk in a folder. Connections are opened for each use, so any thread may ask. Everything raises DeskError."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, DATABASE)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Desk:
        """Return the desk in a folder. Raises DeskError when there is none, or others may read it."""
        desk = cls(os.fspath(folder))
        try:
            mode = os.stat(desk.path).st_mode
        except OSError as error:
            raise DeskError(
                f"{desk.folder}: no desk ({error.strerror}); 'guardian hotline init DIR' makes one, --desk DIR names it"
            ) from None
        if mode & 0o077:
            raise DeskError(f"{desk.path} can be read by other users of this machine: chmod 600 {desk.path}")
        return desk

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> Desk:
        """Return the desk in a folder, made if need be, with nobody and nothing in it."""
        desk = cls(os.fspath(folder))
        try:
            os.makedirs(desk.folder, mode=_FOLDER_MODE, exist_ok=True)
            os.makedirs(os.path.join(desk.folder, KEYS), mode=_FOLDER_MODE, exist_ok=True)
            os.close(os.open(desk.path, os.O_CREAT | os.O_RDWR, _FILE_MODE))  # SQLite gives its other files the same
        except OSError as error:
            raise DeskError(f"{desk.folder}: a desk can't be made here: {error.strerror}") from None
        with desk.changing():
            pass
        return desk

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hand out one moment of the desk, for questions only."""
        with self._opened() as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield connection
            connection.execute("ROLLBACK")

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Hand out a connection within a transaction: all of it happens, or nothing. Others wait meanwhile."""
        with self._opened() as connection, transaction(connection):
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self.path, "rw")) as connection:
                connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA recursive_triggers = ON")  # or REPLACE would pass by the journal's triggers
                migrate(connection, MIGRATIONS, self.path)
                yield connection
        except ConfigError:
            raise DeskError(f"{self.path} was written by a newer Guardian: install that version here") from None
        except sqlite3.Error as error:
            raise DeskError(f"{self.path} cannot be used: {error}") from error

    # What happens, by lines of the journal.

    def act(self, signer: Signer, kind: str, details: dict[str, Any], now: float | None = None) -> Line:
        """Write a line of the journal and do what it says, in one transaction; return the line."""
        with self.changing() as connection:
            return act(connection, signer, kind, details, time.time() if now is None else now)

    def add_list(self, signer: Signer, list_id: str, title: Text, now: float | None = None) -> None:
        """Make a list, or give it another title."""
        self.act(signer, "list", {"list": list_id, "title": msgspec.to_builtins(title)}, now)

    def note(self, signer: Signer, what: str, now: float | None = None, **details: Any) -> Line:
        """Write down something that changes no entry, such as a publishing: `what` is a word like `publish`."""
        return self.act(signer, "note", {**details, "what": what}, now)

    def journal_head(self) -> str:
        """Return the hash of the journal's last line, hex."""
        with self.reading() as connection:
            return read_head(connection)

    # What there is.

    def people(self, *, all_: bool = False) -> dict[str, Person]:
        """Return who works here by name; with `all_` also who has left."""
        with self.reading() as connection:
            rows = connection.execute("SELECT name, roles, public_key, since, until FROM people ORDER BY since, name")
            found = [read_person(row) for row in rows]
        return {person.name: person for person in found if all_ or person.until is None}

    def lists(self) -> dict[str, Text]:
        """Return the titles of all lists, by id."""
        with self.reading() as connection:
            rows = connection.execute("SELECT id, title FROM lists ORDER BY id").fetchall()
        return {id_: msgspec.json.decode(title, type=Text) for id_, title in rows}

    def list_active(self, list_id: str, now: float, *, isp_only: bool = False) -> Iterator[Entry]:
        """Yield the entries of a list that routers are to enforce, by id: approved, active and not expired.

        `isp_only=True` yields those as well that may only leave to ISPs' own resolvers. One moment of the desk is seen,
        however long this takes.
        """
        self._require_list(list_id)
        left_out = "" if isp_only else " AND licence_class <> 'isp_only'"
        question = f"{SELECT} WHERE list_id = ? AND status = 'active' AND expires > ?{left_out} ORDER BY id"
        with self.reading() as connection:
            yield from RowReader().read_all(connection.execute(question, (list_id, now)))

    def entry(self, id_: int) -> Entry | None:
        """Return an entry by its id, whatever its status."""
        with self.reading() as connection:
            return TableBook(connection).entry(id_)

    def entries(self, list_id: str = "", contains: str = "", status: str = "") -> Iterator[Entry]:
        """Yield entries by id: of a list, with a text in the value, of a status; "" = any."""
        question = f"{SELECT} WHERE (?1 = '' OR list_id = ?1) AND (?2 = '' OR instr(value, ?2)) AND (?3 = '' OR status = ?3) ORDER BY id"  # noqa: E501
        with self.reading() as connection:
            yield from RowReader().read_all(connection.execute(question, (list_id, contains.lower(), status)))

    def proposals(self, status: str = "") -> list[Proposal]:
        """Return proposals by id: open, approved or rejected; "" = all."""
        with self.reading() as connection:
            rows = connection.execute("SELECT * FROM proposals WHERE ?1 = '' OR status = ?1 ORDER BY id", (status,))
            return [Proposal(*row) for row in rows]

    def minimum_version(self) -> str:
        """Return the version of Guardian that routers are asked to have at least; "" = any."""
        with self.reading() as connection:
            return TableBook(connection).minimum()

    # Popular names: what is never listed without an override, and what a base's known-good filter is made of.

    def popular_names(self) -> Iterator[str]:
        """Yield the popular names, the most popular first."""
        with self.reading() as connection:
            for (name,) in connection.execute("SELECT name FROM popular WHERE rank > 0 ORDER BY rank, name"):
                yield name

    def replace_popular(self, signer: Signer, names: Iterable[bytes], digest: str, now: float | None = None) -> int:
        """Replace the popular names (wire names, the most popular first) and note the digest of their file.

        Return how many they are.
        """
        ranks: dict[str, int] = {}
        parents: set[str] = set()
        for rank, name in enumerate(names, 1):
            ranks.setdefault(format_name(name), rank)
            parents.update(format_name(parent) for parent in list(suffixes(name))[1:-1])
        with self.changing() as connection:
            connection.execute("DELETE FROM popular")
            connection.executemany("INSERT INTO popular VALUES (?, ?)", ranks.items())
            connection.executemany("INSERT INTO popular VALUES (?, 0)", ((name,) for name in parents - ranks.keys()))
            moment = time.time() if now is None else now
            act(connection, signer, "note", {"what": "popular", "count": len(ranks), "sha256": digest}, moment)
        return len(ranks)

    def option(self, name: str, default: str = "") -> str:
        """Return a setting of the desk."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM options WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else default

    def set_option(self, name: str, value: str) -> None:
        """Set a setting of the desk: what is no secret and changes no entry."""
        with self.changing() as connection:
            connection.execute("INSERT OR REPLACE INTO options VALUES (?, ?)", (name, value))

    def _require_list(self, list_id: str) -> None:
        known = self.lists()
        if list_id not in known:
            raise DeskError(f"there is no list '{list_id[:40]}' (there are: {', '.join(known) or 'none'})")


def act(connection: sqlite3.Connection, signer: Signer, kind: str, details: dict[str, Any], now: float) -> Line:
    """Write a line of the journal and do what it says, within the transaction of `connection`; return the line.

    Raises DeskError when a rule forbids it; the caller's transaction must then not go on.
    """
    book = TableBook(connection)
    line = append_line(connection, signer, kind, details, now)
    if kind != "person":
        known = book.person(signer.name)
        if known is None or known.public_key != signer.key.public_key().public_bytes_raw():
            raise DeskError(f"this is not the key of {signer.name} at this desk")
    apply_line(book, line, lambda digest: load_body(connection, digest))
    return line
