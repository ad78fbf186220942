"""Fixtures of the running product. A failed test shows what its gateway logged."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.gateway.product import Running, Upstream, running

RECORDS = """
www.open.example A 192.0.2.10
www.open.example AAAA 2001:db8::10
www.open.example HTTPS 1 . alpn="h2" ipv4hint="192.0.2.10" ech="AAj+DQAEAQIDBA=="
two.open.example A 192.0.2.11
two.open.example A 192.0.2.12
text.open.example TXT "hello"
odd.open.example TYPE65280 \\# 4 01020304
blocked.example A 192.0.2.20
sub.blocked.example A 192.0.2.21
no.rule.example A 192.0.2.22
yes.rule.example A 192.0.2.23
www.tiktok.com A 192.0.2.30
coinhive.com A 192.0.2.31
telefonulcopilului.md A 192.0.2.32
cloaked.open.example CNAME coinhive.com.
cloaked-twice.open.example CNAME cloaked.open.example.
illegal.open.example CNAME mandatory.guardian.test.
served.open.example HTTPS 1 coinhive.com. alpn="h2"
inside.open.example A 192.168.1.1
inside.open.example AAAA fd00::1
hint.open.example HTTPS 1 . ipv4hint="10.0.0.1"
forcesafesearch.google.com A 192.0.2.40
forcesafesearch.google.com AAAA 2001:db8::40
forcesafesearch.google.com HTTPS 1 . alpn="h2"
restrict.youtube.com A 192.0.2.41
www.google.com A 192.0.2.42
www.google.com AAAA 2001:db8::42
www.google.com HTTPS 1 . alpn="h2"
www.youtube.com A 192.0.2.43
mask.icloud.com A 192.0.2.44
use-application-dns.net A 192.0.2.45
dns.google A 8.8.8.8
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Running):
                report.sections.append(("log of the gateway", value.log()[-8000:]))
    return report


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream(RECORDS)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def home(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway in front of `upstream`, for tests that only ask."""
    folder = tmp_path_factory.mktemp("home")
    leases = "0 02:00:5e:10:00:01 192.168.1.23 Printer 01:02:00:5e:10:00:01\n0 02:00:5e:10:00:02 192.168.1.24 wpad *\n"
    (folder / "leases").write_text(leases)
    settings = {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}, "local": {"leases": ["leases"]}}
    with running(folder, settings) as gateway:
        yield gateway
