"""One list from the network or a file, whatever its server does: bounded in bytes, time and redirects.

Standard library only: the deadline must hold while headers or bytes drip in, and the unpacked size must be bounded
while unpacking, which comfortable clients leave to their caller.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import ssl
import stat
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from guardian.errors import ListError

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GZIP_MAGIC = b"\x1f\x8b"
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script")
_SNIFF_BYTES = 1024
_USER_AGENT = "guardian-sync"


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


class FetchResult(NamedTuple):
    """`changed` is False when the server says that the copy is current; then nothing was written."""

    changed: bool
    size: int  # bytes written
    validators: Validators


def fetch(url: str, destination: str | Path, limits: Limits, known: Validators = NOTHING_KNOWN) -> FetchResult:
    """Write what `url` (https, http, file, or a path) holds to `destination`: whole and plain, or not at all.

    Raises ListError: unreachable, too large, too slow, cut off, a web page, a redirect that must not be.
    """
    destination = Path(destination)
    aside = destination.with_name(f".{destination.name}.new")
    parts = urlsplit(url)
    try:
        if parts.scheme in ("http", "https"):
            return _fetch_http(url, aside, destination, limits, known)
        if parts.scheme == "file":
            return _copy_file(Path(url2pathname(parts.path)), aside, destination, limits, known)
        if not parts.scheme:
            return _copy_file(Path(url), aside, destination, limits, known)
    except TimeoutError:
        raise ListError(f"no answer within {limits.read:g} s") from None
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
    finally:
        aside.unlink(missing_ok=True)
    raise ListError(f"'{parts.scheme}:' is none of https, http, file")


class _Deadline:
    """Ends a connection when the whole fetch has taken too long, also in the midst of a blocking call."""

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
        """Cut this connection when the time comes. Raises ListError when it has come."""
        with self._lock:
            self._socket = connection
            if self.passed:
                raise self.error()

    def release(self) -> None:
        """Forget the connection: its file number may soon be somebody else's."""
        with self._lock:
            self._socket = None

    def cancel(self) -> None:
        self._timer.cancel()
        self._timer.join()

    def error(self) -> ListError:
        return ListError(f"not done within {self._seconds:g} s")

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                try:
                    # The plain shutdown, also under TLS: the other side has no say in when this ends.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    log.debug("event=fetch_cut connection=gone")


def _fetch_http(url: str, aside: Path, destination: Path, limits: Limits, known: Validators) -> FetchResult:
    deadline = _Deadline(limits.total)
    try:
        for _ in range(limits.redirects + 1):
            connection = _connect(url, limits, deadline)
            try:
                with _ask(connection, url, known) as response:
                    if response.status not in _REDIRECTS:
                        return _take(response, aside, destination, limits, known)
                    url = _follow(url, response.getheader("Location", ""))
            finally:
                deadline.release()
                connection.close()
        raise ListError(f"more than {limits.redirects} redirects")
    except (OSError, http.client.HTTPException, zlib.error, ListError):
        if deadline.passed:  # the cut shows up as whatever was being done at that moment
            raise deadline.error() from None
        raise
    finally:
        deadline.cancel()


def _connect(url: str, limits: Limits, deadline: _Deadline) -> http.client.HTTPConnection:
    """Return an open connection to the server of `url`, under the deadline's watch."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None:
        raise ListError(f"'{url[:120]}' is no usable address")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    patience = max(0.1, min(limits.connect, deadline.end - time.monotonic()))
    try:
        stream = socket.create_connection((parts.hostname, port), timeout=patience)
    except TimeoutError:
        raise ListError(f"no connection to {parts.hostname} within {limits.connect:g} s") from None
    except OSError as error:
        raise ListError(f"no connection to {parts.hostname}: {error.strerror or error}") from None
    try:
        if parts.scheme == "https":
            stream = ssl.create_default_context().wrap_socket(
                stream, server_hostname=parts.hostname, do_handshake_on_connect=False
            )
            deadline.watch(stream)
            stream.do_handshake()
        deadline.watch(stream)
        stream.settimeout(limits.read)
    except BaseException:
        stream.close()
        raise
    connection = http.client.HTTPConnection(parts.hostname, port)
    connection.sock = stream
    return connection


def _ask(connection: http.client.HTTPConnection, url: str, known: Validators) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    headers = {
        "Host": host,
        "User-Agent": _USER_AGENT,
        "Accept": "text/plain, */*;q=0.5",
        "Accept-Encoding": "gzip",
        "Connection": "close",
    }
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
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


def _take(
    response: http.client.HTTPResponse, aside: Path, destination: Path, limits: Limits, known: Validators
) -> FetchResult:
    if response.status == http.client.NOT_MODIFIED and any(known):
        return FetchResult(False, 0, known)
    if response.status != http.client.OK:
        raise ListError(f"the server answers {response.status} {response.reason}".rstrip())
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise ListError("the server sent a web page instead of a list")
    encoding = response.getheader("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise ListError(f"the answer is packed in a way that nobody asked for: '{encoding[:40]}'")
    declared = response.length  # None when chunked or until the connection ends
    if declared is not None and declared > limits.size:
        raise ListError(f"{declared} bytes are more than the limit of {limits.size}")
    size = _write(_unpack(_read(response, declared, limits), limits.size), aside, destination)
    validators = Validators(_header(response, "ETag"), _header(response, "Last-Modified"))
    return FetchResult(True, size, validators)


def _header(response: http.client.HTTPResponse, name: str) -> str:
    """A header that is fit to be sent back; anything odd counts as absent."""
    value = response.getheader(name, "")
    return value if len(value) <= 200 and value.isascii() and value.isprintable() else ""


def _read(response: http.client.HTTPResponse, declared: int | None, limits: Limits) -> Iterator[bytes]:
    """Yield the body as it comes in, within the limits of size and rate, and whole."""
    begin = time.monotonic()
    size = 0
    while chunk := response.read1(_CHUNK):
        size += len(chunk)
        if size > limits.size:
            raise ListError(f"the answer is larger than the limit of {limits.size} bytes")
        elapsed = time.monotonic() - begin
        if elapsed > limits.grace and size < limits.rate * elapsed:
            raise ListError(f"too slow: {size} bytes in {elapsed:.0f} s")
        yield chunk
    if declared is not None and size < declared:
        raise ListError(f"the answer is cut off: {size} of {declared} bytes")


def _unpack(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield plain bytes: gzip is told by its first bytes, whatever headers say, and bounded while unpacking."""
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
        while pending or len(plain) == _CHUNK:
            if unpacker.eof:
                if not pending:
                    break
                unpacker = zlib.decompressobj(wbits=31)  # members may follow one another
            plain = unpacker.decompress(pending, _CHUNK)
            size += len(plain)
            if size > limit:
                raise ListError(f"the unpacked answer is larger than the limit of {limit} bytes")
            if plain:
                yield plain
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    if not unpacker.eof:
        raise ListError("the packed answer is cut off")


def open_private(path: str, flags: int) -> int:
    """For `open`: a file for this user alone, whatever the umask is; a copy of a mandatory list is a secret."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _write(chunks: Iterator[bytes], aside: Path, destination: Path) -> int:
    """Write a list that begins like one beside its place, and rename it; return its size."""
    size = 0
    head = b""
    with open(aside, "wb", opener=open_private) as file:
        for chunk in chunks:
            if len(head) < _SNIFF_BYTES:
                head += chunk[:_SNIFF_BYTES]
                if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower().startswith(_PAGE_STARTS):
                    raise ListError("the server sent a web page instead of a list")
            size += len(chunk)
            file.write(chunk)
        if not size:
            raise ListError("the answer is empty")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, destination)
    return size


def _copy_file(source: Path, aside: Path, destination: Path, limits: Limits, known: Validators) -> FetchResult:
    with open(source, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ListError(f"{source} is no ordinary file")
        if facts.st_size > limits.size:
            raise ListError(f"{facts.st_size} bytes are more than the limit of {limits.size}")
        validators = Validators(f"{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}")
        if validators == known:
            return FetchResult(False, 0, known)
        size = _write(_unpack(iter(lambda: file.read(_CHUNK), b""), limits.size), aside, destination)
    return FetchResult(True, size, validators)
