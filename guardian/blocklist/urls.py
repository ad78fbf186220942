"""The one spelling of a URL path: lists and requests are compared in it (RFC 3986 section 6.2.2).

Percent-escapes of unreserved characters are decoded, other escapes get upper-case digits, bytes that may not stand in a
path are escaped, dot segments are taken out, slashes in a row become one, the fragment goes. Paths keep their case. A
query (`?...`) is kept.
"""

from __future__ import annotations

import re

MAX_PATH_BYTES = 2048
MAX_SEGMENTS = 64  # a deeper entry is refused, so that a lookup may stop there

_CLEAN = re.compile(rb"(?:/(?!/|\.\.?(?:[/?]|$))[A-Za-z0-9._~!$&'()*+,;=:@-]*)+(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})|([^A-Za-z0-9._~!$&'()*+,;=:@/?-])")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalize_path(path: bytes) -> bytes:
    """Return the path (with its query) in the one spelling; it always begins with `/`. Any bytes are taken."""
    if _CLEAN.fullmatch(path):
        return path
    path = _ESCAPE.sub(_respell, path.partition(b"#")[0])
    path, mark, query = path.partition(b"?")
    segments: list[bytes] = []
    parts = path.split(b"/")[1:] if path.startswith(b"/") else path.split(b"/")
    for part in parts:
        if part == b"..":
            del segments[-1:]
        elif part and part != b".":  # many servers take several slashes for one
            segments.append(part)
    if parts[-1] in (b"", b".", b".."):
        segments.append(b"")
    return b"/" + b"/".join(segments) + mark + query


def _respell(match: re.Match[bytes]) -> bytes:
    if match[1]:
        byte = int(match[1], 16)
        return bytes((byte,)) if byte in _UNRESERVED else b"%" + match[1].upper()
    return b"%%%02X" % match[2][0]


def prefixes(path: bytes) -> list[bytes]:
    """Return what a prefix entry may look like that covers a normalized path, the shortest first.

    `/a/b?q` gives `/a`, `/a/`, `/a/b`; `/a/` gives `/a`, `/a/`; `/` alone is the front page and no prefix.
    """
    bare = path.partition(b"?")[0]
    found = []
    position = 1
    for _ in range(MAX_SEGMENTS):
        slash = bare.find(b"/", position)
        if slash < 0:
            if position < len(bare):
                found.append(bare)
            return found
        found += (bare[:slash], bare[: slash + 1])
        position = slash + 1
    return found
