"""Desk and router together: Guardian's own client follows everything that the desk does, from its first root on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.blocklist.feed_base import Base, derive_key
from guardian.blocklist.tag_table import TagTable
from guardian.config.values import HotlineConfig
from guardian.desk.builds import begin_epoch, encode_build, load_builds, place_of
from guardian.desk.online import load_password, make_key
from guardian.desk.people import end_person
from guardian.desk.publish import consent
from guardian.desk.repository import write_file
from guardian.desk.roles import TIMESTAMP
from guardian.desk.settings import load_settings
from guardian.hotline.feed_state import GROWTH, FeedState, read_current
from guardian.hotline.trust import FeedClient
from guardian.names import parse_name
from tests.desk.feed_desk import LIST, FeedDesk, found, serve


class Box:
    """A router's folder and settings."""

    def __init__(self, url: str, folder: Path, root: bytes) -> None:
        folder.mkdir()
        (folder / "root.json").write_bytes(root)
        self._config = HotlineConfig(url=f"{url}default/", root=str(folder / "root.json"))
        self._state = folder / "hotline"

    def update(self, now: float) -> FeedState:
        return FeedClient(self._config, self._state).update(now)

    def blocks(self, name: str) -> bool:
        current = read_current(self._state)
        assert current
        base, table = Base(current.base.read_bytes()), TagTable(current.lists[LIST].read_bytes())
        wire = parse_name(name)
        domain = base.key_domain(wire)
        assert domain
        return table.match_name(derive_key(domain, base.salt, base.cost), domain, wire) is not None


@pytest.fixture
def desk(tmp_path: Path) -> FeedDesk:
    return found(tmp_path / "desk", time.time())


@pytest.fixture
def box(desk: FeedDesk, tmp_path: Path) -> Iterator[Box]:
    with serve(desk) as url:
        yield Box(url, tmp_path / "box", desk.repository.roots()[0])


def test_a_box_follows_all_that_happens_at_the_desk(desk: FeedDesk, box: Box) -> None:
    assert not box.update(desk.now).troubles()
    desk.list_names(["listed-1.example"])
    desk.publish()
    state = box.update(desk.now)
    assert (state.code, state.lists[LIST].serial, box.blocks("listed-1.example")) == ("", 2, True)

    # a key is stolen: lists at once, the root when three have signed
    end_person(desk.folder, desk.signer("ana"), "ion", "stolen", desk.now)
    make_key(desk.folder, TIMESTAMP, load_password(desk.folder, load_settings(desk.folder)))
    desk.publish("ana", "maria")
    desk.change_root("ana", "maria", "vasile")
    desk.release()
    state = box.update(desk.now)
    assert (state.code, state.root_version, box.blocks("listed-1.example")) == ("", 2, True)

    # a new epoch: everything is other, nothing is lost
    write_file(
        desk.folder / place_of("default"), encode_build(begin_epoch(load_builds(desk.folder)["default"], desk.now))
    )
    desk.publish("ana", "maria")
    state = box.update(desk.now)
    assert (state.code, state.epoch, box.blocks("listed-1.example")) == (
        "",
        load_builds(desk.folder)["default"].epoch.name,
        True,
    )

    # more than a box takes by itself: the desk knows, and other people agree
    desk._signers["ion"] = desk.signer("maria")  # who approves from now on
    desk.list_names([f"listed-{number}.example" for number in range(2, 504)])
    desk.prepare("ana")
    standing = desk.sign("maria")
    assert standing.waits_for_consent == (LIST,)
    with desk.repository.locked():
        standing = consent(desk.repository, desk.desk, desk.signer("elena"), "a new source", desk.now)
    desk.release(standing)
    state = box.update(desk.now)
    assert (state.code, box.blocks("listed-500.example")) == ("", True)

    # a new epoch of a large list: nobody can compare it with the one before, so other people agree again
    begun = encode_build(begin_epoch(load_builds(desk.folder)["default"], desk.now))
    write_file(desk.folder / place_of("default"), begun)
    desk.prepare("ana")
    standing = desk.sign("maria")
    assert standing.waits_for_consent == (LIST,)
    with desk.repository.locked():
        standing = consent(desk.repository, desk.desk, desk.signer("elena"), "a new quarter", desk.now)
    desk.release(standing)
    state = box.update(desk.now)
    assert not state.troubles() and state.epoch == load_builds(desk.folder)["default"].epoch.name
    assert box.blocks("listed-500.example")


def test_a_box_refuses_what_the_desk_would_have_asked_consent_for(
    desk: FeedDesk, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.update(desk.now)
    monkeypatch.setattr("guardian.desk.growth.LEAST", 1 << 20)  # a desk that does not ask
    desk.list_names([f"listed-{number}.example" for number in range(502)])
    desk.publish()
    state = box.update(desk.now)
    assert state.lists[LIST].code == GROWTH
    assert not box.blocks("listed-1.example")
