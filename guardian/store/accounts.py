"""Accounts, sessions and tokens in console.db. Secrets are kept as SHA-256 only: who reads the file can't sign in."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import unicodedata
from typing import NamedTuple

from guardian.errors import ConfigError, GuardianError
from guardian.store.console import ConsoleStore, UnsavedSession
from guardian.store.database import find_storage_trouble

SESSION_SECONDS = 30 * 86400.0  # after the last use
NOTE_SECONDS = 3600.0  # how exactly the last use is known: flash wears out
MOST_SESSIONS = 20  # of one account; the longest unused goes
MOST_ACCOUNTS, MOST_TOKENS = 20, 20
TOKEN_MARK = "gdn_"  # noqa: S105 - what tokens begin with


class Account(NamedTuple):
    """A person. `password` is the stored line, never the password."""

    id: int
    name: str
    role: str  # parent, helper
    password: str
    created: float  # epoch seconds, as below
    last_login: float | None


class Session(NamedTuple):
    account: Account
    csrf: str
    renewed: bool  # its end has just been moved: the cookie should be sent again


class Token(NamedTuple):
    id: int
    name: str
    scopes: tuple[str, ...]
    created: float
    used: float | None


class NameTakenError(GuardianError):
    """Another account has this name."""


class LastParentError(GuardianError):
    """Without this account nobody could set anything any more."""


class TooManyError(GuardianError):
    """There are as many as there may be."""


_ACCOUNT = "accounts.id, accounts.name, accounts.role, accounts.password, accounts.created, accounts.last_login"


def fold_name(name: str) -> str:
    """Return a name as it is compared: ` MAMA ` is `mama`."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a session's or token's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


# Accounts


def list_accounts(store: ConsoleStore) -> list[Account]:
    """Return all accounts, the oldest first. Raises ConfigError, as everything here."""
    with store.reading() as connection:
        return [Account(*row) for row in connection.execute(f"SELECT {_ACCOUNT} FROM accounts ORDER BY id")]  # noqa: S608


def is_claimed(store: ConsoleStore) -> bool:
    """Tell whether somebody has become the first parent."""
    with store.reading() as connection:
        return connection.execute("SELECT 1 FROM accounts LIMIT 1").fetchone() is not None


def find_account(store: ConsoleStore, account: int) -> Account | None:
    """Return an account by its id."""
    with store.reading() as connection:
        return _find(connection, account)


def find_account_by_name(store: ConsoleStore, name: str) -> Account | None:
    """Return the account that a person means by a name, whatever its case and spaces."""
    with store.reading() as connection:
        row = connection.execute(
            f"SELECT {_ACCOUNT} FROM accounts WHERE folded = ?",  # noqa: S608 - columns
            (fold_name(name),),
        ).fetchone()
    return Account(*row) if row else None


def claim(store: ConsoleStore, name: str, password: str, now: float) -> Account | None:
    """Make the first account, a parent; None when there is one already. `password` is the line to store."""
    with store.writing() as connection:
        if connection.execute("SELECT 1 FROM accounts LIMIT 1").fetchone():
            return None
        return _insert(connection, name, "parent", password, now)


def add_account(store: ConsoleStore, name: str, role: str, password: str, now: float) -> Account:
    """Make an account. Raises NameTakenError, TooManyError."""
    with store.writing() as connection:
        (count,) = connection.execute("SELECT count(*) FROM accounts").fetchone()
        if count >= MOST_ACCOUNTS:
            raise TooManyError(f"there are {MOST_ACCOUNTS} accounts already")
        return _insert(connection, name, role, password, now)


def change_account(
    store: ConsoleStore,
    account: int,
    *,
    name: str | None = None,
    role: str | None = None,
    password: str | None = None,
    keep_session: bytes = b"",
) -> Account | None:
    """Change parts of an account and return it, None when there is no such one.

    A new password ends the account's sessions but `keep_session`. Raises NameTakenError, LastParentError.
    """
    with store.writing() as connection:
        found = _find(connection, account)
        if found is None:
            return None
        if role is not None and role != "parent":
            _keep_a_parent(connection, found)
        wanted = found._replace(
            name=found.name if name is None else name,
            role=found.role if role is None else role,
            password=found.password if password is None else password,
        )
        try:
            connection.execute(
                "UPDATE accounts SET name = ?, folded = ?, role = ?, password = ? WHERE id = ?",
                (wanted.name, fold_name(wanted.name), wanted.role, wanted.password, account),
            )
        except sqlite3.IntegrityError:
            raise NameTakenError(f"there is an account '{wanted.name}' already") from None
        if password is not None:
            connection.execute("DELETE FROM sessions WHERE account = ? AND hash <> ?", (account, keep_session))
        return wanted


def replace_password_line(store: ConsoleStore, account: Account, line: str) -> None:
    """Store the same password anew (with other parameters): sessions stay."""
    with store.writing() as connection:
        connection.execute(
            "UPDATE accounts SET password = ? WHERE id = ? AND password = ?", (line, account.id, account.password)
        )


def remove_account(store: ConsoleStore, account: int) -> bool:
    """Remove an account with its sessions; False when there is no such one. Raises LastParentError."""
    with store.writing() as connection:
        found = _find(connection, account)
        if found is None:
            return False
        _keep_a_parent(connection, found)
        connection.execute("DELETE FROM accounts WHERE id = ?", (account,))
        return True


def _find(connection: sqlite3.Connection, account: int) -> Account | None:
    row = connection.execute(f"SELECT {_ACCOUNT} FROM accounts WHERE id = ?", (account,)).fetchone()  # noqa: S608
    return Account(*row) if row else None


def _insert(connection: sqlite3.Connection, name: str, role: str, password: str, now: float) -> Account:
    try:
        made = connection.execute(
            "INSERT INTO accounts (name, folded, role, password, created) VALUES (?, ?, ?, ?, ?)",
            (name, fold_name(name), role, password, now),
        )
    except sqlite3.IntegrityError:
        raise NameTakenError(f"there is an account '{name}' already") from None
    assert made.lastrowid is not None
    return Account(made.lastrowid, name, role, password, now, None)


def _keep_a_parent(connection: sqlite3.Connection, account: Account) -> None:
    (others,) = connection.execute(
        "SELECT count(*) FROM accounts WHERE role = 'parent' AND id <> ?", (account.id,)
    ).fetchone()
    if account.role == "parent" and not others:
        raise LastParentError(f"'{account.name}' is the only parent")


# Sessions


def open_session(store: ConsoleStore, account: int, now: float, replaces: bytes = b"") -> tuple[str, str]:
    """Open a session and return its secret (for the cookie) and its CSRF token; the session `replaces` ends.

    Sessions that nobody has used for long go, and the longest unused of an account that has too many. One that a full
    or read-only disk does not take holds until the console ends: parents are to see what is wrong.
    """
    secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    try:
        _save_session(store, account, hash_secret(secret), csrf, now, replaces)
    except ConfigError as error:
        if not find_storage_trouble(error.__cause__):
            raise
        _hold_session(store, account, hash_secret(secret), csrf, now, replaces)
    return secret, csrf


def _hold_session(store: ConsoleStore, account: int, key: bytes, csrf: str, now: float, replaces: bytes) -> None:
    """Keep a session in memory. It is bound to the password of now: another one ends it, whoever sets it."""
    unsaved, found = store.unsaved_sessions, find_account(store, account)
    unsaved.pop(replaces, None)
    while len(unsaved) >= MOST_SESSIONS:
        unsaved.pop(next(iter(unsaved)))
    if found is not None:
        unsaved[key] = UnsavedSession(account, found.password, csrf, now)


def _save_session(store: ConsoleStore, account: int, key: bytes, csrf: str, now: float, replaces: bytes) -> None:
    with store.writing() as connection:
        connection.execute("DELETE FROM sessions WHERE hash = ? OR used < ?", (replaces, now - SESSION_SECONDS))
        connection.execute(
            "INSERT INTO sessions (hash, account, csrf, created, used) VALUES (?, ?, ?, ?, ?)",
            (key, account, csrf, now, now),
        )
        connection.execute(
            "DELETE FROM sessions WHERE account = ? AND hash NOT IN"
            " (SELECT hash FROM sessions WHERE account = ? ORDER BY used DESC, created DESC LIMIT ?)",
            (account, account, MOST_SESSIONS),
        )
        connection.execute("UPDATE accounts SET last_login = ? WHERE id = ?", (now, account))


def find_session(store: ConsoleStore, key: bytes, now: float, note: bool = True) -> Session | None:
    """Return the session whose secret has the hash `key`, None when there is none or it has ended.

    Its end moves with it, unless `note` is False: then the caller sends no cookie that moves as well.
    """
    with store.reading() as connection:
        row = connection.execute(
            f"SELECT {_ACCOUNT}, csrf, used FROM sessions JOIN accounts ON accounts.id = account"  # noqa: S608
            " WHERE hash = ? AND used >= ?",
            (key, now - SESSION_SECONDS),
        ).fetchone()
        if row is None:
            return _find_held_session(store, connection, key, now)
        *account, csrf, used = row
        renewed = note and now - used >= NOTE_SECONDS
        if renewed:
            renewed = store.note(connection, "UPDATE sessions SET used = ? WHERE hash = ?", now, key)
    return Session(Account(*account), csrf, renewed)


def _find_held_session(store: ConsoleStore, connection: sqlite3.Connection, key: bytes, now: float) -> Session | None:
    held = store.unsaved_sessions.get(key)
    if held is None or now - held.opened >= SESSION_SECONDS:
        return None
    account = _find(connection, held.account)
    return Session(account, held.csrf, renewed=False) if account and account.password == held.password else None


def end_session(store: ConsoleStore, key: bytes) -> None:
    """End the session whose secret has the hash `key`."""
    if store.unsaved_sessions.pop(key, None) is not None:
        return
    with store.writing() as connection:
        connection.execute("DELETE FROM sessions WHERE hash = ?", (key,))


# Tokens


def list_tokens(store: ConsoleStore) -> list[Token]:
    """Return all tokens, the oldest first."""
    with store.reading() as connection:
        rows = connection.execute("SELECT id, name, scopes, created, used FROM tokens ORDER BY id").fetchall()
    return [Token(key, name, tuple(scopes.split()), created, used) for key, name, scopes, created, used in rows]


def add_token(store: ConsoleStore, name: str, scopes: tuple[str, ...], now: float) -> tuple[str, Token]:
    """Make a token and return its secret, which is not kept, and the token. Raises TooManyError."""
    secret = TOKEN_MARK + secrets.token_urlsafe(32)
    with store.writing() as connection:
        (count,) = connection.execute("SELECT count(*) FROM tokens").fetchone()
        if count >= MOST_TOKENS:
            raise TooManyError(f"there are {MOST_TOKENS} tokens already")
        made = connection.execute(
            "INSERT INTO tokens (name, hash, scopes, created) VALUES (?, ?, ?, ?)",
            (name, hash_secret(secret), " ".join(scopes), now),
        )
    assert made.lastrowid is not None
    return secret, Token(made.lastrowid, name, scopes, now, None)


def find_token(store: ConsoleStore, secret: str, now: float) -> Token | None:
    """Return the token with this secret, and note its use."""
    with store.reading() as connection:
        row = connection.execute(
            "SELECT id, name, scopes, created, used FROM tokens WHERE hash = ?", (hash_secret(secret),)
        ).fetchone()
        if row is None:
            return None
        key, name, scopes, created, used = row
        if used is None or now - used >= NOTE_SECONDS:
            store.note(connection, "UPDATE tokens SET used = ? WHERE id = ?", now, key)
    return Token(key, name, tuple(scopes.split()), created, used)


def remove_token(store: ConsoleStore, token: int) -> bool:
    """Remove a token; False when there is no such one."""
    with store.writing() as connection:
        return connection.execute("DELETE FROM tokens WHERE id = ?", (token,)).rowcount > 0
