"""What the lab's web servers serve, whatever carries it: HTTP/1.1, TLS or HTTP/3."""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

STREAM_BYTES_PER_SECOND = 50_000
TICKS_PER_SECOND = 20  # parts a second in which a stream is sent
DNS_MESSAGE = "application/dns-message"


class Page(NamedTuple):
    """A response: `body`, or `rate` bytes a second without end."""

    status: int
    body: bytes = b""
    rate: int = 0
    kind: str = "text/plain"


def page_of(name: str, method: str, target: str, body: bytes = b"") -> Page:
    """Return the page of a host.

    `/` greets, `/big/N` has N bytes, `/stream` and `/stream?rate=BYTES` never end, a POST tells how much came.
    """
    parts = urlsplit(target)
    if method == "POST":
        return Page(200, f"{name} got {len(body)} bytes\n".encode())
    if parts.path.startswith("/big/"):
        size = parts.path.removeprefix("/big/")
        return Page(200, bytes(int(size)), kind="application/octet-stream") if size.isdigit() else Page(404)
    if parts.path == "/stream":
        rate = parse_qs(parts.query).get("rate", [str(STREAM_BYTES_PER_SECOND)])[0]
        return Page(200, rate=int(rate), kind="application/octet-stream")
    return Page(200, f"hello from {name}\n".encode())


def is_doh(target: str) -> bool:
    """Tell whether a request is DNS over HTTPS (RFC 8484): every web server of the lab answers it."""
    return urlsplit(target).path == "/dns-query"


def read_doh(target: str, body: bytes) -> bytes:
    """Return the query in a POST's body or a GET's `dns` parameter. Raises ValueError."""
    given = parse_qs(urlsplit(target).query).get("dns", [""])[0]
    return body or base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
