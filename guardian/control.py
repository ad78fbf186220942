"""The control socket: how the command line (and later the console) talks to a running gateway.

One JSON object a line each way: `{"verb": "reload"}` -> `{"ok": true, ...}` or `{"ok": false, "error": "..."}`. The
socket's file mode (660) is the only permission there is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any

from guardian.errors import ConfigError, GuardianError

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4096
MAX_REPLY_BYTES = 4 * 1024 * 1024
REQUEST_SECONDS = 5.0
REPLY_SECONDS = 30.0  # a reload reads lists and settings
MODE = 0o660

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NotRunningError(GuardianError):
    """No gateway listens on the control socket."""


def send(path: str, verb: str, **arguments: Any) -> dict[str, Any]:
    """Send one request to the gateway behind `path` and return its reply.

    Raises NotRunningError when nobody listens, GuardianError when the gateway refuses or does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(REPLY_SECONDS)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"no gateway is running (nobody listens on {path})") from None
        except OSError as error:
            raise GuardianError(f"{path}: {error.strerror or error}") from None
        try:
            connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            line = _read_line(connection)
        except OSError as error:
            raise GuardianError(f"{path}: the gateway does not answer: {error}") from None
    try:
        reply = json.loads(line)
    except ValueError:
        raise GuardianError(f"{path}: what listens there is no Guardian gateway") from None
    if not isinstance(reply, dict):
        raise GuardianError(f"{path}: what listens there is no Guardian gateway")
    if not reply.get("ok"):
        raise GuardianError(str(reply.get("error", "the gateway refused")))
    return reply


def _read_line(connection: socket.socket) -> bytes:
    parts = bytearray()
    while not parts.endswith(b"\n") and len(parts) < MAX_REPLY_BYTES:
        part = connection.recv(65536)
        if not part:
            break
        parts += part
    return bytes(parts)


class ControlServer:
    """Serves verbs on a Unix socket. A verb is `async (request) -> reply`; GuardianError becomes an error reply."""

    def __init__(self, verbs: dict[str, Verb]) -> None:
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._path = ""

    async def start(self, path: str, group: str = "") -> None:
        """Listen on `path`, mode 660; a socket file that nobody serves any more is replaced.

        Raises GuardianError when another gateway serves it, or when it cannot be made.
        """
        try:
            _remove_dead(path)
            await self._listen(path)
            if group:
                shutil.chown(path, group=group)
        except (OSError, LookupError) as error:
            await self.close()
            reason = getattr(error, "strerror", None) or error
            raise GuardianError(f"cannot serve the control socket {path}: {reason}") from None

    async def _listen(self, path: str) -> None:
        before = os.umask(0o777 & ~MODE)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_REQUEST_BYTES)
        finally:
            os.umask(before)
        self._path = path
        os.chmod(path, MODE)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
            if os.path.exists(self._path):
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readline()
            reply = await self._reply(line)
            writer.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.debug("event=control-dropped error=%r", str(error))
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):  # the latter for four thousand brackets
            return {"ok": False, "error": "the request is not a line of JSON"}
        if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
            return {"ok": False, "error": "the request names no verb"}
        verb = self._verbs.get(request["verb"])
        if verb is None:
            return {"ok": False, "error": f"unknown verb; there are: {', '.join(sorted(self._verbs))}"}
        try:
            return {"ok": True, **await verb(request)}
        except ConfigError as error:
            return {"ok": False, "error": str(error), "problems": [str(problem) for problem in error.problems]}
        except (GuardianError, OSError) as error:
            return {"ok": False, "error": str(error)}


def _remove_dead(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise GuardianError(f"{path} is in the way: it is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise GuardianError(f"another gateway is running already (it listens on {path})")
