"""Whether a folder takes what is written. Full and read-only disks: tests/life/test_flash.py, on a real file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from guardian.store import room
from guardian.store.room import FULL, READ_ONLY, look_at_room


def test_a_folder_with_room(tmp_path: Path) -> None:
    found = look_at_room(str(tmp_path))
    assert found.state == "" and found.free > 0
    assert look_at_room(str(tmp_path / "not" / "yet")).state == ""
    assert os.listdir(tmp_path) == [], "nothing is written to find out"


@pytest.mark.parametrize("changes", [{"f_bavail": 10}, {"f_favail": 0, "f_files": 100}, {"f_flag": os.ST_RDONLY}])
def test_what_the_file_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int]) -> None:
    class Said:
        f_bavail, f_frsize, f_files, f_favail, f_flag = 10_000, 4096, 0, 0, 0

    for name, value in changes.items():
        setattr(Said, name, value)
    monkeypatch.setattr(os, "statvfs", lambda path: Said)
    assert look_at_room(str(tmp_path)).state == (READ_ONLY if "f_flag" in changes else FULL)


def test_a_disk_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "statvfs", fail)
    assert look_at_room(str(tmp_path)) == (READ_ONLY, 0)


def test_databases_are_never_opened_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("settings.db", "settings.db-journal", "console.db.damaged", "clock"):
        (tmp_path / name).write_text("x")
    opened = []
    real = os.open

    def note(path: str, flags: int) -> int:
        opened.append(os.path.basename(path))
        return real(path, flags)

    monkeypatch.setattr(room.os, "open", note)
    assert look_at_room(str(tmp_path)).state == ""
    assert opened == ["clock"] and (tmp_path / "clock").read_text() == "x"


def test_a_disk_that_refuses_writers_without_saying_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "image").write_text("x")

    def refuse(path: str, flags: int) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(room.os, "open", refuse)
    assert look_at_room(str(tmp_path)).state == READ_ONLY
