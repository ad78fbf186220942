"""Hints from a broker: a real one with TLS, passwords and rights, and brokers that lie, flood, hang and cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from guardian.config.text import Broker as Address
from guardian.config.values import PushConfig
from guardian.feed import Hint
from guardian.web import push
from guardian.web.push import MAX_HINT_BYTES, MOST_PACKETS, Allowance, Pauses, PushListener
from tests.gateway.product import run_tool
from tests.web.broker import (
    GRANTED,
    PASSWORD,
    TOPIC,
    USER,
    WELCOME,
    Behaviour,
    Broker,
    broker,
    misbehaving,
    pack_publish,
    take_packet,
    welcome,
)

QUICK = Pauses(0.05, 0.2, 0.05)
HINT = b'{"schema": 1, "version": 7, "urgent": false, "spread": 60}'


class Listening:
    """A listener that runs, and the hints it has heard."""

    def __init__(self, settings: PushConfig, pauses: Pauses = QUICK) -> None:
        self.heard: list[Hint] = []
        self.listener = PushListener(settings, self.heard.append, Random(1), pauses)

    async def until(self, what: Callable[[], Any], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def listening(settings: PushConfig, pauses: Pauses = QUICK) -> AsyncIterator[Listening]:
    place = Listening(settings, pauses)
    task = asyncio.create_task(place.listener.run())
    try:
        yield place
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not place.listener.is_connected


def settings_for(port: int, **more: Any) -> PushConfig:
    return PushConfig(Address("127.0.0.1", port, False), TOPIC, **more)


def settings_of(running: Broker, folder: Path, password: str = PASSWORD, **more: str) -> PushConfig:
    """Settings of a router for the real broker."""
    (folder / "password").write_text(password + "\n")
    files = {"user": USER, "password": str(folder / "password"), "ca": str(running.ca)} | more
    return PushConfig(Address("localhost", running.port, running.tls), TOPIC, **files)


def drive(act: Callable[[], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await act()

    asyncio.run(main())


# A real broker


def test_hints_come_over_tls_with_a_password_the_retained_one_first(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        running.publish(HINT)

        async def act() -> None:
            async with listening(settings_of(running, tmp_path)) as place:
                await place.until(lambda: place.heard)
                assert place.heard == [Hint(version=7, spread=60)]
                await asyncio.to_thread(running.publish, '{"version": 8, "urgent": true, "new": "field"}')
                await place.until(lambda: len(place.heard) == 2)
                assert place.heard[1] == Hint(version=8, urgent=True)
                assert place.listener.is_connected and not place.listener.ignored

        drive(act)


def test_a_client_certificate_instead_of_a_password(tmp_path: Path) -> None:
    with broker(tmp_path / "broker", client_certificates=True) as running:
        certificate, key = running.issue("router")
        running_settings = settings_of(running, tmp_path, certificate=str(certificate), key=str(key))

        async def act() -> None:
            async with listening(running_settings) as place:
                await place.until(lambda: place.listener.is_connected)
            async with listening(settings_of(running, tmp_path)) as stranger:
                await asyncio.sleep(0.5)
                assert not stranger.heard and not stranger.listener.is_connected

        drive(act)


@pytest.mark.parametrize(
    ("host", "changed", "why"),
    [
        ("localhost", {"password": "no"}, "refuses: this router may not"),
        ("localhost", {"user": "nobody"}, "refuses: this router may not"),
        ("localhost", {"user": ""}, "refuses: this router may not"),
        ("localhost", {"ca": ""}, "CERTIFICATE_VERIFY_FAILED"),
        ("127.0.0.2", {}, "Connect call failed"),  # nobody listens there
        ("localhost.example", {}, "no-push"),
    ],
)
def test_a_broker_that_is_not_ours_or_does_not_want_us(
    tmp_path: Path,
    host: str,
    changed: dict[str, str],
    why: str,
    caplog: pytest.LogCaptureFixture,
    module_broker: Broker,
) -> None:
    """And the log says once which of it."""
    settings = replace(settings_of(module_broker, tmp_path, **changed), broker=Address(host, module_broker.port, True))

    async def act() -> None:
        async with listening(settings) as place:
            await place.until(lambda: "no-push" in caplog.text)
            await asyncio.sleep(0.5)
            assert not place.heard and not place.listener.is_connected

    drive(act)
    assert caplog.text.count(why) == 1
    assert PASSWORD not in caplog.text


def test_the_authorities_of_the_system(tmp_path: Path, module_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder, of which OpenSSL reads what it needs, or as a file."""
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "ours.pem").write_bytes(module_broker.ca.read_bytes())
    run_tool("openssl", "rehash", str(folder))
    bare = tmp_path / "bare"
    bare.mkdir()

    async def act() -> None:
        async with listening(settings_of(module_broker, tmp_path, ca="")) as place:
            await place.until(lambda: place.listener.is_connected)

    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    drive(act)
    monkeypatch.setenv("SSL_CERT_DIR", str(bare))
    monkeypatch.setenv("SSL_CERT_FILE", str(module_broker.ca))
    drive(act)


def test_a_certificate_of_another_host_is_not_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All certificates of a large authority are not the broker's."""
    with broker(tmp_path / "broker", name="other.example") as running:

        async def act() -> None:
            async with listening(settings_of(running, tmp_path)) as place:
                await place.until(lambda: "no-push" in caplog.text)
                assert not place.listener.is_connected

        drive(act)
    assert "Hostname mismatch" in caplog.text


def test_a_topic_that_is_not_ours_to_read_brings_nothing(tmp_path: Path, module_broker: Broker) -> None:
    """Mosquitto grants it, and sends nothing of it: the rights are looked at for each message."""
    settings = replace(settings_of(module_broker, tmp_path), topic="other/topic")

    async def act() -> None:
        async with listening(settings) as place:
            await place.until(lambda: place.listener.is_connected)
            await asyncio.to_thread(module_broker.publish, HINT)
            await asyncio.sleep(0.3)
            assert not place.heard

    drive(act)


def test_a_broker_that_comes_back_is_used_again_and_what_was_missed_is_retained(tmp_path: Path) -> None:
    running = Broker(tmp_path / "broker").start()

    async def act() -> None:
        async with listening(settings_of(running, tmp_path)) as place:
            await place.until(lambda: place.listener.is_connected)
            await asyncio.to_thread(running.stop)
            await place.until(lambda: not place.listener.is_connected)
            await asyncio.to_thread(running.start)
            await asyncio.to_thread(running.publish, HINT)
            await place.until(lambda: place.heard)

    try:
        drive(act)
    finally:
        running.stop()


def test_each_start_is_somebody_else_for_the_broker(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await take_packet(reader))

    async def act() -> None:
        async with misbehaving(note) as port:
            for _ in range(2):
                async with listening(settings_for(port)) as place:
                    before = len(seen)
                    await place.until(lambda before=before: len(seen) >= before + 2)

    drive(act)
    names = [packet[-20:] for packet in seen]
    assert len(set(names)) == 2, "one name for each start, not for each connection"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"version": "7"}',
        b'{"version": -1}',
        b'{"version": 1e99}',
        b'{"version": 99999999999999999999}',
        b'{"version": 7, "urgent": 1}',
        b'{"version": 7, "spread": 301}',
        b'{"version": 7, "schema": 2}',
        b'{"version": 7, "padding": "' + b"x" * MAX_HINT_BYTES + b'"}',
        b"[" * 2000,
        b'{"version": 7, "x": ' + b"[" * 2000,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_hint_is_counted_and_does_no_harm(tmp_path: Path, payload: bytes, module_broker: Broker) -> None:
    module_broker.publish(b"")

    async def act() -> None:
        async with listening(settings_of(module_broker, tmp_path)) as place:
            await place.until(lambda: place.listener.is_connected)
            await asyncio.to_thread(module_broker.publish, payload)
            await place.until(lambda: place.listener.ignored)
            await asyncio.to_thread(module_broker.publish, HINT)
            await place.until(lambda: place.heard)
            assert place.heard == [Hint(version=7, spread=60)]

    drive(act)


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


# Brokers that misbehave


def play(behave: Behaviour, act: Callable[[Listening], Any], pauses: Pauses = QUICK) -> None:
    async def main() -> None:
        async with misbehaving(behave) as port, listening(settings_for(port), pauses) as place:
            await act(place)

    drive(main)


def test_mqtt_broker_lying(caplog: pytest.LogCaptureFixture) -> None:
    """Another topic, a retained lie, a hint of the far future: heard or ignored, and nothing more."""

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        writer.write(pack_publish(HINT, "other/topic") + pack_publish(b'{"version": 4294967296}', flags=1))
        await reader.read()

    async def act(place: Listening) -> None:
        await place.until(lambda: place.heard)
        assert place.heard == [Hint(version=2**32)] and place.listener.ignored == 1

    play(lie, act)
    assert caplog.text.count("event=hint-ignored") == 1


def test_mqtt_hint_flood(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that sends without end is left, again and again later; the log stays small."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await welcome(reader, writer)
        while True:
            writer.write(pack_publish(b"{}") * 50)
            sent += 50
            await writer.drain()

    async def act(place: Listening) -> None:
        await asyncio.sleep(3)
        assert not place.heard
        connections = place.listener.ignored / MOST_PACKETS
        assert 2 <= connections <= 40, "so many hints were looked at, and not one more"

    spent = time.process_time()
    play(flood, act, Pauses(0.1, 10.0, 0.1))
    assert sent > 1000
    assert time.process_time() - spent < 2
    assert caplog.text.count("event=hint-ignored") == 1
    assert caplog.text.count("the broker floods") == 1


@pytest.mark.parametrize("what", [b"\xd0\x00", b"\xe0\x00", b"\x00\x00", b"\xf0\x00", b"\x40\x02\x00\x01"])
def test_a_flood_of_small_packets(what: bytes) -> None:
    ended = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        await welcome(reader, writer)
        with contextlib.suppress(OSError):
            while True:
                writer.write(what * 1000)
                await writer.drain()
        ended += 1

    async def act(place: Listening) -> None:
        await place.until(lambda: ended >= 2)
        assert not place.heard

    play(flood, act)


def test_a_packet_without_end_takes_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    """What paho-mqtt reads into memory, though it said that it takes 2 KB: 200 MB in one packet."""
    grew = []
    tried = 0

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await welcome(reader, writer)
        writer.write(b"\x30\xff\xff\xff\x5f\x00\x0dguardian/feed\x00")
        with contextlib.suppress(OSError):
            for _ in range(200):
                writer.write(bytes(1_000_000))
                await writer.drain()
        grew.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

    async def act(place: Listening) -> None:
        await place.until(lambda: len(grew) >= 2)

    play(send, act)
    assert "a packet of more than 4096 bytes" in caplog.text
    assert max(grew) < 20_000, "KB; the server of this test, which has a megabyte at a time, among them"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("tcp", "TimeoutError"),
        ("welcome", "TimeoutError"),
        ("granted", "TimeoutError"),
        ("ping", "the broker is silent"),
        ("packet", "the broker is silent"),
    ],
)
def test_a_broker_that_hangs(
    step: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At each step, and with a packet that never ends though bytes keep coming."""
    monkeypatch.setattr(push, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(push, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(push, "KEEP_ALIVE", 1)
    monkeypatch.setattr(push, "LEAST_KEEP_ALIVE", 0)
    connections: list[bool] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(True)
        if step != "tcp":
            await take_packet(reader)
        if step == "granted":
            writer.write(WELCOME)
        if step in ("ping", "packet"):
            writer.write(WELCOME + GRANTED)
        if step == "packet":
            writer.write(b"\x30\xff\x1f")
            while True:
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(0.05)
        await reader.read()

    async def act(place: Listening) -> None:
        await place.until(lambda: len(connections) >= 3, 20)
        assert not place.heard

    play(hang, act)
    assert why in caplog.text


def test_a_broker_that_answers_pings_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(push, "KEEP_ALIVE", 0.2)
    monkeypatch.setattr(push, "LEAST_KEEP_ALIVE", 0)
    monkeypatch.setattr(push.mqtt, "encode_connect", lambda *_: b"\x10\x00")  # which has whole seconds
    pings: list[bytes] = []
    connections: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(True)
        await welcome(reader, writer)
        while True:
            pings.append(await take_packet(reader))
            writer.write(b"\xd0\x00")

    async def act(place: Listening) -> None:
        await place.until(lambda: len(pings) >= 8)
        assert set(pings) == {b"\xc0\x00"}
        assert len(connections) == 1 and place.listener.is_connected

    play(answer, act)


@pytest.mark.parametrize(("asked", "is_kept"), [(0, True), (9, False), (10, True), (65535, True)])
def test_the_broker_says_how_often_it_wants_to_hear_of_us(asked: int, is_kept: bool) -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_packet(reader)
        writer.write(b"\x20\x06\x00\x00\x03\x13" + asked.to_bytes(2, "big"))
        await take_packet(reader)
        writer.write(GRANTED)
        await reader.read()

    async def act(place: Listening) -> None:
        await asyncio.sleep(0.5)
        assert place.listener.is_connected == is_kept

    play(ask, act)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (b"\x20\x03\x00\x86\x00", "the user or the password is wrong"),
        (b"\x20\x03\x00\x9f\x00", "too many connect at once"),
        (b"\x20\x03\x00\xaa\x00", "reason 0xaa"),
        (b"\x20\x03\x01\x00\x00", "session"),
        (WELCOME + b"\x90\x04\x00\x01\x00\x87", "refuses the topic"),
        (WELCOME + b"\x90\x04\x00\x02\x00\x01", "refuses the topic"),
        (WELCOME + GRANTED + b"\xe0\x02\x8b\x00", "ends it"),
        (WELCOME + GRANTED + b"\xe0\x00", "ends it"),
        (WELCOME + GRANTED + b"\x34\x05\x00\x00\x00\x01\x00", "QoS 2"),
        (WELCOME + GRANTED + WELCOME, "which nobody waits for"),
        (WELCOME + GRANTED + b"\x62\x02\x00\x01", "which nobody waits for"),
        (
            b"HTTP/1.1 400 Bad Request\r\nServer: somebody\r\nDate: today\r\nContent-Type: text/plain\r\n\r\nNo!!!!",
            "packet 4",
        ),
        (b"", "hung up"),
    ],
)
def test_the_log_says_what_is_wrong_with_a_broker(answers: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_packet(reader)
        writer.write(answers)
        await writer.drain()
        if answers:
            await reader.read()

    async def act(place: Listening) -> None:
        await place.until(lambda: "no-push" in caplog.text)
        await asyncio.sleep(0.3)
        assert not place.heard

    play(answer, act)
    assert caplog.text.count("event=no-push") == 1, "once an hour"
    assert why in caplog.text


def test_messages_of_qos_1_are_acknowledged() -> None:
    acknowledged = []

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        body = len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + b"\x01\x02\x00" + HINT
        writer.write(bytes([0x32, len(body)]) + body)
        acknowledged.append(await take_packet(reader))
        await reader.read()

    async def act(place: Listening) -> None:
        await place.until(lambda: acknowledged)
        assert place.heard == [Hint(version=7, spread=60)]

    play(send, act)
    assert acknowledged == [b"\x40\x02\x01\x02"]


def test_a_broker_that_cuts_each_connection_is_tried_ever_more_seldom() -> None:
    """Also one that says yes first: that alone is no good connection."""
    times: list[float] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        await welcome(reader, writer)

    async def act(place: Listening) -> None:
        await asyncio.sleep(4)

    play(cut, act, Pauses(0.01, 100.0, 0.01))
    assert 6 <= len(times) <= 15, "0.01 s, doubled: 4 seconds are over after nine ceilings, of which half is waited"


@pytest.mark.parametrize("which", ["missing", "empty", "folder"])
def test_a_password_file_that_cannot_be_used(tmp_path: Path, which: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    if which == "empty":
        path.write_text("\n")
    elif which == "folder":
        path.mkdir()

    async def act() -> None:
        async with listening(settings_for(1, user=USER, password=str(path))) as place:
            await place.until(lambda: "no-push" in caplog.text)

    drive(act)
    assert f"hotline.push.password: {path}" in caplog.text


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    address = Address("localhost", 1, True)
    for settings, named in (
        (PushConfig(address, ca=str(tmp_path / "none.pem")), "hotline.push.ca"),
        (PushConfig(address, ca=str(tmp_path / "bad.pem")), "hotline.push.ca"),
        (
            PushConfig(address, certificate=str(tmp_path / "bad.pem"), key=str(tmp_path / "bad.pem")),
            "hotline.push.certificate",
        ),
    ):
        with pytest.raises(push.BrokerError, match=named):
            push.make_context(settings)


def test_an_allowance_is_a_burst_and_a_little_each_second() -> None:
    allowance = Allowance(10, 2.0, 100.0)
    assert all(allowance.take(1, 100.0) for _ in range(10))
    assert not allowance.take(1, 100.0)
    assert [allowance.take(1, 101.0 + step) for step in (0, 0.1, 0.2)] == [True, False, False]
    assert allowance.take(10, 1000.0) and not allowance.take(1, 1000.0)


def test_hints_are_as_the_contract_writes_them() -> None:
    """docs/feed.md, "The hint"."""
    text = (Path(__file__).parents[2] / "docs" / "feed.md").read_text()
    for key in json.loads(HINT):
        assert f'"{key}"' in text
