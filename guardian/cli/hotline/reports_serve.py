"""The process of `guardian hotline reports serve`: sockets, deadlines for slow callers, words that go in time.

The server is the console's (`guardian/web/process.py`): handshakes, heads and bodies have deadlines there, and
connections are counted. A reverse proxy in front is one caller with many connections, so it is counted otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from guardian.config import Endpoint
from guardian.desk.intake import Intake, Limits, Network
from guardian.desk.report_store import ReportStore, clear_closed
from guardian.errors import DeskError
from guardian.web.process import BACKLOG, KEEP_ALIVE_SECONDS, STOP_SECONDS, Connection, Server
from guardian.web.uvicorn_core import Config as ServerConfig

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 16 * 1024
CLEAR_SECONDS = 3600.0
_QUIET = ("uvicorn", "uvicorn.error", "asyncio")  # they name addresses
_QUIET_WEB = "guardian.web"


class ServeOptions(NamedTuple):
    """How reports are received."""

    listen: Endpoint
    certificate: str  # PEM with its chain; "" = a reverse proxy has TLS
    key: str
    proxies: tuple[Network, ...]


def check_options(options: ServeOptions) -> None:
    """Raise DeskError for options that would let reports travel in the clear, or that lack a half."""
    if bool(options.certificate) != bool(options.key):
        raise DeskError("--certificate and --key belong together")
    if not (options.certificate or options.proxies or ip_address(options.listen.host).is_loopback):
        raise DeskError(
            f"reports would come to {options.listen} in plain text: give --certificate and --key, listen on 127.0.0.1 "
            "behind a reverse proxy with TLS, or name the proxy with --proxy"
        )


async def serve(folder: str, options: ServeOptions, on_ready: Callable[[], None] = lambda: None) -> None:
    """Receive reports until SIGTERM or SIGINT. Raises DeskError when it cannot begin."""
    store = ReportStore(folder)
    clear_closed(store, time.time())  # and a database that cannot be used is told at once
    tls = _load_tls(options) if options.certificate else None
    intake = Intake(store, Limits(), options.proxies)
    with contextlib.closing(_open_socket(options.listen)) as listening:
        server = Server(_settings(intake.app, options, tls))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        clearing = loop.create_task(_clear_in_time(store))
        if not options.proxies and not tls:
            log.warning("event=no-proxy-named all reports count as of one source: give --proxy ADDRESS of yours")
        log.info("event=started listen=%s https=%s", options.listen, tls is not None)
        on_ready()
        try:
            await server.serve([listening])
        finally:
            clearing.cancel()
            await loop.run_in_executor(None, intake.close)
    log.info("event=stopped")


async def _clear_in_time(store: ReportStore) -> None:
    """Wipe the words of reports that were closed long enough ago, every hour."""
    while True:
        await asyncio.sleep(CLEAR_SECONDS)
        try:
            done = await asyncio.get_running_loop().run_in_executor(None, clear_closed, store, time.time())
        except DeskError as error:
            log.error("event=words-not-cleared error=%r", str(error))
        else:
            if done:
                log.info("event=words-cleared count=%d", done)


def _open_socket(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((endpoint.host, endpoint.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise DeskError(f"cannot listen on {endpoint}: {error.strerror}") from None
    return listening


def _load_tls(options: ServeOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        raise DeskError(f"the certificate {Path(options.certificate).name} cannot be used: {error}") from None
    return context


def _settings(app: Any, options: ServeOptions, tls: ssl.SSLContext | None) -> ServerConfig:
    return ServerConfig(
        app,
        loop="asyncio",
        http=_make_connection(options.proxies),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `find_source` reads them, from proxies that were named
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ssl_certfile=options.certificate or None,
        ssl_keyfile=options.key or None,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )


def _make_connection(proxies: Sequence[Network]) -> type[Connection]:
    class ProxiedConnection(Connection):
        """A connection that counts for itself when it comes from a proxy: behind it are many callers."""

        @property
        def source(self) -> str:
            """Who is at the other end: an address, with the port when it is a proxy's."""
            if self.client is None:
                return ""
            host, port = self.client
            bare = ip_address(host.partition("%")[0])
            is_proxy = bare.is_loopback or any(bare in network for network in proxies)
            return f"{host} {port}" if is_proxy else host

    return ProxiedConnection


def start_logging() -> None:
    """Log to standard error, one fact a line, and nothing that names who came; leave no memory on the disk."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger(_QUIET_WEB).setLevel(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
