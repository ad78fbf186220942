"""`journal verify` against somebody who may write into desk.db: every field, every table, every way."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guardian.desk.fold import Body, Ended, Renewed
from guardian.desk.journal import Signer, append_line, hash_line, read_lines, store_body
from guardian.desk.review import approve, propose, reject
from guardian.desk.store import Desk
from guardian.desk.verify import Report, export_journal, verify_desk, verify_file
from guardian.errors import DeskError
from tests.desk.desks import LIST, make_body, make_desk, put_on_list

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Signer]]:
    """A desk where everything has happened once."""
    desk, who = make_desk(tmp_path_factory.mktemp("verify"), NOW)
    put_on_list(desk, who, "listed-1.example", "https://listed-2.example/a", "listed-3.example", now=NOW)
    for kind, body in (
        ("suspend", Body(suspend=[Ended([1, 3], "x")])),
        ("resume", Body(resume=[Ended([1], "x")])),
        ("renew", Body(renew=[Renewed([1], int(NOW), int(NOW) + 86400 * 20)])),
        ("remove", Body(remove=[Ended([2], "gone")])),
    ):
        approve(desk, who["ion"], propose(desk, who["ana"], kind, LIST, body, "x", NOW), NOW)
    reject(
        desk, who["ion"], propose(desk, who["ana"], "add", LIST, make_body("x.example", now=NOW), "x", NOW), "no", NOW
    )
    number = propose(desk, who["ana"], "add", LIST, make_body("facebook.com", now=NOW), "x", NOW, override="order")
    approve(desk, who["ion"], number, NOW, override="seen")
    desk.note(who["maria"], "publish", NOW, serial=1)
    desk.act(who["maria"], "end", {"name": "vera", "why": "left"}, NOW)
    propose(desk, who["ana"], "add", LIST, make_body("open.example", now=NOW), "x", NOW)
    return Path(desk.folder), who


@pytest.fixture
def desk(made: tuple[Path, dict[str, Signer]], tmp_path: Path) -> Desk:
    return Desk.open(shutil.copytree(made[0], tmp_path / "desk"))


def verify(desk: Desk, *heads: str) -> Report:
    with desk.reading() as connection:
        return verify_desk(connection, heads)


def edit(desk: Desk, *statements: str) -> None:
    """What somebody with the file does: no trigger, no key and no reference holds."""
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)


def test_a_desk_that_kept_the_rules_is_right(desk: Desk) -> None:
    report = verify(desk, desk.journal_head())
    assert report.problems == ()
    assert report.head == desk.journal_head()
    with desk.reading() as connection:
        heads = [line.hash for line in read_lines(connection)]
    assert report.lines == len(heads) and verify(desk, *heads).problems == ()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE journal SET at = at + 1 WHERE n = 8",
        "UPDATE journal SET person = 'maria' WHERE n = 8",
        "UPDATE journal SET kind = 'reject' WHERE n = 8",
        "UPDATE journal SET details = json_set(details, '$.why', 'another') WHERE n = 7",
        "UPDATE journal SET details = json_set(details, '$.more', 1) WHERE n = 7",
        "UPDATE journal SET before = hash WHERE n = 8",
        "UPDATE journal SET hash = substr(hash, 2) || 'x' WHERE n = 8",
        "UPDATE journal SET signature = (SELECT signature FROM journal WHERE n = 7) WHERE n = 8",
        "UPDATE journal SET signature = x'' WHERE n = 8",
        "UPDATE journal SET n = n + 1000 WHERE n = 8",
        "DELETE FROM journal WHERE n = 8",
        "DELETE FROM journal WHERE n = 1",
        "UPDATE bodies SET body = (SELECT body FROM bodies ORDER BY hash DESC LIMIT 1)",
        "DELETE FROM bodies",
    ],
)
def test_a_changed_line_is_found(desk: Desk, change: str) -> None:
    edit(desk, change)
    problems = verify(desk).problems
    assert len(problems) == 1 and problems[0].startswith("line ")


def columns_of(table: str, desk: Desk) -> list[str]:
    with desk.reading() as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("table", ["entries", "people", "proposals", "lists", "used_keys"])
def test_every_column_of_every_table_is_compared(desk: Desk, tmp_path: Path, table: str) -> None:
    whole = Path(desk.path).read_bytes()
    for column in columns_of(table, desk):
        Path(desk.path).write_bytes(whole)
        with closing(sqlite3.connect(desk.path)) as connection, connection:
            row = f"rowid = (SELECT min(rowid) FROM {table})" if table != "used_keys" else "1"
            (value,) = connection.execute(f"SELECT {column} FROM {table} WHERE {row}").fetchone()
            other: Any
            if isinstance(value, str):
                status = "removed" if table == "entries" else "rejected"
                other = {"status": status, "body": desk.proposals()[-1].body}.get(column, value + "x")
            else:
                other = bytes(31) + b"x" if isinstance(value, bytes) else (value or 0) + 1000
            limit = "" if table != "used_keys" else f" WHERE {column} = x'{value.hex()}'"
            connection.execute(f"UPDATE {table} SET {column} = ?{limit or ' WHERE ' + row}", (other,))
        assert verify(desk).problems, f"{table}.{column}"
    Path(desk.path).write_bytes(whole)
    assert not verify(desk).problems


@pytest.mark.parametrize("table", ["entries", "people", "proposals", "lists", "used_keys"])
def test_a_missing_row_is_found(desk: Desk, table: str) -> None:
    edit(desk, f"DELETE FROM {table}")
    assert all(problem.endswith("is missing, the journal has it") for problem in verify(desk).problems)
    assert verify(desk).problems


def test_an_entry_that_nobody_approved_is_found(desk: Desk) -> None:
    edit(
        desk,
        "CREATE TEMP TABLE one AS SELECT * FROM entries WHERE id = 1",
        "UPDATE one SET id = 50, target = 'd:listed-9.example', value = 'listed-9.example'",
        "INSERT INTO entries SELECT * FROM one",
    )
    assert verify(desk).problems == ("entries: 50 is there without a line of the journal",)


def test_dropped_triggers_are_found(desk: Desk) -> None:
    for name in ("journal_no_update", "journal_no_delete", "bodies_no_update", "bodies_no_delete"):
        with closing(sqlite3.connect(desk.path)) as connection, connection:
            sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
            connection.execute(f"DROP TRIGGER {name}")
        assert any("append-only were changed" in problem for problem in verify(desk).problems)
        with closing(sqlite3.connect(desk.path)) as connection, connection:
            connection.execute(sql)
    assert not verify(desk).problems


def test_a_journal_that_was_cut_off_is_found_by_what_was_published(desk: Desk) -> None:
    """The last lines and all that follows from them: nothing inside tells, a published head does."""
    head = desk.journal_head()
    (last,) = desk.proposals("open")
    edit(
        desk,
        "DELETE FROM journal WHERE n = (SELECT max(n) FROM journal)",
        f"DELETE FROM proposals WHERE id = {last.id}",
    )
    assert verify(desk).problems == ()
    assert "lines are missing" in verify(desk, head).problems[0]


def forge(desk: Desk, author: str, approver: str, keys: dict[str, Signer], sign_as: dict[str, Signer]) -> None:
    """A line chain that is right in form, by somebody with some of the keys, past all checks of the desk."""
    with desk.changing() as connection:
        body = store_body(connection, b'{"remove":[{"ids":[1],"why":"x"}]}')
        number = len(desk.proposals()) + 1
        details: dict[str, Any] = {
            "proposal": number, "kind": "remove", "list": LIST, "why": "x", "body": body, "changes": 1, "override": "",
        }  # fmt: skip
        append_line(connection, Signer(author, sign_as[author].key), "propose", details, NOW)
        approval = {"proposal": number, "body": body, "override": ""}
        append_line(connection, Signer(approver, sign_as[approver].key), "approve", approval, NOW)


@pytest.mark.parametrize(
    ("author", "approver", "message"),
    [
        ("ana", "ana", "ana made proposal .*: a second person must look at it"),
        ("ana", "vera", "vera does not work at this desk any more"),
        ("ana", "olga", "olga may not approve this"),
        ("olga", "ana", "olga may not propose this"),
        ("eve", "ana", "nobody at this desk is called 'eve'"),
    ],
)
def test_forged_lines_with_right_signatures_break_the_rules(
    made: tuple[Path, dict[str, Signer]], desk: Desk, author: str, approver: str, message: str
) -> None:
    who = {**made[1], "eve": made[1]["ana"]}
    forge(desk, author, approver, who, who)
    (problem,) = verify(desk).problems
    assert re.search(message, problem)


def test_a_forged_line_without_the_key_is_found(made: tuple[Path, dict[str, Signer]], desk: Desk) -> None:
    forge(desk, "ana", "ion", made[1], {"ana": made[1]["ana"], "ion": made[1]["ana"]})
    (problem,) = verify(desk).problems
    assert "is not by the key of ion" in problem


def test_a_chain_made_anew_behind_a_change_lacks_signatures(desk: Desk) -> None:
    """The hashes can be computed by anybody, the signatures can't."""
    with desk.reading() as connection:
        lines = list(read_lines(connection))
    before = lines[6].before
    statements = []
    for line in lines[6:]:
        details = {**line.details, "why": "another"} if line.n == 7 else line.details
        digest = hash_line(line.n, line.at, line.person, line.kind, details, before)
        text = json.dumps(details).replace("'", "''")
        statements.append(f"UPDATE journal SET details='{text}', before='{before}', hash='{digest}' WHERE n={line.n}")
        before = digest
    edit(desk, *statements)
    (problem,) = verify(desk).problems
    assert problem.startswith("line 7: the signature of line 7 is not by the key of")


def export(desk: Desk) -> str:
    file = io.StringIO()
    with desk.reading() as connection:
        assert export_journal(connection, file) == verify(desk).lines
    return file.getvalue()


def test_an_exported_journal_is_verified_without_its_desk(desk: Desk) -> None:
    text = export(desk)
    report = verify_file(io.StringIO(text), [desk.journal_head()])
    assert report.problems == () and report.head == desk.journal_head()
    assert report.book.entries == verify(desk).book.entries
    assert verify_file(io.StringIO(text), ["f" * 64]).problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "the file is empty"),
        (lambda text: "[]\n" + text, "line 1 of the file is not one of a journal"),
        (lambda text: "{}\n" + text, "the file is no exported journal"),
        (lambda text: text + "[" * 100_000 + "\n", "of the file is not one of a journal"),
        (lambda text: text + '{"n": 1}\n', "of the file is damaged"),
        (lambda text: text + "\x00\n", "of the file is not one of a journal"),
    ],
)
def test_a_file_that_is_no_journal_is_told(desk: Desk, change: Callable[[str], str], message: str) -> None:
    report: Any = None
    try:
        report = verify_file(io.StringIO(change(export(desk))))
    except DeskError as error:
        assert message in str(error)
    else:
        assert any(message in problem for problem in report.problems)


def test_mutated_exports_are_found_and_never_crash(desk: Desk) -> None:
    text = export(desk)
    right = verify_file(io.StringIO(text))
    chance = random.Random(7)
    for _ in range(150):
        at = chance.randrange(len(text))
        other = chance.choice(['"', "0", "x", "", "\n", "\\", text[chance.randrange(len(text))], "9" * 30])
        mutated = text[:at] + other + text[at + chance.randrange(3) :]
        try:
            report = verify_file(io.StringIO(mutated))
        except DeskError:
            continue
        # What passes means the same: a blank in the JSON, or a body that no line names any more.
        assert report.problems or (report.head == right.head and report.book.entries == right.book.entries), mutated
