"""The way to the console: on real sockets, while it answers, and only for those who can reach it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from guardian.blockpage import console
from guardian.blockpage.console import KNOWN_SECONDS, ConsoleDoor
from guardian.config import Endpoint

NAME = "guardian.home.arpa"
HERE, ELSEWHERE, ELSEWHERE6 = "127.0.0.1", "192.168.1.23", "fd00::23"


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[Endpoint]:
    """A port on which somebody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.create_server((host, 0), family=family)) as server:
        yield Endpoint(host, server.getsockname()[1])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def find(endpoints: tuple[Endpoint, ...], client: str = HERE, asked: str = "", encrypted: bool = False) -> str:
    return asyncio.run(ConsoleDoor(endpoints, NAME, is_encrypted=encrypted).find(client, asked))


def nobody() -> Endpoint:
    with listening() as endpoint:
        return endpoint


def test_a_console_that_answers_is_found() -> None:
    with listening() as endpoint:
        assert find((endpoint,)) == f"http://{NAME}:{endpoint.port}"
        assert find((endpoint,), encrypted=True) == f"https://{NAME}:{endpoint.port}"
        assert find((nobody(), endpoint)) == f"http://{NAME}:{endpoint.port}"


def test_one_that_does_not_answer_is_not() -> None:
    assert find(()) == ""
    assert find((nobody(),)) == ""


def test_a_console_for_this_machine_alone_is_nothing_for_others() -> None:
    with listening() as endpoint, listening("::1") as endpoint6:
        for client in (ELSEWHERE, ELSEWHERE6):
            assert find((endpoint, endpoint6), client) == ""
        assert find((endpoint6,), "::1") == f"http://{NAME}:{endpoint6.port}"


@pytest.mark.parametrize(("host", "client"), [("0.0.0.0", ELSEWHERE), ("::", ELSEWHERE6), ("0.0.0.0", HERE)])
def test_one_that_listens_everywhere_is_for_all(host: str, client: str) -> None:
    with listening(host) as endpoint:
        assert find((endpoint,), client) == f"http://{NAME}:{endpoint.port}"


def test_who_came_by_address_goes_on_by_address() -> None:
    with listening() as endpoint, listening("0.0.0.0") as everywhere, listening("::") as everywhere6:
        assert find((endpoint,), HERE, "127.0.0.1") == f"http://127.0.0.1:{endpoint.port}"
        assert find((endpoint,), HERE, "127.0.0.9") == f"http://{NAME}:{endpoint.port}"  # it does not listen there
        assert find((everywhere,), ELSEWHERE, "192.168.1.1") == f"http://192.168.1.1:{everywhere.port}"
        assert find((everywhere6,), ELSEWHERE6, "fd00::1") == f"http://[fd00::1]:{everywhere6.port}"
        assert find((everywhere6,), ELSEWHERE, "192.168.1.1") == f"http://{NAME}:{everywhere6.port}"


@pytest.mark.parametrize(("port", "encrypted", "url"), [(80, False, "http"), (443, True, "https")])
def test_the_usual_port_is_not_told(monkeypatch: pytest.MonkeyPatch, port: int, encrypted: bool, url: str) -> None:
    with listening() as endpoint:
        scheme = "https" if encrypted else "http"
        monkeypatch.setitem(console._PORTS, scheme, endpoint.port)  # ports below 1024 may be somebody's
        assert find((endpoint,), encrypted=encrypted) == f"{url}://{NAME}"


def test_an_answer_is_remembered_for_some_seconds() -> None:
    async def main() -> None:
        clock = Clock()
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            endpoint = Endpoint("127.0.0.1", server.getsockname()[1])
            door = ConsoleDoor((endpoint,), NAME, is_encrypted=False, clock=clock)
            found = await asyncio.gather(*(door.find(HERE) for _ in range(20)))
            assert set(found) == {f"http://{NAME}:{endpoint.port}"}
            server.setblocking(False)
            server.accept()[0].close()
            with pytest.raises(BlockingIOError):  # twenty pages were one try
                server.accept()
        assert await door.find(HERE)
        clock.now += KNOWN_SECONDS
        assert await door.find(HERE) == ""

    asyncio.run(main())


def test_one_that_hangs_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full, so the kernel answers nobody."""
    monkeypatch.setattr(console, "CONNECT_SECONDS", 0.2)
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1])
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(tuple(endpoint))
        assert find((endpoint,)) == ""
        for client in waiting:
            client.close()
