"""HTTP/1 requests on the wire (RFC 9112, RFC 9110): which hosts does a client name, and where does the request end?

What servers tolerate is read as they read it: bare line feeds, odd case, blanks around values, several Host fields (all
their names count). What they do not agree on is a FormError.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from guardian.errors import FormError
from guardian.wire.host import read_address, read_host_name

MAX_HEAD_BYTES = 16 * 1024  # with line ends in front of the request
MAX_METHOD_BYTES = 32
MAX_HOSTS = 8  # that one request may name
MAX_CHUNK_LINE_BYTES = 1024  # RFC 9112 section 7.1.1: extensions are to be bounded
MAX_TRAILER_BYTES = 16 * 1024

_START = re.compile(rb"[\r\n]*")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
# No "#": some servers cut the target there, others don't.
_REQUEST_LINE = re.compile(rb"([^ \t]+)[ \t]+([^\x00-\x20#\x7f]+)[ \t]+HTTP/1\.([0-9])[ \t]*\r?\Z", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n\r?\n")
_BAD_BYTES = re.compile(rb"\0|\r[^\n]")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)")
_USER = re.compile(rb"[0-9A-Za-z._~%!$&'()*+,;=:-]*\Z")
_PORT = re.compile(rb":[0-9]{0,9}\Z")
_FIELD = re.compile(rb"\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n]*+)\r?(?=\n)")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")

Buffer = bytes | bytearray | memoryview


class Request(NamedTuple):
    """The head of one request."""

    method: bytes  # as sent
    path: bytes  # path and query as sent; b"/" when the target has none
    names: tuple[bytes, ...]  # lower-case wire names of every host that is named, the target's first
    addresses: tuple[bytes, ...]  # packed addresses of every host that is an IP literal
    is_proxy: bool  # the target is a whole URL: a request to a proxy
    is_connect: bool
    upgrades: bool  # the connection may stop being HTTP
    length: int  # bytes of body; 0 when it has no Content-Length
    is_chunked: bool
    end: int  # offset behind the head


def read_request(stream: Buffer, start: int = 0) -> Request | None:
    """Return the request whose head begins at `start`, empty lines in front passed over; None: needs more bytes.

    Raises FormError: at once for bytes that begin no request line, at the first line end for one that is not HTTP/1
    (HTTP/0.9 and the preface of HTTP/2 are not), and for a head that servers read in different ways or that is longer
    than MAX_HEAD_BYTES.
    """
    data = bytes(stream[start : start + MAX_HEAD_BYTES])
    first = _START.match(data).end()  # type: ignore[union-attr]  # it matches everywhere
    _check_method(data, first)
    line_end = data.find(b"\n", first)
    line = _REQUEST_LINE.match(data[first:line_end]) if line_end >= 0 else None
    if line is None and line_end >= 0:
        raise FormError("request line is not HTTP/1")
    found = _HEAD_END.search(data, line_end) if line else None
    if _BAD_BYTES.search(data, first, found.end() if found else len(data)):
        raise FormError("NUL or a bare CR in a request head")
    if line is None or found is None:
        if len(data) == MAX_HEAD_BYTES:
            raise FormError("request head too long")
        return None
    method, target, minor = line.groups()
    is_connect = method.upper() == b"CONNECT"
    hosts, path, is_proxy = _read_target(target, is_connect)
    fields = _read_fields(data, line_end, found.start())
    if fields.is_chunked and minor == b"0":  # RFC 9112 section 6.1: some servers read a body, some don't
        raise FormError("Transfer-Encoding in HTTP/1.0")
    hosts += fields.hosts
    if len(hosts) > MAX_HOSTS:
        raise FormError("too many hosts in one request")
    names, addresses = _sort_hosts(hosts)
    return Request(
        method,
        path,
        names,
        addresses,
        is_proxy,
        is_connect,
        fields.upgrades,
        fields.length,
        fields.is_chunked,
        start + found.end(),
    )


def _check_method(data: bytes, first: int) -> None:
    end = _METHOD.match(data, first, first + MAX_METHOD_BYTES + 1).end()  # type: ignore[union-attr]  # may be empty
    if end - first > MAX_METHOD_BYTES or (end < len(data) and (end == first or data[end] not in b" \t")):
        raise FormError("not an HTTP request line")


def _read_target(target: bytes, is_connect: bool) -> tuple[list[bytes], bytes, bool]:
    """Authorities, path, and whether the form is absolute (RFC 9112 section 3.2)."""
    if target[0] == 0x2F:
        return [], target, False
    match = _ABSOLUTE.match(target)
    if match and not is_connect:
        path = target[match.end() :]
        if not path.startswith(b"/"):
            path = b"/" + path
        user, _, authority = match[1].rpartition(b"@")
        if not _USER.match(user):  # after "\\" or a second "@" readers find different hosts
            raise FormError("URL with a user name that is none")
        return [authority], path, True
    if target == b"*":
        return [], b"/", False
    return [target], b"/", False


class _Fields(NamedTuple):
    hosts: list[bytes]
    upgrades: bool
    length: int
    is_chunked: bool


def _read_fields(data: bytes, position: int, end: int) -> _Fields:
    """The fields behind the line feed at `position`, up to the one at `end` (RFC 9112 section 5)."""
    hosts: list[bytes] = []
    upgrades = is_chunked = False
    length: int | None = None
    while position < end:
        match = _FIELD.match(data, position)
        if match is None:  # also for a folded line, section 5.2, and for a blank before the colon, section 5.1
            raise FormError("field is not name: value")
        position = match.end()
        name = match[1].lower()
        if name == b"host":
            if value := match[2].rstrip(b" \t"):
                hosts.append(value)
        elif name == b"content-length":
            length = _read_length(match[2], length)
        elif name == b"transfer-encoding":
            if is_chunked or match[2].rstrip(b" \t").lower() != b"chunked":
                raise FormError("transfer coding is not chunked")
            is_chunked = True
        elif name == b"upgrade":
            upgrades = True
    if is_chunked and length is not None:  # section 6.3: an attempt at request smuggling
        raise FormError("Transfer-Encoding and Content-Length in one request")
    return _Fields(hosts, upgrades, length or 0, is_chunked)


def _read_length(value: bytes, before: int | None) -> int:
    value = value.rstrip(b" \t")
    if not _LENGTH.match(value):
        raise FormError("Content-Length is not a number")
    length = int(value)
    if before not in (None, length):
        raise FormError("Content-Length twice, with different numbers")
    return length


def _sort_hosts(hosts: list[bytes]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Names and addresses of `host` or `host:port`, each once."""
    names: list[bytes] = []
    addresses: list[bytes] = []
    for authority in hosts:
        port = _PORT.search(authority)
        host = authority[: port.start()] if port else authority
        address = read_address(host)
        if address is None:
            name = read_host_name(host)
            if name not in names:
                names.append(name)
        elif address not in addresses:
            addresses.append(address)
    return tuple(names), tuple(addresses)


# Where Body stands: _SIZE to _SIZE_CR in the line with a chunk's size, _TRAILER to _LAST_CR behind the last chunk.
_SIZE, _DIGITS, _PADDING, _EXTENSION, _SIZE_CR, _DATA, _DATA_CR, _DATA_LF = range(8)
_TRAILER, _TRAILER_LINE, _TRAILER_CR, _LAST_CR = range(8, 12)
_HEX = {ord(digit): int(digit, 16) for digit in "0123456789abcdefABCDEF"}
_TAB, _LF, _CR, _SPACE, _SEMICOLON = b"\t\n\r ;"


class Body:
    """Reads over the body of one request and keeps nothing of it (RFC 9112 sections 6 and 7)."""

    __slots__ = ("_is_chunked", "_left", "_line", "_state", "_trailer", "is_over")

    def __init__(self, length: int = 0, chunked: bool = False) -> None:
        self._is_chunked = chunked
        self._left = 0 if chunked else length  # bytes of the body, or of the chunk
        self._state = _SIZE if chunked else _DATA
        self._line = 0  # bytes of the line with the chunk's size
        self._trailer = 0  # bytes behind the last chunk
        self.is_over = not chunked and not length

    def feed(self, stream: Buffer, start: int = 0) -> tuple[int, bool]:
        """Take the body's bytes from `start` on; return the offset behind them and whether the body is over.

        Raises FormError for chunks that servers read in different ways: also for line ends that are not CR LF.
        """
        position = start
        end = len(stream)
        while position < end and not self.is_over:
            if self._state == _DATA:
                taken = min(self._left, end - position)
                position += taken
                self._left -= taken
                if not self._left:
                    self.is_over = not self._is_chunked
                    self._state = _DATA_CR
            else:
                self._take(stream[position])
                position += 1
        return position, self.is_over

    def _take(self, byte: int) -> None:
        """One byte of what stands between the data."""
        state = self._state
        if state <= _SIZE_CR:
            self._take_size(byte)
        elif state == _DATA_CR:
            self._expect(byte, _CR, _DATA_LF)
        elif state == _DATA_LF:
            self._expect(byte, _LF, _SIZE)
        else:
            self._take_trailer(byte)

    def _take_size(self, byte: int) -> None:
        self._line += 1
        if self._line > MAX_CHUNK_LINE_BYTES:
            raise FormError("line of a chunk too long")
        if self._state == _SIZE_CR:
            self._expect(byte, _LF, _DATA if self._left else _TRAILER)
            self._line = 0
        elif self._state <= _DIGITS and byte in _HEX:
            if self._line > 15:
                raise FormError("chunk too large")
            self._left = self._left << 4 | _HEX[byte]
            self._state = _DIGITS
        elif self._state == _SIZE:
            raise FormError("chunk without a size")
        elif byte == _CR:
            self._state = _SIZE_CR
        elif byte < 0x20 and byte != _TAB:
            raise FormError("control byte in the line of a chunk")
        elif byte == _SEMICOLON or self._state == _EXTENSION:
            self._state = _EXTENSION
        elif byte in (_TAB, _SPACE):  # some clients pad the size
            self._state = _PADDING
        else:
            raise FormError("size of a chunk is not a number")

    def _take_trailer(self, byte: int) -> None:
        """Fields behind the last chunk, up to an empty line (RFC 9112 section 7.1.2)."""
        self._trailer += 1
        if self._trailer > MAX_TRAILER_BYTES:
            raise FormError("trailer too long")
        if self._state == _TRAILER_CR:
            self._expect(byte, _LF, _TRAILER)
        elif self._state == _LAST_CR:
            self._expect(byte, _LF, _LAST_CR)
            self.is_over = True
        elif byte == _CR:
            self._state = _LAST_CR if self._state == _TRAILER else _TRAILER_CR
        elif byte in (0, _LF):
            raise FormError("NUL or a bare LF in a trailer")
        else:
            self._state = _TRAILER_LINE

    def _expect(self, byte: int, wanted: int, following: int) -> None:
        if byte != wanted:
            raise FormError("chunk does not end in CR LF")
        self._state = following
