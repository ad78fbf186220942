"""The lab's UDP servers: DNS, a game that answers at once, and a VPN server that takes WireGuard's first message."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.netns.lab import plan
from tests.netns.lab.seen import SeenWriter, plain
from tests.netns.lab.zone import Zone

# linux/in6.h; Python's socket module has them, but not everywhere under one name
IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50
INITIATION, INITIATION_BYTES, RESPONSE, RESPONSE_BYTES = 1, 148, 2, 92  # WireGuard's handshake

Reply = Callable[[bytes, tuple[Any, ...], tuple[Any, ...]], bytes | None]


def listen(port: int, reply: Reply) -> None:
    """Serve a UDP port on every address, both families; an answer comes from the address that was asked."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind(("::", port))
    threading.Thread(target=_serve, args=(server, port, reply), daemon=True).start()


def _serve(server: socket.socket, port: int, reply: Reply) -> None:
    while True:
        data, ancillary, _, peer = server.recvmsg(65536, socket.CMSG_SPACE(20))
        (address,) = (value[:16] for level, kind, value in ancillary if kind == IPV6_PKTINFO)
        answer = reply(data, (socket.inet_ntop(socket.AF_INET6, address), port), peer)
        if answer is None:
            continue
        source = (socket.IPPROTO_IPV6, IPV6_PKTINFO, struct.pack("=16si", address, 0))
        try:
            server.sendmsg([answer], [source], 0, peer)
        except OSError:  # the client's port is closed by now
            continue


def wireguard_initiation() -> bytes:
    """Return a fresh handshake initiation as a WireGuard client sends it: what is sealed in it is random here."""
    key = bytearray(os.urandom(32))
    key[31] &= 0x7F  # a Curve25519 point is below 2^255
    sealed_and_mac = os.urandom(48 + 28 + 16)
    return bytes([INITIATION, 0, 0, 0]) + os.urandom(4) + key + sealed_and_mac + bytes(16)  # no cookie yet


class Datagrams:
    """The UDP servers of one lab but HTTP/3."""

    def __init__(self, note: SeenWriter, zone: Zone) -> None:
        self._note = note
        self._zone = zone

    def start(self) -> None:
        listen(plan.DNS, self.answer_dns)
        listen(plan.GAME, self.answer_game)
        listen(plan.WIREGUARD, self.answer_wireguard)

    def answer_dns(self, data: bytes, local: tuple[Any, ...], peer: tuple[Any, ...]) -> bytes | None:
        answer = self._zone.answer(data, plain(local[0]))
        if answer is None:
            return None
        self._note("dns", answer[0], local, peer, answer[1])
        return answer[2]

    def answer_game(self, data: bytes, local: tuple[Any, ...], peer: tuple[Any, ...]) -> bytes | None:
        self._note("game", "", local, peer, str(len(data)))
        return data

    def answer_wireguard(self, data: bytes, local: tuple[Any, ...], peer: tuple[Any, ...]) -> bytes | None:
        """Answer a handshake initiation with a response of the right form, and nothing else, as WireGuard does."""
        self._note("wireguard", "", local, peer, str(len(data)))
        if len(data) != INITIATION_BYTES or data[0] != INITIATION:
            return None
        return bytes([RESPONSE, 0, 0, 0]) + os.urandom(4) + data[4:8] + os.urandom(RESPONSE_BYTES - 12)
