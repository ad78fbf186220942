"""List images on disk: mapped to be read, written aside and renamed to be replaced."""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from guardian.blocklist.image import Image
from guardian.errors import ListError
from guardian.store.folders import make_folder


def map_image(path: str | Path) -> Image:
    """Return the image of a file, mapped read-only: processes share its pages, and nothing is copied.

    The mapping ends when the Image is forgotten. Raises ListError with the file's name: no such file, not an image, cut
    off, damaged where lookups rely on it.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except ValueError:
        raise ListError(f"{path}: the file is empty") from None
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None
    try:
        return Image(mapped)
    except ListError as error:
        raise ListError(f"{path}: {error}") from None


FILE_MODE = 0o640  # the gateway reads it through its group; with its key anybody could try names on a secret list


def _open_private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)  # also where a killed writer left a file behind
    return descriptor


def write_image(path: str | Path, chunks: Iterable[bytes | bytearray | memoryview | array[int]]) -> None:
    """Write an image as `replace_file` does, checked byte for byte. Raises ListError, OSError."""
    replace_file(path, chunks, lambda aside: map_image(aside).verify())


def replace_file(
    path: str | Path, chunks: Iterable[bytes | bytearray | memoryview | array[int]], check: Callable[[Path], object]
) -> None:
    """Write a file so that at every moment `path` is the old one or the new one, whole, also over a power cut.

    It is written beside `path` and synced, read back by `check`, and renamed. Raises what `check` raises when it does
    not pass, OSError when the disk does not take it; then `path` stays as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        make_folder(path.parent)
        sync_folder(path.parent)
    aside = path.with_name(f".{path.name}.new")  # one writer per file: what lies here is left from a killed one
    try:
        with open(aside, "wb", opener=_open_private) as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        check(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path)


def sync_folder(path: str | Path) -> None:
    """Return when the folder of `path` is on the disk: what was made, renamed and removed in it. Raises OSError."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
