"""The UDP side: a batch of datagrams in, their answers out, then wait again. This is the hot path.

A packet whose bytes behind the id were answered before gets the same answer, written into the slot it came in: one
look at the client, one at its table, three writes. Anything else takes `handle`. Nothing here awaits, logs or stores.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from guardian.clock import tell_time
from guardian.config import Endpoint
from guardian.resolver.answer import Ready, build_error
from guardian.resolver.batch import BATCH, SENDER_BYTES, SLOT_BYTES, Batch
from guardian.resolver.cache import Entry
from guardian.resolver.clients import Client, Clients
from guardian.resolver.handle import Handler, Miss, Unsettled
from guardian.wire import dns

ROUNDS = 8  # batches before the event loop gets its turn
FLUSH_QUERIES = 256  # between two flushes to the history: more would hold the loop for milliseconds
MAX_RETRIES = 3  # of one query whose policy changed while upstream was asked
RECEIVE_BUFFER = 1 << 20  # bytes; bursts at start-up of a whole home
HOLD_SECONDS = 0.05  # for the first query of an unknown IPv6 address, while its neighbour is looked for
MAX_HELD = 256
REFUSALS_PER_SECOND = 20  # to strangers; beyond that silence: nobody uses us to flood somebody

_CONTROL_HEAD = struct.Struct("@Nii")  # struct cmsghdr: length, level, type


class Fetcher(Protocol):
    """Takes a miss; `guardian.resolver.resolve.Resolver` is one."""

    def fetch(self, miss: Miss, waiter: Callable[[Entry], None] | None = None) -> None: ...


class Settling(NamedTuple):
    """How names are settled that a slow list must be asked about.

    `settle(names, asker, done)` calls `done(True)` when the lists can say, `done(False)` when they cannot in time.
    `keep(entry)` puts what upstream said into the cache, when that may be kept.
    """

    settle: Callable[[tuple[bytes, ...], bytes, Callable[[bool], None]], None]
    keep: Callable[[Entry], None]


class Core:
    """What all listeners share: who asks, what to answer, whom to ask, what was seen. One per gateway."""

    def __init__(
        self,
        clients: Clients,
        handler: Handler,
        fetcher: Fetcher,
        drain: Callable[[list[Client]], None],
        call_later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        """`drain` takes the clients that were answered, with their counts and logs; `flush` calls it.

        `call_later(seconds, call)` is the event loop's; without it nobody waits for a MAC.
        """
        self.clients = clients
        self.handler = handler
        self.fetcher = fetcher
        self.answered = 0  # since the last flush
        self.refused = 0
        self.limited = 0
        self.lost = 0  # answers that could not be sent
        self.settling: Settling | None = None  # None: no list is slow, and every name is settled
        self._held = 0
        self._call_later = call_later
        self._drain = drain
        self._refusals_left = REFUSALS_PER_SECOND

    def flush(self) -> None:
        """Hand what was answered to the history."""
        self.answered = 0
        self._drain(self.clients.take_active())

    def tick(self) -> None:
        """Call once a second: refills what is limited by the second."""
        self._refusals_left = REFUSALS_PER_SECOND
        self.clients.refill()

    def answer(
        self, packet: bytes, address: bytes, limit: int | None, reply: Callable[[bytes], None], tries: int = MAX_RETRIES
    ) -> bytes | None:
        """Return the answer to `packet` from the packed `address`, or None: silence, or `reply` is called later."""
        now = tell_time()
        client = self.clients.find(address, now)
        if client is None:
            self.refused += 1
            if self._refusals_left <= 0 or len(packet) < dns.HEADER_BYTES or packet[2] & 0x80:
                return None
            self._refusals_left -= 1
            return build_error(packet, dns.RCODE_REFUSED).reply_to(packet)
        if client.allowance <= 0:
            self.limited += 1
            return None
        if client.awaits_mac and self._call_later is not None and self._held < MAX_HELD:
            self._held += 1
            self._call_later(HOLD_SECONDS, _Waiter(self, packet, address, limit, reply, tries).ask_again)
            return None
        client.allowance -= 1
        outcome = self.handler.handle(packet, client, now, int(time.monotonic()), limit)
        if isinstance(outcome, Ready):
            client.note(packet[2:], outcome)
            return outcome.reply_to(packet)
        if outcome is not None:
            self._go_on(_Waiter(self, packet, address, limit, reply, tries), outcome)
        return None

    def _go_on(self, waiter: _Waiter, outcome: Miss | Unsettled, found: Entry | None = None) -> None:
        """Ask upstream, or settle names and ask upstream at the same time."""
        if isinstance(outcome, Miss):
            self.fetcher.fetch(outcome, waiter.wake)
        else:
            assert self.settling is not None
            pending = _Pending(self.settling, waiter, found, awaits=outcome.miss is not None)
            self.settling.settle(outcome.names, outcome.asker, pending.on_settled)
            if outcome.miss is not None:
                self.fetcher.fetch(outcome.miss, pending.on_found)

    def finish(self, waiter: _Waiter, found: Entry | None, *, waits: bool = False) -> bool:
        """Answer a query whose question upstream has just been answered, or whose name has been settled.

        Return False when nothing was done, because `waits` tells that an answer of upstream is still to come.
        """
        now = tell_time()
        client = self.clients.find(waiter.address, now)
        if client is None:
            return True  # the networks changed meanwhile
        outcome = self.handler.handle(waiter.packet, client, now, int(time.monotonic()), waiter.limit, found)
        if isinstance(outcome, Ready):
            client.note(waiter.packet[2:], outcome)
            waiter.reply(outcome.reply_to(waiter.packet))
        elif isinstance(outcome, Miss) and waits:
            return False
        elif outcome is not None and waiter.tries > 0:  # another name is needed now
            self._go_on(waiter._replace(tries=waiter.tries - 1), outcome, found)
        elif isinstance(outcome, Unsettled):
            self.put_off(waiter)
        return True

    def put_off(self, waiter: _Waiter) -> None:
        """Let a client ask again: its name could not be settled in time."""
        waiter.reply(self.handler.put_off(waiter.packet, waiter.limit))

    def release(self, waiter: _Waiter) -> None:
        """Answer a query that was held until the kernel knows its sender, or long enough."""
        self._held -= 1
        client = self.clients.find(waiter.address, tell_time())
        if client is not None and client.awaits_mac:
            self.clients.give_up_waiting(client)
        answer = self.answer(waiter.packet, waiter.address, waiter.limit, waiter.reply, waiter.tries)
        if answer is not None:
            waiter.reply(answer)


class _Waiter(NamedTuple):
    core: Core
    packet: bytes
    address: bytes
    limit: int | None
    reply: Callable[[bytes], None]
    tries: int

    def wake(self, found: Entry) -> None:
        self.core.finish(self, found)

    def ask_again(self) -> None:
        self.core.release(self)


class _Pending:
    """A query whose names are being settled, while upstream may be asked. It is answered once."""

    __slots__ = ("_awaits", "_found", "_is_over", "_is_settled", "_settling", "_waiter")

    def __init__(self, settling: Settling, waiter: _Waiter, found: Entry | None, *, awaits: bool) -> None:
        """`found` is what upstream said already; `awaits` tells that it will say something."""
        self._settling = settling
        self._waiter = waiter
        self._found = found
        self._awaits = awaits
        self._is_settled = self._is_over = False

    def on_found(self, found: Entry) -> None:
        """Upstream has spoken."""
        self._found = found
        self._awaits = False
        if self._is_settled:
            self._finish()

    def on_settled(self, is_settled: bool) -> None:
        """The names are settled, or cannot be in time."""
        if not is_settled:
            self._waiter.core.put_off(self._waiter)
            return
        self._is_settled = True
        self._finish()

    def _finish(self) -> None:
        if self._is_over:
            return
        found = self._found
        self._is_over = self._waiter.core.finish(self._waiter, found, waits=self._awaits)
        if found is not None:
            self._settling.keep(found)


def open_udp(endpoint: Endpoint) -> socket.socket:
    """Return a bound, non-blocking UDP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # No SO_REUSEADDR: with UDP it would take the port from whoever has it, without a word.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Of a link-local address `bind` wants the scope as a number of its own.
        numeric = socket.getaddrinfo(
            endpoint.host, endpoint.port, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        listener.bind(numeric[0][4])
    except OSError:
        listener.close()
        raise
    return listener


class UdpListener:
    """One UDP socket. The event loop calls `on_readable` when datagrams wait."""

    def __init__(self, listener: socket.socket, core: Core) -> None:
        self.socket = listener
        self._core = core
        is_v6 = listener.family == socket.AF_INET6
        wildcard = listener.getsockname()[0] in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        self._batch = Batch(listener, wildcard)
        self._family = listener.family
        self._address_from, self._address_to = (8, 24) if is_v6 else (4, 8)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self.socket.fileno()

    def on_readable(self) -> None:
        """Answer what waits, some batches at most."""
        for _ in range(ROUNDS):
            lengths = self._batch.receive()
            if lengths:
                try:
                    self._answer(lengths)
                except BaseException:
                    self._batch.reset()  # or the next datagrams would be cut to the lengths of these answers
                    raise
            if len(lengths) < BATCH:
                break
        if self._core.answered > FLUSH_QUERIES:
            self._core.flush()

    def _answer(self, lengths: list[int]) -> None:
        """The hot loop: local names and no calls on the way of a ready answer."""
        batch = self._batch
        memory, senders, words = batch.memory, batch.senders, batch.answer_words
        core = self._core
        core.answered += len(lengths)
        by_address = core.clients.by_address
        offset, address_end = self._address_from, self._address_to
        second = int(time.monotonic())
        slow: list[tuple[int, int]] | None = None if core.settling is None else []
        first = 0  # of the slots that are answered and not yet sent
        start = -SLOT_BYTES
        for index, length in enumerate(lengths):
            start += SLOT_BYTES
            sender = index * SENDER_BYTES
            client = by_address.get(senders[sender + offset : sender + address_end])
            if client is not None and client.allowance > 0:
                key = memory[start + 2 : start + length]
                ready = client.ready.get(key)
                if ready is not None and (second < ready.good_until or second < ready.ends):
                    if second >= ready.good_until:
                        ready.renew(second)
                    client.allowance -= 1
                    memory[start + 2 : start + 12] = ready.head
                    end = start + length - ready.trailing
                    tail = ready.tail
                    memory[end : end + len(tail)] = tail
                    words[2 * index + 1] = length + ready.grow
                    fact = ready.fact
                    client.counts[fact] += 1
                    log = client.log
                    if log is not None:
                        log.append((key, fact))
                    continue
            answer = self._answer_slowly(index, length)
            if slow is not None:
                slow.append((start, start + max(length, len(answer or b""))))
            if answer is None:
                if index > first:
                    batch.send(first, index - first)
                first = index + 1
            else:
                memory[start : start + len(answer)] = answer
                words[2 * index + 1] = len(answer)
        if first < len(lengths):
            batch.send(first, len(lengths) - first)
        for start, end in slow or ():  # a slot may not be used again for days, and its name may be a listed one
            memory[start:end] = bytes(end - start)
        batch.reset()

    def _answer_slowly(self, index: int, length: int) -> bytes | None:
        batch = self._batch
        start = index * SLOT_BYTES
        if length >= SLOT_BYTES:  # cut off: no honest query is this long
            length = dns.HEADER_BYTES
        packet = batch.memory[start : start + length]
        sender = batch.senders[index * SENDER_BYTES : (index + 1) * SENDER_BYTES]
        address = sender[self._address_from : self._address_to]
        later = _Later(self, sender, batch.control_of(index))
        return self._core.answer(packet, address, None, later.send)

    def send_later(self, answer: bytes, sender: bytes, control: bytes) -> None:
        """Send an answer that was not ready when its query came. A full buffer or a gone client loses it."""
        ancillary = [_parse_control(control)] if control else []
        try:
            self.socket.sendmsg([answer], ancillary, 0, self._sockaddr(sender))
        except OSError as error:
            if error.errno == errno.EBADF:
                return  # the listener was closed by a reload; the client asks again
            self._core.lost += 1

    def _sockaddr(self, sender: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
        port = int.from_bytes(sender[2:4])
        host = socket.inet_ntop(self._family, sender[self._address_from : self._address_to])
        if self._family == socket.AF_INET6:
            return host, port, int.from_bytes(sender[4:8]), int.from_bytes(sender[24:28], sys.byteorder)
        return host, port

    def close(self) -> None:
        """Close the socket; answers still under way are lost."""
        self.socket.close()


class _Later(NamedTuple):
    """Where an answer goes that is not ready yet."""

    listener: UdpListener
    sender: bytes
    control: bytes

    def send(self, answer: bytes) -> None:
        self.listener.send_later(answer, self.sender, self.control)


def _parse_control(control: bytes) -> tuple[int, int, bytes]:
    """The one ancillary message in `control`, as `sendmsg` wants it: level, type, data."""
    length, level, kind = _CONTROL_HEAD.unpack_from(control)
    return level, kind, control[_CONTROL_HEAD.size : length]
