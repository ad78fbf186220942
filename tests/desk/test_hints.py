"""Hints to a real Mosquitto: TLS, password, rights; and what is told when it does not work."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guardian.config.text import read_broker
from guardian.config.values import PushConfig
from guardian.desk.hints import send_hint
from guardian.errors import DeskError
from guardian.feed import Hint, decode
from tests.web.broker import DESK, DESK_PASSWORD, PASSWORD, TOPIC, USER, Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    started = Broker(tmp_path / "broker").start()
    yield started
    started.stop()


@pytest.fixture
def push(broker: Broker, tmp_path: Path) -> PushConfig:
    (tmp_path / "password").write_text(DESK_PASSWORD + "\n")
    address = read_broker(f"mqtts://localhost:{broker.port}")
    return PushConfig(broker=address, topic=TOPIC, user=DESK, password="password", ca=str(broker.ca))


def test_a_router_that_comes_later_still_gets_the_hint(broker: Broker, push: PushConfig, tmp_path: Path) -> None:
    for version in (6, 7):
        send_hint(tmp_path, push, Hint(version=version, urgent=True, spread=0))
    told = subprocess.run(
        [
            "mosquitto_sub", "-V", "mqttv5", "-h", "localhost", "-p", str(broker.port), "--cafile", str(broker.ca),
            "-u", USER, "-P", PASSWORD, "-t", TOPIC, "-C", "1", "-W", "10",
        ],
        capture_output=True, check=True,
    )  # fmt: skip
    hint = decode(told.stdout, Hint, "hint")
    assert (hint.version, hint.urgent, hint.spread) == (7, True, 0)
    assert len(told.stdout) < 200


def test_who_may_not_is_told(push: PushConfig, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    with pytest.raises(DeskError, match=r"mqtts://localhost:\d+: .*[Nn]ot authori[sz]ed"):
        send_hint(tmp_path, push, Hint(version=1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho forgets to close its socket
def test_a_broker_of_somebody_else_is_not_believed(push: PushConfig, tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="certificate"):
        send_hint(tmp_path, replace(push, ca=""), Hint(version=1))
    gc.collect()


def test_no_broker_at_all(push: PushConfig, tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="no broker is set"):
        send_hint(tmp_path, PushConfig(), Hint(version=1))
    with pytest.raises(DeskError, match="can be sent again"):
        send_hint(tmp_path, replace(push, broker=read_broker("mqtt://127.0.0.1:1")), Hint(version=1))
