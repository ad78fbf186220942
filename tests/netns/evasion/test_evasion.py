"""Every trick works without the filter; none works with it; and who does the same honestly is not disturbed.

All cases of a world run at once, as soon as the first test asks: see grounds.py.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import pytest

from tests.gateway.product import require
from tests.netns.evasion.attack import CASES, OPEN, Case
from tests.netns.evasion.grounds import Grounds
from tests.netns.lab.fixtures import PROGRAMS

for _name in ("segments", "decoys", "ip", "reuse", "tls", "http", "quic", "ports", "forged"):
    importlib.import_module(f"tests.netns.evasion.cases_{_name}")

ALL = [pytest.param(case, id=case.id) for case in CASES]
CONTROLS = [pytest.param(case, id=case.id) for case in CASES if case.has_control]


@pytest.fixture(scope="module")
def grounds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """The worlds, in which the cases of the chosen tests run."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    require(*PROGRAMS)
    chosen: dict[str, Case] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.module is request.module:
            case = item.callspec.params["case"]
            assert isinstance(case, Case)
            chosen[case.id] = case
    grounds = Grounds(tmp_path_factory.mktemp("evasion"), chosen.values())
    try:
        grounds.start()
        yield grounds
    finally:
        grounds.close()


@pytest.mark.parametrize("case", ALL)
def test_without_the_filter_it_works(grounds: Grounds, case: Case) -> None:
    came = grounds.outcome(OPEN, case, is_attack=True)
    assert came.error == ""
    if case.dead and not came.accepted:
        pytest.skip(case.dead)
    assert came.accepted, came
    assert case.is_hello or came.has_page, came


@pytest.mark.parametrize("case", ALL)
def test_the_filter_stops_it(grounds: Grounds, case: Case) -> None:
    came = grounds.outcome(case.ground, case, is_attack=True)
    assert came.error == ""
    assert not came.accepted, "a server took the blocked name"
    assert not came.has_page


@pytest.mark.parametrize("case", CONTROLS)
def test_who_does_it_honestly_is_let_through(grounds: Grounds, case: Case) -> None:
    came = grounds.outcome(case.ground, case, is_attack=False)
    assert came.error == ""
    assert came.accepted, came
    assert case.is_hello or came.has_page, came
