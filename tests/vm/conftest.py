"""The emulated router's fixtures. Without `scripts/test --vm` its tests are skipped: they take minutes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.disks import Base, build_base
from tests.vm.machine import Machine, booted, require_qemu
from tests.vm.packages import MissingError
from tests.vm.router import make_work

ASKED = "GUARDIAN_VM"  # scripts/test --vm sets it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("vm") and not os.environ.get(ASKED):
            item.add_marker(pytest.mark.skip(reason="the emulated router: scripts/test --vm"))


@pytest.fixture(scope="session")
def base() -> Base:
    """Kernel and system disk; the first time they are fetched and built."""
    try:
        require_qemu()
        return build_base()
    except MissingError as error:
        pytest.skip(f"the emulated router cannot be built: {error}")


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """The disk with this checkout."""
    with tempfile.TemporaryDirectory(prefix="guardian-vm-disk-") as folder:
        yield make_work(Path(folder))


@pytest.fixture(scope="module")
def machine(base: Base, work: Path) -> Iterator[Machine]:
    """A booted router with its home and the internet, Guardian not started."""
    with booted(base, work) as machine:
        machine.call("product:set_clock", now=time.time())
        machine.call("network:make")
        machine.call("product:start_internet")
        yield machine
