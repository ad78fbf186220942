"""DNS messages on a stream, each behind its length (RFC 1035 section 4.2.2, RFC 7766), answers in any order."""

from __future__ import annotations

from guardian.errors import FormError, UpstreamError
from guardian.resolver.upstream.connection import Outcome
from guardian.resolver.upstream.message import Query, build_query, draw_id, read_reply
from guardian.wire.dns import EDE_NO_REACHABLE_AUTHORITY, HEADER_BYTES

MOST_STRAYS = 1000  # messages in a row that answer nothing: late ones are normal, a flood is not
MOST_PENDING = 4096  # of 65536 ids: a free one is found at once


class FrameDialog:
    """Which queries wait on one connection, and the bytes of an unfinished frame (at most 64 KiB and one read)."""

    def __init__(self, padded: bool) -> None:
        self.heard = 0
        self.ended = False  # DNS has no goodbye
        self._padded = padded
        self._queries: dict[int, Query] = {}
        self._buffer = bytearray()
        self._strays = 0

    @property
    def full(self) -> bool:
        """Whether too many queries wait."""
        return len(self._queries) >= MOST_PENDING

    def start(self) -> bytes:
        """Return nothing: DNS has no greeting."""
        return b""

    def ask(self, query: Query) -> tuple[int, bytes]:
        """Return the id chosen for the query and its frame, in one piece (RFC 7766 section 8)."""
        ident = draw_id()
        while ident in self._queries:
            ident = draw_id()
        self._queries[ident] = query
        message = build_query(query, ident, padded=self._padded)
        return ident, len(message).to_bytes(2) + message

    def receive(self, data: bytes) -> tuple[list[Outcome], bytes]:
        """Return the queries that `data` settles. Raises FormError when this cannot be DNS."""
        buffer = self._buffer
        buffer += data
        outcomes: list[Outcome] = []
        start = 0
        while len(buffer) - start >= 2:
            size = int.from_bytes(buffer[start : start + 2])
            if size < HEADER_BYTES:
                raise FormError("a frame shorter than a DNS header")
            end = start + 2 + size
            if end > len(buffer):
                break
            self._read_frame(bytes(buffer[start + 2 : end]), outcomes)
            start = end
        del buffer[:start]
        return outcomes, b""

    def forget(self, key: int) -> bytes:
        """Give a query up; its late answer will be a stray."""
        self._queries.pop(key, None)
        return b""

    def _read_frame(self, message: bytes, outcomes: list[Outcome]) -> None:
        self.heard += 1
        ident = int.from_bytes(message[:2])
        query = self._queries.pop(ident, None)
        if query is None:
            self._strays += 1
            if self._strays > MOST_STRAYS:
                raise FormError("a flood of answers to nothing")
            return
        self._strays = 0
        try:
            reply = read_reply(message, ident, query)
        except FormError as error:
            outcomes.append((ident, UpstreamError(f"broken answer: {error}", EDE_NO_REACHABLE_AUTHORITY)))
            return
        if reply is None:  # nobody but the server can write here: it did not read the question
            error_text = "an answer to another question"
        elif reply.truncated:
            error_text = "a truncated answer over a stream"
        else:
            outcomes.append((ident, reply))
            return
        outcomes.append((ident, UpstreamError(error_text, EDE_NO_REACHABLE_AUTHORITY)))
