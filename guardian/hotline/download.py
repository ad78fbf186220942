"""What a URL answers, chunk by chunk, whatever its server does: bounded in bytes, time and redirects.

Standard library only: the deadline must hold while headers or bytes drip in, and the unpacked size must be bounded
while unpacking, which comfortable clients leave to their caller.
"""

from __future__ import annotations

import base64
import http.client
import logging
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from guardian.errors import ListError

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GZIP_MAGIC = b"\x1f\x8b"
_USER_AGENT = "guardian-sync"
_MAX_LEFT_BYTES = 64 * 1024  # of an answer that nobody wants, read to keep the connection


class TooLargeError(ListError):
    """An answer has more bytes than it may have."""


class TooSlowError(ListError):
    """An answer does not come in time."""


class StatusError(ListError):
    """A server answers with another status than 200. `status` is the number."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answers {status} {reason}".rstrip())
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """What a fetch may cost: `size` in bytes (on the wire, and again unpacked), times in seconds, `rate` in bytes/s."""

    size: int
    total: float = 300.0
    connect: float = 10.0
    read: float = 30.0  # the longest silence
    rate: int = 1024  # the slowest average, looked at after `grace`
    grace: float = 20.0
    redirects: int = 5


class Validators(NamedTuple):
    """What the last answer said of its version: sent back to learn whether there is a newer one."""

    etag: str = ""
    last_modified: str = ""


NOTHING_KNOWN = Validators()


class Answer(NamedTuple):
    """`chunks` are the plain bytes, to be read once; `changed` is False, and there are none, for what is current."""

    changed: bool
    chunks: Iterator[bytes]
    validators: Validators
    date: str = ""  # the server's clock, as it says


class Deadline:
    """Ends connections when everything under it has taken too long, also in the midst of a blocking call."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.passed = False
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection when the time comes. Raises TooSlowError when it has come."""
        with self._lock:
            self._socket = connection
            if self.passed:
                raise self.error()

    def release(self) -> None:
        """Forget the connection: its file number may soon be somebody else's."""
        with self._lock:
            self._socket = None

    def cancel(self) -> None:
        """Stop the clock. Must be called: it has a thread."""
        self._timer.cancel()
        self._timer.join()

    def error(self) -> TooSlowError:
        """Return what to raise when the time has come."""
        return TooSlowError(f"not done within {self._seconds:g} s")

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                try:
                    # The plain shutdown, also under TLS: the other side has no say in when this ends.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    log.debug("event=fetch_cut connection=gone")


class Connections:
    """Connections that stay open between the answers of one server: one for each, closed at the end."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings: made once, the authorities take milliseconds and megabytes."""
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def take(self, parts: SplitResult) -> http.client.HTTPConnection | None:
        """Return the open connection to the server of a URL, if there is one; it is the caller's now."""
        return self._idle.pop((parts.scheme, parts.netloc), None)

    def give(self, parts: SplitResult, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        self._idle[(parts.scheme, parts.netloc)] = connection

    def close(self) -> None:
        """Close all that is open."""
        while self._idle:
            self._idle.popitem()[1].close()


@contextmanager
def open_url(
    url: str,
    limits: Limits,
    deadline: Deadline,
    known: Validators = NOTHING_KNOWN,
    connections: Connections | None = None,
) -> Iterator[Answer]:
    """Ask for a URL (https, http), follow redirects, and yield the answer; its chunks are read inside the `with`.

    Proxies are those of the environment. Raises ListError, also while chunks are read: unreachable, another status than
    200 (StatusError), too large, too slow, cut off, a web page, a redirect that must not be.
    """
    try:
        with _plain_errors(url, limits):
            for _ in range(limits.redirects + 1):
                with _exchange(url, limits, deadline, known, connections) as response:
                    if response.status not in _REDIRECTS:
                        yield _take(response, limits, deadline, known)
                        return
                    url = _follow(url, response.getheader("Location", ""))
            raise ListError(f"more than {limits.redirects} redirects")
    except ListError:
        if deadline.passed:  # the cut shows up as whatever was being done at that moment
            raise deadline.error() from None
        raise


@contextmanager
def _plain_errors(url: str, limits: Limits) -> Iterator[None]:
    """Turn all that a connection may do wrong into a ListError in one sentence."""
    try:
        yield
    except TimeoutError:
        raise TooSlowError(f"no answer within {limits.read:g} s") from None
    except ssl.SSLError as error:
        raise ListError(f"no trusted connection: {error.reason or error}") from None
    except http.client.IncompleteRead:
        raise ListError("the answer is cut off") from None
    except http.client.HTTPException as error:
        raise ListError(f"the server does not speak HTTP: {type(error).__name__}") from None
    except zlib.error:
        raise ListError("the packed answer is damaged") from None
    except OSError as error:
        raise ListError(f"{error.strerror or error}") from None
    except ValueError as error:  # a port that is no number, a host that IDNA refuses
        raise ListError(f"'{url[:120]}' is no usable address: {error}") from None


@contextmanager
def _exchange(
    url: str, limits: Limits, deadline: Deadline, known: Validators, connections: Connections | None
) -> Iterator[http.client.HTTPResponse]:
    """Send one request and yield its response; keep the connection if there is somebody to keep it."""
    parts = urlsplit(url)
    connection = connections.take(parts) if connections else None
    used = connection is not None
    keep = False
    try:
        if connection is not None:
            deadline.watch(connection.sock)
            try:
                response = _ask(connection, url, known, connections)
            except (ConnectionError, http.client.BadStatusLine):  # it was closed while nobody looked
                connection.close()
                used = False
        if not used:
            connection = _connect(url, limits, deadline, connections)
            response = _ask(connection, url, known, connections)
        with response:
            yield response
            keep = bool(connections) and not response.will_close and _is_read(response)
    finally:
        deadline.release()
        if connection is not None:
            if keep and connections and not deadline.passed:
                connections.give(parts, connection)
            else:
                connection.close()


def _is_read(response: http.client.HTTPResponse) -> bool:
    """Read what little is left of an answer, and tell whether that was its end."""
    if response.isclosed():
        return True
    response.read(_MAX_LEFT_BYTES)
    return response.isclosed() or not response.read(1)


def _connect(
    url: str, limits: Limits, deadline: Deadline, connections: Connections | None
) -> http.client.HTTPConnection:
    """Return an open connection to the server of `url` or its proxy, under the deadline's watch."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None:
        raise ListError(f"'{url[:120]}' is no usable address")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    proxy = find_proxy(parts)
    host, where = (proxy.hostname or "", proxy.port or 80) if proxy else (parts.hostname, port)
    patience = max(0.1, min(limits.connect, deadline.end - time.monotonic()))
    try:
        stream = socket.create_connection((host, where), timeout=patience)
    except TimeoutError:
        raise ListError(f"no connection to {host} within {limits.connect:g} s") from None
    except OSError as error:
        raise ListError(f"no connection to {host}: {error.strerror or error}") from None
    try:
        deadline.watch(stream)
        if parts.scheme == "https":
            if proxy:
                _open_tunnel(stream, proxy, f"{_bracket(parts.hostname)}:{port}")
            context = connections.context() if connections else ssl.create_default_context()
            stream = context.wrap_socket(stream, server_hostname=parts.hostname, do_handshake_on_connect=False)
            deadline.watch(stream)
            stream.do_handshake()
        stream.settimeout(limits.read)
    except BaseException:
        stream.close()
        raise
    connection = http.client.HTTPConnection(parts.hostname, port)
    connection.sock = stream
    return connection


def find_proxy(parts: SplitResult) -> SplitResult | None:
    """Return the HTTP proxy that the environment names for a URL (http_proxy, https_proxy, no_proxy), or None.

    Raises ListError for a proxy that speaks something else.
    """
    named = getproxies()
    text = named.get(parts.scheme) or named.get("all")
    if not text or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = urlsplit(text if "://" in text else f"http://{text}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ListError(f"the proxy of the environment is no http:// address: '{proxy.scheme}:'")
    return proxy


def _open_tunnel(stream: socket.socket, proxy: SplitResult, target: str) -> None:
    """Have a proxy connect to `target` (RFC 9110, 9.3.6); from then on the stream is the target's."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", f"User-Agent: {_USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in _proxy_login(proxy).items()]
    stream.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    response = http.client.HTTPResponse(stream, method="CONNECT")
    try:
        response.begin()
        if response.status != http.client.OK:
            raise ListError(f"the proxy answers {response.status} {response.reason}".rstrip())
    finally:
        response.close()


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    plain = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(plain).decode()}"}


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _ask(
    connection: http.client.HTTPConnection, url: str, known: Validators, connections: Connections | None
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    headers = {
        "Host": host,
        "User-Agent": _USER_AGENT,
        "Accept": "text/plain, */*;q=0.5",
        "Accept-Encoding": "gzip",
        "Connection": "keep-alive" if connections else "close",
    }
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http" and (proxy := find_proxy(parts)):
        path = f"http://{host}{path}"
        headers |= _proxy_login(proxy)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def _follow(url: str, location: str) -> str:
    """Return where a redirect leads. Raises ListError: never from https to anything else, never to a file."""
    if not location:
        raise ListError("a redirect without a place")
    target = urljoin(url, location)
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise ListError(f"a redirect from {urlsplit(url).scheme} to '{scheme}:' is refused")
    return target


def _take(response: http.client.HTTPResponse, limits: Limits, deadline: Deadline, known: Validators) -> Answer:
    date = _header(response, "Date")
    if response.status == http.client.NOT_MODIFIED and any(known):
        return Answer(False, iter(()), known, date)
    if response.status != http.client.OK:
        raise StatusError(response.status, response.reason)
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise ListError("the server sent a web page instead of a list")
    encoding = response.getheader("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise ListError(f"the answer is packed in a way that nobody asked for: '{encoding[:40]}'")
    declared = response.length  # None when chunked or until the connection ends
    if declared is not None and declared > limits.size:
        raise TooLargeError(f"{declared} bytes are more than the limit of {limits.size}")
    validators = Validators(_header(response, "ETag"), _header(response, "Last-Modified"))
    return Answer(True, unpack(_read(response, declared, limits, deadline), limits.size), validators, date)


def _header(response: http.client.HTTPResponse, name: str) -> str:
    """A header that is fit to be sent back; anything odd counts as absent."""
    value = response.getheader(name, "")
    return value if len(value) <= 200 and value.isascii() and value.isprintable() else ""


def _read(
    response: http.client.HTTPResponse, declared: int | None, limits: Limits, deadline: Deadline
) -> Iterator[bytes]:
    """Yield the body as it comes in, within the limits of size and rate, and whole."""
    begin = time.monotonic()
    size = 0
    while chunk := response.read1(CHUNK):
        size += len(chunk)
        if size > limits.size:
            raise TooLargeError(f"the answer is larger than the limit of {limits.size} bytes")
        elapsed = time.monotonic() - begin
        if elapsed > limits.grace and size < limits.rate * elapsed:
            raise TooSlowError(f"too slow: {size} bytes in {elapsed:.0f} s")
        yield chunk
    if deadline.passed:  # a cut in the headers, or in a body without a length, looks like its end
        raise deadline.error()
    if declared is not None and size < declared:
        raise ListError(f"the answer is cut off: {size} of {declared} bytes")


def unpack(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield plain bytes: gzip is told by its first bytes, whatever headers say, and bounded while unpacking.

    Raises TooLargeError past `limit` bytes, ListError or zlib.error for what is cut off or damaged.
    """
    size = 0
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP_MAGIC):
            break
    if not head.startswith(_GZIP_MAGIC):
        if head:
            yield head
        yield from chunks
        return
    unpacker = zlib.decompressobj(wbits=31)
    for chunk in chain((head,), chunks):
        pending, plain = chunk, b""
        while pending or len(plain) == CHUNK:
            if unpacker.eof:
                if not pending:
                    break
                unpacker = zlib.decompressobj(wbits=31)  # members may follow one another
            plain = unpacker.decompress(pending, CHUNK)
            size += len(plain)
            if size > limit:
                raise TooLargeError(f"the unpacked answer is larger than the limit of {limit} bytes")
            if plain:
                yield plain
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    if not unpacker.eof:
        raise ListError("the packed answer is cut off")
