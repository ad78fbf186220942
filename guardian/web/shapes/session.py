"""Who is there: first visit, accounts, sessions, tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from guardian.web.shapes.common import Language, Moment, ShortName, Struct

Password = Annotated[str, Meta(min_length=8, max_length=200)]
Role = Literal["parent", "helper"]
# What a caller may do. Parents may do all, helpers `requests`; a token what it was made for, never `accounts`.
Scope = Literal["status", "read", "requests", "control", "manage", "accounts"]
TokenScope = Literal["status", "read", "requests", "control", "manage"]


class Start(Struct):
    """What a page needs to know before anybody has signed in."""

    claimed: bool  # False: the first visit
    version: str
    language: Language
    timezone: str  # the household's, or a guess
    login_allowed: bool  # False on a child's device, unless the parents allow it
    languages: list[Language]  # that pages offer, the provider's first choice first
    provider: str  # who gave the box, or ""
    support: str  # an ISP's contact line, or ""
    encrypted: bool  # the page came over HTTPS


class Claim(Struct):
    """The first visit: who holds the claim code becomes the first parent."""

    claim_code: Annotated[str, Meta(max_length=40)]
    name: ShortName  # as the journal will call the person: Mama, Tata
    password: Password
    language: Language
    timezone: Annotated[str, Meta(max_length=100)]


class Login(Struct):
    name: Annotated[str, Meta(max_length=60)]
    password: Annotated[str, Meta(max_length=200)]


class Account(Struct):
    id: int
    name: str
    role: Role
    created: Moment
    last_login: Moment | None


class Session(Struct):
    """A signed-in person. The cookie holds the session; `csrf` goes into the header X-CSRF-Token of all changes."""

    account: Account
    scopes: list[Scope]
    csrf: str


class NewAccount(Struct):
    name: ShortName
    role: Role
    password: Password


class AccountChange(Struct):
    """Parts that are not given stay. `current_password` is the caller's own; a change of role or password needs it."""

    current_password: Annotated[str, Meta(max_length=200)] = ""
    name: ShortName | None = None
    role: Role | None = None
    password: Password | None = None


class Token(Struct):
    """A key for a program, such as an ISP's app. The token itself is shown once, when it is made."""

    id: int
    name: str
    scopes: list[TokenScope]
    created: Moment
    last_used: Moment | None


class NewToken(Struct):
    name: ShortName
    scopes: Annotated[list[TokenScope], Meta(min_length=1, max_length=5)]


class MadeToken(Struct):
    secret: str  # goes into `Authorization: Bearer SECRET`; never shown again
    token: Token
