"""The history: what was asked and decided, written by the gateway alone, from a thread of its own.

The gateway gathers in a `Recorder` and hands a `Batch` over every few seconds: `writer.submit(recorder.take())`.
Whatever happens to the file (full, broken, gone), the gateway lives: the writer logs, says so in `status()`, and tries
again with the next batch. See `docs/history.md`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import NamedTuple

from guardian.errors import ConfigError
from guardian.store import history_file, history_write
from guardian.store.history_record import Batch

log = logging.getLogger(__name__)

DEFAULT_RETENTION_DAYS = 30
DEFAULT_SIZE_CAP = 16 * 1024 * 1024
SNAPSHOT_SECONDS = 3600.0
_SECONDS_A_DAY = 86400
_WAITING_JOBS = 16
_HIGH_WATER, _LOW_WATER, _HALF = 0.9, 0.8, 0.5  # of the pages that the size cap allows
_FAILURES = (sqlite3.Error, OSError, ConfigError)


class HistoryStatus(NamedTuple):
    """How the history is doing. `error` is "" when the last write went well; times are epoch seconds, 0 = never."""

    running: bool
    error: str
    file_bytes: int  # the database and its log
    written_at: float
    snapshot_at: float
    batches: int
    lost_queries: int  # counted in batches that could not be written
    unnamed_queries: int  # counted, but their names found no room


class HistoryWriter:
    """Owns history.db. `start`, `submit` and `close` are called from one thread; the file is touched by its own.

    `path` may lie on a RAM disk; `snapshot_path` ("" = none) is the copy that outlives it, renewed every hour and at
    `close`. `size_cap_bytes` bounds the database and its log together.
    """

    def __init__(
        self,
        path: str,
        snapshot_path: str = "",
        retention_days: int = DEFAULT_RETENTION_DAYS,
        size_cap_bytes: int = DEFAULT_SIZE_CAP,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._snapshot_path = snapshot_path
        self._retention_days = retention_days
        self._size_cap = size_cap_bytes
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING_JOBS)
        self._thread: threading.Thread | None = None
        self._opened = threading.Event()
        self._inode = 0
        self._errors: dict[str, str] = {}  # what failed last -> message
        self._written_at = self._snapshot_at = 0.0
        self._batches = self._lost = self._unnamed = 0
        self._changes_in_snapshot = 0
        self._next_upkeep = 0.0
        self._must_scrub = False

    def start(self) -> None:
        """Begin: the thread opens or restores the database, then writes. Returns at once; `drain` waits for it.

        A bad file raises nothing here: see `status`.
        """
        if self._thread is not None:
            raise RuntimeError("the history writer is started once")
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch | None) -> bool:
        """Hand a batch over without waiting; False when the writer is too far behind and the batch is lost."""
        if batch is None:
            return True
        try:
            self._jobs.put_nowait(lambda: self._write(batch))
        except queue.Full:
            self._lost += batch.queries
            return False
        return True

    def erase_names(self, devices: Iterable[str], *, again: bool = False) -> Future[None]:
        """Delete the names these device ids asked for; counts stay. Call it when a profile's visibility narrows.

        `again`: that has been done before, and is made sure of; histories that were put aside stay. Batches that were
        submitted before are covered. The future holds sqlite3.Error or OSError when it failed.
        """
        ids = tuple(devices)
        return self._order(lambda connection: history_write.erase_names(connection, ids), keeps_put_aside=again)

    def erase_services(self, devices: Iterable[str], *, again: bool = False) -> Future[None]:
        """Delete the minutes per service of these device ids; totals stay. For profiles that now show counts only."""
        ids = tuple(devices)
        return self._order(lambda connection: history_write.erase_services(connection, ids), keeps_put_aside=again)

    def erase_all(self) -> Future[None]:
        """Delete everything, in the database and in the snapshot."""
        return self._order(history_write.erase_all)

    def drain(self) -> None:
        """Wait until the database is open and all that was submitted is written or given up."""
        if self._thread is not None:
            self._opened.wait()
            self._jobs.join()

    def close(self) -> None:
        """Write what waits, take the last snapshot, end the thread. May be called twice."""
        if self._thread is None:
            return
        self._jobs.put(None)
        self._thread.join()
        self._thread = None

    def status(self) -> HistoryStatus:
        """Return how the history is doing; cheap, from any thread."""
        return HistoryStatus(
            running=self._thread is not None and self._thread.is_alive() and self._connection is not None,
            error="; ".join(self._errors.values()),
            file_bytes=history_file.measure_file(self.path),
            written_at=self._written_at,
            snapshot_at=self._snapshot_at,
            batches=self._batches,
            lost_queries=self._lost,
            unnamed_queries=self._unnamed,
        )

    # The rest runs in the writer's thread.

    def _run(self) -> None:
        self._attempt("open", self._require_connection)
        self._next_upkeep = self._clock() + SNAPSHOT_SECONDS
        self._opened.set()
        while True:
            wait = min(max(self._next_upkeep - self._clock(), 0.0), SNAPSHOT_SECONDS)
            try:
                job = self._jobs.get(timeout=wait)
            except queue.Empty:
                self._keep_up()
                continue
            try:
                if job is None:
                    break
                job()
            finally:
                self._jobs.task_done()
            if self._clock() >= self._next_upkeep:
                self._keep_up()
        self._attempt("close", self._finish)

    def _attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Run an action on the file. A failure is logged once and kept for `status` until the same action succeeds."""
        try:
            action()
        except _FAILURES as error:
            message = f"{what}: {error}"
            if self._errors.get(what) != message:
                log.warning("event=history-failed action=%s path=%s error=%s", what, self.path, error)
            self._errors = {**self._errors, what: message}
            # The next batch opens it anew, which restores or begins again.
            if isinstance(error, sqlite3.Error) and history_file.is_broken(error):
                self._close_connection()
            return False
        if what in self._errors:
            self._errors = {key: message for key, message in self._errors.items() if key != what}
        return True

    def _require_connection(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode != history_file.read_inode(self.path):
            log.warning("event=history-file-gone path=%s action=open", self.path)
            self._close_connection()
        if self._connection is None:
            connection = history_file.open_file(self.path, self._snapshot_path, self._size_cap)
            self._connection = connection
            self._inode = history_file.read_inode(self.path)
            self._changes_in_snapshot = connection.total_changes
            self._errors = {}
            self._forget_old(connection)
            self._trim(connection)
        return self._connection

    def _forget_old(self, connection: sqlite3.Connection) -> None:
        now = self._clock()
        history_write.delete_old(connection, now, self._retention_days)
        history_file.forget_put_aside(self.path, self._snapshot_path, now - self._retention_days * _SECONDS_A_DAY)

    def _trim(self, connection: sqlite3.Connection, above: float = _HIGH_WATER, down_to: float = _LOW_WATER) -> int:
        return history_write.trim(connection, self._size_cap, above, down_to)

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # a broken database may refuse even that
                connection.close()

    def _write(self, batch: Batch) -> None:
        if self._attempt("write", lambda: self._write_once(batch)):
            self._batches += 1
            self._unnamed += batch.unnamed
            self._written_at = self._clock()
        else:
            self._lost += batch.queries

    def _write_once(self, batch: Batch) -> None:
        connection = self._require_connection()
        try:
            history_write.write_batch(connection, batch)
        except sqlite3.OperationalError as error:
            # Room is made once. A disk that others filled stays full: history stops, nothing else does.
            if not history_file.is_full(error) or not self._trim(connection, above=_HALF, down_to=_HALF):
                raise
            history_write.write_batch(connection, batch)
        self._trim(connection)
        if self._must_scrub:
            self._must_scrub = not history_write.scrub(connection)

    def _keep_up(self) -> None:
        self._next_upkeep = self._clock() + SNAPSHOT_SECONDS
        self._attempt("upkeep", self._keep_up_once)

    def _keep_up_once(self) -> None:
        connection = self._require_connection()
        self._forget_old(connection)
        self._must_scrub = not history_write.scrub(connection)
        self._take_snapshot(connection)

    def _take_snapshot(self, connection: sqlite3.Connection, even_if_same: bool = False) -> None:
        if not self._snapshot_path:
            return
        # Flash wears: nothing new, nothing written.
        if connection.total_changes == self._changes_in_snapshot and not even_if_same:
            return
        history_file.take_snapshot(connection, self._snapshot_path)
        self._changes_in_snapshot = connection.total_changes
        self._snapshot_at = self._clock()

    def _order(self, erase: Callable[[sqlite3.Connection], None], *, keeps_put_aside: bool = False) -> Future[None]:
        done: Future[None] = Future()

        def run() -> None:
            try:
                connection = self._require_connection()
                erase(connection)
                self._must_scrub = not history_write.scrub(connection)
                # Also when no new snapshot can be written, the old one must not tell what was erased.
                history_file.remove_copies(self.path, self._snapshot_path, keeps_put_aside)
                self._take_snapshot(connection, even_if_same=True)
            except _FAILURES as error:
                log.warning("event=history-erase-failed path=%s error=%s", self.path, error)
                done.set_exception(error)
            else:
                done.set_result(None)

        try:
            self._jobs.put_nowait(run)
        except queue.Full:
            done.set_exception(OSError("the history writer is too far behind; try again"))
        return done

    def _finish(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            self._take_snapshot(connection)
        finally:
            self._close_connection()
