"""Servers for the tests of upstreams: honest ones from Debian, and ones that lie in every way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import trustme

from guardian.config import Strategy, Transport, Upstream, UpstreamConfig
from guardian.names import parse_name
from guardian.resolver.upstream import Upstreams

T = TypeVar("T")
Behave = Callable[[bytes, int], list[bytes]]  # query, its number from 0 -> packets to send

LOOKUPS: list[object] = []  # host names that somebody asked the system's resolver for


def _watch_lookups(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        LOOKUPS.append(args[0])


sys.addaudithook(_watch_lookups)


def make_question(name: str, kind: int = 1) -> bytes:
    return parse_name(name) + struct.pack(">2H", kind, 1)


def read_question(query: bytes) -> bytes:
    return query[12 : query.index(b"\0", 12) + 5]


def make_answer(
    query: bytes, *, address: str = "192.0.2.1", rcode: int = 0, flags: int = 0x8180, question: bytes | None = None
) -> bytes:
    """An answer with one A record when rcode is 0."""
    asked = read_question(query) if question is None else question
    record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + socket.inet_aton(address) if rcode == 0 else b""
    return query[:2] + struct.pack(">5H", flags | rcode, 1, 1 if record else 0, 0, 0) + asked + record


def read_address(message: bytes) -> str:
    return socket.inet_ntoa(message[-4:]) if message[6:8] == b"\0\1" else ""


class UdpServer:
    """Answers what `behave` says. Remembers what came, and from which ports."""

    def __init__(self, behave: Behave | None = None, host: str = "127.0.0.1", port: int = 0, delay: float = 0) -> None:
        self.behave = behave or (lambda query, _: [make_answer(query)])
        self.delay = delay  # seconds before it answers
        self.queries: list[bytes] = []
        self.ports: list[int] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind((host, port))
        self.host, self.port = self.sock.getsockname()

    @property
    def upstream(self) -> Upstream:
        return Upstream(Transport.UDP, self.host, self.port)

    async def __aenter__(self) -> UdpServer:
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        self.sock.close()

    def _receive(self) -> None:
        query, source = self.sock.recvfrom(65535)
        self.queries.append(query)
        self.ports.append(source[1])
        packets = self.behave(query, len(self.queries) - 1)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._send, packets, source)
        else:
            self._send(packets, source)

    def _send(self, packets: list[bytes], source: tuple[str, int]) -> None:
        for packet in packets:
            with contextlib.suppress(OSError):  # a full buffer, or the test is over
                self.sock.sendto(packet, source)


class StreamServer:
    """A TCP or TLS server that hands every connection to `serve(reader, writer)`. Counts connections and queries."""

    def __init__(
        self,
        serve: Callable[[StreamServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.serve = serve
        self.context = context
        self.host = host
        self.port = port
        self.connections = 0
        self.queries: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> StreamServer:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self.context, ssl_shutdown_timeout=0.1 if self.context else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.005)  # asyncio's TLS server closes its socket a few rounds later

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """The next query of a connection."""
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        self.queries.append(query)
        return query


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


async def serve_honestly(server: StreamServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(frame(make_answer(await server.read(reader))))


@pytest.fixture
def net() -> SimpleNamespace:
    """The tools of this file."""
    return SimpleNamespace(
        UdpServer=UdpServer,
        StreamServer=StreamServer,
        make_question=make_question,
        read_question=read_question,
        make_answer=make_answer,
        read_address=read_address,
        frame=frame,
        serve_honestly=serve_honestly,
        lookups=LOOKUPS,
        pick_port=_pick_port,
        wait_for_port=_wait_for_port,
    )


async def _wait_for_port(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
            continue
        writer.transport.abort()
        return


def _count_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine in a loop of its own; nothing may be left: tasks, sockets, complaints."""

    def run_it(main: Coroutine[Any, Any, T]) -> T:
        complaints: list[dict[str, Any]] = []

        async def watch() -> T:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            files = _count_files()
            async with asyncio.timeout(20):  # far more than any deadline in the tests: a guard against hanging
                result = await main
            for _ in range(50):  # the test's own servers close a few rounds later
                if len(asyncio.all_tasks()) == 1 and _count_files() == files:
                    break
                await asyncio.sleep(0.01)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert _count_files() == files
            return result

        result = asyncio.run(watch())
        gc.collect()
        assert complaints == []
        assert [record for record in caplog.records if record.levelname == "ERROR" or record.exc_info] == []
        return result

    return run_it


@contextlib.asynccontextmanager
async def open_upstreams(
    *servers: Upstream, strategy: Strategy = Strategy.FAILOVER, timeout: float = 0.8, **more: Any
) -> AsyncIterator[Upstreams]:
    forwards = more.pop("forwards", ())
    upstreams = Upstreams(UpstreamConfig(servers, strategy, timeout, **more), forwards)
    try:
        yield upstreams
    finally:
        await upstreams.close()


@pytest.fixture
def opened() -> Callable[..., contextlib.AbstractAsyncContextManager[Upstreams]]:
    """Upstreams that are closed at the end: `async with opened(Upstream(...), timeout=1) as upstreams`."""
    return open_upstreams


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def make_server_context(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """A TLS server's context with a certificate for the given names; `not_after` makes it an old one."""

    def make(
        *names: str, protocols: tuple[str, ...] = (), issuer: trustme.CA | None = None, **more: Any
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (issuer or authority).issue_cert(*names, **more).configure_cert(context)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    return make


def _pick_port() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            except OSError:
                continue
            return int(tcp.getsockname()[1])


UNBOUND = """
server:
  interface: 127.0.0.1@{plain}
  interface: 127.0.0.1@{tls}
  interface: 127.0.0.1@{https}
  tls-port: {tls}
  https-port: {https}
  tls-service-key: "{key}"
  tls-service-pem: "{cert}"
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." static
  local-data: "www.test. 300 IN A 192.0.2.80"
  local-data: "www.test. 300 IN AAAA 2001:db8::80"
  local-data: "dns.test. 300 IN A 127.0.0.1"
  local-data: "alias.test. 300 IN CNAME www.test."
{texts}
remote-control:
  control-enable: no
"""


@pytest.fixture(scope="session")
def unbound(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Debian's unbound with UDP, TCP, DoT and DoH on loopback, named dns.test by its certificate."""
    program = shutil.which("unbound", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("unbound is not installed")
    folder = tmp_path_factory.mktemp("unbound")
    certificate = authority.issue_cert("dns.test", "127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "cert.pem"), append=True)
    ports = {name: _pick_port() for name in ("plain", "tls", "https")}
    texts = "\n".join(f"""  local-data: 'big.test. 300 IN TXT "{number:03}{"x" * 200}"'""" for number in range(40))
    config = UNBOUND.format(key=folder / "key.pem", cert=folder / "cert.pem", folder=folder, texts=texts, **ports)
    (folder / "unbound.conf").write_text(config)
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([program, "-d", "-c", str(folder / "unbound.conf")], stderr=log, stdout=log)
    try:
        _wait_for(process, ports["https"], log_path)
        yield SimpleNamespace(**ports, host="127.0.0.1", name="dns.test", https_built=_speaks_https(program))
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"unbound does not start: {log_path.read_text()}")


def _speaks_https(program: str) -> bool:
    return b"libnghttp2" in subprocess.run([program, "-V"], capture_output=True, check=False).stdout
