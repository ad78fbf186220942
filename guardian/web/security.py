"""Who may talk to the console at all, who a caller is, and the headers that every answer carries."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, NamedTuple

from guardian.config import Config
from guardian.errors import GuardianError
from guardian.names import format_name
from guardian.store import accounts
from guardian.web.access import ROLE_SCOPES, Caller
from guardian.web.routing import CHILD, PUBLIC, Endpoint, RefusalError

if TYPE_CHECKING:
    from guardian.web.console import Console

log = logging.getLogger(__name__)

COOKIE = "guardian_session"
CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_SECRET = 128  # characters of a cookie or token; ours are shorter

Headers = list[tuple[bytes, bytes]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Headers = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-robots-tag", b"noindex"),
]


class Head(NamedTuple):
    """What a request says of itself, before anything of it is believed."""

    method: str
    scheme: str
    address: str  # of the socket's other end
    fields: dict[str, str]  # names in small letters; of a repeated one the values with ", " between them
    repeated: frozenset[str]

    def field(self, name: str) -> str:
        """Return a header field, "" when it is not there."""
        return self.fields.get(name, "")


def read_head(method: str, scheme: str, address: str, headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Return the head of a request from raw header fields."""
    fields: dict[str, str] = {}
    repeated = set()
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in fields:
            repeated.add(name)
            value = f"{fields[name]}{'; ' if name == 'cookie' else ', '}{value}"
        fields[name] = value
    return Head(method, scheme, address, fields, frozenset(repeated))


def plain_address(text: str) -> str:
    """Return an address of a socket as the home knows it: an IPv4 one without the IPv6 around it, without a scope."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


class Doors:
    """Which sources and which names of this box are let in."""

    def __init__(self, config: Config) -> None:
        own = format_name(config.local.name).lower().removesuffix(".")
        self._networks = config.web.clients
        self._hosts = {own, own.partition(".")[0], "localhost", *config.web.hosts}

    def is_home(self, address: str) -> bool:
        """Tell whether an address is of the home."""
        packed = ipaddress.ip_address(address)
        return any(packed in network for network in self._networks if network.version == packed.version)

    def is_own_host(self, host: str) -> bool:
        """Tell whether a Host field names this box: what a rebound foreign name brings along is refused."""
        name = split_host(host)
        if name is None:
            return False
        return name in self._hosts or _is_address(name)


def split_host(host: str) -> str | None:
    """Return the name or address in a Host field, in small letters, without port and brackets; None for nonsense."""
    if host.startswith("["):
        name, closed, tail = host[1:].partition("]")
        if not closed or ":" not in name or not _is_address(name):
            return None
    else:
        name, colon, port = host.partition(":")
        tail = colon + port
    if tail and not (tail[1:].isascii() and tail[1:].isdigit() and tail.startswith(":")):
        return None
    return name.lower().removesuffix(".") or None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def check_origin(head: Head) -> None:
    """Refuse a change that another site's page sends. Raises RefusalError 403."""
    if head.method in SAFE_METHODS:
        return
    origin = head.field("origin")
    if origin and origin.lower() != f"{head.scheme}://{head.field('host')}".lower():
        raise RefusalError(403, "csrf", "another site sent this")
    if head.field("sec-fetch-site") in ("cross-site", "same-site"):
        raise RefusalError(403, "csrf", "another site sent this")


def read_cookie(head: Head) -> str:
    """Return the session's secret in the cookies of a request, "" when there is none, or more than one."""
    text = head.field("cookie")
    if text.count(f"{COOKIE}=") != 1:  # a second one was planted by somebody
        return ""
    try:
        cookies: SimpleCookie = SimpleCookie(text)
    except CookieError:
        return ""
    return cookies[COOKIE].value[:MAX_SECRET] if COOKIE in cookies else ""


class Visit(NamedTuple):
    """A caller, and the cookie to send again (its end has moved)."""

    caller: Caller
    renew: str = ""


def identify(console: Console, head: Head, endpoint: Endpoint, now: float) -> Visit:
    """Return who calls an endpoint, and make sure that they may.

    Raises RefusalError: 401 not-signed-in, 403 csrf, not-allowed or child-device. Reads the database.
    """
    check_origin(head)
    if "authorization" in head.fields:  # a program; a cookie beside it counts for nothing
        visit = Visit(_identify_token(console, head, now))
    else:
        visit = _identify_person(console, head, now)
    caller = visit.caller
    if endpoint.scope in (PUBLIC, CHILD):
        return visit
    if not caller.who:
        raise RefusalError(401, "not-signed-in", "nobody is signed in")
    if caller.account and is_childs(console, caller.address):
        raise RefusalError(403, "child-device", "parents do not sign in on this device")
    if caller.account and head.method not in SAFE_METHODS:
        check_csrf(head, caller)
    if endpoint.scope not in caller.scopes or (endpoint.people_only and not caller.account):
        raise RefusalError(403, "not-allowed", f"this needs the scope '{endpoint.scope}'")
    return visit


def check_csrf(head: Head, caller: Caller) -> None:
    """Make sure that a page of ours sent this. Raises RefusalError 403."""
    given = head.field(CSRF_HEADER).encode("latin-1", "replace")
    if not hmac.compare_digest(given, caller.csrf.encode()):
        raise RefusalError(403, "csrf", "the header X-CSRF-Token is missing or wrong")


def _identify_token(console: Console, head: Head, now: float) -> Caller:
    kind, _, secret = head.field("authorization").partition(" ")
    secret = secret.strip()
    token = None
    if kind.lower() == "bearer" and secret.startswith(accounts.TOKEN_MARK) and len(secret) <= MAX_SECRET:
        token = accounts.find_token(console.store, secret, now)
    if token is None:
        return Caller(head.address)
    # Whatever stands in the database: a token never manages accounts.
    return Caller(head.address, frozenset(token.scopes) - {"accounts"}, who=token.name, token=token.id)


def _identify_person(console: Console, head: Head, now: float) -> Visit:
    secret = read_cookie(head)
    if not secret:
        return Visit(Caller(head.address))
    key = accounts.hash_secret(secret)
    session = accounts.find_session(console.store, key, now)
    if session is None:
        return Visit(Caller(head.address))
    account = session.account
    caller = Caller(head.address, ROLE_SCOPES[account.role], account.id, account.name, key, session.csrf)
    return Visit(caller, secret if session.renewed else "")


def name_source(console: Console, address: str) -> str:
    """Return as what tries at secrets from an address are counted: the device, else the MAC, else the address.

    One device may have as many IPv6 addresses as it likes. A device that parents have named for somebody else than a
    child is trusted: a flood of tries from elsewhere does not lock it out.
    """
    try:
        whose = console.gateway.whose(address)
    except GuardianError as error:
        log.warning("event=device-unknown error=%r", str(error))
        return address
    if not whose.device:
        return whose.mac or address
    source = f"device:{whose.device}"
    if not whose.is_child:
        console.password_tries.trust(source)
    return source


def is_childs(console: Console, address: str) -> bool:
    """Tell whether the device of an address is a child's, and parents have not allowed to sign in there."""
    return is_child_device(console, address) and console.store.option("login_from_children") != "yes"


def is_child_device(console: Console, address: str) -> bool:
    """Tell whether the device of an address is a child's, as far as the gateway knows."""
    try:
        return console.gateway.whose(address).is_child
    except GuardianError as error:  # it must not lock parents out; who signs in needs the password all the same
        log.warning("event=device-unknown error=%r", str(error))
        return False
