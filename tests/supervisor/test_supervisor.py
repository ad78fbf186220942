"""The supervisor is found by what it left in the environment, and hears of the loop as long as the loop turns."""

from __future__ import annotations

import asyncio

import pytest

from guardian.supervisor import Nobody, find_supervisor, keep_telling
from guardian.supervisor.procd import Procd
from guardian.supervisor.systemd import Systemd


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Nobody),
        ({"NOTIFY_SOCKET": ""}, Nobody),
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, Systemd),
        ({"NOTIFY_SOCKET": "@notify", "GUARDIAN_PROCD_INSTANCE": "web"}, Systemd),
        ({"GUARDIAN_PROCD_INSTANCE": "gateway"}, Procd),
    ],
)
def test_who_started_us(environ: dict[str, str], expected: type) -> None:
    assert type(find_supervisor(environ)) is expected


class Counting(Nobody):
    """Hears of each sign of life."""

    def __init__(self, interval: float | None) -> None:
        self.interval = interval
        self.count = 0

    async def alive(self) -> None:
        self.count += 1


def test_signs_of_life_come_from_the_loop() -> None:
    async def run() -> int:
        heard = Counting(0.05)
        telling = asyncio.create_task(keep_telling(heard))
        await asyncio.sleep(0.5)
        telling.cancel()
        return heard.count

    assert 3 <= asyncio.run(run()) <= 11


def test_who_wants_to_hear_nothing_is_told_nothing() -> None:
    heard = Counting(None)
    asyncio.run(keep_telling(heard))
    assert heard.count == 0
