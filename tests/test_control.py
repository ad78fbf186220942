"""The control socket: one line of JSON each way, streams of lines, mode 660; nothing that a client sends breaks it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from guardian import control
from guardian.control import MAX_REQUEST_BYTES, ControlServer, NoRoomError, NotRunningError, Verb, follow, send
from guardian.errors import ConfigError, GuardianError, Problem


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"got": request}


async def refuse(request: dict[str, Any]) -> dict[str, Any]:
    raise GuardianError("not today")


async def complain(request: dict[str, Any]) -> dict[str, Any]:
    raise ConfigError([Problem("a.yaml:1", "wrong"), Problem("a.yaml:2", "worse")])


async def fail(request: dict[str, Any]) -> dict[str, Any]:
    raise PermissionError(13, "Permission denied")


VERBS: dict[str, Verb] = {"echo": echo, "refuse": refuse, "complain": complain, "fail": fail}


@contextlib.asynccontextmanager
async def serving(path: str, group: str = "") -> AsyncIterator[ControlServer]:
    server = ControlServer(VERBS)
    await server.start(path, group)
    try:
        yield server
    finally:
        await server.close()


def with_server(path: Path, action: Callable[[str], Any]) -> Any:
    """Run a blocking action against a server on `path`, as a program of its own would."""

    async def main() -> Any:
        async with serving(str(path)):
            return await asyncio.to_thread(action, str(path))

    return asyncio.run(main())


def exchange(path: str, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        reply = b""
        while part := client.recv(65536):
            reply += part
        return reply


def test_verbs_and_their_errors(tmp_path: Path) -> None:
    def action(path: str) -> None:
        assert send(path, "echo", name="é", number=1.5)["got"] == {"verb": "echo", "name": "é", "number": 1.5}
        for verb, message in (
            ("refuse", "not today"),
            ("complain", "a.yaml:1: wrong\na.yaml:2: worse"),
            ("fail", "Permission denied"),
            ("nonsense", "unknown verb; there are: complain, echo, fail, refuse"),
        ):
            with pytest.raises(GuardianError) as error:
                send(path, verb)
            assert message in str(error.value)
        problems = json.loads(exchange(path, b'{"verb": "complain"}\n'))["problems"]
        assert problems == ["a.yaml:1: wrong", "a.yaml:2: worse"]

    with_server(tmp_path / "s", action)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"{}\n", b"[]\n", b"null\n", b'{"verb": 7}\n', b"\xff\xfe\n", b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 3000 + b"\n",
        b'{"verb": "' + b"x" * MAX_REQUEST_BYTES + b'"}\n', b'{"verb": "echo"}',
    ],
)  # fmt: skip
def test_broken_requests_get_an_error_or_nothing_and_it_goes_on(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def action(path: str) -> None:
        reply = exchange(path, data)
        if reply:
            parsed = json.loads(reply)
            assert parsed["ok"] is (data == b'{"verb": "echo"}')
        assert send(path, "echo")["got"]

    with_server(tmp_path / "s", action)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0)
    try:
        mode = with_server(path, lambda name: stat.S_IMODE(os.stat(name).st_mode))
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert mode == 0o660
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_the_group_that_may_use_it(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> int:
        async with serving(str(path), "daemon"):
            return path.stat().st_gid

    assert asyncio.run(main()) == grp.getgrnam("daemon").gr_gid


@pytest.mark.parametrize(
    ("name", "group", "message"),
    [
        ("missing/s", "", "No such file"),
        ("x" * 120, "", "too long"),
        ("s", "no-such-group", "no such group"),
        ("file", "", "it is not a socket"),
        ("file/s", "", "Not a directory"),
    ],
)
def test_a_socket_that_cannot_be_made(tmp_path: Path, name: str, group: str, message: str) -> None:
    (tmp_path / "file").write_text("mine")

    async def main() -> None:
        async with serving(str(tmp_path / name), group):
            pass

    with pytest.raises(GuardianError, match=message):
        asyncio.run(main())
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_without_room_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A gateway goes on then, and tries again."""

    async def refuse(*words: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    async def main() -> None:
        server = ControlServer({})
        with pytest.raises(NoRoomError, match="cannot serve the control socket"):
            await server.start(str(tmp_path / "s"))
        assert not server.is_open

    monkeypatch.setattr(asyncio, "start_unix_server", refuse)
    asyncio.run(main())


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
        dead.listen()
    assert os.path.exists(path)

    async def second(name: str) -> None:
        await ControlServer(VERBS).start(name)

    def action(name: str) -> None:
        with pytest.raises(GuardianError, match="another gateway is running already"):
            asyncio.run(second(name))
        assert send(name, "echo")["got"]

    with_server(Path(path), action)


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(NotRunningError, match="no gateway is running"):
        send(str(path), "status")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunningError):
        send(str(path), "status")
    with pytest.raises(GuardianError):
        send(str(tmp_path / ("x" * 200)), "status")


@pytest.mark.parametrize("reply", [b"", b"hello\n", b"[1]\n", b'"ok"\n', b'{"ok": true', b'{"ok": 0}\n'])
def test_what_listens_is_no_gateway(tmp_path: Path, reply: bytes) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(path)
        other.listen()

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(GuardianError, match=r"no Guardian gateway|the gateway refused"):
            send(path, "status")
        thread.join(5)


def test_a_verb_may_wait_while_others_are_served(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def main() -> list[str]:
        released = asyncio.Event()
        done: list[str] = []

        async def slow(request: dict[str, Any]) -> dict[str, Any]:
            await released.wait()
            return {}

        server = ControlServer({"slow": slow, "echo": echo})
        await server.start(path)

        async def ask(verb: str) -> None:
            await asyncio.to_thread(send, path, verb)
            done.append(verb)

        waiting: Awaitable[None] = asyncio.ensure_future(ask("slow"))
        await ask("echo")
        released.set()
        await waiting
        await server.close()
        return done

    assert asyncio.run(main()) == ["echo", "slow"]


# Streams


class Lines:
    """A source that tells what a test puts in."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.is_closed = False

    async def take(self, seconds: float) -> list[dict[str, Any]] | None:
        try:
            event = await asyncio.wait_for(self.queue.get(), seconds)
        except TimeoutError:
            return []
        return None if event is None else [event]

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.queue.put_nowait(None)


@contextlib.asynccontextmanager
async def streaming(path: Path) -> AsyncIterator[list[Lines]]:
    """Serve the stream `lines`; the sources that were asked for are handed out."""
    opened: list[Lines] = []

    async def listen(request: dict[str, Any]) -> Lines:
        if request.get("refuse"):
            raise GuardianError("too many listen")
        opened.append(Lines())
        return opened[-1]

    server = ControlServer(VERBS, {"lines": listen})
    await server.start(str(path))
    try:
        yield opened
    finally:
        await server.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


def test_a_stream_tells_until_the_caller_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        async with streaming(tmp_path / "s") as opened:
            async with contextlib.aclosing(follow(str(tmp_path / "s"), "lines")) as told:
                assert (await anext(told))["ok"] is True
                for number in range(3):
                    opened[0].queue.put_nowait({"event": "x", "name": f"<é\n{number}"})
                    assert await anext(told) == {"event": "x", "name": f"<é\n{number}"}
                assert not opened[0].is_closed
            await until(lambda: opened[0].is_closed)
            assert (await asyncio.to_thread(send, str(tmp_path / "s"), "echo"))["got"]

    asyncio.run(main())


def test_a_stream_is_never_silent_and_a_silent_one_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HEARTBEAT_SECONDS", 0.05)

    async def main() -> None:
        async with streaming(tmp_path / "s"), contextlib.aclosing(follow(str(tmp_path / "s"), "lines")) as told:
            await anext(told)
            assert [await anext(told), await anext(told)] == [control.HEARTBEAT] * 2
            monkeypatch.setattr(control, "HEARTBEAT_SECONDS", 60.0)
            monkeypatch.setattr(control, "SILENCE_SECONDS", 0.2)
            with pytest.raises(GuardianError, match="it is silent"):
                while True:
                    await anext(told)

    asyncio.run(main())


def test_a_stream_that_is_refused_or_nobody_serves(tmp_path: Path) -> None:
    async def first(path: Path, verb: str, **arguments: Any) -> dict[str, Any]:
        async with contextlib.aclosing(follow(str(path), verb, **arguments)) as told:
            return await anext(told)

    async def main() -> None:
        path = tmp_path / "s"
        with pytest.raises(NotRunningError):
            await first(path, "lines")
        async with streaming(path) as opened:
            with pytest.raises(GuardianError, match="too many listen"):
                await first(path, "lines", refuse=True)
            with pytest.raises(GuardianError, match="unknown verb; there are: complain, echo, fail, lines, refuse"):
                await first(path, "line")
            assert not opened

    asyncio.run(main())


def test_the_servers_end_is_the_streams_end(tmp_path: Path) -> None:
    async def main() -> None:
        told = follow(str(tmp_path / "s"), "lines")
        async with streaming(tmp_path / "s") as opened:
            await anext(told)
        assert opened[0].is_closed
        with pytest.raises(StopAsyncIteration):
            await anext(told)

    asyncio.run(main())


def test_a_reader_that_takes_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STALL_SECONDS", 0.2)

    async def main() -> None:
        async with streaming(tmp_path / "s") as opened:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
                slow.connect(str(tmp_path / "s"))
                slow.sendall(b'{"verb":"lines"}\n')
                await until(lambda: opened)
                for _ in range(2000):
                    opened[0].queue.put_nowait({"event": "x" * 1000})
                await until(lambda: opened[0].is_closed)
                assert opened[0].queue.qsize() > 1500  # what it did not take never filled our memory

    asyncio.run(main())
