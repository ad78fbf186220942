"""What one UDP flow says in QUIC before it is encrypted: the ClientHellos of all connections that it opens.

There is one assembler for each connection, found by the keys that open its packets: a decoy with another connection id
does not hide the connection that the server will accept. Bytes that a server and we could see in different ways make
the flow UNREADABLE: another byte where one was seen, a version that we do not know, a packet that nothing opens.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from guardian.errors import FormError
from guardian.wire.quic import (
    INITIAL,
    VERSION_1,
    VERSION_2,
    ZERO_RTT,
    Cipher,
    Keys,
    LongHeader,
    derive_client_keys,
    is_long_header,
    open_initial,
    read_crypto,
    read_long_header,
    resembles_quic,
)
from guardian.wire.tls import ClientHello, parse_client_hello

MAX_CONNECTIONS: Final = 8  # of one flow
MAX_STREAM_BYTES: Final = 16 * 1024  # of one connection: its hellos; honest ones have 0.3 to 2 KB
MAX_FLOW_BYTES: Final = 32 * 1024
MAX_DATAGRAM_BYTES: Final = 4096  # with a long header; paths to the internet carry 1500
MAX_PACKETS: Final = 8  # in one datagram; honest clients put 3 into one
MAX_OPAQUE: Final = 16  # Initials that nothing opened
MAX_PENDING: Final = 64  # datagrams while a hello is not whole


class State(enum.Enum):
    """What is known of a flow. FOREIGN and WHOLE may become PENDING; UNREADABLE is for good."""

    FOREIGN = "foreign"  # nothing of QUIC so far
    PENDING = "pending"  # some connection has not shown its whole hello
    WHOLE = "whole"  # every connection has
    UNREADABLE = "unreadable"


class Reading(NamedTuple):
    """What one datagram showed."""

    hellos: tuple[ClientHello, ...]  # that this datagram completed
    state: State
    is_opaque: bool = (
        False  # holds an Initial that nothing opened: no use to an honest server, so not to be let through
    )


class QuicFlow:
    """The client's datagrams of one UDP flow, from the first. `reason` says why the flow is UNREADABLE."""

    __slots__ = ("_cipher", "_connections", "_has_data", "_opaque", "_pending", "reason", "state")

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher
        self._connections: list[_Connection] = []  # the one used last comes first
        self._has_data = False  # of the last datagram
        self._opaque = 0
        self._pending = 0
        self.state = State.FOREIGN
        self.reason = ""

    @property
    def opening_ids(self) -> list[bytes]:
        """The destination ids that made the keys of the connections seen so far: servers know connections by them."""
        return [connection.id for connection in self._connections]

    def read(self, datagram: bytes) -> Reading:
        """Return what the next UDP payload of the client shows. Raises nothing.

        While the state is PENDING the server must not get to work: hold the datagrams, or two flows together could show
        a hello that neither shows alone. A flow whose first datagram has no long header is FOREIGN, also when it is
        QUIC that moved here from another port: it has no hello to read.
        """
        if self.state is State.UNREADABLE:
            return Reading((), State.UNREADABLE)
        opaque_before = self._opaque
        self._has_data = False
        try:
            hellos = self._walk(datagram)
            self._update_state()
        except FormError as error:
            self.state = State.UNREADABLE
            self.reason = str(error)
            self._connections.clear()
            return Reading((), State.UNREADABLE)
        is_opaque = self._opaque != opaque_before or (self._has_data and self.state is State.PENDING)
        return Reading(hellos, self.state, is_opaque)

    def _walk(self, datagram: bytes) -> tuple[ClientHello, ...]:
        """Read all packets with a long header; what has none ends a datagram (RFC 9000 section 12.2)."""
        hellos: tuple[ClientHello, ...] = ()
        start = packets = 0
        size = len(datagram)
        while start < size and is_long_header(datagram[start]):
            header = read_long_header(datagram, start)
            if header is None:
                if resembles_quic(datagram, start):
                    raise FormError("unknown QUIC version")
                break
            packets += 1
            if packets > MAX_PACKETS or size > MAX_DATAGRAM_BYTES:
                raise FormError("QUIC datagram of too many packets or bytes")
            if header.kind == INITIAL:
                hellos += self._read_initial(datagram, start, header)
            else:
                if self.state is State.FOREIGN:
                    self.state = State.PENDING
                if header.kind != ZERO_RTT:
                    self._meet_data()
            start = header.end
        if not packets or datagram[start:].strip(b"\0"):  # some pad a datagram with zeros
            self._meet_data()
        return hellos

    def _meet_data(self) -> None:
        """A packet that a client sends once the server has answered: some hello must have been whole before it."""
        self._has_data = True
        if self.state is not State.FOREIGN and not any(connection.hellos for connection in self._connections):
            raise FormError("QUIC packets behind a hello that was not seen")

    def _read_initial(self, datagram: bytes, start: int, header: LongHeader) -> tuple[ClientHello, ...]:
        found = self._find_connection(datagram, start, header)
        if found is None:
            self._opaque += 1
            if not self._connections or self._opaque > MAX_OPAQUE:
                raise FormError("QUIC Initial that its connection id does not open")
            return ()
        connection, plaintext = found
        pieces = read_crypto(plaintext)
        if not pieces:
            return ()
        for offset, piece in pieces:
            connection.place(offset, piece)
        if sum(len(each.stream) for each in self._connections) > MAX_FLOW_BYTES:
            raise FormError("too many bytes of QUIC hellos in one flow")
        return connection.read_hellos()

    def _find_connection(self, datagram: bytes, start: int, header: LongHeader) -> tuple[_Connection, bytes] | None:
        """The connection whose keys open the packet, a new one if need be.

        Known keys first: the client's second flight goes to an id that the server chose, with the keys of the first.
        After a Retry the server's id makes the keys: that is a new connection to us, with the same hello.
        """
        version, identity = header.version, header.destination_id
        connections = self._connections
        opened = self._try_known(datagram, start, header, version)
        if opened is None and not any(connection.id == identity for connection in connections):
            connection = _Connection(identity)
            plaintext = connection.open(self._cipher, datagram, start, header, version)
            if plaintext is not None:
                if len(connections) >= MAX_CONNECTIONS:
                    raise FormError("too many QUIC connections in one flow")
                connections.insert(0, connection)
                opened = connection, plaintext
        if opened is None:  # aioquic writes version 2 and keeps the keys of 1 when the server went on in 2
            opened = self._try_known(datagram, start, header, VERSION_1 if version == VERSION_2 else VERSION_2)
        return opened

    def _try_known(
        self, datagram: bytes, start: int, header: LongHeader, version: int
    ) -> tuple[_Connection, bytes] | None:
        connections = self._connections
        for index, connection in enumerate(connections):
            plaintext = connection.open(self._cipher, datagram, start, header, version)
            if plaintext is not None:
                if index:
                    connections.insert(0, connections.pop(index))
                return connection, plaintext
        return None

    def _update_state(self) -> None:
        """A connection that only repeats a whole one counts as whole: a Retry may have ended it half-way."""
        connections = self._connections
        if connections:
            whole = [connection for connection in connections if connection.is_whole]
            is_whole = whole and (
                len(whole) == len(connections)
                or all(each.is_whole or any(map(each.repeats, whole)) for each in connections)
            )
            self.state = State.WHOLE if is_whole else State.PENDING
        if self.state is State.PENDING:
            self._pending += 1
            if self._pending > MAX_PENDING:
                raise FormError("QUIC hello does not end")


class _Connection:
    """One attempt to connect: the keys of its first destination id, and its CRYPTO stream."""

    __slots__ = ("_keys", "_known", "_largest", "_parsed", "_seen", "hellos", "id", "stream")

    def __init__(self, destination_id: bytes) -> None:
        self.id = destination_id
        self.stream = bytearray()
        self.hellos = 0  # how many
        self._keys: dict[int, Keys] = {}  # version: a server may go on in version 2 (RFC 9369 section 4.1)
        self._largest = -1  # packet number
        self._known = 0  # bytes without a hole
        self._parsed = 0  # bytes of whole hellos
        self._seen = bytearray()  # 0xff where a byte of `stream` was seen; empty: everywhere

    @property
    def is_whole(self) -> bool:
        """Whether the hello, and any second after a HelloRetryRequest, is whole."""
        return self.hellos > 0 and self._parsed == len(self.stream)

    def open(self, cipher: Cipher, datagram: bytes, start: int, header: LongHeader, version: int) -> bytes | None:
        """Return the plaintext of the Initial, or None when the keys that `version` makes of our id do not open it."""
        keys = self._keys.get(version)
        if keys is None:
            keys = self._keys[version] = derive_client_keys(version, self.id)
        opened = open_initial(datagram, start, header, keys, cipher, self._largest)
        if opened is None:
            return None
        if opened.number > self._largest:
            self._largest = opened.number
        return opened.plaintext

    def place(self, offset: int, piece: bytes) -> None:
        """Put bytes into the stream. Raises FormError when it gets too long, or another byte was seen at a position."""
        end = offset + len(piece)
        if end > MAX_STREAM_BYTES:
            raise FormError("QUIC hello too long")
        stream = self.stream
        if not self._seen and offset <= len(stream):  # in order, so far: the usual client
            overlap = len(stream) - offset
            if overlap and stream[offset:end] != piece[:overlap]:
                raise FormError("QUIC hello with other bytes than before")
            stream += piece[overlap:]
            self._known = len(stream)
        elif piece:
            self._place_anywhere(offset, end, piece)

    def _place_anywhere(self, offset: int, end: int, piece: bytes) -> None:
        stream, seen = self.stream, self._seen
        if not seen:
            seen += b"\xff" * len(stream)
        if end > len(stream):
            missing = bytes(end - len(stream))
            stream += missing
            seen += missing
        mask = int.from_bytes(seen[offset:end])
        if mask and (int.from_bytes(stream[offset:end]) ^ int.from_bytes(piece)) & mask:
            raise FormError("QUIC hello with other bytes than before")
        stream[offset:end] = piece
        seen[offset:end] = b"\xff" * len(piece)
        hole = seen.find(0, self._known)
        if hole < 0:
            hole = len(stream)
            seen.clear()
        self._known = hole

    def read_hellos(self) -> tuple[ClientHello, ...]:
        """Return the hellos that became whole since the last call. Raises FormError as `parse_client_hello` does."""
        hellos: tuple[ClientHello, ...] = ()
        while self._parsed < self._known:
            hello = parse_client_hello(self.stream[self._parsed : self._known])
            if hello is None:
                break
            self._parsed += hello.end
            self.hellos += 1
            hellos += (hello,)
        return hellos

    def repeats(self, other: _Connection) -> bool:
        """Whether all bytes seen so far stand at the same place in the stream of `other`, which is whole."""
        stream = self.stream
        if len(stream) > len(other.stream):
            return False
        differences = int.from_bytes(stream) ^ int.from_bytes(other.stream[: len(stream)])
        return not differences & (int.from_bytes(self._seen) if self._seen else -1)
