"""IP: fragments, options and extension headers, and packets that pretend to come from the other side."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.netns.evasion import packets
from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_decoys import decoy_of
from tests.netns.evasion.cases_segments import BOTH
from tests.netns.evasion.packets import ACK, DESTINATION, HONEST, HOP_BY_HOP, PSH, Looks
from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import Connection

HEAD = 32  # bytes of a TCP header with timestamps


def fragment(size: int, *places: int) -> tuple[tuple[int, int], ...]:
    """Fragments of a segment whose TCP header and data have `size` bytes."""
    return packets.cut(size, *places)


FRAGMENTS: dict[str, Any] = {
    "halves": lambda size: fragment(size, 304),
    "many": lambda size: fragment(size, *range(48, size, 48)),
    "head-alone": lambda size: fragment(size, HEAD),
    "last-first": lambda size: fragment(size, 104, 304)[::-1],
    "twice": lambda size: (*fragment(size, 304)[:1], *fragment(size, 304)),
}


@case(families=BOTH, variants=FRAGMENTS, control=True)
def fragments(attempt: Attempt) -> Result:
    return _in_fragments(attempt, attempt.variant)


def _in_fragments(attempt: Attempt, divide: Callable[[int], tuple[tuple[int, int], ...]]) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        looks = HONEST._replace(fragments=divide(HEAD + len(hello)))
        for _ in range(3):
            connection.segment(hello, 0, looks=looks)
            if connection.wait(lambda: connection.acknowledged >= len(hello), 1.0):
                break
        connection.sent = len(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=(4,), control=True)
def tiny_first_fragment(attempt: Attempt) -> Result:
    """Eight bytes: the ports are there, the flags are not. Over IPv6 nobody takes it (RFC 7112)."""
    return _in_fragments(attempt, lambda size: fragment(size, 8))


@case(families=(6,), dead="the first fragment must have the whole header (RFC 7112)")
def tiny_first_fragment_of_ipv6(attempt: Attempt) -> Result:
    return _in_fragments(attempt, lambda size: fragment(size, 8))


OVERLAPS: dict[str, Any] = {"first-other": True, "second-other": False}


@case(families=BOTH, variants=OVERLAPS, dead="Linux takes no fragments that overlap (RFC 5722)")
def fragments_that_overlap(attempt: Attempt) -> Result:
    """Two fragments for one place, with the open and the blocked name."""
    connection = attempt.connect()
    real, fake = Talk(attempt.name).hello, decoy_of(attempt)
    ends = connection.ends
    bodies = [
        packets.build_segment(
            ends, connection.initial + 1, connection.expected, ACK | PSH, data, options=connection.stamp()
        )
        for data in (fake, real)
    ]
    fake_body, real_body = bodies if attempt.variant else bodies[::-1]
    size, number = len(real_body), random.getrandbits(16)

    def send(body: bytes, begin: int, end: int) -> None:
        connection.wire.send(ends, packets.TCP, body, HONEST._replace(fragments=((begin, end),)), number)

    send(real_body, 0, 104)
    send(fake_body, 104, 304)
    send(real_body, 104, 304)
    send(real_body, 304, size)
    connection.sent = len(real)
    return attempt.hear(connection)._replace(accepted=None)


EXTENSIONS: dict[str, Looks] = {
    "hop-by-hop": HONEST._replace(extensions=(packets.padded_extension(HOP_BY_HOP),)),
    "destination": HONEST._replace(extensions=(packets.padded_extension(DESTINATION),)),
    "destination-twice": HONEST._replace(extensions=(packets.padded_extension(DESTINATION),) * 2),
    "routing": HONEST._replace(extensions=(packets.routing_extension(),)),
    "hop-by-hop-and-destination": HONEST._replace(
        extensions=(packets.padded_extension(HOP_BY_HOP), packets.padded_extension(DESTINATION))
    ),
}


@case(families=(6,), variants=EXTENSIONS)
def extension_header(attempt: Attempt) -> Result:
    """Every packet of the connection has it."""
    connection = attempt.prepare()
    connection.looks = attempt.variant
    if not connection.open():
        return Result()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=(6,), variants=EXTENSIONS)
def extension_header_on_the_hello(attempt: Attempt) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        connection.looks = attempt.variant
        connection.send(hello)
        connection.looks = HONEST

    return attempt.browse(attempt.connect(), deliver)


@case(families=(6,))
def atomic_fragment(attempt: Attempt) -> Result:
    """A fragment header in front of the whole (RFC 6946)."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.looks = HONEST._replace(fragments=((0, HEAD + len(hello)),))
        connection.push([(0, hello)])
        connection.looks = HONEST

    return attempt.browse(attempt.connect(), deliver)


OPTIONS: dict[str, bytes] = {
    "nop": b"\1\1\1\1",
    "alert": b"\x94\4\0\0",  # RFC 2113
    "record-route": b"\x07\x07\x04" + bytes(4) + b"\0",
}


@case(variants=OPTIONS)
def ip_options(attempt: Attempt) -> Result:
    connection = attempt.prepare()
    connection.looks = HONEST._replace(options=attempt.variant)
    if not connection.open():
        return Result()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))
