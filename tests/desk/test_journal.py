"""The journal: lines that follow from each other, that cannot be changed, and that their authors signed."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.desk.journal import (
    START,
    Signer,
    check_line,
    encode_canonical,
    hash_line,
    load_body,
    read_head,
    read_lines,
    store_body,
)
from guardian.desk.store import Desk
from guardian.desk.verify import verify_desk
from guardian.errors import DeskError
from tests.desk.desks import make_desk, put_on_list

NOW = 1_800_000_000.0


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Desk, dict[str, Signer]]:
    return make_desk(tmp_path, NOW)


def test_lines_follow_from_each_other(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    people = at.people()
    before = START
    with at.reading() as connection:
        lines = list(read_lines(connection))
        assert read_head(connection) == lines[-1].hash == at.journal_head()
        assert list(read_lines(connection, after=len(lines) - 1)) == lines[-1:]
    for n, line in enumerate(lines, 1):
        assert line.n == n and line.before == before
        assert line.hash == hash_line(line.n, line.at, line.person, line.kind, line.details, before)
        check_line(line, people[line.person].public_key)
        other = next(person for person in people.values() if person.name != line.person)
        with pytest.raises(DeskError, match=f"line {n} is not by the key of {line.person}"):
            check_line(line, other.public_key)
        before = line.hash
    assert [line.kind for line in lines[-2:]] == ["propose", "approve"]


@pytest.mark.parametrize("table", ["journal", "bodies"])
@pytest.mark.parametrize(
    "change",
    ["DELETE FROM {}", "UPDATE {} SET hash = 'x'", "INSERT OR REPLACE INTO {} SELECT * FROM {} LIMIT 1"],
)
def test_nothing_of_it_is_changed_or_deleted(desk: tuple[Desk, dict[str, Signer]], table: str, change: str) -> None:
    at, who = desk
    put_on_list(at, who, "listed-1.example", now=NOW)
    head = at.journal_head()
    with pytest.raises(DeskError, match="append-only"), at.changing() as connection:
        connection.execute(change.format(table, table))
    assert at.journal_head() == head


def test_times_never_go_back(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    at.note(who["ana"], "one", NOW + 100)
    assert at.note(who["ana"], "two", NOW).at == NOW + 100  # a clock that was set right by a minute or two
    with pytest.raises(DeskError, match=r"the clock of this machine is 1000 s behind the journal"):
        at.note(who["ana"], "three", NOW - 900)


def test_a_clock_that_was_years_ahead_does_not_stop_the_desk(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, who = desk
    at.note(who["ana"], "one", NOW + 1e9)
    with pytest.raises(DeskError, match="set-clock"):
        at.note(who["ana"], "two", NOW)
    with pytest.raises(DeskError, match="ana may not do this: it needs the role admin or root"):
        at.act(who["ana"], "clock", {"why": "the battery was empty"}, NOW)
    assert at.act(who["maria"], "clock", {"why": "the battery was empty"}, NOW).at == NOW
    put_on_list(at, who, "listed-1.example", now=NOW + 1)
    with at.reading() as connection:
        assert verify_desk(connection).problems == ()


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_the_canonical_text_is_the_same_for_the_same_value(details: dict[str, Any]) -> None:
    text = encode_canonical(details)
    assert text.isascii() and b"\n" not in text
    assert encode_canonical(dict(reversed(details.items()))) == text


@given(st.sampled_from(["n", "at", "person", "kind", "details", "before"]))
def test_each_field_counts_for_the_hash(field: str) -> None:
    line: dict[str, Any] = {"n": 1, "at": 2, "person": "ana", "kind": "note", "details": {"what": "x"}, "before": START}
    other = {"n": 2, "at": 3, "person": "ion", "kind": "end", "details": {"what": "y"}, "before": "1" * 64}
    assert hash_line(**line) != hash_line(**{**line, field: other[field]})


def test_a_body_is_kept_once_and_comes_back(desk: tuple[Desk, dict[str, Signer]]) -> None:
    at, _ = desk
    with at.changing() as connection:
        digest = store_body(connection, b"{}")
        assert store_body(connection, b"{}") == digest
        assert load_body(connection, digest) == b"{}"
        with pytest.raises(DeskError, match="is missing"):
            load_body(connection, "0" * 64)
        (count,) = connection.execute("SELECT count(*) FROM bodies").fetchone()
    assert count == 1


@pytest.mark.parametrize("packed", [b"", b"no zlib", zlib.compress(b"{ }"), zlib.compress(b"0" * 1_000_000)])
def test_a_changed_body_is_told(desk: tuple[Desk, dict[str, Signer]], packed: bytes) -> None:
    at, _ = desk
    with at.changing() as connection:
        digest = store_body(connection, b"{}")
    with closing(sqlite3.connect(at.path)) as connection, connection:
        connection.execute("DROP TRIGGER bodies_no_update")
        connection.execute("UPDATE bodies SET body = ?", (packed,))
    with at.reading() as connection, pytest.raises(DeskError, match=r"was changed: restore the desk from a backup"):
        load_body(connection, digest)


@pytest.mark.parametrize("details", ["", "{", "[]", "1"])
def test_a_damaged_line_is_told(desk: tuple[Desk, dict[str, Signer]], details: str) -> None:
    at, _ = desk
    with closing(sqlite3.connect(at.path)) as connection, connection:
        connection.execute("DROP TRIGGER journal_no_update")
        connection.execute("UPDATE journal SET details = ? WHERE n = 2", (details,))
    with at.reading() as connection, pytest.raises(DeskError, match="line 2 of the journal is damaged"):
        list(read_lines(connection))
