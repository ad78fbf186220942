"""One update after the other: what is asked for, what is remembered, what is told."""

from __future__ import annotations

import inspect
import json
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from guardian import __version__
from guardian.errors import ListError
from guardian.hotline import trust
from guardian.hotline.feed_fetcher import FEED_LIMITS, FeedFetcher, KnownCopy
from guardian.hotline.feed_health import OK, judge_feed
from guardian.hotline.feed_state import DAMAGED, MISSING, STATE_FILE, FeedState, load_state
from guardian.hotline.trust import FeedClient, TrustedFeed, lock_folder
from tests.hotline.feed_maker import DAY, LIST, PATIENCE, Box, Scene, listed


def test_tuf_is_what_it_was(scene: Scene) -> None:
    """We set the time of ngclient's trusted set, and read it: there is no public way. A tuf that changes this fails."""
    parameters = inspect.signature(Updater.__init__).parameters
    assert {"metadata_dir", "metadata_base_url", "fetcher", "config", "bootstrap"} <= set(parameters)
    source = inspect.getsource(TrustedMetadataSet)
    assert source.count("is_expired(self.reference_time)") == 4, "every expiry is measured by the time that we set"
    with FeedFetcher(PATIENCE, KnownCopy("", "", b"")) as fetcher:
        for clock, fresh in ((scene.maker.now, True), (scene.maker.now + 3 * DAY, False)):
            feed = TrustedFeed(scene.box.config.url, scene.box.folder, scene.root, fetcher, clock)
            assert isinstance(feed._trusted, TrustedMetadataSet)
            assert feed._trusted.reference_time == datetime.fromtimestamp(clock, UTC)
            if fresh:
                feed.refresh()
                assert [feed.version(role) for role in trust.TOP_ROLES] == [1, 1, 1, 1]
                assert feed.expires() == pytest.approx(scene.maker.now - 60 + 2 * DAY)
            else:
                with pytest.raises(ListError, match="too old"):
                    feed.refresh()


def test_a_poll_without_news_asks_for_two_files(scene: Scene) -> None:
    scene.server.seen.clear()
    before = scene.in_force()
    state = scene.update()
    assert scene.server.paths == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert scene.server.seen[1].headers["if-none-match"] == state.etag
    assert scene.in_force() == before and state.succeeded == state.checked == scene.maker.now


def test_nothing_about_the_box_goes_out(scene: Scene) -> None:
    scene.maker.next(listed(range(30)))
    scene.update()
    names = {name for exchange in scene.server.seen for name in exchange.headers}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection", "if-none-match"}
    assert {exchange.headers["user-agent"] for exchange in scene.server.seen} == {"guardian-sync"}


def test_an_etag_counts_for_the_file_that_it_came_with(scene: Scene) -> None:
    (scene.box.folder / "tuf" / "timestamp.json").write_bytes(b"{}")
    scene.server.seen.clear()
    assert not scene.update().troubles()
    assert "if-none-match" not in scene.server.seen[1].headers


def test_another_address_of_the_same_feed(scene: Scene) -> None:
    """Cached answers belong to their server; what was believed belongs to the people who sign."""
    floors = scene.update().floors
    scene.box = Box(scene.box.folder.parent, scene.server.url.replace("127.0.0.1", "localhost"), scene.root)
    scene.server.seen.clear()
    state = scene.update()
    assert not state.troubles() and state.floors == floors and "localhost" in state.url
    assert "if-none-match" not in scene.server.seen[1].headers


def test_only_wanted_lists(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ("list-a", "list-b"))
    try:
        scene.maker.publish_all({"list-a": listed(range(20)), "list-b": listed(range(20))})
        scene.box = Box(scene.box.folder.parent, scene.server.url, scene.root, ("list-b", "list-c"))
        state = scene.update()
        assert [(name, code) for name, code, _ in state.troubles()] == [("list-c", MISSING)]
        assert scene.holds("listed-1.example", "list-b") and not scene.holds("listed-1.example", "list-a")
        assert not any("list-a" in path for path in scene.server.paths)
    finally:
        scene.server.close()


@pytest.mark.parametrize(
    ("minimum", "older"),
    [("", False), (__version__, False), ("0.0.9", False), ("0.2", True), ("1.0.0", True)],
)
def test_the_feed_asks_for_a_newer_guardian(scene: Scene, minimum: str, older: bool) -> None:
    scene.maker.minimum_version = minimum
    scene.maker.publish_feed()
    scene.maker.publish_online()
    state = scene.update()
    assert not state.troubles() and (state.minimum_version, state.needs_update) == (minimum, older)


@pytest.mark.parametrize("minimum", ["soon", "9\x1b[2J", "\n9.1", "9.1; reboot", "9" * 300, "١٠.٠"])
def test_a_minimum_that_is_none_is_nothing_to_show(scene: Scene, minimum: str) -> None:
    """Whoever signs may write anything there: it is a version, or it is left out, and the lists come all the same."""
    scene.maker.minimum_version = minimum
    scene.maker.publish_feed()
    scene.maker.next(listed(range(30)))
    state = scene.update()
    assert not state.troubles() and (state.minimum_version, state.needs_update) == ("", False)
    assert state.lists[LIST].serial == 2


def test_a_minimum_does_no_more_than_a_notice(scene: Scene) -> None:
    """The highest there is: the feed goes on, its health is the same, and what was asked for goes away again."""
    scene.maker.minimum_version = "99999.99999.99999.99999"
    scene.maker.publish_feed()
    scene.maker.next(listed(range(30)))
    state = scene.update()
    assert state.needs_update and not state.troubles() and state.lists[LIST].serial == 2
    assert judge_feed(state, scene.maker.now).state == OK
    scene.maker.minimum_version = ""
    scene.maker.publish_feed()
    scene.maker.publish_online()
    assert not scene.update().needs_update


def test_an_update_of_guardian_ends_the_notice_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.maker.minimum_version = "0.7"
    scene.maker.publish_feed()
    scene.maker.publish_online()
    assert scene.update().needs_update
    monkeypatch.setattr("guardian.hotline.feed_state.__version__", "0.7.0")
    state = load_state(scene.box.folder)
    assert state is not None and not state.needs_update


def test_the_gateway_is_told_until_it_has_taken_it(scene: Scene) -> None:
    told: list[bool] = []

    def announce(taken: bool) -> bool:
        assert load_state(scene.box.folder) == FeedState(
            **{**vars_of(state := load_state(scene.box.folder)), "reload_due": True}
        ), state
        told.append(taken)
        return taken

    client = scene.box.client
    assert client.update(scene.maker.now, lambda: announce(False)).reload_due
    assert client.update(scene.maker.now, lambda: announce(False)).reload_due
    assert not client.update(scene.maker.now, lambda: announce(True)).reload_due
    assert not client.update(scene.maker.now, lambda: announce(True)).reload_due
    assert told == [False, False, True]
    scene.maker.next(listed(range(30)))
    assert not client.update(scene.maker.now, lambda: announce(True)).reload_due and len(told) == 4


def vars_of(state: FeedState | None) -> dict[str, Any]:
    assert state is not None
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def test_a_broken_state_is_made_anew(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    (scene.box.folder / STATE_FILE).write_bytes(b'{"lists": 5')
    assert "event=feed_state_ignored" not in caplog.text
    state = scene.update()
    assert "event=feed_state_ignored" in caplog.text and not state.troubles()
    assert load_state(scene.box.folder) == state and state.lists[LIST].serial == 1


@pytest.mark.parametrize("data", [None, b"", b"{}", b'{"signed": {}, "signatures": []}'])
def test_a_root_that_is_none(scene: Scene, data: bytes | None) -> None:
    root = Path(scene.box.config.root)
    if data is None:
        root.unlink()
    else:
        root.write_bytes(data)
    assert "root.json" in scene.withstand(DAMAGED)
    root.write_bytes(scene.root)
    scene.recover()


def test_a_root_that_signs_itself_with_too_few(scene: Scene) -> None:
    root = Path(scene.box.config.root)
    made = json.loads(scene.root)
    made["signatures"] = made["signatures"][:2]
    root.write_text(json.dumps(made))
    scene.withstand("not-signed")
    root.write_bytes(scene.root)
    scene.recover()


def test_one_update_at_a_time(scene: Scene) -> None:
    """Who comes second waits, and looks for itself: the first may have begun before there was something new."""
    order = []
    with lock_folder(scene.box.folder, 1.0):
        thread = threading.Thread(target=lambda: order.append(scene.box.client.update(scene.maker.now)))
        thread.start()
        time.sleep(0.3)
        assert not order
        scene.maker.next(listed(range(30)))
        with pytest.raises(ListError, match="another update"), lock_folder(scene.box.folder, 0.2):
            raise AssertionError
    thread.join(20)
    assert not order[0].troubles() and scene.holds("listed-29.example")


def test_roots_are_followed_one_by_one(scene: Scene) -> None:
    maker = scene.maker
    for turn in range(4):
        maker.holders["root"] = ([f"root-{turn}-{number}" for number in range(3)] + ["root-0", "root-1"], 3)
        maker.publish_root()
    state = scene.update()
    assert not state.troubles() and state.root_version == 5
    scene.recover()


def test_it_has_time_for_others(scene: Scene) -> None:
    """`guardian web` ends a sync after ten minutes: waiting and updating must fit."""
    assert 2 * FEED_LIMITS.total + 30 < 600
    client = FeedClient(scene.box.config, scene.box.folder)
    assert not client.update(scene.maker.now).troubles()


VALUES = [
    None,
    True,
    0,
    -1,
    1 << 70,
    1e300,
    "",
    "x" * 300,
    "\ud800\x1b[2J",
    [],
    {},
    [[]],
    {"": {}},
    "9999-01-01T00:00:00Z",
]


def mutate(tree: Any, rng: random.Random) -> Any:
    """Change one to three values of a JSON tree to something else, or take them away."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice([1, 1, 2, 3])):
        at, places = tree, []
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
            places.append((at, key))
            at = at[key]
        holder, key = rng.choice(places)
        if rng.random() < 0.3:
            del holder[key]
        else:
            holder[key] = json.loads(json.dumps(rng.choice(VALUES)))
        if not tree:
            break
    return tree


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_right_people_sign(scene: Scene, seed: int) -> None:
    """Signed metadata with something else in it: an update ends with a state that says how it stands, and no more."""
    rng = random.Random(seed)
    maker, folder = scene.maker, scene.maker.folder / "metadata"
    honest = {path.name: path.read_bytes() for path in folder.iterdir()}
    signers = {"timestamp.json": ["online"], "1.snapshot.json": ["online"]}
    signers |= {"1.targets.json": maker.holders["targets"][0], f"1.{LIST}.json": maker.holders[LIST][0]}
    outcomes = set()
    tried = 0
    while tried < 40:
        name = rng.choice(list(signers))
        trees = {file: json.loads(honest[file])["signed"] for file in signers}
        trees["timestamp.json"]["meta"]["snapshot.json"] = {"version": 1}
        for other in trees["1.snapshot.json"]["meta"]:
            trees["1.snapshot.json"]["meta"][other] = {"version": 1}
        trees[name] = mutate(trees[name], rng)
        try:
            made = {file: Metadata.from_dict({"signed": tree, "signatures": []}) for file, tree in trees.items()}
            for file, item in made.items():
                for holder in signers[file]:
                    item.sign(maker.signer(holder), append=True)
                (folder / file).write_bytes(item.to_bytes())
        except Exception:  # noqa: BLE001 - nobody can sign that
            continue
        tried += 1
        fresh = Box(scene.folder / f"fresh-{tried}", scene.server.url, scene.root)
        state = fresh.client.update(maker.now)
        assert load_state(fresh.folder) == state
        assert all(text.isprintable() and len(text) < 600 for _, _, text in state.troubles())
        outcomes |= {code for _, code, _ in state.troubles()} or {"fine"}
    assert len(outcomes) > 2, outcomes
