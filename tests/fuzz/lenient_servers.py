"""Servers that take everything that some server is known to take: they read names out of a stream."""

from __future__ import annotations

import re

from tests.fuzz.linux_receiver import Application

HEAD_END = re.compile(rb"\r?\n\r?\n")
RETRY_BYTES = 105  # of a HelloRetryRequest
FLIGHT_BYTES = 1600  # hello, certificate, finished
EARLY_DATA = b"\0\x2a\0\0"  # the extension; elsewhere these bytes would only make the server more lenient


def normalize(name: bytes) -> bytes:
    return name.strip().lower().rstrip(b".")


def read_name(body: bytes) -> bytes | None:
    """The first host name of a ClientHello's body, however the rest looks; None: it shows none."""
    try:
        at = 34 + 1 + body[34]
        at += 2 + int.from_bytes(body[at : at + 2])
        at += 1 + body[at] + 2
        while at + 4 <= len(body):
            kind, size = int.from_bytes(body[at : at + 2]), int.from_bytes(body[at + 2 : at + 4])
            if kind == 0:
                length = int.from_bytes(body[at + 7 : at + 9])
                return normalize(body[at + 9 : at + 9 + length])
            at += 4 + size
    except IndexError:
        pass
    return None


class TlsServer(Application):
    """Takes the first ClientHello, split over records in any way."""

    hellos = 1

    def __init__(self) -> None:
        super().__init__()
        self._stream = b""
        self._message = b""
        self._seen = 0
        self._skips_early = False

    def feed(self, data: bytes) -> int:
        self._stream += data
        answer = 0
        while len(self._stream) >= 5 and not self.is_over:
            kind, size = self._stream[0], int.from_bytes(self._stream[3:5])
            if self._stream[1] != 3 or size > 17_000:
                self.is_over = True
                return answer + 7
            if len(self._stream) < 5 + size:
                break
            payload, self._stream = self._stream[5 : 5 + size], self._stream[5 + size :]
            answer += self._take(kind, payload)
        return answer

    def _take(self, kind: int, payload: bytes) -> int:
        if self._seen == self.hellos:
            return 300  # whatever it is, it is encrypted
        if kind == 22:
            self._message += payload
            return self._read_messages()
        if kind == 20 or (kind == 21 and payload[:1] == b"\1") or (kind == 23 and self._skips_early):
            return 0  # change_cipher_spec, a warning, early data behind a HelloRetryRequest
        self.is_over = True
        return 7

    def _read_messages(self) -> int:
        message = self._message
        if message[:1] not in (b"", b"\1"):
            self.is_over = True
            return 7
        end = 4 + int.from_bytes(message[1:4])
        if len(message) < 4 or len(message) < end:
            return 0
        self._message = message[end:]
        self._seen += 1
        self._skips_early = EARLY_DATA in message[4:end]
        name = read_name(message[4:end])
        if name is not None:
            self.names.append(name)
        return FLIGHT_BYTES if self._seen == self.hellos else RETRY_BYTES


class RetryingServer(TlsServer):
    """Asks for a second hello, and serves the name of that one."""

    hellos = 2


class HttpServer(Application):
    """Takes requests one after the other. Of several Host fields the last counts; a whole URL counts too."""

    takes_last = True

    def __init__(self) -> None:
        super().__init__()
        self._stream = b""
        self._left = 0  # bytes of a body
        self._is_chunked = False

    def feed(self, data: bytes) -> int:
        self._stream += data
        answer = 0
        while self._stream and not self.is_over:
            if self._left:
                taken = min(self._left, len(self._stream))
                self._stream = self._stream[taken:]
                self._left -= taken
            elif self._is_chunked:
                line, found, rest = self._stream.partition(b"\n")
                if not found:
                    break
                self._read_chunk(line.strip(), rest)
            elif not (size := self._read_request()):
                break
            else:
                answer += size
        return answer

    def _read_chunk(self, line: bytes, rest: bytes) -> None:
        self._stream = rest
        if not line:  # the line end behind a chunk, or behind the last one
            return
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            self.is_over = True
            return
        if size:
            self._left = size
        else:
            self._is_chunked = False  # a trailer is read as a request: no server does it, and it only finds more names
            self._stream = rest.lstrip(b"\r\n")

    def _read_request(self) -> int:
        self._stream = self._stream.lstrip(b"\r\n")
        found = HEAD_END.search(self._stream)
        if found is None:
            return 0
        head, self._stream = self._stream[: found.start()], self._stream[found.end() :]
        first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
        words = first.split()
        if len(words) < 2 or not words[0].isalpha():
            self.is_over = True
            return 200
        hosts = []
        if b"://" in words[1]:
            hosts.append(words[1].split(b"://", 1)[1].split(b"/")[0].rpartition(b"@")[2])
        elif words[0].upper() == b"CONNECT":
            hosts.append(words[1])
        for line in lines:
            name, _, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip()
            if name == b"host" and (self.takes_last or not hosts):
                hosts.append(value)
            elif name == b"content-length" and value.isdigit():
                self._left = int(value)
            elif name == b"transfer-encoding" and b"chunked" in value.lower():
                self._is_chunked = True
        self._left = 0 if self._is_chunked else self._left
        self.names += [normalize(host.partition(b":")[0]) for host in (hosts[-1:] if self.takes_last else hosts[:1])]
        return 500


class FirstHostServer(HttpServer):
    """Of several Host fields the first counts."""

    takes_last = False
