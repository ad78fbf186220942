"""The machine's own addresses, with `ip` as the oracle."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import os
import selectors
import socket
import subprocess
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from guardian.config import HOME_NETWORKS, Config, Endpoint, parse_config
from guardian.errors import FormError, GuardianError
from guardian.interfaces import (
    Following,
    InterfaceAddress,
    Interfaces,
    fit_to_interfaces,
    list_absent,
    list_addresses,
    list_home_networks,
    list_interface_addresses,
    parse_address,
)
from guardian.rtnetlink import Notices
from guardian.wire.netlink import split_messages
from tests.fuzz.driver import fuzz, mutate_bytes
from tests.netns.namespaces import add_namespace, inside, run


def test_the_addresses_are_those_that_ip_shows() -> None:
    shown = subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
    every, first = set(), set()
    for interface in json.loads(shown.stdout):
        addresses = [ipaddress.ip_address(entry["local"]) for entry in interface["addr_info"]]
        every |= {address.packed for address in addresses}
        first |= {address.packed for address in addresses if address.version == 6}
        first |= {address.packed for address in addresses[:1] if address.version == 4}
    found = list_addresses()
    assert set(found) <= every
    assert set(found) >= first
    assert len(found) == len(set(found))
    assert b"\x7f\0\0\1" in found


def encode(family: int, prefix: int, index: int, *attributes: tuple[str, object], flags: int = 0) -> bytes:
    """An address message as pyroute2 writes it."""
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"], message["flags"] = family, prefix, index, flags & 0xFF
    message["attrs"] = list(attributes)
    message["header"]["type"] = 20
    message.encode()
    (decoded,) = split_messages(bytes(message.data))
    return decoded.payload


@given(st.ip_addresses(v=4), st.integers(0, 32), st.integers(1, 2**31 - 1))
def test_we_read_ipv4_as_pyroute2_writes_it(address: ipaddress.IPv4Address, prefix: int, index: int) -> None:
    payload = encode(socket.AF_INET, prefix, index, ("IFA_ADDRESS", "192.0.2.1"), ("IFA_LOCAL", str(address)))
    assert parse_address(payload) == InterfaceAddress(index, str(address), prefix)


@given(st.ip_addresses(v=6), st.integers(0, 128), st.integers(0, 2**32 - 1))
def test_we_read_ipv6_as_pyroute2_writes_it(address: ipaddress.IPv6Address, prefix: int, flags: int) -> None:
    payload = encode(socket.AF_INET6, prefix, 7, ("IFA_ADDRESS", str(address)), ("IFA_FLAGS", flags))
    found = parse_address(payload)
    assert found is not None and found.flags == flags
    assert found.host == (f"{address}%7" if address.is_link_local else str(address))
    assert found.may_listen == (not flags & 0x49)


def test_a_family_that_is_not_ip_is_passed_over() -> None:
    assert parse_address(bytes((socket.AF_BRIDGE, 0, 0, 0, 1, 0, 0, 0))) is None


def test_damaged_messages_are_form_errors_or_addresses() -> None:
    def check(data: bytes) -> None:
        with contextlib.suppress(FormError):
            found = parse_address(data)
            assert found is None or ipaddress.ip_address(found.host)

    seeds = [
        encode(socket.AF_INET, 24, 3, ("IFA_LOCAL", "192.168.1.1"), ("IFA_LABEL", "br-lan")),
        encode(socket.AF_INET6, 64, 3, ("IFA_ADDRESS", "fe80::1"), ("IFA_FLAGS", 0x80)),
    ]
    fuzz(check, seeds, mutate_bytes, seed=1, count=3_000)
    with pytest.raises(FormError):
        parse_address(seeds[0][:7])


def test_every_address_is_listed_with_its_interface_and_network() -> None:
    shown = subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
    expected = {
        (link["ifindex"], entry["local"], entry["prefixlen"])
        for link in json.loads(shown.stdout)
        for entry in link["addr_info"]
    }
    found = {(one.interface, one.host.partition("%")[0], one.prefix) for one in list_interface_addresses()}
    assert found == expected


def config_of(text: str) -> Config:
    return parse_config("upstreams: {servers: [192.0.2.1]}\n" + text, "g.yaml")


def test_addresses_take_the_place_of_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [
        InterfaceAddress(3, "192.168.1.1", 24),
        InterfaceAddress(3, "fd00::1", 64),
        InterfaceAddress(3, "fd00::2", 64, 0x01),
        InterfaceAddress(3, "fd00::3", 64, 0x40),
        InterfaceAddress(3, "fe80::1%3", 64, 0x80),
        InterfaceAddress(4, "198.51.100.2", 24),
    ]
    monkeypatch.setattr("guardian.interfaces.list_interface_addresses", lambda: addresses)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (3, "br-lan"), (4, "eth1")])
    written = config_of(
        "dns: {listen: ['br-lan:53', '127.0.0.1:53', 'br-guest']}\n"
        "block: {page: [br-lan]}\nweb: {listen: ['eth1:8080']}"
    )
    placed = fit_to_interfaces(written)
    hosts = ("192.168.1.1", "fd00::1", "fe80::1%3")
    assert placed.dns.listen == (*(Endpoint(host, 53) for host in hosts), Endpoint("127.0.0.1", 53))
    assert placed.block.page == tuple(Endpoint(host, 80) for host in hosts)
    assert placed.web.listen == (Endpoint("198.51.100.2", 8080),)
    assert fit_to_interfaces(written, link_local=False).block.page == placed.block.page[:2]
    assert fit_to_interfaces(placed) == placed, "nothing more to do"
    assert list_absent((*written.dns.listen, *written.web.listen)) == ["br-guest"]
    assert list_absent(placed.dns.listen) == []


NAMES = {1: "lo", 3: "br-lan", 4: "wan", 5: "br-guest"}
GIVEN = [
    InterfaceAddress(1, "::1", 128),
    InterfaceAddress(3, "192.168.1.1", 24),
    InterfaceAddress(3, "2001:db8:1:10::1", 60),
    InterfaceAddress(3, "2001:db8:1:10::77", 128),
    InterfaceAddress(3, "2001:db8::1", 32),
    InterfaceAddress(3, "fe80::1%3", 64),
    InterfaceAddress(4, "192.168.100.2", 24),  # behind another router
    InterfaceAddress(4, "2001:db8:2::5", 64),
    InterfaceAddress(5, "2001:db8:1:20::1", 64),
    InterfaceAddress(5, "fe80::1%5", 64),
]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("dns: {listen: ['br-lan:53']}", ["2001:db8:1:10::/60"]),
        ("dns: {listen: ['127.0.0.1:53']}\nweb: {listen: ['br-lan:8080']}", ["2001:db8:1:10::/60"]),
        ("dns: {listen: ['192.168.1.1:53']}", ["2001:db8:1:10::/60"]),
        ("filter: {enabled: true, lan: [br-lan], wan: [wan]}", ["2001:db8:1:10::/60"]),
        # Asked there or not: the provider's side is never the home.
        ("dns: {listen: ['wan:53']}\nfilter: {enabled: true, lan: [br-lan], wan: [wan]}", ["2001:db8:1:10::/60"]),
        ("dns: {listen: ['br-guest:53']}", []),  # no private network: it may be a data centre's
        ("dns: {listen: ['127.0.0.1:53']}", []),
    ],
)
def test_the_public_networks_of_the_home(settings: str, expected: list[str]) -> None:
    found = list_home_networks(config_of(settings), NAMES, GIVEN)
    assert [str(network) for network in found] == expected


def test_they_are_let_in_unless_somebody_says_who_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.interfaces.list_interface_addresses", lambda: GIVEN)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [*NAMES.items()])
    listen = "dns: {listen: ['br-lan:53']%s}\nweb: {listen: ['br-lan:8080']%s}"
    found = fit_to_interfaces(config_of(listen % ("", "")))
    home = (*HOME_NETWORKS, ipaddress.ip_network("2001:db8:1:10::/60"))
    assert found.dns.clients == found.web.clients == home
    assert fit_to_interfaces(found) == found
    asked = fit_to_interfaces(config_of(listen % (", clients: [192.168.1.0/24]", "")))
    assert asked.dns.clients == (ipaddress.ip_network("192.168.1.0/24"),) and asked.web.clients == home


def test_a_kernel_that_does_not_tell_is_no_reason_to_stay_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> list[InterfaceAddress]:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr("guardian.interfaces.list_interface_addresses", refuse)
    config = config_of("dns: {listen: ['192.168.1.1:53']}")
    assert fit_to_interfaces(config) is config
    assert "event=home-networks-unknown error='Protocol not supported'" in caplog.text
    with pytest.raises(OSError, match="not supported"):
        fit_to_interfaces(config_of("dns: {listen: ['br-lan:53']}"))


def test_what_names_no_interface_asks_the_kernel_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.interfaces.list_interface_addresses", lambda: 1 / 0)
    config = config_of("dns: {listen: ['0.0.0.0']}")
    assert fit_to_interfaces(config) is config and list_absent(config.dns.listen) == []


def follow(script: Callable[[Following], Awaitable[None]], act: Callable[[], Awaitable[bool]]) -> None:
    async def main() -> None:
        following = Following(act)
        following.start()
        try:
            await asyncio.wait_for(script(following), 10)
        finally:
            await following.close()
            await following.close()

    asyncio.run(main())


def test_following_begins_with_a_run_and_tries_again_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardian.interfaces.SETTLE_SECONDS", 0.001)
    monkeypatch.setattr("guardian.interfaces.RETRY_SECONDS", 0.001)
    outcomes: list[bool | Exception] = [OSError("busy"), GuardianError("taken"), False, True]
    done: list[object] = []

    async def act() -> bool:
        outcome = outcomes[len(done)]
        done.append(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def script(following: Following) -> None:
        while len(done) < len(outcomes):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert done == outcomes, "after a success it waits for the kernel"

    follow(script, act)


def test_a_kernel_without_rtnetlink_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(groups: int) -> Notices:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr("guardian.interfaces.Notices", refuse)

    async def act() -> bool:
        raise AssertionError

    async def script(following: Following) -> None:
        await asyncio.sleep(0.01)

    follow(script, act)
    assert "event=addresses-not-followed error='Protocol not supported'" in caplog.text


def test_the_kernel_tells_of_a_change() -> None:
    """In a namespace of its own; what gateway and console make of it is in tests/netns/test_interfaces_netns.py."""
    name = f"gad{os.getpid()}"
    add_namespace(name)
    try:
        told: list[int] = []
        interfaces = inside(name, lambda: Interfaces.open(lambda: told.append(1)))
        with selectors.DefaultSelector() as selector:
            selector.register(interfaces.fileno(), selectors.EVENT_READ)
            for command in ("link add br0 type bridge", "addr add 192.0.2.1/24 dev br0", "link del br0"):
                before = len(told)
                run(f"ip -n {name} {command}")
                while len(told) == before:
                    assert selector.select(10), command
                    inside(name, interfaces.on_readable)
        interfaces.close()
        with pytest.raises(OSError):
            interfaces.fileno()
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
