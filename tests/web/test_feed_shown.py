"""How the hotline's feed stands, seen from all sides: pages, alerts, `guardian status`, `guardian doctor`.

A real feed on a real web server, a real gateway; `guardian sync` by hand, so that time does not play.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guardian.config import load_config
from guardian.hotline.feed_health import LASTING_SECONDS, STALE_SECONDS
from guardian.hotline.feed_state import feed_folder, load_state, save_state
from guardian.web.console import Console
from guardian.web.delivery import collect_news
from guardian.web.shapes.activity import HotlineFeed
from tests.gateway.product import Running, extended_errors, run_guardian, running
from tests.hotline.feed_maker import FeedMaker, FeedServer
from tests.web.api.calls import Api

CENSORED = 16
NAMES = ["listed-1.example", "listed-2.example", "feed-test.example"]


class Home:
    """A feed and a home that has it."""

    def __init__(self, folder: Path) -> None:
        self.maker = FeedMaker(folder / "feed", now=time.time())
        self.maker.real_keys = True
        self.maker.publish_all(NAMES)
        self.server = FeedServer(self.maker.folder)
        self.folder = folder / "home"
        self.folder.mkdir()
        root = self.folder / "root.json"
        root.write_bytes((self.maker.folder / "metadata" / "1.root.json").read_bytes())
        self.settings = {"hotline": {"url": f"{self.server.url}/", "root": str(root)}}

    def age(self, seconds: float, **more: Any) -> None:
        """Have the last good look be so long ago."""
        folder = feed_folder(self.folder / "state")
        state = load_state(folder)
        assert state is not None
        then = time.time() - seconds
        save_state(folder, replace(state, succeeded=then, accepted=then, **more))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("shown"))
    yield made
    made.server.close()


class Seen(NamedTuple):
    """The gateway of that home, and what its pages ask, without a console that looks at the feed by itself."""

    gateway: Running
    api: Api

    def sync(self) -> int:
        return self.gateway.run("sync", "--feed").returncode

    def feed(self) -> HotlineFeed:
        found = self.api("GET", "/status").feed
        assert isinstance(found, HotlineFeed)
        return found

    def alerts(self) -> list[tuple[str, str]]:
        return [(each.of, each.priority) for each in self.api("GET", "/alerts").alerts if each.kind == "feed-stale"]

    def letters(self) -> list[str]:
        """What is sent out of the home."""
        news = collect_news(self.api.console, time.time())
        return [each.of for each in news.alerts if each.kind == "feed-stale"]

    def check(self) -> list[tuple[str, str]]:
        checks = json.loads(self.gateway.run("doctor", "--json").stdout)["checks"]
        return [(each["level"], each["message"]) for each in checks if each["check"] == "hotline"]


@pytest.fixture(scope="module")
def seen(home: Home) -> Iterator[Seen]:
    settings = home.settings | {"upstreams": {"servers": ["127.0.0.1:1"]}}
    with running(home.folder, settings) as gateway:
        console = Console(load_config(str(gateway.config)), str(gateway.config))
        made = Seen(gateway, Api(console))
        assert made.feed().state == "never" and made.alerts() == []
        assert ("warn", f"{home.server.url}/ was never looked at") in made.check()
        assert "hotline    http://127.0.0.1" in gateway.run("status").stdout
        assert made.sync() == 0
        yield made


def test_a_feed_that_is_well(seen: Seen, home: Home) -> None:
    assert CENSORED in extended_errors(seen.gateway.ask("listed-1.example"))
    feed = seen.feed()
    assert (feed.state, feed.problem, feed.name) == ("ok", "", "Test hotline")
    assert feed.age is not None and 0 <= feed.age < 60 and feed.expires and feed.expires > time.time() + 86400
    assert [(each.id, each.entries) for each in feed.lists] == [("list-a", 3)]
    assert seen.api("GET", "/home").gateway.feed.state == "ok"
    assert seen.alerts() == []
    printed = seen.gateway.run("status").stdout
    assert "hotline    Test hotline: ok, verified" in printed and home.server.url in printed
    assert "signatures ok, valid until 20" in printed and "list-a: 3 entries, serial 1, made" in printed
    found = json.loads(seen.gateway.run("status", "--json").stdout)["feed"]
    assert (found["health"], found["problem"], found["push"], found["version"]) == ("ok", "", None, 1)
    assert found["lists"]["list-a"]["entries"] == 3 and "floors" not in found
    levels = seen.check()
    assert {level for level, _ in levels} == {"ok"}, levels
    assert any("the test name feed-test.example is refused" in message for _, message in levels)
    assert any("list-a: 3 entries, signed as they should be" in message for _, message in levels)
    assert not any("listed-" in text for text in (printed, str(found), str(levels), str(feed)))


def test_a_feed_that_is_old(seen: Seen, home: Home) -> None:
    home.age(9 * 86400, code="offline", error="no connection", failing=time.time() - 9 * 86400)
    feed = seen.feed()
    assert (feed.state, feed.problem, int((feed.age or 0) // 86400)) == ("stale", "offline", 9)
    assert seen.alerts() == [("offline", "low")] and seen.letters() == []
    printed = seen.gateway.run("status").stdout
    assert "Test hotline: stale, verified 9 days ago" in printed and "offline: no connection" in printed
    assert ("warn", "offline: no connection") in seen.check()
    assert ("warn", "the feed was last verified 9 days ago") in seen.check()
    home.age(STALE_SECONDS - 60)
    assert seen.alerts() == [] and (seen.feed().state, seen.feed().problem) == ("ok", "offline")
    assert seen.sync() == 0 and seen.feed().problem == ""


def test_a_feed_that_somebody_forges_until_it_is_honest_again(seen: Seen, home: Home) -> None:
    maker = home.maker
    maker.publish_list([*NAMES, "listed-3.example"], signed_by=["list-a/list-1"])  # one of two
    maker.publish_online()
    assert seen.sync() == 1
    assert (seen.feed().state, seen.feed().problem) == ("refused", "not-signed")
    assert seen.alerts() == [], "a mirror may be between two states"
    assert [level for level, message in seen.check() if "not-signed" in message] == ["fail"]
    printed = seen.gateway.run("status").stdout
    assert "Test hotline: refused" in printed and "not-signed: list-a:" in printed and "signatures ok" not in printed
    home.age(7200.0, failing=time.time() - LASTING_SECONDS - 60)
    assert seen.sync() == 1
    assert seen.alerts() == [("refused", "high")] and seen.letters() == ["refused"]
    assert CENSORED in extended_errors(seen.gateway.ask("listed-1.example")), "the list before stays in force"
    maker.next([*NAMES, "listed-4.example"])
    assert seen.sync() == 0
    assert seen.alerts() == [] and seen.feed().state == "ok"


def test_a_minimum_is_shown_everywhere_and_does_nothing_else(seen: Seen, home: Home) -> None:
    """The highest version there is: it is enforced as before, no check fails, nobody is sent a letter."""
    maker = home.maker
    maker.minimum_version = "99999.0"
    maker.publish_feed()
    maker.next([*NAMES, "listed-5.example"])
    assert seen.sync() == 0
    assert CENSORED in extended_errors(seen.gateway.ask("listed-5.example")), "newer lists come all the same"
    assert (seen.feed().state, seen.feed().needs_update) == ("ok", True)
    found = [each for each in seen.api("GET", "/alerts").alerts if each.kind == "software-old"]
    assert [(each.of, each.priority) for each in found] == [("99999.0", "low")]
    assert not any(each.kind == "software-old" for each in collect_news(seen.api.console, time.time()).alerts)
    assert "it asks for Guardian 99999.0 or newer" in seen.gateway.run("status").stdout
    health = json.loads(seen.gateway.run("status", "--health").stdout)
    assert (health["needs_update"], health["minimum_version"]) == (True, "99999.0")
    assert not any(problem.startswith("feed") for problem in health["problems"])
    levels = seen.check()
    assert ("warn", "the hotline asks for Guardian 99999.0 or newer") in levels
    assert {level for level, _ in levels} == {"ok", "warn"}
    maker.minimum_version = ""
    maker.publish_feed()
    maker.publish_online()
    assert seen.sync() == 0 and not seen.feed().needs_update


def test_a_gateway_that_does_not_have_it(seen: Seen, home: Home) -> None:
    state = load_state(feed_folder(home.folder / "state"))
    assert state is not None
    (one,) = state.lists.values()
    home.age(0, lists={"list-a": replace(one, serial=one.serial + 1)})
    assert f"the gateway does not enforce list-a {one.serial + 1}" in str(seen.check())
    assert "the gateway has not taken these yet" in seen.gateway.run("status").stdout


def test_without_a_gateway_programs_are_told_all_the_same(seen: Seen, home: Home) -> None:
    settings = (home.folder / "guardian.yaml").read_text()
    other = home.folder / "other.yaml"
    other.write_text(settings + "control: {socket: nobody.sock}\n")
    done = run_guardian("status", "--json", "--config", str(other), cwd=home.folder)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["running"] is False and told["feed"]["name"] == "Test hotline"
