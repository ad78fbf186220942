"""Passwords: scrypt with its parameters beside the hash, so that they can grow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
import unicodedata
from typing import TYPE_CHECKING, Any

from guardian.web.routing import RefusalError

if TYPE_CHECKING:
    from guardian.web.routing import Call

COST, BLOCK, PARALLEL = 2**14, 8, 1  # 16 MB and about 50 ms on a small router's core
MOST_COST = 2**20  # a stored line that asks for more memory than this is not ours
SALT_BYTES, HASH_BYTES = 16, 32
MOST_WAITING = 2  # of the threads that answer strangers: the others must stay free

_one = threading.Lock()  # 16 MB each: one at a time
_waiting = threading.Semaphore(MOST_WAITING)


def hash_password(password: str) -> str:
    """Return the line to store: scrypt$N$r$p$salt$hash. Raises RefusalError 503 when too many wait for it."""
    salt = secrets.token_bytes(SALT_BYTES)
    made = _scrypt(password, salt, COST, BLOCK, PARALLEL)
    return "$".join(("scrypt", str(COST), str(BLOCK), str(PARALLEL), _to_text(salt), _to_text(made)))


def check_password(stored: str, password: str) -> bool:
    """Tell whether `password` is the one behind a stored line; "" stands for a name that nobody has.

    It takes equally long for both. Raises RefusalError 503 when too many wait for it, ValueError for a damaged line.
    """
    kind, cost, block, parallel, salt, wanted = (stored or _NOBODY).split("$")
    if kind != "scrypt" or not 1 < int(cost) <= MOST_COST:
        raise ValueError("this password was not stored by Guardian")
    made = _scrypt(password, _to_bytes(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(made, _to_bytes(wanted)) and bool(stored)


def is_outdated(stored: str) -> bool:
    """Tell whether a stored line has other parameters than new ones get."""
    return stored.split("$")[1:4] != [str(COST), str(BLOCK), str(PARALLEL)]


def confirm_password(call: Call[Any], password: str) -> None:
    """Make sure that `password` is the caller's own.

    Raises RefusalError: 403 not-allowed (no signed-in person) or wrong-password, 429 throttled.
    """
    from guardian.store.accounts import find_account

    account = find_account(call.console.store, call.caller.account)
    if account is None:
        raise RefusalError(403, "not-allowed", "only a signed-in person has a password")
    # Who has a session is no stranger, and a stolen one guesses no faster from a hundred addresses.
    tries, source, now = call.console.password_tries, f"account:{account.id}", time.monotonic()
    tries.trust(source)
    tries.begin(source, now)
    if not check_password(account.password, password):
        raise RefusalError(403, "wrong-password", "this is not your password")
    tries.succeed(source, now)


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    # One keyboard writes ș as one character, another as s with a comma below.
    raw = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    if not _waiting.acquire(blocking=False):
        raise RefusalError(503, "not-now", "too many sign-ins at once", retry_after=2)
    try:
        with _one:
            memory = 128 * cost * block * parallel + 2**20
            return hashlib.scrypt(raw, salt=salt, n=cost, r=block, p=parallel, maxmem=memory * 2, dklen=HASH_BYTES)
    finally:
        _waiting.release()


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _to_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


_NOBODY = "$".join(
    ("scrypt", str(COST), str(BLOCK), str(PARALLEL), _to_text(bytes(SALT_BYTES)), _to_text(bytes(HASH_BYTES)))
)
