"""Fixtures of the resolver's tests."""

from __future__ import annotations

import pytest

from tests.resolver.engine import Engine, make_engine


@pytest.fixture
def engine() -> Engine:
    return make_engine()
