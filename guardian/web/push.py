"""Hints from an MQTT 5 broker that the hotline's feed has something new.

A hint makes a router look sooner and does nothing else, so the broker need not be trusted: it may lie, flood, hang or
be gone, and what it costs is a look now and then. The feed is polled all the same (`guardian.web.feed_watch`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from guardian.config.values import PushConfig
from guardian.errors import FormError, GuardianError, ListError
from guardian.feed import Hint, decode
from guardian.web import mqtt
from guardian.web.mqtt import Message, Packet, Splitter

log = logging.getLogger(__name__)

MAX_HINT_BYTES = 2048
MAX_PACKET_BYTES = 4096
CONNECT_SECONDS = 30.0  # for address, TLS and the broker's yes, together
KEEP_ALIVE = 300  # seconds; a broker may ask for another. Most of what an idle router sends are these
LEAST_KEEP_ALIVE = 10
ANSWER_SECONDS = 30.0  # for a ping, and for a packet that has begun
STEADY_SECONDS = 60.0  # a connection that lived so long was a good one
MOST_PACKETS = 100  # at once; one more each second
MOST_BYTES = 64 * 1024  # at once; so many packets' worth more each second
REPORT_SECONDS = 3600.0  # between two lines in the log about the same trouble
PACKET_ID = 1
_REFUSALS = {
    0x81: "it does not understand MQTT 5 as we speak it",
    0x84: "it does not speak MQTT 5",
    0x86: "the user or the password is wrong",
    0x87: "this router may not",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this router is banned",
    0x8C: "it wants another way to sign in",
    0x8F: "it does not take the topic",
    0x97: "its quota is used up",
    0x9F: "too many connect at once",
}


class BrokerError(GuardianError):
    """The broker cannot be used now."""


class Pauses(NamedTuple):
    """Seconds between two connections. The ceiling doubles; the pause is anything below it (full jitter)."""

    first: float = 1.0
    longest: float = 600.0
    after_steady: float = 30.0  # the first ceiling where a good connection was lost: all routers lost it at once


class Allowance:
    """What a broker may send: a burst, and a little each second. `now` is monotonic seconds."""

    def __init__(self, burst: float, each_second: float, now: float) -> None:
        self._burst = self._left = burst
        self._each_second = each_second
        self._last = now

    def take(self, amount: float, now: float) -> bool:
        """Return whether so much more is still within it."""
        self._left = min(self._burst, self._left + (now - self._last) * self._each_second) - amount
        self._last = now
        return self._left >= 0


class PushListener:
    """Keeps a connection to the broker, and calls `on_hint` with each hint that is one."""

    def __init__(
        self, settings: PushConfig, on_hint: Callable[[Hint], None], chance: Random, pauses: Pauses | None = None
    ) -> None:
        assert settings.broker is not None
        self._settings = settings
        self._broker = settings.broker
        self._on_hint = on_hint
        self._chance = chance
        self._pauses = pauses or Pauses()
        self._client_id = secrets.token_hex(10)  # new at each start: nobody can follow a router by it
        self._is_connected = False
        self.ignored = 0  # messages that were no hints
        self._reported: dict[str, float] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the broker would tell us now."""
        return self._is_connected

    async def run(self) -> None:
        """Listen until cancelled; connect again and again."""
        ceiling = self._pauses.first
        while True:
            steady_from = math.inf
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    connection = await self._connect()
                try:
                    steady_from = time.monotonic() + STEADY_SECONDS
                    self._is_connected = True
                    log.info("event=push-connected broker=%s", self._broker)
                    await self._listen(connection)
                finally:
                    self._is_connected = False
                    await connection.close()
            except (OSError, TimeoutError, EOFError, UnicodeError, FormError, BrokerError) as error:
                self._report("no-push", f"{error}" or type(error).__name__)
            if time.monotonic() >= steady_from:
                self._reported.pop("no-push", None)
                ceiling = self._pauses.after_steady
            await asyncio.sleep(max(min(self._pauses.first, 1.0), self._chance.uniform(0, ceiling)))
            ceiling = min(2 * ceiling, self._pauses.longest)

    async def _connect(self) -> _Connection:
        """Return a connection with the topic subscribed. Raises OSError, EOFError, FormError or BrokerError."""
        settings, broker = self._settings, self._broker
        password = await asyncio.to_thread(read_password, settings.password) if settings.user else b""
        context = await asyncio.to_thread(make_context, settings) if broker.tls else None
        reader, writer = await asyncio.open_connection(
            broker.host, broker.port, ssl=context, limit=MAX_PACKET_BYTES, happy_eyeballs_delay=0.25
        )
        connection = _Connection(reader, writer)
        try:
            writer.write(mqtt.encode_connect(self._client_id, KEEP_ALIVE, MAX_PACKET_BYTES, settings.user, password))
            welcome = mqtt.decode_connack(await connection.read())
            if welcome.reason != mqtt.SUCCESS:
                raise BrokerError(f"the broker refuses: {_name_reason(welcome.reason)}")
            connection.use_keep_alive(KEEP_ALIVE if welcome.keep_alive is None else welcome.keep_alive)
            writer.write(mqtt.encode_subscribe(PACKET_ID, settings.topic))
            granted = mqtt.decode_suback(await connection.read())
            if granted.packet_id != PACKET_ID or granted.reason >= mqtt.FAILURES:
                raise BrokerError(f"the broker refuses the topic: {_name_reason(granted.reason)}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _listen(self, connection: _Connection) -> None:
        """Take what comes. Raises what `run` catches when the connection is over."""
        while True:
            packet = await connection.read()
            if packet.kind == mqtt.PUBLISH:
                message = mqtt.decode_publish(packet)
                if message.packet_id:
                    connection.write(mqtt.encode_puback(message.packet_id))
                self._take(message)
            elif packet.kind == mqtt.DISCONNECT:
                raise BrokerError(f"the broker ends it: {_name_reason(mqtt.decode_disconnect(packet))}")
            else:
                raise FormError(f"packet {packet.kind}, which nobody waits for")

    def _take(self, message: Message) -> None:
        """Hand on a hint; what is none is counted."""
        try:
            if message.topic != self._settings.topic:
                raise ListError("a topic that nobody asked for")
            if len(message.payload) > MAX_HINT_BYTES:
                raise ListError(f"more than {MAX_HINT_BYTES} bytes")
            hint = decode(message.payload, Hint, "the hint")
        except ListError as error:
            self.ignored += 1
            self._report("hint-ignored", f"{error}")
            return
        self._on_hint(hint)

    def _report(self, event: str, why: str) -> None:
        """Log a trouble once an hour; what is between is for those who look for it."""
        now = time.monotonic()
        is_due = now >= self._reported.get(event, -math.inf)
        if is_due:
            self._reported[event] = now + REPORT_SECONDS
        level = logging.WARNING if is_due else logging.DEBUG
        log.log(level, "event=%s broker=%s why=%r ignored=%d", event, self._broker, why[:200], self.ignored)


class _Connection:
    """One connection: whole packets, pings, and an end for a broker that sends too much or too slowly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        self._reader, self._writer = reader, writer
        self._packets: Iterator[Packet] = iter(())
        self._splitter = Splitter(MAX_PACKET_BYTES)
        self._number = Allowance(MOST_PACKETS, 1.0, now)
        self._size = Allowance(MOST_BYTES, MOST_BYTES / MOST_PACKETS, now)
        self._ping_every = math.inf
        self._ping_at = self._pong_by = self._whole_by = math.inf

    def use_keep_alive(self, seconds: int) -> None:
        """Send something at least so often; 0 = the broker does not mind. Raises BrokerError for what is too often."""
        if 0 < seconds < LEAST_KEEP_ALIVE:
            raise BrokerError(f"the broker wants a ping every {seconds} s")
        self._ping_every = min(seconds or KEEP_ALIVE, 2 * KEEP_ALIVE) * 0.9
        self._ping_at = time.monotonic() + self._ping_every

    def write(self, data: bytes) -> None:
        """Send a packet: few and small ones, so a broker that does not read them cannot make them many."""
        self._writer.write(data)

    async def read(self) -> Packet:
        """Return the next packet that is no PINGRESP. Raises EOFError, FormError, BrokerError or OSError."""
        while True:
            for packet in self._packets:
                if not self._number.take(1, time.monotonic()):
                    raise BrokerError("the broker floods")
                if packet.kind != mqtt.PINGRESP:
                    return packet
                mqtt.check_pong(packet)
                self._pong_by = math.inf
            await self._fill()

    async def _fill(self) -> None:
        """Wait for more bytes; send a ping in time."""
        now = time.monotonic()
        self._whole_by = min(self._whole_by, now + ANSWER_SECONDS) if self._splitter.is_midway else math.inf
        if now >= self._ping_at:
            self._writer.write(mqtt.encode_ping())
            self._ping_at = now + self._ping_every
            self._pong_by = min(self._pong_by, now + ANSWER_SECONDS)
        limit = min(self._pong_by, self._whole_by)
        if now >= limit:
            raise BrokerError("the broker is silent")
        try:
            async with asyncio.timeout(min(limit, self._ping_at) - now):
                data = await self._reader.read(MAX_PACKET_BYTES)
        except TimeoutError:
            return
        if not data:
            raise EOFError("the broker has hung up")
        if not self._size.take(len(data), time.monotonic()):
            raise BrokerError("the broker floods")
        self._packets = self._splitter.feed(data)

    async def close(self) -> None:
        """End it at once; what the broker still sends is nobody's."""
        if not self._writer.transport.is_closing():
            self._writer.write(mqtt.encode_disconnect())
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError as error:
            log.debug("event=push-closed why=%r", str(error))


def read_password(path: str) -> bytes:
    """Return the password in a file, without the line's end. Raises BrokerError."""
    try:
        with open(path, "rb") as file:
            password = file.read(MAX_PACKET_BYTES).rstrip(b"\r\n")
    except OSError as error:
        raise BrokerError(f"hotline.push.password: {path}: {error.strerror}") from None
    if not password or len(password) > 1024:
        raise BrokerError(f"hotline.push.password: {path}: a password has 1 to 1024 bytes")
    return password


def make_context(settings: PushConfig) -> ssl.SSLContext:
    """Return how the broker is known, and how it knows us. Raises BrokerError for files that cannot be used."""
    named = f"hotline.push.ca: {settings.ca or 'the authorities of the system'}"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # certificate and host name are checked
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_authorities(context, settings.ca)
        if settings.certificate:
            named = f"hotline.push.certificate and key: {settings.certificate}, {settings.key}"
            context.load_cert_chain(settings.certificate, settings.key, password=_refuse_to_ask)
    except OSError as error:  # ssl.SSLError is one
        raise BrokerError(f"{named}: {error.strerror or error}") from None
    return context


def load_authorities(context: ssl.SSLContext, file: str) -> None:
    """Trust the authorities in a PEM file, "" = the system's. Raises OSError.

    Of a folder OpenSSL reads the one that it needs; a file of all costs a router 1.3 MB of memory.
    """
    folder = ssl.get_default_verify_paths().capath
    if file:
        context.load_verify_locations(cafile=file)
    elif folder and any(name.endswith(".0") for name in os.listdir(folder)):  # named by their hashes
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs()


def _refuse_to_ask() -> str:
    """A key with a password would make OpenSSL ask for it on the terminal."""
    raise BrokerError("hotline.push.key: a key with a password; a router cannot type it")


def _name_reason(reason: int) -> str:
    return _REFUSALS.get(reason, f"reason {reason:#04x}")
