"""The two books are the same: what is done to one and to the other gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.desk.books import Book, MemoryBook, Person, Proposal, TableBook, make_person_row, read_person
from guardian.desk.entries import Entry
from guardian.desk.journal import store_body
from guardian.desk.store import Desk
from tests.desk.desks import LIST, TITLE, make_facts

FACTS = msgspec.to_builtins(make_facts(1_800_000_000))
NAMES = [f"listed-{number}.example" for number in range(4)]


def make_entry(number: int, value: str, status: str) -> Entry:
    plain: dict[str, Any] = {
        **FACTS, "id": number, "list_id": LIST, "scope": "domain", "value": value, "listed": 1, "changed": 2,
        "reviewers": ["ana", "ion"], "status": status,
    }  # fmt: skip
    return msgspec.convert(plain, Entry)


ACTIONS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["active", "suspended", "removed"])), max_size=12
)  # an entry of a number has always the same value, as in a desk


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS)
def test_memory_and_tables_answer_the_same(tmp_path: Path, actions: list[tuple[int, str]]) -> None:
    desk = Desk.create(tmp_path / "desk")
    memory = MemoryBook()
    with desk.changing() as connection:
        for table in ("entries", "lists", "proposals", "people", "used_keys"):
            connection.execute(f"DELETE FROM {table}")
        tables = TableBook(connection)
        body = store_body(connection, b"{}")
        books: tuple[Book, Book] = (memory, tables)
        for book in books:
            book.put_list(LIST, TITLE)
            book.put_person(Person("ana", frozenset({"list", "root"}), bytes(32), 5))
            book.put_proposal(Proposal(1, "add", LIST, "ana", 5, "x", body, 1, ""))
            highest = 0
            for number, status in actions:
                highest = max(highest, number)
                for each in range(1, number + 1):  # numbers have no gaps
                    if book.entry(each) is None:
                        book.put_entry(make_entry(each, NAMES[each - 1], "active"))
                book.put_entry(make_entry(number, NAMES[number - 1], status))
        for ask in (
            lambda book: book.person("ana"),
            lambda book: book.person("ion"),
            lambda book: (book.has_key(bytes(32)), book.has_key(bytes(31) + b"x")),
            lambda book: (book.has_list(LIST), book.has_list("other")),
            lambda book: (book.proposal(1), book.proposal(2), book.last_proposal()),
            lambda book: (book.last_entry(), [book.entry(number) for number in range(6)]),
            lambda book: [book.has_target(LIST, f"d:{name}") for name in NAMES],
        ):
            assert ask(memory) == ask(tables)


def test_a_person_comes_back_from_the_row() -> None:
    for until in (None, 7):
        person = Person("ana", frozenset({"list", "root"}), bytes(32), 5, until)
        assert read_person(make_person_row(person)) == person
