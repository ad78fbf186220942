"""Tunnels and proxies: their greetings, whole, in pieces and behind junk."""

from __future__ import annotations

import os
import random
import struct
import time
from typing import Any

from tests.netns.evasion import quic
from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH
from tests.netns.lab import plan

INITIATION = bytes([1, 0, 0, 0]) + random.Random(5).randbytes(35) + b"\1" + random.Random(6).randbytes(108)


def wireguard(attempt: Attempt, *before: bytes, port: int = plan.WIREGUARD) -> Result:
    """Send a handshake, behind other datagrams; accepted: the server answers."""
    made = attempt.datagrams()
    made.connect((attempt.address(plan.SITES["vpn.open.example"].host), port))
    quic.send(made, before, 0.1)
    made.settimeout(1.5)
    for _ in range(2):
        try:
            quic.send(made, [INITIATION])
            while made.recv(2048)[:1] != b"\2":
                pass
        except OSError:
            continue
        return Result(b"", True)
    return Result(b"", False)


@case(families=BOTH, hello=True)
def wireguard_handshake(attempt: Attempt) -> Result:
    return wireguard(attempt)


@case(
    families=BOTH,
    variants={"byte": [b"x"], "random": [os.urandom(90)] * 4, "empty": [b""], "quic-like": [b"\x41" * 60]},
    hello=True,
)
def wireguard_behind_junk(attempt: Attempt) -> Result:
    """As some clients do on purpose: the server passes over what is none of its messages."""
    return wireguard(attempt, *attempt.variant)


SOCKS_5 = b"\5\1\0"
PIECES: dict[str, Any] = {"whole": [3], "first-byte": [1, 2], "one-by-one": [1, 1, 1], "with-request": [0]}


@case(families=BOTH, variants=PIECES)
def socks(attempt: Attempt) -> Result:
    """SOCKS 5 (RFC 1928) on its own port, and a blocked site through it."""
    connection = attempt.connect(plan.SOCKS, host=plan.SITES["proxy.open.example"].host)
    target = b"\5\1\0\1" + bytes([198, 51, 100, plan.SITES["news.open.example"].host]) + struct.pack(">H", plan.HTTP)
    if attempt.variant == [0]:
        connection.send(SOCKS_5 + target)
    else:
        at = 0
        for size in attempt.variant:
            connection.push([(at, SOCKS_5[at : at + size])], pause=0.1)
            at += size
        if not connection.expect(b"\5\0"):
            return Result()
        connection.send(target)
    if not connection.wait(lambda: len(connection.received) >= 12):
        return Result()
    return attempt.surf(connection, f"GET / HTTP/1.1\r\nHost: {attempt.name}\r\n\r\n".encode())


RESET = b"\x38" + bytes(range(1, 9)) + b"\0" + bytes(4)
OPENVPN: dict[str, Any] = {"whole": [16], "first-byte": [1, 15], "length-alone": [2, 14], "one-by-one": [1] * 16}


@case(families=BOTH, variants=OPENVPN, hello=True)
def openvpn_over_tcp(attempt: Attempt) -> Result:
    """A client's hard reset, at a server that sends back what it gets."""
    connection = attempt.connect(plan.ECHO, host=plan.SITES["vpn.open.example"].host)
    data = struct.pack(">H", len(RESET)) + RESET
    at = 0
    for size in attempt.variant:
        connection.push([(at, data[at : at + size])], pause=0.1)
        at += size
    return Result(b"", connection.wait(lambda: data in connection.received, 3.0))


@case(families=BOTH, hello=True)
def openvpn_over_udp(attempt: Attempt) -> Result:
    made = attempt.datagrams()
    made.connect((attempt.address(plan.SITES["game.open.example"].host), plan.GAME))
    made.settimeout(1.5)
    for _ in range(2):
        try:
            made.send(RESET)
            return Result(b"", made.recv(2048) == RESET)
        except OSError:
            time.sleep(0.1)
    return Result(b"", False)


@case(families=BOTH, control=True, hello=True)
def game(attempt: Attempt) -> Result:
    """A game is no VPN; the attack is the same with a VPN's message inside."""
    made = attempt.datagrams()
    made.connect((attempt.address(plan.SITES["game.open.example"].host), plan.GAME))
    made.settimeout(1.5)
    data = INITIATION if attempt.is_attack else b"\1\0\0\0" + bytes(144)
    for _ in range(2):
        try:
            made.send(data)
            return Result(b"", made.recv(2048) == data)
        except OSError:
            continue
    return Result(b"", False)
