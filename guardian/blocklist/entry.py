"""What a list line comes to: an entry of some kind, or a refusal with its reason.

The reasons are words that `guardian lists show` prints and that the committed table of counts holds.
"""

from __future__ import annotations

from typing import NamedTuple

# Kinds of entries. Names: the name and all below it, or the name alone. URLs: the page and all below, or it alone.
BLOCK, BLOCK_EXACT, ALLOW, ALLOW_EXACT, URL, URL_EXACT = range(6)
KINDS = ("block", "block_exact", "allow", "allow_exact", "url", "url_exact")

# Lines that make no sense in any list.
NOT_A_NAME = "not-a-name"
SINGLE_LABEL = "single-label"  # `com`, `localhost`: would cut off a whole top-level domain
TOO_LONG = "too-long"
ENCODING = "encoding"  # not UTF-8
BAD_URL = "bad-url"
# Lines that make sense, but that a name filter cannot or must not carry out.
ADDRESS = "address"  # an IP address: Guardian lists names only
PUBLIC_SUFFIX = "public-suffix"  # `co.uk`, `com.md`
REDIRECT = "redirect"  # answers with an address or a name of the list's choice
MODIFIER = "modifier"  # an Adblock option that DNS cannot honour
COSMETIC = "cosmetic"  # hides parts of pages
PATTERN = "pattern"  # a wildcard inside a name, or a regular expression
URL_IN_NAMES = "url"  # a page in a list of names: never widened to its host
UNSUPPORTED = "unsupported"  # another dnsmasq option, RPZ trigger or record

JUNK = frozenset({NOT_A_NAME, SINGLE_LABEL, TOO_LONG, ENCODING, BAD_URL})
MAX_EXAMPLES = 5
_EXAMPLE_CHARS = 80

Item = tuple[int, bytes] | str  # (kind, wire name or URL key), or the reason of a refusal


class Example(NamedTuple):
    """One refused line: its number in the file (from 1) and its text, clipped and printable."""

    line: int
    text: str


class Entries(NamedTuple):
    """Entries of a stretch of a list, one list per kind: wire names, and URL keys (wire name of the host + path)."""

    block: list[bytes]
    block_exact: list[bytes]
    allow: list[bytes]
    allow_exact: list[bytes]
    url: list[bytes]
    url_exact: list[bytes]


def no_entries() -> Entries:
    """Return Entries to be filled."""
    return Entries([], [], [], [], [], [])


def make_printable(text: bytes) -> str:
    """Return a refused line as text of at most 80 characters that is safe on a terminal and in JSON."""
    clipped = text[: 4 * _EXAMPLE_CHARS].decode("utf-8", "backslashreplace").strip()
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in clipped)
    return shown if len(shown) <= _EXAMPLE_CHARS else shown[: _EXAMPLE_CHARS - 3] + "..."
