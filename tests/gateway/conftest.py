"""Fixtures of the running product. A failed test shows what its gateway logged."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.product import Running, Upstream

RECORDS = """
www.open.example A 192.0.2.10
www.open.example AAAA 2001:db8::10
www.open.example HTTPS 1 . alpn="h2" ipv4hint="192.0.2.10" ech="AEX+DQBBwwAgACCpYmFzZTY0"
two.open.example A 192.0.2.11
two.open.example A 192.0.2.12
text.open.example TXT "hello"
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Running):
                report.sections.append(("log of the gateway", value.log()[-8000:]))
    return report


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream(RECORDS)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def home(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway in front of `upstream`, for tests that only ask."""
    from tests.gateway.product import running

    folder: Path = tmp_path_factory.mktemp("home")
    yield from running(folder, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}})
