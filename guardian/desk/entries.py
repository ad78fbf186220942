"""What stands on a list of the hotline: an entry, its words, its one spelling, and its row in desk.db."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from guardian.blocklist import entry as words
from guardian.blocklist.lines import read_name
from guardian.blocklist.urls import MAX_PATH_BYTES, MAX_SEGMENTS, normalize_path
from guardian.errors import DeskError
from guardian.feed import Line, TagClass, Text, Word
from guardian.names import format_name, parse_name

Scope = Literal["domain", "host", "url", "url_prefix"]
Severity = Literal["baseline", "national"]
LegalBasis = Literal["law_order", "court", "voluntary"]
LicenceClass = Literal["public", "hashed_ok", "isp_only"]
Status = Literal["active", "suspended", "removed"]
Second = Annotated[int, Meta(ge=0, le=1 << 40)]

SCOPES: tuple[Scope, ...] = ("domain", "host", "url", "url_prefix")
NAME_SCOPES = frozenset({"domain", "host"})
DAY = 86400
DEFAULT_DAYS = 14
MOST_DAYS = 90  # from one verification to the next
OVERRIDE_SECONDS = DAY
MAX_VALUE_CHARS = 4096
_LETTERS = {"domain": "d", "host": "h", "url": "u", "url_prefix": "p"}
_URL = re.compile(r"(?:(https?):)?//(.*)|(.*)", re.IGNORECASE | re.DOTALL)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Facts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of an entry besides what it is for; the same for many entries of an import."""

    severity: Severity
    legal_basis: LegalBasis
    authority: Text  # who blocks
    order_ref: Line = ""  # public: the order or law, never the case of a person
    verified: Second
    expires: Second
    action: Literal["block"] = "block"
    message: Text | None = None
    appeal: Line = ""
    licence_class: LicenceClass = "hashed_ok"  # public: may leave in plain; hashed_ok: as tags only; isp_only: RPZ only
    shared_host: bool = False  # on a platform where others have their own pages
    override: Line = ""  # why it stands here although a rule refuses it; it ends within a day
    source: Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?)?$(?!\n)")] = ""  # of an import


class Entry(Facts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry as it is now. Times are whole epoch seconds.

    `value` is the A-label name without a final dot for `domain` and `host`, else the canonical URL with its scheme. A
    page is the same whether listed with `http` or `https`: it can be blocked where a router sees plain HTTP, and is
    counted as not enforceable where it is `https`.
    """

    id: int
    list_id: Word
    scope: Scope
    value: Annotated[str, Meta(max_length=MAX_VALUE_CHARS)]
    listed: Second
    changed: Second
    reviewers: tuple[str, str]  # author, approver
    status: Status = "active"
    removed_reason: Line = ""

    @property
    def error(self) -> int:
        """The Extended DNS Error of its answers (RFC 8914)."""
        return 15 if self.legal_basis == "voluntary" else 16

    @property
    def is_enforceable(self) -> bool:
        """Tell whether a router can carry it out as it stands: not a page that is served over HTTPS."""
        return not self.value.startswith("https:")

    @property
    def name(self) -> bytes:
        """The wire name that it is for: for a page that of its host."""
        return parse_name(host_of(self.scope, self.value))

    @property
    def path(self) -> bytes:
        """The path of a page, as `normalize_path` writes it; b"" for a name."""
        return b"" if self.scope in NAME_SCOPES else path_of(self.value)

    @property
    def tag_class(self) -> TagClass:
        """Who blocks by which law, as routers learn it."""
        return TagClass(
            severity=self.severity,
            legal_basis=self.legal_basis,
            authority=self.authority,
            order_ref=self.order_ref,
            message=self.message,
            appeal=self.appeal,
        )


class BadValueError(DeskError):
    """A value that cannot be listed: `rule` is a word for programs, `advice` what to do."""

    def __init__(self, rule: str, why: str, advice: str) -> None:
        super().__init__(f"{why}: {advice}")
        self.rule, self.why, self.advice = rule, why, advice


class Target(NamedTuple):
    """What an entry is for, in its one spelling."""

    scope: Scope
    value: str

    @property
    def key(self) -> str:
        """The same for two ways to write the same thing."""
        return make_key(self.scope, self.value)


def make_key(scope: str, value: str) -> str:
    """Return what is unique on a list: `d:name`, `u:host/path` whatever the scheme."""
    return f"{_LETTERS[scope]}:{value.partition('://')[2] or value}"


def host_of(scope: str, value: str) -> str:
    """Return the name of an entry as text: for a page that of its host."""
    return value if scope in NAME_SCOPES else value.partition("://")[2].partition("/")[0]


def path_of(value: str) -> bytes:
    """Return the path of a canonical URL, with its query."""
    return b"/" + value.partition("://")[2].partition("/")[2].encode()


def read_target(scope: Scope, text: str, scheme: str = "https") -> Target:
    """Return what somebody wrote in its one spelling. Raises BadValueError.

    `scheme` is that of a URL written without one. A URL never becomes a name here, nor a name a URL.
    """
    text = text.strip()
    if not text or len(text) > MAX_VALUE_CHARS or not text.isprintable() or any(map(str.isspace, text)):
        raise BadValueError("unreadable", "empty, too long, or with blanks or invisible signs inside", "write it anew")
    return _read_name_target(scope, text) if scope in NAME_SCOPES else _read_url_target(scope, text, scheme)


def _read_name_target(scope: Scope, text: str) -> Target:
    if (_OTHER_SCHEME.match(text) or "/" in text) and not _is_address(text):
        raise BadValueError("url-as-name", "a page is not a whole site", f"use the scope url, not {scope}")
    bare = text.removeprefix("*.") if scope == "domain" else text
    if "*" in bare:
        raise BadValueError("pattern", "a pattern is not a name", "list each name of its own")
    return Target(scope, _read_host(bare))


def _read_host(text: str) -> str:
    name = read_name(text)
    if isinstance(name, bytes):
        return format_name(name)
    if name == words.ADDRESS or _is_address(text):
        raise BadValueError(
            "address",
            "an IP address: many sites share one, and owners can point theirs at anybody's",
            "list the name or the page",
        )
    if name in (words.SINGLE_LABEL, words.PUBLIC_SUFFIX):
        raise BadValueError("public-suffix", "a whole registry of names", "list the names below it one by one")
    raise BadValueError("not-a-name", "not a domain name", "check the spelling (letters, digits and - only)")


def _is_address(text: str) -> bool:
    """Tell whether a text is an address in any spelling that programs accept, such as 0x7f.1 or 2130706433."""
    bare = text.strip("[]").partition("%")[0].partition("/")[0]
    try:
        ip_address(bare)
    except ValueError:
        labels = bare.rstrip(".").split(".")
        return len(labels) <= 4 and all(re.fullmatch(r"0x[0-9a-f]*|[0-9]+", label, re.IGNORECASE) for label in labels)
    return True


def _read_url_target(scope: Scope, text: str, scheme: str) -> Target:
    found = _URL.fullmatch(text)
    assert found is not None  # it matches any text
    rest = found[2] if found[2] is not None else found[3]
    if _OTHER_SCHEME.match(rest):
        raise BadValueError("scheme", "neither http nor https", "only web pages can be listed")
    scheme = (found[1] or scheme).lower()
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in authority:
        raise BadValueError("userinfo", "a URL with a user name in it", "write it without what stands before the @")
    host, colon, port = authority.rpartition(":")
    has_port = bool(colon) and not authority.endswith("]") and not _is_address(authority)
    name = _read_host(host if has_port else authority)
    if has_port and port not in ("", {"http": "80", "https": "443"}[scheme]):
        raise BadValueError("port", "a page at a port of its own", "routers tell pages apart at the usual port only")
    below = scope == "url_prefix" and tail.endswith("/*")
    path = normalize_path((tail[:-1] if below else tail).encode())
    if "*" in tail.removesuffix("/*" if below else ""):
        raise BadValueError("pattern", "a pattern is not a page", "list each page of its own")
    if len(path) > MAX_PATH_BYTES or path.count(b"/") > MAX_SEGMENTS:
        raise BadValueError("too-long", "a path that routers do not look at", "list a page above it")
    if scope == "url_prefix" and path.partition(b"?")[0] == b"/":
        raise BadValueError(
            "grows-to-host", "all pages of a host are the host itself", "use the scope host, if all of it is illegal"
        )
    if scope == "url_prefix" and b"?" in path:
        raise BadValueError("query", "nothing is below a page with a query", "use the scope url")
    return Target(scope, f"{scheme}://{name}{path.decode('ascii')}")


COLUMNS = (
    "id", "list_id", "scope", "value", "target", "severity", "legal_basis", "authority", "order_ref", "listed",
    "verified", "expires", "changed", "action", "message", "appeal", "licence_class", "shared_host", "author",
    "approver", "status", "removed_reason", "override", "source",
)  # fmt: skip
SELECT = f"SELECT {', '.join(COLUMNS)} FROM entries"  # noqa: S608 - a constant
_PLACES = ", ".join("?" * len(COLUMNS))
_ANEW = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[1:])
INSERT = (  # a row that has its target already is an error, not replaced
    f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({_PLACES}) ON CONFLICT (id) DO UPDATE SET {_ANEW}"  # noqa: S608
)


class RowReader:
    """Makes entries of rows. Texts that many entries share are kept once."""

    def __init__(self) -> None:
        self._texts: dict[str, Text | None] = {"": None}

    def read(self, row: Sequence[Any]) -> Entry:
        """Return the entry of a row of `SELECT`. Raises DeskError for a row that nobody here wrote."""
        (id_, list_id, scope, value, _, severity, legal_basis, authority, order_ref, listed, verified, expires, changed,
         action, message, appeal, licence_class, shared_host, author, approver, status, removed_reason, override,
         source) = row  # fmt: skip
        who = self._read_text(authority, id_)
        if who is None:
            raise DeskError(f"desk.db: entry {id_} has no authority; run 'guardian hotline journal verify'")
        return Entry(
            id=id_, list_id=list_id, scope=scope, value=value, severity=severity, legal_basis=legal_basis,
            authority=who, order_ref=order_ref, listed=listed, verified=verified, expires=expires, changed=changed,
            action=action, message=self._read_text(message, id_), appeal=appeal, licence_class=licence_class,
            shared_host=bool(shared_host), reviewers=(author, approver), status=status, removed_reason=removed_reason,
            override=override, source=source,
        )  # fmt: skip

    def read_all(self, rows: Iterator[Sequence[Any]]) -> Iterator[Entry]:
        """Yield the entries of rows."""
        return map(self.read, rows)

    def _read_text(self, text: str, id_: int) -> Text | None:
        if text not in self._texts:
            try:
                self._texts[text] = msgspec.json.decode(text, type=Text)
            except msgspec.MsgspecError as error:
                raise DeskError(f"desk.db: entry {id_}: {error}; run 'guardian hotline journal verify'") from None
        return self._texts[text]


def write_text(text: Text | None) -> str:
    """Return a text as its column has it."""
    return msgspec.json.encode(text).decode() if text is not None else ""


def make_row(entry: Entry) -> tuple[Any, ...]:
    """Return the row of an entry, in the order of `COLUMNS`."""
    return (
        entry.id, entry.list_id, entry.scope, entry.value, make_key(entry.scope, entry.value), entry.severity,
        entry.legal_basis, write_text(entry.authority), entry.order_ref, entry.listed, entry.verified, entry.expires,
        entry.changed, entry.action, write_text(entry.message), entry.appeal, entry.licence_class,
        int(entry.shared_host), *entry.reviewers, entry.status, entry.removed_reason, entry.override, entry.source,
    )  # fmt: skip
