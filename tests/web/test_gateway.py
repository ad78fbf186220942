"""What the console asks of a gateway: a running one, one that is gone, one that does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.control import NotRunningError
from guardian.errors import GuardianError
from guardian.web import gateway as gateway_module
from guardian.web.access import Whose
from guardian.web.gateway import MOST_ADDRESSES, Gateway
from tests.gateway.product import ADULT, CHILD, NEWCOMER, Running, running, wait_for


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}, "history": {"flush_seconds": 0.1}}) as product:
        yield product


def test_the_questions(product: Running) -> None:
    gateway = Gateway(product.socket)
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
    gateway = Gateway(product.socket)
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
    gateway = Gateway(product.socket)
    for number in range(MOST_ADDRESSES + 20):
        gateway.whose(f"10.0.{number // 256}.{number % 256}")
    assert len(gateway._whose) <= MOST_ADDRESSES
    assert gateway.whose(ADULT).device == "laptop"


def test_without_a_gateway_nobody_is_known(tmp_path: Path) -> None:
    gateway = Gateway(str(tmp_path / "nobody.sock"))
    assert gateway.whose(CHILD) == Whose()
    for ask in (gateway.status, gateway.presence, gateway.reload, gateway.erase):
        with pytest.raises(NotRunningError):
            ask()


def test_a_gateway_that_hangs_holds_a_page_for_seconds_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "WHOSE_WAIT_SECONDS", 0.2)
    path = str(tmp_path / "hung.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(path)
        hung.listen()
        began = time.monotonic()
        with pytest.raises(GuardianError, match="does not answer"):
            Gateway(path).whose(CHILD)
        assert time.monotonic() - began < 2
