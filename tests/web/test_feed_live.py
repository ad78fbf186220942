"""The whole way: two people at the desk publish, the broker tells, the console looks, the gateway refuses, pages learn.

A real desk, web server, Mosquitto, gateway and console; only the jitter is left to an urgent hint.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.message
import pytest

from bench.push_site import Site
from guardian.config import load_config
from guardian.config.values import HotlineConfig
from guardian.hotline.feed_state import feed_folder, load_state
from guardian.hotline.trust import FeedClient
from guardian.web.process import Process
from tests.gateway.product import Upstream, free_port, require, wait_for
from tests.web.product import Served, console

CENSORED = 16


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("mosquitto", "mosquitto_passwd")
    made = Site(tmp_path_factory.mktemp("site") / "site", "127.0.0.1", free_port(), free_port(), log2_n=12)
    try:
        made.start()
        made.publish(1, 0)
        yield made
    finally:
        made.stop()


def is_refused(answer: dns.message.Message) -> bool:
    return any(option.otype == dns.edns.EDE and option.code == CENSORED for option in answer.options)


def test_what_two_people_publish_is_refused_in_the_home_seconds_later(site: Site, tmp_path: Path) -> None:
    hotline = {"url": site.url, "root": str(site.root), "push": site.push_settings()}
    folder = feed_folder(tmp_path / "state")
    folder.parent.mkdir(mode=0o750)
    first = FeedClient(HotlineConfig(site.url, str(site.root)), folder).update(time.time())  # `guardian sync` by hand
    assert not first.troubles()
    upstream = Upstream("listed-1.example A 192.0.2.1\nlisted-2.example A 192.0.2.2")
    settings = {"hotline": hotline, "upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}, "log_level": "debug"}
    with console(tmp_path, settings=settings) as served:
        wait_for(lambda: "event=push-connected" in served.web_log())
        assert is_refused(served.ask("listed-1.example")) and not is_refused(served.ask("listed-2.example"))
        told: list[str] = []
        page = threading.Thread(target=listen, args=(served, told))
        page.start()
        site.publish(1, 1)  # listed-2 comes, listed-1 goes
        published = time.time()
        # A minute later at most, if the first look of its own was just before: it never looks more often.
        wait_for(lambda: is_refused(served.ask("listed-2.example")), 90)
        wait_for(lambda: not is_refused(served.ask("listed-1.example")))
        page.join(10)
        assert not page.is_alive(), told
        state = load_state(folder)
        assert state is not None and state.version > first.version and state.succeeded > published - 5
        wait_for(lambda: "event=feed-looked-at done=True" in served.web_log())
        assert "listed-" not in served.web_log() + served.log()
    upstream.close()


def listen(served: Served, told: list[str]) -> None:
    """Be a page until it is told that the alerts, of which the feed's state is one, are others."""
    with served.parent.http.stream("GET", "/api/v1/events") as stream:
        for line in stream.iter_lines():
            told.append(line)
            if line == 'data: {"what":"alerts"}':
                return


@pytest.mark.parametrize("offline", [False, True])
def test_offline_the_console_looks_at_nothing(site: Site, tmp_path: Path, offline: bool) -> None:
    """`guardian run --offline` starts it so."""
    upstreams = {"servers": ["127.0.0.1:1"]}
    served = Served(tmp_path, {"upstreams": upstreams, "hotline": {"url": site.url, "root": str(site.root)}})
    (tmp_path / "state").mkdir(mode=0o750)

    async def act() -> bool:
        process = Process(load_config(str(served.config)), str(served.config), offline)
        process._watch_feed(process.console.config)
        is_watching = process._feed is not None
        await process._leave_feed()
        return is_watching

    assert asyncio.run(act()) != offline


def test_settings_read_again_begin_and_end_it(site: Site, tmp_path: Path) -> None:
    hotline = {"url": site.url, "root": str(site.root), "push": site.push_settings()}
    with console(tmp_path, gateway=False) as served:
        assert served.web is not None
        served.settings["hotline"] = hotline
        served.write()
        served.web.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=push-connected" in served.web_log())
        served.settings["hotline"] = {}
        served.write()
        served.web.send_signal(signal.SIGHUP)
        wait_for(lambda: served.web_log().count("event=reloaded") == 2)
        wait_for(lambda: not connections_to(site.broker_port, served.web.pid))  # type: ignore[union-attr]


def connections_to(port: int, pid: int) -> int:
    """The TCP connections of a process to a port."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[2].endswith(f":{port:04X}") and row[9] in inodes)
