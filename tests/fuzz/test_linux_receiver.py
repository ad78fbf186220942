"""The reference receiver against the kernel that runs the tests: the same packets through a TUN device, each byte."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.filter.packets import TCP, build_ip, checksum
from tests.filter.tun import NEEDS_TUN, open_tun
from tests.fuzz.attacks import Script, make_attack
from tests.fuzz.linux_receiver import (
    ACK,
    FIN,
    MASK,
    RST,
    SYN,
    URG,
    Application,
    LinuxReceiver,
    Overlap,
    parse_segment,
)
from tests.netns.namespaces import inside, run

NAMESPACE = f"guardian-tun-{os.getpid()}"
PORTS = (80, 443, 5228, 8080, 8443)
SCRIPTS = 600

pytestmark = NEEDS_TUN


class Silent(Application):
    """Keeps what it reads, and answers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def feed(self, data: bytes) -> int:
        self.data += data
        return 0


class Kernel:
    """A server in its own namespace, whose network is a file of ours."""

    def __init__(self) -> None:
        self.tun = open_tun("192.0.2.1/32", "10.0.0.0/8")
        self.listeners = [self._listen(port) for port in PORTS]
        self._accepted: list[socket.socket] = []
        self._streams: list[bytearray] = []

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        listener.bind(("192.0.2.1", port))
        listener.listen(64)
        listener.setblocking(False)
        return listener

    def close(self) -> None:
        self._drop()
        for listener in self.listeners:
            listener.close()
        os.close(self.tun)

    def exchange(self, packet: bytes) -> list[bytes]:
        """Give the server a packet; return what it sends at once."""
        os.write(self.tun, packet)
        answers = []
        while True:
            try:
                answers.append(os.read(self.tun, 65_536))
            except BlockingIOError:
                return answers

    def play(self, script: Script, port: int) -> int:
        """Send a script; return the server's window. `port` is the client's, one of no script before."""
        origin = window = 0
        self._drop()
        for sent in script.packets:
            if not sent.arrives:
                continue
            for answer in self.exchange(mend(sent.build(origin), port)):
                if answer[0] >> 4 != 4 or answer[9] != TCP:
                    continue
                segment = parse_segment(answer)
                if segment.flags & (SYN | ACK) == SYN | ACK:
                    origin, window = segment.sequence + 1 & MASK, segment.window
            self._accept()
        return window

    def read(self, sizes: list[int]) -> list[bytes]:
        """Return the streams of the connections that came about, once they are as long as is expected, or will be."""
        deadline = time.monotonic() + 5
        while [len(stream) for stream in self._streams] != sizes and time.monotonic() < deadline:
            self._accept()
        return [bytes(stream) for stream in self._streams]

    def _accept(self) -> None:
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                self._accepted.append(listener.accept()[0])
                self._accepted[-1].setblocking(False)
                self._streams.append(bytearray())
        for index, connection in enumerate(self._accepted):
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                self._streams[index] += connection.recv(1 << 20)

    def _drop(self) -> None:
        for connection in self._accepted:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self._accepted, self._streams = [], []


def mend(packet: bytes, port: int) -> bytes:
    """The packet with a checksum, from another port, and with no echo of a timestamp that the server never sent."""
    segment = bytearray(port.to_bytes(2) + packet[22:])
    at, end = 20, (segment[12] >> 4) * 4
    while at < end and segment[at]:
        if segment[at] == 8:
            segment[at + 6 : at + 10] = bytes(4)
        at += 1 if segment[at] == 1 else max(segment[at + 1], 2)
    segment[16:18] = bytes(2)
    pseudo = packet[12:20] + struct.pack(">II", len(segment), TCP)
    segment[16:18] = checksum(pseudo + bytes(segment)).to_bytes(2)
    return build_ip(packet[12:16], packet[16:20], TCP, bytes(segment))


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    run(f"ip netns add {NAMESPACE}")
    try:
        run(f"ip netns exec {NAMESPACE} ip link set lo up")
        made = inside(NAMESPACE, lambda: Kernel())
        yield made
        made.close()
    finally:
        run(f"ip netns del {NAMESPACE}")


def play_model(script: Script, window: int, overlap: Overlap) -> list[bytes]:
    receiver = LinuxReceiver(Silent, origin=script.receiver.origin, window=window, overlap=overlap)
    for sent in script.packets:
        if sent.arrives:
            receiver.receive(parse_segment(sent.build(receiver.origin)))
    return [application.data for application in receiver.served if isinstance(application, Silent)]


def is_plain(script: Script) -> bool:
    """Without what the model only roughly does as the kernel (it ends a connection sooner), or not as every kernel."""
    segments = [parse_segment(sent.build(0)) for sent in script.packets]
    return not any(sent.forgets for sent in script.packets) and not any(
        segment.flags & (RST | FIN | URG) or segment.is_signed or len(segment.payload) > 32_000 for segment in segments
    )


def test_the_model_accepts_what_the_kernel_accepts(kernel: Kernel) -> None:
    played = exact = joined = 0
    overlaps: tuple[Overlap, ...] = ("linux", "first", "last")
    for seed in range(SCRIPTS):
        if not is_plain(make_attack(Random(seed))):
            continue
        window = kernel.play(make_attack(Random(seed)), 10_000 + seed)
        models = [play_model(make_attack(Random(seed)), window, overlap) for overlap in overlaps]
        streams = kernel.read([len(stream) for stream in models[0]])
        assert [len(stream) for stream in streams] == [len(stream) for stream in models[0]], f"seed {seed}"
        exact += streams == models[0]
        joined += streams in models
        played += 1
    # Which byte of an overlap behind a gap counts depends on what the kernel could merge: the switch stands for it.
    assert played > SCRIPTS // 3
    assert exact > played * 0.97
    assert joined > played * 0.99
