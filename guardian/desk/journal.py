"""The journal of a desk: who did what, in lines that follow from each other and that each person signed.

A line is a row `n, at, person, kind, details, before`; its hash is SHA-256 over their canonical JSON, `before` is the
hash of the line before, and the signature is over the hash. What is large (the body of a proposal) is stored once; its
hash stands in the details. The head is published with every list (`ListIndex.journal`), so that an end that was cut
off, or a journal made anew, can be seen from outside.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guardian.errors import DeskError

START = "0" * 64  # what stands before the first line
MAX_BODY_BYTES = 256 << 20
CLOCK = "clock"  # the only kind of line that may be older than the one before
_CLOCK_SLACK = 300  # seconds that a clock may be behind the last line
_LINE_SEAL = b"guardian-desk-journal-1\n"  # so that nothing else that is signed with the same keys can pass for a line
_PERSON_SEAL = b"guardian-desk-person-1\n"


class Signer(NamedTuple):
    """A person at the desk, with an unlocked key."""

    name: str
    key: Ed25519PrivateKey


class Line(NamedTuple):
    """A line of the journal."""

    n: int
    at: int  # epoch seconds
    person: str
    kind: str
    details: dict[str, Any]
    before: str
    hash: str
    signature: bytes


def encode_canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def hash_line(n: int, at: int, person: str, kind: str, details: dict[str, Any], before: str) -> str:
    """Return the hash of a line, hex."""
    whole = {"n": n, "at": at, "person": person, "kind": kind, "details": details, "before": before}
    return hashlib.sha256(encode_canonical(whole)).hexdigest()


def sign_person(key: Ed25519PrivateKey, details: dict[str, Any]) -> str:
    """Return the proof (hex) that who is to be known by `details` holds the key."""
    return key.sign(_PERSON_SEAL + encode_canonical(details)).hex()


def check_person(details: dict[str, Any], proof: str) -> None:
    """Raise DeskError when the proof does not fit the details and the public key in them."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(details["public_key"]))
        key.verify(bytes.fromhex(proof), _PERSON_SEAL + encode_canonical(details))
    except (InvalidSignature, ValueError):
        raise DeskError(f"the key of {details.get('name', '?')} is not proven") from None


def check_line(line: Line, public_key: bytes) -> None:
    """Raise DeskError when the signature of a line is not by this key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(line.signature, _LINE_SEAL + bytes.fromhex(line.hash))
    except (InvalidSignature, ValueError):
        raise DeskError(f"the signature of line {line.n} is not by the key of {line.person}") from None


def read_head(connection: sqlite3.Connection) -> str:
    """Return the hash of the last line; `START` for an empty journal."""
    row = connection.execute("SELECT hash FROM journal ORDER BY n DESC LIMIT 1").fetchone()
    return str(row[0]) if row else START


def append_line(connection: sqlite3.Connection, signer: Signer, kind: str, details: dict[str, Any], now: float) -> Line:
    """Add a line within the transaction of `connection`, and return it. Its time is never before the last line's.

    Raises DeskError when the clock is minutes behind the last line: then times of expiry would be wrong as well. Was it
    the last line's clock that was wrong, a line of the kind `clock` goes back to the right time.
    """
    row = connection.execute("SELECT n, at, hash FROM journal ORDER BY n DESC LIMIT 1").fetchone()
    n, last, before = row if row else (0, 0, START)
    if now < last - _CLOCK_SLACK and kind != CLOCK:
        raise DeskError(
            f"the clock of this machine is {last - now:.0f} s behind the journal: set it right; "
            "if it is right now and was wrong before, 'guardian hotline journal set-clock'"
        )
    at = int(now) if kind == CLOCK else max(int(now), last)
    details = json.loads(encode_canonical(details))  # as it will be read: tuples become lists
    digest = hash_line(n + 1, at, signer.name, kind, details, before)
    line = Line(
        n + 1, at, signer.name, kind, details, before, digest, signer.key.sign(_LINE_SEAL + bytes.fromhex(digest))
    )
    connection.execute(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*line[:4], encode_canonical(details).decode(), *line[5:]),
    )
    return line


def store_body(connection: sqlite3.Connection, body: bytes) -> str:
    """Keep the body of a proposal and return its hash; the same body is kept once."""
    digest = hashlib.sha256(body).hexdigest()
    connection.execute(
        "INSERT INTO bodies SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM bodies WHERE hash = ?)",
        (digest, zlib.compress(body, 3), digest),
    )
    return digest


def load_body(connection: sqlite3.Connection, digest: str) -> bytes:
    """Return a body by its hash. Raises DeskError when it is missing, damaged or another one."""
    row = connection.execute("SELECT body FROM bodies WHERE hash = ?", (digest,)).fetchone()
    if row is None:
        raise DeskError(f"desk.db: the body {digest[:16]} of a proposal is missing: restore the desk from a backup")
    return unpack_body(row[0], digest)


def unpack_body(packed: bytes, digest: str) -> bytes:
    """Return a body that was kept as `packed`. Raises DeskError when its hash is another."""
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, MAX_BODY_BYTES)
    except zlib.error:
        body = b""
    if hashlib.sha256(body).hexdigest() != digest:
        raise DeskError(f"desk.db: the body {digest[:16]} of a proposal was changed: restore the desk from a backup")
    return body


def read_lines(connection: sqlite3.Connection, after: int = 0) -> Iterator[Line]:
    """Yield the lines behind number `after`, in order. Raises DeskError for a line that nobody here wrote."""
    for n, at, person, kind, details, before, digest, signature in connection.execute(
        "SELECT n, at, person, kind, details, before, hash, signature FROM journal WHERE n > ? ORDER BY n", (after,)
    ):
        try:
            plain = json.loads(details)
        except ValueError:
            plain = None
        if not isinstance(plain, dict):
            raise DeskError(f"desk.db: line {n} of the journal is damaged: restore the desk from a backup")
        yield Line(n, at, person, kind, plain, before, digest, bytes(signature))
