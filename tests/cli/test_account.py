"""`guardian account`: the way back in for who has lost the password, with the real command line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardian.config import load_config
from guardian.store import accounts
from guardian.store.console import ConsoleStore
from guardian.web.claim import claim_path, make_claim_code
from guardian.web.passwords import check_password
from tests.cli.conftest import Guardian
from tests.gateway.product import environment

PASSWORD = "correct horse battery"


@pytest.fixture
def store(folder: Path) -> ConsoleStore:
    return ConsoleStore(str(folder / "state" / "console.db"))


def test_the_first_account_claims_the_box(guardian: Guardian, folder: Path, store: ConsoleStore) -> None:
    assert "nobody yet" in guardian("account", "list").stdout
    config = load_config(str(folder / "guardian.yaml"))
    make_claim_code(config)
    refused = guardian("account", "add", "Bunica", "--role", "helper", stdin=f"{PASSWORD}\n")
    assert refused.returncode == 1 and "first account must be a parent's" in refused.stderr
    assert os.path.exists(claim_path(config))
    done = guardian("account", "add", " Mama ", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0 and done.stdout == "Mama can sign in as parent\n", done.stderr
    assert not os.path.exists(claim_path(config)), "nobody can claim any more"
    (mama,) = accounts.list_accounts(store)
    assert mama.role == "parent" and check_password(mama.password, PASSWORD)
    assert "Mama" in guardian("account", "list").stdout and PASSWORD not in done.stdout + done.stderr


def test_a_forgotten_password(guardian: Guardian, store: ConsoleStore) -> None:
    guardian("account", "add", "Mama", stdin=f"{PASSWORD}\n")
    (mama,) = accounts.list_accounts(store)
    secret, _ = accounts.open_session(store, mama.id, time.time())
    assert "never" not in guardian("account", "list").stdout
    done = guardian("account", "password", "MAMA", stdin="another good one\r\n")
    assert done.returncode == 0 and "open sessions have ended" in done.stdout
    (mama,) = accounts.list_accounts(store)
    assert check_password(mama.password, "another good one") and not check_password(mama.password, PASSWORD)
    assert accounts.find_session(store, accounts.hash_secret(secret), time.time()) is None


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_passwords_that_are_none(guardian: Guardian, store: ConsoleStore, password: str) -> None:
    done = guardian("account", "add", "Mama", stdin=f"{password}\n")
    assert done.returncode == 1 and "8 to 200 characters" in done.stderr
    assert accounts.list_accounts(store) == []


def test_removing(guardian: Guardian, store: ConsoleStore) -> None:
    guardian("account", "add", "Mama", stdin=f"{PASSWORD}\n")
    guardian("account", "add", "Bunica", "--role", "helper", stdin=f"{PASSWORD}\n")
    last = guardian("account", "remove", "Mama")
    assert last.returncode == 1 and "'Mama' is the only parent" in last.stderr
    assert guardian("account", "remove", "bunica").returncode == 0
    missing = guardian("account", "remove", "Bunica")
    assert missing.returncode == 1 and "(there are: Mama)" in missing.stderr
    assert [each.name for each in accounts.list_accounts(store)] == ["Mama"]


@pytest.mark.parametrize("name", ["", "   ", "a\u202eb", "x" * 61, "MAMA"])
def test_names_that_are_none(guardian: Guardian, store: ConsoleStore, name: str) -> None:
    guardian("account", "add", "Mama", stdin=f"{PASSWORD}\n")
    done = guardian("account", "add", name, stdin=f"{PASSWORD}\n")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(accounts.list_accounts(store)) == 1


def test_usage(guardian: Guardian) -> None:
    assert guardian("account").returncode == 2
    assert guardian("account", "password").returncode == 2
    assert guardian("account", "add", "Mama", "--role", "root").returncode == 2


@pytest.mark.parametrize(("again", "code"), [(PASSWORD, 0), ("mistyped one", 1)])
def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(
    folder: Path, store: ConsoleStore, again: str, code: int
) -> None:
    command = [sys.executable, "-m", "guardian", "account", "add", "Mama", "--config", str(folder / "guardian.yaml")]
    own, its = pty.openpty()
    # In a session of its own the terminal is its controlling one, which getpass opens.
    process = subprocess.Popen(["setsid", "-c", "-w", *command], stdin=its, stdout=its, stderr=its, env=environment())
    os.close(its)
    shown = b""
    for word, answer in ((b"New password for Mama:", PASSWORD), (b"Once more:", again)):
        while word not in shown:
            shown += os.read(own, 1000)
        os.write(own, f"{answer}\n".encode())
    assert process.wait(20) == code
    try:
        while part := os.read(own, 1000):
            shown += part
    except OSError:
        pass  # its end is closed
    os.close(own)
    assert PASSWORD.encode() not in shown and b"mistyped" not in shown
    assert len(accounts.list_accounts(store)) == (1 if code == 0 else 0)
