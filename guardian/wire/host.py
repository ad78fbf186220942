"""Hosts as TLS and HTTP clients write them: bytes -> wire names (`guardian.names`) or packed addresses."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from guardian.errors import FormError

MAX_HOST_BYTES = 253  # a wire name of 255 bytes, without the first length and the final zero

_NAME = re.compile(rb"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\Z")
_NUMBER = re.compile(rb"(?:[0-9]+|0x[0-9a-f]*)\Z")  # as the last label: what inet_aton reads as an IPv4 address
_IPV4 = re.compile(rb"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}\Z")
_IPV6 = re.compile(rb"\[[0-9A-Fa-f:.]{2,45}\]\Z")
_LENGTHS = tuple(bytes((number,)) for number in range(64))


def read_host_name(host: bytes) -> bytes:
    """Return the lower-case wire name of a host name; one final dot is taken off.

    Only letters, digits, `-` and `_` stand in labels. Raises FormError, also for addresses in every form that
    inet_aton reads (`127.1`, `0x7f000001`).
    """
    lowered = host.lower().removesuffix(b".")
    if len(lowered) > MAX_HOST_BYTES or not _NAME.match(lowered):
        raise FormError("not a host name")
    labels = lowered.split(b".")
    if labels[-1][0] < 0x3A and _NUMBER.match(labels[-1]):  # "-" and the digits are below ":"
        raise FormError("an address or a number in place of a host name")
    return b"".join([_LENGTHS[len(label)] + label for label in labels]) + b"\0"


def read_address(host: bytes) -> bytes | None:
    """Return the packed address of `192.0.2.1` or `[2001:db8::1]`, without zone and port; None when it is neither."""
    if _IPV4.match(host):
        return bytes(map(int, host.split(b".")))
    if not _IPV6.match(host):
        return None
    try:
        return IPv6Address(host[1:-1].decode("ascii")).packed
    except AddressValueError:
        return None
