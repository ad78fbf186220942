"""TLS handshakes, bounded from a connection's first moment.

asyncio tells a server of a connection when its handshake is done, and waits a minute for that. Who opens connections
and says nothing would take all file descriptors of the console, and 300 KB of memory for each.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

MOST_HANDSHAKES, MOST_OF_SOURCE = 64, 8  # that are not done yet
HANDSHAKE_SECONDS = 10
GOODBYE_SECONDS = 3  # for the other side's part of TLS's end
BUFFER_BYTES = 32 * 1024  # a TLS record has 16 KB; asyncio takes 256 KB for each connection


class Handshakes:
    """Those that are not done yet, the oldest first. One loop uses it."""

    def __init__(self) -> None:
        self._open: dict[Handshake, None] = {}
        self._closed = False

    def begin(self, handshake: Handshake) -> None:
        """Count one. Where there are too many, the oldest goes: of its source, else of the source with the most."""
        self._open[handshake] = None
        if self._closed:
            handshake.cut()
            return
        count = Counter(other.source for other in self._open)
        if count[handshake.source] > MOST_OF_SOURCE:
            crowded = {handshake.source}
        elif len(self._open) > MOST_HANDSHAKES:
            crowded = {source for source, number in count.items() if number == max(count.values())}
        else:
            return
        oldest = next(other for other in self._open if other.source in crowded)
        log.debug("event=too-many-handshakes address=%s all=%d", oldest.source, len(self._open))
        oldest.cut()

    def end(self, handshake: Handshake) -> None:
        """Count one no more: it is done, or its connection is gone. May be called twice."""
        self._open.pop(handshake, None)

    def close(self) -> None:
        """End all connections that have not come further, also those that are just coming."""
        self._closed = True
        for handshake in list(self._open):
            handshake.cut()


class Handshake(SSLProtocol):
    """What asyncio has between a socket and a connection that is encrypted, counted until the handshake is done."""

    max_size = BUFFER_BYTES
    source = ""  # the address at the other end

    def __init__(
        self, all_: Handshakes, context: ssl.SSLContext, make: Callable[[Callable[[], None]], asyncio.Protocol]
    ) -> None:
        """`make(on_done)` returns the protocol behind it, which calls `on_done` when it is told of its connection."""
        self._all = all_
        super().__init__(
            asyncio.get_running_loop(),
            make(lambda: all_.end(self)),
            context,
            None,  # type: ignore[arg-type]  # nobody waits for it, as with every server's
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.source = (transport.get_extra_info("peername") or ("",))[0]
        self._raw = transport
        super().connection_made(transport)
        self._all.begin(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, done or not."""
        self._all.end(self)
        super().connection_lost(exc)

    def cut(self) -> None:
        """End the connection at once."""
        self._all.end(self)
        self._raw.abort()
