"""Sequences of packets with which a client tries to have a blocked name accepted, from a random number generator.

Each shows the engine something harmless (a decoy that the server does not get or does not take) and the server the
blocked name, with lies about everything that TCP lets a client lie about. `Script.attack` is what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import NamedTuple

from tests.filter.packets import ACK, FIN, MD5, PSH, RST, SYN, URG, Connection, build_tcp, timestamps
from tests.fuzz.lenient_servers import FirstHostServer, HttpServer, RetryingServer, TlsServer
from tests.fuzz.linux_receiver import Application, LinuxReceiver
from tests.fuzz.path import Sent
from tests.wire.hellos import build_hello, frame, record

GOOD, BAD = "www.example.com", "bet.example"
SAME_SIZE = "bet.example", "www.example"  # one is as long as the other
CCS, FINISHED = record(b"\1", 20), record(bytes(53), 23)
ALERT = record(b"\1\x5a", 21)  # user_canceled

# d: the decoy. t: what makes a filter let go. b: the blocked name. x: something between. o, a: the connection ends, and
# all begins again. l: only the server knows that it has ended. g: two tails behind a gap.
PLANS = "dtb dtb dtb db b bd dxtb xdtxb dxb dtxoab doab btdb doatb dtxlab gt gt xgt".split()  # noqa: SIM905


class Script(NamedTuple):
    server: type[Application]
    connection: Connection
    receiver: LinuxReceiver
    packets: list[Sent]


def request(host: str, *, body: bytes = b"", fields: str = "", target: str = "/", chunked: bool = False) -> bytes:
    length = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {len(body)}\r\n" if body else ""
    method = "POST" if body or chunked else "GET"
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n".encode() + body


class Maker:
    """Makes one script."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.sent: list[Sent] = []
        initial = random.choice((1000, 0xFFFFFF00, 0xFFFFFFFE, 0x7FFFFF80, random.getrandbits(32)))
        origin = random.choice((5000, 0xFFFFFFF0, 0x7FFFFFF0, random.getrandbits(32)))
        self.server: type[Application] = random.choice(
            (TlsServer, TlsServer, RetryingServer, HttpServer, FirstHostServer)
        )
        self.is_http = issubclass(self.server, HttpServer)
        port = 80 if self.is_http else 443
        port = port if random.random() < 0.7 else random.choice((8080, 8443, 5228))
        self.stamps = random.random() < 0.7
        self.connection = Connection(port, initial=initial, origin=origin, stamps=self.stamps)
        self.clock = 10_000
        self.heard = 0  # of the server's bytes, as the client knows
        self.receiver = LinuxReceiver(
            self.server,
            origin=origin,
            overlap=random.choice(("linux", "first", "last")),
            window=random.choice((65_535, 29_200, 200_000, 4_000)),
            offers_stamps=random.random() < 0.8,
            needs_stamps=random.random() < 0.3,
            heeds_signatures=random.random() < 0.8,
            heeds_fin=random.random() < 0.5,
            heeds_old_acks=random.random() < 0.3,
        )

    # What is said

    def good_and_bad(self) -> tuple[bytes, bytes, bytes]:
        """What comes first in truth (may be empty), the decoy, and what the attack is about."""
        return self._http() if self.is_http else self._tls()

    def _hello(self, name: str) -> bytes:
        random = self.random
        early = [(42, b"")] * (random.random() < 0.15)
        hello = build_hello(name, post_quantum=random.random() < 0.1, ech=random.random() < 0.1, extra=early)
        sizes = [random.randrange(1, 60) for _ in range(random.choice((0, 0, 0, 1, 3, 12)))]
        return frame(hello, sizes)

    def _tls(self) -> tuple[bytes, bytes, bytes]:
        random = self.random
        good, bad = random.choice(((GOOD, BAD), SAME_SIZE[::-1], (GOOD, BAD)))
        truth = b""
        if self.server is RetryingServer:
            truth = self._hello(good)
            truth += random.choice((b"", b"", CCS, ALERT, CCS + CCS, FINISHED))
        tail = random.choice(
            (b"", b"", b"\x17", FINISHED, CCS + FINISHED, record(bytes(3000), 23)[:50], self._hello(bad))
        )
        decoy = random.choice(
            (self._hello(good) + tail, self._hello(good) + tail, b"\x17\3\3\0\5hello", b"SSH-2.0-x\r\n")
        )
        return (
            truth,
            decoy,
            random.choice((b"", b"", CCS)) * bool(truth) + self._hello(bad) + random.choice((b"", FINISHED)),
        )

    def _http(self) -> tuple[bytes, bytes, bytes]:
        random = self.random
        fields = random.choice(
            ("", "", "Upgrade: websocket\r\nConnection: Upgrade\r\n", "Expect: 100-continue\r\n", "X: y\r\n" * 9)
        )
        truth = random.choice(
            (b"", b"", request(GOOD, fields=fields), request("192.0.2.1"), b"OPTIONS * HTTP/1.0\r\n\r\n")
        )
        if random.random() < 0.2:
            truth += request(GOOD, body=bytes(random.choice((10, 3000, 70_000))))
        body = bytes(random.choice((20, 500, 5000)))
        chunks = b"5\r\nhello\r\n" + random.choice((b"0\r\n\r\n", b"400\r\n", b"0;x\r\n\r\n"))
        decoy = random.choice(
            (
                request(GOOD),
                request(GOOD, fields=fields),
                request(GOOD, body=body),
                request(GOOD, body=body)[: -len(body) // 2],
                request(GOOD, chunked=True) + chunks,
                request(GOOD, fields=f"Content-Length: {random.choice((100_000, 9_999_999))}\r\n") + bytes(66_000),
                b"\x81\x85mask" + bytes(40),
                b"SSH-2.0-x\r\n",
            )
        )
        bad = random.choice(
            (
                request(BAD),
                request(BAD, fields=f"Host: {GOOD}\r\n"),
                request(GOOD, fields=f"Host: {BAD}\r\n"),
                request(GOOD, target=f"http://{BAD}/"),
                request(GOOD, body=b"x" * 30) + request(BAD),
                request(GOOD, chunked=True) + b"5\r\nhello\r\n0\r\n\r\n" + request(BAD),
                f"GET / HTTP/1.1\r\nHost:\t{BAD.upper()}.:80 \r\n\r\n".encode(),
                f"GET / HTTP/1.1\nHost : {BAD}\n\n".encode(),
                f"GET / HTTP/1.1\r\nX: y\r\n Host: {GOOD}\r\nHost: {BAD}\r\n\r\n".encode(),
                b"\r\n\r\n" + request(BAD),
            )
        )
        return truth, decoy, bad

    # How it is sent

    def packet(
        self,
        offset: int,
        payload: bytes,
        heard: int,
        *,
        flags: int = PSH | ACK,
        extra: bytes = b"",
        clock: int = 0,
        window: int = 65_535,
        stamps: bool | None = None,
    ) -> Callable[[int], bytes]:
        self.clock += 1
        has_stamps = self.stamps if stamps is None else stamps
        options = extra + (timestamps(clock or self.clock, 7) if has_stamps else b"")
        ends, sequence = self.connection.ends, self.connection.initial + offset

        def build(origin: int) -> bytes:
            numbers = sequence, origin + heard
            return build_tcp(ends, *numbers, flags, payload, options=options, window=window, is_checked=False)

        return build

    def cut(self, payload: bytes) -> list[tuple[int, bytes]]:
        """Pieces with their offsets: some overlap, some come twice, in any order."""
        random = self.random
        count = random.choice((1, 1, 1, 2, 3, 6)) + len(payload) // 60_000
        marks = sorted({0, len(payload), *(random.randrange(len(payload) + 1) for _ in range(count - 1))})
        marks = sorted({*marks, *range(0, len(payload), 60_000)})  # what fits into one packet
        pieces = []
        for start, end in pairwise(marks):
            back = random.choice((0, 0, 0, min(start, random.randrange(1, 9))))
            pieces.append((start - back, payload[start - back : end]))
        if random.random() < 0.2:
            pieces.append(random.choice(pieces))
        if random.random() < 0.25:
            random.shuffle(pieces)
        return pieces

    def say(self, offset: int, payload: bytes, heard: int, *, arrives: bool = True) -> None:
        """Honestly, but for the cuts."""
        for start, piece in self.cut(payload):
            self.sent.append(Sent(self.packet(offset + start, piece, heard), arrives=arrives))

    def pretend(self, offset: int, payload: bytes) -> None:
        """Show a decoy in one of the ways in which a server does not get it, or does not take it."""
        random = self.random
        low = self.heard - random.choice((0, 0, 1, 300, 3000, 5000, 60_000, 65_000))
        for start, piece in self.cut(payload):
            at = offset + start
            way = random.randrange(11)
            if way < 5:
                self.sent.append(Sent(self.packet(at, piece, low), arrives=False))
            elif way == 5:
                self.sent.append(Sent(self.packet(at, piece, low, window=random.choice((1, 65_535)))))
            elif way == 6:
                self.sent.append(Sent(self.packet(at, piece, self.heard + random.choice((1, 7000)))))
            elif way == 7:
                if random.random() < 0.5:  # the server learns a later time from an empty segment
                    self.sent.append(Sent(self.packet(at, b"", self.heard, flags=ACK, clock=900_000)))
                self.sent.append(Sent(self.packet(at, piece, low, clock=random.choice((1, 800_000)))))
            elif way == 8:
                self.sent.append(Sent(self.packet(at, piece, low, extra=random.choice((MD5, b"", b"\x1d\4\0\0")))))
            elif way == 9:
                flags = random.choice((PSH, URG | PSH | ACK, FIN | PSH | ACK, SYN | PSH, RST | PSH | ACK))
                self.sent.append(Sent(self.packet(at, piece, low, flags=flags), arrives=random.random() < 0.5))
            else:
                self.sent.append(Sent(self.packet(at, piece, self.heard, stamps=not self.stamps)))

    def disturb(self, offset: int) -> None:
        """Something between."""
        random = self.random
        heard = self.heard - random.choice((0, 0, 1, 500))
        match random.randrange(12):
            case 0:
                self.sent.append(Sent(self.packet(offset, b"", heard, flags=RST), arrives=random.random() < 0.5))
            case 1:
                self.sent.append(Sent(self.packet(offset, b"", heard, flags=FIN | ACK), arrives=random.random() < 0.5))
            case 2 | 3:
                self.sent.append(self.opening(random.choice((0, 0, 1, 700, -700, 0x80000000)), random.random() < 0.5))
            case 4:
                for _ in range(random.choice((1, 20))):  # keep-alives, each is answered
                    self.sent.append(Sent(self.packet(offset - 1, b"", heard, flags=ACK)))
            case 5:
                self.sent.append(
                    Sent(self.packet(offset, b"", heard, flags=ACK), wait=random.choice((0, 10, 70, 400, 4000)))
                )
            case 6:
                self.sent.append(
                    Sent(self.packet(offset + random.choice((90_000, 1 << 31, -70_000)), b"far away", heard))
                )
            case 7:
                self.sent.append(Sent(self.packet(offset, b"\x17", heard), arrives=random.random() < 0.5))
            case 8:
                self.sent.append(Sent(self.packet(offset - 1, b"\0", heard)))
            case _:
                pass

    def trigger(self, offset: int) -> None:
        """What makes a filter let go: server data acknowledged, or what looks so."""
        random = self.random
        for heard in random.choice(((0,), (self.heard,), (105,), (1600,), (105, 1705), (500,), (1, 2000), ())):
            payload = random.choice((b"", b"\x17", FINISHED, CCS + FINISHED, b"GET / HTTP/1.1\r\n"))
            self.sent.append(Sent(self.packet(offset, payload, heard, flags=PSH | ACK), arrives=random.random() < 0.3))

    def opening(self, shift: int, arrives: bool = True) -> Sent:
        self.clock += 1
        options = timestamps(self.clock, 0) if self.stamps else b""
        begin = self.connection.initial - 1 + shift
        payload = b"early" if self.random.random() < 0.05 else b""
        ends = self.connection.ends
        packet = build_tcp(ends, begin, 0, SYN, payload, options=options, is_checked=False)
        return Sent(lambda _: packet, arrives)

    def attack(self) -> Script:
        random = self.random
        if random.random() < 0.15:
            self.disturb(0)
        self.sent.append(self.opening(0))
        if random.random() < 0.8:
            self.sent.append(Sent(self.packet(0, b"", 0, flags=ACK)))
        truth, decoy, bad = self.good_and_bad()
        if truth:
            self.say(0, truth, 0)
            self.heard = 105 if self.server is RetryingServer else 500 * random.choice((0, 1, 1, 2))
            if random.random() < 0.5:
                self.sent.append(Sent(self.packet(len(truth), b"", self.heard, flags=ACK)))
        here = len(truth)
        for part in random.choice(PLANS):
            match part:
                case "d":
                    self.pretend(here + random.choice((0, 0, 0, 0, 1, 5)), decoy)
                case "t":
                    self.trigger(here + random.choice((0, len(decoy), len(decoy), len(bad))))
                case "b":
                    self.say(here, bad, random.choice((self.heard, self.heard, 0)))
                case "g":  # two tails behind a gap, then the head
                    gap = random.randrange(1, min(len(decoy), len(bad)))
                    begin = len(self.sent)
                    self.pretend(here + gap, decoy[gap:])
                    turn = len(self.sent)
                    self.say(here + gap, bad[gap:], 0)
                    if random.random() < 0.5:
                        self.sent[begin:] = self.sent[turn:] + self.sent[begin:turn]
                    self.say(here, bad[:gap], self.heard)
                case "o":  # the connection ends, and another begins
                    self.sent.append(Sent(self.packet(here, b"", self.heard, flags=RST)))
                    self.sent.append(self.opening(random.choice((0, 0, 0, 300))))
                case "l":  # the server alone knows that it has ended
                    self.sent.append(self.opening(random.choice((0, 300)))._replace(forgets=True))
                case "a":
                    here = 0
                case _:
                    self.disturb(here)
        return Script(self.server, self.connection, self.receiver, self.sent)


def make_attack(random: Random) -> Script:
    return Maker(random).attack()
