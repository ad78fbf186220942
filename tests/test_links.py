"""Interfaces of a real kernel: those that come, go, change their name, are made anew, and ports of bridges."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import NetNS
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from guardian.errors import FormError
from guardian.links import Link, Links, parse_link
from guardian.wire.netlink import split_messages
from tests.fuzz.driver import fuzz, mutate_bytes
from tests.netns.namespaces import add_namespace, inside, run


def encode(family: int, index: int, name: str) -> bytes:
    """A link message as pyroute2 writes it."""
    message = ifinfmsg()
    message["family"], message["index"] = family, index
    message["attrs"] = [("IFLA_MTU", 1500), ("IFLA_IFNAME", name), ("IFLA_TXQLEN", 1000)]
    message["header"]["type"] = 16
    message.encode()
    (decoded,) = split_messages(bytes(message.data))
    return decoded.payload


@given(st.integers(1, 2**31 - 1), st.text("abcdefgh0123456789.-_", min_size=1, max_size=15))
def test_we_read_what_pyroute2_writes(index: int, name: str) -> None:
    assert parse_link(encode(0, index, name)) == Link(index, name)


def test_what_a_bridge_says_of_its_port_is_not_the_interface() -> None:
    assert parse_link(encode(socket.AF_BRIDGE, 3, "lan0")) is None


def test_damaged_messages_are_form_errors_or_links() -> None:
    def check(data: bytes) -> None:
        with contextlib.suppress(FormError):
            assert isinstance(parse_link(data), Link | None)

    seeds = [encode(0, 3, "lan0"), encode(0, 4, "wan")]
    fuzz(check, seeds, mutate_bytes, seed=1, count=3_000)
    with pytest.raises(FormError):
        parse_link(seeds[0][:15])


class Calls:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"gln{os.getpid()}"
    add_namespace(name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def links(namespace: str, calls: Calls) -> Iterator[Links]:
    links = inside(namespace, lambda: Links.open(calls))
    try:
        yield links
    finally:
        links.close()


def oracle(namespace: str) -> dict[int, str]:
    """The interfaces as pyroute2 lists them."""
    with NetNS(namespace) as netns:
        return {link["index"]: link.get("ifname") for link in netns.get_links()}


def feed(links: Links, done: Callable[[], bool]) -> None:
    """Be the event loop until `done`."""
    with selectors.DefaultSelector() as selector:
        selector.register(links.fileno(), selectors.EVENT_READ)
        while not done():
            assert selector.select(20), "no notice came"
            links.on_readable()


def test_what_is_there_at_the_start(namespace: str) -> None:
    run(f"ip -n {namespace} link add lan0 type bridge")
    links = inside(namespace, lambda: Links.open(Calls()))
    try:
        assert links.names() == oracle(namespace)
        assert sorted(links.names().values()) == ["lan0", "lo"]
    finally:
        links.close()


def test_appear_rename_disappear_and_come_back(namespace: str, links: Links, calls: Calls) -> None:
    run(f"ip -n {namespace} link add lan0 type bridge")
    feed(links, lambda: "lan0" in links.names().values())
    first = next(index for index, name in links.names().items() if name == "lan0")
    assert calls.count == 1
    run(f"ip -n {namespace} link set lan0 name home")
    feed(links, lambda: links.names().get(first) == "home")
    assert calls.count == 2
    run(f"ip -n {namespace} link del home")
    feed(links, lambda: first not in links.names())
    assert calls.count == 3
    run(f"ip -n {namespace} link add home type bridge")
    feed(links, lambda: "home" in links.names().values())
    assert first not in links.names()
    assert links.names() == oracle(namespace)


def test_up_and_down_change_no_name(namespace: str, links: Links, calls: Calls) -> None:
    run(f"ip -n {namespace} link set lo up")
    run(f"ip -n {namespace} link set lo down")
    run(f"ip -n {namespace} link add last type bridge")
    feed(links, lambda: "last" in links.names().values())
    assert calls.count == 1


def test_a_port_that_leaves_its_bridge_is_still_there(namespace: str, links: Links) -> None:
    run(f"ip -n {namespace} link add br0 type bridge")
    run(f"ip -n {namespace} link add port0 type veth peer name other0")
    run(f"ip -n {namespace} link set port0 master br0")
    run(f"ip -n {namespace} link set port0 nomaster")
    run(f"ip -n {namespace} link add last type bridge")
    feed(links, lambda: "last" in links.names().values())
    assert links.names() == oracle(namespace)
    assert "port0" in links.names().values()


def test_lost_notices_are_made_up_for(
    namespace: str, links: Links, calls: Calls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(f"ip -n {namespace} link add lan0 type bridge")
    changes = [f"link set lan0 mtu {1000 + number % 2}\n" for number in range(2000)]  # of ~1 KB; room is for 256 KB
    (tmp_path / "changes").write_text("".join(changes) + "link set lan0 name home\n")
    run(f"ip -n {namespace} -batch {tmp_path}/changes")
    inside(namespace, lambda: feed(links, lambda: "home" in links.names().values()))
    assert "link-notices-lost" in caplog.text
    assert calls.count >= 1
    assert links.names() == oracle(namespace)


def test_a_closed_list_says_so() -> None:
    links = Links.open(Calls())
    links.close()
    links.close()
    assert "lo" in links.names().values()
    with pytest.raises(OSError, match="closed"):
        links.fileno()
    links.on_readable()
