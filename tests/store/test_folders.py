"""Folders of what is kept are nobody else's, whoever makes them first."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from guardian.store.folders import make_folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_folder_on_the_way_is_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "state" / "lists" / "sources")
    for folder in ("state", "state/lists", "state/lists/sources"):
        assert mode_of(tmp_path / folder) == 0o750
    make_folder(str(tmp_path / "state" / "web"), 0o700)
    assert mode_of(tmp_path / "state" / "web") == 0o700


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    make_folder(tmp_path / "state")
    assert mode_of(tmp_path / "state") == 0o700
    make_folder("/")


def test_a_name_without_a_folder_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder("")
    make_folder("state")
    assert os.listdir() == ["state"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    for path in ("state", "state/lists"):
        with pytest.raises(NotADirectoryError):
            make_folder(tmp_path / path)
