"""Accounts, sessions and tokens on a real console.db."""

from __future__ import annotations

import errno
import sqlite3
import threading
from pathlib import Path

import pytest

from guardian.errors import ConfigError, Problem
from guardian.store import accounts
from guardian.store.accounts import (
    MOST_ACCOUNTS,
    MOST_SESSIONS,
    MOST_TOKENS,
    NOTE_SECONDS,
    SESSION_SECONDS,
    Account,
    LastParentError,
    NameTakenError,
    TooManyError,
    hash_secret,
)
from guardian.store.console import ConsoleStore

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> ConsoleStore:
    return ConsoleStore(str(tmp_path / "console.db"))


@pytest.fixture
def mama(store: ConsoleStore) -> Account:
    account = accounts.claim(store, "Mama", "line", NOW)
    assert account is not None
    return account


def test_only_one_claims(store: ConsoleStore) -> None:
    assert not accounts.is_claimed(store)
    winners: list[Account | None] = []
    start = threading.Barrier(8)

    def claim(name: str) -> None:
        start.wait()
        winners.append(accounts.claim(store, name, "line", NOW))

    threads = [threading.Thread(target=claim, args=(f"P{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(account is not None for account in winners) == 1 and len(winners) == 8
    assert accounts.is_claimed(store) and len(accounts.list_accounts(store)) == 1


def test_names_are_found_as_people_write_them(store: ConsoleStore, mama: Account) -> None:
    for name in ("Mama", "mama", "  MAMA ", "Ｍama"):
        assert accounts.find_account_by_name(store, name) == mama
    assert accounts.find_account_by_name(store, "Mam") is None
    with pytest.raises(NameTakenError):
        accounts.add_account(store, " mAMA", "helper", "line", NOW)
    tata = accounts.add_account(store, "Tata", "parent", "line", NOW)
    with pytest.raises(NameTakenError):
        accounts.change_account(store, tata.id, name="MAMA")
    assert [each.name for each in accounts.list_accounts(store)] == ["Mama", "Tata"]


def test_a_name_is_never_a_command(store: ConsoleStore, mama: Account) -> None:
    name = "x'); DROP TABLE accounts; --"
    made = accounts.add_account(store, name, "helper", "line", NOW)
    assert accounts.find_account(store, made.id) == made and accounts.find_account_by_name(store, name) == made


def test_a_parent_always_stays(store: ConsoleStore, mama: Account) -> None:
    helper = accounts.add_account(store, "Bunica", "helper", "line", NOW)
    for attempt in (
        lambda: accounts.remove_account(store, mama.id),
        lambda: accounts.change_account(store, mama.id, role="helper"),
    ):
        with pytest.raises(LastParentError):
            attempt()
    accounts.change_account(store, helper.id, role="parent")
    accounts.change_account(store, mama.id, role="helper")
    assert accounts.remove_account(store, mama.id) and not accounts.remove_account(store, mama.id)
    assert accounts.change_account(store, mama.id, name="Nobody") is None
    with pytest.raises(LastParentError):
        accounts.remove_account(store, helper.id)


def test_accounts_are_few(store: ConsoleStore, mama: Account) -> None:
    for number in range(MOST_ACCOUNTS - 1):
        accounts.add_account(store, f"P{number}", "helper", "line", NOW)
    with pytest.raises(TooManyError):
        accounts.add_account(store, "one more", "helper", "line", NOW)


def test_a_session_lives_while_it_is_used(store: ConsoleStore, mama: Account) -> None:
    secret, csrf = accounts.open_session(store, mama.id, NOW)
    key = hash_secret(secret)
    found = accounts.find_session(store, key, NOW + 10)
    assert found is not None and found.account.id == mama.id and found.csrf == csrf and not found.renewed
    moment = NOW
    for _ in range(5):  # five times 29 days
        moment += SESSION_SECONDS - 86400
        found = accounts.find_session(store, key, moment)
        assert found is not None and found.renewed
    assert accounts.find_session(store, key, moment + SESSION_SECONDS + 1) is None
    assert accounts.find_session(store, hash_secret("another"), NOW) is None
    assert accounts.find_session(store, secret.encode(), NOW) is None, "the secret itself is no key"


def test_a_use_is_written_once_an_hour(store: ConsoleStore, mama: Account) -> None:
    key = hash_secret(accounts.open_session(store, mama.id, NOW)[0])
    noted = [accounts.find_session(store, key, NOW + minute * 60) for minute in range(0, 180, 5)]
    assert sum(session is not None and session.renewed for session in noted) == 2
    assert NOTE_SECONDS == 3600


def test_sessions_end(store: ConsoleStore, mama: Account) -> None:
    tata = accounts.add_account(store, "Tata", "parent", "line", NOW)
    old, mine, other, his = (hash_secret(accounts.open_session(store, who, NOW)[0]) for who in (1, 1, 1, tata.id))
    new = hash_secret(accounts.open_session(store, mama.id, NOW, replaces=old)[0])

    def alive(*keys: bytes) -> list[bool]:
        return [accounts.find_session(store, key, NOW) is not None for key in keys]

    assert alive(old, new, mine, other, his) == [False, True, True, True, True]
    accounts.end_session(store, other)
    assert alive(new, mine, other, his) == [True, True, False, True]
    accounts.change_account(store, mama.id, password="new line", keep_session=mine)
    assert alive(new, mine, his) == [False, True, True]
    accounts.change_account(store, mama.id, name="Mami", role="parent")
    assert alive(mine, his) == [True, True]
    accounts.remove_account(store, tata.id)
    assert alive(mine, his) == [True, False]


def test_sessions_are_few(store: ConsoleStore, mama: Account) -> None:
    keys = [hash_secret(accounts.open_session(store, mama.id, NOW + number)[0]) for number in range(MOST_SESSIONS + 5)]
    alive = [accounts.find_session(store, key, NOW + 100) is not None for key in keys]
    assert alive == [False] * 5 + [True] * MOST_SESSIONS


def test_who_reads_the_file_cannot_sign_in(store: ConsoleStore, mama: Account) -> None:
    session, _ = accounts.open_session(store, mama.id, NOW)
    token, _ = accounts.add_token(store, "App", ("read",), NOW)
    raw = Path(store.path).read_bytes()
    assert session.encode() not in raw and token.encode() not in raw
    assert Path(store.path).stat().st_mode & 0o777 == 0o600


def test_tokens(store: ConsoleStore) -> None:
    secret, made = accounts.add_token(store, "App", ("read", "status"), NOW)
    assert secret.startswith("gdn_") and len(secret) >= 47
    found = accounts.find_token(store, secret, NOW + 1)
    assert found is not None and found.scopes == ("read", "status") and found.used is None
    (listed,) = accounts.list_tokens(store)
    assert listed.used == NOW + 1
    accounts.find_token(store, secret, NOW + 2)
    assert accounts.list_tokens(store)[0].used == NOW + 1, "not written at every use"
    assert accounts.find_token(store, secret[:-1], NOW) is None and accounts.find_token(store, "", NOW) is None
    assert accounts.remove_token(store, made.id) and not accounts.remove_token(store, made.id)
    assert accounts.find_token(store, secret, NOW) is None
    for number in range(MOST_TOKENS):
        accounts.add_token(store, f"App {number}", ("read",), NOW)
    with pytest.raises(TooManyError):
        accounts.add_token(store, "one more", ("read",), NOW)


def test_a_password_line_is_replaced_only_where_it_still_stands(store: ConsoleStore, mama: Account) -> None:
    key = hash_secret(accounts.open_session(store, mama.id, NOW)[0])
    accounts.replace_password_line(store, mama, "stronger")
    assert accounts.find_account(store, mama.id) == mama._replace(password="stronger", last_login=NOW)
    accounts.replace_password_line(store, mama, "from an old reading")
    found = accounts.find_account(store, mama.id)
    assert found is not None and found.password == "stronger"
    assert accounts.find_session(store, key, NOW) is not None


def test_the_database_refuses_another_role(store: ConsoleStore, mama: Account) -> None:
    with store.writing() as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE accounts SET role = 'root'")


def test_a_session_that_the_disk_does_not_take_holds_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bound to the password of then: another one ends it, whoever sets it."""
    store = ConsoleStore(str(tmp_path / "console.db"))
    mama = accounts.add_account(store, "Mama", "parent", "line of mama", 1.0)
    real = accounts._save_session

    def refuse(*words: object) -> None:
        error = ConfigError([Problem(store.path, "database or disk is full")])
        raise error from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(accounts, "_save_session", refuse)
    secret, csrf = accounts.open_session(store, mama.id, 10.0)
    key = accounts.hash_secret(secret)
    found = accounts.find_session(store, key, 20.0)
    assert found is not None and (found.account.name, found.csrf, found.renewed) == ("Mama", csrf, False)
    assert accounts.find_session(store, accounts.hash_secret("x"), 20.0) is None
    assert accounts.find_session(store, key, 10.0 + accounts.SESSION_SECONDS) is None
    accounts.end_session(store, key)
    assert accounts.find_session(store, key, 20.0) is None
    secret, _ = accounts.open_session(store, mama.id, 10.0)
    accounts.change_account(ConsoleStore(store.path), mama.id, password="another line")
    assert accounts.find_session(store, accounts.hash_secret(secret), 20.0) is None
    for _ in range(accounts.MOST_SESSIONS + 5):
        accounts.open_session(store, mama.id, 10.0)
    assert len(store.unsaved_sessions) == accounts.MOST_SESSIONS
    monkeypatch.setattr(accounts, "_save_session", real)
    secret, _ = accounts.open_session(store, mama.id, 10.0)
    assert accounts.hash_secret(secret) not in store.unsaved_sessions
    assert accounts.find_session(store, accounts.hash_secret(secret), 20.0) is not None


def test_a_broken_database_opens_no_session(tmp_path: Path) -> None:
    store = ConsoleStore(str(tmp_path / "console.db"))
    mama = accounts.add_account(store, "Mama", "parent", "line", 1.0)
    Path(store.path).write_bytes(b"no database" * 500)
    with pytest.raises(ConfigError):
        accounts.open_session(store, mama.id, 10.0)
    assert not store.unsaved_sessions
