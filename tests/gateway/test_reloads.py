"""What became of the last reload, from a gateway that runs: a code, and nothing of what somebody wrote."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from guardian.errors import ConfigError, GuardianError, ListError, Problem
from guardian.gateway.reloads import LISTS, REFUSED, SETTINGS, SYSTEM, Reloads, find_code
from tests.gateway.product import Running


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("home.yaml:3", "no")]), SETTINGS), (ListError("no"), LISTS), (OSError(28, "no"), SYSTEM),
        (GuardianError("no"), REFUSED),
    ],
)  # fmt: skip
def test_codes(error: Exception, code: str) -> None:
    reloads = Reloads()
    with pytest.raises(type(error)), reloads.counting():
        raise error
    assert (find_code(error), reloads.status()["code"], reloads.refused, reloads.taken) == (code, code, 1, 0)
    with reloads.counting():
        pass
    assert (reloads.code, reloads.refused, reloads.taken) == ("", 1, 1)


def test_a_reload_that_was_given_up_is_none() -> None:
    reloads = Reloads()
    with pytest.raises(asyncio.CancelledError), reloads.counting():
        raise asyncio.CancelledError
    assert (reloads.code, reloads.refused) == (REFUSED, 1)


def test_a_wrong_file_and_a_right_one(home: Running) -> None:
    before = home.status()["reloads"]
    written = home.config.read_text()
    home.config.write_text(f"{written}\nsecret-of-ana: 1\n")
    try:
        with pytest.raises(GuardianError, match="secret-of-ana"):
            home.control("reload")
        status = home.status()
        assert status["reloads"]["code"] == SETTINGS and status["reloads"]["refused"] == before["refused"] + 1
        assert "secret-of-ana" not in json.dumps(status)
    finally:
        home.config.write_text(written)
    assert home.run("gateway", "--reload").returncode == 0
    after = home.status()["reloads"]
    assert (after["code"], after["taken"]) == ("", before["taken"] + 1) and time.time() - after["at"] < 60
