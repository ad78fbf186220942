"""The control socket: one line of JSON each way, mode 660, and nothing that a client sends breaks it."""

from __future__ import annotations

import asyncio
import contextlib
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

from guardian.control import MAX_REQUEST_BYTES, ControlServer, NotRunningError, Verb, send
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
