"""TCP: ports that are used again, and connections that router and server do not count as the same."""

from __future__ import annotations

import struct
import time

from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_segments import BOTH, LOST
from tests.netns.evasion.packets import ACK, NOP, RST
from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import Connection, Style
from tests.netns.lab import plan


def again(attempt: Attempt, before: Connection, shift: int = 300_000) -> Connection:
    """A new connection with the ports of one before."""
    style = Style(port=before.ends.source_port, initial=before.initial + shift & 0xFFFFFFFF)
    return attempt.prepare(before.ends.destination_port, style)


def visit(connection: Connection, name: str, *, closes: bool = False) -> None:
    """An ordinary visit over TLS. Raises AssertionError when it does not succeed."""
    talk = Talk(name, closes=closes)
    connection.send(talk.hello)
    assert name.encode() in talk.finish(connection), "the open site did not answer"


def visit_again(attempt: Attempt, connection: Connection) -> Result:
    if not connection.open():
        return Result()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=BOTH, control=True)
def port_of_a_refused_one(attempt: Attempt) -> Result:
    """What was refused does not open the way for what follows on the same ports, and does not shut it either."""
    first = attempt.connect()
    first.send(Talk(attempt.name if attempt.is_attack else "port.blocked.example").hello)
    first.wait(lambda: first.is_reset or len(first.received) > 0, 3.0)
    time.sleep(0.3)  # the server has not heard of the refusal
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH, control=True)
def port_of_an_allowed_one(attempt: Attempt) -> Result:
    """Three seconds after a visit to an open site."""
    first = attempt.connect()
    visit(first, attempt.other)
    first.close()
    time.sleep(3)
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH, control=True)
def port_at_once(attempt: Attempt) -> Result:
    """The server has closed; the ports are used again without a pause."""
    first = attempt.connect()
    visit(first, attempt.other, closes=True)
    first.wait(lambda: first.is_ended)
    first.close()
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH, control=True)
def port_of_a_page(attempt: Attempt) -> Result:
    """A visit over plain HTTP, closed by both, and the same ports for TLS's neighbour: another request."""
    first = attempt.connect(plan.HTTP)
    first.send(f"GET / HTTP/1.1\r\nHost: {attempt.other}\r\nConnection: close\r\n\r\n".encode())
    assert first.expect(b"hello from"), "the open site did not answer"
    first.wait(lambda: first.is_ended)
    first.close()
    time.sleep(1)
    second = again(attempt, first)
    if not second.open():
        return Result()
    return attempt.surf(second, f"GET / HTTP/1.1\r\nHost: {attempt.name}\r\n\r\n".encode())


@case(families=BOTH)
def reset_that_only_the_server_takes(attempt: Attempt) -> Result:
    """A server takes a RST at the edge of what it got out of order (RFC 5961 with SACK); the router's kernel does not.

    Then the same ports are opened anew: for the router it is still the allowed connection.
    """
    first = attempt.connect()
    visit(first, attempt.other)
    first.segment(bytes(100), first.sent + 300)
    time.sleep(0.3)
    first.segment(b"", first.sent + 400, RST)
    time.sleep(0.3)
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH)
def server_that_has_forgotten(attempt: Attempt) -> Result:
    """The server closes, the client never does; after a while only the router knows of the connection."""
    first = attempt.connect()
    visit(first, attempt.other, closes=True)
    first.wait(lambda: first.is_ended)
    time.sleep(5)
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH)
def opening_into_an_allowed_one(attempt: Attempt) -> Result:
    """Both: a pretended opening in a running connection, then a reset, and a real one."""
    first = attempt.connect()
    visit(first, attempt.other)
    first.send_opening(initial=first.initial + 100_000, looks=LOST)
    time.sleep(0.1)
    first.segment(b"", first.sent, RST)
    time.sleep(0.3)
    return visit_again(attempt, again(attempt, first))


@case(families=BOTH)
def allowed_hello_that_nobody_heard(attempt: Attempt) -> Result:
    """Selective acknowledgements and stamps of the future around a decoy; then the ports anew."""
    first = attempt.connect()
    fake = Talk(attempt.decoy).hello
    first.segment(fake, 0, looks=LOST)
    sack = NOP * 2 + struct.pack(">BBII", 5, 10, first.expected, first.expected + 100 & 0xFFFFFFFF)
    first.segment(b"", len(fake), ACK, options=sack, looks=LOST)
    first.segment(b"", 0, RST)
    time.sleep(0.3)
    return visit_again(attempt, again(attempt, first))
