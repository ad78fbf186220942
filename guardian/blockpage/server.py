"""The block page's sockets: a tiny HTTP/1.1 server for any device of the home.

One request a connection, GET and HEAD only, no body is read, every wait has an end. It holds no name after the answer
and logs none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from guardian.blockpage.console import ConsoleDoor
from guardian.blockpage.facts import BlockInfo, DeviceInfo, PageSettings
from guardian.blockpage.request import MAX_HEAD_BYTES, Request, is_address, parse_request
from guardian.config import Endpoint
from guardian.errors import FormError
from guardian.policy.model import Reason

if TYPE_CHECKING:
    from guardian.blockpage.page import Pages

log = logging.getLogger(__name__)

DEADLINE = 5.0  # seconds from accept to the last byte
LINGER = 1.0  # seconds that a client has to take the answer and close, so that no reset eats it
MAX_LINGER_READS = 16
MAX_CONNECTIONS = 64
MAX_CONNECTIONS_PER_CLIENT = 8
RETRY_AFTER = 5  # seconds after which a name that is open again may work: about the TTL of a blocked answer

_REASON_PHRASES: Mapping[int, str] = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",  # RFC 7725
    503: "Service Unavailable",
}
_NOT_FOUND_PATHS = frozenset({"/favicon.ico", "/robots.txt", "/apple-touch-icon.png"})

Explain = Callable[[str, str], BlockInfo | None]
Describe = Callable[[str], DeviceInfo | None]
Settle = Callable[[str, str], Awaitable[None]]


class _Response(NamedTuple):
    status: int
    language: str = ""
    body: bytes = b""
    fields: tuple[str, ...] = ()


class BlockPage:
    """Serves the block page on `endpoints`.

    `explain(client address, host)` returns why a lower-case host name is blocked for a device, or None when it is not.
    `describe(client address)` returns what holds for the device, or None while that is not known. Addresses are text as
    in `ipaddress`, without a zone.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        explain: Explain,
        describe: Describe,
        settings: PageSettings,
        settle: Settle | None = None,
    ) -> None:
        """`settle(client address, host)` is awaited before `explain`: a slow list may have to be asked first."""
        self._endpoints = tuple(endpoints)
        self._settle = settle
        self._explain = explain
        self._describe = describe
        self._settings = settings
        self._door = _open_door(settings)
        self._pages: Pages | None = None  # made when a page is first asked for: words and style cost memory
        self._servers: list[tuple[Endpoint, asyncio.Server]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: Counter[str] = Counter()

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that the system chose for port 0."""
        names = [socket.getsockname() for _, server in self._servers for socket in server.sockets]
        return tuple(Endpoint(name[0], name[1]) for name in names)

    def use(self, settings: PageSettings) -> None:
        """Take new settings for all pages from now on."""
        self._settings = settings
        self._door = _open_door(settings)
        self._pages = None

    async def start(self) -> None:
        """Listen on all endpoints. Raises OSError, and then listens on none."""
        try:
            for endpoint in self._endpoints:
                await self._open(endpoint)
        except OSError:
            await self.close()
            raise

    async def follow(self, endpoints: Iterable[Endpoint]) -> bool:
        """Listen on these from now on; return whether all could be opened. What cannot be is logged."""
        self._endpoints = tuple(endpoints)
        for endpoint, server in self._servers:
            if endpoint not in self._endpoints:
                server.close()  # who is being answered there still is
        self._servers = [entry for entry in self._servers if entry[0] in self._endpoints]
        is_whole, opened = True, [endpoint for endpoint, _ in self._servers]
        for endpoint in [endpoint for endpoint in self._endpoints if endpoint not in opened]:
            try:
                await self._open(endpoint)
            except OSError as error:
                log.warning("event=page-address-not-used where=%s error=%r", endpoint, error.strerror)
                is_whole = False
        return is_whole

    async def _open(self, endpoint: Endpoint) -> None:
        server = await asyncio.start_server(
            self._accept, endpoint.host, endpoint.port, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
        )
        self._servers.append((endpoint, server))
        log.info("block page listens address=%s port=%d", endpoint.host, endpoint.port)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        for _, server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        client = peer[0].partition("%")[0] if peer else ""
        if len(self._tasks) >= MAX_CONNECTIONS or self._clients[client] >= MAX_CONNECTIONS_PER_CLIENT or not client:
            writer.transport.abort()
            return
        self._clients[client] += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, client))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._forget(done, client))

    def _forget(self, task: asyncio.Task[None], client: str) -> None:
        self._tasks.discard(task)
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                data = await self._answer(reader, client, writer.get_extra_info("sockname")[0])
                writer.write(data)
                await writer.drain()
                writer.write_eof()
            async with asyncio.timeout(LINGER):
                for _ in range(MAX_LINGER_READS):
                    if not await reader.read(MAX_HEAD_BYTES):
                        break
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            log.debug("block page client=%s left: %s", client, type(error).__name__)
        finally:
            writer.transport.abort()  # what is still unsent here has had its time

    async def _answer(self, reader: asyncio.StreamReader, client: str, local: str) -> bytes:
        """Return the whole response to what the client sends."""
        request: Request | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request = parse_request(head)
            response = await self._respond(request, client, local)
        except asyncio.LimitOverrunError:
            response = await self._fail(431)
        except FormError as error:
            log.debug("block page client=%s bad request: %s", client, error)
            response = await self._fail(400)
        return _format_response(response, with_body=request is None or request.method != "HEAD")

    async def _respond(self, request: Request, client: str, local: str) -> _Response:
        if request.method not in ("GET", "HEAD"):
            return (await self._fail(405))._replace(fields=("Allow: GET, HEAD",))
        if request.path in _NOT_FOUND_PATHS:
            return _Response(404)
        if self._is_own(request.host):
            console = await self._door.find(client, request.host if request.host == local else "")
            if console:
                return _Response(302, fields=(f"Location: {console}{request.path or '/'}",))
        pages = await self._load_pages()
        if self._is_own(request.host):
            device = self._describe(client)
            language = self._language(device.language if device else "", request)
            return _Response(200, language, pages.home(language, device))
        if self._settle is not None:
            await self._settle(client, request.host)
        info = self._explain(client, request.host)
        if info is None:
            language = self._language("", request)
            body = pages.open_again(language, request.host)
            return _Response(503, language, body, (f"Retry-After: {RETRY_AFTER}",))
        return await self._say_blocked(pages, self._language(info.language, request), request.host, info, client)

    async def compose(self, info: BlockInfo, host: str, client: str, *, with_body: bool = True) -> bytes:
        """Return the whole response for a request to `host` that was caught on its way to the internet.

        `client` is the device's address as text.
        """
        settings = self._settings
        language = info.language if info.language in settings.languages else settings.language
        response = await self._say_blocked(await self._load_pages(), language, host, info, client)
        return _format_response(response, with_body=with_body)

    async def _say_blocked(self, pages: Pages, language: str, host: str, info: BlockInfo, client: str) -> _Response:
        if info.reason is Reason.MANDATORY and info.legal.is_voluntary:
            return _Response(403, language, pages.mandatory(language, info))
        if info.reason is Reason.MANDATORY:
            link = f'Link: <http://{min(self._settings.names)}/>; rel="blocked-by"'
            return _Response(451, language, pages.mandatory(language, info), (link,))
        return _Response(403, language, pages.blocked(language, host, info, await self._door.find(client)))

    async def _fail(self, status: int) -> _Response:
        language = self._settings.language
        return _Response(status, language, (await self._load_pages()).error(language))

    def _is_own(self, host: str) -> bool:
        names = self._settings.names
        short = {name.partition(".")[0] for name in names}  # as local names answer it: http://guardian/
        return not host or host == "localhost" or host in names or host in short or is_address(host)

    def _language(self, wish: str, request: Request) -> str:
        from guardian.messages import pick_language

        offered = self._settings.languages
        if wish in offered:
            return wish
        return pick_language(request.accept_language, self._settings.language, offered)

    async def _load_pages(self) -> Pages:
        if self._pages is not None:
            return self._pages
        settings = self._settings
        pages = await asyncio.to_thread(_read_pages, settings)
        if settings is self._settings:  # else `use` was faster
            self._pages = pages
        return pages


def _open_door(settings: PageSettings) -> ConsoleDoor:
    return ConsoleDoor(settings.console, min(settings.names), is_encrypted=settings.is_console_encrypted)


def _read_pages(settings: PageSettings) -> Pages:
    from guardian.blockpage.page import Pages
    from guardian.messages import Messages

    return Pages(Messages.load(), settings)


def _format_response(response: _Response, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_REASON_PHRASES[response.status]}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        *response.fields,
    ]
    if response.body:
        from guardian.blockpage.style import SECURITY_POLICY

        lines += [f"Content-Language: {response.language}", f"Content-Security-Policy: {SECURITY_POLICY}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (response.body if with_body else b"")
