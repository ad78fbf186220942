"""QUIC over sockets of the tablet: whole visits by aioquic, and Initials that nobody honest sends."""

from __future__ import annotations

import random
import select
import socket
import ssl
import time
from collections.abc import Iterable

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion

from tests.netns.evasion.wire import PATIENCE
from tests.wire import hellos
from tests.wire.initials import varint

VERSIONS = {1: QuicProtocolVersion.VERSION_1, 2: QuicProtocolVersion.VERSION_2}


def visit(client: socket.socket, name: str, *, version: int = 1, seconds: float = PATIENCE) -> bytes:
    """Fetch a page over a connected socket; b"" when none came. A socket can be used for several visits."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=name)
    configuration.verify_mode = ssl.CERT_NONE
    configuration.supported_versions = [VERSIONS[version]]
    configuration.original_version = VERSIONS[version]
    quic = QuicConnection(configuration=configuration)
    http = H3Connection(quic)
    address = client.getpeername()
    quic.connect(address, time.monotonic())
    fields = {":method": "GET", ":scheme": "https", ":authority": name, ":path": "/"}
    http.send_headers(
        quic.get_next_available_stream_id(), [(key.encode(), value.encode()) for key, value in fields.items()], True
    )
    body = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not body.endswith(b"\n"):
        if not _turn(quic, client, address):
            break
        while (event := quic.next_event()) is not None:
            body += b"".join(told.data for told in http.handle_event(event) if isinstance(told, DataReceived))
    quic.close()
    _flush(quic, client)
    return body


def _turn(quic: QuicConnection, client: socket.socket, address: tuple[object, ...]) -> bool:
    """Send what is to be sent and take what comes; False when the other side cannot be reached."""
    if not _flush(quic, client):
        return False
    timer = quic.get_timer()
    wait = 0.2 if timer is None else min(max(timer - time.monotonic(), 0.001), 0.2)
    if select.select([client], [], [], wait)[0]:
        try:
            data = client.recv(65536)
        except OSError:  # refused
            return False
        quic.receive_datagram(data, address, time.monotonic())
    elif timer is not None and time.monotonic() >= timer:
        quic.handle_timer(time.monotonic())
    return True


def _flush(quic: QuicConnection, client: socket.socket) -> bool:
    try:
        for datagram, _ in quic.datagrams_to_send(time.monotonic()):
            client.send(datagram)
    except OSError:
        return False
    return True


def send(client: socket.socket, datagrams: Iterable[bytes], pause: float = 0.03) -> None:
    """Send datagrams, also when an earlier one was refused."""
    for datagram in datagrams:
        try:
            client.send(datagram)
        except OSError:
            client.send(datagram)
        time.sleep(pause)


def is_refused(client: socket.socket, seconds: float = 3.0) -> bool:
    """Tell whether an ICMP refusal came: browsers take TCP then, at once."""
    client.settimeout(seconds)
    try:
        client.recv(65536)
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def build_hello(name: str, source_id: bytes, *, post_quantum: bool = False) -> bytes:
    """A ClientHello message as it stands in CRYPTO frames."""
    parameters = varint(0x0F) + varint(len(source_id)) + source_id
    parameters += b"".join(varint(key) + varint(4) + varint(1 << 20, 4) for key in (4, 5, 6, 7))
    extensions = hellos.make_extensions(name, post_quantum=post_quantum, protocols=("h3",))
    return hellos.assemble([*extensions, (57, parameters)], session=b"", suites=(0x1301, 0x1302, 0x1303))


def make_ids() -> tuple[bytes, bytes]:
    """Fresh destination and source ids."""
    return random.randbytes(8), random.randbytes(8)
