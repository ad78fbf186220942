"""The OpenAPI document: made of the code, so what could be wrong is that something is missing from it."""

from __future__ import annotations

import json
import re

import msgspec

from guardian.web.api import ENDPOINTS
from guardian.web.openapi import build_document, list_shapes
from guardian.web.routing import PREFIX

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
