"""First visit, sign-in, accounts, tokens."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, cast

from guardian import __version__
from guardian.home import is_open_household
from guardian.policy.model import Household
from guardian.store import accounts
from guardian.store.settings import Entry
from guardian.store.words import read_timezone
from guardian.web.access import ROLE_SCOPES
from guardian.web.claim import forget_claim_code, is_claim_code
from guardian.web.first import find_timezone, first_language
from guardian.web.passwords import check_password, confirm_password, hash_password, is_outdated
from guardian.web.routing import PUBLIC, Call, Endpoint, RefusalError
from guardian.web.security import COOKIE, is_childs, name_source
from guardian.web.shapes.common import Language
from guardian.web.shapes.session import (
    Account,
    AccountChange,
    Claim,
    Login,
    MadeToken,
    NewAccount,
    NewToken,
    Role,
    Scope,
    Session,
    Start,
    Token,
    TokenScope,
)

log = logging.getLogger(__name__)

MAX_ID = 2**53  # what JSON's readers can count to


def read_start(call: Call[None]) -> Start:
    """What a page shows before anybody has signed in."""
    console = call.console
    household = console.household()
    timezone = household.timezone
    if is_open_household(household):
        timezone = console.store.option("first_timezone") or find_timezone()
    return Start(
        claimed=accounts.is_claimed(console.store),
        version=__version__,
        language=cast(Language, first_language(household, console.store, console.config.languages)),
        timezone=timezone,
        login_allowed=not is_childs(console, call.caller.address),
        languages=list(cast(tuple[Language, ...], console.config.languages)),
        provider=console.config.provider,
        support=console.config.block.support,
        encrypted=call.encrypted,
    )


def claim_box(call: Call[Claim]) -> Session:
    """Become the first parent."""
    console, body, address = call.console, call.body, call.caller.address
    _keep_children_out(call)
    if accounts.is_claimed(console.store):
        raise RefusalError(409, "claimed", "this box has its parents already")
    read_timezone(body.timezone)
    name = _read_name(body.name)
    source, now = name_source(console, address), time.monotonic()
    console.claim_tries.begin(source, now)
    if not is_claim_code(console.config, body.claim_code):
        raise RefusalError(403, "wrong-code", "this is not the claim code of this box")
    console.claim_tries.succeed(source, now)
    console.password_tries.trust(source)
    account = accounts.claim(console.store, name, hash_password(body.password), call.now)
    if account is None:  # somebody was quicker
        raise RefusalError(409, "claimed", "this box has its parents already")
    log.info("event=claimed address=%s", address)
    forget_claim_code(console.config)
    _take_over_choices(call, account.name)
    return _open_session(call, account)


def _take_over_choices(call: Call[Claim], who: str) -> None:
    """What the first parent chose holds: for the household that is there, else for the one that will be made."""
    console, language, timezone = call.console, call.body.language, call.body.timezone
    console.store.set_option("first_language", language)
    console.store.set_option("first_timezone", timezone)
    household = console.household()
    if is_open_household(household) or (household.language, household.timezone) == (language, timezone):
        return

    def change(now: Household) -> Household:
        return replace(now, language=language, timezone=timezone, tz=read_timezone(timezone))

    parts = {"parts": "language timezone"}
    console.edit(Entry(who, "household changed: language, timezone", "household-changed", parts), change)


def sign_in(call: Call[Login]) -> Session:
    """Sign in with name and password."""
    console, body, address = call.console, call.body, call.caller.address
    _keep_children_out(call)
    source, now = name_source(console, address), time.monotonic()
    console.password_tries.begin(source, now)
    account = accounts.find_account_by_name(console.store, body.name)
    if not check_password(account.password if account else "", body.password) or account is None:
        log.info("event=sign-in-refused address=%s", address)
        raise RefusalError(401, "wrong-password", "name and password do not belong together")
    console.password_tries.succeed(source, now)
    if is_outdated(account.password):
        accounts.replace_password_line(console.store, account, hash_password(body.password))
    log.info("event=signed-in account=%d address=%s", account.id, address)
    return _open_session(call, account)


def read_session(call: Call[None]) -> Session:
    """Who is signed in."""
    account = accounts.find_account(call.console.store, call.caller.account)
    if account is None:  # removed this very moment
        raise RefusalError(401, "not-signed-in", "nobody is signed in")
    return _make_session(account, call.caller.csrf)


def sign_out(call: Call[None]) -> None:
    """End the session."""
    accounts.end_session(call.console.store, call.caller.session)
    call.console.events.check_callers()
    call.cookies.append((COOKIE, "", 0))


def _keep_children_out(call: Call[Any]) -> None:
    if is_childs(call.console, call.caller.address):
        raise RefusalError(403, "child-device", "parents do not sign in on this device")


def _open_session(call: Call[Any], account: accounts.Account) -> Session:
    secret, csrf = accounts.open_session(call.console.store, account.id, call.now, replaces=call.caller.session)
    call.console.events.check_callers()  # the session that was there before has ended
    call.cookies.append((COOKIE, secret, int(accounts.SESSION_SECONDS)))
    return _make_session(account._replace(last_login=call.now), csrf)


def _make_session(account: accounts.Account, csrf: str) -> Session:
    scopes = sorted(ROLE_SCOPES[account.role])
    return Session(_show_account(account), cast("list[Scope]", scopes), csrf)


# Accounts


def list_accounts(call: Call[None]) -> list[Account]:
    """All who may sign in."""
    return [_show_account(account) for account in accounts.list_accounts(call.console.store)]


def add_account(call: Call[NewAccount]) -> Account:
    """Let another person sign in."""
    body = call.body
    name = _read_name(body.name)
    if accounts.find_account_by_name(call.console.store, name) is not None:
        raise RefusalError(409, "exists", f"there is an account '{name}' already")
    try:
        made = accounts.add_account(call.console.store, name, body.role, hash_password(body.password), call.now)
    except accounts.NameTakenError as error:
        raise RefusalError(409, "exists", str(error)) from None
    except accounts.TooManyError as error:
        raise RefusalError(409, "too-many", str(error)) from None
    call.console.note(call.caller.who, f"account {made.name} made", "account-made", name=made.name, role=made.role)
    return _show_account(made)


def change_account(call: Call[AccountChange]) -> Account:
    """Change a person's name, role or password; one's own name and password are everybody's to change."""
    body, caller = call.body, call.caller
    wanted = _read_id(call.path["account"])
    if wanted != caller.account and "accounts" not in caller.scopes:
        raise RefusalError(403, "not-allowed", "this is somebody else's account")
    if body.role is not None and "accounts" not in caller.scopes:
        raise RefusalError(403, "not-allowed", "only parents give roles")
    name = None if body.name is None else _read_name(body.name)
    before = accounts.find_account(call.console.store, wanted)
    if before is None:
        raise RefusalError(404, "not-found", "there is no such account")
    if body.role is not None or body.password is not None:
        confirm_password(call, body.current_password)
    try:
        changed = accounts.change_account(
            call.console.store,
            wanted,
            name=name,
            role=body.role,
            password=None if body.password is None else hash_password(body.password),
            keep_session=caller.session,
        )
    except accounts.NameTakenError as error:
        raise RefusalError(409, "exists", str(error)) from None
    except accounts.LastParentError as error:
        raise RefusalError(409, "last-parent", str(error)) from None
    if changed is None:
        raise RefusalError(404, "not-found", "there is no such account")
    call.console.events.check_callers()
    parts = [part for part in ("name", "role", "password") if getattr(changed, part) != getattr(before, part)]
    if parts:
        what = f"account {before.name} changed: {', '.join(parts)}"
        call.console.note(caller.who, what, "account-changed", name=before.name, parts=" ".join(parts))
    return _show_account(changed)


def remove_account(call: Call[None]) -> None:
    """Take a person's account away; their sessions end."""
    wanted = _read_id(call.path["account"])
    found = accounts.find_account(call.console.store, wanted)
    try:
        if found is None or not accounts.remove_account(call.console.store, wanted):
            raise RefusalError(404, "not-found", "there is no such account")
    except accounts.LastParentError as error:
        raise RefusalError(409, "last-parent", str(error)) from None
    call.console.events.check_callers()
    call.console.note(call.caller.who, f"account {found.name} removed", "account-removed", name=found.name)
    if wanted == call.caller.account:
        call.cookies.append((COOKIE, "", 0))


def _show_account(account: accounts.Account) -> Account:
    return Account(account.id, account.name, cast(Role, account.role), account.created, account.last_login)


# Tokens


def list_tokens(call: Call[None]) -> list[Token]:
    """The keys of programs."""
    return [_show_token(token) for token in accounts.list_tokens(call.console.store)]


def add_token(call: Call[NewToken]) -> MadeToken:
    """Make a key for a program; it is shown this once."""
    scopes = tuple(dict.fromkeys(call.body.scopes))
    try:
        secret, made = accounts.add_token(call.console.store, _read_name(call.body.name), scopes, call.now)
    except accounts.TooManyError as error:
        raise RefusalError(409, "too-many", str(error)) from None
    call.console.note(call.caller.who, f"key of program {made.name} made", "token-made", name=made.name)
    return MadeToken(secret, _show_token(made))


def remove_token(call: Call[None]) -> None:
    """Make a key worthless."""
    wanted, store = _read_id(call.path["token"]), call.console.store
    found = next((token for token in accounts.list_tokens(store) if token.id == wanted), None)
    if found is None or not accounts.remove_token(store, wanted):
        raise RefusalError(404, "not-found", "there is no such token")
    call.console.events.check_callers()
    call.console.note(call.caller.who, f"key of program {found.name} removed", "token-removed", name=found.name)


def _show_token(token: accounts.Token) -> Token:
    return Token(token.id, token.name, cast("list[TokenScope]", list(token.scopes)), token.created, token.used)


def _read_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MAX_ID):
        raise RefusalError(404, "not-found", "there is no such thing")
    return int(text)


def _read_name(text: str) -> str:
    """A name as it is kept: without spaces around it, and with nothing that changes the look of a line."""
    name = " ".join(text.split())
    if not name or not name.isprintable():
        raise RefusalError(422, "not-valid", "a name needs letters, and nothing invisible")
    return name


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/start", PUBLIC, "What a page needs before sign-in", read_start, Start),
    Endpoint(
        "POST", "/claim", PUBLIC, "The first visit: become the first parent", claim_box, Session, Claim,
        status=201, errors=(409, 429),
    ),
    Endpoint("POST", "/session", PUBLIC, "Sign in", sign_in, Session, Login, status=201, errors=(401, 429)),
    Endpoint("GET", "/session", "requests", "Who is signed in", read_session, Session, people_only=True),
    Endpoint("DELETE", "/session", "requests", "Sign out", sign_out, people_only=True),
    Endpoint("GET", "/accounts", "accounts", "Who may sign in", list_accounts, list[Account]),
    Endpoint(
        "POST", "/accounts", "accounts", "Add a person", add_account, Account, NewAccount, status=201, errors=(409,),
    ),
    Endpoint(
        "PATCH", "/accounts/{account}", "requests", "Change a person, or oneself", change_account, Account,
        AccountChange, errors=(409, 429), people_only=True,
    ),
    Endpoint("DELETE", "/accounts/{account}", "accounts", "Remove a person", remove_account, errors=(409,)),
    Endpoint("GET", "/tokens", "accounts", "Keys of programs", list_tokens, list[Token]),
    Endpoint("POST", "/tokens", "accounts", "Make a key", add_token, MadeToken, NewToken, status=201, errors=(409,)),
    Endpoint("DELETE", "/tokens/{token}", "accounts", "Remove a key", remove_token),
)  # fmt: skip
