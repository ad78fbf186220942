"""TCP: the same bytes in other pieces, orders and places."""

from __future__ import annotations

import itertools
import time

from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.packets import ACK, FEW_HOPS, FIN, HONEST, PSH, URG
from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import Connection, Style
from tests.netns.lab import plan
from tests.wire import hellos

BOTH = (4, 6)
LOST = HONEST._replace(hops=FEW_HOPS)  # the router sees it, the server does not

Parts = list[tuple[int, bytes]]


def cut(data: bytes, *places: int) -> Parts:
    """Pieces with their offsets."""
    edges = [0, *sorted(places), len(data)]
    return [(begin, data[begin:end]) for begin, end in itertools.pairwise(edges)]


def slice_up(data: bytes, size: int) -> Parts:
    return [(at, data[at : at + size]) for at in range(0, len(data), size)]


PLACES = {
    "first-byte": lambda hello, at: 1,
    "version": lambda hello, at: 2,
    "record-head": lambda hello, at: 5,
    "message-length": lambda hello, at: 7,
    "random": lambda hello, at: 20,
    "before-name": lambda hello, at: at,
    "name-length": lambda hello, at: at - 1,
    "in-name": lambda hello, at: at + 5,
    "behind-name": lambda hello, at: hello.index(b".example", at) + 8,
    "last-byte": lambda hello, at: len(hello) - 1,
}


@case(families=BOTH, variants=PLACES, control=True)
def split(attempt: Attempt) -> Result:
    """Two segments."""

    def deliver(connection: Connection, hello: bytes) -> None:
        place = attempt.variant(hello, hello.index(attempt.name.encode()))
        connection.push(cut(hello, place), pause=0.02)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True, hello=True)
def bytes_one_by_one(attempt: Attempt) -> Result:
    """A small hello, so that an honest client with a bad stack could do it."""
    connection = attempt.connect()
    stream = hellos.frame(hellos.build_hello(attempt.name))
    connection.push(slice_up(stream, 1))
    return attempt.hear(connection)


@case(families=BOTH, control=True)
def pieces_of_forty_bytes(attempt: Attempt) -> Result:
    return attempt.browse(attempt.connect(), lambda connection, hello: connection.push(slice_up(hello, 40)))


@case(families=BOTH, control=True)
def reverse_order(attempt: Attempt) -> Result:
    return attempt.browse(attempt.connect(), lambda connection, hello: connection.push(slice_up(hello, 60)[::-1]))


@case(families=BOTH, control=True)
def first_piece_last(attempt: Attempt) -> Result:
    """The gap at the very beginning is filled when all else is there."""

    def deliver(connection: Connection, hello: bytes) -> None:
        first, *others = slice_up(hello, 100)
        connection.push([*others, first], pause=0.01)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def name_piece_last(attempt: Attempt) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode())
        first, name, rest = cut(hello, at, at + len(attempt.name))
        connection.push([rest, first, name], pause=0.02)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def everything_three_times(attempt: Attempt) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        connection.push([part for part in slice_up(hello, 90) for _ in range(3)])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def pieces_that_overlap(attempt: Attempt) -> Result:
    """Retransmissions in other sizes, with the same bytes."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.push([(at, hello[max(at - 30, 0) : at + 60]) for at in (0,)])
        connection.push([(max(at - 30, 0), hello[max(at - 30, 0) : at + 60]) for at in range(60, len(hello), 60)])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def lost_behind_the_router(attempt: Attempt) -> Result:
    """What the filter has seen is sent again, as after a loss on the line."""

    def deliver(connection: Connection, hello: bytes) -> None:
        for at, part in slice_up(hello, 120):
            connection.segment(part, at, looks=LOST)
        time.sleep(0.1)
        connection.push(slice_up(hello, 200))

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def tiny_segment_size(attempt: Attempt) -> Result:
    """MSS 536 and no options at all, as very old stacks."""
    connection = attempt.connect(style=Style(stamps=False, scale=None, segment=536))
    return attempt.browse(connection, lambda connection, hello: connection.send(hello, 500))


@case(families=BOTH, control=True)
def small_window(attempt: Attempt) -> Result:
    """The server may send little at a time."""
    connection = attempt.connect(style=Style(window=700, scale=None))
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=BOTH, control=True)
def shut_window(attempt: Attempt) -> Result:
    """The server may not answer until the hello is long there."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.window = 0
        connection.send(hello)
        time.sleep(0.5)
        connection.window = connection.style.window
        connection.acknowledge()

    return attempt.browse(attempt.connect(), deliver)


WRAPS = {"in-hello": 0xFFFFFFFF - 100, "at-once": 0xFFFFFFFF, "behind-syn": 0xFFFFFFFE, "sign": 0x7FFFFFFF - 60}


@case(families=BOTH, variants=WRAPS, control=True)
def sequence_wraps(attempt: Attempt) -> Result:
    connection = attempt.connect(style=Style(initial=attempt.variant))
    return attempt.browse(connection, lambda connection, hello: connection.push(slice_up(hello, 50)))


@case(families=BOTH, control=True)
def urgent_pointer_without_flag(attempt: Attempt) -> Result:
    """Servers pass over the pointer."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.segment(hello, 0, urgent=7)
        connection.push(cut(hello))

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def urgent_byte_in_the_name(attempt: Attempt) -> Result:
    """The server takes the urgent byte out of the stream, and finds another name."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode()) + 4
        for _ in range(3):
            connection.segment(hello[:at] + b"x", 0, ACK | PSH | URG, urgent=at + 1)
            if connection.wait(lambda: connection.acknowledged > at, 0.5):
                break
        connection.push([(at + 1, hello[at:])])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def congestion_flags(attempt: Attempt) -> Result:
    """ECE and CWR, as with ECN."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.segment(hello, 0, ACK | PSH | 0x40 | 0x80)
        connection.push(cut(hello))

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def reserved_flags(attempt: Attempt) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        connection.looks = HONEST._replace(reserved=0xE)
        connection.push(cut(hello, 90))
        connection.looks = HONEST

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, hello=True)
def goodbye_with_the_hello(attempt: Attempt) -> Result:
    """FIN in the segment that ends the hello; the server answers all the same."""
    connection = attempt.connect()
    hello = Talk(attempt.name).hello
    connection.push([(0, hello[:100])])
    connection.segment(hello[100:], 100, ACK | PSH | FIN)
    return attempt.hear(connection)._replace(accepted=None)


# Before the first byte


@case(families=BOTH)
def bytes_before_the_first(attempt: Attempt) -> Result:
    """What lies before the stream's first byte is cut off by the server."""

    def deliver(connection: Connection, hello: bytes) -> None:
        for _ in range(3):
            connection.segment(b"\x16\x03\x01\x00\x05junk!" + hello, -10)
            if connection.wait(lambda: connection.acknowledged >= len(hello), 0.5):
                break
        connection.sent = len(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def keep_alives_with_a_byte(attempt: Attempt) -> Result:
    """Probes as old stacks send them, with a byte that the server has."""

    def deliver(connection: Connection, hello: bytes) -> None:
        for at, part in slice_up(hello, 64):
            connection.segment(b"\0", at - 1)
            connection.push([(at, part)])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def keep_alives_before_the_hello(attempt: Attempt) -> Result:
    """Thirty packets, to make a filter lose interest."""

    def deliver(connection: Connection, hello: bytes) -> None:
        for _ in range(30):
            connection.segment(b"", -1, ACK)
        time.sleep(0.2)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, variants=("443", "8443"))
def keep_alives_that_are_answered(attempt: Attempt) -> Result:
    """The server answers two probes a second: it seems to speak first, and has said nothing."""

    def deliver(connection: Connection, hello: bytes) -> None:
        for _ in range(20):
            connection.segment(b"", -1, ACK)
            time.sleep(0.55)
        connection.send(hello)

    return attempt.browse(attempt.connect(int(attempt.variant)), deliver)


@case(families=(4,), control=True)
def long_silence(attempt: Attempt) -> Result:
    """A browser opens a connection in advance, and needs it half a minute later."""

    def deliver(connection: Connection, hello: bytes) -> None:
        time.sleep(28)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=(4,), control=True)
def long_silence_in_the_hello(attempt: Attempt) -> Result:
    def deliver(connection: Connection, hello: bytes) -> None:
        connection.push(cut(hello[:200]))
        time.sleep(24)
        connection.push([(200, hello[200:])])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def odd_port(attempt: Attempt) -> Result:
    return attempt.browse(attempt.connect(plan.TLS_ODD), lambda connection, hello: connection.send(hello))
