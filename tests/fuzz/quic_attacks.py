"""Datagrams with which a client tries to have a blocked name accepted over QUIC, over one 5-tuple and over several.

The server is as lenient as servers are: it knows a connection by its id alone, whatever port a datagram came from.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guardian.filter import marks
from tests.filter.home import NOON, Home
from tests.filter.packets import Ends, build_udp, make_ends
from tests.fuzz.lenient_servers import read_name
from tests.fuzz.path import BLOCKED_NAMES, VERDICTS
from tests.wire.hellos import build_hello
from tests.wire.initials import PING, TYPES, V1, V2, CryptoFrame, build_other, make_keys, seal_initial

GOOD, BAD = "www.example", "bet.example"
PATIENCE = 200.0  # seconds for which a server keeps half a hello; known ones wait for 10 to 60


class Shot(NamedTuple):
    """A datagram, from which port, and whether it gets to the server."""

    port: int
    data: bytes
    arrives: bool = True
    wait: float = 0.0


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size]) & ((1 << (8 * size - 2)) - 1), at + size


class QuicServer:
    """Puts together what it can open. Each byte of a hello is the first that came for its place, or the last."""

    def __init__(self, keeps_first: bool) -> None:
        self.names: list[bytes] = []
        self._keeps_first = keeps_first
        self._streams: dict[bytes, dict[int, int]] = {}
        self._seen: dict[bytes, float] = {}
        self._done: set[bytes] = set()

    def receive(self, datagram: bytes, now: float) -> None:
        for identity in [identity for identity, seen in self._seen.items() if now - seen > PATIENCE]:
            del self._seen[identity], self._streams[identity]
        at = 0
        while at + 7 < len(datagram) and datagram[at] & 0x80:
            version = int.from_bytes(datagram[at + 1 : at + 5])
            if version not in (V1, V2):
                return
            try:
                at = self._read_packet(datagram, at, version, now)
            except IndexError:
                return

    def _read_packet(self, datagram: bytes, at: int, version: int, now: float) -> int:
        first = datagram[at]
        id_end = at + 6 + datagram[at + 5]
        identity = datagram[at + 6 : id_end]
        position = id_end + 1 + datagram[id_end]
        kind = first >> 4 & 3
        if kind == TYPES[version]["retry"]:
            return len(datagram)
        if kind == TYPES[version]["initial"]:
            size, position = read_varint(datagram, position)
            position += size
        size, position = read_varint(datagram, position)
        end = position + size
        if kind == TYPES[version]["initial"] and end <= len(datagram):
            plaintext = self._open(datagram, at, position, end, make_keys(version, identity))
            if plaintext is not None:
                self._seen[identity] = now
                self._read_frames(identity, plaintext)
        return end

    @staticmethod
    def _open(datagram: bytes, start: int, position: int, end: int, keys: tuple[bytes, bytes, bytes]) -> bytes | None:
        key, iv, protection = keys
        encryptor = Cipher(algorithms.AES(protection), modes.ECB()).encryptor()
        sample = datagram[position + 4 : position + 20]
        if len(sample) < 16:
            return None
        mask = encryptor.update(sample)
        first = datagram[start] ^ mask[0] & 0x0F
        size = (first & 3) + 1
        number = bytes(a ^ b for a, b in zip(datagram[position : position + size], mask[1:], strict=False))
        nonce = (int.from_bytes(iv) ^ int.from_bytes(number)).to_bytes(12)
        head = bytes((first,)) + datagram[start + 1 : position] + number
        try:
            return AESGCM(key).decrypt(nonce, datagram[position + size : end], head)
        except InvalidTag:
            return None

    def _read_frames(self, identity: bytes, plaintext: bytes) -> None:
        stream = self._streams.setdefault(identity, {})
        at = 0
        while at < len(plaintext):
            kind = plaintext[at]
            at += 1
            if kind == 6:
                offset, at = read_varint(plaintext, at)
                size, at = read_varint(plaintext, at)
                for place, byte in enumerate(plaintext[at : at + size], offset):
                    if not (self._keeps_first and place in stream):
                        stream[place] = byte
                at += size
            elif kind > 1:
                return
        self._serve(identity, stream)

    def _serve(self, identity: bytes, stream: dict[int, int]) -> None:
        known = bytearray()
        while len(known) in stream:
            known.append(stream[len(known)])
        end = 4 + int.from_bytes(known[1:4])
        if identity not in self._done and len(known) >= max(4, end) and known[0] == 1:
            self._done.add(identity)
            self.names.append(read_name(bytes(known[4:end])) or b"")


class QuicPath:
    """What the kernel and the engine let through to the server."""

    def __init__(self, home: Home | None, server: QuicServer) -> None:
        self.home = home
        self.server = server
        self.now = NOON
        self._marks: dict[Ends, int] = {}

    def send(self, shot: Shot) -> None:
        self.now += shot.wait
        if self.home is not None and shot.wait:
            self.home.engine.age(self.now)
            if shot.wait > 180:
                self._marks.clear()  # connection tracking has forgotten them too
        ends = make_ends(443, shot.port)
        if (self.home is None or self._passes(ends, shot.data)) and shot.arrives:
            self.server.receive(shot.data, self.now)

    def _passes(self, ends: Ends, data: bytes) -> bool:
        state = self._marks.get(ends, 0) & marks.STATE_MASK
        if state == marks.ALLOWED or (state == marks.WATCHED and not data[0] & 0x80):
            return True
        if state == marks.REFUSED:
            return False
        verdict = self.home.handle(build_udp(ends, data), self.now)  # type: ignore[union-attr]
        assert verdict in VERDICTS
        if verdict > 0:
            self._marks[ends] = verdict
        return verdict >= 0 and verdict & marks.STATE_MASK != marks.REFUSED

    def accepted_blocked(self) -> list[bytes]:
        return [name for name in self.server.names if name in BLOCKED_NAMES]


class Script(NamedTuple):
    keeps_first: bool
    shots: list[Shot]


def run(script: Script, home: Home | None) -> QuicPath:
    path = QuicPath(home, QuicServer(script.keeps_first))
    for shot in script.shots:
        path.send(shot)
    return path


def _cut(random: Random, hello: bytes) -> list[CryptoFrame]:
    marks = sorted({0, len(hello), *(random.randrange(len(hello)) for _ in range(random.choice((0, 1, 1, 2, 5))))})
    frames = [CryptoFrame(start, hello[start:end]) for start, end in pairwise(marks)]
    return random.sample(frames, len(frames)) if random.random() < 0.4 else frames


def make_attack(random: Random) -> Script:
    ports = random.sample(range(2000, 2100), random.choice((1, 1, 2, 2, 3)))
    ids = [random.randbytes(8) for _ in range(random.choice((1, 1, 1, 2)))]
    good, bad = build_hello(GOOD, alpn=["h3"]), build_hello(BAD, alpn=["h3"])
    shots: list[Shot] = []
    number = 0

    def show(frames: list[CryptoFrame], identity: bytes, *, arrives: bool, spread: bool) -> None:
        nonlocal number
        version = random.choice((V1, V1, V2))
        groups = [frames] if random.random() < 0.4 else [[frame] for frame in frames]
        port = random.choice(ports)
        for group in groups:
            number += 1
            port = random.choice(ports) if spread else port
            payload = b"".join(frame.build() + random.choice((b"", PING, bytes(3))) for frame in group)
            data = seal_initial(payload, identity, version=version, number=number, pad_to=1200)
            wait = random.choice((0.0,) * 20 + (61.0, 200.0, 3700.0))
            shots.append(Shot(port, data, arrives, wait))

    for part in random.choice(("b", "gb", "gb", "bg", "mb", "gmb", "xb", "gxb", "gbx")):
        identity = random.choice(ids)
        match part:
            case "g":
                show(_cut(random, good), identity, arrives=random.random() < 0.4, spread=random.random() < 0.3)
            case "b":
                show(_cut(random, bad), identity, arrives=True, spread=random.random() < 0.7)
            case "m":  # part of the good, to be completed by parts of the bad
                frames = _cut(random, good)
                some = random.sample(frames, max(1, len(frames) // 2))
                show(some, identity, arrives=random.random() < 0.5, spread=False)
            case _:
                other = random.choice(
                    (build_other("handshake", identity), build_other("0rtt", identity), bytes(40), b"\x41" * 40)
                )
                shots.append(Shot(random.choice(ports), other))
    return Script(random.random() < 0.5, shots)
