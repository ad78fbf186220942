"""The routers of `bench/push.py`, in processes of their own.

    python -m bench.push_routers crowd SETTINGS COUNT    many listeners: a line on stdout for each thing that happens
    python -m bench.push_routers router CONFIG           one router: what `guardian web` does about the feed, no jitter

A crowd's router is the real listener with the real plan, each on a connection of its own; it doesn't look. A router of
the other kind looks with a real `guardian sync --feed`, which reloads a real gateway. Both end with their stdin.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from functools import partial
from pathlib import Path
from random import Random

from guardian.config import Config, load_config
from guardian.config.text import read_broker
from guardian.config.values import PushConfig
from guardian.feed import Hint
from guardian.web.feed_plan import PACE, FeedPlan
from guardian.web.feed_watch import FeedWatch
from guardian.web.push import PushListener

APART_SECONDS = 0.008  # between two connections of one process
POLL_SECONDS = 6 * 3600.0
AT_ONCE = PACE._replace(start=0.0, fresh_start=0.0, least_pause=0.0, hints_an_hour=100_000, spread=0.0)


def tell(**facts: float | int | str) -> None:
    """Write a line for the bench."""
    print(json.dumps(facts), flush=True)


class CrowdRouter:
    """A listener and its plan."""

    def __init__(self, settings: PushConfig, number: int) -> None:
        chance, now = Random(), time.monotonic()
        self.plan = FeedPlan(POLL_SECONDS, is_fresh=True, version=0, now=now, chance=chance)
        self.plan.note(0, now)  # as if it had looked just now: what is measured is what a hint does
        self.number = number
        self.listener = PushListener(settings, self.hear, chance)

    def hear(self, hint: Hint) -> None:
        """Note when a hint came, and when its plan would look for it."""
        now, clock = time.time(), time.monotonic()
        self.plan.hear(hint.version, hint.urgent, hint.spread, clock)
        tell(router=self.number, version=hint.version, at=now, look_in=max(0.0, self.plan.due - clock))
        self.plan.note(hint.version, clock)  # as if it had looked: the next hint is news again


async def run_crowd(path: str, count: int) -> None:
    """Keep so many routers connected until stdin ends."""
    given = json.loads(Path(path).read_text())
    settings = PushConfig(read_broker(given.pop("broker")), **given)
    tasks = []
    routers = []
    for number in range(count):
        router = CrowdRouter(settings, number)
        routers.append(router)
        tasks.append(asyncio.create_task(router.listener.run()))
        await asyncio.sleep(APART_SECONDS)
    while not all(router.listener.is_connected for router in routers):
        await asyncio.sleep(0.05)
    tell(connected=count)
    await wait_for_end()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_router(path: str) -> None:
    """Keep one router's feed fresh until stdin ends."""
    config: Config = load_config(path)
    watch = FeedWatch(config.hotline, config.state, path, partial(tell, changed=1), AT_ONCE)
    watch.start()
    await wait_for_end()
    await watch.stop()


async def wait_for_end() -> None:
    """Wait until the bench closes our stdin."""
    await asyncio.to_thread(sys.stdin.read)


def main() -> int:
    """Run what the arguments say."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    if sys.argv[1] == "crowd":
        asyncio.run(run_crowd(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(run_router(sys.argv[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
