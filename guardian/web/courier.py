"""What leaves the home, in a process of its own: messages through Apprise, reports to the hotline.

`python -m guardian.web.courier` reads one JSON object from stdin, prints one JSON object a line for each thing that is
done, and ends within LIMIT_SECONDS, whatever the other side does. So the console stays small (Apprise takes 45 MB, TLS
8 MB), and what strangers answer is read by a process that knows no password of the home. Addresses are secret: they
come by stdin, not as arguments, and no address is printed.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from guardian.bundled import add_bundled

LIMIT_SECONDS = 20
REPORT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
# What Apprise can do and a message from a router must not: reach into the machine itself.
LOCAL_SERVICES = frozenset({"syslog", "dbus", "kde", "qt", "glib", "gio", "gnome", "macosx", "windows", "blink1"})
# Options of services that name files of this machine, whose content would be sent.
FILE_OPTIONS = frozenset({"template", "keyfile", "subfile", "pgpkey", "pgpkeypath", "key", "certfile", "privkey"})
# How a delivery failed, in words for programs; REFUSED is followed by `:` and an HTTP status.
NOT_REACHED, REFUSED, FAILED, NOT_USABLE = "not-reached", "refused", "failed", "not-usable"


def is_usable_address(address: str) -> bool:
    """Tell whether an Apprise address is one that a home may use: one service, elsewhere, and no file of ours."""
    if not address.isprintable() or any(char.isspace() for char in address):
        return False
    try:
        parts = urlsplit(address)
        options = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return False
    if not parts.scheme or "://" not in address or parts.scheme.lower() in LOCAL_SERVICES:
        return False
    return not any(name.strip().lower() in FILE_OPTIONS for name, _ in options)


def is_intake_address(address: str) -> bool:
    """Tell whether reports may be sent to `address`: over HTTPS, or plain to this machine itself."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not address.isascii() or not address.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check(address: str) -> dict[str, Any]:
    """Return `{"service": NAME}` for an address that Apprise can use, else `{"error": WORD}`."""
    if not is_usable_address(address):
        return {"error": NOT_USABLE}
    with _words_of_apprise():
        plugin = _open(address)
    if plugin is None:
        return {"error": NOT_USABLE}
    return {"service": urlsplit(address).scheme.lower()}


def deliver(letters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Send each letter (id, address, title, body); yield `{"id": ID, "error": WORD}` as each is done, "" for well."""
    with _words_of_apprise() as words, ThreadPoolExecutor(max_workers=max(1, len(letters))) as pool:
        running = {pool.submit(_send, letter, words): letter["id"] for letter in letters}
        for done in as_completed(running):
            yield {"id": running[done], "error": done.result()}


def _open(address: str) -> Any:
    """Return Apprise's plugin for an address, None when it has none."""
    import apprise

    try:
        return apprise.Apprise.instantiate(address, suppress_exceptions=True)
    except Exception:  # noqa: BLE001 - a hundred plugins of other people, given hostile text
        return None


def _send(letter: dict[str, Any], words: dict[int, list[str]]) -> str:
    plugin = _open(letter["address"]) if is_usable_address(letter["address"]) else None
    if plugin is None:
        return NOT_USABLE
    said: list[str] = []
    words[threading.get_ident()] = said
    try:
        done = plugin.notify(body=letter["body"], title=letter["title"], body_format="text")
    except Exception:  # noqa: BLE001 - the same; the parent is told that it failed
        return FAILED
    return "" if done else _classify(" ".join(said))


def _classify(said: str) -> str:
    """Return a word for what Apprise has said; its sentences may hold secrets."""
    _, found, rest = said.partition("error=")
    status = rest[:3]
    if found and status.isdigit() and status.isascii():
        return f"{REFUSED}:{status}"
    return NOT_REACHED if "onnection error" in said or "onnect" in said else FAILED


class _Words(logging.Handler):
    """Keeps what Apprise says in each thread; nothing of it is printed."""

    def __init__(self, words: dict[int, list[str]]) -> None:
        super().__init__(logging.WARNING)
        self._words = words

    def emit(self, record: logging.LogRecord) -> None:
        self._words.setdefault(record.thread or 0, []).append(record.getMessage())


@contextmanager
def _words_of_apprise() -> Iterator[dict[int, list[str]]]:
    """Load Apprise, unable to read our files, and collect what it says."""
    from apprise.manager_attachment import AttachmentManager

    AttachmentManager().remove("file")  # type: ignore[no-untyped-call]
    words: dict[int, list[str]] = {}
    handler = _Words(words)
    logger = logging.getLogger("apprise")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield words
    finally:
        logger.removeHandler(handler)


def report(address: str, body: str) -> dict[str, Any]:
    """Send a report; return `{"status": NUMBER}` as the hotline answered, or `{"error": WORD}`.

    Redirects are not followed: a report goes to whom the settings name, or nowhere.
    """
    import http.client

    if not is_intake_address(address):
        return {"error": NOT_USABLE}
    parts = urlsplit(address)
    connection = _connect(parts)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", "User-Agent": "guardian", "Connection": "close"}
        connection.request("POST", path, body.encode("ascii"), headers)
        with connection.getresponse() as response:
            response.read(MAX_ANSWER_BYTES)  # and no more; what it says is not used
            return {"status": response.status}
    except (OSError, http.client.HTTPException):
        return {"error": NOT_REACHED}
    finally:
        connection.close()


def _connect(parts: SplitResult) -> Any:
    import http.client
    import ssl

    assert parts.hostname is not None
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=REPORT_SECONDS)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=REPORT_SECONDS, context=context)


def perform(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Do what is ordered: `check` an address, `deliver` letters, send a `report`; yield what came of it."""
    match order["task"]:
        case "check":
            yield check(order["address"])
        case "deliver":
            yield from deliver(order["letters"])
        case "report":
            yield report(order["address"], order["body"])


def main() -> int:
    """Do the order on stdin and return 0. An order may name fewer `seconds` than the limits."""
    add_bundled()
    order = json.load(sys.stdin)
    limit = REPORT_SECONDS if order["task"] == "report" else LIMIT_SECONDS
    # Not a timer of Python's: it ends the process in the midst of whatever it does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, min(limit, order.get("seconds", limit)))
    for result in perform(order):
        print(json.dumps(result), flush=True)  # noqa: T201 - this is the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
