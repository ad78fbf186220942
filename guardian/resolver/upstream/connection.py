"""One connection to an upstream with many queries on it (RFC 7766 section 6.2.1.1), over TCP or TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.message import Query, Reply
from guardian.wire.dns import EDE_NETWORK_ERROR

if TYPE_CHECKING:
    from guardian.resolver.upstream.tls import TlsLayer

SHORT_SILENCE = 0.3  # seconds without any answer after which a repeated query wants another connection
LONG_SILENCE = 1.0  # the same for a new query

CLOSED_BY_SERVER = "the server closed the connection"

Outcome = tuple[int, Reply | UpstreamError]


class ConnectionLostError(UpstreamError):
    """The connection went away before the answer came; another one may do."""


class Dialog(Protocol):
    """What is spoken on a connection, as bytes in, bytes out: DNS frames or HTTP/2."""

    @property
    def full(self) -> bool:
        """Whether no further query fits on this connection now."""

    @property
    def ended(self) -> bool:
        """Whether the peer will answer nothing more."""

    @property
    def heard(self) -> int:
        """The number of answers that came, those that nobody waits for any more included."""

    def start(self) -> bytes:
        """Return what the client says first."""

    def ask(self, query: Query) -> tuple[int, bytes]:
        """Return the query's key on this connection, and the bytes to send."""

    def receive(self, data: bytes) -> tuple[list[Outcome], bytes]:
        """Return what the peer's bytes settle, and bytes to send. Raises FormError: no more can be said here."""

    def forget(self, key: int) -> bytes:
        """Give a query up; return bytes to send."""


class Connection(asyncio.Protocol):
    """An open connection. `ready` is done when queries may go, `lost` when the socket is closed."""

    def __init__(self, dialog: Dialog, tls: TlsLayer | None, protocol: str, idle: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.tls = tls
        self.retired = False  # no new queries; closes with its last one
        self.served = False  # it has brought an answer
        self._dialog = dialog
        self._protocol = protocol  # that ALPN must agree on; "" = any
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._silent_since: float | None = None  # when the first query after the last answer was sent
        self._used = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""

    @property
    def full(self) -> bool:
        """Whether it is open, but without room for another query."""
        return not self.lost.done() and self._dialog.full

    def usable(self, silence: float) -> bool:
        """Tell whether to send here: open, with room, and not silent for `silence` seconds while queries wait."""
        if self.retired or self.lost.done() or self._transport is None or self._transport.is_closing():
            return False
        if self._silent_since is not None and self._loop.time() - self._silent_since >= silence:
            return False
        return not self._dialog.full

    async def ask(self, query: Query) -> Reply:
        """Return the reply. Raises UpstreamError; ConnectionLostError when the connection ended first."""
        if not self.usable(float("inf")):
            raise ConnectionLostError(self._reason or "the connection was closed", EDE_NETWORK_ERROR)
        key, data = self._dialog.ask(query)
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._pending[key] = future
        self._used = self._loop.time()
        if self._silent_since is None:
            self._silent_since = self._used
        self._write(data)
        try:
            return await future
        finally:
            if self._pending.pop(key, None) is not None:  # nobody waits any more
                self._forget(key)
            if self.retired and not self._pending:
                self.drop("retired")

    def retire(self) -> None:
        """Take no new queries, and close after the last."""
        self.retired = True
        if not self._pending:
            self.drop("retired")

    def drop(self, reason: str) -> None:
        """Close at once; queries that wait fail."""
        self._reason = self._reason or reason
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.tls is not None and self.tls.established:
            self.tls.say_goodbye()
            transport.write(self.tls.take())
        transport.abort()  # close() would wait for a peer that does not read

    def _drop_for(self, error: OSError) -> None:
        """Close after a failure of TLS. OpenSSL, which is 3 MB, is loaded only where a server is asked over TLS."""
        import ssl

        from guardian.resolver.upstream.tls import explain_failure

        if not isinstance(error, ssl.SSLError):
            raise error
        self.drop(explain_failure(error))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.tls is None:
            self._begin()
            return
        self.tls.start()
        transport.write(self.tls.take())

    def data_received(self, data: bytes) -> None:
        try:
            if self.tls is not None:
                data = self._decrypt(self.tls, data)
            if not data:
                return
            heard = self._dialog.heard
            outcomes, out = self._dialog.receive(data)
        except OSError as error:
            self._drop_for(error)
            return
        except FormError as error:
            self.drop(str(error))
            return
        self._write(out)
        for key, outcome in outcomes:
            self._settle(key, outcome)
        if self._dialog.heard != heard:
            self._used = self._loop.time()
            self._silent_since = self._used if self._pending else None
        if self._dialog.ended or (self.tls is not None and self.tls.ended):
            self.drop(CLOSED_BY_SERVER)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._reason or (str(exc) if exc else CLOSED_BY_SERVER)
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
        error = ConnectionLostError(reason, EDE_NETWORK_ERROR)
        _fail(self.ready, error)
        for future in self._pending.values():
            _fail(future, error)
        self._pending.clear()
        self.lost.set_result(None)

    def _decrypt(self, tls: TlsLayer, data: bytes) -> bytes:
        shaken = tls.established
        transport = self._transport
        assert transport is not None
        try:
            plain = tls.receive(data)
        finally:
            if out := tls.take():  # after a failure this is the alert that tells the peer why
                transport.write(out)
        if tls.established and not shaken:
            if self._protocol and tls.protocol != self._protocol:
                raise FormError(f"the server does not speak {self._protocol}")
            self._begin()
        if tls.ended and not plain:
            self.drop(CLOSED_BY_SERVER)
        return plain

    def _begin(self) -> None:
        self._write(self._dialog.start())
        self._timer = self._loop.call_later(self._idle, self._close_idle)
        if not self.ready.done():
            self.ready.set_result(None)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        if self.tls is not None:
            try:
                self.tls.send(data)
            except OSError as error:
                self._drop_for(error)
                return
            data = self.tls.take()
        transport.write(data)

    def _forget(self, key: int) -> None:
        self._write(self._dialog.forget(key))
        # A query that lost a race within milliseconds is no sign of a dead connection.
        since = self._silent_since
        if not self._pending and since is not None and self._loop.time() - since < SHORT_SILENCE:
            self._silent_since = None

    def _settle(self, key: int, outcome: Reply | UpstreamError) -> None:
        future = self._pending.pop(key, None)
        if future is None:
            return
        if isinstance(outcome, UpstreamError):
            _fail(future, outcome)
        else:
            self.served = True
            if not future.done():
                future.set_result(outcome)

    def _close_idle(self) -> None:
        rest = self._used + self._idle - self._loop.time()
        if rest <= 0 and not self._pending:
            self.drop("idle")
        else:
            self._timer = self._loop.call_later(max(rest, 1.0), self._close_idle)


def _fail(future: asyncio.Future[Reply] | asyncio.Future[None], error: UpstreamError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who waited may just have been cancelled; then nobody is to hear of it
