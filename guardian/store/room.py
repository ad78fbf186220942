"""Whether a folder takes what is written: room left, or full, or read-only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

FULL, READ_ONLY = "full", "read-only"
LEAST_BYTES = 512 * 1024  # a change of the settings with its journal; below it, the next one may fail
_DEPTH = 2  # folders below the first in which a file is looked for


class Room(NamedTuple):
    """How a folder's file system is. `state` is "" when all is well, FULL or READ_ONLY; `free` is in bytes."""

    state: str
    free: int


def look_at_room(folder: str) -> Room:
    """Return how the file system of a folder is; one that is not there yet counts as its nearest parent.

    Nothing is written to find out. A disk that cannot even be asked counts as read-only.
    """
    while not os.path.isdir(folder) and folder not in ("", "/"):
        folder = os.path.dirname(folder)
    try:
        found = os.statvfs(folder or ".")
    except OSError:
        return Room(READ_ONLY, 0)
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY or _refuses_writers(folder):
        return Room(READ_ONLY, free)
    has_no_names = bool(found.f_files) and not found.f_favail  # some file systems run out of inodes first
    return Room(FULL if free < LEAST_BYTES or has_no_names else "", free)


def _refuses_writers(folder: str) -> bool:
    """Whether a file that is there cannot be opened for writing: after an error of the disk nothing else shows it.

    (ext4 since Linux 6.15 keeps the flag of a writable disk then, and so does an overlay above any that failed.)
    """
    for path in _list_files(folder, _DEPTH):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EROFS:
                return True
        else:
            return False
    return False


def _list_files(folder: str, depth: int) -> Iterator[str]:
    """Yield ordinary files, but no databases: closing one drops the locks that SQLite holds in this process (POSIX)."""
    try:
        with os.scandir(folder or ".") as entries:
            found = list(entries)
    except OSError:  # another user's: what it holds says nothing
        return
    for entry in found:
        if entry.is_file(follow_symlinks=False) and ".db" not in entry.name:
            yield entry.path
    for entry in found:
        if depth and entry.is_dir(follow_symlinks=False):
            yield from _list_files(entry.path, depth - 1)
