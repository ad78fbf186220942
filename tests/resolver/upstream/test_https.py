"""DNS over HTTPS against unbound, hypercorn and servers that answer anything but DNS."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Transport, Upstream
from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.https import HttpDialog
from guardian.resolver.upstream.message import Query

DNS = (b"content-type", b"application/dns-message")
Respond = Callable[[bytes], list[tuple[bytes, Any]]]


def doh(port: int, ca_file: str, host: str = "dns.test", path: str = "/dns-query") -> Upstream:
    return Upstream(Transport.HTTPS, host, port, path, ("127.0.0.1",), ca_file)


def test_unbound_over_https(unbound: Any, ca_file: str, run: Any, opened: Any, net: Any) -> None:
    if not unbound.https_built:
        pytest.skip("this unbound is built without DoH")

    async def main() -> None:
        before = len(net.lookups)
        async with opened(doh(unbound.https, ca_file), timeout=3) as upstreams:
            answers = await asyncio.gather(*(upstreams.resolve(net.make_question("www.test")) for _ in range(150)))
            assert {answer.parsed.answers[0].rdata for answer in answers} == {b"\xc0\0\2\x50"}
            assert answers[0].source == f"https://dns.test:{unbound.https}/dns-query"
            long = await upstreams.resolve(net.make_question("big.test", 16))
            assert len(long.parsed.answers) == 40
            assert upstreams.status()[0].failures == 0
        assert net.lookups[before:] == []

    run(main())


def test_hypercorn_sees_a_post_and_nothing_about_us(
    authority: Any, tmp_path: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    seen: list[tuple[dict[str, Any], bytes]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        event = await receive()
        seen.append((scope, event["body"]))
        body = net.make_answer(event["body"])
        headers = [DNS, (b"set-cookie", b"you=1; Max-Age=999999")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    certificate = authority.issue_cert("dns.test")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    config = hypercorn.config.Config()
    config.certfile = config.keyfile = str(tmp_path / "server.pem")
    config.loglevel = "CRITICAL"

    async def main() -> None:
        port = net.pick_port()
        config.bind = [f"127.0.0.1:{port}"]
        stop = asyncio.Event()
        server = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        await net.wait_for_port(port)
        async with opened(doh(port, ca_file, path="/dns"), timeout=3) as upstreams:
            for number in range(3):
                answer = await upstreams.resolve(net.make_question(f"{number}.test"))
                assert net.read_address(answer.message) == "192.0.2.1"
        stop.set()
        await server
        for number, (scope, body) in enumerate(seen):
            assert (scope["http_version"], scope["method"], scope["path"]) == ("2", "POST", "/dns")
            assert body[:2] == b"\0\0"
            assert len(body) == 128
            assert net.read_question(body) == net.make_question(f"{number}.test")
            headers = dict(scope["headers"])
            assert headers.pop(b"content-length") == b"128"
            assert headers.pop(b":authority", headers.pop(b"host", None)) == f"dns.test:{port}".encode()
            headers.pop(b"host", None)
            assert headers == {b"accept": DNS[1], b"content-type": DNS[1]}

    run(main())


def serve_http(respond: Respond) -> Any:
    """An HTTP/2 server: `respond(body)` gives steps: (b"headers", list), (b"data", bytes), (b"end", None), ..."""

    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        http.initiate_connection()
        writer.write(http.data_to_send())
        bodies: dict[int, bytes] = {}
        while data := await reader.read(65536):
            for event in http.receive_data(data):
                if isinstance(event, RequestReceived):
                    bodies[event.stream_id or 0] = b""
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id or 0] += event.data or b""
                elif isinstance(event, StreamEnded):
                    stream = event.stream_id or 0
                    server.queries.append(bodies[stream])
                    with contextlib.suppress(ProtocolError):  # the client has reset the stream
                        for step in respond(bodies.pop(stream)):
                            await take_step(http, stream, step, reader, writer)
            writer.write(http.data_to_send())

    return serve


async def take_step(
    http: H2Connection,
    stream: int,
    step: tuple[bytes, Any],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    kind, value = step
    if kind == b"headers":
        http.send_headers(stream, value)
    elif kind == b"reset":
        http.reset_stream(stream)
    elif kind == b"goaway":
        http.close_connection()
    elif kind == b"raw":
        writer.write(http.data_to_send() + value)
    elif kind == b"end":
        http.end_stream(stream)
    while kind == b"data" and value:
        size = min(len(value), http.local_flow_control_window(stream), http.max_outbound_frame_size)
        if size:
            http.send_data(stream, value[:size])
            value = value[size:]
        writer.write(http.data_to_send())
        if not size:
            http.receive_data(await reader.read(65536))


def ok(*more: tuple[bytes, bytes]) -> tuple[bytes, Any]:
    return b"headers", [(b":status", b"200"), DNS, *more]


END = (b"end", None)
LIES: dict[str, tuple[Respond, str]] = {
    "html": (
        lambda body: [
            (b"headers", [(b":status", b"200"), (b"content-type", b"text/html")]),
            (b"data", b"<html>log in"),
            END,
        ],
        "content type 'text/html'",
    ),
    "status": (lambda body: [(b"headers", [(b":status", b"503"), DNS]), END], "HTTP status 503"),
    "redirect": (
        lambda body: [(b"headers", [(b":status", b"302"), (b"location", b"https://evil.test/")]), END],
        "HTTP status 302",
    ),
    "no type": (lambda body: [(b"headers", [(b":status", b"200")]), END], "content type ''"),
    "gzip": (lambda body: [ok((b"content-encoding", b"gzip")), END], "compressed"),
    "giant": (lambda body: [ok(), (b"data", bytes(300_000)), END], "longer than a DNS message"),
    "giant by its own words": (lambda body: [ok((b"content-length", b"99999999"))], "longer than a DNS message"),
    "empty": (lambda body: [ok(), END], "another question"),
    "garbage": (lambda body: [ok(), (b"data", b"\xff" * 40), END], "another question"),
    "the query": (lambda body: [ok(), (b"data", body), END], "another question"),
    "cut": (lambda body: [ok(), (b"data", body[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + body[12:]), END], "broken answer"),
    "truncated": (lambda body: [ok(), (b"data", body[:2] + b"\x83\x80" + body[4:]), END], "truncated"),
    "reset": (lambda body: [(b"reset", None)], "reset"),
    "goaway": (lambda body: [(b"goaway", None)], "closed the connection"),
    "not HTTP/2": (lambda body: [(b"raw", b"\xff" * 64)], "HTTP/2"),
    "silence": (lambda body: [], "in time"),
    "no end": (lambda body: [ok(), (b"data", b"\0")], "in time"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_dns_message_is_an_error(
    lie: str, make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    respond, text = LIES[lie]
    context = make_server_context("dns.test", protocols=("h2",))

    async def main() -> None:
        async with (
            net.StreamServer(serve_http(respond), context) as server,
            opened(doh(server.port, ca_file), timeout=0.4) as upstreams,
        ):
            for _ in range(2):
                with pytest.raises(UpstreamError, match=text):
                    await upstreams.resolve(net.make_question("www.test"))

    run(main())


def test_one_connection_for_all_and_a_new_one_after_goaway(
    make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    context = make_server_context("dns.test", protocols=("h2",))

    def respond(body: bytes) -> list[tuple[bytes, Any]]:
        steps = [ok(), (b"data", net.make_answer(body)), END]
        return [*steps, (b"goaway", None)] if b"last" in body else steps

    async def main() -> None:
        async with (
            net.StreamServer(serve_http(respond), context) as server,
            opened(doh(server.port, ca_file), timeout=3) as upstreams,
        ):
            await asyncio.gather(*(upstreams.resolve(net.make_question(f"{n}.test")) for n in range(90)))
            assert server.connections == 1
            for turn in range(2, 5):
                await upstreams.resolve(net.make_question("last.test"))
                await upstreams.resolve(net.make_question("www.test"))
                assert server.connections == turn
            assert upstreams.status()[0].failures == 0

    run(main())


@pytest.mark.parametrize(
    ("name", "protocols"), [("other.test", ("h2",)), ("dns.test", ("http/1.1",)), ("dns.test", ())]
)
def test_the_name_and_http2_are_required(
    name: str, protocols: tuple[str, ...], make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    async def main() -> None:
        context = make_server_context(name, protocols=protocols)
        async with (
            net.StreamServer(serve_http(lambda body: []), context) as server,
            opened(doh(server.port, ca_file), timeout=0.5) as upstreams,
        ):
            with pytest.raises(UpstreamError):
                await upstreams.resolve(net.make_question("www.test"))
            assert server.queries == []

    run(main())


QUERY = Query(b"\x03www\x04test\0\0\1\0\1")


def open_dialog() -> tuple[HttpDialog, H2Connection]:
    dialog = HttpDialog("dns.test", "/dns-query")
    peer = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    peer.initiate_connection()
    peer.receive_data(dialog.start())
    dialog.receive(peer.data_to_send())
    return dialog, peer


def test_a_forgotten_request_is_reset_and_its_answer_ignored() -> None:
    dialog, peer = open_dialog()
    key, data = dialog.ask(QUERY)
    peer.receive_data(data)
    reset = dialog.forget(key)
    peer.send_headers(key, [(b":status", b"200"), DNS])
    peer.send_data(key, b"late", end_stream=True)
    assert dialog.receive(peer.data_to_send())[0] == []
    assert reset[3] == 3  # RST_STREAM


def test_a_connection_is_full_at_the_servers_limits() -> None:
    dialog, peer = open_dialog()
    assert not dialog.full
    keys = [dialog.ask(QUERY)[0] for _ in range(100)]
    assert dialog.full
    dialog.forget(keys[0])
    assert not dialog.full
    while not dialog.full:  # the peer never opens its window of 65535 bytes
        dialog.forget(dialog.ask(QUERY)[0])
    dialog, peer = open_dialog()
    peer.update_settings({0x3: 1})
    dialog.receive(peer.data_to_send())
    dialog.ask(QUERY)
    assert dialog.full


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.integers(1, 200))
def test_damaged_http2_is_an_outcome_or_a_form_error(damage: list[tuple[int, int]], piece: int) -> None:
    dialog, peer = open_dialog()
    key, data = dialog.ask(QUERY)
    body = next(event.data for event in peer.receive_data(data) if isinstance(event, DataReceived)) or b""
    peer.send_headers(key, [(b":status", b"200"), DNS])
    answer = struct.pack(">6H", 0, 0x8180, 1, 0, 0, 0) + QUERY.question
    assert body.startswith(bytes(2))
    peer.send_data(key, answer, end_stream=True)
    stream = bytearray(peer.data_to_send())
    for place, value in damage:
        stream[place % len(stream)] = value
    try:
        for start in range(0, len(stream), piece):
            dialog.receive(bytes(stream[start : start + piece]))
    except FormError:
        return
    assert dialog.heard <= 2
