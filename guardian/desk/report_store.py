"""reports.db: the reports that came in, and what analysts did with them. Mode 600, opened for each use.

What analysts do is a line of `trail`: chained by hashes, signed by the person's key, and never changed or deleted. The
words of a report go some weeks after it was closed; that there was one, of which type and with which result, stays.
Times are epoch seconds; those of a report are whole hours, those of analysts are exact.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from guardian.desk.books import MemoryBook, Person
from guardian.desk.fold import apply_line
from guardian.desk.journal import Signer, load_body, read_lines
from guardian.desk.report_shape import HOUR, Report
from guardian.desk.store import Desk
from guardian.errors import ConfigError, DeskError
from guardian.store.database import open_database, transaction
from guardian.store.migrations import Migration

FILE = "reports.db"
FILE_MODE = 0o600
MOST_WAITING = 50_000  # that are not closed: more than any hotline reads; the router keeps the next one and tries again
KEEP_DAYS = 30  # the words of a closed report, unless the desk says otherwise
LEAST_DAYS, MOST_DAYS = 1, 3650
DAY = 86400
STATES = ("open", "taken", "closed")
RESULTS = ("listed", "not-illegal", "no-longer-there", "duplicate", "forwarded", "other")
APPEAL_RESULTS = ("unblocked", "upheld", "duplicate", "forwarded", "other")  # of an unblock_request
APPEAL = "unblock_request"
_SEAL = b"guardian-desk-reports-1\n"  # before the hash, so that the signature is good for nothing else

MIGRATIONS = (
    Migration(
        1,
        "reports and trail",
        (
            """CREATE TABLE reports (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                report_id TEXT NOT NULL UNIQUE,
                received INTEGER NOT NULL,
                created INTEGER NOT NULL,
                type TEXT NOT NULL,
                url TEXT NOT NULL,
                found_via TEXT NOT NULL,
                note TEXT NOT NULL,
                lang TEXT NOT NULL,
                country TEXT NOT NULL,
                contact TEXT NOT NULL,
                state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'taken', 'closed')),
                person TEXT NOT NULL DEFAULT '',
                result TEXT NOT NULL DEFAULT '',
                closed INTEGER,
                cleared INTEGER NOT NULL DEFAULT 0
            ) STRICT""",
            "CREATE INDEX reports_by_state ON reports (state)",
            """CREATE TABLE trail (
                number INTEGER PRIMARY KEY,
                report INTEGER NOT NULL REFERENCES reports (number),
                at INTEGER NOT NULL,
                person TEXT NOT NULL,
                action TEXT NOT NULL,
                detail TEXT NOT NULL,
                hash TEXT NOT NULL,
                signature BLOB NOT NULL
            ) STRICT""",
            "CREATE INDEX trail_by_report ON trail (report)",
            "CREATE TABLE options (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
            "CREATE TRIGGER trail_stays BEFORE DELETE ON trail BEGIN SELECT raise(ABORT, 'the trail is kept'); END",
            "CREATE TRIGGER trail_as_is BEFORE UPDATE ON trail BEGIN SELECT raise(ABORT, 'the trail is kept'); END",
            "CREATE TRIGGER reports_stay BEFORE DELETE ON reports BEGIN SELECT raise(ABORT, 'reports stay'); END",
        ),
    ),
)


class QueuedReport(NamedTuple):
    """A report of the queue, without the contact of who wrote it."""

    number: int
    report_id: str
    received: int
    created: int
    type: str
    url: str
    found_via: str
    note: str
    lang: str
    country: str
    state: str
    person: str  # who has taken or closed it
    result: str
    closed: int | None
    cleared: bool  # its words are gone


class TrailLine(NamedTuple):
    """One thing that somebody did: `take`, `close` (detail: the result), `reopen`."""

    number: int
    report: int
    at: int
    person: str
    action: str
    detail: str
    hash: str
    signature: bytes


class ReportCount(NamedTuple):
    """How many reports of one type are in one state, with one result."""

    type: str
    state: str
    result: str
    number: int


_COLUMNS = ", ".join(name for name in QueuedReport._fields)


class ReportStore:
    """The database of a desk's folder. Any thread may use it. Everything raises DeskError."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/{FILE}"

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hand out a connection for questions."""
        try:
            with closing(open_database(self.path, MIGRATIONS, FILE_MODE)) as connection:
                yield connection
        except (sqlite3.Error, ConfigError) as error:
            raise DeskError(f"{self.path}: cannot be used: {error}") from error
        except OSError as error:
            raise DeskError(f"{self.path}: cannot be used: {error.strerror}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hand out a connection within a transaction: all of it happens, or nothing."""
        with self.reading() as connection, transaction(connection):
            yield connection


def keep_report(
    store: ReportStore, report: Report, now: float, most: int = MOST_WAITING
) -> Literal["kept", "known", "full"]:
    """Put a report into the queue. `known`: it was there already, and nothing changes; `full`: `most` wait."""
    received = int(now) - int(now) % HOUR
    with store.writing() as connection:
        if connection.execute("SELECT 1 FROM reports WHERE report_id = ?", (report.report_id,)).fetchone():
            return "known"
        (waiting,) = connection.execute("SELECT count(*) FROM reports WHERE state != 'closed'").fetchone()
        if waiting >= most:
            return "full"
        connection.execute(
            "INSERT INTO reports (report_id, received, created, type, url, found_via, note, lang, country, contact)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (report.report_id, received, *report[1:]),
        )
    return "kept"


def list_reports(store: ReportStore, states: Iterable[str] = STATES, types: Iterable[str] = ()) -> list[QueuedReport]:
    """Return the reports in these states, and of these types if any are named, the oldest first."""
    wanted, kinds = tuple(states), tuple(types)
    question = f"SELECT {_COLUMNS} FROM reports WHERE state IN ({_marks(wanted)})"  # noqa: S608 - marks and columns
    if kinds:
        question += f" AND type IN ({_marks(kinds)})"
    with store.reading() as connection:
        return [_queued(row) for row in connection.execute(f"{question} ORDER BY number", (*wanted, *kinds))]


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" * len(values))


def _queued(row: tuple[object, ...]) -> QueuedReport:
    found = QueuedReport(*row)  # type: ignore[arg-type]  # the schema is STRICT
    return found._replace(cleared=bool(found.cleared))


def read_queued(store: ReportStore, number: int) -> tuple[QueuedReport, str, list[TrailLine]]:
    """Return one report, the contact of who wrote it ("" = anonymous, or gone), and what was done with it."""
    with store.reading() as connection:
        report = _find(connection, number, store.path)
        (contact,) = connection.execute("SELECT contact FROM reports WHERE number = ?", (number,)).fetchone()
        lines = connection.execute("SELECT * FROM trail WHERE report = ? ORDER BY number", (number,))
        return report, contact, [TrailLine(*line) for line in lines]


def _find(connection: sqlite3.Connection, number: int, path: str) -> QueuedReport:
    row = connection.execute(f"SELECT {_COLUMNS} FROM reports WHERE number = ?", (number,)).fetchone()  # noqa: S608
    if row is None:
        raise DeskError(f"{path}: there is no report {number}: see 'guardian hotline reports list'")
    return _queued(row)


def take_report(store: ReportStore, number: int, signer: Signer, now: float, *, anyway: bool = False) -> None:
    """Give a report to a person. One that somebody else has taken only `anyway`."""
    with store.writing() as connection:
        report = _find(connection, number, store.path)
        if report.state == "closed":
            raise DeskError(f"report {number} is closed ({report.result}): 'reports reopen' opens it again")
        if report.state == "taken" and report.person == signer.name:
            raise DeskError(f"report {number} is yours already")
        if report.state == "taken" and not anyway:
            raise DeskError(f"{report.person} has taken report {number}: ask, or add --anyway")
        _add_line(connection, number, signer, now, "take", "")
        connection.execute("UPDATE reports SET state = 'taken', person = ? WHERE number = ?", (signer.name, number))


def close_report(store: ReportStore, number: int, signer: Signer, result: str, now: float) -> None:
    """Close a report that this person has taken, with what came of it."""
    with store.writing() as connection:
        report = _find(connection, number, store.path)
        if report.state != "taken" or report.person != signer.name:
            whose = {"open": "nobody has taken it", "closed": f"it is closed ({report.result})"}
            why = whose.get(report.state, f"{report.person} has taken it")
            raise DeskError(f"report {number} can't be closed by {signer.name}: {why}; 'reports take' comes first")
        allowed = APPEAL_RESULTS if report.type == APPEAL else RESULTS
        if result not in allowed:
            raise DeskError(f"'{result}' is no result of {report.type}: it is one of {', '.join(allowed)}")
        _add_line(connection, number, signer, now, "close", result)
        connection.execute(
            "UPDATE reports SET state = 'closed', result = ?, closed = ? WHERE number = ?", (result, int(now), number)
        )


def reopen_report(store: ReportStore, number: int, signer: Signer, now: float) -> None:
    """Open a closed report again. Words that are gone do not come back."""
    with store.writing() as connection:
        report = _find(connection, number, store.path)
        if report.state != "closed":
            raise DeskError(f"report {number} is not closed")
        _add_line(connection, number, signer, now, "reopen", "")
        connection.execute(
            "UPDATE reports SET state = 'open', person = '', result = '', closed = NULL WHERE number = ?", (number,)
        )


def _add_line(
    connection: sqlite3.Connection, report: int, signer: Signer, now: float, action: str, detail: str
) -> None:
    last = connection.execute("SELECT number, hash FROM trail ORDER BY number DESC LIMIT 1").fetchone() or (0, "")
    number, at = last[0] + 1, int(now)
    hash_ = hash_line(last[1], number, report, at, signer.name, action, detail)
    signature = signer.key.sign(_SEAL + bytes.fromhex(hash_))
    connection.execute(
        "INSERT INTO trail VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, report, at, signer.name, action, detail, hash_, signature),
    )


def hash_line(before: str, number: int, report: int, at: int, person: str, action: str, detail: str) -> str:
    """Return the hash of a line of the trail: SHA-256, hex, over its values and the hash of the line before."""
    values = json.dumps([before, number, report, at, person, action, detail], ensure_ascii=True)
    return hashlib.sha256(values.encode("ascii")).hexdigest()


def load_keys(desk: Desk) -> dict[str, list[bytes]]:
    """Return the public keys that each person ever had at a desk, as its journal tells: some have left since."""

    class Keys(MemoryBook):
        def put_person(self, person: Person) -> None:
            keys.setdefault(person.name, []).append(person.public_key)
            super().put_person(person)

    keys: dict[str, list[bytes]] = {}
    book = Keys()
    with desk.reading() as connection:
        for line in read_lines(connection):
            apply_line(book, line, lambda digest: load_body(connection, digest))
    return keys


def check_trail(store: ReportStore, keys: Mapping[str, Collection[bytes]]) -> int:
    """Check the whole trail; return how many lines it has.

    `keys` are the public keys that each person ever had at the desk. Raises DeskError that names the first line that is
    not right: changed, missing, signed by somebody else, or not what the queue says.
    """
    with store.reading() as connection:
        lines = [TrailLine(*line) for line in connection.execute("SELECT * FROM trail ORDER BY number")]
        queue = {
            number: state for number, *state in connection.execute("SELECT number, state, person, result FROM reports")
        }
    before = ""
    folded: dict[int, list[str]] = {number: ["open", "", ""] for number in queue}
    for number, line in enumerate(lines, 1):
        where = f"{store.path}: line {number} of the trail"
        if line.number != number:
            raise DeskError(f"{where} is missing")
        if line.hash != hash_line(before, number, line.report, line.at, line.person, line.action, line.detail):
            raise DeskError(f"{where} was changed")
        if not any(_is_signed(line, key) for key in keys.get(line.person, ())):
            raise DeskError(f"{where} was not signed by {line.person}")
        if line.report not in folded:
            raise DeskError(f"{where} is about report {line.report}, which is missing")
        folded[line.report] = _fold(line)
        before = line.hash
    for report, state in queue.items():
        if state != folded[report]:
            raise DeskError(f"{store.path}: report {report} is {' '.join(state)}, but nobody has signed that")
    return len(lines)


def _is_signed(line: TrailLine, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(line.signature, _SEAL + bytes.fromhex(line.hash))
    except InvalidSignature:
        return False
    return True


def _fold(line: TrailLine) -> list[str]:
    """Return state, person and result of a report after a line."""
    match line.action:
        case "take":
            return ["taken", line.person, ""]
        case "close":
            return ["closed", line.person, line.detail]
        case _:
            return ["open", "", ""]


def clear_closed(store: ReportStore, now: float) -> int:
    """Wipe the words and contacts of reports that have been closed long enough; return how many."""
    with store.writing() as connection:
        done = connection.execute(
            "UPDATE reports SET url = '', found_via = '', note = '', contact = '', cleared = 1"
            " WHERE state = 'closed' AND cleared = 0 AND closed < ?",
            (int(now) - _keep_days(connection) * DAY,),
        )
        return done.rowcount


def read_keep_days(store: ReportStore) -> int:
    """Return how many days the words of a closed report are kept."""
    with store.reading() as connection:
        return _keep_days(connection)


def _keep_days(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM options WHERE name = 'keep_days'").fetchone()
    return int(row[0]) if row else KEEP_DAYS


def set_keep_days(store: ReportStore, days: int) -> None:
    """Set how many days the words of a closed report are kept."""
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise DeskError(f"{days} days: words of closed reports are kept between {LEAST_DAYS} and {MOST_DAYS} days")
    with store.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO options VALUES ('keep_days', ?)", (days,))


def count_reports(store: ReportStore, start: float, end: float) -> list[ReportCount]:
    """Return how many reports came from `start` up to `end` (not included), by type, state and result."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT type, state, result, count(*) FROM reports WHERE received >= ? AND received < ?"
            " GROUP BY type, state, result ORDER BY type, state, result",
            (start, end),
        )
        return [ReportCount(*row) for row in rows]
