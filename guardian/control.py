"""The control socket: how the command line and the console talk to a running gateway.

One JSON object a line each way: `{"verb": "reload"}` -> `{"ok": true, ...}` or `{"ok": false, "error": "..."}`. A verb
that streams goes on after its reply with a line for each thing that happens, until the caller leaves. The socket's file
mode (660) is the only permission there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
import socket
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from guardian.errors import ConfigError, GuardianError

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4096
MAX_REPLY_BYTES = 4 * 1024 * 1024
REQUEST_SECONDS = 5.0
REPLY_SECONDS = 30.0  # a reload reads lists and settings
HEARTBEAT_SECONDS = 15.0  # a stream is never silent for longer
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS  # then whoever follows a stream gives it up
STALL_SECONDS = 60.0  # a reader that takes nothing for so long is let go
STREAM_BUFFER_BYTES = 32 * 1024  # what a slow reader may leave unread in our memory
MODE = 0o660
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

HEARTBEAT = {"event": "heartbeat"}

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Source(Protocol):
    """What a stream tells, held until it is taken."""

    async def take(self, seconds: float) -> list[dict[str, Any]] | None:
        """Return what there is to tell, none after `seconds` without anything, None after `close`."""

    def close(self) -> None:
        """Nobody listens any more. May be called twice."""


Stream = Callable[[dict[str, Any]], Awaitable[Source]]


class NotRunningError(GuardianError):
    """No gateway listens on the control socket."""


class SilentError(GuardianError):
    """A gateway listens, but it does not answer in time, or it ended before it did."""


class NoRoomError(GuardianError):
    """The socket cannot be made now: its disk is full or read-only. That may pass."""


def send(path: str, verb: str, *, reply_seconds: float = REPLY_SECONDS, **arguments: Any) -> dict[str, Any]:
    """Send one request to the gateway behind `path` and return its reply.

    Raises NotRunningError when nobody listens, SilentError when nobody answers, GuardianError when the gateway refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(reply_seconds)
        try:
            connection.connect(path)
        except OSError as error:
            raise _explain_no_connection(path, error) from None
        try:
            connection.sendall(_pack({"verb": verb, **arguments}))
            line = _read_line(connection)
        except OSError as error:
            raise SilentError(f"{path}: the gateway does not answer: {error}") from None
    return _read_reply(path, line)


async def follow(path: str, verb: str, **arguments: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the reply of a verb that streams, then what it tells, heartbeats too, until the gateway ends it.

    Raises NotRunningError when nobody listens, GuardianError when the gateway refuses or falls silent.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_REPLY_BYTES)
    except OSError as error:
        raise _explain_no_connection(path, error) from None
    try:
        writer.write(_pack({"verb": verb, **arguments}))
        yield _read_reply(path, await _read_next(reader))
        while line := await _read_next(reader):
            yield json.loads(line)
    except (OSError, ValueError) as error:  # a line that is cut is no JSON
        raise GuardianError(f"{path}: the gateway does not answer: {str(error) or 'it is silent'}") from None
    finally:
        writer.close()


async def _read_next(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SILENCE_SECONDS):
        return await reader.readline()


def _pack(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _explain_no_connection(path: str, error: OSError) -> GuardianError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NotRunningError(f"no gateway is running (nobody listens on {path})")
    if isinstance(error, BlockingIOError | TimeoutError):  # as many wait for it already as may
        return SilentError(f"{path}: the gateway does not answer: {error.strerror or error}")
    return GuardianError(f"{path}: {error.strerror or error}")


def _read_reply(path: str, line: bytes) -> dict[str, Any]:
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

    def __init__(self, verbs: Mapping[str, Verb], streams: Mapping[str, Stream] | None = None) -> None:
        """`streams` are the verbs that go on telling: `async (request) -> Source`."""
        self._verbs = dict(verbs)
        self._streams = dict(streams or {})
        self._streaming: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._path = ""

    async def start(self, path: str, group: str = "") -> None:
        """Listen on `path`, mode 660; a socket file that nobody serves any more is replaced.

        Raises GuardianError when another gateway serves it, or when it cannot be made: NoRoomError where its disk is
        full or read-only.
        """
        try:
            _remove_dead(path)
            await self._listen(path)
            if group:
                shutil.chown(path, group=group)
        except (OSError, LookupError) as error:
            await self.close()
            reason = getattr(error, "strerror", None) or error
            kind = NoRoomError if isinstance(error, OSError) and error.errno in _NO_ROOM else GuardianError
            raise kind(f"cannot serve the control socket {path}: {reason}") from None

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def _listen(self, path: str) -> None:
        before = os.umask(0o777 & ~MODE)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_REQUEST_BYTES)
        finally:
            os.umask(before)
        self._path = path
        os.chmod(path, MODE)

    async def close(self) -> None:
        """Stop listening, end what streams, and remove the socket."""
        if self._server is not None:
            self._server.close()
            for task in self._streaming:
                task.cancel()
            await asyncio.gather(*self._streaming, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None
            if os.path.exists(self._path):
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readline()
            reply = await self._answer(line)
            writer.write(_pack({"ok": True} if isinstance(reply, _Opened) else reply))
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
            if isinstance(reply, _Opened):
                await self._tell(reply.source, reader, writer)
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.debug("event=control-dropped error=%r", str(error))
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any] | _Opened:
        """The reply to a request, or the opened source of a stream."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):  # the latter for four thousand brackets
            return {"ok": False, "error": "the request is not a line of JSON"}
        if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
            return {"ok": False, "error": "the request names no verb"}
        name = request["verb"]
        try:
            if name in self._streams:
                return _Opened(await self._streams[name](request))
            if name in self._verbs:
                return {"ok": True, **await self._verbs[name](request)}
        except ConfigError as error:
            return {"ok": False, "error": str(error), "problems": [str(problem) for problem in error.problems]}
        except (GuardianError, OSError) as error:
            return {"ok": False, "error": str(error)}
        known = sorted((*self._verbs, *self._streams))
        return {"ok": False, "error": f"unknown verb; there are: {', '.join(known)}"}

    async def _tell(self, source: Source, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write what `source` has, until the caller leaves, takes nothing, or this server closes."""
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        leaving = asyncio.get_running_loop().create_task(_wait_for_end(reader))
        leaving.add_done_callback(lambda _: source.close())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(STREAM_BUFFER_BYTES)
        try:
            while (events := await source.take(HEARTBEAT_SECONDS)) is not None:
                async with asyncio.timeout(STALL_SECONDS):
                    await _write_lines(writer, events or [HEARTBEAT])
        finally:
            self._streaming.discard(task)
            source.close()
            leaving.cancel()
            writer.transport.abort()  # what a slow reader has not taken by now is not waited for


class _Opened:
    """The source of a stream that was asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source


async def _wait_for_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):  # that is an end as well
        while await reader.read(MAX_REQUEST_BYTES):
            pass


async def _write_lines(writer: asyncio.StreamWriter, events: Iterable[dict[str, Any]]) -> None:
    for event in events:
        writer.write(_pack(event))
        await writer.drain()


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
