"""Which instance of a process is the one: a file with a token, and a lock on it.

A process id says nothing here: on OpenWrt each instance lives in a jail with ids of its own, and when the jail's keeper
is killed, the process within goes on and holds its ports. So a new instance writes a fresh token into the file; the old
one looks at it each second, and leaves when it finds another's. The lock tells whether somebody is still there.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable

from guardian.errors import GuardianError
from guardian.store.folders import make_folder

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that an old instance has for leaving
LOOK_SECONDS = 1.0
_RETRY_SECONDS = 0.05
_CLOSING_SECONDS = 0.2  # a process that ends closes its files one by one: its ports may come after its lock
_TOKEN_BYTES = 32  # as text
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Generation:
    """This instance's claim to be the one. `take` it, `watch` it, `close` it at the end."""

    def __init__(self, path: str, descriptor: int | None, token: bytes) -> None:
        self._path = path
        self._descriptor = descriptor
        self._token = token

    @classmethod
    def take(cls, path: str, what: str, replace: bool, patience: float = PATIENCE) -> Generation:
        """Return the claim to the file at `path`, when no other instance holds it.

        With `replace` the other one is made to leave, and is waited for `patience` seconds. `what` is for messages: "a
        gateway". Raises GuardianError.
        """
        try:
            make_folder(os.path.dirname(os.path.abspath(path)))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise GuardianError(f"{path}: {error.strerror}") from None
            # The home needs its gateway more than this file: nobody can be asked to leave, and nobody is asked.
            log.error("event=no-generation-file path=%s error=%r", path, error.strerror)
            return cls(path, None, b"")
        made = cls(path, descriptor, b"")
        try:
            if replace:
                made._write_token(descriptor)
            made._lock(descriptor, what, patience if replace else None)
            if not replace:
                made._write_token(descriptor)
        except OSError as error:
            made.close()
            raise GuardianError(f"{path}: {error.strerror}") from None
        except BaseException:
            made.close()
            raise
        return made

    def _write_token(self, descriptor: int) -> None:
        self._token = secrets.token_hex(_TOKEN_BYTES // 2).encode()
        try:
            os.pwrite(descriptor, self._token, 0)
            os.ftruncate(descriptor, _TOKEN_BYTES)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            log.error("event=no-generation-file path=%s error=%r", self._path, error.strerror)

    def _lock(self, descriptor: int, what: str, patience: float | None) -> None:
        """Take the lock, after `patience` seconds at most; None: at once. Raises GuardianError."""
        begin = time.monotonic()
        while not _try_lock(descriptor):
            if patience is None:
                raise GuardianError(f"another {what} is running already; with --replace this one takes its place")
            if time.monotonic() >= begin + patience:
                raise GuardianError(
                    f"another {what} does not leave: it was asked {patience:g} seconds ago, and hangs or is stopped. "
                    "End it by hand (kill -9), then start this one again"
                )
            if not self.is_mine():
                break
            time.sleep(_RETRY_SECONDS)
        if time.monotonic() - begin > _RETRY_SECONDS:
            time.sleep(_CLOSING_SECONDS)
        if patience is not None and not self.is_mine():  # two came at once, and the other one was later
            raise GuardianError(f"another {what} has just been started in this one's place")

    def is_mine(self) -> bool:
        """Tell whether no other instance has claimed the place since. A file that is gone or cut claims nothing."""
        try:
            with open(self._path, "rb") as file:
                found = file.read(_TOKEN_BYTES + 1)
        except FileNotFoundError:
            return True
        return len(found) != _TOKEN_BYTES or found == self._token

    async def watch(self, leave: Callable[[], None]) -> None:
        """Call `leave` when another instance claims the place. Ends then, or when cancelled."""
        while self._look():
            await asyncio.sleep(LOOK_SECONDS)
        log.warning("event=replaced by=a-new-instance action=leave")
        leave()

    def _look(self) -> bool:
        try:
            return self.is_mine()
        except OSError as error:
            log.warning("event=generation-not-read path=%s error=%r", self._path, error.strerror)
            return True

    def close(self) -> None:
        """Give the lock back. The file stays: who comes next finds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
