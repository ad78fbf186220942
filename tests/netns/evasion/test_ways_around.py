"""Other resolvers, DNS in other clothes, tunnels and hard-coded addresses, by real programs on the tablet."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.gateway.product import require
from tests.netns.evasion import quic
from tests.netns.evasion.attack import HOME, OPEN
from tests.netns.evasion.grounds import Ground, open_ground
from tests.netns.lab import plan
from tests.netns.lab.fixtures import PROGRAMS
from tests.netns.lab.home import household
from tests.wire import hellos
from tests.wire.initials import build_datagrams

BLOCKED, OPEN_SITE = plan.SITES["blocked.example"], plan.SITES["www.open.example"]
FOREIGN = [plan.wan4(plan.FOREIGN), plan.wan6(plan.FOREIGN), plan.wan4(plan.UNLISTED), *plan.FAMOUS]


@pytest.fixture(scope="module", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    require(*PROGRAMS)


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with open_ground(OPEN, tmp_path_factory.mktemp("open")) as ground:
        yield ground


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with open_ground(HOME, tmp_path_factory.mktemp("home")) as ground:
        yield ground


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with open_ground(HOME, tmp_path_factory.mktemp("strict"), household(tablet="strict")) as ground:
        yield ground


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> None:
    for name in ("open_world", "home", "strict"):
        if name in request.fixturenames:
            request.getfixturevalue(name).world.seen.forget()


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize("server", FOREIGN)
def test_foreign_dns_is_answered_by_guardian(open_world: Ground, home: Ground, server: str, transport: str) -> None:
    assert open_world.world.tablet.dig("blocked.example", "A", transport, server=server) == [BLOCKED.four]
    assert home.world.tablet.dig("blocked.example", "A", transport, server=server) != [BLOCKED.four]
    assert home.world.tablet.dig("www.open.example", "A", transport, server=server) == [OPEN_SITE.four]
    assert not [seen for seen in home.world.seen() if seen.server == server and seen.protocol.startswith("dns")]


CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3):
        print("connected")
except OSError as error:
    print("refused" if isinstance(error, ConnectionError) else error)
"""


@pytest.mark.parametrize("server", FOREIGN)
def test_dns_over_tls_is_refused_at_once(open_world: Ground, home: Ground, server: str) -> None:
    """So that phones in "automatic" mode go on with plain DNS."""
    words = (CONNECT, server, str(plan.DOT))
    assert open_world.world.tablet.run_python(*words).stdout == "connected\n"
    assert home.world.tablet.run_python(*words).stdout == "refused\n"


@pytest.mark.parametrize("port", [plan.DOT, 784, 8853])
@pytest.mark.parametrize("server", [plan.wan4(plan.FOREIGN), plan.wan6(plan.FOREIGN)])
def test_dns_over_quic_is_refused_at_once(home: Ground, server: str, port: int) -> None:
    hello = _doq_datagram()
    for _ in range(2):  # the second one finds the refusal noted
        made = home.open_socket(*_kind(server))
        made.connect((server, port))
        made.send(hello)
        assert quic.is_refused(made)


def _doq_datagram() -> bytes:
    identity, source = quic.make_ids()
    extensions = hellos.make_extensions("dns.any.example", protocols=("doq",))
    return build_datagrams(hellos.assemble(extensions, session=b""), identity, source_id=source)[0]


def _kind(server: str) -> tuple[socket.AddressFamily, socket.SocketKind]:
    return (socket.AF_INET6 if ":" in server else socket.AF_INET), socket.SOCK_DGRAM


@pytest.mark.parametrize("server", FOREIGN)
def test_dns_over_https_by_name(open_world: Ground, home: Ground, server: str) -> None:
    words = ("--doh-url", "https://dns.google/dns-query")
    there = {"dns.google": server}
    assert open_world.world.tablet.fetch("https://blocked.example/", *words, resolve=there).ok
    assert not home.world.tablet.fetch("https://blocked.example/", *words, resolve=there).ok
    assert not home.world.seen("doh") and not home.world.seen("tls-hello", "dns.google")


@pytest.mark.parametrize("server", plan.FAMOUS)
def test_dns_over_https_by_known_address(open_world: Ground, home: Ground, server: str) -> None:
    """Whatever name the hello shows."""
    url = "https://www.open.example/dns-query?dns=AAABAAABAAAAAAAAB2Jsb2NrZWQHZXhhbXBsZQAAAQAB"
    there = {"www.open.example": server}
    for ground, works in ((open_world, True), (home, False)):
        fetched = ground.world.tablet.fetch(url, "-o", "/dev/null", resolve=there)
        assert fetched.ok == works
        assert bool(ground.world.seen("doh", "blocked.example")) == works


@pytest.mark.parametrize("server", [OPEN_SITE.four, OPEN_SITE.six])
def test_quic_is_refused_at_once_and_tcp_goes_on(open_world: Ground, home: Ground, server: str) -> None:
    assert open_world.world.tablet.fetch_h3(OPEN_SITE.name, server).ok
    fetched = home.world.tablet.fetch_h3(OPEN_SITE.name, server, timeout=15)
    assert fetched.error.startswith("refused") and fetched.seconds < 14
    assert not home.world.seen("quic-hello")
    assert home.world.tablet.fetch(f"https://{OPEN_SITE.name}/", resolve={OPEN_SITE.name: server}).ok


@pytest.mark.parametrize("address", [OPEN_SITE.four, OPEN_SITE.six])
def test_strict_profiles_reach_what_was_resolved(home: Ground, strict: Ground, address: str) -> None:
    name, site = "never-asked.any.example", plan.SITES["news.open.example"]
    there = {name: site.six if ":" in address else site.four}
    assert home.world.tablet.fetch(f"https://{name}/", resolve=there).ok
    for scheme in ("https", "http"):
        assert not strict.world.tablet.fetch(f"{scheme}://{name}/", resolve=there).ok
    assert not strict.world.seen("tls-hello", name) and not strict.world.seen("http", name)
    family = 6 if ":" in address else 4
    assert strict.world.tablet.fetch(f"https://{OPEN_SITE.name}/", family=family).ok


@pytest.mark.parametrize("family", [4, 6])
def test_strict_profiles_cannot_hide_behind_another_packet(strict: Ground, family: int) -> None:
    """An address that was given to the phone is none that was given to the tablet."""
    site = plan.SITES["video.open.example"]
    assert strict.world.phone.fetch(f"https://{site.name}/", family=family).ok
    there = {site.name: site.four if family == 4 else site.six}
    assert not strict.world.tablet.fetch(f"https://{site.name}/", resolve=there, family=family).ok
    assert strict.world.tablet.fetch(f"https://{site.name}/", family=family).ok


@pytest.mark.parametrize("family", [4, 6])
def test_strict_profiles_reach_no_unknown_vpn(open_world: Ground, strict: Ground, family: int) -> None:
    """A protocol without a form, at an address that nobody asked for."""
    site = plan.SITES["shell.open.example"]
    words = (CONNECT, site.four if family == 4 else site.six, str(plan.ECHO))
    assert open_world.world.tablet.run_python(*words).stdout == "connected\n"
    assert strict.world.tablet.run_python(*words).stdout == "refused\n"
