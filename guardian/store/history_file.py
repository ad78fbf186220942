"""The history database as a file: its form, opening, restoring, moving aside when broken, snapshots."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from urllib.parse import quote

from guardian.errors import ConfigError
from guardian.store.folders import make_folder
from guardian.store.images import sync_folder
from guardian.store.migrations import Migration, migrate

log = logging.getLogger(__name__)

FILE_MODE = 0o640  # the console's user reads it through the group
BUSY_SECONDS = 5.0
MIN_SIZE_CAP = 1024 * 1024
_DATABASE_SHARE = 0.6  # of the size cap; the rest is for the write-ahead log
_CACHE_KIB = 512  # the gateway counts every megabyte
_READER_CACHE_KIB = 256  # of each reader; it reads long stretches once, from pages that the kernel has
CORRUPT, NEWER = ".corrupt", ".newer"  # what is put aside gets this behind its name
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

MIGRATIONS = (
    Migration(
        1,
        "history",
        (
            # Few kinds and names, many rows: the rows hold numbers, a fifth of the size.
            """
            CREATE TABLE kind (
                id INTEGER PRIMARY KEY,
                device TEXT NOT NULL,            -- a device id, '' for devices that nobody has named
                action TEXT NOT NULL,            -- allow, block, rewrite
                reason TEXT NOT NULL,            -- '' where only counts are kept
                tag TEXT NOT NULL,               -- category:NAME, service:NAME, ...; may be ''
                UNIQUE (device, action, reason, tag)
            ) STRICT
            """,
            "CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
            """
            CREATE TABLE hourly (
                hour INTEGER NOT NULL,           -- epoch seconds / 3600
                kind INTEGER NOT NULL,
                count INTEGER NOT NULL,
                PRIMARY KEY (hour, kind)
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE visit (
                hour INTEGER NOT NULL,
                kind INTEGER NOT NULL,
                name INTEGER NOT NULL,
                count INTEGER NOT NULL,
                first INTEGER NOT NULL,          -- seconds after the hour began
                last INTEGER NOT NULL,
                PRIMARY KEY (hour, kind, name)
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE mandatory (
                day TEXT PRIMARY KEY,            -- 2026-11-21, local time
                count INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE sighting (
                mac TEXT PRIMARY KEY,            -- aa:bb:cc:dd:ee:ff
                first_seen REAL NOT NULL,        -- epoch seconds
                last_seen REAL NOT NULL,
                addresses TEXT NOT NULL,         -- separated by spaces, the newest first
                hostname TEXT NOT NULL,
                random INTEGER NOT NULL          -- 1: the device made this MAC up and may change it
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE VIEW hours AS
                SELECT hour, device, action, reason, tag, count FROM hourly JOIN kind ON kind.id = hourly.kind
            """,
            """
            CREATE VIEW visits AS
                SELECT hour, device, name.name AS name, action, reason, tag, count,
                       hour * 3600 + first AS first_seen, hour * 3600 + last AS last_seen
                FROM visit JOIN kind ON kind.id = visit.kind JOIN name ON name.id = visit.name
            """,
        ),
    ),
    Migration(
        2,
        "attempts and minutes",
        (
            """
            CREATE TABLE attempt (
                day TEXT NOT NULL,               -- 2026-11-21, local time
                device TEXT NOT NULL,            -- a device id, '' for devices that nobody has named
                mac TEXT NOT NULL,               -- aa:bb:cc:dd:ee:ff of an unnamed device; else ''
                kind TEXT NOT NULL,              -- doh, vpn, unknown-device, ...: never a site
                count INTEGER NOT NULL,
                first INTEGER NOT NULL,          -- epoch seconds
                last INTEGER NOT NULL,
                PRIMARY KEY (day, device, mac, kind)
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE used (
                day TEXT NOT NULL,               -- 2026-11-21, local time
                profile TEXT NOT NULL,           -- a profile id
                part TEXT NOT NULL,              -- '' for all, a service id, or group:NAME
                minutes REAL NOT NULL,
                PRIMARY KEY (day, profile, part)
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE used_by_device (
                day TEXT NOT NULL,
                device TEXT NOT NULL,
                service TEXT NOT NULL,           -- '' for all
                minutes REAL NOT NULL,
                PRIMARY KEY (day, device, service)
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
)


def open_file(path: str, snapshot_path: str, size_cap_bytes: int) -> sqlite3.Connection:
    """Return a connection for the one writer, in autocommit mode, its schema up to date.

    A missing database comes back from the snapshot. A broken one is moved to `PATH.corrupt`, one that a newer Guardian
    wrote to `PATH.newer`, the snapshot as well; then what can be restored is, else a new history begins: minutes are
    counted in any case. Raises sqlite3.Error, OSError.
    """
    if not os.path.exists(path):
        restore(snapshot_path, path)
    try:
        return _connect(path, size_cap_bytes)
    except ConfigError as error:
        log.warning("event=history-newer path=%s error=%r action=put-aside", path, str(error))
        move_aside(path, NEWER)
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise
        log.warning("event=history-broken path=%s error=%s action=restore", path, error)
        move_aside(path, CORRUPT)
    restored = restore(snapshot_path, path)
    try:
        return _connect(path, size_cap_bytes)
    except ConfigError as error:
        log.warning("event=history-newer path=%s error=%r action=put-aside", snapshot_path, str(error))
        os.replace(snapshot_path, snapshot_path + NEWER)
    except sqlite3.DatabaseError as error:
        if not restored or not is_broken(error):
            raise
        log.warning("event=history-snapshot-broken path=%s error=%s action=new", snapshot_path, error)
    remove_database(path)
    return _connect(path, size_cap_bytes)


def is_broken(error: sqlite3.Error) -> bool:
    """Tell whether SQLite says that the file is damaged or no database."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in _BROKEN


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether there is no room, by the size cap or on the disk."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF == sqlite3.SQLITE_FULL


def _connect(path: str, size_cap_bytes: int) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only for a file without tables
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what parents erase is gone from the file's bytes
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        pages = allowed_pages(connection, size_cap_bytes)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.execute(f"PRAGMA journal_size_limit = {max(size_cap_bytes, MIN_SIZE_CAP) // 16}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {pages // 10}")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            error = sqlite3.DatabaseError(str(found[0]))
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        migrate(connection, MIGRATIONS, path)
    except BaseException:
        connection.close()
        raise
    return connection


def allowed_pages(connection: sqlite3.Connection, size_cap_bytes: int) -> int:
    """Return how many pages the database may have, so that it and its log stay below the size cap."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(max(size_cap_bytes, MIN_SIZE_CAP) * _DATABASE_SHARE) // int(page_bytes)


def open_read_only(path: str) -> sqlite3.Connection:
    """Return a connection that cannot write. Raises sqlite3.Error when the file is not there or not readable."""
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        connection.execute("SELECT 1 FROM migrations")
    except BaseException:
        connection.close()
        raise
    return connection


def take_snapshot(connection: sqlite3.Connection, snapshot_path: str) -> None:
    """Write a compact copy aside, sync it, and rename it over the old snapshot. Raises sqlite3.Error or OSError."""
    aside = snapshot_path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    make_folder(os.path.dirname(snapshot_path))
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        connection.execute("VACUUM INTO ?", (aside,))
        os.fsync(descriptor)
        os.replace(aside, snapshot_path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    finally:
        os.close(descriptor)
    sync_folder(snapshot_path)


def restore(snapshot_path: str, path: str) -> bool:
    """Copy the snapshot to where the database should be; return whether there was one. Raises OSError."""
    if not snapshot_path or not os.path.exists(snapshot_path):
        return False
    remove_database(path)  # a log left behind would be replayed into the copy
    aside = path + ".new"
    try:
        shutil.copyfile(snapshot_path, aside)
        os.chmod(aside, FILE_MODE)
        os.replace(aside, path)
    except BaseException:  # a full RAM disk needs the room more than half a copy does
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    return True


def move_aside(path: str, ending: str) -> None:
    """Keep one database that is of no use to us, with `ending` behind its name; its log goes."""
    os.replace(path, path + ending)
    remove_database(path)


def remove_database(path: str) -> None:
    """Delete a database and what SQLite keeps beside it."""
    for file in (path, path + "-wal", path + "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)


def remove_copies(path: str, snapshot_path: str, keeps_put_aside: bool = False) -> None:
    """Delete the snapshot and what was put aside, so that it stays gone over a power cut. Raises OSError."""
    for file in (snapshot_path, *([] if keeps_put_aside else list_put_aside(path, snapshot_path))):
        if file and os.path.exists(file):
            os.unlink(file)
            sync_folder(file)


def list_put_aside(path: str, snapshot_path: str) -> list[str]:
    """Return where histories lie that this Guardian could not read: broken ones, and those of a newer Guardian."""
    return [path + CORRUPT, path + NEWER, *([snapshot_path + NEWER] if snapshot_path else [])]


def forget_put_aside(path: str, snapshot_path: str, before: float) -> None:
    """Delete what was put aside before a moment (epoch seconds): it is history, and not kept for longer than that.

    Raises OSError.
    """
    for file in list_put_aside(path, snapshot_path):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(file).st_mtime < before:
                os.unlink(file)


def read_inode(path: str) -> int:
    """Return the inode number of a file, 0 when it is not there."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def measure_file(path: str) -> int:
    """Return the bytes of a database and its log on disk."""
    size = 0
    for file in (path, path + "-wal"):
        with contextlib.suppress(OSError):
            size += os.stat(file).st_size
    return size
