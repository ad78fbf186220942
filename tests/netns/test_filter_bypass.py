"""Ways around the filter are shut for protected devices, open for the parents' phone, and told to parents, counted."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from guardian.store.history_read import HistoryReader
from tests.gateway.product import wait_for
from tests.netns.lab import plan
from tests.netns.lab.datagrams import wireguard_initiation
from tests.netns.lab.device import Device
from tests.netns.lab.home import Lab, World, household

OPEN, BLOCKED = plan.SITES["www.open.example"], plan.SITES["blocked.example"]
PAGE = [plan.home4("router")]


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    more = {"filter": {"quic": "inspect"}}  # so that HTTP/3 is refused for its name, not for being HTTP/3
    with world.protected(tmp_path_factory.mktemp("router"), filter=True, more=more) as lab:
        yield lab


@pytest.fixture(autouse=True)
def forget(lab: Lab) -> None:
    lab.seen.forget()


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def strict(lab: Lab) -> Iterator[Device]:
    """The tablet under "DNS first"."""
    lab.set_household(household(tablet="strict"))
    yield lab.tablet
    lab.set_household(household())


def at(host: int, family: int) -> str:
    return plan.wan4(host) if family == 4 else plan.wan6(host)


Key = tuple[str, str, str]  # device, MAC of an unnamed one, kind


def settle_attempts(lab: Lab) -> Counter[Key]:
    """What is counted when all of earlier tests is written."""
    last, now = None, count_attempts(lab)
    while now != last:
        time.sleep(1.5)  # the history is written every second
        last, now = now, count_attempts(lab)
    return now


def count_attempts(lab: Lab) -> Counter[Key]:
    with HistoryReader(str(lab.guardian.folder / "state" / "history.db")) as history:
        rows = [row for row in history.attempts() if row.kind != "dns"]  # redirected flows are counted later
        return Counter({(row.device, row.mac, row.kind): row.times for row in rows})


def wait_for_attempts(lab: Lab, before: Counter[Key], *more: tuple[Key, int]) -> None:
    """Raise AssertionError unless each key of `more` grows by its count, and nothing else of the same devices does."""
    devices = {key[:2] for key, _ in more}

    def grown() -> dict[Key, int]:
        after = count_attempts(lab)
        return {key: times - before[key] for key, times in after.items() if key[:2] in devices and times > before[key]}

    try:
        wait_for(lambda: grown() == dict(more), seconds=10)
    except AssertionError:
        raise AssertionError(f"grew by {grown()}, expected {dict(more)}") from None


_TOUCH = """
import socket, sys
address, port, kind, data = sys.argv[1], int(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as client:
    client.settimeout(3)
    try:
        client.connect((address, port))
        if data:
            client.send(data)
            print("answered" if client.recv(2048) else "closed")
        else:
            print("connected")
    except ConnectionError:
        print("refused")
    except TimeoutError:
        print("silent")
    except OSError as error:
        print("refused" if error.errno == 13 else error)
"""


def touch(device: Device, address: str, port: int, kind: str = "tcp", data: bytes = b"") -> str:
    """connected, answered, refused, closed or silent."""
    return device.run_python(_TOUCH, address, str(port), kind, data.hex()).stdout.strip()


# DNS elsewhere


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_another_dns_server_is_this_one(lab: Lab, family: int, transport: str) -> None:
    for server in (at(plan.FOREIGN, family), plan.FAMOUS[family == 6], at(222, family)):  # nobody has the last one
        assert lab.tablet.dig("blocked.example", "A", transport, server=server) == PAGE
        assert lab.tablet.dig("www.open.example", "AAAA", transport, server=server) == [OPEN.six]
        assert lab.tablet.dig("telefonulcopilului.md", "A", transport, server=server)
        assert lab.stranger.dig("blocked.example", "A", transport, server=server) == PAGE
    assert not lab.seen(server=at(plan.FOREIGN, family)) and not lab.seen(server=plan.FAMOUS[family == 6])


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_the_parents_phone_may_ask_whom_it_likes(lab: Lab, family: int, transport: str) -> None:
    for server in (at(plan.FOREIGN, family), plan.FAMOUS[family == 6]):
        assert lab.phone.dig("whoami.example", "TXT", transport, server=server) == [f'"{server}"']
        assert lab.phone.dig("blocked.example", "A", transport, server=server) == [BLOCKED.four]


def test_a_pause_reaches_dns_that_asks_elsewhere(lab: Lab, family: int) -> None:
    server = at(plan.FOREIGN, family)
    lab.guardian.control("pause", id="tablet")
    try:
        assert lab.tablet.dig("www.open.example", "A", server=server) == PAGE
        assert lab.tablet.dig("telefonulcopilului.md", "A", server=server) != PAGE
    finally:
        lab.guardian.control("pause", id="tablet", until=0)
    assert lab.tablet.dig("www.open.example", "A", server=server) == [OPEN.four]


def test_dns_over_tls(lab: Lab, family: int) -> None:
    for host in (plan.FOREIGN, plan.UNLISTED):
        before = settle_attempts(lab)
        assert touch(lab.tablet, at(host, family), plan.DOT) == "refused"
        assert touch(lab.phone, at(host, family), plan.DOT) == "connected"
        wait_for_attempts(lab, before, (("tablet", "", "dot"), 1))


def test_dns_over_quic(lab: Lab, family: int) -> None:
    before = settle_attempts(lab)
    assert touch(lab.tablet, at(plan.UNLISTED, family), plan.DOT, "udp", bytes(50)) == "refused"
    wait_for_attempts(lab, before, (("tablet", "", "dot"), 1))


def test_doh_by_its_name(lab: Lab, family: int) -> None:
    """At an address that no list knows."""
    before = settle_attempts(lab)
    words = ("--doh-url", "https://dns.google/dns-query")
    there = {"dns.google": at(plan.FOREIGN, family)}
    assert lab.tablet.fetch("https://blocked.example/", *words, resolve=there, timeout=3).status == 0
    assert lab.tablet.fetch_h3("dns.google", there["dns.google"], timeout=2).status == 0
    assert not lab.seen("doh") and not lab.seen("tls-hello") and not lab.seen("quic-hello")
    wait_for(lambda: count_attempts(lab)["tablet", "", "doh"] >= before["tablet", "", "doh"] + 2)
    assert lab.phone.fetch("https://blocked.example/", *words, resolve=there).ok
    assert lab.seen("doh")


def test_doh_by_its_address(lab: Lab, family: int) -> None:
    """Whatever name it shows, on whatever port, also by ping."""
    famous = plan.FAMOUS[family == 6]
    before = settle_attempts(lab)
    assert lab.tablet.fetch(f"https://{OPEN.name}/", resolve={OPEN.name: famous}, timeout=3).error in (
        "refused",
        "reset",
    )
    assert touch(lab.tablet, famous, plan.TLS_ODD) == "refused"
    assert touch(lab.tablet, famous, plan.GAME, "udp", b"hello") == "refused"
    wait_for_attempts(lab, before, (("tablet", "", "doh"), 3))
    assert not lab.tablet.ping(famous, timeout=0.5)
    assert lab.phone.fetch(f"https://{OPEN.name}/", resolve={OPEN.name: famous}).ok
    assert touch(lab.phone, famous, plan.TLS_ODD) == "connected" and lab.phone.ping(famous)


@pytest.mark.parametrize("name", ["use-application-dns.net", "mask.icloud.com"])
def test_names_that_browsers_ask_for_leave(lab: Lab, name: str) -> None:
    for device in (lab.tablet, lab.stranger):
        told = device.run("dig", f"@{plan.home4('router')}", name).stdout
        assert "status: NXDOMAIN" in told
    assert lab.phone.dig(name)
    site = plan.SITES["mask.icloud.com"]
    assert lab.tablet.fetch(f"https://{site.name}/", resolve={site.name: site.four}, timeout=2).status == 0
    assert not lab.seen("tls-hello", site.name)


def test_encrypted_client_hello(lab: Lab, family: int) -> None:
    (told,) = lab.tablet.dig("ech.open.example", "HTTPS")
    assert "alpn" in told and "ech=" not in told
    assert "ech=" in lab.phone.dig("ech.open.example", "HTTPS")[0]
    site = plan.SITES["cloudflare-ech.com"]
    there = {site.name: at(site.host, family)}
    assert lab.tablet.fetch(f"https://{site.name}/", resolve=there, timeout=2).status == 0
    assert lab.phone.fetch(f"https://{site.name}/", resolve=there).ok
    assert {seen.client for seen in lab.seen("tls-hello", site.name)} <= {plan.wan4(1), lab.phone.six}


# Tunnels and proxies


def test_tunnels_and_proxies(lab: Lab, family: int) -> None:
    vpn, proxy = at(plan.SITES["vpn.open.example"].host, family), at(plan.SITES["proxy.open.example"].host, family)
    host = f"[{proxy}]" if family == 6 else proxy
    ways = (f"socks5h://{host}:{plan.SOCKS}", f"http://{host}:{plan.PROXY}")
    before = settle_attempts(lab)
    assert touch(lab.tablet, vpn, plan.WIREGUARD, "udp", wireguard_initiation()) == "refused"
    for way in ways:
        fetched = lab.tablet.fetch("https://www.open.example/", "--noproxy", "", "--proxy", way, timeout=3)
        assert fetched.status == 0 and fetched.error
    assert not lab.seen("wireguard") and not lab.seen("socks") and not lab.seen("connect")
    wait_for_attempts(lab, before, (("tablet", "", "vpn"), 1), (("tablet", "", "proxy"), 2))
    assert touch(lab.phone, vpn, plan.WIREGUARD, "udp", wireguard_initiation()) == "answered"
    for way in ways:
        assert lab.phone.fetch("https://www.open.example/", "--noproxy", "", "--proxy", way).ok


def test_no_name_at_all(lab: Lab, family: int) -> None:
    """TLS to a bare address shows no name; SSH on the port of the web is no web."""
    address = at(OPEN.host, family)
    url = f"https://{f'[{address}]' if family == 6 else address}/"
    before = settle_attempts(lab)
    assert lab.tablet.fetch(url, timeout=3).error == "reset"
    assert touch(lab.tablet, address, plan.HTTP, "tcp", b"SSH-2.0-child\r\n") in ("refused", "closed")
    wait_for_attempts(lab, before, (("tablet", "", "unreadable"), 2))
    assert lab.phone.fetch(url).ok


# Strict: DNS first


def test_strict_reaches_what_our_resolver_gave(lab: Lab, strict: Device, family: int) -> None:
    assert strict.fetch("https://news.open.example/", family=family).ok
    assert strict.fetch("http://news.open.example/", family=family).ok
    for number in range(15):  # the address is known before the answer leaves: the first packet is quick
        assert strict.fetch(f"https://v{family}n{number}.any.example/").ok


def test_strict_reaches_nothing_else(lab: Lab, strict: Device, family: int) -> None:
    site = plan.SITES["shell.open.example"]
    written = {site.name: at(site.host, family)}
    before = settle_attempts(lab)
    assert strict.fetch(f"https://{site.name}/", resolve=written, timeout=3).error in ("refused", "reset")
    assert touch(strict, written[site.name], plan.SSH) == "refused"
    assert touch(strict, written[site.name], plan.GAME, "udp", b"hello") == "refused"
    assert not lab.seen(server=written[site.name])
    wait_for_attempts(lab, before, (("tablet", "", "dns-first"), 3))
    assert not strict.ping(written[site.name], timeout=0.5)
    assert lab.phone.dig(site.name, "A" if family == 4 else "AAAA")  # given to another device only
    assert touch(strict, written[site.name], plan.SSH) == "refused"
    assert strict.dig(site.name, "A" if family == 4 else "AAAA")
    assert touch(strict, written[site.name], plan.SSH) == "connected"
    assert touch(strict, written[site.name], plan.GAME, "udp", b"hello") == "answered"
    assert strict.ping(written[site.name])


def test_strict_and_a_blocked_name_give_no_address(lab: Lab, strict: Device) -> None:
    assert strict.dig("blocked.example") == PAGE
    assert touch(strict, BLOCKED.four, plan.TLS) == "refused"
    assert strict.fetch("http://blocked.example/").status == 403


# What parents are told


def test_attempts_are_one_row_for_each_device_and_kind(lab: Lab) -> None:
    stranger = ("", plan.MACS["stranger"])
    before = settle_attempts(lab)
    for family in (4, 6, 4):
        assert touch(lab.tablet, at(plan.FOREIGN, family), plan.DOT) == "refused"
        assert touch(lab.phone, at(plan.FOREIGN, family), plan.DOT) == "connected"
    for family in (4, 6):
        assert touch(lab.stranger, at(plan.FOREIGN, family), plan.DOT) == "refused"
        assert touch(lab.tablet, at(141, family), plan.WIREGUARD, "udp", wireguard_initiation()) == "refused"
    grown = [(("tablet", "", "dot"), 3), (("tablet", "", "vpn"), 2), ((*stranger, "dot"), 2)]
    if not before[*stranger, "unknown-device"]:
        grown.append(((*stranger, "unknown-device"), 1))
    wait_for_attempts(lab, before, *grown)
    told = json.loads(lab.command("alerts", "--json").stdout)
    keys = [(alert["device"], alert["mac"], alert["kind"], alert["day"]) for alert in told]
    assert len(keys) == len(set(keys))
    assert not [alert for alert in told if alert["device"] == "phone"]
    (dot,) = [alert for alert in told if (alert["device"], alert["kind"]) == ("tablet", "dot")]
    assert dot["name"] == "Ana's tablet" and dot["times"] == before["tablet", "", "dot"] + 3
    assert dot["first"] <= dot["last"]
    text = lab.command("alerts").stdout
    assert "Ana's tablet asked a DNS server of its own over TLS (DoT)" in text and "phone" not in text


def test_dns_that_was_redirected_is_told(lab: Lab) -> None:
    """It is read from the table of flows every quarter of a minute: it opens no door, so there is no hurry."""

    def times() -> int:
        with HistoryReader(str(lab.guardian.folder / "state" / "history.db")) as history:
            return sum(row.times for row in history.attempts() if (row.device, row.kind) == ("tablet", "dns"))

    before = times()
    lab.tablet.dig("www.open.example", server=plan.wan4(plan.FOREIGN))
    wait_for(lambda: times() > before, seconds=40)
