"""The pages of `webui/`, as they were built into `guardian/web/static`.

What there is, is known from the start; the bytes stay on disk, which the kernel remembers better than a process.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from starlette.responses import Response

from guardian.clock import tell_time
from guardian.errors import GuardianError
from guardian.store import accounts
from guardian.web.access import ROLE_SCOPES
from guardian.web.first import first_language
from guardian.web.hints import MANIFEST, Built, list_hints, read_manifest
from guardian.web.security import Head, is_child_device, is_childs, read_cookie

if TYPE_CHECKING:
    from guardian.web.console import Console

log = logging.getLogger(__name__)

STATIC = os.path.join(os.path.dirname(__file__), "static")
CONSOLE_PAGE, CHILD_PAGE = "/index.html", "/child.html"
CHILD_PATHS = ("me", "ask")
LEAST_COMPRESSED = 512  # bytes; below that compression gains nothing
MAX_FILE_BYTES = 4 * 1024 * 1024
NOT_BUILT = """\
The pages of the console have not been built. In the checkout: scripts/build-webui
(it needs Node.js 20 or newer; the wheel and the packages bring them ready-made).
"""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_PACKED = (".png", ".webp", ".woff2")  # compressed by nature
_FOREVER = "public, max-age=31536000, immutable"  # names below assets/ hold a hash of the content
_ASK_AGAIN = "no-cache"  # may be kept, but asked about each time
_NO_STORE = "no-store"


class File(NamedTuple):
    path: str
    is_packed: bool  # compression gains something
    media: str
    tag: str
    cache: str


class Pages:
    """Answers everything that is not the API. Any thread may ask."""

    def __init__(self, folder: str = STATIC) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._files: dict[str, File] = {}
        self._built: dict[str, Built] = {}
        self._files_now()

    def answer(self, console: Console, head: Head, path: str) -> Response:
        """Return the answer to a request for `path`. Raises GuardianError."""
        if head.method not in ("GET", "HEAD"):
            return _plain(405, "There is no such method here.\n", allow="GET, HEAD")
        files = self._files_now()
        if CONSOLE_PAGE not in files or CHILD_PAGE not in files:
            return _plain(503, NOT_BUILT)
        file = files.get(path)
        if file is not None and path not in (CONSOLE_PAGE, CHILD_PAGE):
            return _make_response(head, file)
        if not path.startswith("/"):
            return _plain(404, "There is no such page.\n")
        words = path.removeprefix("/").removesuffix("/").split("/")
        if path == "/" and self._goes_to_child(console, head):
            return Response(status_code=302, headers={"location": "/me"})
        if words[0] in CHILD_PATHS and len(words) == 1:
            return _make_response(head, files[CHILD_PAGE], _NO_STORE)
        # Paths of the console are its own affair; what looks like a file, and is none, is missing.
        is_root = words == [""]
        if words[0] == "assets" or "." in words[-1] or not (is_root or set(words).isdisjoint(("", ".", ".."))):
            return _plain(404, "There is no such page.\n")
        hints = self._find_hints(console, head, path)
        return _make_response(head, files[CONSOLE_PAGE], _NO_STORE, hints)

    def _goes_to_child(self, console: Console, head: Head) -> bool:
        return is_child_device(console, head.address) and _find_session(console, head) is None

    def _find_hints(self, console: Console, head: Head, path: str) -> str:
        """What the page at `path` will ask for first: "" for who is not signed in, or may not be there."""
        session = _find_session(console, head)
        if session is None or is_childs(console, head.address):
            return ""
        try:
            language = first_language(console.household(), console.store, console.config.languages)
        except GuardianError as error:  # the page itself tells what is wrong
            log.debug("event=no-hints error=%r", str(error))
            return ""
        return list_hints(self._built, path, language, ROLE_SCOPES[session.account.role])

    def _files_now(self) -> dict[str, File]:
        """The files, read again when they were built again."""
        try:
            seen = os.stat(f"{self._folder}{CONSOLE_PAGE}").st_mtime_ns
        except OSError:
            seen = None
        with self._lock:
            if seen != self._seen or (seen is not None and not self._files):
                self._files = _read_files(self._folder) if seen is not None else {}
                self._built = _read_built(self._folder)
                self._seen = seen
            return self._files


def _find_session(console: Console, head: Head) -> accounts.Session | None:
    """Who asks for a page. Its answer brings no new cookie, so the session's end stays where it is."""
    secret = read_cookie(head)
    if not secret:
        return None
    return accounts.find_session(console.store, accounts.hash_secret(secret), tell_time(), note=False)


def _read_built(folder: str) -> dict[str, Built]:
    try:
        return read_manifest(folder)
    except (OSError, msgspec.MsgspecError) as error:  # pages come all the same
        log.warning("event=no-hints error=%r", str(error))
        return {}


def _read_files(folder: str) -> dict[str, File]:
    files = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            media = _TYPES.get(os.path.splitext(name)[1])
            if media is None or name == MANIFEST or os.path.getsize(path) > MAX_FILE_BYTES:
                continue  # also the .gz files: they come with their own file
            address = "/" + os.path.relpath(path, folder).replace(os.sep, "/")
            files[address] = _read_file(path, address, media)
    return files


def _read_file(path: str, address: str, media: str) -> File:
    with open(path, "rb") as file:
        body = file.read()
    is_packed = len(body) >= LEAST_COMPRESSED and not path.endswith(_PACKED)
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return File(path, is_packed, media, tag, _FOREVER if address.startswith("/assets/") else _ASK_AGAIN)


def _make_response(head: Head, file: File, cache: str = "", hints: str = "") -> Response:
    headers = {"etag": file.tag, "cache-control": cache or file.cache}
    if hints:
        headers["link"] = hints
    if file.is_packed:
        headers["vary"] = "accept-encoding"
    if file.tag in (tag.strip().removeprefix("W/") for tag in head.field("if-none-match").split(",")):
        return Response(status_code=304, headers=headers)
    headers["content-type"] = file.media
    try:
        if file.is_packed and _takes_gzip(head.field("accept-encoding")):
            return Response(_read_packed(file.path), headers=headers | {"content-encoding": "gzip"})
        with open(file.path, "rb") as opened:
            return Response(opened.read(), headers=headers)
    except FileNotFoundError:  # a build or an upgrade is replacing it
        return _plain(404, "There is no such page.\n")


def _read_packed(path: str) -> bytes:
    """The gzip form of a file: as the build made it, else made now."""
    try:
        with open(f"{path}.gz", "rb") as file:
            return file.read()
    except FileNotFoundError:
        with open(path, "rb") as file:
            return gzip.compress(file.read(), mtime=0)


def _takes_gzip(field: str) -> bool:
    for part in field.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding in ("gzip", "*"):
            return weight.rstrip("0.") != "" or weight == ""
    return False


def _plain(status: int, text: str, **headers: str) -> Response:
    return Response(text, status, headers | {"content-type": "text/plain; charset=utf-8"})
