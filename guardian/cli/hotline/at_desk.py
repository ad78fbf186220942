"""What the commands of the desk share: which desk, who acts, how tables are printed."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guardian.errors import DeskError

if TYPE_CHECKING:
    from guardian.desk.journal import Signer
    from guardian.desk.store import Desk

CONFIDENTIAL = "confidential: this holds names of the list; do not copy it out of the desk"
_MAX_PASSWORD_BYTES = 4096


def open_desk(args: argparse.Namespace) -> Desk:
    """Return the desk that the arguments name. Raises DeskError."""
    from guardian.desk.store import Desk

    if not args.desk:
        raise DeskError("which desk? Give --desk DIR, or set $GUARDIAN_DESK")
    return Desk.open(args.desk)


def add_signing(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the arguments that say who acts."""
    parser.add_argument("--as", dest="person", metavar="NAME", required=required, help="who you are")
    parser.add_argument("--password-file", metavar="FILE", help="the password of your key is in this file's first line")
    parser.add_argument("--key", metavar="FILE", default="", help="your key, if it is not in the desk's keys/ folder")


def sign_in(args: argparse.Namespace, desk: Desk) -> Signer:
    """Return who acts, with the unlocked key. Raises DeskError."""
    from guardian.desk.people import unlock_signer

    return unlock_signer(desk.folder, args.person, read_password(args.person, args.password_file), args.key)


def read_password(person: str, file: str | None, *, new: bool = False) -> str:
    """Return a password: the first line of a file that nobody else can read, else asked for. Raises DeskError.

    A `new` one is asked for twice.
    """
    if file:
        return _read_password_file(file)
    if not sys.stdin.isatty():
        raise DeskError(f"no terminal to ask {person} for a password: give --password-file FILE")
    password = getpass.getpass(f"{'New password' if new else 'Password'} of {person}: ")
    if new and getpass.getpass("Once more: ") != password:
        raise DeskError("the two are not the same; nothing was changed")
    return password


def _read_password_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise DeskError(f"{path} can be read by other users of this machine: chmod 600 {path}")
            line = file.readline(_MAX_PASSWORD_BYTES)
        password = line.decode().rstrip("\r\n")
    except OSError as error:
        raise DeskError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DeskError(f"{path}: its first line is not text in UTF-8") from None
    if not password:
        raise DeskError(f"{path}: its first line is empty; the password stands there")
    return password


def say_confidential() -> None:
    """Say that what is printed is secret: on standard error, so that output can be piped."""
    print(CONFIDENTIAL, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below their heads, each column as wide as it needs."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *texts]) for column in range(len(head))]
    for row in [list(head), *texts]:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def show_time(seconds: float) -> str:
    """Return a moment as people read it, in UTC: desks of several countries talk to each other."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
