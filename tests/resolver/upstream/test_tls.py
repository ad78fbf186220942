"""DNS over TLS: who is trusted, and what becomes of those who are not."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from guardian.clock import ClockWatch, Signs, is_confirmed
from guardian.config import Transport, Upstream
from guardian.errors import ConfigError, UpstreamError
from guardian.resolver.upstream.tls import make_context


def dot(server: Any, ca_file: str, host: str = "dns.test") -> Upstream:
    return Upstream(Transport.TLS, host, server.port, addresses=("127.0.0.1",), ca_file=ca_file)


def test_unbound_over_tls_and_kdig_agrees(unbound: Any, ca_file: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        upstream = Upstream(Transport.TLS, unbound.name, unbound.tls, addresses=("127.0.0.1",), ca_file=ca_file)
        async with opened(upstream) as upstreams:
            answers = await asyncio.gather(*(upstreams.resolve(net.make_question("www.test")) for _ in range(30)))
            assert {answer.parsed.answers[0].rdata for answer in answers} == {b"\xc0\0\2\x50"}
            long = await upstreams.resolve(net.make_question("big.test", 16))
            assert len(long.parsed.answers) == 40

    run(main())
    command = ["kdig", "+short", "+retry=0", f"+tls-ca={ca_file}", "+tls-host=dns.test", "@127.0.0.1"]
    seen = subprocess.run([*command, "-p", str(unbound.tls), "www.test"], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "192.0.2.80"


def test_many_questions_at_once_open_one_connection_and_are_padded(
    make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    names: list[str] = []
    context = make_server_context("dns.test", protocols=("dot",))
    context.sni_callback = lambda _sock, name, _context: names.append(name)

    async def main() -> None:
        async with net.StreamServer(net.serve_honestly, context) as server, opened(dot(server, ca_file)) as upstreams:
            await asyncio.gather(*(upstreams.resolve(net.make_question(f"{n}.test")) for n in range(64)))
            await upstreams.resolve(net.make_question("x" * 60 + ".test"))
            assert server.connections == 1
            assert {len(query) for query in server.queries} == {128}
            assert names == ["dns.test"]

    run(main())


@pytest.mark.parametrize(
    ("certificate", "host", "text"),
    [
        ("dns.test", "dns.test", ""),
        ("127.0.0.1", "127.0.0.1", ""),
        ("::1", "127.0.0.1", "IP address mismatch"),
        ("other.test", "dns.test", "Hostname mismatch"),
        ("*.dns.test", "dns.test", "Hostname mismatch"),
        ("dns.test", "127.0.0.1", "IP address mismatch"),
        ("expired", "dns.test", "expired"),
        ("stranger", "dns.test", "unable to get local issuer"),
    ],
)
def test_the_certificate_must_show_the_host(
    certificate: str, host: str, text: str, make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    if certificate == "expired":
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        context = make_server_context("dns.test", not_after=past)
    elif certificate == "stranger":
        context = make_server_context("dns.test", issuer=trustme.CA())
    else:
        context = make_server_context(certificate)

    async def main() -> None:
        async with (
            net.StreamServer(net.serve_honestly, context) as server,
            opened(dot(server, ca_file, host)) as upstreams,
        ):
            if not text:
                answer = await upstreams.resolve(net.make_question("www.test"))
                assert net.read_address(answer.message) == "192.0.2.1"
                return
            with pytest.raises(UpstreamError, match=text) as caught:
                await upstreams.resolve(net.make_question("www.test"))
            assert caught.value.code == 23
            assert server.queries == []
            assert text in upstreams.status()[0].last_error

    run(main())


@pytest.fixture
def unset_clock(tmp_path: Path) -> Iterator[ClockWatch]:
    """A clock that nobody has set: of the system it shows the first minute of 1970."""
    watch = ClockWatch(str(tmp_path), 0.0, Signs(60.0, 60.0, False, False))
    assert not is_confirmed()
    yield watch
    watch.close()


@pytest.mark.parametrize(
    ("certificate", "text"),
    [("fresh", ""), ("ended", "expired"), ("other", "Hostname mismatch"), ("stranger", "unable to get local issuer")],
)
def test_while_nobody_has_set_the_clock_only_the_beginning_of_a_certificate_is_not_asked_for(
    unset_clock: ClockWatch,
    certificate: str,
    text: str,
    make_server_context: Any,
    ca_file: str,
    run: Any,
    opened: Any,
    net: Any,
) -> None:
    """A box that believes it is the past: the certificate of now is "not yet valid", and the home has its names."""
    now = datetime.datetime.now(datetime.UTC)
    tomorrow, yesterday = now + datetime.timedelta(days=1), now - datetime.timedelta(days=1)
    more = (
        {"not_before": yesterday - datetime.timedelta(days=9), "not_after": yesterday} if certificate == "ended" else {}
    )
    issuer = trustme.CA() if certificate == "stranger" else None
    if certificate == "fresh":
        more = {"not_before": tomorrow, "not_after": tomorrow + datetime.timedelta(days=9)}
    context = make_server_context("other.test" if certificate == "other" else "dns.test", issuer=issuer, **more)

    async def main() -> None:
        async with net.StreamServer(net.serve_honestly, context) as server:
            async with opened(dot(server, ca_file)) as upstreams:
                if text:
                    with pytest.raises(UpstreamError, match=text):
                        await upstreams.resolve(net.make_question("www.test"))
                    assert server.queries == []
                    return
                await upstreams.resolve(net.make_question("www.test"))
            unset_clock.look(True, Signs(now.timestamp(), 70.0, True, False))  # the time has come
            assert is_confirmed()
            async with opened(dot(server, ca_file)) as upstreams:
                with pytest.raises(UpstreamError, match="not yet valid"):
                    await upstreams.resolve(net.make_question("www.test"))

    run(main())


def test_a_later_connection_resumes_the_session(
    make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    resumed: list[bool] = []

    async def serve(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(net.frame(net.make_answer(await server.read(reader))))
        await writer.drain()

    async def main() -> None:
        context = make_server_context("dns.test")
        async with net.StreamServer(serve, context) as server, opened(dot(server, ca_file)) as upstreams:
            for _ in range(3):
                await upstreams.resolve(net.make_question("www.test"))
            assert resumed == [False, True, True]

    run(main())


async def stay_silent(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.sleep(60)


async def talk_nonsense(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await asyncio.sleep(60)


async def hang_up(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def reset(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


@pytest.mark.parametrize("serve", [stay_silent, talk_nonsense, hang_up, reset])
def test_a_server_without_tls_ends_in_an_error(serve: Any, ca_file: str, run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.StreamServer(serve) as server, opened(dot(server, ca_file), timeout=0.4) as upstreams:
            for _ in range(2):
                with pytest.raises(UpstreamError):
                    await upstreams.resolve(net.make_question("www.test"))

    run(main())


def test_a_server_that_turns_silent_or_drips_after_the_handshake(
    make_server_context: Any, ca_file: str, run: Any, opened: Any, net: Any
) -> None:
    async def drip(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        while True:
            writer.write(b"\1")
            await asyncio.sleep(0.01)

    async def main() -> None:
        context = make_server_context("dns.test")
        async with net.StreamServer(drip, context) as server, opened(dot(server, ca_file), timeout=0.4) as upstreams:
            with pytest.raises(UpstreamError, match="in time"):
                await upstreams.resolve(net.make_question("www.test"))

    run(main())


def test_contexts_are_strict_and_a_bad_ca_file_is_a_problem_of_the_settings(ca_file: str, tmp_path: Any) -> None:
    context = make_context(ca_file, "dot")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        if path.name == "empty.pem":
            path.write_text("not a certificate")
        with pytest.raises(ConfigError, match=str(path)):
            make_context(str(path), "dot")
