"""A strict reader of HTTP/1 request heads (RFC 9112): bytes from any device of the home, good or bad."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from guardian.errors import FormError, TextError
from guardian.names import parse_name

MAX_HEAD_BYTES = 8192  # the request line and all fields, with the empty line
MAX_FIELDS = 100

_METHOD = re.compile(rb"[A-Z]{1,20}\Z")
_TARGET = re.compile(rb"[\x21-\x7e]+\Z")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,254}))(?::(?P<port>[0-9]{0,5}))?\Z")


class Request(NamedTuple):
    """What a page needs of a request. `host` is a lower-case name or address without port and final dot; "" in HTTP/1.0
    without a Host field.
    """

    method: str
    host: str
    path: str  # ASCII, as sent, without the query
    accept_language: str


def parse_request(head: bytes) -> Request:
    """Return the request of a whole head (ends with an empty line).

    Raises FormError for all that RFC 9112 calls bad: bare line ends, folded fields, blanks before a colon, not exactly
    one Host (section 3.2), and for a Host that is neither a name nor an address: nothing else is ever shown on a page.
    """
    lines = head.removeprefix(b"\r\n").removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, minor = _parse_request_line(lines[0])
    fields = _parse_fields(lines[1:])
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (not hosts and minor > 0):
        raise FormError(f"{len(hosts)} Host fields")
    authority = hosts[0].decode("latin-1") if hosts else ""
    if target.startswith(b"/"):
        path = target
    elif target[:7].lower() == b"http://":  # section 3.2.2: the target's host replaces the field's
        rest, slash, path = target[7:].partition(b"/")
        authority, path = rest.partition(b"?")[0].decode("latin-1"), slash + path
    elif target == b"*" or method == b"CONNECT":
        path = b""
    else:
        raise FormError("request target is neither a path nor an http URL")
    languages = b",".join(value for name, value in fields if name == b"accept-language")
    return Request(
        method.decode("ascii"),
        _parse_host(authority) if authority else "",
        path.partition(b"?")[0].decode("ascii"),
        languages.decode("latin-1"),
    )


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise FormError("request line has not three parts")
    method, target, version = parts
    if not _METHOD.match(method) or not _TARGET.match(target) or version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise FormError("request line is not HTTP/1")
    return method, target, version[-1] - ord("0")


def _parse_fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    if len(lines) > MAX_FIELDS:
        raise FormError(f"more than {MAX_FIELDS} fields")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _FIELD_NAME.match(name) or not _FIELD_VALUE.match(value):
            raise FormError("field is not name: value")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def _parse_host(text: str) -> str:
    match = _HOST.match(text)
    if match is None:
        raise FormError("Host is no name and no address")
    try:
        if match["v6"] is not None:
            return str(IPv6Address(match["v6"]))
        name = match["name"].lower().removesuffix(".")
        parse_name(name)
    except (AddressValueError, TextError) as error:
        raise FormError(f"Host is no name and no address: {error}") from None
    return name


def is_address(host: str) -> bool:
    """Tell whether a host of `parse_request` is an address and not a name."""
    if ":" in host:
        return True
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True
