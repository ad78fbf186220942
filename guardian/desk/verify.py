"""`journal verify`: every line again from the first one, and what they come to against the tables.

A desk that somebody wrote into by another way than the rules shows here: a changed or missing line breaks the chain, a
new one lacks a signature, an entry without a line differs from the fold. What cannot be seen from inside is an end that
was cut off, tables and all: that is what published heads are for (`ListIndex.journal`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import msgspec

from guardian.desk.books import MemoryBook, TableBook, make_person_row
from guardian.desk.entries import COLUMNS, make_row
from guardian.desk.fold import apply_line, find_key
from guardian.desk.journal import CLOCK, START, Line, check_line, hash_line, load_body, read_lines
from guardian.desk.schema import MIGRATIONS
from guardian.errors import DeskError

FORMAT = "guardian-desk-journal"
MOST_PROBLEMS = 100
MAX_LINE_CHARS = 256 << 20


class Report(NamedTuple):
    """What a verification found; all is well when `problems` is empty."""

    lines: int  # that are right, from the first one
    book: MemoryBook  # what these lines come to
    problems: tuple[str, ...]
    head: str


def verify_desk(connection: sqlite3.Connection, heads: Collection[str] = ()) -> Report:
    """Verify the journal of a desk, its tables and that the published `heads` (hashes) are lines of it."""
    report = verify_lines(read_lines(connection), lambda digest: load_body(connection, digest), heads)
    problems = [*report.problems, *_check_triggers(connection)]
    if not report.problems:
        problems += _compare_all(connection, report.book)
    return report._replace(problems=tuple(problems[:MOST_PROBLEMS]))


def verify_lines(lines: Iterable[Line], load: Callable[[str], bytes], heads: Collection[str] = ()) -> Report:
    """Verify lines in order, up to the first that is wrong; `load` returns a body by its hash."""
    book, before, at, n = MemoryBook(), START, 0, 0
    missing = set(heads)
    problems = []
    iterator = iter(lines)
    while True:
        try:
            line = next(iterator, None)
            if line is None:
                break
            _check_place(line, n + 1, at, before)
            check_line(line, find_key(book, line))
            apply_line(book, line, load)
        except DeskError as error:
            problems.append(f"line {n + 1}: {error}; what follows was not looked at")
            break
        n, at, before = n + 1, line.at, line.hash
        missing.discard(before)
    problems += [f"the published head {head[:16]} is no line of this journal: lines are missing" for head in missing]
    return Report(n, book, tuple(problems), before)


def _check_place(line: Line, n: int, at: int, before: str) -> None:
    if line.n != n:
        raise DeskError(f"missing: the next one has the number {line.n}")
    if line.before != before:
        raise DeskError("it does not follow from the line before")
    if line.hash != hash_line(line.n, line.at, line.person, line.kind, line.details, line.before):
        raise DeskError("it was changed: its hash is another")
    if line.at < at and line.kind != CLOCK:
        raise DeskError("it is older than the line before")


def _check_triggers(connection: sqlite3.Connection) -> Iterator[str]:
    """What keeps the journal append-only must be as it was made."""
    wanted = {statement for step in MIGRATIONS for statement in step.statements if "TRIGGER" in statement}
    kept = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'")}
    if kept != wanted:
        yield "the triggers that keep the journal append-only were changed: somebody has edited desk.db"


def _compare_all(connection: sqlite3.Connection, book: MemoryBook) -> Iterator[str]:
    people = {name: make_person_row(person) for name, person in book.people.items()}
    keys = {key.hex(): (key,) for key in book.keys}
    lists = {id_: (id_, msgspec.json.encode(title).decode()) for id_, title in book.lists.items()}
    entries = {id_: make_row(entry) for id_, entry in book.entries.items()}
    yield from _compare(connection, "people", "name, roles, public_key, since, until", people)
    yield from _compare(connection, "used_keys", "public_key", keys, lambda row: bytes(row[0]).hex())
    yield from _compare(connection, "lists", "id, title", lists)
    yield from _compare(connection, "proposals", "*", {id_: tuple(it) for id_, it in book.proposals.items()})
    yield from _compare(connection, "entries", ", ".join(COLUMNS), entries)
    if (kept := TableBook(connection).minimum()) != book.minimum():
        yield f"options: routers are asked for Guardian {kept or 'of any version'}, which is not what the journal says"


def _compare(
    connection: sqlite3.Connection,
    table: str,
    columns: str,
    expected: dict[Any, tuple[Any, ...]],
    key: Callable[[Sequence[Any]], Any] = lambda row: row[0],
) -> Iterator[str]:
    left = set(expected)
    for row in connection.execute(f"SELECT {columns} FROM {table}"):  # noqa: S608 - constants of this module
        name = key(row)
        left.discard(name)
        if name not in expected:
            yield f"{table}: {name} is there without a line of the journal"
        elif tuple(row) != expected[name]:
            yield f"{table}: {name} is not what the journal says"
    yield from (f"{table}: {name} is missing, the journal has it" for name in sorted(left, key=str))


def export_journal(connection: sqlite3.Connection, file: IO[str]) -> int:
    """Write the journal with all bodies as JSON lines, which `verify_file` reads; return how many lines it has."""
    file.write(json.dumps({"format": FORMAT, "schema": 1}) + "\n")
    seen: set[str] = set()
    count = 0
    for line in read_lines(connection):
        digest = line.details.get("body")
        if isinstance(digest, str) and digest not in seen:
            seen.add(digest)
            file.write(json.dumps({"body": digest, "data": load_body(connection, digest).decode("ascii")}) + "\n")
        file.write(json.dumps({**line._asdict(), "signature": line.signature.hex()}) + "\n")
        count += 1
    return count


def verify_file(file: IO[str], heads: Collection[str] = ()) -> Report:
    """Verify an exported journal without its desk. Raises DeskError for a file that is none."""
    import hashlib

    bodies: dict[str, bytes] = {}

    def read() -> Iterator[Line]:
        for number, item in enumerate(_read_items(file), 2):
            if "body" in item:
                data = str(item.get("data", "")).encode()
                bodies[hashlib.sha256(data).hexdigest()] = data
            else:
                yield _read_line(item, number)

    def load(digest: str) -> bytes:
        if digest not in bodies:
            raise DeskError(f"the body {digest[:16]} of a proposal is missing or was changed")
        return bodies[digest]

    return verify_lines(read(), load, heads)


def _read_items(file: IO[str]) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        while text := file.readline(MAX_LINE_CHARS):
            number += 1
            item = json.loads(text)
            if not isinstance(item, dict):
                raise DeskError(f"line {number} of the file is not one of a journal")
            if number > 1:
                yield item
            elif item.get("format") != FORMAT or item.get("schema") != 1:
                raise DeskError("the file is no exported journal: its first line says what it is")
    except (ValueError, RecursionError):
        raise DeskError(f"line {number} of the file is not one of a journal") from None
    if not number:
        raise DeskError("the file is empty, so it is no exported journal")


class _PlainLine(msgspec.Struct, forbid_unknown_fields=True):
    n: int
    at: int
    person: str
    kind: str
    details: dict[str, Any]
    before: str
    hash: str
    signature: str


def _read_line(item: dict[str, Any], number: int) -> Line:
    try:
        plain = msgspec.convert(item, _PlainLine)
        signature = bytes.fromhex(plain.signature)
        bytes.fromhex(plain.hash)
    except (msgspec.ValidationError, ValueError) as error:
        raise DeskError(f"line {number} of the file is damaged: {error}") from None
    return Line(plain.n, plain.at, plain.person, plain.kind, plain.details, plain.before, plain.hash, signature)
