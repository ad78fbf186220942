"""The server on real loopback sockets, with polite and with hostile clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

import guardian.blockpage.server as server_module
from guardian.blockpage import BlockInfo, BlockPage, DeviceInfo, LegalNotice, PageSettings
from guardian.blockpage.server import MAX_CONNECTIONS_PER_CLIENT
from guardian.config import Endpoint
from guardian.policy.model import Reason
from tests.gateway.product import free_port

Block = Callable[..., BlockInfo]
Serve = Callable[[Callable[[Endpoint], Awaitable[None]]], None]

LOOPBACK = Endpoint("127.0.0.1", 0)


class Asked:
    """What the server asked about, so that tests see that nothing else was."""

    def __init__(self, block: Block) -> None:
        self.names: list[tuple[str, str]] = []
        self._block = block

    def explain(self, client: str, host: str) -> BlockInfo | None:
        self.names.append((client, host))
        return {
            "casino.example": self._block(Reason.CATEGORY, "category:gambling"),
            "russian.example": self._block(Reason.RULE, "rule:block x", language="ru"),
            "law.example": self._block(Reason.MANDATORY, "mandatory:x"),
            "[odd]": None,
        }.get(host)

    def describe(self, client: str) -> DeviceInfo | None:
        return DeviceInfo(True, "Ana")


@pytest.fixture
def asked(block: Block) -> Asked:
    return Asked(block)


@pytest.fixture
def serve(asked: Asked, settings: PageSettings) -> Serve:
    """Run a coroutine function against a listening block page."""

    @asynccontextmanager
    async def listening() -> AsyncIterator[Endpoint]:
        page = BlockPage([LOOPBACK], asked.explain, asked.describe, settings)
        await page.start()
        try:
            yield page.addresses[0]
        finally:
            await page.close()

    def run(client: Callable[[Endpoint], Awaitable[None]]) -> None:
        async def main() -> None:
            async with listening() as endpoint:
                await client(endpoint)

        asyncio.run(main())

    return run


async def exchange(endpoint: Endpoint, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


def get(host: str, *lines: str, method: str = "GET", path: str = "/") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def split(response: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *fields = head.decode("ascii").split("\r\n")
    return int(status.split()[1]), dict(field.split(": ", 1) for field in fields), body


def test_a_slow_list_is_asked_before_anything_is_said(block: Block, settings: PageSettings) -> None:
    asked: list[str] = []

    async def settle(client: str, host: str) -> None:
        asked.append(f"settle {client} {host}")
        await asyncio.sleep(0.05)

    def explain(client: str, host: str) -> BlockInfo | None:
        asked.append(f"explain {client} {host}")
        return block(Reason.MANDATORY, "mandatory:x", legal=LegalNotice(basis="voluntary"))

    async def main() -> bytes:
        page = BlockPage([LOOPBACK], explain, lambda client: None, settings, settle)
        await page.start()
        try:
            return await exchange(page.addresses[0], get("listed-1.example", "Accept-Language: en"))
        finally:
            await page.close()

    status, fields, body = split(asyncio.run(main()))
    assert asked == ["settle 127.0.0.1 listed-1.example", "explain 127.0.0.1 listed-1.example"]
    assert status == 403 and "Link" not in fields and "on the hotline's list" in body.decode().replace("&#39;", "'")


def test_blocked_page(serve: Serve, asked: Asked) -> None:
    async def client(endpoint: Endpoint) -> None:
        response = await exchange(endpoint, get("Casino.Example:80", "Accept-Language: en"))
        status, fields, body = split(response)
        assert status == 403
        assert fields["Content-Language"] == "en"
        assert fields["Cache-Control"] == "no-store"
        assert fields["Connection"] == "close"
        assert fields["X-Content-Type-Options"] == "nosniff"
        assert fields["Referrer-Policy"] == "no-referrer"
        assert fields["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert int(fields["Content-Length"]) == len(body)
        assert "Gambling en" in body.decode()
        head_only = await exchange(endpoint, get("casino.example", "Accept-Language: en", method="HEAD"))
        assert head_only == response[: -len(body)]

    serve(client)
    assert asked.names == [("127.0.0.1", "casino.example")] * 2


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (get("casino.example"), 403, "Site-ul"),  # the household's language
        (get("casino.example", "Accept-Language: ru"), 403, "Этот сайт"),
        (get("russian.example", "Accept-Language: en"), 403, "Этот сайт"),  # the profile's wish wins
        (get("law.example"), 451, "prin lege"),
        (get("free.example"), 503, "deschis acum"),
        (get("guardian.home.arpa"), 200, "„Ana”"),
        (get("guardian"), 200, "„Ana”"),
        (get("localhost"), 200, "„Ana”"),
        (get("127.0.0.1"), 200, "„Ana”"),
        (get("[::1]:80"), 200, "„Ana”"),
        (b"GET / HTTP/1.0\r\n\r\n", 200, "„Ana”"),
        (get("casino.example", path="/favicon.ico"), 404, ""),
        (get("casino.example", "Content-Length: 5", method="POST"), 405, "Nu a mers"),
        (get("a\u202eb.example"), 400, "Nu a mers"),
        (get("<script>"), 400, "Nu a mers"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "Nu a mers"),  # TLS on the wrong port
        (get("a", "X: " + "y" * 9000), 431, "Nu a mers"),
    ],
)
def test_answers(serve: Serve, request_bytes: bytes, status: int, words: str) -> None:
    async def client(endpoint: Endpoint) -> None:
        got, fields, body = split(await exchange(endpoint, request_bytes))
        assert got == status
        assert words in body.decode()
        assert int(fields["Content-Length"]) == len(body)
        assert b"<script" not in body

    serve(client)


def test_mandatory_answer_names_no_site(serve: Serve) -> None:
    async def client(endpoint: Endpoint) -> None:
        response = await exchange(endpoint, get("law.example", path="/secret"))
        assert b"law.example" not in response
        assert b"secret" not in response
        assert split(response)[1]["Link"] == '<http://guardian.home.arpa/>; rel="blocked-by"'

    serve(client)


def test_pieces_pipelines_and_early_ends(serve: Serve, asked: Asked) -> None:
    async def client(endpoint: Endpoint) -> None:
        reader, writer = await asyncio.open_connection(*endpoint)
        for piece in get("casino.example"):
            writer.write(bytes([piece]))
            await writer.drain()
        assert split(await reader.read())[0] == 403
        writer.close()
        # A second request on the connection is not read.
        twice = await exchange(endpoint, get("casino.example") * 2)
        assert twice.count(b"HTTP/1.1 ") == 1
        # Half a request and a goodbye.
        reader, writer = await asyncio.open_connection(*endpoint)
        writer.write(b"GET / HT")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    serve(client)
    assert len(asked.names) == 2


def test_one_client_cannot_take_all_places(serve: Serve) -> None:
    async def client(endpoint: Endpoint) -> None:
        held = [await asyncio.open_connection(*endpoint) for _ in range(MAX_CONNECTIONS_PER_CLIENT)]
        reader, writer = await asyncio.open_connection(*endpoint)
        with suppress(ConnectionResetError):  # the usual way to be shown the door
            assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection(*endpoint, local_addr=("127.0.0.2", 0))
        writer.write(get("casino.example"))
        assert split(await reader.read())[0] == 403
        writer.close()
        # Those who wait get their answer, and their places are free again.
        for reader, writer in held:
            writer.write(get("casino.example"))
            assert split(await reader.read())[0] == 403
            writer.close()
        assert split(await exchange(endpoint, get("casino.example")))[0] == 403

    serve(client)


def test_a_client_that_says_nothing_is_let_go(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "DEADLINE", 0.05)

    async def client(endpoint: Endpoint) -> None:
        reader, writer = await asyncio.open_connection(*endpoint)
        writer.write(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    serve(client)


def test_close_ends_waiting_clients_and_frees_the_port(asked: Asked, settings: PageSettings) -> None:
    async def main() -> None:
        page = BlockPage([LOOPBACK, LOOPBACK], asked.explain, asked.describe, settings)
        await page.start()
        assert len(page.addresses) == 2
        endpoint = page.addresses[0]
        _, writer = await asyncio.open_connection(*endpoint)
        await page.close()
        assert page.addresses == ()
        again = BlockPage([endpoint], asked.explain, asked.describe, settings)
        await again.start()
        with pytest.raises(OSError, match="address already in use"):
            await BlockPage([LOOPBACK, endpoint], asked.explain, asked.describe, settings).start()
        await again.close()
        writer.close()

    asyncio.run(main())


def test_new_settings_hold_for_the_next_page(asked: Asked, settings: PageSettings) -> None:
    async def main() -> None:
        page = BlockPage([LOOPBACK], asked.explain, asked.describe, settings)
        await page.start()
        assert "Provider" in (await exchange(page.addresses[0], get("casino.example"))).decode()
        page.use(PageSettings(language="en"))
        body = (await exchange(page.addresses[0], get("casino.example"))).decode()
        assert "Provider" not in body
        assert "This site is closed here" in body
        await page.close()

    asyncio.run(main())


async def talk_with_console(
    asked: Asked, settings: PageSettings, act: Callable[[Endpoint, str], Awaitable[None]]
) -> None:
    """Serve a block page beside a console; `act` gets the page's endpoint and the console's URL."""
    console = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = console.sockets[0].getsockname()[1]
    page = BlockPage(
        [LOOPBACK], asked.explain, asked.describe, replace(settings, console=(Endpoint("127.0.0.1", port),))
    )
    await page.start()
    try:
        await act(page.addresses[0], f"guardian.home.arpa:{port}")
    finally:
        await page.close()
        console.close()
        await console.wait_closed()


@pytest.mark.parametrize(
    ("request_bytes", "where"),
    [
        (get("guardian.home.arpa"), "guardian.home.arpa:{port}/"),
        (get("guardian"), "guardian.home.arpa:{port}/"),
        (get("guardian.home.arpa", path="/me?x=1"), "guardian.home.arpa:{port}/me"),
        (get("guardian.home.arpa", path="//evil.example/"), "guardian.home.arpa:{port}//evil.example/"),
        (get("localhost"), "guardian.home.arpa:{port}/"),
        (get("127.0.0.1"), "127.0.0.1:{port}/"),
        (get("8.8.8.8"), "guardian.home.arpa:{port}/"),  # an address that is not ours is no place to send anybody
        (b"GET http://guardian.home.arpa HTTP/1.1\r\nHost: x\r\n\r\n", "guardian.home.arpa:{port}/"),
        (b"GET / HTTP/1.0\r\n\r\n", "guardian.home.arpa:{port}/"),
    ],
)
def test_the_own_name_leads_to_the_console(
    asked: Asked, settings: PageSettings, request_bytes: bytes, where: str
) -> None:
    async def act(endpoint: Endpoint, url: str) -> None:
        status, fields, body = split(await exchange(endpoint, request_bytes))
        assert (status, body) == (302, b"")
        assert fields["Location"] == "http://" + where.format(port=url.rpartition(":")[2])
        assert fields["Cache-Control"] == "no-store"

    asyncio.run(talk_with_console(asked, settings, act))


def test_blocked_pages_lead_to_the_console_and_the_law_does_not(asked: Asked, settings: PageSettings) -> None:
    async def act(endpoint: Endpoint, url: str) -> None:
        body = (await exchange(endpoint, get("casino.example"))).decode()
        assert f'href="http://{url}/ask?site=casino.example"' in body and f'href="http://{url}/me"' in body
        law = (await exchange(endpoint, get("law.example"))).decode()
        assert " 451 " in law and url not in law
        assert (await exchange(endpoint, get("guardian.home.arpa", method="POST"))).startswith(b"HTTP/1.1 405")
        assert (await exchange(endpoint, get("guardian.home.arpa", path="/favicon.ico"))).startswith(b"HTTP/1.1 404")

    asyncio.run(talk_with_console(asked, settings, act))


def test_a_composed_page_leads_to_the_console_as_well(asked: Asked, settings: PageSettings, block: Block) -> None:
    async def main() -> None:
        console = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = console.sockets[0].getsockname()[1]
        page = BlockPage([], asked.explain, asked.describe, replace(settings, console=(Endpoint("127.0.0.1", port),)))
        info = block(Reason.CATEGORY, "category:gambling")
        link = f"http://guardian.home.arpa:{port}/ask?site=casino.example".encode()
        assert link in await page.compose(info, "casino.example", "127.0.0.9")
        assert link not in await page.compose(info, "casino.example", "192.168.1.9")  # the console is not for it
        assert link not in await page.compose(info, "casino.example", "127.0.0.9", with_body=False)
        console.close()
        await console.wait_closed()

    asyncio.run(main())


def test_only_offered_languages_are_spoken(asked: Asked, settings: PageSettings) -> None:
    """Neither the browser's wish nor a profile's old choice brings back what the provider does not offer."""
    settings = replace(settings, language="ro", languages=("ro", "en"))

    async def main() -> None:
        page = BlockPage([LOOPBACK], asked.explain, asked.describe, settings)
        await page.start()
        for host, wish, expected in (
            ("casino.example", b"ru", b"ro"),
            ("casino.example", b"ru, en", b"en"),
            ("russian.example", b"en", b"en"),
        ):
            head = b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nAccept-Language: " + wish + b"\r\n\r\n"
            answer = await exchange(page.addresses[0], head)
            assert b"Content-Language: " + expected in answer
        info = asked.explain("127.0.0.1", "russian.example")
        assert info is not None
        assert b"Content-Language: ro" in await page.compose(info, "russian.example", "127.0.0.1")
        await page.close()

    asyncio.run(main())


def test_it_follows_the_addresses_of_the_machine(asked: Asked, settings: PageSettings) -> None:
    async def main() -> None:
        first, second = Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.2", free_port())
        page = BlockPage([first], asked.explain, asked.describe, settings)
        await page.start()
        _, kept = await asyncio.open_connection(*first)
        assert await page.follow([second])
        assert page.addresses == (second,)
        with pytest.raises(OSError):
            await asyncio.open_connection(*first)
        assert b"HTTP/1.1" in await exchange(second, b"GET / HTTP/1.1\r\nHost: x.example\r\n\r\n")
        kept.close()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(first)
            other.listen()
            assert not await page.follow([first, second])  # taken: the other one goes on
            assert page.addresses == (second,)
        assert await page.follow([first, second])
        assert set(page.addresses) == {first, second}
        assert await page.follow([]) and page.addresses == ()
        await page.close()

    asyncio.run(main())
