"""Accounts of the parents' console, for whoever may read its database: a forgotten password, a second parent.

The password is asked for on the terminal, or read as one line from standard input. Running sessions of an account end
when its password changes; the console need not be restarted.

  guardian account list
  guardian account password Mama
  guardian account add Bunica --role helper      may answer requests, and nothing else
  guardian account remove Bunica
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from datetime import UTC, datetime

from guardian.config import Config, load_config
from guardian.errors import GuardianError
from guardian.home import make_state
from guardian.store import accounts
from guardian.store.console import ConsoleStore

LEAST, MOST = 8, 200  # characters of a password, as the API has it
LONGEST_NAME = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `guardian account`."""
    what = parser.add_subparsers(dest="what", required=True, metavar="list|add|password|remove")
    what.add_parser("list", help="who may sign in")
    add = what.add_parser("add", help="let a person sign in")
    add.add_argument("--role", choices=("parent", "helper"), default="parent", help="helper: answers requests only")
    password = what.add_parser("password", help="set a new password; all sessions of the account end")
    remove = what.add_parser("remove", help="take an account away")
    for command in (add, password, remove):
        command.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Do one thing to the accounts. Raises GuardianError."""
    config = load_config(args.config)
    make_state(config)
    store = ConsoleStore(f"{config.state}/console.db")
    if args.what == "list":
        return show(store)
    if args.what == "add":
        return add(config, store, args.name, args.role)
    account = accounts.find_account_by_name(store, args.name)
    if account is None:
        known = ", ".join(each.name for each in accounts.list_accounts(store)) or "none"
        raise GuardianError(f"there is no account {args.name[:80]!r} (there are: {known})")
    if args.what == "password":
        accounts.change_account(store, account.id, password=read_new_password(account.name))
        print(f"{account.name} has a new password; open sessions have ended")
    else:
        accounts.remove_account(store, account.id)
        print(f"{account.name} cannot sign in any more")
    return 0


def show(store: ConsoleStore) -> int:
    """Print the accounts."""
    found = accounts.list_accounts(store)
    if not found:
        print("nobody yet: open the console and use the code of 'guardian web --claim-code'")
    for account in found:
        used = "never"
        if account.last_login is not None:
            used = f"{datetime.fromtimestamp(account.last_login, UTC).astimezone():%Y-%m-%d %H:%M}"
        print(f"{account.name:20}  {account.role:7}  last sign-in: {used}")
    return 0


def add(config: Config, store: ConsoleStore, name: str, role: str) -> int:
    """Make an account. The first one claims the box, so it must be a parent's."""
    from guardian.web.claim import forget_claim_code

    name = " ".join(name.split())
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise GuardianError(f"a name has 1 to {LONGEST_NAME} letters, and nothing invisible")
    if accounts.find_account_by_name(store, name) is not None:
        raise GuardianError(f"there is an account '{name}' already")
    is_first = not accounts.is_claimed(store)
    if is_first and role != "parent":
        raise GuardianError("the first account must be a parent's")
    accounts.add_account(store, name, role, read_new_password(name), time.time())
    if is_first:
        forget_claim_code(config)
    print(f"{name} can sign in as {role}")
    return 0


def read_new_password(name: str) -> str:
    """Return the line to store of a password that is asked for. Raises GuardianError when it is none."""
    from guardian.web.passwords import hash_password

    if sys.stdin.isatty():
        password = getpass.getpass(f"New password for {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise GuardianError("the two are not the same; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not LEAST <= len(password) <= MOST:
        raise GuardianError(f"a password has {LEAST} to {MOST} characters; nothing was changed")
    return hash_password(password)
