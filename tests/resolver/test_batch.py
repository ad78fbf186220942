"""Batches of datagrams over real sockets: every size, full batches, and the address that was asked."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.resolver.batch import BATCH, SENDER_BYTES, SLOT_BYTES, Batch


@contextlib.contextmanager
def opened(host: str, packet_info: bool = False) -> Iterator[tuple[Batch, socket.socket, int]]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, 0))
        yield Batch(server, packet_info), server, server.getsockname()[1]


@contextlib.contextmanager
def client(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.bind((host, 0))
        yield sock


def echo(batch: Batch, suffix: bytes = b"") -> list[bytes]:
    """Answer what waits with the same bytes and `suffix`; return what came."""
    lengths = batch.receive()
    seen = []
    for index, length in enumerate(lengths):
        start = index * SLOT_BYTES
        seen.append(batch.memory[start : start + length])
        batch.memory[start + length : start + length + len(suffix)] = suffix
        batch.answer_words[2 * index + 1] = length + len(suffix)
    assert batch.send(0, len(lengths)) == len(lengths)
    batch.reset()
    return seen


def wait(server: socket.socket) -> None:
    assert select.select([server], [], [], 10)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_nothing_waits(host: str) -> None:
    with opened(host) as (batch, _, _):
        assert batch.receive() == []
        assert batch.receive() == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, SLOT_BYTES - 10), min_size=1, max_size=2 * BATCH + 5), st.sampled_from(["127.0.0.1", "::1"])
)
def test_datagrams_of_every_size_come_and_go_whole(sizes: list[int], host: str) -> None:
    with opened(host) as (batch, server, port), client(host) as one, client(host) as two:
        sent = [bytes((n % 251,)) * size for n, size in enumerate(sizes)]
        for number, packet in enumerate(sent):
            (one, two)[number % 2].sendto(packet, (host, port))
        came: list[bytes] = []
        while len(came) < len(sent):
            wait(server)
            part = echo(batch, b"+tail")
            assert len(part) <= BATCH
            came += part
        assert came == sent
        for number, packet in enumerate(sent):  # each to its own sender, in its order
            assert (one, two)[number % 2].recv(4096) == packet + b"+tail"


def test_a_datagram_longer_than_its_slot_is_cut_and_hurts_nobody() -> None:
    with opened("127.0.0.1") as (batch, server, port), client() as sock:
        for packet in (b"a" * 100, b"b" * 60_000, b"c" * 100):
            sock.sendto(packet, ("127.0.0.1", port))
        wait(server)
        assert [len(packet) for packet in echo(batch)] == [100, SLOT_BYTES, 100]
        assert [sock.recv(4096)[:1] for _ in range(3)] == [b"a", b"b", b"c"]


def test_lengths_are_as_new_after_reset() -> None:
    with opened("127.0.0.1") as (batch, server, port), client() as sock:
        for size in (10, 2000, 10, 2000):
            sock.sendto(b"x" * size, ("127.0.0.1", port))
            wait(server)
            lengths = batch.receive()
            assert lengths == [size]
            batch.answer_words[1] = 12
            assert batch.send(0, 1) == 1
            assert len(sock.recv(4096)) == 12
            batch.reset()


def test_parts_of_a_batch_can_be_sent() -> None:
    with opened("127.0.0.1") as (batch, server, port), client() as sock:
        for number in range(5):
            sock.sendto(bytes((number,)) * 20, ("127.0.0.1", port))
        wait(server)
        for index, length in enumerate(batch.receive()):
            batch.answer_words[2 * index + 1] = length
        assert batch.send(1, 2) == 2
        assert batch.send(4, 1) == 1
        assert [sock.recv(100)[0] for _ in range(3)] == [1, 2, 4]


def test_what_cannot_be_sent_is_passed_over() -> None:
    """A datagram with source port 0, or to a network without a route: the others of the batch still get theirs."""
    with opened("127.0.0.1") as (batch, server, port), client() as sock:
        for number in range(4):
            sock.sendto(bytes((number,)) * 20, ("127.0.0.1", port))
        wait(server)
        for index, length in enumerate(batch.receive()):
            batch.answer_words[2 * index + 1] = length
        batch.senders[SENDER_BYTES + 2 : SENDER_BYTES + 4] = b"\0\0"
        batch.senders[2 * SENDER_BYTES + 4 : 2 * SENDER_BYTES + 8] = b"\xff\xff\xff\xff"
        batch.send(0, 4)
        assert [sock.recv(100)[0] for _ in range(2)] == [0, 3]


def test_a_closed_client_port_is_no_error() -> None:
    with opened("127.0.0.1") as (batch, server, port):
        for _ in range(3):
            with client() as sock:
                sock.sendto(b"gone" * 5, ("127.0.0.1", port))
                wait(server)
                lengths = batch.receive()
            batch.answer_words[1] = lengths[0]
            batch.send(0, 1)  # comes back as ICMP "port unreachable"
            batch.reset()
        with client() as sock:
            sock.sendto(b"alive", ("127.0.0.1", port))
            wait(server)
            while not echo(batch):
                wait(server)
            assert sock.recv(100) == b"alive"


@pytest.mark.parametrize(("bound", "hosts"), [("0.0.0.0", ("127.0.0.1", "127.0.0.5", "127.1.2.3")), ("::", ("::1",))])
def test_answers_leave_from_the_address_that_was_asked(bound: str, hosts: tuple[str, ...]) -> None:
    source = "::1" if ":" in bound else "127.0.0.1"
    with opened(bound, packet_info=True) as (batch, server, port), client(source) as sock:
        for _ in range(3):
            for host in hosts:
                sock.sendto(host.encode(), (host, port))
            came: list[bytes] = []
            while len(came) < len(hosts):
                wait(server)
                came += echo(batch)
            for host in hosts:
                data, sender = sock.recvfrom(100)
                assert (data.decode(), sender[0], sender[1]) == (host, host, port)


def test_control_is_kept_for_later_only_with_packet_info() -> None:
    for bound, info in (("127.0.0.1", False), ("0.0.0.0", True)):
        with opened(bound, info) as (batch, server, port), client() as sock:
            sock.sendto(b"x", ("127.0.0.5" if info else "127.0.0.1", port))
            wait(server)
            batch.receive()
            control = batch.control_of(0)
            assert (socket.inet_aton("127.0.0.5") in control) is info
            assert bool(control) is info


def test_a_closed_socket_raises() -> None:
    with opened("127.0.0.1") as (batch, server, _):
        server.close()
        with pytest.raises(OSError, match="descriptor"):
            batch.receive()
