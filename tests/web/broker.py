"""MQTT brokers for tests: a real Mosquitto with TLS, a password and access rights, and one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trustme

from tests.gateway.product import free_port, require, run_tool

TOPIC = "guardian/feed"
USER, PASSWORD = "home", "correct horse"
DESK, DESK_PASSWORD = "desk", "battery staple"
START_SECONDS = 10.0


class Broker:
    """One Mosquitto with its folder. Routers may read the topic, the desk may write it, others may nothing."""

    def __init__(
        self, folder: Path, tls: bool = True, client_certificates: bool = False, name: str = "localhost"
    ) -> None:
        require("mosquitto", "mosquitto_pub", "mosquitto_passwd")
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.tls = tls
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        certificate = self.authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(str(folder / "broker.pem"))
        certificate.private_key_pem.write_to_path(str(folder / "broker.key"))
        (folder / "passwords").write_text(f"{USER}:{PASSWORD}\n{DESK}:{DESK_PASSWORD}\n")
        run_tool("mosquitto_passwd", "-U", str(folder / "passwords"))
        (folder / "rights").write_text(f"user {USER}\ntopic read {TOPIC}\nuser {DESK}\ntopic readwrite {TOPIC}\n")
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {folder}/passwords",
            f"acl_file {folder}/rights",
            f"log_dest file {folder}/log",
            "persistence false",
            *(["user root"] if os.getuid() == 0 else []),  # else it could not read a folder of the tests
        ]
        if tls:
            lines += [f"certfile {folder}/broker.pem", f"keyfile {folder}/broker.key", f"cafile {self.ca}"]
            lines += ["require_certificate true"] if client_certificates else []
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Broker:
        """Start it and wait until it takes messages."""
        command = [str(shutil.which("mosquitto", path="/usr/sbin:/usr/bin")), "-c", f"{self.folder}/mosquitto.conf"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                asyncio.run(self._probe())
                return self
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    async def _probe(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        await writer.wait_closed()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a client's certificate and its key."""
        made = self.authority.issue_cert(f"{name}@example.com", common_name=name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(str(certificate))
        made.private_key_pem.write_to_path(str(key))
        return certificate, key

    def publish(self, payload: str | bytes) -> None:
        """Publish as the desk does: retained, QoS 1. Nothing removes what is retained."""
        words = ["mosquitto_pub", "-V", "5", "-h", "localhost", "-p", str(self.port), "-t", TOPIC, "-r", "-q", "1"]
        words += ["-u", DESK, "-P", DESK_PASSWORD, *(["-s"] if payload else ["-n"])]
        words += ["--cafile", str(self.ca)] if self.tls else []
        data = payload.encode() if isinstance(payload, str) else payload
        done = subprocess.run(words, input=data, capture_output=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr.decode() + self.log()


@contextlib.contextmanager
def broker(
    folder: Path, tls: bool = True, client_certificates: bool = False, name: str = "localhost"
) -> Iterator[Broker]:
    """Start Mosquitto with a certificate for `name`, hand it out, end it."""
    running = Broker(folder, tls, client_certificates, name)
    running.start()
    try:
        yield running
    finally:
        running.stop()


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def misbehaving(behave: Behaviour) -> Any:
    """Serve every connection with `behave` in the running loop; yield the port."""

    running: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left: that is how most of these end
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close their sockets now


WELCOME = b"\x20\x03\x00\x00\x00"
GRANTED = b"\x90\x04\x00\x01\x00\x01"


async def take_packet(reader: asyncio.StreamReader) -> bytes:
    """The next packet of a client, none of which is longer than 16,000 bytes."""
    first = await reader.readexactly(2)
    more = await reader.readexactly(1) if first[1] & 0x80 else b""
    length = (first[1] & 0x7F) + (more[0] << 7 if more else 0)
    return first + more + await reader.readexactly(length)


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say yes to whoever comes, as a broker does."""
    await take_packet(reader)
    writer.write(WELCOME)
    await take_packet(reader)
    writer.write(GRANTED)
    await writer.drain()


def pack_publish(payload: bytes, topic: str = TOPIC, flags: int = 0) -> bytes:
    """A message of QoS 0."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + b"\0" + payload
    length, size = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([0x30 | flags]) + size + body
