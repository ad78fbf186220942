"""The frame of the API: endpoints as values, what they get and what their errors become.

A call of the API is a plain function `(Call) -> result`; it runs in a thread, so it may read SQLite and files. One that
streams is an `async def` that returns a Starlette response; it runs in the loop and may block nothing. What a call may
raise: `RefusalError` (a status and a code), TextError and ConfigError (422), ConflictError (409), another GuardianError
(503); anything else is a bug (500).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from guardian.errors import ConfigError, GuardianError, TextError
from guardian.store.database import FULL, READ_ONLY, find_storage_trouble
from guardian.store.settings import ConflictError
from guardian.web.shapes.common import FieldProblem, Problem

if TYPE_CHECKING:
    from guardian.web.access import Caller
    from guardian.web.console import Console

B = TypeVar("B")
PREFIX = "/api/v1"
MAX_BODY_BYTES = 256 * 1024
MAX_STRANGERS_BODY_BYTES = 32 * 1024  # of who is not signed in: a long report, written all in \uXXXX, has 24
PUBLIC, CHILD = "public", "child"  # no sign-in; `child`: any device of the home, told apart by its address


class RefusalError(GuardianError):
    """A call that is not done. `code` is for programs and translations, the text is English."""

    def __init__(self, status: int, code: str, text: str = "", retry_after: int | None = None) -> None:
        super().__init__(text or code)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(slots=True)
class Call(Generic[B]):
    """One call: who, to what, with what. `body` and `query` are of the endpoint's types, decoded and checked."""

    console: Console
    caller: Caller
    path: dict[str, str]
    query: Any
    body: B
    now: float  # epoch seconds
    if_match: int | None  # the revision that the caller has seen
    cookies: list[tuple[str, str, int | None]] = field(default_factory=list)  # to set: name, value, seconds (0 = end)
    encrypted: bool = False  # the call came over HTTPS


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of the API. `scope` is one of `shapes.session.Scope`, or PUBLIC, or CHILD."""

    method: str
    path: str  # below PREFIX: /profiles/{profile}
    scope: str
    summary: str
    run: Callable[[Call[Any]], Any]
    result: Any = None  # None = 204, no content
    body: Any = None
    query: Any = None
    status: int = 200
    media: str = "application/json"  # of the result; a text result is a str
    body_media: str = "application/json"  # of the body; a text body is a str
    errors: tuple[int, ...] = ()  # besides those that every endpoint may answer
    people_only: bool = False  # for signed-in persons, never for tokens


def explain_error(error: GuardianError) -> Problem:
    """Return an error of a call as what the caller gets."""
    if isinstance(error, RefusalError):
        return Problem(error.status, error.code, str(error), retry_after=error.retry_after)
    if isinstance(error, ConflictError):
        return Problem(409, "conflict", "somebody else has changed it meanwhile", str(error))
    if isinstance(error, ConfigError):
        if isinstance(error.__cause__, sqlite3.Error | OSError):  # nothing that was sent is wrong: the file is
            if find_storage_trouble(error.__cause__) == FULL:
                return Problem(503, "storage-full", "the box has no room left to save this", str(error), retry_after=60)
            if find_storage_trouble(error.__cause__) == READ_ONLY:
                return Problem(
                    503, "storage-read-only", "the box cannot write to its storage", str(error), retry_after=60
                )
            return Problem(503, "not-now", "this cannot be done now", str(error), retry_after=5)
        problems = [FieldProblem(problem.where, problem.message) for problem in error.problems]
        return Problem(422, "not-valid", "some of it cannot be used", str(error), problems)
    if isinstance(error, TextError):
        return Problem(422, "not-valid", "some of it cannot be used", str(error))
    return Problem(503, "not-now", "this cannot be done now", str(error), retry_after=5)


def decode_body(endpoint: Endpoint, raw: bytes) -> Any:
    """Return the body of a request as the endpoint's type. Raises RefusalError 400 or 422."""
    if endpoint.body is None:
        return None
    if endpoint.body is str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise RefusalError(400, "not-text", "the body is not UTF-8 text") from None
    try:
        return msgspec.json.decode(raw, type=endpoint.body)
    except msgspec.ValidationError as error:
        raise RefusalError(422, "not-valid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusalError(400, "not-json", f"the body is not JSON: {error}") from None


def decode_query(endpoint: Endpoint, given: dict[str, str]) -> Any:
    """Return the query of a request as the endpoint's type. Raises RefusalError 422."""
    if endpoint.query is None:
        return None
    try:
        return msgspec.convert(given, type=endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise RefusalError(422, "not-valid", str(error)) from None
