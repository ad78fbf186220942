"""Sending the courier out: in time, one at a time, and called back."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from guardian.web.errands import Errands, has_apprise
from tests.gateway.product import wait_for
from tests.web.outside import outside


def test_what_came_of_an_order_is_returned() -> None:
    with outside() as hotline:
        order = {"task": "report", "address": f"http://127.0.0.1:{hotline.port}/", "body": "{}"}
        assert Errands().run(order) == [{"status": 201}]


def test_a_courier_that_is_late_or_dies_brings_what_it_has(caplog: pytest.LogCaptureFixture) -> None:
    with outside() as friend, outside() as silent, caplog.at_level(logging.INFO):
        friend.status, silent.behave = 200, "hang"
        letters = [
            {
                "id": number,
                "address": f"json://secret-{server.port}@127.0.0.1:{server.port}/",
                "title": "t",
                "body": "b",
            }
            for number, server in enumerate((friend, silent))
        ]
        assert Errands().run({"task": "deliver", "letters": letters, "seconds": 3}) == [{"id": 0, "error": ""}]
    assert "task=deliver code=-14" in caplog.text
    assert "secret" not in caplog.text


def test_a_mistake_of_ours_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Errands().run({"task": "deliver", "letters": [{"id": 1, "addres": "json://secret@x/"}]}) == []
    assert "task=deliver code=1" in caplog.text
    assert "secret" not in caplog.text


def test_it_can_be_called_back_at_once() -> None:
    errands, results = Errands(), [[{"never": "replaced"}]]
    with outside() as hotline:
        hotline.behave = "hang"
        order = {"task": "report", "address": f"http://127.0.0.1:{hotline.port}/", "body": "{}"}
        thread = threading.Thread(target=lambda: results.append(errands.run(order)))
        thread.start()
        wait_for(lambda: hotline.taken)
        assert errands.is_busy
        begin = time.monotonic()
        errands.close()
        thread.join(5)
        assert time.monotonic() - begin < 1
    assert results[1:] == [[]]
    assert not errands.is_busy
    assert errands.run(order) == []  # nobody goes out any more
    assert len(hotline.taken) == 1


def is_our_courier(process: Path) -> bool:
    try:
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        return int(parent) == os.getpid() and b"guardian.web.courier" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_nothing_of_it_is_left_running() -> None:
    with outside() as hotline:
        hotline.behave = "hang"
        Errands().run({"task": "report", "address": f"http://127.0.0.1:{hotline.port}/", "body": "{}", "seconds": 1})
    assert not [each for each in Path("/proc").glob("[0-9]*") if is_our_courier(each)]


def test_apprise_is_found_without_loading_it() -> None:
    assert has_apprise() is True
