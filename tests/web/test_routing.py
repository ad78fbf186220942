"""The frame: what errors become, how bodies and queries are read."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from guardian.errors import ConfigError, GuardianError, Problem, TextError
from guardian.store.settings import ConflictError
from guardian.web.routing import Endpoint, RefusalError, decode_body, decode_query, explain_error
from guardian.web.shapes.activity import Span
from guardian.web.shapes.session import Login


def endpoint(**more: Any) -> Endpoint:
    return Endpoint("POST", "/x", "read", "a test", lambda call: None, **more)


def test_what_errors_become() -> None:
    assert explain_error(RefusalError(429, "throttled", retry_after=7)).retry_after == 7
    assert explain_error(ConflictError("revision 8, not 7")).code == "conflict"
    assert explain_error(TextError("no name")).status == 422
    wrong = explain_error(ConfigError([Problem("backup.yaml:3", "unknown key 'x'"), Problem("backup.yaml:9", "y")]))
    assert wrong.status == 422 and [each.where for each in wrong.problems] == ["backup.yaml:3", "backup.yaml:9"]
    assert explain_error(GuardianError("the gateway does not answer")).status == 503


def test_a_broken_file_is_not_the_callers_fault() -> None:
    try:
        try:
            raise sqlite3.OperationalError("database is locked")
        except sqlite3.Error as cause:
            raise ConfigError([Problem("settings.db", "the settings cannot be used")]) from cause
    except ConfigError as error:
        problem = explain_error(error)
    assert (problem.status, problem.code) == (503, "not-now") and problem.retry_after


@pytest.mark.parametrize(("number", "code"), [(28, "storage-full"), (30, "storage-read-only"), (13, "not-now")])
def test_a_disk_that_takes_nothing_is_said_to_be_so(number: int, code: str) -> None:
    try:
        try:
            raise OSError(number, "x")
        except OSError as cause:
            raise ConfigError([Problem("settings.db", "the settings cannot be used")]) from cause
    except ConfigError as error:
        problem = explain_error(error)
    assert (problem.status, problem.code) == (503, code) and problem.title


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"name": "\xff", "password": "x"}', 400),
        (b'{"name": ' + b"[" * 100_000, 422),
        (b'{"name": 1, "password": "x"}', 422),
        (b'{"name": "x"}', 422),
        (b'{"name": "x", "password": "x", "role": "parent"}', 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"name": "' + b"x" * 61 + b'", "password": "x"}', 422),
    ],
)
def test_bodies_that_are_none(raw: bytes, status: int) -> None:
    with pytest.raises(RefusalError) as caught:
        decode_body(endpoint(body=Login), raw)
    assert caught.value.status == status


def test_bodies() -> None:
    assert decode_body(endpoint(body=Login), b'{"name": "x", "password": ""}') == Login("x", "")
    assert decode_body(endpoint(body=str), "ș".encode()) == "ș"
    assert decode_body(endpoint(), b"anything") is None
    with pytest.raises(RefusalError) as caught:
        decode_body(endpoint(body=str), b"\xff")
    assert (caught.value.status, caught.value.code) == (400, "not-text")


def test_queries() -> None:
    assert decode_query(endpoint(query=Span), {"days": "30"}) == Span(30)
    assert decode_query(endpoint(query=Span), {}) == Span()
    assert decode_query(endpoint(), {"anything": "x"}) is None
    for wrong in ({"days": "0"}, {"days": "x"}, {"days": ""}, {"day": "7"}, {"days": "1" * 5000}):
        with pytest.raises(RefusalError) as caught:
            decode_query(endpoint(query=Span), wrong)
        assert caught.value.status == 422
