"""DNS over HTTPS (RFC 8484): one HTTP/2 connection, spoken with `h2` as bytes in, bytes out.

No HTTP client library: none of cookies, redirects, proxies, encodings or its own name lookups is wanted here, and `h2`
alone costs a fifth of the memory. This module is imported when an https upstream is configured.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.connection import Outcome
from guardian.resolver.upstream.message import Query, Reply, build_query, read_reply
from guardian.wire.dns import EDE_NO_REACHABLE_AUTHORITY

PROTOCOL = "h2"
CONTENT_TYPE = b"application/dns-message"
LARGEST_BODY = 65535  # bytes
SMALLEST_WINDOW = 1024  # bytes of the peer's window that a query needs: a padded one has 384 at most
MOST_QUERIES = 100_000  # on one connection
MOST_STREAMS = 100  # at a time on one connection
LONG_BODY = 16384  # bytes; more than that of several answers at a time is held only up to
MOST_HELD = 1_048_576  # bytes of all unfinished bodies on one connection
LARGEST_FRAME = 16384  # bytes; what we allow by RFC 9113 section 4.2
FRAME_HEAD = 9  # bytes
LARGEST_HEADERS = 16384  # bytes


class _Exchange:
    """One request that waits: what has come of its response."""

    __slots__ = ("body", "problem", "query")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.body = bytearray()
        self.problem = "no response headers"


class _FrameWatch:
    """Refuses a frame that is too long at its head; `h2` would hold all its 16 MB before it looks."""

    __slots__ = ("_head", "_rest")

    def __init__(self) -> None:
        self._head = b""  # the first bytes of a frame's head, until there are 3
        self._rest = 0  # bytes until the next head

    def check(self, data: bytes) -> None:
        """Follow the frames in `data`. Raises FormError."""
        position = 0
        while position < len(data):
            if self._rest:
                step = min(self._rest, len(data) - position)
                self._rest -= step
                position += step
                continue
            part = data[position : position + 3 - len(self._head)]
            position += len(part)
            self._head += part
            if len(self._head) == 3:
                size = int.from_bytes(self._head)
                if size > LARGEST_FRAME:
                    raise FormError("HTTP/2: a frame that is too long")
                self._head = b""
                self._rest = FRAME_HEAD - 3 + size


class HttpDialog:
    """The requests on one HTTP/2 connection. Every path is fixed; only the body differs."""

    def __init__(self, authority: str, path: str) -> None:
        self.heard = 0
        self.ended = False  # the server sent GOAWAY; `h2` reads nothing after that
        self._authority = authority
        self._path = path
        self._asked = 0
        self._exchanges: dict[int, _Exchange] = {}
        self._watch = _FrameWatch()
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.local_settings.update(
            {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: LARGEST_HEADERS}
        )

    @property
    def full(self) -> bool:
        """Whether the server takes no further request on this connection now."""
        http = self._http
        return (
            self._asked >= MOST_QUERIES
            or len(self._exchanges) >= min(MOST_STREAMS, http.remote_settings.max_concurrent_streams)
            or min(http.outbound_flow_control_window, http.remote_settings.initial_window_size) < SMALLEST_WINDOW
        )

    def start(self) -> bytes:
        """Return the preface and our settings."""
        self._http.initiate_connection()
        return self._take()

    def ask(self, query: Query) -> tuple[int, bytes]:
        """Return the stream id and a POST with the padded query; its DNS id is 0 (RFC 8484 section 4.1)."""
        body = build_query(query, 0, padded=True)
        stream = self._http.get_next_available_stream_id()
        self._asked += 1
        self._exchanges[stream] = _Exchange(query)
        self._http.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", self._authority),
                (":path", self._path),
                ("accept", CONTENT_TYPE.decode()),
                ("content-type", CONTENT_TYPE.decode()),
                ("content-length", str(len(body))),
            ],
        )
        self._http.send_data(stream, body, end_stream=True)
        return stream, self._take()

    def receive(self, data: bytes) -> tuple[list[Outcome], bytes]:
        """Return the requests that `data` settles, and what to send. Raises FormError on broken HTTP/2."""
        outcomes: list[Outcome] = []
        try:
            self._watch.check(data)
            for event in self._http.receive_data(data):
                self._handle(event, outcomes)
        except ProtocolError as error:
            raise FormError(f"HTTP/2: {error}") from None
        return outcomes, self._take()

    def forget(self, key: int) -> bytes:
        """Reset the stream of a request that nobody waits for."""
        self._drop(key)
        return self._take()

    def _handle(self, event: Event, outcomes: list[Outcome]) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended = True
            return
        if isinstance(event, DataReceived):
            self._read_data(event, outcomes)
            return
        if not isinstance(event, (ResponseReceived, StreamEnded, StreamReset)):
            return
        self.heard += 1
        stream = event.stream_id
        exchange = self._exchanges.get(stream) if stream is not None else None
        if exchange is None or stream is None:
            return
        if isinstance(event, ResponseReceived):
            exchange.problem = _find_problem(event.headers or [])
            if exchange.problem:
                self._drop(stream)
                outcomes.append((stream, _fail(exchange.problem)))
            return
        del self._exchanges[stream]
        if isinstance(event, StreamReset):
            outcomes.append((stream, _fail("the server reset the request")))
        else:
            outcomes.append((stream, _read_body(exchange)))

    def _read_data(self, event: DataReceived, outcomes: list[Outcome]) -> None:
        assert event.stream_id is not None
        if event.flow_controlled_length:
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        exchange.body += event.data or b""
        size = len(exchange.body)
        if size > LARGEST_BODY or (size > LONG_BODY and self._count_held() > MOST_HELD):
            self._drop(event.stream_id)
            outcomes.append((event.stream_id, _fail("a body longer than a DNS message")))

    def _count_held(self) -> int:
        return sum(len(exchange.body) for exchange in self._exchanges.values())

    def _drop(self, stream: int) -> None:
        if self._exchanges.pop(stream, None) is None:
            return
        try:
            self._http.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError:  # the connection or the stream has ended on the other side: nothing to reset
            return

    def _take(self) -> bytes:
        return self._http.data_to_send() or b""


def _find_problem(headers: list[tuple[bytes, bytes]]) -> str:
    """Why the response is not a DNS message, "" when it may be one."""
    fields = {name.lower(): value for name, value in headers}
    status = fields.get(b":status", b"")
    if status != b"200":
        return f"HTTP status {status[:3].decode('latin-1')}"
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        return f"HTTP content type {kind[:40].decode('latin-1')!r}"
    if fields.get(b"content-encoding", b"identity") != b"identity":
        return "a compressed body that was not asked for"
    size = fields.get(b"content-length", b"0")
    return "a body longer than a DNS message" if int(size) > LARGEST_BODY else ""


def _read_body(exchange: _Exchange) -> Reply | UpstreamError:
    if exchange.problem:
        return _fail(exchange.problem)
    try:
        reply = read_reply(bytes(exchange.body), 0, exchange.query)
    except FormError as error:
        return _fail(f"broken answer: {error}")
    if reply is None:
        return _fail("an answer to another question")
    return _fail("a truncated answer over HTTPS") if reply.truncated else reply


def _fail(reason: str) -> UpstreamError:
    return UpstreamError(reason, EDE_NO_REACHABLE_AUTHORITY)
