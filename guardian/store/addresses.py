"""The table of addresses on disk: read whole, and replaced like an image."""

from __future__ import annotations

import os
from pathlib import Path

from guardian.blocklist.addresses import AddressTable, from_bytes
from guardian.errors import ListError
from guardian.store.images import replace_file

MAX_FILE_BYTES = 256 * 1024 * 1024  # more than any list that a gateway could hold in memory


def address_file(state: str) -> str:
    """Return where the state directory keeps the table."""
    return os.path.join(state, "lists", "addresses")


def load_addresses(path: str | Path) -> AddressTable:
    """Return the table of a file. Raises ListError with the file's name: no such file, not a table, damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ListError(f"{path}: more than {MAX_FILE_BYTES >> 20} MB are no address list")
    try:
        return from_bytes(data)
    except ListError as error:
        raise ListError(f"{path}: {error}") from None


def write_addresses(path: str | Path, table: AddressTable) -> None:
    """Write a table as `replace_file` does, and read it back. Raises ListError, OSError; then the old one stays."""
    replace_file(path, [table.to_bytes()], load_addresses)
