"""Folders of what is kept: for this program and its group, and for nobody else of the machine."""

from __future__ import annotations

import errno
import os

FOLDER_MODE = 0o750


def make_folder(path: str | os.PathLike[str], mode: int = FOLDER_MODE) -> None:
    """Make a folder where it is missing, and the ones above it in the same way. Raises OSError.

    `os.makedirs` gives its mode to the last one only: whoever came first made the state directory open to everybody.
    """
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    make_folder(os.path.dirname(path))
    try:
        os.mkdir(path, mode)
    except FileExistsError:  # another process was quicker, or it is a file
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
