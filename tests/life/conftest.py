"""A box in use, and a home with a provider, each made anew for one test: what happens here leaves its marks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.product import Upstream, require
from tests.netns.lab.fixtures import PROGRAMS, pytest_runtest_makereport
from tests.netns.lab.home import World, open_world
from tests.netns.namespaces import require_namespaces
from tests.web.product import Served, console

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a provider of this test's own: the line is cut here."""
    require_namespaces()
    require(*PROGRAMS)
    folder = tmp_path / "world"
    folder.mkdir()
    with open_world(folder) as world:
        yield world


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Served]:
    """A box in use: claimed, with a household, a history and lists."""
    upstream = Upstream()
    settings = {
        "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]},
        "history": {"path": "tmp/history.db", "snapshot": "state/history.db", "flush_seconds": 0.1},
    }
    (tmp_path / "tmp").mkdir()
    try:
        with console(tmp_path, None, settings) as served:
            assert served.patch("/devices/tablet", {"name": "Ana's"}).status_code == 200
            yield served
    finally:
        upstream.close()
