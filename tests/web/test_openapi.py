"""The OpenAPI document: made of the code, so what could be wrong is that something is missing from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.web.api import ENDPOINTS
from guardian.web.openapi import build_document, list_shapes
from guardian.web.routing import PREFIX
from guardian.web.shapes.household import Bonus

SCOPES = {"public", "child", "status", "read", "requests", "control", "manage", "accounts"}


def test_every_endpoint_is_in_it() -> None:
    document = build_document(ENDPOINTS)
    told = {(method.upper(), path) for path, group in document["paths"].items() for method in group}
    assert told == {(endpoint.method, f"{PREFIX}{endpoint.path}") for endpoint in ENDPOINTS}
    assert len(told) == len(ENDPOINTS), "two endpoints with one method and path"
    names = [operation["operationId"] for group in document["paths"].values() for operation in group.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    document = build_document(ENDPOINTS)
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= set(document["components"]["schemas"])
    assert {shape.__name__ for shape in list_shapes()} <= set(document["components"]["schemas"])


def test_who_may_call_is_told() -> None:
    document = build_document(ENDPOINTS)
    for endpoint in ENDPOINTS:
        operation = document["paths"][f"{PREFIX}{endpoint.path}"][endpoint.method.lower()]
        assert endpoint.scope in SCOPES
        kinds = [kind for choice in operation["security"] for kind in choice]
        if endpoint.scope in ("public", "child"):
            assert kinds == []
        elif endpoint.scope == "accounts" or endpoint.people_only:
            assert kinds == ["session"]
        else:
            assert kinds == ["session", "token"]
        assert operation["summary"] and (endpoint.result is None) == ("204" in operation["responses"])


def test_it_is_json_of_openapi_3_1() -> None:
    document = build_document(ENDPOINTS)
    assert document["openapi"] == "3.1.0"
    assert msgspec.json.decode(msgspec.json.encode(document)) == json.loads(json.dumps(document))


def list_patterns(part: Any) -> Iterator[str]:
    """All patterns in a JSON value of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        part = list(part.values())
    for each in part if isinstance(part, list) else ():
        yield from list_patterns(each)


PATTERNS = sorted(set(list_patterns(build_document(ENDPOINTS))))


def test_there_are_patterns() -> None:
    assert len(PATTERNS) >= 3  # of ids, days, countries


@pytest.mark.parametrize("pattern", PATTERNS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_pattern_is_of_the_whole_text(pattern: str, data: st.DataObject) -> None:
    """`$` lets a line end through in Python, `\\d` digits of all scripts."""
    text = data.draw(st.from_regex(pattern))
    assert text.isascii() and "\n" not in text
    for more in (f"{text}\n", f"\n{text}", f"{text}\n{text}", f"{text}\u2028", f"{text} "):
        assert not re.search(pattern, more), repr(more)


@pytest.mark.parametrize("day", ["2026-11-22\n", "\u0662\u0660\u0662\u0666-11-22", "2026-11-22 ", "x2026-11-22"])
def test_a_date_is_one_to_its_end(day: str) -> None:
    body = json.dumps({"day": day, "minutes": 5}).encode()
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Bonus)
