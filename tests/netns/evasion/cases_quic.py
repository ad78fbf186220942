"""QUIC: refused as it comes, and read with `quic: inspect`."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

from tests.netns.evasion import packets, quic
from tests.netns.evasion.attack import INSPECT, Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH, LOST
from tests.netns.evasion.servers import QUIC_ODD
from tests.netns.lab import plan
from tests.wire import initials
from tests.wire.initials import PING, V1, V2, CryptoFrame, build_datagrams, build_other, seal_initial, split_hello

UNKNOWN_VERSION = 0x1A2A3A4A


def client(attempt: Attempt, port: int = plan.QUIC, own: int = 0) -> socket.socket:
    made = attempt.datagrams()
    if own:
        made.bind(("", own))
    made.connect((attempt.address(), port))
    return made


# As it comes: refused


@case(families=BOTH, variants={"1": 1, "2": 2})
def quic_refused(attempt: Attempt) -> Result:
    """And the client is told so at once: `test_ways_around.py` looks for the ICMP message."""
    return Result(quic.visit(client(attempt), attempt.name, version=attempt.variant))


@case(families=BOTH)
def quic_on_an_odd_port(attempt: Attempt) -> Result:
    return Result(quic.visit(client(attempt, QUIC_ODD), attempt.name))


JUNK: dict[str, bytes] = {
    "byte": b"x",
    "stun": bytes.fromhex("000100002112a442") + bytes(12),
    "dtls": b"\x16\xfe\xfd" + bytes(60),
    "short-header": b"\x41" + bytes(40),
    "zeros": bytes(1200),
}


@case(families=BOTH, variants=JUNK)
def junk_before_quic(attempt: Attempt) -> Result:
    """The first datagram is none of QUIC's; the server passes over it."""
    made = client(attempt)
    quic.send(made, [attempt.variant])
    return Result(quic.visit(made, attempt.name))


@case(families=BOTH, variants=JUNK)
def junk_before_quic_on_an_odd_port(attempt: Attempt) -> Result:
    made = client(attempt, QUIC_ODD)
    quic.send(made, [attempt.variant])
    return Result(quic.visit(made, attempt.name))


@case(families=BOTH)
def empty_datagram_before_quic(attempt: Attempt) -> Result:
    made = client(attempt, QUIC_ODD)
    quic.send(made, [b""])
    return Result(quic.visit(made, attempt.name))


# Inspected


@case(families=BOTH, variants={"1": 1, "2": 2}, ground=INSPECT, control=True)
def quic_visit(attempt: Attempt) -> Result:
    return Result(quic.visit(client(attempt), attempt.name, version=attempt.variant))


@case(families=BOTH, ground=INSPECT, control=True)
def quic_visit_behind_another(attempt: Attempt) -> Result:
    """Two connections from one port: first to an open site."""
    made = client(attempt)
    assert quic.visit(made, attempt.other), "the open site did not answer"
    return Result(quic.visit(made, attempt.name))


@case(families=BOTH, ground=INSPECT, control=True)
def quic_visit_on_an_odd_port(attempt: Attempt) -> Result:
    return Result(quic.visit(client(attempt, QUIC_ODD), attempt.name))


@case(families=BOTH, variants=JUNK, ground=INSPECT)
def junk_before_inspected(attempt: Attempt) -> Result:
    made = client(attempt)
    quic.send(made, [attempt.variant])
    return Result(quic.visit(made, attempt.name))


def _hello(attempt: Attempt, source: bytes, **more: Any) -> bytes:
    return quic.build_hello(attempt.name, source, **more)


def _pad(payload: bytes, identity: bytes, source: bytes, number: int = 0, **more: Any) -> bytes:
    return seal_initial(payload, identity, source_id=source, number=number, pad_to=1200, **more)


def _shuffled(attempt: Attempt, version: int = V1) -> list[bytes]:
    identity, source = quic.make_ids()
    hello = _hello(attempt, source)
    return build_datagrams(hello, identity, source_id=source, version=version, chaos=random.Random(attempt.case.id))


def _large(attempt: Attempt) -> list[bytes]:
    identity, source = quic.make_ids()
    return build_datagrams(_hello(attempt, source, post_quantum=True), identity, source_id=source)


def _frames_of_one_byte(attempt: Attempt) -> list[bytes]:
    """With padding and pings between; the last frames come first."""
    identity, source = quic.make_ids()
    hello = _hello(attempt, source)
    frames = [CryptoFrame(at, hello[at : at + 1]) for at in range(len(hello))][::-1]
    parts = [frames[at : at + 170] for at in range(0, len(frames), 170)]
    payloads = [b"\0".join(frame.build() for frame in part) + PING for part in parts]
    return [_pad(payload, identity, source, number) for number, payload in enumerate(payloads)]


def _overlapping(attempt: Attempt) -> list[bytes]:
    """The same bytes twice, at other cuts."""
    identity, source = quic.make_ids()
    hello = _hello(attempt, source)
    frames = [*split_hello(hello[:220], [100]), CryptoFrame(60, hello[60:])]
    return [_pad(b"".join(frame.build() for frame in frames), identity, source)]


def _with_early_data(attempt: Attempt) -> list[bytes]:
    """An Initial and a 0-RTT packet in one datagram."""
    identity, source = quic.make_ids()
    initial = seal_initial(CryptoFrame(0, _hello(attempt, source)).build(), identity, source_id=source, pad_to=900)
    return [(initial + build_other("0rtt", identity, bytes(260))).ljust(1200, b"\0")]


def _two_initials(attempt: Attempt) -> list[bytes]:
    """Two Initials of one connection in one datagram."""
    identity, source = quic.make_ids()
    begin, end = split_hello(_hello(attempt, source), [90])
    first = seal_initial(begin.build(), identity, source_id=source)
    return [first + seal_initial(end.build(), identity, source_id=source, number=1, pad_to=1200 - len(first))]


def _long_varints(attempt: Attempt) -> list[bytes]:
    """Every integer in eight bytes, where four bits would do."""
    identity, source = quic.make_ids()
    hello = _hello(attempt, source)
    frame = b"\6" + initials.varint(0, 8) + initials.varint(len(hello), 8) + hello
    return [_pad(frame, identity, source, length_bytes=8, number_bytes=1)]


def _reversed(attempt: Attempt) -> list[bytes]:
    return _large(attempt)[::-1]


SHAPES: dict[str, Any] = {
    "shuffled": _shuffled,
    "shuffled-v2": lambda attempt: _shuffled(attempt, V2),
    "two-datagrams": _large,
    "reversed": _reversed,
    "one-byte-frames": _frames_of_one_byte,
    "overlapping": _overlapping,
    "early-data": _with_early_data,
    "two-initials": _two_initials,
    "long-varints": _long_varints,
}


@case(families=BOTH, variants=SHAPES, ground=INSPECT, control=True, hello=True)
def initial(attempt: Attempt) -> Result:
    """The hello in other packets, frames and orders."""
    made = client(attempt)
    quic.send(made, attempt.variant(attempt))
    return _wait(made)


def _wait(made: socket.socket, seconds: float = 1.5) -> Result:
    quic.is_refused(made, seconds)
    return Result()


def _open_first(attempt: Attempt) -> list[bytes]:
    """A decoy: another connection id, an open name, and it never arrives."""
    identity, source = quic.make_ids()
    return build_datagrams(quic.build_hello(attempt.decoy, source), identity, source_id=source)


def _same_id(attempt: Attempt) -> list[bytes]:
    identity, source = b"samesame", b"alsosame"
    return build_datagrams(quic.build_hello(attempt.decoy, source), identity, source_id=source)


def _unsealed(attempt: Attempt) -> list[bytes]:
    identity, source = quic.make_ids()
    return [_pad(PING, identity, source, key_id=b"otherkey")]


def _unknown(attempt: Attempt) -> list[bytes]:
    identity, source = quic.make_ids()
    head = b"\xc0" + UNKNOWN_VERSION.to_bytes(4) + initials.vector(identity) + initials.vector(source)
    return [head.ljust(1200, b"\0")]


DECOYS: dict[str, Any] = {
    "open-hello": _open_first,
    "same-id": _same_id,
    "sealed-wrongly": _unsealed,
    "unknown-version": _unknown,
    "early-data": lambda attempt: [build_other("0rtt", b"earlyone", bytes(1100))],
    "handshake": lambda attempt: [build_other("handshake", b"someoneX", bytes(1100))],
}


@case(families=BOTH, variants=DECOYS, ground=INSPECT, hello=True)
def quic_decoy(attempt: Attempt) -> Result:
    """Something else comes first, which the server does not get."""
    port = attempt.ground.wire.take_port()
    made = client(attempt, own=port)
    ends = packets.Ends(packets.pack_address(attempt.own), port, packets.pack_address(attempt.address()), plan.QUIC)
    for datagram in attempt.variant(attempt):
        body = packets.build_datagram(ends, datagram)
        attempt.ground.wire.send(ends, packets.UDP, body, LOST)
    time.sleep(0.1)
    identity, source = (b"samesame", b"alsosame") if "same-id" in attempt.case.id else quic.make_ids()
    quic.send(made, build_datagrams(_hello(attempt, source), identity, source_id=source))
    return _wait(made)


@case(families=BOTH, ground=INSPECT)
def version_negotiation_first(attempt: Attempt) -> Result:
    """The server answers an unknown version; the flow looks like one that it has agreed to."""
    made = client(attempt)
    quic.send(made, _unknown(attempt))
    quic.is_refused(made, 1.0)
    return Result(quic.visit(made, attempt.name))


@case(families=BOTH, ground=INSPECT, hello=True)
def hello_over_two_ports(attempt: Attempt) -> Result:
    """Each flow shows half of the hello; the server goes by the connection id."""
    identity, source = quic.make_ids()
    first, second = build_datagrams(_hello(attempt, source, post_quantum=True), identity, source_id=source)
    one, other = client(attempt), client(attempt)
    for _ in range(3):
        quic.send(one, [first])
        quic.send(other, [second])
        quic.send(other, [first])
        quic.send(one, [second])
    return _wait(one)


@case(families=BOTH, ground=INSPECT, hello=True)
def halves_over_two_ports(attempt: Attempt) -> Result:
    """The same, with each half from one port only."""
    identity, source = quic.make_ids()
    first, second = build_datagrams(_hello(attempt, source, post_quantum=True), identity, source_id=source)
    one, other = client(attempt), client(attempt)
    for _ in range(3):
        quic.send(one, [first])
        quic.send(other, [second])
    return _wait(one)


@case(families=BOTH, ground=INSPECT, hello=True)
def other_crypto_bytes(attempt: Attempt) -> Result:
    """One place in the hello, two bytes."""
    identity, source = quic.make_ids()
    hello = _hello(attempt, source)
    fake = quic.build_hello(attempt.decoy, source)
    frames = [CryptoFrame(100, fake[100:]), CryptoFrame(100, hello[100:]), CryptoFrame(0, hello[:100])]
    made = client(attempt)
    quic.send(
        made,
        [_pad(frames[0].build(), identity, source), _pad(frames[1].build() + frames[2].build(), identity, source, 1)],
    )
    return _wait(made)


@case(families=(6,), ground=INSPECT, dead="a server takes no UDP without a checksum over IPv6")
def no_udp_checksum(attempt: Attempt) -> Result:
    port = attempt.ground.wire.take_port()
    client(attempt, own=port)
    ends = packets.Ends(packets.pack_address(attempt.own), port, packets.pack_address(attempt.address()), plan.QUIC)
    identity, source = quic.make_ids()
    for datagram in build_datagrams(_hello(attempt, source), identity, source_id=source):
        body = bytearray(packets.build_datagram(ends, datagram))
        body[6:8] = b"\0\0"
        attempt.ground.wire.send(ends, packets.UDP, bytes(body))
    time.sleep(1)
    return Result()


@case(families=BOTH, ground=INSPECT, control=True, hello=True)
def quic_in_ip_fragments(attempt: Attempt) -> Result:
    port = attempt.ground.wire.take_port()
    made = client(attempt, own=port)
    ends = packets.Ends(packets.pack_address(attempt.own), port, packets.pack_address(attempt.address()), plan.QUIC)
    identity, source = quic.make_ids()
    for datagram in build_datagrams(_hello(attempt, source), identity, source_id=source):
        body = packets.build_datagram(ends, datagram)
        looks = packets.HONEST._replace(fragments=packets.cut(len(body), 304, 608))
        attempt.ground.wire.send(ends, packets.UDP, body, looks)
    return _wait(made)
