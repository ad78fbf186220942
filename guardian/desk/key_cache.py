"""The slow keys of a desk's domains, worked out once for each salt: `DIR/keys.db`, mode 600.

100,000 domains take about an hour on two cores; what was worked out is kept, so a publication that was stopped goes on
where it was.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from guardian.blocklist.feed_base import Cost, derive_key, digest_salt
from guardian.errors import DeskError

Progress = Callable[[int, int, float], None]  # keys that are done, keys in all, seconds left
_BATCH = 64  # keys between two commits: some seconds of work are all that a power cut costs


class KeyCache:
    """Keys by salt and key domain. Use it in a `with` of `closing`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            self._connection.execute("PRAGMA secure_delete = ON")  # keys of an old salt are gone from the file
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS keys (salt TEXT, log2_n INTEGER, domain BLOB, key BLOB NOT NULL,"
                " PRIMARY KEY (salt, log2_n, domain)) STRICT, WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise DeskError(
                f"{path}: {error}; it may be deleted: it holds nothing but work that is done again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def derive(
        self, domains: Collection[bytes], salt: bytes, cost: Cost, progress: Progress | None = None
    ) -> dict[bytes, bytes]:
        """Return K of every key domain; those that are new are worked out on all cores and kept."""
        digest = digest_salt(salt)
        rows = self._connection.execute(
            "SELECT domain, key FROM keys WHERE salt = ? AND log2_n = ?", (digest, cost.log2_n)
        )
        wanted = set(domains)
        keys = {domain: key for domain, key in rows if domain in wanted}
        missing = sorted(wanted - keys.keys())
        begin = time.monotonic()
        with closing(_Workers(salt, cost)) as workers:
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                made = dict(zip(batch, workers.derive(batch), strict=True))
                keys |= made
                self._keep(digest, cost.log2_n, made)
                done = start + len(batch)
                if progress:
                    progress(done, len(missing), (time.monotonic() - begin) / done * (len(missing) - done))
        return keys

    def _keep(self, digest: str, log2_n: int, made: dict[bytes, bytes]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)",
            [(digest, log2_n, domain, key) for domain, key in made.items()],
        )
        self._connection.execute("COMMIT")

    def forget_other_salts(self, salts: Iterable[bytes]) -> int:
        """Remove the keys of all salts but these; return how many went."""
        digests = [digest_salt(salt) for salt in salts]
        marks = ",".join("?" * len(digests))
        return self._connection.execute(f"DELETE FROM keys WHERE salt NOT IN ({marks})", digests).rowcount  # noqa: S608


class _Workers:
    """One thread for each core; scrypt releases the interpreter's lock."""

    def __init__(self, salt: bytes, cost: Cost) -> None:
        self._salt, self._cost = salt, cost
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "slow-key")

    def derive(self, domains: list[bytes]) -> list[bytes]:
        return list(self._pool.map(lambda domain: derive_key(domain, self._salt, self._cost), domains))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
