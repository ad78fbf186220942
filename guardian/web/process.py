"""The process of the console: sockets, one loop, deadlines for slow callers, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import h11

from guardian.allocator import return_large_blocks
from guardian.clock import State
from guardian.config import Config, Endpoint, load_config
from guardian.errors import GuardianError
from guardian.interfaces import Following, fit_to_interfaces, list_absent
from guardian.store.accounts import is_claimed
from guardian.supervisor import Nobody, Supervisor
from guardian.web.app import ENDLESS, MAX_HEAD_BYTES, Application
from guardian.web.certificate import certificate_files
from guardian.web.claim import make_claim_code
from guardian.web.console import Console
from guardian.web.delivery import Delivery
from guardian.web.feed_watch import FeedWatch
from guardian.web.handshakes import Handshake, Handshakes
from guardian.web.uvicorn_core import Config as ServerConfig
from guardian.web.uvicorn_core import H11Protocol
from guardian.web.uvicorn_core import Server as UvicornServer

log = logging.getLogger(__name__)

MOST_CONNECTIONS, MOST_PER_SOURCE = 128, 16
HEAD_SECONDS = 10.0  # for a request's head, from its first byte (of a new connection: from its start)
REQUEST_SECONDS = 60.0  # for all of a request: body, work and answer
KEEP_ALIVE_SECONDS = 15
STOP_SECONDS = 1
BACKLOG = 64
UNHEARD_MILLISECONDS = 30_000
TICK_SECONDS = 1.0
CLOCK_SECONDS, CLOCK_SECONDS_UNSET = 10.0, 2.0  # between two looks at the gateway's clock


class Connection(H11Protocol):
    """uvicorn's connection, with a limit of connections and a deadline for everything a caller can be slow at."""

    deadline = math.inf  # monotonic seconds
    last_heard = 0.0
    on_made: Callable[[], None] | None = None  # called when it is there: the TLS handshake is done
    _reading_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection. Where there are too many, one that waits for nothing makes room, else the new one goes."""
        super().connection_made(transport)
        if self.on_made is not None:
            self.on_made()
        self.last_heard = time.monotonic()
        self.deadline = self.last_heard + HEAD_SECONDS
        all_ = [other for other in self.connections if isinstance(other, Connection)]
        mine = [other for other in all_ if other.source == self.source]
        if len(mine) > MOST_PER_SOURCE:
            crowd = mine
        elif len(all_) > MOST_CONNECTIONS:
            count = Counter(other.source for other in all_)
            crowd = [other for other in all_ if count[other.source] == max(count.values())]
        else:
            return
        log.debug("event=too-many-connections address=%s of_source=%d all=%d", self.source, len(mine), len(all_))
        idle = [other for other in crowd if other is not self and not other.is_busy()]
        (min(idle, key=lambda other: other.last_heard) if idle else self).cut()

    @property
    def source(self) -> str:
        """The address at the other end."""
        return self.client[0] if self.client is not None else ""

    def cut(self) -> None:
        """End the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a new head start its deadline."""
        if self.transport.is_closing():
            return
        self.last_heard = now = time.monotonic()
        if not self.is_busy() and not self._reading_head:
            self._reading_head = True
            self.deadline = now + HEAD_SECONDS
        super().data_received(data)
        if self._reading_head and self.is_busy():
            self._reading_head = False
            self.deadline = now + REQUEST_SECONDS

    def is_busy(self) -> bool:
        """Tell whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def is_sending(self) -> bool:
        """Tell whether the body of a request is still coming."""
        return self.is_busy() and self.conn.their_state is h11.SEND_BODY

    def on_response_complete(self) -> None:
        """The answer is written; the next head has the keep-alive time, a body that still comes the old deadline."""
        super().on_response_complete()
        if self.is_busy():  # the next request was there already
            self.deadline = time.monotonic() + REQUEST_SECONDS
        elif self.transport.is_closing():  # what is not taken by then is lost
            self.deadline = time.monotonic() + HEAD_SECONDS
        elif self.conn.their_state is not h11.SEND_BODY:
            self._reading_head = False
            self.deadline = math.inf  # the keep-alive time counts

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP. uvicorn alone lets the application answer as well, and fails over it."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        return False  # no web sockets here, and no line in the log for each who asks

    def cut_if_late(self, now: float) -> None:
        """End the connection when its deadline is over."""
        state: dict[str, Any] = self.scope.get("state", {}) if self.scope is not None else {}
        if now >= self.deadline and not (self.is_busy() and state.get(ENDLESS)):
            log.debug("event=too-slow address=%s", self.source)
            self.cut()


class Server(UvicornServer):
    """uvicorn's server, which the process stops and watches itself."""

    def __init__(self, config: ServerConfig, endpoints: tuple[Endpoint, ...] = ()) -> None:
        """`endpoints` are those of the sockets that it is started with."""
        super().__init__(config)
        self._endpoints = endpoints
        self._open: dict[Endpoint, asyncio.Server] = {}
        self._wake = asyncio.Event()
        self._handshakes = Handshakes()
        self.on_started: Callable[[], None] = lambda: None  # called once, when connections are answered

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; with TLS every connection begins with a handshake that is counted."""
        context, connection = self.config.ssl, self.config.http_protocol_class

        def make_encrypted(**parts: Any) -> Handshake:
            def make(on_made: Callable[[], None]) -> asyncio.Protocol:
                behind: Any = connection(**parts)
                behind.on_made = on_made
                return behind  # type: ignore[no-any-return]

            assert context is not None
            return Handshake(self._handshakes, context, make)

        if context is not None:
            self.config.ssl, self.config.http_protocol_class = None, make_encrypted  # type: ignore[assignment]
        await super().startup(sockets)
        if self._endpoints:  # the desk's server has sockets of its own, and follows nothing
            self._open = dict(zip(self._endpoints, self.servers, strict=True))

    async def follow(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Listen on these from now on; return whether all could be opened. What cannot be is logged."""
        if not self.started or self.should_exit:
            return False
        for endpoint in [endpoint for endpoint in self._open if endpoint not in endpoints]:
            server = self._open.pop(endpoint)
            server.close()  # connections that it has taken go on
            self.servers.remove(server)
        is_whole = True
        for endpoint in [endpoint for endpoint in endpoints if endpoint not in self._open]:
            try:
                (listening,) = open_sockets((endpoint,))
            except GuardianError as error:
                log.warning("event=address-not-used error=%r", str(error))
                is_whole = False
                continue
            loop = asyncio.get_running_loop()
            server = await loop.create_server(self._make_connection, sock=listening, backlog=BACKLOG)
            self._open[endpoint] = server
            self.servers.append(server)
        return is_whole

    def _make_connection(self) -> asyncio.Protocol:
        """What uvicorn makes for each caller, behind the handshake where there is one."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def stop(self) -> None:
        """Ask it to end. Who is still sending a body, or has not got through the door, is not waited for."""
        self.should_exit = True
        self._handshakes.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.is_sending():
                connection.cut()
        self._wake.set()

    async def main_loop(self) -> None:
        """Tick once a second until told to stop."""
        self.on_started()
        while not await self.on_tick(0):
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.cut_if_late(now)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


class Process:
    """One console. `run` serves until SIGTERM, SIGINT or `stop`; SIGHUP reads the settings again."""

    def __init__(
        self, config: Config, config_path: str, offline: bool = False, supervisor: Supervisor | None = None
    ) -> None:
        """`offline`: the hotline's feed is not looked at. Raises ConfigError for settings that cannot be used."""
        self._supervisor = supervisor or Nobody()
        self._written = config  # with interfaces where the console has the addresses that they have by now
        self.console = Console(fit_to_interfaces(config), config_path)
        self._following = Following(self._follow_addresses)
        self.app = Application(self.console)
        self._delivery = Delivery(self.console)
        self._offline = offline
        self._feed: FeedWatch | None = None
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock: asyncio.Task[None] | None = None

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve from start to end; `on_ready` is called when it listens. Raises GuardianError when it cannot."""
        return_large_blocks()  # each sign-in takes 16 MB for a moment
        config = self.console.config
        if not is_claimed(self.console.store):
            make_claim_code(config)
        endpoints = config.web.listen
        sockets = open_sockets(endpoints)
        try:
            self._server = Server(self._settings(config), endpoints)
            self._server.on_started = on_ready
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            self.console.events.start(loop, config.control.socket)
            self._delivery.start()
            self._watch_feed(config)
            self._clock = loop.create_task(self._watch_clock())
            log.info("event=started listen=%s https=%s", ",".join(map(str, config.web.listen)), config.web.tls.enabled)
            self._tell_absent()
            self._following.start()
            await self._server.serve(sockets)
        finally:
            if self._clock is not None:
                self._clock.cancel()
                await asyncio.gather(self._clock, return_exceptions=True)
            await self._following.close()
            for endpoint in sockets:
                endpoint.close()
            self.app.close()
            await self._leave_feed()
            await asyncio.get_running_loop().run_in_executor(None, self._delivery.stop)
        log.info("event=stopped")

    def stop(self) -> None:
        """Ask `run` to end: event streams end at once, other answers within a second."""
        self._supervisor.stopping()
        self.console.events.stop()
        self.app.stop()
        self.console.errands.close()  # a person waits for one up to 20 seconds
        if self._server is not None:
            self._server.stop()

    async def _watch_clock(self) -> None:
        """Follow the gateway's clock: closely while it is not set."""
        while True:
            await asyncio.get_running_loop().run_in_executor(None, self.console.look_at_clock)
            is_set = self.console.clock is State.SET
            await asyncio.sleep(CLOCK_SECONDS if is_set else CLOCK_SECONDS_UNSET)

    def _watch_feed(self, config: Config) -> None:
        """Keep the hotline's feed fresh, where there is one."""
        if config.hotline.url and not self._offline:
            path, events = self.console.config_path, self.console.events
            # What is stale or wrong about the feed is among the alerts.
            self._feed = FeedWatch(config.hotline, config.state, path, lambda: events.publish_change("alerts"))
            self._feed.start()

    async def _leave_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.stop()

    def _settings(self, config: Config) -> ServerConfig:
        certificate, key = certificate_files(config) if config.web.tls.enabled else (None, None)
        return ServerConfig(
            self.app,
            loop="asyncio",
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,  # asyncio takes so many connections in one go
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_context_factory=_make_tls if certificate else None,
        )

    async def _follow_addresses(self) -> bool:
        """Listen where the machine's interfaces are by now; return whether all is well. Raises OSError."""
        config = fit_to_interfaces(self._written)
        is_moved, self.console.config = config != self.console.config, config
        is_whole = self._server is None or await self._server.follow(config.web.listen)
        if is_moved:
            self.app.reload()
            log.info("event=addresses-changed listen=%s", ",".join(map(str, config.web.listen)))
            self._tell_absent()
        return is_whole

    def _tell_absent(self) -> None:
        absent = list_absent(self._written.web.listen)
        if absent:
            log.warning("event=no-address interfaces=%s action=wait", ",".join(absent))

    def _on_hangup(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_by_signal())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_by_signal(self) -> None:
        self._supervisor.reloading()
        try:
            await self._reload()
        finally:
            self._supervisor.ready()

    async def _reload(self) -> None:
        """Read the settings again; wrong ones, and those that need a new start, change nothing."""
        before = self._written
        try:
            config = await asyncio.get_running_loop().run_in_executor(None, load_config, self.console.config_path)
            fixed = [
                name
                for name, old, new in (
                    ("state", before.state, config.state),
                    ("control", before.control, config.control),
                    ("web.listen", before.web.listen, config.web.listen),
                    ("web.tls", before.web.tls, config.web.tls),
                )
                if old != new
            ]
            if fixed:
                raise GuardianError(f"{', '.join(fixed)} cannot change while the console runs: restart it")
        except GuardianError as error:
            log.error("event=reload-refused error=%r running=as-before", str(error))
            return
        self._written, self.console.config = config, fit_to_interfaces(config)
        self.app.reload()
        if config.hotline != before.hotline:
            await self._leave_feed()
            self._watch_feed(config)
        logging.getLogger().setLevel(config.log_level.upper())
        log.info("event=reloaded")


def open_sockets(endpoints: tuple[Endpoint, ...]) -> list[socket.socket]:
    """Return listening sockets. Raises GuardianError; none is left open then."""
    opened: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            found = socket.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            family, kind, protocol, _, address = found[0]
            listening = socket.socket(family, kind, protocol)
            opened.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A phone that left the home without a word frees its connections soon, event streams above all.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MILLISECONDS)
            if family == socket.AF_INET6:  # so that [::]:8080 and 0.0.0.0:8080 can stand side by side
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            listening.setblocking(False)
    except OSError as error:
        for made in opened:
            made.close()
        raise GuardianError(f"cannot serve the console on {endpoint}: {error.strerror}") from None
    return opened


def _make_tls(config: ServerConfig, _default: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert config.ssl_certfile is not None
    try:
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
    except (OSError, ssl.SSLError) as error:
        raise GuardianError(f"the certificate {config.ssl_certfile} cannot be used: {error}") from None
    return context
