"""The lab as pytest fixtures; `tests/netns/conftest.py` hands them to the tests there."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.gateway.product import require
from tests.netns.lab.home import Lab, World, open_world
from tests.netns.namespaces import require_namespaces

PROGRAMS = ("ip", "nft", "conntrack", "ethtool", "curl", "dig")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test shows what Guardian and the servers logged."""
    report = yield
    for value in getattr(item, "funcargs", {}).values() if report.failed else ():
        if isinstance(value, Lab):
            report.sections.append(("log of the gateway", value.guardian.log()[-8000:]))
            report.sections.append(("log of the lab's servers", value.world.log()[-8000:]))
    return report


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Network and servers, one for all tests. `world.protected(...)` puts Guardian on the router."""
    require_namespaces()
    require(*PROGRAMS)
    with open_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Guardian with the lab's household, one for all tests of a module."""
    with world.protected(tmp_path_factory.mktemp("router")) as lab:
        yield lab


@pytest.fixture
def seen(lab: Lab) -> Iterator[None]:
    """Forget what the servers have seen before this test."""
    lab.seen.forget()
    yield
