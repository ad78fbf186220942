"""How the databases of settings are opened: durable, one writer at a time, errors that name the file.

The rollback journal with `synchronous=EXTRA` keeps the old state or the new one through a power cut; once a change was
acknowledged, the new one. (With FULL the journal's removal may not have reached the disk, and the change is undone.)
Where nothing can be written, what is there can still be read.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import quote

from guardian.errors import ConfigError, Problem
from guardian.store.folders import make_folder
from guardian.store.images import sync_folder
from guardian.store.migrations import Migration, migrate, read_version

log = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
FULL, READ_ONLY = "storage-full", "storage-read-only"
_TROUBLES_OF_SQLITE = {sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_READONLY: READ_ONLY}
_TROUBLES_OF_SYSTEM = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: READ_ONLY}
_CANNOT_WRITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


def connect(path: str, mode: str) -> sqlite3.Connection:
    """Return a connection in autocommit mode; `mode` is `ro` or `rw`. Raises sqlite3.Error."""
    address = f"file:{quote(os.path.abspath(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def open_database(path: str, migrations: tuple[Migration, ...], file_mode: int) -> sqlite3.Connection:
    """Return a writing connection to the database at `path`, made and brought up to date if need be.

    Raises ConfigError, sqlite3.Error, OSError.
    """
    make_folder(os.path.dirname(os.path.abspath(path)))
    _make_file(path, file_mode)
    connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what was removed is gone from the file's bytes
        migrate(connection, migrations, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_file(path: str, file_mode: int) -> None:
    """Make an empty file where there is none; SQLite gives its journal the same mode.

    One that is there is never opened: closing it would drop the locks that other threads hold through SQLite (POSIX).
    """
    if not os.path.exists(path):
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, file_mode)
            try:
                _give_to_service(descriptor, path)
            finally:
                os.close(descriptor)


def _give_to_service(descriptor: int, path: str) -> None:
    """Give a file that root makes by hand to the owner of its folder, the user of the services: they must write it."""
    if os.geteuid() == 0:
        folder = os.stat(os.path.dirname(os.path.abspath(path)))
        if folder.st_uid:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)


def open_to_read(path: str, migrations: tuple[Migration, ...]) -> sqlite3.Connection:
    """Return a connection that sees one moment of the database at `path` and cannot change it.

    A file of an older Guardian is brought up to date in memory only; what a killed writer left is rolled back, on a
    read-only disk in a copy. Raises ConfigError, sqlite3.Error, OSError.
    """
    try:
        return _open_in_place(path, migrations)
    except sqlite3.OperationalError as error:
        if not cannot_write(error) or not os.path.exists(f"{path}-journal"):
            raise
    return _open_copy(path, migrations)


def _open_in_place(path: str, migrations: tuple[Migration, ...]) -> sqlite3.Connection:
    finish_interrupted_change(path)
    connection = connect(path, "ro")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        if read_version(connection, migrations, path) == migrations[-1].version:
            return connection
        connection.execute("ROLLBACK")
        copy = _copy_to_memory(connection, migrations, path)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy


def _open_copy(path: str, migrations: tuple[Migration, ...]) -> sqlite3.Connection:
    """Roll an interrupted change back in a copy: nobody is at work on it (SQLite looks), and the disk takes nothing."""
    import shutil
    import tempfile  # rarely needed, and not small

    with tempfile.TemporaryDirectory(prefix="guardian-") as folder:
        aside = os.path.join(folder, "copy.db")
        shutil.copyfile(path, aside)
        shutil.copyfile(f"{path}-journal", f"{aside}-journal")
        with closing(connect(aside, "rw")) as connection:
            return _copy_to_memory(connection, migrations, path)


def _copy_to_memory(connection: sqlite3.Connection, migrations: tuple[Migration, ...], path: str) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.backup(copy)
        migrate(copy, migrations, path)
        copy.execute("PRAGMA query_only = ON")
    except BaseException:
        copy.close()
        raise
    return copy


def find_storage_trouble(error: BaseException | None) -> str:
    """Return FULL or READ_ONLY where an error of SQLite or the system says that the disk is, else ""."""
    if isinstance(error, sqlite3.Error):
        return _TROUBLES_OF_SQLITE.get(_code_of(error), "")
    return _TROUBLES_OF_SYSTEM.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def cannot_write(error: sqlite3.Error) -> bool:
    """Tell whether the disk took no write: full, read-only, broken. What the database holds may still be read."""
    return _code_of(error) in _CANNOT_WRITE


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for what Python itself complains of."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_damaged(path: str) -> bool:
    """Tell whether the file at `path` is no whole database; one that cannot be opened at all is not said to be so."""
    try:
        finish_interrupted_change(path)
        with closing(connect(path, "ro")) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.Error as error:
        return _code_of(error) in _DAMAGED


@contextmanager
def replacing_damaged(path: str) -> Iterator[str]:
    """Hand out where a database shall be written whose whole content is about to be replaced: `path`, if it is whole.

    A damaged one is replaced at the end, in one step, and kept as `PATH.damaged`. Raises sqlite3.Error, OSError.
    """
    if not os.path.exists(path) or not is_damaged(path):
        yield path
        return
    import shutil

    aside = f"{path}.new"
    _remove(aside, f"{aside}-journal")
    try:
        yield aside
        shutil.copyfile(path, f"{path}.damaged")
        _remove(f"{path}-journal")  # it belongs to what goes
        os.replace(aside, path)
        sync_folder(path)
        log.warning("event=database-replaced path=%s damaged=%s.damaged", path, path)
    finally:
        _remove(aside, f"{aside}-journal")


def _remove(*paths: str) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def finish_interrupted_change(path: str) -> None:
    """Roll back what a killed writer left: a read-only connection may not, and would refuse the file."""
    if not os.path.exists(f"{path}-journal") or not os.access(path, os.W_OK):
        return
    with closing(connect(path, "rw")) as connection:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()


@contextmanager
def explain_errors(path: str) -> Iterator[None]:
    """Turn what SQLite and the system say of the file into a ConfigError."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError([Problem(path, f"the settings cannot be used: {error}")]) from error
    except OSError as error:
        raise ConfigError([Problem(path, f"the settings cannot be used: {error.strerror}")]) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside happens, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
