"""One list from the network or a file into a file of its own: whole and plain, or not at all."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from guardian.errors import ListError
from guardian.hotline.download import CHUNK, NOTHING_KNOWN, Deadline, Limits, Validators, open_url, unpack

_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script")
_SNIFF_BYTES = 1024


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
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https"):
            return _fetch_http(url, aside, destination, limits, known)
        if parts.scheme == "file":
            return _copy_file(Path(url2pathname(parts.path)), aside, destination, limits, known)
        if not parts.scheme:
            return _copy_file(Path(url), aside, destination, limits, known)
    except zlib.error:
        raise ListError("the packed answer is damaged") from None
    except OSError as error:
        raise ListError(f"{error.strerror or error}") from None
    except ValueError as error:
        raise ListError(f"'{url[:120]}' is no usable address: {error}") from None
    finally:
        aside.unlink(missing_ok=True)
    raise ListError(f"'{parts.scheme}:' is none of https, http, file")


def _fetch_http(url: str, aside: Path, destination: Path, limits: Limits, known: Validators) -> FetchResult:
    deadline = Deadline(limits.total)
    try:
        with open_url(url, limits, deadline, known) as answer:
            if not answer.changed:
                return FetchResult(False, 0, known)
            size = _write(answer.chunks, aside, destination)
            return FetchResult(True, size, answer.validators)
    finally:
        deadline.cancel()


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
        size = _write(unpack(iter(lambda: file.read(CHUNK), b""), limits.size), aside, destination)
    return FetchResult(True, size, validators)
