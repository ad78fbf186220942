"""What the console asks of a gateway: a running one, one that is gone, one that does not answer."""

from __future__ import annotations

import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from guardian.catalogue import MANDATORY_TEST, load_catalogue, make_test_name
from guardian.control import NotRunningError, SilentError
from guardian.errors import GuardianError
from guardian.policy.model import FOREVER, Action, Decision, Household, Reason
from guardian.store.household import decode_household
from guardian.web import gateway as gateway_module
from guardian.web.access import Whose
from guardian.web.gateway import MOST_ADDRESSES, Gateway, find_mac
from tests.gateway.product import ADULT, CHILD, HOUSEHOLD, NEWCOMER, Running, running, wait_for


@functools.cache
def find_home() -> Household:
    return decode_household(yaml.safe_dump(HOUSEHOLD), "home.yaml", load_catalogue(names=False))


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}, "history": {"flush_seconds": 0.1}}) as product:
        yield product


def test_the_questions(product: Running) -> None:
    gateway = Gateway(product.socket, find_home)
    assert gateway.status()["pid"] == product.pid
    assert gateway.whose(CHILD) == Whose("tablet", "ana", "Tablet", True)
    assert gateway.whose(NEWCOMER) == Whose("", "guests")
    assert gateway.presence() == []
    product.ask("blocked.example")
    (entry,) = wait_for(gateway.presence)
    assert entry["device"] == "tablet" and entry["online"] is True
    gateway.erase()
    assert gateway.presence() == []
    with pytest.raises(GuardianError, match="is no address"):
        gateway.whose("tablet")


def test_whose_is_remembered_until_settings_change(product: Running) -> None:
    gateway = Gateway(product.socket, find_home)
    assert gateway.whose(NEWCOMER).device == ""
    product.household["devices"]["laptop"]["addresses"].append(NEWCOMER)
    try:
        product.write()
        product.control("reload")  # by somebody else: it holds for some seconds more
        assert gateway.whose(NEWCOMER).device == ""
        gateway.reload()
        assert gateway.whose(NEWCOMER).device == "laptop"
    finally:
        product.household["devices"]["laptop"]["addresses"].remove(NEWCOMER)


def test_many_addresses_are_bounded(product: Running) -> None:
    gateway = Gateway(product.socket, find_home)
    for number in range(MOST_ADDRESSES + 20):
        gateway.whose(f"10.0.{number // 256}.{number % 256}")
    assert len(gateway._whose) <= MOST_ADDRESSES
    assert gateway.whose(ADULT).device == "laptop"


def test_without_a_gateway_the_household_tells_whose_an_address_is(tmp_path: Path) -> None:
    gateway = Gateway(str(tmp_path / "nobody.sock"), find_home)
    assert gateway.whose(CHILD) == Whose("tablet", "ana", "Tablet", True)
    assert gateway.whose(f"::ffff:{CHILD}") == Whose("tablet", "ana", "Tablet", True)
    assert gateway.whose(ADULT) == Whose("laptop", "parents", "Laptop")
    assert gateway.whose(NEWCOMER) == Whose("", "guests")
    for ask in (
        gateway.status,
        gateway.presence,
        gateway.reload,
        gateway.erase,
        functools.partial(gateway.explain, "x", "y.z"),
    ):
        with pytest.raises(NotRunningError):
            ask()


def test_without_a_gateway_a_device_known_by_its_mac_is_found_among_the_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tablet has MACs, so another MAC at its address is somebody else, and its own counts at any address."""
    gateway = Gateway(str(tmp_path / "nobody.sock"), find_home)
    macs = {"127.0.0.77": "02:00:5e:10:00:01", CHILD: "02:00:5e:10:00:99"}

    def kernel_knows(address: bytes) -> bytes | None:
        text = ".".join(str(part) for part in address)
        return bytes.fromhex(macs[text].replace(":", "")) if text in macs else None

    monkeypatch.setattr(gateway_module, "find_mac", kernel_knows)
    assert gateway.whose("127.0.0.77") == Whose("tablet", "ana", "Tablet", True, "02:00:5e:10:00:01")
    assert gateway.whose(CHILD) == Whose("", "guests", mac="02:00:5e:10:00:99")


def test_the_kernel_s_neighbours_are_asked() -> None:
    assert find_mac(bytes([127, 0, 0, 1])) is None  # loopback has none, and that is no error


@contextmanager
def hung(path: str) -> Iterator[socket.socket]:
    """A socket that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(8)
        yield listener


def test_a_gateway_that_hangs_holds_a_page_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "WAIT_SECONDS", 0.3)
    path = str(tmp_path / "hung.sock")
    gateway = Gateway(path, find_home)
    with hung(path):
        began = time.monotonic()
        assert gateway.whose(CHILD).is_child
        for ask in (gateway.status, gateway.presence, functools.partial(gateway.explain, "tablet", "open.example")):
            with pytest.raises(SilentError):
                ask()
        assert gateway.whose(ADULT).device == "laptop"
        assert 0.3 <= time.monotonic() - began < 0.6


def test_a_gateway_that_was_silent_is_asked_again_soon(
    product: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(gateway_module, "SILENT_SECONDS", 1.0)
    gateway = Gateway(product.socket, find_home)
    os.kill(product.pid, signal.SIGSTOP)
    try:
        with pytest.raises(SilentError):
            gateway.status()
    finally:
        os.kill(product.pid, signal.SIGCONT)
    with pytest.raises(SilentError, match="a moment ago"):
        gateway.status()
    time.sleep(1.1)
    assert gateway.status()["pid"] == product.pid


def test_orders_wait_longer_and_end_the_silence(
    product: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "WAIT_SECONDS", 0.2)
    gateway = Gateway(product.socket, find_home)
    os.kill(product.pid, signal.SIGSTOP)
    waking = threading.Timer(0.8, os.kill, (product.pid, signal.SIGCONT))
    waking.start()
    try:
        with pytest.raises(SilentError):
            gateway.presence()
        gateway.reload()  # what parents changed must get there
    finally:
        waking.join()
    assert gateway.presence() == []


def test_why_a_site_is_closed(product: Running) -> None:
    gateway = Gateway(product.socket, find_home)
    assert gateway.explain("tablet", "blocked.example")[:3] == (
        Action.BLOCK,
        Reason.RULE,
        "rule:block =blocked.example",
    )
    assert gateway.explain("tablet", "open.example").action is Action.ALLOW
    law = gateway.explain("laptop", make_test_name(MANDATORY_TEST))
    assert law == Decision(Action.BLOCK, Reason.MANDATORY, "", FOREVER)
    for device, site in (("sold", "open.example"), ("", "open.example"), ("tablet", ""), ("tablet", "x" * 64 + ".md")):
        with pytest.raises(GuardianError):
            gateway.explain(device, site)
