"""The lab's HTTP/3 servers, on UDP port 443 of every address, QUIC v1 and v2 (RFC 9000, 9369, 9114)."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent

from tests.netns.lab import plan
from tests.netns.lab.pages import DNS_MESSAGE, TICKS_PER_SECOND, Page, is_doh, page_of, read_doh
from tests.netns.lab.seen import SeenWriter
from tests.netns.lab.zone import Zone

IDLE_SECONDS = 120.0

_pull_client_hello = tls.pull_client_hello


class Protocol(QuicConnectionProtocol):
    """One connection of a client."""

    note: SeenWriter
    zone: Zone
    # The connection whose datagram is being read: aioquic tells nobody which server name a ClientHello had.
    reading: Protocol | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http: H3Connection | None = None
        self._requests: dict[int, tuple[dict[str, str], bytes]] = {}
        self._streams: set[asyncio.Task[None]] = set()
        self._peer: tuple[Any, ...] = ("", 0)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self._peer = addr
        Protocol.reading = self
        try:
            super().datagram_received(data, addr)
        finally:
            Protocol.reading = None

    def on_hello(self, name: str) -> None:
        """Note the name of a ClientHello that the TLS of this server has read."""
        assert self._transport is not None
        self.note("quic-hello", name, self._transport.get_extra_info("sockname"), self._peer)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            for stream in self._streams:
                stream.cancel()
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is not None:
            for told in self._http.handle_event(event):
                self._on_http(told)

    def _on_http(self, event: H3Event) -> None:
        if not isinstance(event, HeadersReceived | DataReceived):
            return
        headers, body = self._requests.get(event.stream_id, ({}, b""))
        if isinstance(event, HeadersReceived):
            headers = {name.decode(): value.decode() for name, value in event.headers}
        else:
            body += event.data
        self._requests[event.stream_id] = headers, body
        if event.stream_ended:
            del self._requests[event.stream_id]
            self._answer(event.stream_id, headers, body)

    def _answer(self, stream: int, headers: dict[str, str], body: bytes) -> None:
        assert self._http is not None and self._transport is not None
        name, method, target = headers[":authority"].partition(":")[0], headers[":method"], headers[":path"]
        local = self._transport.get_extra_info("sockname")
        if is_doh(target):
            answer = self.zone.answer(read_doh(target, body), local[0])
            self.note("doh", answer[0] if answer else "", local, self._peer, answer[1] if answer else "")
            page = Page(200, answer[2], kind=DNS_MESSAGE) if answer else Page(404)
        else:
            self.note("h3", name, local, self._peer, f"{method} {target}")
            page = page_of(name, method, target, body)
        self._http.send_headers(
            stream, [(b":status", str(page.status).encode()), (b"content-type", page.kind.encode())]
        )
        self._http.send_data(stream, page.body, end_stream=not page.rate)
        self.transmit()
        if page.rate:
            task = asyncio.get_running_loop().create_task(self._send_stream(stream, page))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)

    async def _send_stream(self, stream: int, page: Page) -> None:
        assert self._http is not None
        while True:
            await asyncio.sleep(1 / TICKS_PER_SECOND)
            try:
                self._http.send_data(stream, bytes(page.rate // TICKS_PER_SECOND), end_stream=False)
            except RuntimeError:  # the client has reset the stream
                return
            self.transmit()


def _pull_and_note(buf: Buffer) -> tls.ClientHello:
    hello = _pull_client_hello(buf)
    if Protocol.reading is not None:
        Protocol.reading.on_hello(hello.server_name or "")
    return hello


def start(note: SeenWriter, zone: Zone, folder: Path) -> None:
    """Serve HTTP/3 in a thread of its own until the process ends; returns when it listens."""
    Protocol.note, Protocol.zone = note, zone
    tls.pull_client_hello = _pull_and_note
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], idle_timeout=IDLE_SECONDS)
    configuration.load_cert_chain(folder / "server.pem", folder / "server.pem")
    ready = threading.Event()

    async def run() -> None:
        for address in plan.server_addresses():
            await serve(address, plan.QUIC, configuration=configuration, create_protocol=Protocol)
        ready.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    if not ready.wait(20):
        raise OSError(f"HTTP/3 cannot listen on {socket.gethostname()}")
