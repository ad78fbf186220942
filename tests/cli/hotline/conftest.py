"""One desk for all tests of the commands, copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.hotline.desks import make_desk_with_keys


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_desk_with_keys(tmp_path_factory.mktemp("hotline"))


@pytest.fixture
def folder(_made: Path, tmp_path: Path) -> Path:
    """The folder of a desk with files of keys; the password is in `password` beside it."""
    shutil.copy2(_made.parent / "password", tmp_path / "password")
    return Path(shutil.copytree(_made, tmp_path / "desk"))
