"""Calls of the API without a server: bodies, queries and results go through JSON as they do over the wire."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml

from guardian.config import load_config
from guardian.errors import ConfigError
from guardian.web.access import ALL_SCOPES, Caller
from guardian.web.api import ENDPOINTS
from guardian.web.console import Console
from guardian.web.routing import Call, Endpoint, RefusalError, decode_body, decode_query

HOME = """
timezone: Europe/Chisinau
language: ro
new_devices: guests
profiles:
  ana: {name: Ana, age: 10-12, block: [=blocked.example]}
  guests: {name: Guests, age: 0-6, offline: []}
  parents: {name: Parents, filtered: no}
devices:
  tablet: {name: Tablet, profile: ana, macs: ["aa:00:5e:10:00:01"], addresses: [127.0.0.2]}
  laptop: {name: Laptop, profile: parents, addresses: [127.0.0.3]}
"""


def open_console(folder: Path, household: str = HOME) -> Console:
    """A console on settings of its own; no gateway runs. With "" as the household the box is open."""
    settings: dict[str, Any] = {"state": "state", "language": "ro", "upstreams": {"servers": ["127.0.0.1:1"]}}
    if household:
        (folder / "home.yaml").write_text(household)
        settings["household"] = "home.yaml"
    (folder / "guardian.yaml").write_text(yaml.safe_dump(settings))
    (folder / "state").mkdir(exist_ok=True)
    return Console(load_config(str(folder / "guardian.yaml")), str(folder / "guardian.yaml"))


class Api:
    """Calls endpoints by method and path, as the parent `who` at `address`."""

    def __init__(self, console: Console, who: str = "Mama", address: str = "127.0.0.3") -> None:
        self.console = console
        self.caller = Caller(address, frozenset(ALL_SCOPES), 1, who)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        now: float | None = None,
        if_match: int | None = None,
        **query: str,
    ) -> Any:
        """The result, read back from JSON as its shape; raises what the call raises."""
        result = self.raw(method, path, body, now=now, if_match=if_match, **query)
        endpoint, _ = self._find(method, path)
        if endpoint.result is None:
            assert result is None
            return None
        return msgspec.json.decode(msgspec.json.encode(result), type=endpoint.result)

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        now: float | None = None,
        if_match: int | None = None,
        **query: str,
    ) -> Any:
        """The result as the call returned it: names from a household file may be longer than those of the API."""
        endpoint, parts = self._find(method, path)
        raw = body.encode() if endpoint.body is str else json.dumps(body).encode()
        call: Call[Any] = Call(
            console=self.console,
            caller=self.caller,
            path=parts,
            query=decode_query(endpoint, query),
            body=decode_body(endpoint, raw),
            now=time.time() if now is None else now,
            if_match=if_match,
        )
        return endpoint.run(call)

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        for endpoint in ENDPOINTS:
            found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", endpoint.path), path)
            if endpoint.method == method and found:
                return endpoint, found.groupdict()
        raise AssertionError(f"there is no {method} {path}")

    def refusal(self, *words: Any, **more: Any) -> tuple[int, str]:
        """Status and code of a call that is refused."""
        try:
            self(*words, **more)
        except RefusalError as error:
            return error.status, error.code
        raise AssertionError("it was not refused")

    def problems(self, *words: Any, **more: Any) -> dict[str, str]:
        """What is wrong with a call, by place."""
        try:
            self(*words, **more)
        except ConfigError as error:
            return {problem.where: problem.message for problem in error.problems}
        raise AssertionError("nothing was wrong with it")

    def journal(self) -> list[tuple[str, str, dict[str, str | int]]]:
        """Who, kind and details of all changes, the newest first."""
        return [(line.who, line.kind, line.details) for line in self("GET", "/changes").changes]
