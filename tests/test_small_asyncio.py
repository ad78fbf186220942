"""asyncio without OpenSSL, in processes of their own: here pytest has imported everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_asyncio_works_and_ssl_comes_when_it_is_wanted() -> None:
    script = """
import sys
from guardian.small_asyncio import import_asyncio
import_asyncio()
import asyncio
assert "_ssl" not in sys.modules

async def talk():
    async def answer(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\\n")
    print((await reader.read()).decode(), end="")
    writer.close()
    server.close()

asyncio.run(talk())
import ssl
print(ssl.create_default_context().check_hostname)
"""
    assert run(script) == "hello\nTrue\n"


def test_what_is_there_already_is_left_alone() -> None:
    script = """
import asyncio, ssl, sys
from guardian.small_asyncio import import_asyncio
import_asyncio()
assert sys.modules["ssl"] is ssl and asyncio.sslproto.ssl is ssl
"""
    assert run(script) == ""


def test_the_command_of_the_gateway_begins_with_it() -> None:
    script = """
import sys
from guardian import cli
cli._load("gateway")
import asyncio
print(asyncio.sslproto.ssl, "_ssl" in sys.modules)
"""
    assert run(script) == "None False\n"


def test_a_gateway_that_asks_over_udp_loads_no_openssl() -> None:
    script = """
import sys
from guardian.small_asyncio import import_asyncio
import_asyncio()
import guardian.cli.gateway, guardian.gateway.process, guardian.gateway.flows
from guardian.config import Transport, UpstreamConfig, read_upstream
from guardian.resolver.upstream import Upstreams
import asyncio

async def make(text):
    Upstreams(UpstreamConfig((read_upstream(text),)))
    print("_ssl" in sys.modules, "guardian.resolver.upstream.tls" in sys.modules)

asyncio.run(make("udp://192.0.2.1"))
asyncio.run(make("tls://192.0.2.1"))
"""
    assert run(script) == "False False\nTrue True\n"
