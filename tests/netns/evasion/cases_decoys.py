"""TCP: packets that a filter sees and the server does not take, and bytes that are two things at once."""

from __future__ import annotations

import time
from typing import Any

from tests.netns.evasion import servers
from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH, LOST, cut
from tests.netns.evasion.packets import ACK, AUTHENTICATION, FEW_HOPS, FIN, HONEST, MD5, PSH, RST, SYN
from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import Connection, Style

FAR = 0x30000000


def decoy_of(attempt: Attempt) -> bytes:
    """A hello for an open name, as long as the one for the blocked name."""
    return Talk(attempt.decoy).hello


# Each takes a connection, and bytes at an offset, so that the filter may believe them and the server may not.
INVISIBLE: dict[str, Any] = {
    "few-hops": lambda each, data, at: each.segment(data, at, looks=LOST),
    "bad-checksum": lambda each, data, at: each.segment(data, at, looks=HONEST._replace(checksum=7)),
    "future-ack": lambda each, data, at: each.segment(data, at, acknowledgement=each.expected + 70_000),
    "old-ack": lambda each, data, at: each.segment(data, at, acknowledgement=each.expected - 900_000),
    "md5": lambda each, data, at: each.segment(data, at, options=MD5 + each.stamp()),
    "old-stamp": lambda each, data, at: each.segment(data, at, options=each.stamp(-90_000)),
    "no-ack-flag": lambda each, data, at: each.segment(data, at, PSH),
    "no-flag": lambda each, data, at: each.segment(data, at, 0),
    "syn-ack-flags": lambda each, data, at: each.segment(data, at, SYN | ACK),
    "syn-flag": lambda each, data, at: each.segment(data, at, SYN),
    "syn-psh-ack": lambda each, data, at: each.segment(data, at, SYN | ACK | PSH),
    "fin-without-ack": lambda each, data, at: each.segment(data, at, FIN | PSH),
    "rst-with-data": lambda each, data, at: each.segment(data, at, RST | ACK, looks=LOST),
    "far-ahead": lambda each, data, at: each.segment(data, at + FAR),
    "far-behind": lambda each, data, at: each.segment(data, at - FAR),
    "far-and-few-hops": lambda each, data, at: each.segment(data, at + FAR, looks=LOST),
}


@case(families=BOTH, variants=INVISIBLE)
def decoy(attempt: Attempt) -> Result:
    """A whole hello for an open name, and then the real one."""

    def deliver(connection: Connection, hello: bytes) -> None:
        attempt.variant(connection, decoy_of(attempt), 0)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, dead="a kernel without TCP-AO takes the decoy for the hello")
def decoy_ao(attempt: Attempt) -> Result:
    """A segment that only peers with a key take (RFC 5925)."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.segment(decoy_of(attempt), 0, options=AUTHENTICATION + connection.stamp())
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


BELIEVED = {word: INVISIBLE[word] for word in ("few-hops", "bad-checksum", "md5", "old-stamp", "no-ack-flag")}


@case(families=BOTH, variants=BELIEVED)
def decoy_in_the_middle(attempt: Attempt) -> Result:
    """The beginning is real, then the name comes twice."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode()) - 2
        connection.push(cut(hello[:at]))
        attempt.variant(connection, decoy_of(attempt)[at:], at)
        time.sleep(0.05)
        connection.push([(at, hello[at:])])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def decoy_without_stamp(attempt: Attempt) -> Result:
    """Linux takes data without a timestamp on a connection that agreed on them: the decoy is a real hello."""
    talk = Talk(attempt.name)
    connection = attempt.connect()
    connection.segment(decoy_of(attempt), 0, options=b"", looks=LOST)
    connection.segment(talk.hello, 0, options=b"")
    connection.push([(0, talk.hello)])
    return Result(talk.finish(connection))


@case(families=BOTH)
def decoy_first_without_stamps(attempt: Attempt) -> Result:
    """Makes the filter believe that timestamps do not count, for decoys with old ones."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        connection.segment(fake[:1], 0, options=b"", looks=LOST)
        connection.segment(fake, 0, options=connection.stamp(-90_000))
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def decoy_from_the_future(attempt: Attempt) -> Result:
    """A timestamp of tomorrow in a packet that the server never gets: all later ones look old."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.segment(decoy_of(attempt), 0, options=connection.stamp(80_000_000), looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def decoy_acknowledged_early(attempt: Attempt) -> Result:
    """The decoy is followed by what a client says after the handshake."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        more = b"\x14\x03\x03\0\1\1" + b"\x17\x03\x03\0\x35" + bytes(53)
        connection.segment(fake, 0, looks=LOST)
        connection.segment(more, len(fake), looks=LOST)
        for ahead in (0, 1, 100, 2000):
            connection.segment(b"", len(fake) + len(more), ACK, acknowledgement=connection.expected + ahead)
            connection.segment(more, len(fake), acknowledgement=connection.expected + ahead, looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def other_bytes_ahead(attempt: Attempt) -> Result:
    """Other bytes wait behind a gap; the server takes those that come in order."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode())
        connection.segment(decoy_of(attempt)[at:], at)
        time.sleep(0.05)
        connection.push([(0, hello)])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def other_bytes_second(attempt: Attempt) -> Result:
    """The real bytes wait behind a gap; the server keeps the first that came."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode())
        connection.segment(hello[at:], at)
        time.sleep(0.05)
        connection.segment(decoy_of(attempt)[at:], at)
        time.sleep(0.05)
        connection.push([(0, hello[:at])])
        connection.push([(at, hello[at:])])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def other_bytes_behind(attempt: Attempt) -> Result:
    """Bytes that the server has are sent again as other bytes, with new ones behind them."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode()) + 4
        connection.push([(0, hello[:at])])
        fake = decoy_of(attempt)
        connection.segment(fake[:at] + hello[at:], 0)
        connection.sent = len(hello)
        connection.push([(at - 2, fake[at - 2 : at] + hello[at:])])

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def other_bytes_for_a_byte(attempt: Attempt) -> Result:
    """One byte of the name, before and behind the true one."""

    def deliver(connection: Connection, hello: bytes) -> None:
        at = hello.index(attempt.name.encode())
        connection.segment(b"z", at, looks=LOST)
        connection.push(cut(hello, at, at + 1))
        connection.segment(b"z", at)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def behind_the_window(attempt: Attempt) -> Result:
    """A segment that ends behind what the server can take."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        connection.segment(fake, 64_000)
        connection.segment(fake, 70_000)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


# Openings and ends


@case(families=BOTH)
def other_opening_before(attempt: Attempt) -> Result:
    """A SYN that the server never gets says where the stream begins."""
    connection = attempt.prepare()
    connection.send_opening(initial=connection.initial - 5000, looks=LOST)
    time.sleep(0.1)
    if not connection.open():
        return Result()
    fake = decoy_of(attempt)
    connection.segment(fake, -5000, looks=LOST)
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=BOTH)
def other_opening_after(attempt: Attempt) -> Result:
    """The same after the handshake."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.send_opening(initial=connection.initial + 2000, looks=LOST)
        time.sleep(0.05)
        connection.segment(decoy_of(attempt), 2000, looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def opening_twice(attempt: Attempt) -> Result:
    """The SYN again, as when the answer was late."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.send_opening(looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def hello_with_the_opening(attempt: Attempt) -> Result:
    """Data with the SYN (RFC 7413), at a server that asks for no cookie."""
    connection = attempt.prepare(servers.QUICK)
    talk = Talk(attempt.name)
    connection.send_opening(talk.hello)
    if connection.wait(lambda: connection.is_open, 3.0):
        connection.acknowledge()
    connection.sent = len(talk.hello)
    return Result(talk.finish(connection))


@case(families=BOTH, control=True)
def half_a_hello_with_the_opening(attempt: Attempt) -> Result:
    """The first half comes with the SYN; what the server did not take is sent again, as honest clients do."""
    connection = attempt.prepare(servers.QUICK)
    talk = Talk(attempt.name)
    connection.send_opening(talk.hello[:160])
    if connection.wait(lambda: connection.is_open, 1.0):
        connection.acknowledge()
    elif not connection.open():
        return Result()
    connection.push([(0, talk.hello[:160]), (160, talk.hello[160:])])
    return Result(talk.finish(connection))


@case(families=BOTH)
def decoy_with_the_opening(attempt: Attempt) -> Result:
    """A SYN with an open hello goes lost; then all is honest, but for the name."""
    connection = attempt.prepare(servers.QUICK)
    connection.send_opening(decoy_of(attempt), looks=LOST)
    time.sleep(0.05)
    assert connection.open()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


ENDS: dict[str, Any] = {
    "rst": lambda each: each.segment(b"", 0, RST, looks=LOST),
    "rst-ack": lambda each: each.segment(b"", 0, RST | ACK, looks=LOST),
    "rst-bad-checksum": lambda each: each.segment(b"", 0, RST, looks=HONEST._replace(checksum=3)),
    "rst-off-by-five": lambda each: each.segment(b"", 5, RST),
    "fin": lambda each: each.segment(b"", 0, FIN | ACK, looks=LOST),
    "fin-ahead": lambda each: each.segment(b"", 900, FIN | ACK, looks=LOST),
}


@case(families=BOTH, variants=ENDS)
def pretended_end(attempt: Attempt) -> Result:
    """The filter sees an end that never reaches the server."""

    def deliver(connection: Connection, hello: bytes) -> None:
        attempt.variant(connection)
        time.sleep(0.1)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def end_and_new_opening(attempt: Attempt) -> Result:
    """Behind a pretended end stands a pretended new connection with an open hello."""

    def deliver(connection: Connection, hello: bytes) -> None:
        connection.segment(b"", 0, RST, looks=LOST)
        time.sleep(0.05)
        connection.send_opening(looks=LOST)
        connection.segment(decoy_of(attempt), 0, looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH, control=True)
def no_stamps_agreed(attempt: Attempt) -> Result:
    """A connection without timestamps, with decoys that bring some."""
    connection = attempt.connect(style=Style(stamps=False))

    def deliver(connection: Connection, hello: bytes) -> None:
        if attempt.is_attack:
            connection.segment(decoy_of(attempt), 0, options=connection.stamp(), looks=LOST)
            time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(connection, deliver)


@case(families=(4,))
def decoy_too_big_to_arrive(attempt: Attempt) -> Result:
    """Half of the decoy's fragments go lost behind the router."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        size = 20 + 12 + len(fake)
        looks = HONEST._replace(hops=FEW_HOPS, fragments=((0, 104), (104, size)))
        connection.segment(fake, 0, looks=looks)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)
