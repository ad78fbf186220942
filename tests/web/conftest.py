"""Fixtures of the running console. A failed test shows what its processes logged."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.web.product import Served, console

__all__ = ["console"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Served):
                report.sections.append(("log of the console", value.web_log()[-8000:]))
                report.sections.append(("log of the gateway", value.log()[-4000:]))
    return report


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway and a console with the household of `tests.gateway.product`, claimed by Mama."""
    with console(tmp_path_factory.mktemp("console")) as running:
        yield running
