"""Names by which the box itself finds the time. Pure.

A router asks its own resolver for them, as a device that nobody has named. If bedtime, used-up minutes or a list of
allowed sites kept them from it, the clock would never be set, and bedtime would never end.
"""

from __future__ import annotations

from collections.abc import Collection

from guardian.names import parse_name, suffixes

# What OpenWrt, Debian, Raspberry Pi OS and other systems ask, each with all below it.
_KNOWN = (
    "pool.ntp.org",
    "ntp.ubuntu.com",
    "ntp.org",
    "time.cloudflare.com",
    "time.google.com",
    "time1.google.com",
    "time2.google.com",
    "time3.google.com",
    "time4.google.com",
    "time.apple.com",
    "time.windows.com",
    "time.nist.gov",
)
KNOWN = frozenset(map(parse_name, _KNOWN))


def is_time_server(name: bytes, own: Collection[bytes] = ()) -> bool:
    """Tell whether a wire name (lower case) is one of a time server: a known one, or one of `own`, with all below."""
    return any(suffix in KNOWN or suffix in own for suffix in suffixes(name))
