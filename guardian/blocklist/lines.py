"""The careful reading of one list line: slow, complete, and the measure for the fast path in `bulk`.

A reader takes a line without its end, decoded, and returns its items: `(kind, key)` for each entry, a reason for each
thing refused, nothing for a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from guardian.blocklist import entry
from guardian.blocklist.entry import Item
from guardian.blocklist.urls import MAX_PATH_BYTES, MAX_SEGMENTS, normalize_path
from guardian.errors import TextError
from guardian.names import to_ascii

LineReader = Callable[[str], list[Item]]

MAX_TEXT_CHARS = 253  # a name of 255 wire bytes, written without its final dot
# Second-level registries of country domains, as far as a rule tells them: not the whole of publicsuffix.org.
PUBLIC_SUFFIX = rb"(?:com?|net|org|gov|gob|edu|ac|mil)\.[a-z]{2}|(?:ne|or|go)\.(?:jp|kr)"

_NAME_CHARS = re.compile(r"[a-z0-9_.-]+")
_PUBLIC_SUFFIX = re.compile(PUBLIC_SUFFIX.decode())
_COSMETIC = re.compile(r"(?:^|[^\s#])(?:#@?[?$%]{0,2}#|\$\$)(?=[^\s#])")
_NULL_HOST = re.compile(r"0|0\.0\.0\.0|127(?:\.[0-9]{1,3}){3}|::|::0|::1|0:0:0:0:0:0:0:[01]")
_SCHEME = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BLOCK_MODIFIERS = frozenset({"important", "all", "document", "doc"})
_ALLOW_MODIFIERS = frozenset({"important"})


def read_name(text: str) -> bytes | str:
    """Return the wire name of a listed name, or the reason why it cannot be listed."""
    text = text.removesuffix(".")
    if not text.isascii():
        if len(text) > MAX_TEXT_CHARS:
            return entry.NOT_A_NAME
        try:
            text = to_ascii(text).removesuffix(".")
        except TextError:
            return entry.NOT_A_NAME
    text = text.lower()
    if len(text) > MAX_TEXT_CHARS or not _NAME_CHARS.fullmatch(text):
        return entry.ADDRESS if is_address(text) else entry.NOT_A_NAME
    labels = text.split(".")
    if any(not 0 < len(label) <= 63 for label in labels):
        return entry.NOT_A_NAME
    if labels[-1].isdigit():
        return entry.ADDRESS if is_address(text) else entry.NOT_A_NAME
    if len(labels) == 1:
        return entry.SINGLE_LABEL
    if _PUBLIC_SUFFIX.fullmatch(text):
        return entry.PUBLIC_SUFFIX
    return b"".join([bytes((len(label),)) + label.encode() for label in labels]) + b"\0"


def is_address(text: str) -> bool:
    """Tell whether a text is an IP address, also in brackets, with a zone or with a prefix length."""
    if len(text) > 64:
        return False
    try:
        ip_address(text.strip("[]").partition("%")[0].partition("/")[0])
    except ValueError:
        return False
    return True


def read_blocked(text: str, kind: int = entry.BLOCK) -> Item:
    """Return the item of a plain name or of `*.name`; both cover the name and all below it."""
    bare = text.removeprefix("*.")
    if "*" in bare:
        return entry.PATTERN
    if "/" in bare:
        if is_address(bare):
            return entry.ADDRESS
        host = _SCHEME.sub("", bare, count=1) if _SCHEME.match(bare) else bare
        return entry.NOT_A_NAME if read_name(host.partition("/")[0]) == entry.NOT_A_NAME else entry.URL_IN_NAMES
    name = read_name(bare)
    return name if isinstance(name, str) else (kind, name)


def read_mixed(line: str) -> list[Item]:
    """Read a line of a plain, wildcard, hosts or Adblock-style list: each such line tells its own kind."""
    line = line.strip()
    if not line or line[0] in "!;" or line.startswith("[Adblock"):
        return []
    if _COSMETIC.search(line):
        return [entry.COSMETIC]
    if line[0] == "#":
        return []
    if line[0] in "|@/^$" or "^" in line or "$" in line:
        return [entry.NOT_A_NAME if any(map(str.isspace, line)) else _read_adblock(line)]
    fields = line.partition("#")[0].split()
    if len(fields) == 1:
        return [read_blocked(fields[0])]
    if not is_address(fields[0]):
        return [entry.NOT_A_NAME]
    if not _NULL_HOST.fullmatch(fields[0]):
        local = all("." not in field for field in fields[1:])  # `fe80::1%lo0 localhost`
        return [entry.SINGLE_LABEL if local else entry.REDIRECT]
    return [read_blocked(field) for field in fields[1:]]


def _read_adblock(rule: str) -> Item:
    """`||x^` covers x and all below, `|x^` x alone, `@@` in front allows; options must mean the whole site."""
    allow = rule.startswith("@@")
    pattern = rule[2:] if allow else rule
    if pattern.startswith("/") and pattern.rpartition("/")[0]:
        return entry.PATTERN
    pattern, mark, options = pattern.partition("$")
    if mark:
        honoured = _ALLOW_MODIFIERS if allow else _BLOCK_MODIFIERS
        if any(option.strip().lower() not in honoured for option in options.split(",")):
            return entry.MODIFIER
    bars = len(pattern) - len(pattern.lstrip("|"))
    host = pattern[bars:].removesuffix("|")
    if bars:
        host = _SCHEME.sub("", host, count=1) if _SCHEME.match(host) else host
    host, caret, rest = host.partition("^")
    if bars > 2 or rest or (caret and not bars) or not host:
        return entry.URL_IN_NAMES if rest else entry.PATTERN
    item = read_blocked(host, entry.BLOCK)
    if isinstance(item, str):
        return item
    if bars == 1:
        return (entry.ALLOW_EXACT if allow else entry.BLOCK_EXACT, item[1])
    return (entry.ALLOW if allow else entry.BLOCK, item[1])


def read_dnsmasq(line: str) -> list[Item]:
    """Read `address=/x/`, `local=/x/` and `server=/x/` (with all below); `server=/x/#` allows x."""
    line = line.strip()
    if not line or line[0] == "#":
        return []
    option, mark, value = line.partition("=")
    option = option.strip().removeprefix("--")
    if not mark:
        return [entry.NOT_A_NAME]
    if option not in ("address", "server", "local"):
        return [entry.UNSUPPORTED]
    first, *names, target = value.strip().split("/") if value.count("/") > 1 else ["?", ""]
    if first or not names:
        return [entry.UNSUPPORTED]
    target = target.partition("#")[0].strip() if len(target) > 1 else target.strip()
    kind = entry.BLOCK
    if option == "address":
        if target not in ("", "#") and not _NULL_HOST.fullmatch(target):
            return [entry.REDIRECT]
    elif target == "#":
        kind = entry.ALLOW
    elif target:
        return [entry.REDIRECT]
    return [entry.PATTERN if name in ("#", "") else read_blocked(name, kind) for name in names]


def read_url(line: str) -> list[Item]:
    """Read a line of a URL list: `host/path`, with or without a scheme. It never becomes an entry for the host.

    A path covers the page and all below it; `host` and `host/` are the front page alone; a path with a query is that
    page alone; `/*` at the end means all below.
    """
    line = line.strip()
    if not line or line[0] in "#!;":
        return []
    if any(char.isspace() for char in line):
        return [entry.BAD_URL]
    text = _SCHEME.sub("", line, count=1) if _SCHEME.match(line) else line
    if _OTHER_SCHEME.match(text):
        return [entry.UNSUPPORTED]
    host, _, path = text.partition("/")
    host, mark, query = host.partition("?")
    path = f"/?{query}/{path}" if mark and path else f"/?{query}" if mark else f"/{path}"
    if "@" in host:
        return [entry.BAD_URL]
    name, colon, port = host.rpartition(":")
    if colon and not is_address(host):
        if port not in ("", "80", "443"):
            return [entry.UNSUPPORTED]
        host = name
    name_or_reason = read_name(host)
    if isinstance(name_or_reason, str):
        # A whole registry cannot be blocked through one of its pages, so such a host is just a host here.
        return [name_or_reason]
    return [_read_path(name_or_reason, path)]


def _read_path(host: bytes, text: str) -> Item:
    below = text.endswith("/*")
    path = normalize_path((text[:-1] if below else text).encode())
    if len(path) > MAX_PATH_BYTES:
        return entry.TOO_LONG
    if "*" in text[: -1 if below else None]:
        return entry.PATTERN
    if path == b"/" and below:
        return entry.PATTERN  # all pages of a host: a URL list must not block a host
    if path == b"/" or b"?" in path:
        return (entry.URL_EXACT, host + path)
    if path.count(b"/") > MAX_SEGMENTS:
        return entry.BAD_URL
    return (entry.URL, host + path)
