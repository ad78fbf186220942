"""Packets in the server's name that the device makes itself: the home's router is on their way too."""

from __future__ import annotations

import struct
import time

from tests.netns.evasion import packets
from tests.netns.evasion.attack import Attempt, Result, case
from tests.netns.evasion.cases_decoys import decoy_of
from tests.netns.evasion.cases_ports import INITIATION
from tests.netns.evasion.cases_segments import BOTH, LOST
from tests.netns.evasion.packets import ACK, PSH, RST, SYN, Ends
from tests.netns.evasion.tls import Talk
from tests.netns.evasion.wire import Connection
from tests.netns.lab import plan

MORE = b"\x14\x03\x03\0\1\1" + b"\x17\x03\x03\0\x35" + bytes(53)  # what follows a hello


def from_server(connection: Connection) -> Ends:
    """The ends of the server's packets as the router meets them: over IPv4 they go to the router's own address."""
    ends = connection.ends
    target = ends.source if ends.is_v6 else packets.pack_address(plan.wan4(1))
    return Ends(ends.destination, ends.destination_port, target, ends.source_port)


def answer(connection: Connection, size: int, flags: int = ACK | PSH, acknowledged: int = 0, shift: int = 0) -> None:
    """Say something in the server's name; the client itself does not listen while it comes by."""
    connection.is_deaf = True
    back = from_server(connection)
    number = connection.initial + 1 + acknowledged
    options = packets.NOP * 2 + struct.pack(">BBII", 8, 10, 0xFFFF0000, 0)
    sequence = connection.expected + shift
    body = packets.build_segment(back, sequence, number, flags, b"\x16" * size, options=options)
    connection.wire.send(back, packets.TCP, body)
    time.sleep(0.1)
    connection.is_deaf = False


@case(families=BOTH, variants={"much": 1200, "little": 100})
def made_up_answer(attempt: Attempt) -> Result:
    """A decoy is answered, and the answer acknowledged: the server has heard of nothing."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        connection.segment(fake, 0, looks=LOST)
        connection.segment(MORE, len(fake), looks=LOST)
        time.sleep(0.05)
        told = connection.expected + attempt.variant
        answer(connection, attempt.variant, acknowledged=len(fake))
        connection.segment(b"", len(fake) + len(MORE), ACK, acknowledgement=told, looks=LOST)
        connection.segment(MORE, len(fake), acknowledgement=told, looks=LOST)
        time.sleep(0.1)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def made_up_opening(attempt: Attempt) -> Result:
    """A SYN-ACK of our own says where the server's bytes begin."""

    def deliver(connection: Connection, hello: bytes) -> None:
        fake = decoy_of(attempt)
        answer(connection, 0, SYN | ACK, shift=-1 - 5000)
        connection.segment(fake, 0, looks=LOST)
        connection.segment(MORE, len(fake), looks=LOST)
        connection.segment(MORE, len(fake), looks=LOST)
        time.sleep(0.05)
        connection.send(hello)

    return attempt.browse(attempt.connect(), deliver)


@case(families=BOTH)
def made_up_opening_before_the_servers(attempt: Attempt) -> Result:
    """The same before the server has answered, on a SYN that it never gets."""
    connection = attempt.prepare()
    connection.send_opening(looks=LOST)
    time.sleep(0.05)
    connection.expected = 1000
    answer(connection, 0, SYN | ACK, shift=-1)
    answer(connection, 900, acknowledged=600)
    fake = decoy_of(attempt)
    connection.segment(b"", 0, ACK, acknowledgement=1000, looks=LOST)
    connection.segment(fake, 0, acknowledgement=1000, looks=LOST)
    connection.segment(MORE, len(fake), acknowledgement=1900, looks=LOST)
    connection.segment(MORE, len(fake), acknowledgement=1900, looks=LOST)
    time.sleep(0.1)
    if not connection.open():
        return Result()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=BOTH)
def made_up_reset(attempt: Attempt) -> Result:
    """The server seems to end a visit to an open site, and the same ports are opened anew."""
    connection = attempt.connect()
    talk = Talk(attempt.other)
    connection.send(talk.hello)
    assert attempt.other.encode() in talk.finish(connection)
    answer(connection, 0, RST | ACK, acknowledged=connection.sent)
    connection.segment(b"", connection.sent, RST)
    time.sleep(0.2)
    style = connection.style._replace(port=connection.ends.source_port, initial=connection.initial + 300_000)
    again = attempt.prepare(plan.TLS, style)
    if not again.open():
        return Result()
    return attempt.browse(again, lambda connection, hello: connection.send(hello))


@case(families=(6,))
def opened_from_the_other_side(attempt: Attempt) -> Result:
    """The device pretends to be the server that calls it: then its own packets are the answers.

    The router carries such a packet from the home's interface back to it, and notes a connection.
    """
    connection = attempt.prepare()
    there = connection.ends
    back = packets.Ends(there.destination, there.destination_port, there.source, there.source_port)
    body = packets.build_segment(back, 1, 0, SYN, options=b"\2\4\5\xb4")
    connection.wire.send(back, packets.TCP, body)
    time.sleep(0.2)
    if not connection.open():
        return Result()
    return attempt.browse(connection, lambda connection, hello: connection.send(hello))


@case(families=(6,), hello=True)
def datagram_from_the_other_side(attempt: Attempt) -> Result:
    """The same with UDP, and a VPN's handshake."""
    vpn = plan.SITES["vpn.open.example"].host
    ends = packets.Ends(
        packets.pack_address(attempt.own),
        attempt.ground.wire.take_port(),
        packets.pack_address(attempt.address(vpn)),
        plan.WIREGUARD,
    )
    back = packets.Ends(ends.destination, ends.destination_port, ends.source, ends.source_port)
    attempt.ground.wire.send(back, packets.UDP, packets.build_datagram(back, b"hello"))
    time.sleep(0.2)
    attempt.ground.wire.send(ends, packets.UDP, packets.build_datagram(ends, INITIATION))
    time.sleep(0.7)
    taken = [seen for seen in attempt.ground.world.seen("wireguard") if seen.client_port == ends.source_port]
    return Result(b"", bool(taken))
