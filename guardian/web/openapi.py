"""The OpenAPI 3.1 document, made of the endpoints and the shapes: it cannot tell anything that the code does not do."""

from __future__ import annotations

import importlib
import pkgutil
import re
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from guardian import __version__
from guardian.web import shapes
from guardian.web.routing import CHILD, PREFIX, PUBLIC, Endpoint
from guardian.web.shapes.common import Problem, Struct

REF = "#/components/schemas/{name}"
_ALWAYS = (400, 403, 405, 408, 413, 421, 429, 431, 503)
_SIGNED_IN = (401,)
_WORDS = {
    400: "the request cannot be read",
    401: "nobody is signed in, or the token is not known",
    403: "the caller may not do this",
    404: "there is no such thing",
    405: "there is no such method here",
    408: "the body came too slowly",
    409: "somebody else has changed it meanwhile, or it is there already",
    413: "the body is too large",
    415: "the body is of another type",
    421: "the Host field names another machine",
    422: "some of the request cannot be used",
    429: "too many tries",
    431: "the head of the request is too large",
    503: "this cannot be done now",
}


def list_shapes() -> list[type]:
    """Return every shape of `guardian.web.shapes`."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(shapes.__path__):
        for value in vars(importlib.import_module(f"{shapes.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Struct) and value is not Struct:
                found[value.__name__] = value
    return list(found.values())


def build_document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the document as JSON values."""
    _, components = msgspec.json.schema_components(list_shapes(), ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(f"{PREFIX}{endpoint.path}", {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Guardian console",
            "version": __version__,
            "description": "What the parents' page does, for programs. Sign in for a session cookie, or send a token.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "guardian_session"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    names = re.findall(r"{(\w+)(?::\w+)?}", endpoint.path)
    made: dict[str, Any] = {
        "operationId": endpoint.run.__name__,
        "summary": endpoint.summary,
        "description": f"Scope: {endpoint.scope}.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
        + _query_parameters(endpoint),
        "responses": _responses(endpoint),
        "security": []
        if endpoint.scope in (PUBLIC, CHILD)
        else [{"session": []}, *([] if endpoint.people_only or endpoint.scope == "accounts" else [{"token": []}])],
    }
    if endpoint.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {endpoint.body_media: {"schema": _schema(endpoint.body, endpoint.body_media)}},
        }
    return made


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    (_,), components = msgspec.json.schema_components([endpoint.query], ref_template=REF)
    schema = components[endpoint.query.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": part}
        for name, part in schema["properties"].items()
    ]


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.result is None:
        made: dict[str, Any] = {"204": {"description": "it is done"}}
    else:
        made = {
            str(endpoint.status): {
                "description": "it is done",
                "content": {endpoint.media: {"schema": _schema(endpoint.result, endpoint.media)}},
            }
        }
    codes = {*_ALWAYS, *endpoint.errors}
    if endpoint.scope not in (PUBLIC, CHILD):
        codes |= {*_SIGNED_IN}
    if endpoint.body is not None:
        codes |= {415, 422}
    if endpoint.query is not None:
        codes |= {422}
    if "{" in endpoint.path:
        codes |= {404}
    problem = {"application/problem+json": {"schema": _reference(Problem)}}
    return made | {str(code): {"description": _WORDS[code], "content": problem} for code in sorted(codes)}


def _schema(kind: Any, media: str) -> dict[str, Any]:
    """The schema of a result or a body: a shape, a list of one, text, or the YAML that a text is."""
    if kind is str and media == "application/yaml":
        return {"type": "object", "description": "a household file, as docs/configuration.md tells"}
    if kind is str:
        return {"type": "string"}
    if typing.get_origin(kind) is list:
        return {"type": "array", "items": _reference(typing.get_args(kind)[0])}
    return _reference(kind)


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": REF.format(name=shape.__name__)}
