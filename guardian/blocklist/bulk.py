"""The fast reading of a list: one regular expression per format takes all clean lines of a buffer at once.

A line is clean when it is exactly what the format's own programs write: lower case, no odd spaces, no comment. All
other lines come back untouched for the careful reader. Both must say the same of every line: the tests compare them
on every real list and on generated dirty ones.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from guardian.blocklist.entry import Entries
from guardian.blocklist.lines import MAX_TEXT_CHARS, PUBLIC_SUFFIX

# The looks ahead: no longer than a name may be, no registry of a country, no RPZ trigger in the last label.
_NAME = rb"(?![a-z0-9_.-]{%d})(?!(?:%b)[^a-z0-9_.-])((?:[a-z0-9_-]{1,63}\.)+(?!rpz-)[a-z][a-z0-9-]{1,62})" % (
    MAX_TEXT_CHARS + 1,
    PUBLIC_SUFFIX,
)
_PATH = rb"((?:/(?![.*])[A-Za-z0-9._~!$&'()+,;=:-]{1,100}){1,8}/?)"


def _line(before: bytes, after: bytes = b"") -> re.Pattern[bytes]:
    return re.compile(rb"(?m)^" + before + _NAME + after + rb"\r?\n")


_LINES = {
    "domains": _line(b""),
    "wildcard": _line(rb"(?:\*\.)?"),
    "hosts": _line(rb"(?:0\.0\.0\.0|127\.0\.0\.1)[ \t]{1,32}"),
    "adblock": _line(rb"\|\|", rb"\^"),
    "dnsmasq": _line(
        rb"(?:(?:server|local)=/(?=[^/\n]+/\r?\n)|address=/(?=[^/\n]+/(?:0\.0\.0\.0|::|\#)?\r?\n))", rb"/[0.:#]*"
    ),
}
_RPZ_LINE = _line(rb"(\*\.)?", rb"[ \t]{1,32}(?:[0-9]{1,9}[ \t]{1,32})?(?:IN[ \t]{1,32})?CNAME[ \t]{1,32}\.")
_URL_LINE = _line(rb"(?:https?://)?", _PATH)


class Rest(NamedTuple):
    """A stretch of lines that were not clean: `skipped` lines were taken between the stretch before and this one."""

    skipped: int
    text: bytes


def take_clean(format_: str, data: bytes, entries: Entries) -> tuple[int, list[Rest]]:
    """Add the entries of all clean lines to `entries`; return their number and the rest in file order.

    `data` is whole lines, each with its line feed.
    """
    # `split` gives what stands between the clean lines, and the groups of each clean line, in one pass.
    if format_ == "url":
        parts = _URL_LINE.split(data)
        hosts = to_wire(parts[1::3])
        entries.url.extend([host + path for host, path in zip(hosts, parts[2::3], strict=True)])
        return len(hosts), _rests(parts[0::3])
    if format_ == "rpz":
        parts = _RPZ_LINE.split(data)
        wires = to_wire(parts[2::3])
        for star, wire in zip(parts[1::3], wires, strict=True):
            (entries.block if star else entries.block_exact).append(wire)
        return len(wires), _rests(parts[0::3])
    parts = _LINES[format_].split(data)
    wires = to_wire(parts[1::2])
    entries.block.extend(wires)
    return len(wires), _rests(parts[0::2])


def _rests(pieces: list[bytes]) -> list[Rest]:
    rests = []
    before = 0
    for index, piece in enumerate(pieces):
        if piece:
            rests.append(Rest(index - before, piece))
            before = index
    return rests


def to_wire(names: list[bytes]) -> list[bytes]:
    """Return the wire names of clean names. Two and three labels, which most names have, are put together at once."""
    wires: list[bytes] = []
    append = wires.append
    for name in names:
        labels = name.split(b".")
        if len(labels) == 2:
            first, second = labels
            append(b"%c%b%c%b\0" % (len(first), first, len(second), second))
        elif len(labels) == 3:
            first, second, third = labels
            append(b"%c%b%c%b%c%b\0" % (len(first), first, len(second), second, len(third), third))
        else:
            append(b"".join([b"%c%b" % (len(label), label) for label in labels]) + b"\0")
    return wires
